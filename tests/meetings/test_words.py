"""Words and turns by themselves: what corrections do to them. No store."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.meetings.conftest import said, split_at_turns

from hansard.meetings import sentences
from hansard.meetings.retiming import retimed
from hansard.meetings.turns import (
    MERGE,
    SPEAKER,
    Turn,
    corrected,
    labelled,
    named,
    seconds_of,
    stretch,
)
from hansard.model import Segment
from hansard.store.meetings import Correction

TEXT = st.lists(st.sampled_from("abcde"), min_size=1, max_size=8).map(" ".join)


def times(segment: Segment) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in segment.words]


def test_words_that_stay_keep_their_times() -> None:
    before = said(10.0, "we met the members on friday")
    after = retimed(before, "We met the  numbers, on Friday.")
    assert after.text == "We met the numbers, on Friday."
    assert times(after) == [
        ("We", 10.0, 10.4),
        ("met", 10.5, 10.9),
        ("the", 11.0, 11.4),
        ("numbers,", 11.5, 11.9),
        ("on", 12.0, 12.4),
        ("Friday.", 12.5, 12.9),
    ]


def test_words_in_the_place_of_others_share_their_time() -> None:
    after = retimed(said(0.0, "a very long x"), "a y yyy x")
    assert times(after) == [("a", 0.0, 0.4), ("y", 0.5, 0.725), ("yyy", 0.725, 1.4),
                            ("x", 1.5, 1.9)]  # fmt: skip


def test_words_that_were_added_take_the_pause() -> None:
    segment = msgspec.structs.replace(said(0.0, "a b"), start=-1.0, end=3.0)
    after = retimed(segment, "zero a and b end")
    assert times(after)[0] == ("zero", -1.0, 0.0)
    assert times(after)[2] == ("and", 0.4, 0.5)
    assert times(after)[4] == ("end", 0.9, 3.0)


def test_a_segment_without_words_gets_none() -> None:
    assert retimed(Segment(0.0, 1.0, "a b"), "c").words == ()


@given(TEXT, TEXT)
def test_whatever_is_written_words_are_in_order_and_inside(before: str, after: str) -> None:
    segment = said(5.0, before)
    made = retimed(segment, after)
    assert " ".join(word.text for word in made.words) == made.text == after
    edges = [edge for word in made.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] >= segment.start
    assert edges[-1] <= segment.end + 1e-3


def test_what_was_split_is_glued_and_split_again() -> None:
    talk = [said(0.0, "one two three four"), said(3.0, "five"), said(4.0, "六七")]
    turns = [Turn(0.0, 1.0, "S1"), Turn(1.0, 9.0, "S2")]
    once = list(sentences.settled(split_at_turns(sentences.numbered(talk), turns)))
    assert [(one.speaker, one.text, one.sentence) for one in once] == [
        ("S1", "one two", 0), ("S2", "three four", 0), ("S2", "five", None), ("S2", "六七", None),
    ]  # fmt: skip
    assert list(sentences.whole(once)) == talk
    again = sentences.settled(split_at_turns(sentences.numbered(sentences.whole(once)), turns))
    assert list(again) == once


def test_pieces_of_scripts_without_spaces_are_glued_without_any() -> None:
    pieces = [Segment(0.0, 1.0, "六七", sentence=3), Segment(1.0, 2.0, "八九", sentence=3)]
    (whole,) = sentences.whole(pieces)
    assert whole.text == "六七八九"


def told(target: str, place: str, speaker: str) -> Correction:
    after = msgspec.Raw(msgspec.json.encode({"speaker": speaker}))
    return Correction("1", target, place, None, after, "somebody", 0.0)


def test_what_people_said_is_put_on_top_of_turns() -> None:
    turns = [Turn(0.0, 10.0, "S1"), Turn(10.0, 20.0, "S2"), Turn(20.0, 30.0, "S3")]
    said_ = [told(SPEAKER, stretch(4.0, 12.0), "S3"), told(MERGE, "S3", "S1")]
    assert corrected(turns, said_) == [
        Turn(0.0, 4.0, "S1"), Turn(4.0, 12.0, "S1"), Turn(12.0, 20.0, "S2"), Turn(20.0, 30.0, "S1"),
    ]  # fmt: skip
    assert seconds_of(corrected(turns, said_)) == {"S1": 22.0, "S2": 8.0}


def test_labels_stay_with_those_who_speak_at_the_same_time() -> None:
    before = [Turn(0.0, 10.0, "S1"), Turn(10.0, 20.0, "S2")]
    found = [Turn(0.0, 1.0, "x"), Turn(1.0, 9.0, "y"), Turn(10.0, 20.0, "z"), Turn(30.0, 31.0, "w")]
    labels = labelled(found, before)
    assert labels == {"x": "S3", "y": "S1", "z": "S2", "w": "S4"}
    assert [turn.speaker for turn in named(found, labels)] == ["S3", "S1", "S2", "S4"]


def test_the_first_labels_go_by_who_speaks_first() -> None:
    assert labelled([Turn(0.0, 1.0, "b"), Turn(1.0, 2.0, "a")], []) == {"b": "S1", "a": "S2"}


TURNS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9), st.sampled_from("abc")).map(
        lambda t: Turn(float(t[0]), float(t[0] + t[1]), t[2])
    ),
    max_size=8,
)


@pytest.mark.parametrize("merge", [False, True])
@given(turns=TURNS, start=st.integers(0, 40), length=st.integers(1, 9))
def test_no_second_of_talk_is_lost(
    turns: list[Turn], start: int, length: int, *, merge: bool
) -> None:
    said_ = [told(SPEAKER, stretch(start, start + length), "z")]
    if merge:
        said_.append(told(MERGE, "a", "b"))
    found = corrected(turns, said_)
    for second in range(50):
        middle = second + 0.5
        spoken = any(turn.start <= middle < turn.end for turn in turns)
        now = [turn.speaker for turn in found if turn.start <= middle < turn.end]
        if start <= middle < start + length:
            assert set(now) == {"z"}
        else:
            assert bool(now) == spoken
    if merge:
        assert "a" not in {turn.speaker for turn in found}
