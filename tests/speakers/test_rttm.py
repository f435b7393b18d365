"""RTTM, written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.errors import BadInput
from hansard.speakers.diarizer import Turn
from hansard.speakers.rttm import read, written

times = st.integers(0, 40_000_000).map(lambda milli: milli / 1000)
turns = st.lists(
    st.builds(
        lambda start, length, name: Turn(start, round(start + length, 3), name),
        times,
        times,
        st.text("abcS19é", min_size=1),
    )
)


@given(turns)
def test_what_is_written_is_read(said: list[Turn]) -> None:
    lines = list(written(said, "a meeting"))
    back = read(lines)
    assert [t.speaker for t in back] == [t.speaker for t in said]
    for a, b in zip(back, said, strict=True):
        assert a.start == pytest.approx(b.start, abs=1e-6)
        assert a.end == pytest.approx(b.end, abs=1e-6)


def test_a_line_is_as_the_plan_has_it() -> None:
    (line,) = written([Turn(0.3704, 5.0, "Anna B")], "my meeting", channel=2)
    assert line == "SPEAKER my_meeting 2 0.370 4.630 <NA> <NA> Anna_B <NA> <NA>\n"


def test_other_lines_are_passed_over() -> None:
    lines = [
        ";; a comment\n",
        "SPKR-INFO m 1 <NA> <NA> <NA> unknown anna <NA> <NA>\n",
        "\n",
        "SPEAKER m 1 1.0 2.5 <NA> <NA> anna <NA>\n",
        "SPEAKER other 1 1.0 2.5 <NA> <NA> bert <NA> <NA>\n",
    ]
    assert read(lines, file="m") == [Turn(1.0, 3.5, "anna")]
    assert len(read(lines)) == 2


@pytest.mark.parametrize(
    "line",
    [
        "SPEAKER m 1 1.0\n",
        "SPEAKER m 1 one 2.5 <NA> <NA> anna <NA> <NA>\n",
        "SPEAKER m 1 nan 2.5 <NA> <NA> anna <NA> <NA>\n",
        "SPEAKER m 1 1.0 -2.5 <NA> <NA> anna <NA> <NA>\n",
        "SPEAKER m 1 1.0 inf <NA> <NA> anna <NA> <NA>\n",
    ],
)
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(BadInput, match="Line 2 is not RTTM"):
        read([";; first\n", line])
