"""Text, Markdown and Word, read back by markdown-it and python-docx."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
from typing import Any

import docx
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hansard import formats
from hansard.formats import Layout
from hansard.formats.wording import clean
from hansard.model import Coverage, Gap, Segment, Transcript


def written(transcript: Transcript, name: str, **layout: Any) -> str:
    return formats.render(transcript, name, Layout(**layout)).decode()


def said(transcript: Transcript) -> str:
    return " ".join(clean(s.text) for s in transcript.segments)


def test_txt_is_paragraphs_with_speakers(meeting: Transcript, nasty_clean: str) -> None:
    paragraphs = written(meeting, "txt").split("\n\n")
    assert len(paragraphs) == 5
    assert paragraphs[0].startswith("Ann <Chair>: Good morning, everyone")
    assert paragraphs[0].endswith("read and approved.")
    assert paragraphs[1] == f'Bo "&" Co: {nasty_clean}'
    assert paragraphs[4] == "Ann <Chair>: No.\n"
    assert "inaudible" not in "".join(paragraphs)
    assert written(meeting, "txt", speakers=False).replace("\n\n", " ").strip() == said(meeting)


def test_channels_are_labelled_where_speakers_are_not_known(meeting: Transcript) -> None:
    two = (Segment(0, 2, "Left."), Segment(1, 3, "Right.", channel=1, paragraph=1))
    text = written(msgspec.structs.replace(meeting, segments=two), "txt")
    assert text == "Channel 1: Left.\n\nChannel 2: Right.\n"


def test_markdown_shows_what_was_said(meeting: Transcript, nasty_clean: str) -> None:
    text = written(meeting, "md")
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inline = [t for t in tokens if t.type == "inline"]
    flat = ["".join(c.content for c in t.children or ()) for t in inline]
    assert flat[0] == "budget & <minutes> | 3"
    assert "budget & <minutes> | 3.mp3" in flat
    assert any(
        f == f'[00:00:21] Bo "&" Co: {nasty_clean} [inaudible 00:00:28\u201300:00:29]' for f in flat
    )
    assert flat[-1].endswith("No. [inaudible 00:00:43\u201300:00:44]")
    assert "90.0 % of 00:00:30 of speech; 2 gaps noted" in flat
    kinds = {c.type for t in inline for c in t.children or ()}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}


def test_a_gap_before_the_first_word_and_on_another_channel(meeting: Transcript) -> None:
    gaps = (Gap(0.0, 0.5), Gap(1.5, 2.0, channel=1))
    two = (Segment(1, 3, "Left."), Segment(4, 5, "Still left."))
    text = written(
        msgspec.structs.replace(meeting, segments=two, coverage=Coverage(3, 2, gaps)), "md"
    )
    assert text.split("\n\n")[2:] == [
        "[00:00:00] \\[inaudible 00:00:00\u201300:00:00\\] Left.",
        "[00:00:01] \\[inaudible 00:00:01\u201300:00:02\\]",
        "[00:00:04] Still left.\n",
    ]


def style(part: Any) -> str:
    """The name of a paragraph's or run's style; python-docx types it as possibly none."""
    return str(part.style.name)


def test_docx_is_reopened_by_python_docx(meeting: Transcript, nasty_clean: str) -> None:
    file = io.BytesIO(formats.render(meeting, "docx"))
    document = docx.Document(file)
    assert document.paragraphs[0].text == "budget & <minutes> | 3"
    assert style(document.paragraphs[0]) == "Title"
    body = [p for p in document.paragraphs if style(p) == "Transcript"]
    assert [p.text.strip() for p in body][1] == (
        f'[00:00:21] Bo "&" Co: {nasty_clean} [inaudible 00:00:28\u201300:00:29]'
    )
    assert len(body) == 5
    assert [style(r) for r in body[0].runs][:2] == ["Transcript Time", "Transcript Speaker"]
    assert document.core_properties.title == "budget & <minutes> | 3"
    assert document.core_properties.author == "Hansard"
    assert document.core_properties.created.year == 2023
    assert document.tables[0].cell(0, 1).text == "budget & <minutes> | 3.mp3"
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                ET.fromstring(archive.read(name))


def test_docx_through_a_pipe_is_the_same_file(meeting: Transcript) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    formats.get("docx").write(*formats.view(meeting), pipe)
    assert pipe.getvalue() == formats.render(meeting, "docx")


@given(text=st.text(st.characters(), min_size=1), speaker=st.text(st.characters()))
@settings(max_examples=10)
def test_docx_holds_any_text(text: str, speaker: str) -> None:
    head = Transcript("i" * 300, "r", speaker * 300, 2, text, text * 300)
    segments = (Segment(0, 1, text, speaker=speaker),)
    file = formats.render(msgspec.structs.replace(head, segments=segments), "docx")
    body = [p for p in docx.Document(io.BytesIO(file)).paragraphs if style(p) == "Transcript"]
    assert [clean(text) in p.text for p in body] == ([True] if clean(text) else [])


def test_a_word_file_whose_name_is_the_mark_is_whole() -> None:
    name = "hansard-paragraphs-go-here"
    transcript = Transcript("i", "r", name, 2, "e", "m", segments=(Segment(0, 1, name),))
    document = docx.Document(io.BytesIO(formats.render(transcript, "docx")))
    assert document.paragraphs[0].text == name
    assert document.paragraphs[-1].text.strip() == f"[00:00:00] {name}"


def test_a_language_written_from_the_right_is_set_so(meeting: Transcript) -> None:
    hebrew = msgspec.structs.replace(meeting, language="he")
    for transcript, wanted in ((meeting, False), (hebrew, True)):
        with zipfile.ZipFile(io.BytesIO(formats.render(transcript, "docx"))) as archive:
            assert (b"<w:bidi/>" in archive.read("word/document.xml")) is wanted
