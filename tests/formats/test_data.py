"""JSON, OpenAI's JSON and tables, read back by jsonschema, openai and csv."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio import TranscriptionVerbose

from hansard import formats
from hansard.errors import BadInput
from hansard.formats import Layout, data
from hansard.formats.wording import cell
from hansard.model import Coverage, Gap, Levels, Segment, Transcript, Word

DOCS = Path(__file__).parents[2] / "docs"


def written(transcript: Transcript, name: str, **layout: Any) -> str:
    return formats.render(transcript, name, Layout(**layout)).decode()


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
