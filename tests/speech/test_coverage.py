from __future__ import annotations

import itertools
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.audio.windows import plan
from hansard.model import (
    SAMPLE_RATE,
    Coverage,
    Gap,
    Segment,
    Span,
    Utterance,
    Window,
    WindowResult,
    Word,
)
from hansard.speech.coverage import (
    GAP,
    TOLERANCE,
    CoverageMeter,
    choose,
    combined,
    second_look,
    settle,
)
from hansard.speech.join import segments

NOTHING = WindowResult(language="en")
GOOD = "The committee heard evidence from the harbour authority."


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def window(*pieces: tuple[float, float], index: int = 0, overlap: float = 0.0) -> Window:
    spans = tuple(Span(samples(start), samples(end)) for start, end in pieces)
    return Window(index, 0, spans, samples(overlap))


def said(*words: tuple[float, float, str], logprob: float | None = None) -> WindowResult:
    timed = tuple(Word(start, end, f" {word}") for start, end, word in words)
    text = "".join(word.text for word in timed)
    utterance = Utterance(words[0][0], words[-1][1], text, timed, avg_logprob=logprob)
    return WindowResult((utterance,), "en")


def metered(windows: list[Window], found: list[tuple[float, float]]) -> Coverage:
    meter = CoverageMeter()
    for here in windows:
        meter.speech(here)
    for start, end in found:
        meter.heard(Segment(start, end, "x"))
    return meter.coverage()


# ── the account ──────────────────────────────────────────────────────────────────────────────


def test_speech_that_is_in_segments_leaves_no_gap() -> None:
    account = metered([window((10, 14), (20, 26))], [(10.3, 13.7), (20.2, 25.7)])
    assert account == Coverage(9.2, 9.2)


def test_speech_that_nobody_heard_is_a_gap_without_its_pads() -> None:
    account = metered([window((10, 14), (20, 26))], [(10.2, 13.8)])
    assert account.gaps == (Gap(20.2, 25.8),)
    assert (account.speech, account.covered) == (9.2, 3.6)


def test_a_gap_in_the_middle_is_what_lies_beyond_the_tolerance() -> None:
    account = metered([window((10, 30))], [(10.2, 15.0), (20.0, 29.8)])
    assert account.gaps == (Gap(15.3, 19.7),)
    assert account.covered == pytest.approx(account.speech - 4.4)


def test_short_holes_are_no_gaps_but_not_covered_either() -> None:
    account = metered([window((10, 20))], [(10.2, 14.0), (15.4, 19.8)])
    assert account.gaps == ()
    assert account.covered == pytest.approx(account.speech - 0.8)


def test_unbroken_speech_over_windows_is_one_stretch_counted_once() -> None:
    windows = [window((0, 28)), window((26, 50), index=1, overlap=2.0)]
    account = metered(windows, [(0.2, 27.0), (29.5, 49.8)])
    assert account.speech == pytest.approx(49.6)
    assert account.gaps == (Gap(27.3, 29.2),)


def test_silence_has_nothing_to_cover() -> None:
    assert CoverageMeter().coverage() == Coverage(0.0, 0.0)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Window], list[tuple[float, float]]]:
    dice = random.Random(draw(st.integers(0, 2**32)))
    spans: list[Span] = []
    at = 0
    for _ in range(dice.randint(0, 30)):
        at += dice.choice([0, samples(0.3), samples(dice.uniform(0.1, 9))])
        length = samples(dice.uniform(0.5, 28))
        spans.append(Span(at, at + length))
        at += length
    found: list[tuple[float, float]] = []
    now = 0.0
    while now < at / SAMPLE_RATE:
        now += dice.choice([0.0, 0.1, dice.uniform(0, 6)])
        found.append((round(now, 3), round(now + dice.uniform(0.1, 15), 3)))
        now = found[-1][1]
    return list(plan(spans, max_seconds=30.0)), found


@given(recordings())
@settings(deadline=None)
def test_every_second_of_speech_is_in_a_segment_or_in_a_gap(
    recording: tuple[list[Window], list[tuple[float, float]]],
) -> None:
    windows, found = recording
    account = metered(windows, found)
    missing = sum(gap.end - gap.start for gap in account.gaps)
    assert account.covered + missing <= account.speech + 0.01
    assert all(gap.end - gap.start >= GAP - 0.01 for gap in account.gaps)
    assert all(a.end <= b.start for a, b in pairwise(account.gaps))
    # By brute force, at every tenth of a second of speech without its pads.
    for here in windows:
        for index, piece in enumerate(here.pieces):
            start = piece.start / SAMPLE_RATE + (here.overlap / SAMPLE_RATE if not index else 0)
            for tick in range(
                int((start + 0.25) * 10) + 1, int((piece.end / SAMPLE_RATE - 0.25) * 10)
            ):
                time = tick / 10
                heard = any(a - TOLERANCE <= time <= b + TOLERANCE for a, b in found)
                gap = any(g.start - 0.001 <= time <= g.end + 0.001 for g in account.gaps)
                near = [
                    abs(time - edge)
                    for a, b in found
                    for edge in (a - TOLERANCE, b + TOLERANCE)
                    if abs(time - edge) < GAP
                ]
                edges = min(time - start, piece.end / SAMPLE_RATE - time)
                assert heard or gap or near or edges < GAP
                assert not (heard and gap) or min(near, default=1) < 0.002


@given(recordings(), st.integers(0, 2**32))
@settings(deadline=None)
def test_how_windows_and_segments_interleave_changes_nothing(
    recording: tuple[list[Window], list[tuple[float, float]]], seed: int
) -> None:
    windows, found = recording
    dice = random.Random(seed)
    meter = CoverageMeter()
    ahead, behind = list(windows), list(found)
    while ahead or behind:
        # A segment is only known once its window is.
        ready = behind and (
            not ahead or behind[0][1] + TOLERANCE < ahead[0].pieces[0].start / SAMPLE_RATE
        )
        if ready and (not ahead or dice.random() < 0.7):
            start, end = behind.pop(0)
            meter.heard(Segment(start, end, "x"))
        elif ahead:
            meter.speech(ahead.pop(0))
    assert meter.coverage() == metered(windows, found)


def test_segments_feeds_the_meter() -> None:
    rows = [
        (window((10, 14)), said((0.3, 0.9, "one"), (1.2, 3.7, "two"))),
        (window((20, 26), index=1), NOTHING),
    ]
    meter = CoverageMeter()
    assert len(list(segments(rows, meter=meter))) == 1
    assert meter.coverage().gaps == (Gap(20.2, 25.8),)


def test_coverage_of_channels_adds_up() -> None:
    parts = [Coverage(5, 3, (Gap(4, 6),)), Coverage(7, 7), Coverage(2, 0, (Gap(1, 3, 2),))]
    assert combined(parts) == Coverage(14, 10, (Gap(1, 3, 2), Gap(4, 6)))


# ── the second look ──────────────────────────────────────────────────────────────────────────


def test_doubtful_windows_are_looked_at_again_as_they_are() -> None:
    here = window((10, 14), index=4, overlap=1.0)
    doubtful = WindowResult(doubt="repetition")
    assert list(second_look([(here, doubtful)], [Gap(11, 13)])) == [here]


def test_good_windows_are_not_looked_at_again() -> None:
    assert list(second_look([(window((10, 14)), said((0.2, 3.8, "one")))], [])) == []


def test_the_gaps_of_a_window_are_looked_at_together_with_their_pads() -> None:
    here = window((10, 20), (30, 40), index=7)
    gaps = [Gap(2, 4), Gap(12, 14), Gap(30, 33), Gap(90, 95)]
    (again,) = second_look([(here, said((0.1, 1.0, "one")))], gaps)
    assert again == window((11.8, 14.2), (30, 33.2), index=7)


def test_a_gap_over_two_windows_is_looked_at_once() -> None:
    first, second = window((0, 28)), window((26, 50), index=1, overlap=2.0)
    rows = [(first, said((0.2, 20.0, "one"))), (second, said((9.0, 23.0, "two")))]
    again = list(second_look(rows, [Gap(24, 31)]))
    assert again == [window((23.8, 28)), window((27.8, 31.2), index=1)]


# ── settling ─────────────────────────────────────────────────────────────────────────────────


def test_words_found_in_a_gap_go_between_those_known() -> None:
    here = window((10, 20), (30, 40), index=7)
    first = said((0.2, 1.0, "one"), (4.5, 5.0, "three"), (13.5, 14.0, "five"))
    again = window((11.8, 14.2), (30, 33.2), index=7)
    second = said((0.5, 2.0, "two"), (2.6, 4.0, "four"))
    whole = settle(here, first, again, second)
    found = list(segments([(here, whole)]))
    assert [w.text for s in found for w in s.words] == ["one", "two", "three", "four", "five"]
    assert [w.start for s in found for w in s.words] == [10.2, 12.3, 14.5, 30.2, 33.5]


def test_words_found_in_a_gap_without_times_are_placed_in_it() -> None:
    here = window((10, 30), index=7)
    first = said((0.2, 1.0, "one"), (14.5, 15.0, "three"))
    again = window((12, 20), index=7)
    second = WindowResult((Utterance(0.0, 8.0, GOOD),), "en")
    found = list(segments([(here, settle(here, first, again, second))]))
    assert [s.text for s in found] == ["one", GOOD, "three"]
    assert (found[1].start, found[1].end) == (12.0, 20.0)


def test_a_doubtful_answer_for_a_gap_is_not_believed() -> None:
    here, again = window((10, 20)), window((12, 14))
    first = said((0.2, 1.0, "one"))
    made_up = WindowResult((Utterance(0, 2, "Thanks for watching!"),), "en", cost=0.5)
    settled = settle(here, first, again, made_up)
    assert settled.utterances == first.utterances
    assert settled.cost == 0.5


@pytest.mark.parametrize(
    ("first", "second", "chosen", "doubt"),
    [
        ("no no " * 20, GOOD, 1, None),
        (GOOD, GOOD + " Again.", 0, None),
        ("no no " * 20, "", 0, "repetition"),
        ("", GOOD, 1, None),
        ("", "yes yes " * 20, 1, "repetition"),
        ("Thanks for watching!", "", 1, "no_speech"),
        ("", "Thanks for watching!", 0, "no_speech"),
    ],
)
def test_the_better_of_two_answers_is_kept(
    first: str, second: str, chosen: int, doubt: str | None
) -> None:
    def answer(text: str) -> WindowResult:
        return WindowResult((Utterance(0, 4, text),) if text else (), "en", cost=0.25)

    better = choose(answer(first), answer(second), 4.5)
    assert better.utterances == (answer(first), answer(second))[chosen].utterances
    assert better.doubt == doubt
    assert better.cost == 0.5


def test_of_two_answers_as_doubtful_the_surer_one_is_kept() -> None:
    poor, poorer = said((0, 4, "one"), logprob=-1.2), said((0, 4, "two"), logprob=-1.9)
    assert choose(poor, poorer, 4.0).utterances == poor.utterances
    assert choose(poorer, poor, 4.0).utterances == poor.utterances


def test_a_retried_window_is_settled_by_choice() -> None:
    here = window((10, 20), index=7, overlap=2.0)
    bad = WindowResult((Utterance(0, 9, "no no " * 20),), "en", doubt="repetition")
    good = said((2.0, 3.0, "one"))
    assert settle(here, bad, here, good).utterances == good.utterances


Timed = tuple[float, str]


def numbered_words(here: Window, count: int) -> list[Timed]:
    """A word each second of the speech that is new in a window, in recording time."""
    words: list[Timed] = []
    for index, piece in enumerate(here.pieces):
        at = (piece.start + (0 if index else here.overlap)) / SAMPLE_RATE + 0.2
        while at + 0.9 <= piece.end / SAMPLE_RATE - 0.2:
            words.append((at, f"n{count + len(words)}"))
            at += 1.0
    return words


def listen(here: Window, truth: list[Timed]) -> WindowResult:
    """What an engine without fault hears of these words in a window."""
    words: list[tuple[float, float, str]] = []
    packed = 0.0
    for piece in here.pieces:
        start, end = piece.start / SAMPLE_RATE, piece.end / SAMPLE_RATE
        words += [
            (packed + time - start, packed + time - start + 0.9, text)
            for time, text in truth
            if start <= time and time + 0.9 <= end
        ]
        packed += end - start
    return said(*words) if words else NOTHING


@given(recordings(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_what_the_first_pass_missed_the_second_puts_in_its_place(
    recording: tuple[list[Window], list[tuple[float, float]]], seed: int
) -> None:
    dice = random.Random(seed)
    truth: dict[int, list[Timed]] = {}
    rows: list[tuple[Window, WindowResult]] = []
    for here in recording[0]:
        words = numbered_words(here, sum(map(len, truth.values())))
        truth[here.index] = words
        # The first pass misses runs of words.
        missing = list(
            itertools.accumulate(words, lambda m, _: m ^ (dice.random() < 0.25), initial=False)
        )
        rows.append(
            (here, listen(here, [w for w, gone in zip(words, missing, strict=False) if not gone]))
        )
    meter = CoverageMeter()
    once = list(segments(rows, meter=meter))
    gaps = meter.coverage().gaps
    again = {here.index: here for here in second_look(rows, gaps)}
    settled = [
        (
            here,
            settle(here, result, again[here.index], listen(again[here.index], truth[here.index])),
        )
        if here.index in again
        else (here, result)
        for here, result in rows
    ]
    found = [word.text for s in segments(settled) for word in s.words]
    numbers = [int(text[1:]) for text in found]
    assert numbers == sorted(set(numbers))  # in order, none twice
    assert {w.text for s in once for w in s.words} <= set(found)
    in_gaps = {
        text
        for time, text in itertools.chain(*truth.values())
        if any(gap.start <= time and time + 0.9 <= gap.end for gap in gaps)
    }
    assert in_gaps <= set(found)
