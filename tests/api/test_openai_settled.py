"""What is told early is a beginning of the transcript, word for word, whatever is heard again."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.api.openai_settled import Row, Settled
from hansard.audio.windows import plan
from hansard.model import SAMPLE_RATE, Segment, Span, Utterance, Window, WindowResult, Word
from hansard.speech.coverage import CoverageMeter, second_look, settle
from hansard.speech.join import segments

WORDS = ["order", "the", "minister", "for", "harbours", "said.", "yes,", "no", "hear", "question."]
PAD = 0.2


def recorded(seed: int, *, trouble: float) -> list[Row]:
    """Windows over an hour at most, and what was heard in them first."""
    chance = random.Random(seed)
    spans, at = [], 0.0
    for _ in range(chance.randint(1, 40)):
        at += chance.choice([0.0, 0.3, 0.6, 1.2, 4.0])
        length = chance.uniform(0.5, 28.0)
        spans.append(Span(round(at * SAMPLE_RATE), round((at + length) * SAMPLE_RATE)))
        at += length
    return [(window, answered(window, chance, trouble)) for window in plan(spans, max_seconds=30.0)]


def answered(window: Window, chance: random.Random, trouble: float) -> WindowResult:
    """Words all over a window; in trouble with a hole in them, or with a doubt."""
    words, at = [], chance.uniform(0, 0.4)
    while at < window.seconds - 0.2:
        if chance.random() < trouble:
            at += chance.uniform(1.0, 6.0)
            continue
        end = min(window.seconds, at + chance.uniform(0.1, 0.6))
        words.append(Word(at, end, " " + chance.choice(WORDS)))
        at = end + chance.choice([0.0, 0.02, 0.1, 0.35])
    doubt = "repetition" if chance.random() < trouble else None
    if not words:
        return WindowResult(language="en", doubt=doubt)
    text = "".join(word.text for word in words)
    return WindowResult(
        (Utterance(words[0].start, words[-1].end, text, tuple(words)),), "en", doubt=doubt
    )


def finished(rows: list[Row], seed: int) -> list[Segment]:
    """The transcript, as ``transcription.finish`` makes it."""
    chance = random.Random(seed + 1)
    meter = CoverageMeter(pad=PAD)
    for _ in segments(rows, meter=meter):
        pass
    again = {window.index: window for window in second_look(rows, meter.coverage().gaps)}
    settled = []
    for window, result in rows:
        second = again.get(window.index)
        if second is not None:
            found = settle(window, result, second, answered(second, chance, 0.0))
            settled.append((window, found))
        else:
            settled.append((window, result))
    return list(segments(settled))


def told(rows: list[Row], *, pieces: int = 3) -> list[Segment]:
    """What is told of them when they are done in an order of their own."""
    early: list[Segment] = []
    following = Settled(PAD, early.append)
    done = 0
    while done < len(rows):
        done += pieces
        following.feed(row for row in rows[:done] if row[0].index > following.index)
        # A window that is done before those in front of it is not taken yet.
        following.feed(rows[done + 1 : done + 2])
    following.close()
    following.join()
    return early


def patiently(rows: list[Row]) -> list[Segment]:
    """The same, where the thread has had its time for every row."""
    early: list[Segment] = []
    following = Settled(PAD, early.append)
    following.feed(rows)
    following._rows.put(None)  # the end of the input, without the haste of close()
    following.join()
    return early


@given(seed=st.integers(0, 10**9), trouble=st.sampled_from([0.0, 0.002, 0.02]))
@settings(max_examples=60, deadline=None)
def test_what_is_told_begins_the_transcript(seed: int, trouble: float) -> None:
    rows = recorded(seed, trouble=trouble)
    whole = [segment.text for segment in finished(rows, seed)]
    for early in (patiently(rows), told(rows)):
        assert [segment.text for segment in early] == whole[: len(early)]


@given(seed=st.integers(0, 10**9))
@settings(max_examples=15, deadline=None)
def test_all_but_the_end_is_told_where_all_was_well_heard(seed: int) -> None:
    rows = recorded(seed, trouble=0.0)
    whole = finished(rows, seed)
    assert len(patiently(rows)) >= len(whole) - 6


def test_nothing_is_told_from_the_first_doubt_on() -> None:
    rows = recorded(7, trouble=0.0)
    assert len(rows) > 4
    window, result = rows[2]
    doubted = [*rows[:2], (window, WindowResult(result.utterances, "en", doubt="repetition"))]
    following = Settled(PAD, lambda _: None)
    following.feed([*doubted, *rows[3:]])
    assert following.frozen
    assert following.index == 1
    following.close()
    following.join()
    last = max(segment.end for segment in patiently([*doubted, *rows[3:]]))
    assert last <= window.pieces[0].start / SAMPLE_RATE
