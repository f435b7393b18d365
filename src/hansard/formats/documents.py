"""Documents for people: plain text, Markdown and Word, rendered from the same blocks."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, BinaryIO

from hansard.formats import wording
from hansard.formats.layout import STANDARD, Layout, Segments
from hansard.formats.reading import Block, blocks, facts
from hansard.formats.wording import stamp
from hansard.model import Transcript

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Every part of the archive is dated so, the earliest a ZIP can say: same words, same bytes."""
_MARK = "hansard-paragraphs-go-here"
_LONGEST_PROPERTY = 255
"""Characters of a core property (ECMA-376, part 2)."""
_RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ps", "sd", "ur", "yi"})


def txt(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """Plain text: the words, a blank line between paragraphs, ``Name:`` where it is known.

    Gaps are not noted here; this is the format of other programs' input. At most two walks.
    """
    begun = False
    for block in blocks(head, segments, layout, gaps=False):
        if begun:
            out.write(b"\n")
        begun = True
        _write_texts(out, f"{block.label}: " if block.label else "", block.texts)


def _write_texts(out: BinaryIO, lead: str, texts: Iterable[str]) -> None:
    """One line: the lead, then the texts with spaces between."""
    for text in texts:
        out.write(f"{lead}{text}".encode())
        lead = " "
    out.write(b"\n")


def md(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """Markdown (GFM): title, a table of facts, paragraphs that begin with their time."""
    escape = wording.markdown
    out.write(f"# {escape(_title(head))}\n\n| | |\n|---|---|\n".encode())
    out.writelines(f"| {label} | {escape(value)} |\n".encode() for label, value in facts(head))
    for block in blocks(head, segments, layout):
        name = f"**{escape(block.label)}:** " if block.label else ""
        out.write(b"\n")
        _write_texts(out, f"[{stamp(block.start)}] {name}", map(escape, block.texts))


def _title(head: Transcript) -> str:
    return PurePath(wording.clean(head.name)).stem or "Transcript"


def docx(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """Word (Office Open XML): as the Markdown, with styles and core properties."""
    word(head, segments, out, layout, _front)


def word(
    head: Transcript,
    segments: Segments,
    out: BinaryIO,
    layout: Layout,
    front: Callable[[Any, Transcript], None],
) -> None:
    """A Word document that ends with a transcript; ``front`` writes what comes before.

    python-docx makes everything but the paragraphs; these are written straight into the
    archive, since a document tree of ten hours would not be small. ``front`` gets its document.
    """
    import shutil
    import tempfile
    import zipfile

    if not out.seekable():  # a pipe would make zipfile lay out its headers in another way
        with tempfile.TemporaryFile() as spool:
            word(head, segments, spool, layout, front)
            spool.seek(0)
            shutil.copyfileobj(spool, out)
        return
    with zipfile.ZipFile(_skeleton(head, front)) as blank, zipfile.ZipFile(out, "w") as archive:
        for name in blank.namelist():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            with archive.open(info, "w") as part:
                if name != "word/document.xml":
                    part.write(blank.read(name))
                    continue
                before, after = _around_mark(blank.read(name).decode())
                part.write(before.encode())
                right_to_left = (head.language or "")[:2] in _RIGHT_TO_LEFT
                for block in blocks(head, segments, layout):
                    for xml in _word_paragraph(block, right_to_left=right_to_left):
                        part.write(xml.encode())
                part.write(after.encode())


def _front(document: Any, head: Transcript) -> None:
    document.add_heading(_title(head), 0)
    table = document.add_table(0, 2, style="Table Grid")
    for label, value in facts(head):
        cells = table.add_row().cells
        cells[0].text, cells[1].text = label, value
    document.add_paragraph()


def _skeleton(head: Transcript, front: Callable[[Any, Transcript], None]) -> io.BytesIO:
    """A Word file with everything but the paragraphs; the mark stands in their place."""
    import docx as python_docx
    from docx.enum.style import WD_STYLE_TYPE
    from docx.shared import Pt, RGBColor

    document = python_docx.Document()
    time = document.styles.add_style("Transcript Time", WD_STYLE_TYPE.CHARACTER)
    time.font.size, time.font.color.rgb = Pt(9), RGBColor(0x70, 0x70, 0x70)
    document.styles.add_style("Transcript Speaker", WD_STYLE_TYPE.CHARACTER).font.bold = True
    body = document.styles.add_style("Transcript", WD_STYLE_TYPE.PARAGRAPH)
    body.base_style = document.styles["Normal"]
    body.paragraph_format.space_after = Pt(8)

    front(document, head)
    document.add_paragraph(_MARK)

    properties = document.core_properties
    properties.title = _title(head)[:_LONGEST_PROPERTY]
    properties.subject = f"Transcript of {wording.clean(head.name)}"[:_LONGEST_PROPERTY]
    properties.author = properties.last_modified_by = "Hansard"
    properties.comments = f"Heard by {wording.clean(head.engine)} {wording.clean(head.model)}"[
        :_LONGEST_PROPERTY
    ]
    properties.identifier = wording.clean(head.id)[:_LONGEST_PROPERTY]
    properties.language = wording.clean(head.language or "")
    made = datetime.fromtimestamp(head.created or 0, UTC).replace(tzinfo=None)
    properties.created = properties.modified = made
    file = io.BytesIO()
    document.save(file)
    return file


def _around_mark(document: str) -> tuple[str, str]:
    """The document's XML before and after the paragraph that holds the mark.

    It is the last one: a file's name that spells the mark comes before it.
    """
    at = document.rindex(_MARK)
    begin = document.rindex("<w:p>", 0, at)
    end = document.index("</w:p>", at) + len("</w:p>")
    return document[:begin], document[end:]


def _word_paragraph(block: Block, *, right_to_left: bool) -> Iterator[str]:
    bidi = "<w:bidi/>" if right_to_left else ""
    rtl = "<w:rtl/>" if right_to_left else ""

    def run(text: str, space: str, style: str = "") -> str:
        style = f'<w:rStyle w:val="{style}"/>' if style else ""
        properties = f"<w:rPr>{style}{rtl}</w:rPr>" if style or rtl else ""
        text = f'<w:t xml:space="preserve">{wording.xml(text)}{space}</w:t>'
        return f"<w:r>{properties}{text}</w:r>"

    yield f'<w:p><w:pPr><w:pStyle w:val="Transcript"/>{bidi}</w:pPr>'
    yield run(f"[{stamp(block.start)}]", " ", "TranscriptTime")
    if block.label:
        yield run(f"{block.label}:", " ", "TranscriptSpeaker")
    for text in block.texts:
        yield run(text, " ")
    yield "</w:p>"
