"""Cues: no text lost, order kept, limits held, times sound, whatever comes in."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hansard.errors import BadSettings
from hansard.formats.cues import GAP_MS, READING_SPEED, SHORTEST_MS, Cue, cues
from hansard.formats.layout import STANDARD, Layout
from hansard.formats.pieces import split, width, words
from hansard.formats.wording import clean
from hansard.model import Segment, Word

LETTERS = st.characters(codec="utf-8")
TEXT = st.one_of(
    st.text(LETTERS, max_size=120),
    st.text("abc,. 我们今天、。「」あっー 한국어 é\u0301", max_size=200),
    st.lists(st.text("abcdefgh,.?!'", min_size=1, max_size=12), max_size=60).map(" ".join),
    st.just("x" * 300),
)
TIME = st.integers(0, 400_000).map(lambda ms: ms / 1000)


@st.composite
def segments(draw: st.DrawFn, *, overlaps: bool = False) -> list[Segment]:
    """Segments in order of start; on one channel they overlap only if that is asked for."""
    out: list[Segment] = []
    free: dict[int, float] = defaultdict(float)
    start = 0.0
    for _ in range(draw(st.integers(0, 8))):
        channel = draw(st.integers(0, 2))
        start += draw(st.floats(0, 20))
        if not overlaps:
            start = max(start, free[channel])
        end = start + draw(st.floats(0, 60))
        free[channel] = end
        text = draw(TEXT)
        timed: tuple[Word, ...] = ()
        if draw(st.booleans()):
            tokens = text.split()
            marks = sorted(draw(st.lists(TIME, min_size=2 * len(tokens), max_size=2 * len(tokens))))
            timed = tuple(
                Word(start + a, start + b, token)
                for a, b, token in zip(marks[::2], marks[1::2], tokens, strict=True)
            )
        speaker = draw(st.sampled_from([None, "Ann", "B" * 60, "陳小姐 and the other one"]))
        out.append(Segment(start, end, text, timed, channel, speaker))
    return out


LAYOUTS = st.builds(
    Layout,
    max_line=st.integers(10, 50),
    max_lines=st.integers(1, 3),
    max_seconds=st.floats(1, 10),
    speakers=st.booleans(),
)


def letters(text: str) -> str:
    return text.replace(" ", "")


def by_channel(found: list[Cue]) -> dict[int, list[Cue]]:
    channels: dict[int, list[Cue]] = defaultdict(list)
    for cue in found:
        channels[cue.channel].append(cue)
    return channels


@given(segments(overlaps=True), LAYOUTS)
def test_no_text_is_lost_and_order_is_kept(given_segments: list[Segment], layout: Layout) -> None:
    found = by_channel(list(cues(given_segments, layout)))
    for channel in range(3):
        said = "".join(letters(clean(s.text)) for s in given_segments if s.channel == channel)
        assert "".join(letters("".join(c.lines)) for c in found[channel]) == said


@given(segments(overlaps=True), LAYOUTS, st.booleans())
def test_limits_hold(given_segments: list[Segment], layout: Layout, prefix: bool) -> None:
    for cue in cues(given_segments, layout, prefix=prefix):
        assert 1 <= len(cue.lines) <= layout.max_lines
        assert all(len(line) > 0 and width(line) <= layout.max_line for line in cue.lines)
        assert 0 < cue.end_ms - cue.start_ms <= layout.max_seconds * 1000


@given(segments(overlaps=True), LAYOUTS, st.booleans())
def test_times_go_forward_and_do_not_overlap(
    given_segments: list[Segment], layout: Layout, prefix: bool
) -> None:
    found = list(cues(given_segments, layout, prefix=prefix))
    assert [c.start_ms for c in found] == sorted(c.start_ms for c in found)
    for channel in by_channel(found).values():
        for a, b in pairwise(channel):
            assert a.end_ms <= b.start_ms
            if b.start_ms - a.start_ms >= 2 * GAP_MS:
                assert b.start_ms - a.end_ms >= GAP_MS


@given(segments(), LAYOUTS)
def test_a_cue_lies_in_its_segment_or_is_read_in_the_silence_after(
    given_segments: list[Segment], layout: Layout
) -> None:
    for segment in given_segments:
        for cue in cues([segment], layout):
            # More cues than milliseconds have to go somewhere.
            slack = len(segment.text) + 1
            assert cue.start_ms >= round(segment.start * 1000)
            assert cue.start_ms <= round(segment.end * 1000) + slack
            reading = sum(map(width, cue.lines)) / READING_SPEED * 1000
            spoken_end = round(segment.end * 1000) + slack
            assert cue.end_ms <= max(spoken_end, cue.start_ms + max(SHORTEST_MS, reading))


@given(segments(overlaps=True), LAYOUTS, st.integers(0, 500_000))
def test_reading_time_is_not_borrowed_beyond_the_recording(
    given_segments: list[Segment], layout: Layout, ends_ms: int
) -> None:
    free = list(cues(given_segments, layout))
    bound = list(cues(given_segments, layout, ends_ms=ends_ms))
    for a, b in zip(free, bound, strict=True):
        assert (b.start_ms, b.lines) == (a.start_ms, a.lines)
        assert b.end_ms <= a.end_ms
        assert b.end_ms == a.end_ms or b.end_ms >= ends_ms


@given(segments())
def test_words_of_a_segment_keep_its_letters_and_times(given_segments: list[Segment]) -> None:
    for segment in given_segments:
        heard = list(words(segment))
        assert "".join(w.text for w in heard) == letters(clean(segment.text))
        times = [t for w in heard for t in (w.start, w.end)]
        assert times == sorted(times)
        assert all(segment.start <= t <= segment.end + 1e-9 for t in times)


def shown(text: str, seconds: float = 6.0, **more: object) -> list[str]:
    segment = Segment(0.0, seconds, text, **more)  # type: ignore[arg-type] # a test's shorthand
    return ["|".join(cue.lines) for cue in cues([segment])]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Short enough for one line.", ["Short enough for one line."]),
        (  # at the clause, though the first line could hold more
            "When the meeting had ended, everybody went home on foot.",
            ["When the meeting had ended,|everybody went home on foot."],
        ),
        (  # before the conjunction
            "The treasurer explained the budget and nobody had questions",
            ["The treasurer explained the budget|and nobody had questions"],
        ),
        (  # of like length
            "alpha bravo charlie delta echo foxtrot golf hotel",
            ["alpha bravo charlie delta|echo foxtrot golf hotel"],
        ),
        (  # a title is not the end of a sentence
            "And now I shall give the floor to Mr. Smith of the finance board.",
            ["And now I shall give the floor to|Mr. Smith of the finance board."],
        ),
        ("a" * 50, ["a" * 42 + "|" + "a" * 8]),
    ],
)
def test_lines_break_where_it_reads_best(text: str, wanted: list[str]) -> None:
    assert shown(text) == wanted


def test_cues_end_with_sentences() -> None:
    text = (
        "That is all for the first item on the list. Let us now go on to the second item, "
        "which has been with us since spring."
    )
    assert shown(text, 9.0)[0].endswith("list.")


def test_wide_characters_count_twice_and_marks_do_not_begin_a_line() -> None:
    (cue,) = cues(
        [Segment(0, 6, "一二三四五六七八九十一二三四五六七八九十。一二三四", language="zh")]
    )
    assert all(width(line) <= 42 and not line.startswith("。") for line in cue.lines)
    assert len(cue.lines) == 2


def test_known_words_of_a_script_without_spaces_stay_whole() -> None:
    parts = ["東京", "都知事", "選挙", "投票", "所"] * 4
    timed = tuple(Word(i * 0.3, i * 0.3 + 0.3, part) for i, part in enumerate(parts))
    found = list(cues([Segment(0, 6, "".join(parts), timed)], Layout(max_line=14)))
    rows = [line for cue in found for line in cue.lines]
    ends = {sum(map(len, parts[:i])) for i in range(len(parts) + 1)}
    assert {sum(map(len, rows[:i])) for i in range(len(rows) + 1)} <= ends


def test_times_come_from_words_whatever_their_case_and_punctuation() -> None:
    timed = (Word(1.0, 1.5, "hello"), Word(2.0, 2.5, "world"), Word(12.0, 13.0, "again"))
    first, second = cues([Segment(0, 20, "Hello, World! Again.", timed)])
    assert (first.start_ms, first.end_ms, first.lines) == (1000, 2500, ("Hello, World!",))
    assert (second.start_ms, second.end_ms) == (12000, 13000)


def test_a_cue_is_not_shown_across_a_long_silence() -> None:
    timed = (Word(0.0, 1.5, "So"), Word(4.8, 6.0, "yes"))
    assert [c.lines for c in cues([Segment(0, 6, "So yes", timed)])] == [("So",), ("yes",)]


def test_a_short_cue_is_held_for_a_second_where_there_is_room() -> None:
    lonely = Segment(1.0, 1.2, "No.")
    crowd = Segment(1.5, 3.0, "Yes, we did.")
    assert [c.end_ms for c in cues([lonely])] == [2000]
    assert [c.end_ms for c in cues([lonely, crowd])] == [1500 - GAP_MS, 3000]
    other = Segment(1.5, 3.0, "Yes, we did.", channel=1)
    assert [c.end_ms for c in cues([lonely, other])] == [2000, 3000]


def test_a_name_is_said_when_the_speaker_changes() -> None:
    said = [Segment(i * 5, i * 5 + 2, "Yes.", speaker=who) for i, who in enumerate("AABA")]
    assert [c.lines[0] for c in cues(said, prefix=True)] == [
        "A: Yes.",
        "Yes.",
        "B: Yes.",
        "A: Yes.",
    ]
    assert {c.lines[0] for c in cues(said, Layout(speakers=False), prefix=True)} == {"Yes."}
    assert [c.speaker for c in cues(said)] == ["A", "A", "B", "A"]


def test_a_name_as_long_as_a_speech_is_shortened_and_stays_with_its_words() -> None:
    (cue,) = cues([Segment(0, 9, "Hm.", (Word(0, 9, "Hm."),), speaker="N" * 500)], prefix=True)
    assert cue.lines == ("N" * 40 + "…:", "Hm.")


@pytest.mark.parametrize(
    "wrong", [{"max_line": 9}, {"max_lines": 0}, {"max_seconds": 0.5}, {"max_seconds": 61}]
)
def test_a_layout_that_no_cue_could_keep_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadSettings):
        Layout(**wrong)  # type: ignore[arg-type] # one field of each kind
    assert STANDARD.max_line == 42


@given(segments(overlaps=True), st.integers(10, 50))
def test_words_that_are_the_text_s_are_timed_as_letters_are(
    given_segments: list[Segment], max_width: int
) -> None:
    for segment in given_segments:
        if segment.words:
            # One more that spells nothing: not as many as in the text, so letters are looked at.
            more = replace(segment, words=(*segment.words, Word(1e9, 1e9, "—")))
            assert split(segment, max_width) == split(more, max_width)
