"""Findings of anything that may be said: always valid, always citing, the same every time."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.insight.conftest import OCCASIONS, said, transcripts

from hansard.insight import embedded
from hansard.insight.citations import faults
from hansard.insight.findings import KINDS, Items, Kind, Occasion, Sentiment, Statistics
from hansard.insight.templates import BUILT_IN
from hansard.model import Segment

MEETING = BUILT_IN["meeting"]


@settings(max_examples=40)
@given(transcripts(), OCCASIONS, st.sampled_from(KINDS), st.sampled_from(sorted(BUILT_IN)))
def test_whatever_is_said_findings_are_valid(
    segments: list[Segment], occasion: Occasion, kind: Kind, template: str
) -> None:
    value, source = embedded.find(kind, segments, occasion, BUILT_IN[template])
    assert source.by == "embedded"
    assert source.name == embedded.METHODS[kind]
    if value is None:
        assert kind == "sentiment"
        assert source.notes
        return
    assert faults(value, segments) == ()
    again, _ = embedded.find(kind, segments, occasion, BUILT_IN[template])
    assert again == value
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


@pytest.mark.parametrize("kind", KINDS)
def test_a_meeting_without_a_word_has_empty_findings(kind: Kind) -> None:
    for segments in ([], [Segment(0.0, 1.0, "  ", speaker="S1")]):
        value, _ = embedded.find(kind, segments, Occasion(language="en"), MEETING)
        assert value is not None
        assert faults(value, segments) == ()
        if isinstance(value, Items):
            assert value.items == ()


def test_one_word_is_its_own_summary_and_chapter() -> None:
    segments = said("S1: Hello")
    value, _ = embedded.find("summary", segments, Occasion(), MEETING)
    assert [statement.segments for statement in value.short] == [(0,)]  # type: ignore[union-attr]
    value, _ = embedded.find("chapters", segments, Occasion(), MEETING)
    (chapter,) = value.chapters  # type: ignore[union-attr]
    assert (chapter.first, chapter.last, chapter.start, chapter.end) == (0, 0, 0.0, 2.0)


def test_an_unknown_language_gets_notes_and_not_rubbish() -> None:
    segments = said("S1: Xibal ordun keti.", "S2: Vorun keti manaster?", "S1: Ordun.")
    items, source = embedded.find("items", segments, Occasion(), MEETING)
    assert isinstance(items, Items)
    assert {item.kind for item in items.items} == {"question"}
    assert any("language is not known" in note for note in source.notes)
    mood, source = embedded.find("sentiment", segments, Occasion(), MEETING)
    assert mood is None
    assert "English" in source.notes[0]


def test_speakers_that_nobody_told_apart_have_no_shares() -> None:
    segments = [Segment(0.0, 2.0, "I am glad."), Segment(3.0, 5.0, "This is a good day.")]
    counted, _ = embedded.find("statistics", segments, Occasion(language="en"), MEETING)
    assert isinstance(counted, Statistics)
    assert (counted.speakers, counted.words, counted.talk) == ((), 8, 4.0)
    mood, _ = embedded.find("sentiment", segments, Occasion(language="en"), MEETING)
    assert isinstance(mood, Sentiment)
    assert mood.speakers == ()
    assert mood.score > 0


def test_a_template_says_how_much() -> None:
    import minutes

    meeting = minutes.read("pool")
    segments, _ = minutes.segments(meeting, "written")
    summary, _ = embedded.find("summary", segments, meeting.occasion, BUILT_IN["stand-up"])
    assert len(summary.short) == 2  # type: ignore[union-attr]
    assert len(summary.long) == 6  # type: ignore[union-attr]
    items, _ = embedded.find("items", segments, meeting.occasion, BUILT_IN["interview"])
    assert {item.kind for item in items.items} == {"question", "date", "figure"}  # type: ignore[union-attr]


def test_a_long_day_of_talk_is_bounded() -> None:
    """Six thousand sentences: a matrix of all pairs would be 36 million."""
    from itertools import islice

    from script import improvise

    from hansard.insight import summary

    segments = [
        Segment(at * 4.0, at * 4.0 + 3.0, text, speaker=turn.speaker)
        for at, (turn, text) in enumerate(
            islice(((turn, text) for turn in improvise(7) for text in turn.sentences), 6000)
        )
    ]
    found = summary.find(segments, Occasion(language="en"), short=3, long=20)
    assert faults(found, segments) == ()
    assert len(found.long) == 20
