from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.model import SAMPLE_RATE, Segment, Span, Utterance, Window, WindowResult, Word
from hansard.speech.join import LONGEST, WIDEST, merge, segments

Row = tuple[Window, WindowResult]


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def window(*pieces: tuple[float, float], index: int = 0, overlap: float = 0.0) -> Window:
    spans = tuple(Span(samples(start), samples(end)) for start, end in pieces)
    return Window(index, 0, spans, samples(overlap))


def said(
    *words: tuple[float, float, str], text: str | None = None, language: str | None = "en"
) -> WindowResult:
    """One utterance of timed words, spaced as Whisper spaces them."""
    timed = tuple(Word(start, end, f" {word}", 0.9) for start, end, word in words)
    whole = "".join(word.text for word in timed) if text is None else text
    return WindowResult((Utterance(words[0][0], words[-1][1], whole, timed),), language)


def joined(*rows: Row, limit: float | None = None) -> list[Segment]:
    return list(segments(rows, limit=limit))


def texts(found: list[Segment]) -> list[str]:
    return [segment.text for segment in found]


def spoken(found: list[Segment]) -> list[str]:
    return [word.text for segment in found for word in segment.words]


def assert_sound(found: list[Segment], limit: float | None = None) -> None:
    """What holds for every transcript of one channel."""
    for segment in found:
        assert segment.start <= segment.end
        assert segment.text == segment.text.strip() != ""
        assert limit is None or segment.end <= limit
        edges = [segment.start, *(t for w in segment.words for t in (w.start, w.end)), segment.end]
        assert edges == sorted(edges)
        assert all(time == round(time, 3) for time in edges)
    for before, after in pairwise(found):
        assert before.end <= after.start
        assert after.paragraph - before.paragraph in {0, 1}


# ── places and times ─────────────────────────────────────────────────────────────────────────


def test_words_go_back_to_their_place_in_the_recording() -> None:
    row = window((10, 12), (12.5, 14))
    result = said((0.5, 1.0, "one"), (1.2, 1.9, "two"), (2.1, 2.6, "three"))
    (segment,) = joined((row, result))
    assert [(w.start, w.end, w.text) for w in segment.words] == [
        (10.5, 11.0, "one"),
        (11.2, 11.9, "two"),
        (12.6, 13.1, "three"),
    ]
    assert (segment.start, segment.end, segment.text) == (10.5, 13.1, "one two three")


def test_a_segment_is_split_where_silence_was_left_out() -> None:
    row = window((10, 12), (60, 62))
    found = joined((row, said((1.0, 1.9, "before"), (2.1, 2.9, "after"))))
    assert [(s.start, s.end, s.text) for s in found] == [
        (11.0, 11.9, "before"),
        (60.1, 60.9, "after"),
    ]
    assert [s.paragraph for s in found] == [0, 1]


def test_a_word_over_a_seam_is_clipped_to_the_piece_that_has_most_of_it() -> None:
    row = window((10, 12), (60, 62))
    (segment,) = joined((row, said((1.5, 2.1, "word"))))
    assert (segment.start, segment.end) == (11.5, 12.0)
    (segment,) = joined((row, said((1.9, 2.6, "word"))))
    assert (segment.start, segment.end) == (60.0, 60.6)


def test_a_word_of_no_length_at_a_seam_stays_in_one_piece() -> None:
    row = window((10, 12), (60, 62))
    (segment,) = joined((row, said((2.0, 2.0, "word"))))
    assert segment.start == segment.end == 60.0


def test_times_stay_inside_the_recording_and_in_order() -> None:
    row = window((0, 5))
    result = said((0.5, 2.5, "a"), (1.0, 1.4, "b"), (0.9, 1.2, "c"), (4.5, 9.0, "d"))
    found = joined((row, result), limit=4.9)
    assert_sound(found, 4.9)
    assert spoken(found) == ["a", "b", "c", "d"]


@given(
    st.lists(
        st.tuples(st.floats(-2, 40), st.floats(-2, 40), st.sampled_from(["so", "it", "is."])),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_times_an_engine_gives_no_word_is_lost(
    words: list[tuple[float, float, str]],
) -> None:
    row = window((3, 13), (20, 30), (31, 41))
    found = joined((row, said(*words)), limit=40.5)
    assert_sound(found, 40.5)
    assert spoken(found) == [word for _, _, word in words]


# ── text ─────────────────────────────────────────────────────────────────────────────────────


def test_scripts_without_spaces_get_none() -> None:
    signs = "今天天气很好。我们去公园。"
    words = tuple(Word(k * 0.2, k * 0.2 + 0.2, s) for k, s in enumerate("今天天气很好我们去公园"))
    timed = WindowResult((Utterance(0, 3, signs, words),), "zh")
    untimed = WindowResult(
        (Utterance(0, 3, "今天天气很好。"), Utterance(3, 6, "我们去公园。")), "zh"
    )
    row = window((0, 6))
    assert texts(joined((row, timed))) == ["今天天气很好。", "我们去公园。"]
    assert texts(joined((row, untimed))) == ["今天天气很好。", "我们去公园。"]
    plain = WindowResult((Utterance(0, 3, "今天天气"), Utterance(3, 6, "很好")), "zh")
    assert texts(joined((row, plain))) == ["今天天气很好"]


def test_thai_keeps_its_own_spaces() -> None:
    text = "ขอบคุณทุกท่าน ที่มาประชุม"
    row = (window((0, 6)), WindowResult((Utterance(0, 5, text),), "th"))
    assert texts(joined(row)) == [text]


def test_punctuation_between_words_is_kept_where_the_engine_put_it() -> None:
    text = "“Well,” he said — and left."
    words = tuple(
        Word(k * 0.5, k * 0.5 + 0.4, w) for k, w in enumerate(["Well", "he", "said", "and", "left"])
    )
    (segment,) = joined((window((0, 5)), WindowResult((Utterance(0, 3, text, words),))))
    assert segment.text == text


def test_words_that_are_not_those_of_the_text_are_believed() -> None:
    words = (Word(0, 0.4, "twenty"), Word(0.4, 0.8, "one"))
    (segment,) = joined((window((0, 5)), WindowResult((Utterance(0, 1, "21", words),))))
    assert segment.text == "twenty one"


def test_text_in_no_word_is_not_lost() -> None:
    words = (Word(0, 0.4, "we"), Word(0.8, 1.2, "agreed"))
    utterance = Utterance(0, 2, "we all agreed then", words)
    (segment,) = joined((window((0, 5)), WindowResult((utterance,))))
    assert segment.text == "we all agreed then"


def test_utterances_without_word_times_are_spread_over_their_length() -> None:
    row = window((10, 20))
    found = joined((row, WindowResult((Utterance(0, 10, "aaaa bbbb. Cccc dddd."),))))
    assert [(s.start, s.end, s.text, s.words) for s in found] == [
        (10.0, 15.0, "aaaa bbbb.", ()),
        (15.0, 20.0, "Cccc dddd.", ()),
    ]


# ── sentences and paragraphs ─────────────────────────────────────────────────────────────────


def stream(text: str, *, every: float = 0.4, start: float = 0.0) -> list[tuple[float, float, str]]:
    return [(start + k * every, start + (k + 0.8) * every, w) for k, w in enumerate(text.split())]


def test_segments_end_with_their_sentences() -> None:
    words = stream("Is it? Yes! It is. Dr. Smith of the U.S. Navy paid 3.50 today, etc. and left.")
    assert texts(joined((window((0, 30)), said(*words)))) == [
        "Is it?",
        "Yes!",
        "It is.",
        "Dr. Smith of the U.S. Navy paid 3.50 today, etc. and left.",
    ]


def test_a_long_pause_ends_a_segment_and_a_longer_one_a_paragraph() -> None:
    words = [*stream("one two"), *stream("three four", start=2.0), *stream("five", start=6.0)]
    found = joined((window((0, 30)), said(*words)))
    assert texts(found) == ["one two", "three four", "five"]
    assert [s.paragraph for s in found] == [0, 0, 1]


def test_a_long_sentence_is_cut_at_its_clauses() -> None:
    text = " ".join(f"w{k}," if k % 12 == 11 else f"w{k}" for k in range(200))
    found = joined((window((0, 90)), said(*stream(text))))
    assert " ".join(texts(found)) == text
    assert all(segment.text.endswith(",") for segment in found[:-1])
    assert all(s.end - s.start <= LONGEST and len(s.text) <= WIDEST for s in found)


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_no_segment_is_too_long(seed: int) -> None:
    dice = random.Random(seed)
    words, at = [], 0.0
    while at < 120:
        length = dice.choice([0.1, 0.3, 1.0])
        words.append((at, at + length, "x" * dice.randint(1, 30) + dice.choice(["", "", ",", "."])))
        at += length + dice.choice([0, 0, 0.1, 0.5, 1.0])
    found = joined((window((0, 125)), said(*words)))
    assert_sound(found)
    assert all(s.end - s.start <= LONGEST and len(s.text) <= WIDEST for s in found)
    assert " ".join(texts(found)) == " ".join(word for _, _, word in words)


def test_paragraphs_end_after_enough_sentences_or_text() -> None:
    sentence = "The harbour authority gave evidence on the cost of the new pier."
    found = joined((window((0, 400)), said(*stream(" ".join([sentence] * 20)))))
    sizes = [len(list(group)) for _, group in itertools.groupby(found, lambda s: s.paragraph)]
    assert sizes == [5, 5, 5, 5]


def test_measures_are_of_the_utterance_that_gave_most() -> None:
    words = stream("one two three four five")
    row = WindowResult(
        (
            Utterance(0, 0.4, " one", (Word(*words[0][:2], " one"),), (7,), 0.0, -0.9, 1.0, 0.5),
            Utterance(
                0.4,
                2,
                " two three four five",
                tuple(Word(a, b, f" {w}") for a, b, w in words[1:]),
                (8, 9),
                0.2,
                -0.1,
                1.1,
                0.1,
            ),
        )
    )
    (segment,) = joined((window((0, 5)), row))
    assert (segment.avg_logprob, segment.temperature, segment.no_speech_prob) == (-0.1, 0.2, 0.1)
    assert segment.tokens == (7, 8, 9)


# ── overlaps ─────────────────────────────────────────────────────────────────────────────────

Said = tuple[float, float, str]


@st.composite
def streams(draw: st.DrawFn, vocabulary: tuple[str, ...]) -> list[Said]:
    """Words said without long pauses, about a minute and a half; few words, so they repeat."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    words: list[Said] = []
    at = 0.0
    while at < 90:
        length = dice.uniform(0.12, 0.6)
        words.append((at, at + length, dice.choice(vocabulary)))
        at += length + dice.choice([0.0, 0.0, 0.02, 0.1, 0.4])
    return words


def heard_in_windows(
    words: list[Said],
    cuts: list[float],
    dice: random.Random,
    *,
    timed: bool,
    overlap: float = 2.0,
    misheard: float = 0.0,
) -> list[Row]:
    """What an engine would hear of a stream cut at these instants, each window 2 s early.

    Times are off by up to 60 ms. A word that a window's edge goes through is heard as another
    word, or not at all, unless most of it is inside.
    """
    rows: list[Row] = []
    for index, (cut, end) in enumerate(pairwise([0.0, *cuts, words[-1][1]])):
        back = overlap if index else 0.0
        start = cut - back
        inside: list[Said] = []
        for began, ended, word in words:
            part = min(ended, end) - max(began, start)
            if part <= 0:
                continue
            text = word if dice.random() >= misheard else f"mis{word}"
            if part < 0.999 * (ended - began):
                if dice.random() < 0.5:
                    continue
                text = f"{word[:1]}~"
            shift = dice.uniform(-0.06, 0.06)
            inside.append(
                (
                    min(max(began + shift, start), end) - start,
                    min(max(ended + shift, start), end) - start,
                    text,
                )
            )
        here = window((start, end), index=index, overlap=back)
        if timed:
            result = said(*inside) if inside else WindowResult(language="en")
        else:
            text = " ".join(word for _, _, word in inside)
            result = WindowResult((Utterance(0.0, end - start, text),), "en")
        rows.append((here, result))
    return rows


@st.composite
def cut_places(draw: st.DrawFn) -> list[float]:
    dice = random.Random(draw(st.integers(0, 2**32)))
    cuts, at = [], dice.uniform(6, 28)
    while at < 84:
        cuts.append(at)
        at += dice.uniform(5, 28)
    return cuts


@given(words=streams(("the", "pier", "no", "cost", "we")), cuts=cut_places(), seed=st.integers())
@settings(max_examples=300, deadline=None)
def test_a_stream_heard_in_overlapping_windows_joins_to_the_same_words(
    words: list[Said], cuts: list[float], seed: int
) -> None:
    rows = heard_in_windows(words, cuts, random.Random(seed), timed=True)
    found = joined(*rows)
    assert_sound(found)
    assert spoken(found) == [word for _, _, word in words]
    assert " ".join(texts(found)) == " ".join(word for _, _, word in words)


NUMBERED = tuple(f"word{k}" for k in range(500))


@given(seed=st.integers(0, 2**32), cuts=cut_places())
@settings(max_examples=100, deadline=None)
def test_windows_without_word_times_join_by_their_text(seed: int, cuts: list[float]) -> None:
    dice = random.Random(seed)
    words: list[Said] = []
    at = 0.0
    for name in NUMBERED:
        if at > 90:
            break
        length = dice.uniform(0.25, 0.45)
        words.append((at, at + length, name))
        at += length
    rows = heard_in_windows(words, cuts, dice, timed=False)
    got = " ".join(texts(joined(*rows))).split()
    assert [word for word in got if "~" not in word] == [word for _, _, word in words]


def test_words_that_two_windows_hear_differently_come_once() -> None:
    overlaps = twice = 0
    for seed in range(60):
        dice = random.Random(seed)
        words: list[Said] = []
        at = 0.0
        while at < 90:
            length = dice.uniform(0.12, 0.6)
            words.append((at, at + length, f"word{len(words)}"))
            at += length + dice.choice([0.0, 0.02, 0.1, 0.4])
        cuts = [k * 6.5 + dice.uniform(0, 2) for k in range(1, 13)]
        rows = heard_in_windows(words, cuts, dice, timed=True, misheard=0.2)
        found = [word.removeprefix("mis") for word in spoken(joined(*rows))]
        assert set(found) >= {word for _, _, word in words}  # nothing lost
        overlaps += len(cuts)
        twice += len(found) - len(set(found))
    assert twice / overlaps < 0.01


def test_the_word_further_from_the_edge_of_its_window_is_kept() -> None:
    first = (window((0, 10)), said((8.2, 8.5, "the"), (8.6, 9.0, "new"), (9.6, 10.0, "peer")))
    second = (
        window((8, 18), index=1, overlap=2.0),
        said((0.0, 0.2, "duh"), (0.6, 1.0, "new"), (1.6, 2.2, "pier"), (2.4, 2.8, "is")),
    )
    assert spoken(joined(first, second)) == ["the", "new", "pier", "is"]


def test_windows_that_agree_on_nothing_are_cut_between_words() -> None:
    first = (window((0, 10)), said((7.0, 7.4, "one"), (8.2, 8.8, "two"), (9.1, 9.9, "tree")))
    second = (
        window((8, 18), index=1, overlap=2.0),
        said((0.2, 0.8, "to"), (1.1, 1.9, "three"), (2.4, 2.8, "four")),
    )
    assert spoken(joined(first, second)) == ["one", "two", "three", "four"]


def test_what_only_one_window_heard_in_the_overlap_is_kept() -> None:
    words = said((8.2, 8.8, "two"), (9.1, 9.8, "three"))
    empty = WindowResult(language="en")
    early, late = window((0, 10)), window((8, 18), index=1, overlap=2.0)
    assert spoken(joined((early, words), (late, empty))) == ["two", "three"]
    later = said((0.2, 0.8, "two"), (1.1, 1.9, "three"), (3.0, 3.2, "four"))
    assert spoken(joined((early, empty), (late, later))) == ["two", "three", "four"]
    some = said((0.2, 0.8, "two"), (3.0, 3.2, "four"))
    assert spoken(joined((early, words), (late, some))) == ["two", "three", "four"]


def test_an_overlap_after_a_missing_window_loses_nothing() -> None:
    late = window((8, 18), index=5, overlap=2.0)
    assert spoken(joined((late, said((0.1, 0.5, "two"), (3.0, 3.2, "four"))))) == ["two", "four"]


# ── streaming ────────────────────────────────────────────────────────────────────────────────


def test_segments_come_while_windows_are_still_being_heard() -> None:
    pulled: list[int] = []

    def rows() -> Iterator[Row]:
        for index in range(5):
            pulled.append(index)
            start = index * 10.0
            yield window((start, start + 8), index=index), said(*stream("It is so. It was so."))

    found = segments(rows())
    assert next(found).text == "It is so."
    assert pulled == [0, 1]
    assert len(list(found)) == 9


def test_ten_hours_take_no_more_memory_than_one() -> None:
    def rows(hours: float) -> Iterator[Row]:
        for index in range(round(hours * 120)):
            start = index * 30.0
            back = 2.0 if index else 0.0
            text = " ".join(f"w{index}-{k}" for k in range(60))
            yield (
                window((start - back, start + 30), index=index, overlap=back),
                said(*stream(text, start=back)),
            )

    def peak(hours: float) -> int:
        tracemalloc.start()
        count = sum(1 for _ in segments(rows(hours)))
        assert count > hours * 120
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(0.1)
    assert peak(5.0) < 2 * peak(0.5)  # one word a window kept would be six times as much


def test_nothing_gives_nothing() -> None:
    assert joined() == []
    assert joined((window((0, 5)), WindowResult())) == []
    assert joined((window((0, 5)), WindowResult((Utterance(0, 5, "  "),)))) == []


# ── several channels ─────────────────────────────────────────────────────────────────────────


def test_channels_are_merged_by_time_with_paragraphs_of_their_own() -> None:
    left = [Segment(0, 1, "a"), Segment(1.5, 2, "b"), Segment(9, 10, "c", paragraph=1)]
    right = [Segment(1.2, 3, "x", channel=1), Segment(3, 4, "y", channel=1)]
    found = list(merge([iter(left), iter(right)]))
    assert texts(found) == ["a", "x", "b", "y", "c"]
    assert [s.paragraph for s in found] == [0, 1, 2, 3, 4]
    assert list(merge([iter(left)])) == left


@pytest.mark.parametrize("lists", [[], [[]], [[], []]])
def test_channels_without_speech_merge_to_nothing(lists: list[list[Segment]]) -> None:
    assert list(merge(lists)) == []
