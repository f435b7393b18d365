"""Passages: all that was said, once, in stretches of a bounded length."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.search.talks import talk

from hansard.model import Segment
from hansard.search.passages import FEWEST, GIANT, MOST, cut, words_of

SEGMENTS = st.lists(
    st.builds(
        lambda words, speaker, pause: (words, speaker, pause),
        st.lists(st.sampled_from(["roof", "rain", "a", "…", "日本語"]), max_size=450),
        st.sampled_from([None, "S1", "S2"]),
        st.floats(0, 5),
    ),
    max_size=12,
)


def laid(parts: list[tuple[list[str], str | None, float]]) -> list[Segment]:
    at, made = 0.0, []
    for words, speaker, pause in parts:
        at += pause
        made.append(Segment(at, at + 0.4 * len(words), " ".join(words), speaker=speaker))
        at = made[-1].end
    return made


@given(SEGMENTS)
def test_everything_is_in_one_passage_in_order(
    parts: list[tuple[list[str], str | None, float]],
) -> None:
    segments = laid(parts)
    found = list(cut(segments))
    said = [s.text for s in segments if any(c.isalnum() for c in s.text)]
    assert "".join(p.text for p in found).replace(" ", "") == "".join(said).replace(" ", "")
    assert [p.position for p in found] == list(range(len(found)))
    for passage in found:
        assert 0 <= passage.first <= passage.last < len(segments)
        assert segments[passage.first].start - 1e-6 <= passage.start <= passage.end
        assert passage.end <= segments[passage.last].end + 1e-6
        assert words_of(passage.text) <= (GIANT if passage.first == passage.last else MOST)
    for before, after in pairwise(found):
        assert after.first >= before.last
        assert after.start >= before.start


@given(SEGMENTS)
def test_cutting_again_gives_the_same(parts: list[tuple[list[str], str | None, float]]) -> None:
    assert list(cut(laid(parts))) == list(cut(iter(laid(parts))))


def test_a_passage_ends_where_somebody_else_begins() -> None:
    segments = talk("roof", 1, count=40, words=15)  # turns of five segments: 75 words
    found = list(cut(segments))
    assert [(p.first, p.last) for p in found[:3]] == [(0, 4), (5, 9), (10, 14)]
    assert all(FEWEST <= words_of(p.text) <= MOST for p in found)
    alone = [Segment(s.start, s.end, s.text) for s in segments]
    assert [(p.first, p.last) for p in cut(alone)][:2] == [(0, 7), (8, 15)]


def test_a_giant_segment_is_taken_apart_in_time() -> None:
    found = list(cut([Segment(100.0, 200.0, "word " * 1000)]))
    assert {(p.first, p.last) for p in found} == {(0, 0)}
    assert len(found) > 8
    assert found[0].start == 100.0
    assert found[-1].end == 200.0
    for before, after in pairwise(found):
        assert before.end == after.start


def test_words_are_counted_where_there_are_no_spaces() -> None:
    assert words_of("ein zwei drei") == 3
    assert words_of("今日は予算を話し合います") == 6
    assert words_of("") == 0
