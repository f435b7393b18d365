"""Every format, read back by a reader that is not ours; untrusted text in each of them."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import docx
import jsonschema
import msgspec
import pysubs2
import pytest
import textgrid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from openai.types.audio import TranscriptionVerbose

from hansard import formats
from hansard.errors import BadInput, UnknownFormat
from hansard.formats import Layout, Segments, data
from hansard.formats.pieces import words
from hansard.formats.wording import cell, clean, srt, vtt
from hansard.model import Coverage, Gap, Levels, Segment, Transcript, Word

DOCS = Path(__file__).parents[2] / "docs"
ALL = formats.names()
TTML = {
    "tt": "http://www.w3.org/ns/ttml",
    "ttm": "http://www.w3.org/ns/ttml#metadata",
}


def written(transcript: Transcript, name: str, **layout: Any) -> str:
    return formats.render(transcript, name, Layout(**layout)).decode()


def said(transcript: Transcript) -> str:
    return " ".join(clean(s.text) for s in transcript.segments)


# ── every format ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ALL)
def test_the_same_transcript_gives_the_same_bytes(meeting: Transcript, name: str) -> None:
    assert formats.render(meeting, name) == formats.render(msgspec.structs.replace(meeting), name)


@pytest.mark.parametrize("name", ALL)
def test_a_transcript_without_words_is_still_a_file(meeting: Transcript, name: str) -> None:
    empty = msgspec.structs.replace(
        meeting, segments=(), coverage=Coverage(0, 0), language=None, created=None
    )
    assert isinstance(formats.render(empty, name), bytes)


@pytest.mark.parametrize("name", ALL)
def test_segments_in_the_head_are_not_looked_at(meeting: Transcript, name: str) -> None:
    plain, with_segments = io.BytesIO(), io.BytesIO()
    _, segments = formats.view(meeting)
    bare = msgspec.structs.replace(meeting, segments=())
    formats.get(name).write(bare, segments, plain)
    formats.get(name).write(meeting, segments, with_segments)
    assert plain.getvalue() == with_segments.getvalue()


@pytest.mark.parametrize("name", [n for n in ALL if not formats.get(n).binary])
@given(text=st.text(st.characters()), name_of=st.text(st.characters()))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_can_be_written(name: str, text: str, name_of: str) -> None:
    """Lone surrogates included, which file names that are not UTF-8 bring in."""
    timed = (Word(0, 1, text),)
    segments = (Segment(0, 1, text, timed, speaker=name_of), Segment(1, 2, text, speaker=text))
    transcript = Transcript("i", "r", name_of, 2, text, text, language="en", segments=segments)
    formats.render(transcript, name).decode()


def test_names_aliases_and_extensions() -> None:
    assert len(set(ALL)) == len(ALL) == 12
    assert {formats.get(alias).name for alias in formats.ALIASES} <= set(ALL)
    assert formats.get("WebVTT") is formats.get("vtt") is formats.get(".vtt")
    assert len({formats.get(name).extension.lower() for name in ALL}) == len(ALL)
    for name in ALL:
        known = formats.get(name)
        assert formats.of_path(Path("a.b") / f"minutes{known.extension}") is known
    assert formats.of_path(Path("minutes.pdf")) is None
    with pytest.raises(UnknownFormat) as refused:
        formats.get("pdf")
    assert all(name in (refused.value.hint or "") for name in ALL)


def test_the_table_in_the_docs_is_the_registry() -> None:
    page = (DOCS / "formats.md").read_text("utf-8")
    for name in ALL:
        known = formats.get(name)
        kind = known.media_type.split(";")[0]
        assert f"| `{name}` | `{known.extension}` | `{kind}` | {known.description} |" in page


@pytest.mark.parametrize("name", ALL)
def test_an_hour_takes_no_more_memory_than_seven_minutes(
    name: str, meeting: Transcript, hours: Callable[[int], Segments]
) -> None:
    few, many = (_peak(name, meeting, hours(n)) for n in (100, 900))
    assert many < few * 1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["txt", "json", "verbose_json", "srt", "docx"])
def test_twenty_two_hours_take_no_more_memory_than_seven_minutes(
    name: str, meeting: Transcript, hours: Callable[[int], Segments]
) -> None:
    few, many = (_peak(name, meeting, hours(n)) for n in (100, 20_000))
    assert many < few * 1.2


def _peak(name: str, head: Transcript, segments: Segments) -> int:
    """Most bytes of Python objects alive at once while writing to nowhere.

    The walk empties Python's free lists as it goes: what they keep has a fixed limit, but they
    fill slowly, which would look like growth.
    """
    import gc
    import tracemalloc

    def walk() -> Iterator[Segment]:
        for i, segment in enumerate(segments()):
            if i % 50 == 0:
                gc.collect()
            yield segment

    class Nowhere(io.RawIOBase):
        def __init__(self) -> None:
            self.at = 0

        def writable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return self.at

        def seek(self, at: int, _whence: int = 0) -> int:
            self.at = at
            return at

        def write(self, data: Any) -> int:
            self.at += len(data)
            return len(data)

    known = formats.get(name)
    bare = msgspec.structs.replace(head, segments=(), coverage=Coverage(0, 0), seconds=80_000)
    known.write(bare, lambda: iter(()), Nowhere())  # type: ignore[arg-type] # all a writer needs
    gc.freeze()  # what lives already is not looked through again and again
    tracemalloc.start()
    try:
        known.write(bare, walk, Nowhere())  # type: ignore[arg-type] # all a writer needs
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


# ── subtitles ────────────────────────────────────────────────────────────────────────────────


def shown(text: str) -> str:
    """What a viewer sees: no line breaks, no marks without width."""
    return " ".join(text.replace("\\N", " ").replace("\u2060", "").split())


def test_srt_is_read_by_pysubs2(meeting: Transcript) -> None:
    text = written(meeting, "srt")
    read = pysubs2.SSAFile.from_string(text, format_="srt", keep_html_tags=True)
    numbers = re.findall(r"^(\d+)\n\d\d:\d\d:\d\d,\d{3} --> ", text, re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(read))]
    seen = shown(" ".join(event.text for event in read))
    for name in ("Ann <Chair>:", 'Bo "&" Co:', "@Cy:"):
        seen = seen.replace(f"{name} ", "")
    assert seen.replace(" ", "") == said(meeting).replace(" ", "")
    assert all(event.start < event.end for event in read)


def test_srt_shows_markup_as_it_was_said() -> None:
    for text in ("<b>x</b>", "< i >", "{\\an8}up", "a --> b", "00:00:01,000 --> 00:00:02,000"):
        escaped = srt(text)
        assert shown(escaped) == text
        assert "-->" not in escaped
        assert not re.search(r"<\s*/?\s*\w|\{\\", escaped)


def test_vtt_is_read_by_pysubs2_with_voices_settings_and_escapes(meeting: Transcript) -> None:
    text = written(meeting, "vtt")
    assert text.startswith("WEBVTT\n\n")
    read = pysubs2.SSAFile.from_string(text, format_="vtt")
    blocks = text.strip().split("\n\n")[1:]
    assert len(read) == len(blocks)
    payload = []
    for block in blocks:
        times, *lines = block.split("\n")
        assert re.fullmatch(r"[\d:.]{12} --> [\d:.]{12} align:center size:90%", times)
        body = " ".join(lines)
        assert "-->" not in body
        voice = re.fullmatch(r"(?:<v ([^<>\n]+)>)?([^<>]*)(?:</v>)?", body)
        assert voice
        payload.append(voice[2])
    assert "<v Ann &lt;Chair&gt;>Good morning" in text
    from html import unescape

    assert shown(unescape(" ".join(payload))).replace(" ", "") == said(meeting).replace(" ", "")


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_ffmpeg_reads_subtitles_and_takes_no_word_for_markup(name: str, tmp_path: Path) -> None:
    import av

    segments = (Segment(0, 4, "a <b>bold</b> move & --> x"), Segment(5, 9, "Yes."))
    path = tmp_path / f"a.{name}"
    transcript = Transcript("i", "r", "n", 20, "e", "m", segments=segments)
    formats.save(path, name, *formats.view(transcript))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        texts = [line.ass for packet in packets for line in packet.decode()]  # type: ignore[union-attr] # subtitles
    assert [(packet.pts, packet.duration) for packet in packets] == [(0, 4000), (5000, 4000)]
    assert [shown(text.decode().split(",,")[-1]) for text in texts] == [
        "a <b>bold</b> move & --> x",
        "Yes.",
    ]


def test_vtt_sets_channels_apart(meeting: Transcript) -> None:
    two = (Segment(0, 2, "Left."), Segment(1, 3, "Right.", channel=1))
    text = written(msgspec.structs.replace(meeting, segments=two), "vtt")
    assert "align:start position:5% size:90%\nLeft." in text
    assert "align:end position:95% size:90%\nRight." in text


def test_vtt_escapes_text() -> None:
    assert vtt("a --> b & <c>") == "a --&gt; b &amp; &lt;c&gt;"


@pytest.mark.parametrize("name", ["srt", "vtt", "ttml"])
def test_speakers_can_be_left_out(meeting: Transcript, name: str) -> None:
    assert "Chair" in written(meeting, name)
    assert "Chair" not in written(meeting, name, speakers=False)


def test_ttml_is_well_formed_imsc_text(meeting: Transcript) -> None:
    text = written(meeting, "ttml")
    root = ET.fromstring(text)
    assert root.tag == f"{{{TTML['tt']}}}tt"
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
    assert root.get("{http://www.w3.org/ns/ttml#parameter}contentProfiles") == (
        "http://www.w3.org/ns/ttml/profile/imsc1.1/text"
    )
    ids = [e.get("{http://www.w3.org/XML/1998/namespace}id") for e in root.iter()]
    known = [i for i in ids if i]
    assert len(known) == len(set(known))
    agents = [e.text for e in root.iterfind(".//ttm:name", TTML)]
    assert agents == ["Ann <Chair>", 'Bo "&" Co', "@Cy"]
    paragraphs = root.findall(".//tt:p", TTML)
    for p in paragraphs:
        assert p.get("region") in known
        assert p.get("{http://www.w3.org/ns/ttml#metadata}agent") in (*known, None)
        assert re.fullmatch(r"\d\d+:\d\d:\d\d\.\d{3}", p.get("begin") or "")
        assert (p.get("begin") or "") < (p.get("end") or "")
    read = pysubs2.SSAFile.from_string(text, format_="ttml")
    assert len(read) == len(paragraphs)
    seen = " ".join("".join(p.itertext()) for p in paragraphs)
    for name in (*agents, "@Cy"):
        seen = seen.replace(f"{name}: ", "")
    assert seen.replace(" ", "") == said(meeting).replace(" ", "")


def test_ttml_regions_do_not_overlap(meeting: Transcript) -> None:
    many = tuple(Segment(i, i + 1, "Hm.", channel=i) for i in range(6))
    root = ET.fromstring(written(msgspec.structs.replace(meeting, segments=many), "ttml"))
    regions = root.findall(".//tt:region", TTML)
    spans = []
    for region in regions:
        values = {key.rsplit("}", 1)[1]: value for key, value in region.items()}
        top = int(values["origin"].split()[1].rstrip("%"))
        spans.append((top, top + int(values["extent"].split()[1].rstrip("%"))))
    spans.sort()
    assert len(spans) == 4
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert spans[0][0] >= 0
    assert spans[-1][1] <= 100


# ── documents ────────────────────────────────────────────────────────────────────────────────


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


# ── data ─────────────────────────────────────────────────────────────────────────────────────

FLOATS = st.floats(0, 1e6)
WORDS = st.builds(Word, FLOATS, FLOATS, st.text(), st.none() | st.floats(0, 1))
SEGMENTS = st.builds(
    Segment,
    FLOATS,
    FLOATS,
    st.text(),
    st.lists(WORDS, max_size=3).map(tuple),
    st.integers(0, 3),
    st.none() | st.text(),
    st.integers(0, 9),
    st.none() | st.text(),
    st.lists(st.integers(0, 51_865), max_size=3).map(tuple),
)
TRANSCRIPTS = st.builds(
    Transcript,
    id=st.text(),
    recording=st.text(),
    name=st.text(),
    seconds=FLOATS,
    engine=st.text(),
    model=st.text(),
    created=st.none() | FLOATS,
    task=st.sampled_from(["transcribe", "translate"]),
    language=st.none() | st.text(),
    segments=st.lists(SEGMENTS, max_size=3).map(tuple),
    coverage=st.builds(
        Coverage, FLOATS, FLOATS, st.lists(st.builds(Gap, FLOATS, FLOATS), max_size=2).map(tuple)
    ),
    levels=st.none() | st.builds(Levels, *[FLOATS] * 7),
    enhanced=st.booleans(),
    cost=FLOATS,
)


@given(TRANSCRIPTS)
def test_json_reads_back_to_the_same_value_and_keeps_to_its_schema(transcript: Transcript) -> None:
    written_json = formats.render(transcript, "json")
    assert formats.read_json(written_json) == transcript
    jsonschema.validate(json.loads(written_json), json.loads(data.schema()))


def test_json_begins_with_its_format_and_version_and_has_a_segment_a_line(
    meeting: Transcript,
) -> None:
    text = written(meeting, "json")
    assert list(json.loads(text))[:3] == ["format", "version", "id"]
    assert text.count("\n") == len(meeting.segments) + 2
    bad = json.loads(text) | {"version": 2}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, json.loads(data.schema()))


def test_the_published_schema_is_the_one_in_force() -> None:
    again = (
        'python -c "import sys; from hansard.formats import data; '
        'sys.stdout.buffer.write(data.schema())" > docs/transcript.schema.json'
    )
    assert (DOCS / "transcript.schema.json").read_bytes() == data.schema(), again
    jsonschema.Draft202012Validator.check_schema(json.loads(data.schema()))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "not a transcript"),
        (b"\xff\xfe{}", "not a transcript"),
        (b"[1]", "not a transcript"),
        (b'{"format":"hansard.transcript","version":1}', "not a transcript"),
        (b'{"format":"other","version":1}', "not a transcript"),
        (b'{"format":"hansard.transcript","version":7}', "version 7"),
    ],
)
def test_what_is_no_transcript_is_refused(text: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence) as refused:
        formats.read_json(text)
    assert refused.value.hint


def test_verbose_json_is_what_openai_clients_read(meeting: Transcript) -> None:
    text = written(meeting, "verbose_json")
    raw = json.loads(text)
    read = TranscriptionVerbose.model_validate(raw, strict=True)
    assert list(raw) == ["task", "language", "duration", "text", "segments", "words", "usage"]
    assert (raw["task"], read.language, read.duration) == ("transcribe", "english", 45.25)
    assert isinstance(raw["duration"], float)
    assert read.usage is not None
    assert read.usage.seconds == 46
    assert read.segments is not None
    assert read.words is not None
    assert [s.id for s in read.segments] == list(range(len(meeting.segments)))
    assert "".join(s.text for s in read.segments).strip() == read.text
    assert read.text == " ".join(s.text.strip() for s in meeting.segments)
    assert read.segments[1].tokens == [50364, 492, 4393]
    assert read.segments[1].avg_logprob == -0.25
    assert read.segments[1].seek == 650
    assert 0 < read.segments[0].compression_ratio < 3
    assert [(w.word, w.start, w.end) for w in read.words] == [
        (w.text, w.start, w.end) for s in meeting.segments for w in s.words
    ]
    assert "words" not in json.loads(written(meeting, "verbose_json", words=False))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("en", "english"),
        ("zh-TW", "chinese"),
        ("ht", "haitian creole"),
        (None, "unknown"),
        ("xx", "xx"),
    ],
)
def test_languages_have_openais_names(meeting: Transcript, code: str | None, name: str) -> None:
    spoken = msgspec.structs.replace(meeting, language=code)
    assert json.loads(written(spoken, "verbose_json"))["language"] == name


def test_every_language_of_whisper_has_a_name() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    from hansard.formats.languages import english_name

    assert [code for code in _LANGUAGE_CODES if english_name(code) == code] == []


def test_tsv_is_whispers(meeting: Transcript, nasty_clean: str) -> None:
    rows = [line.split("\t") for line in written(meeting, "tsv").rstrip("\n").split("\n")]
    assert rows[0] == ["start", "end", "text"]
    assert rows[3] == ["21000", "27500", nasty_clean]
    assert len(rows) == len(meeting.segments) + 1


def test_csv_is_read_by_the_csv_module(meeting: Transcript, nasty_clean: str) -> None:
    text = formats.render(meeting, "csv").decode("utf-8-sig")
    assert text.count("\r\n") == len(meeting.segments) + 1
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [r["start"] for r in rows] == [f"{s.start:.3f}" for s in meeting.segments]
    assert rows[0]["confidence"] == "0.900"
    assert rows[2]["text"] == nasty_clean
    assert rows[3]["text"] == "'=SUM(A1:A9) is not a formula"
    assert rows[3]["speaker"] == "'@Cy"
    assert rows[4]["language"] == "zh"


@given(st.text(st.characters()))
def test_no_cell_is_a_formula(text: str) -> None:
    assert not cell(text).startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))


# ── labels ───────────────────────────────────────────────────────────────────────────────────

CTM_LINE = re.compile(r"\S+ [1-9]\d* \d+\.\d{3} \d+\.\d{3} \S+( [01]\.\d{4})?")


def test_ctm_keeps_to_its_grammar_and_order(meeting: Transcript) -> None:
    other = Segment(2.0, 3.0, "Over here", channel=1)
    two = msgspec.structs.replace(
        meeting, segments=(meeting.segments[0], other, *meeting.segments[1:])
    )
    lines = written(two, "ctm").splitlines()
    assert all(CTM_LINE.fullmatch(line) for line in lines)
    fields = [line.split() for line in lines]
    assert {f[0] for f in fields} == {"budget_&_<minutes>_|_3"}
    assert [(f[1], float(f[2])) for f in fields] == sorted((f[1], float(f[2])) for f in fields)
    assert [f[4] for f in fields if f[1] == "2"] == ["Over", "here"]
    assert "".join(f[4] for f in fields if f[1] == "1") == said(meeting).replace(" ", "")


def test_a_recording_named_like_a_comment_is_no_comment(meeting: Transcript) -> None:
    named = msgspec.structs.replace(meeting, name=";;.wav")
    assert written(named, "ctm").startswith("_;; 1 ")


def test_textgrid_is_read_by_textgrid(meeting: Transcript, tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(formats.render(meeting, "textgrid"))
    read = textgrid.TextGrid.fromFile(str(path))
    names = [tier.name.replace('""', '"') for tier in read]
    assert names == [
        "channel 1", "channel 1 - words", "@Cy", "@Cy - words",
        "Ann <Chair>", "Ann <Chair> - words", 'Bo "&" Co', 'Bo "&" Co - words',
    ]  # fmt: skip
    for tier in read:
        assert tier.minTime == 0
        assert tier[-1].maxTime == 45.25
        assert all(i.minTime < i.maxTime for i in tier)
        assert all(a.maxTime == b.minTime for a, b in pairwise(tier))
    marks = {n: [i.mark for i in tier if i.mark] for n, tier in zip(names, read, strict=True)}
    assert marks['Bo "&" Co'] == [clean(meeting.segments[2].text)]
    assert marks["Ann <Chair> - words"] == [
        w.text for s in meeting.segments if s.speaker == "Ann <Chair>" for w in words(s)
    ]


@given(st.lists(st.tuples(FLOATS, FLOATS, st.text("ab \"'", max_size=9)), max_size=9))
@settings(max_examples=40)
def test_textgrid_intervals_fill_their_tiers(rows: list[tuple[float, float, str]]) -> None:
    segments = tuple(Segment(a, a + b, text) for a, b, text in sorted(rows))
    text = written(Transcript("i", "r", "n", 10, "e", "m", segments=segments), "textgrid")
    for tier in text.split("    item [")[1:]:
        size = int(re.findall(r"intervals: size = (\d+)", tier)[0])
        times = re.findall(r"xmin = (\S+) \n\s+xmax = (\S+)", tier)
        assert len(times) == size + 1
        (_, last), rest = times[0], times[1:]
        assert [a for a, _ in rest] == ["0.000", *[b for _, b in rest[:-1]]]
        assert rest[-1][1] == last
        assert all(float(a) < float(b) for a, b in rest)
