"""Summaries and chapters: of the meeting's own words, from all of it, in its order."""

from __future__ import annotations

import numpy as np
import pytest
from tests.insight.conftest import said

from hansard.insight import chapters, phrases, summary, vectors
from hansard.insight.citations import faults
from hansard.insight.findings import Occasion
from hansard.insight.languages import Stems, words
from hansard.insight.sentences import split
from hansard.model import Segment

KNOWN = ("office", "pool", "release", "ward", "depot", "kitchen")


@pytest.mark.parametrize("style", ["written", "heard"])
def test_a_summary_comes_from_all_of_a_meeting_in_its_order(style) -> None:
    import minutes

    for name in KNOWN:
        meeting = minutes.read(name)
        segments, of = minutes.segments(meeting, style)
        found = summary.find(segments, meeting.occasion)
        assert faults(found, segments) == ()
        assert len(found.short) == 3
        cited = [statement.segments[0] for statement in found.long]
        assert cited == sorted(cited)
        topics = {meeting.sentences[of[at]].topic for at in cited}
        assert len(topics) >= len(meeting.topics) - 1
        assert found == summary.find(segments, meeting.occasion)


def test_what_is_said_twice_is_in_a_summary_once() -> None:
    line = "S1: The council wants to build a bridge over the river."
    other = "S1: The school needs another teacher for the youngest children."
    found = summary.find(said(line, line, line, other), Occasion(language="en"), short=2)
    assert len({statement.text for statement in found.short}) == 2


def test_many_blocks_are_ranked_against_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import minutes

    meeting = minutes.read("pool")
    segments, _ = minutes.segments(meeting, "written")
    whole = summary.find(segments, meeting.occasion)
    monkeypatch.setattr(summary, "BLOCK", 20)
    parts = summary.find(segments, meeting.occasion)
    assert faults(parts, segments) == ()
    both = {statement.segments for statement in parts.long} & {s.segments for s in whole.long}
    assert both


def test_a_walk_ends_where_most_sentences_point() -> None:
    from scipy.sparse import csr_array

    likeness = csr_array(
        np.array([[1, 0.5, 0.5, 0], [0.5, 1, 0, 0], [0.5, 0, 1, 0], [0, 0, 0, 1.0]])
    )
    scores = vectors.central(likeness, np.ones(4), threshold=0.1, damping=0.85)
    assert scores.sum() == pytest.approx(1.0)
    assert scores.argmax() == 0
    assert scores[3] == scores.min()


def test_vectors_have_length_one_or_none() -> None:
    rows = vectors.tf_idf([["bus", "stop"], [], ["bus"]]).toarray()
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1.0, 0.0, 1.0])


@pytest.mark.parametrize("style", ["written", "heard"])
def test_chapters_begin_where_topics_do(style) -> None:
    """A boundary of ours is near a true one; the bench prints Pk and WindowDiff."""
    import minutes

    near = total = 0
    for name in KNOWN:
        meeting = minutes.read(name)
        segments, of = minutes.segments(meeting, style)
        found = chapters.find(segments, meeting.occasion)
        assert faults(found, segments) == ()
        topics = [meeting.sentences[at].topic for at in of]
        true = [at for at in range(1, len(topics)) if topics[at] != topics[at - 1]]
        near += sum(
            any(abs(chapter.first - at) <= 3 for chapter in found.chapters[1:]) for at in true
        )
        total += max(len(true), len(found.chapters) - 1)
    assert near / total > 0.75


def test_chapters_leave_nothing_out_and_have_titles_of_their_own() -> None:
    import minutes

    meeting = minutes.read("pool")
    segments, _ = minutes.segments(meeting, "written")
    padded = [Segment(0.0, 0.0, ""), *segments, Segment(999.0, 999.0, " ")]
    found = chapters.find(padded, meeting.occasion).chapters
    assert found[0].first == 0
    assert found[-1].last == len(padded) - 1
    titles = [chapter.title for chapter in found]
    assert len(set(titles)) == len(titles)
    assert all(title[0].isupper() for title in titles)
    said_ = set(words(" ".join(segment.text for segment in segments)))
    assert all(set(words(phrase)) <= said_ for chapter in found for phrase in chapter.phrases)
    assert not {"omar", "tomas", "ingrid"} & {p for chapter in found for p in chapter.phrases}


def test_a_turn_to_the_next_point_is_worth_a_chapter() -> None:
    lines = [f"S1: The bridge over the river number {at} is old and rusty." for at in range(12)]
    more = [f"S2: The school has too few teachers for class {at}." for at in range(12)]
    segments = said(*lines, "S1: Let's move on to the school.", *more)
    sentences = split(segments)
    stems = Stems("en")
    begins = chapters.boundaries(sentences, [stems.of(one.words) for one in sentences], "en")
    assert begins == [0, 12]


def test_one_topic_is_one_chapter() -> None:
    lines = [f"S1: The bridge over the river is old, and span {at} is rusty." for at in range(20)]
    assert len(chapters.find(said(*lines), Occasion(language="en")).chapters) == 1


def test_a_chapter_about_nothing_is_untitled() -> None:
    sentences = split(said("S1: Yes.", "S2: Well, no."))
    ((title, named),) = phrases.titles(sentences, [(0, 2)], "en")
    assert (title, named) == (phrases.UNTITLED, ())
