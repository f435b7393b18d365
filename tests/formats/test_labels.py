"""CTM by its grammar, TextGrid by the praatio package."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from hansard import formats
from hansard.formats import Layout
from hansard.formats.pieces import words
from hansard.formats.wording import clean
from hansard.model import Segment, Transcript


def written(transcript: Transcript, name: str, **layout: Any) -> str:
    return formats.render(transcript, name, Layout(**layout)).decode()


def said(transcript: Transcript) -> str:
    return " ".join(clean(s.text) for s in transcript.segments)


FLOATS = st.floats(0, 1e6)
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


def test_textgrid_is_read_by_praatio(meeting: Transcript, tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(formats.render(meeting, "textgrid"))
    read = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    names = list(read.tierNames)
    assert names == [
        "channel 1", "channel 1 - words", "@Cy", "@Cy - words",
        "Ann <Chair>", "Ann <Chair> - words", 'Bo "&" Co', 'Bo "&" Co - words',
    ]  # fmt: skip
    for tier in read.tiers:
        assert tier.minTimestamp == 0
        assert tier.entries[-1].end == 45.25
        assert all(i.start < i.end for i in tier.entries)
        assert all(a.end == b.start for a, b in pairwise(tier.entries))
    marks = {tier.name: [i.label for i in tier.entries if i.label] for tier in read.tiers}
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


def test_rttm_has_a_turn_for_each_time_that_somebody_speaks() -> None:
    rows = [
        (0.0, 1.0, "Anna B"),
        (1.2, 2.0, "Anna B"),  # the same turn: nobody pauses for longer than 0.3 s
        (1.5, 4.0, "Ben"),  # while she speaks
        (3.0, 5.0, "Anna B"),
        (6.0, 7.0, None),
    ]
    segments = tuple(Segment(start, end, "x", speaker=who) for start, end, who in rows)
    text = written(Transcript("i", "r", "a talk.wav", 10, "e", "m", segments=segments), "rttm")
    assert text.splitlines() == [
        "SPEAKER a_talk 1 0.000 2.000 <NA> <NA> Anna_B <NA> <NA>",
        "SPEAKER a_talk 1 1.500 2.500 <NA> <NA> Ben <NA> <NA>",
        "SPEAKER a_talk 1 3.000 2.000 <NA> <NA> Anna_B <NA> <NA>",
    ]
