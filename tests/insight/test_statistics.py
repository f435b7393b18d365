"""Who spoke how much, and how it sounded."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.insight.conftest import said, transcripts

from hansard.insight import sentiment, statistics
from hansard.insight.findings import Occasion
from hansard.model import Segment

ENGLISH = Occasion(language="en")


class Turn(NamedTuple):
    start: float
    end: float
    speaker: str | None


def test_talk_silence_and_overlap_are_swept_once() -> None:
    turns = [Turn(1.0, 5.0, "S1"), Turn(4.0, 8.0, "S2"), Turn(12.0, 14.0, "S1")]
    segments = [
        Segment(1.0, 5.0, "What is the price?", speaker="S1"),
        Segment(4.0, 8.0, "I do not know it yet.", speaker="S2"),
        Segment(12.0, 14.0, "Good.", speaker="S1"),
    ]
    found = statistics.find(segments, ENGLISH, turns, seconds=20.0)
    assert (found.seconds, found.talk, found.overlap, found.silence) == (20.0, 10.0, 1.0, 11.0)
    assert (found.silences, found.longest_silence) == (2, 6.0)
    assert (found.turns, found.words, found.questions) == (3, 11, 1)
    first, second = found.speakers
    assert (first.speaker, first.talk, first.share, first.turns) == ("S1", 6.0, 0.6, 2)
    assert (first.words, first.words_per_minute, first.questions) == (5, 50.0, 1)
    assert (first.interrupted, second.interruptions, second.longest_turn) == (1, 1, 4.0)


def test_assent_and_changing_turns_are_no_interruptions() -> None:
    turns = [
        Turn(0.0, 10.0, "S1"),
        Turn(3.0, 3.6, "S2"),  # mhm
        Turn(9.9, 15.0, "S2"),  # takes over
    ]
    found = statistics.find([], ENGLISH, turns)
    assert [one.interruptions for one in found.speakers] == [0, 0]
    assert found.overlap == pytest.approx(0.7)


def test_pauses_inside_a_turn_are_not_talk() -> None:
    segments = [Segment(0.0, 2.0, "One", speaker="S1"), Segment(3.0, 5.0, "two.", speaker="S1")]
    found = statistics.find(segments, ENGLISH)
    assert (found.turns, found.talk, found.silence) == (1, 4.0, 1.0)
    assert found.speakers[0].longest_turn == 5.0


@given(transcripts(), st.floats(0, 500))
def test_shares_add_up(segments: list[Segment], seconds: float) -> None:
    found = statistics.find(segments, Occasion(), seconds=seconds)
    assert found.seconds >= max((one.end for one in segments), default=0.0) - 0.001
    assert 0 <= found.silence <= found.seconds
    assert sum(one.share for one in found.speakers) <= 1.001
    assert sum(one.words for one in found.speakers) <= found.words
    assert sum(one.interruptions for one in found.speakers) <= found.turns
    spoken = found.seconds - found.silence
    assert found.talk >= spoken - 0.01
    assert found.overlap <= found.talk + 0.01


def test_moods_are_of_words_by_speaker_and_time() -> None:
    segments = said(
        "S1: This is a wonderful, great success!", "S2: I hate this terrible disaster.", "S2: Hm."
    )
    mood = sentiment.find(segments, ENGLISH)
    assert mood is not None
    glad, sad, nothing = mood.segments
    assert glad > 0.5
    assert sad < -0.5
    assert nothing == 0.0
    assert [one.speaker for one in mood.speakers] == ["S1", "S2"]
    assert mood.speakers[0].score == pytest.approx(glad, abs=1e-3)
    assert mood.speakers[1].score == pytest.approx(sad / 2, abs=1e-3)


def test_a_course_has_at_most_200_points() -> None:
    segments = [
        Segment(at * 60.0, at * 60.0 + 50, "a good day", speaker="S1") for at in range(1200)
    ]
    mood = sentiment.find(segments, ENGLISH)
    assert mood is not None
    (speaker,) = mood.speakers
    assert 100 < len(speaker.course) <= 200
    assert [moment for moment, _ in speaker.course] == sorted({m for m, _ in speaker.course})


@pytest.mark.parametrize("language", ["de", "ja"])
def test_moods_of_other_languages_are_not_made_up(language) -> None:
    assert sentiment.find(said("S1: Das ist gut."), Occasion(language=language)) is None
