# ruff: noqa: RUF001  (signs of other scripts are meant as they stand)
"""From windows to segments: words in recording time, heard once, formed into sentences.

The flow, each step a generator that holds a window or a segment and no more::

    windows ─ heard ─▶ words ─ overlap ─▶ heard once ─ in order ─▶ phrases ─▶ segments ─▶ paragraphs

An engine's utterances are not kept as they are: they end where a window ends, run over silences
that were left out, and last as long as the engine liked. Segments end at the end of a sentence, at
a pause, and where they would grow too long, never inside a word. ``merge`` puts several channels
into one order of time.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hansard import telemetry
from hansard.model import SAMPLE_RATE, Segment, Utterance, Window, WindowResult, Word
from hansard.speech.heard import Heard, heard, written
from hansard.speech.overlap import reconcile

if TYPE_CHECKING:
    from hansard.speech.coverage import CoverageMeter

PAUSE = 0.8
"""Seconds of silence that end a segment: longer than any pause for breath inside a phrase."""

LONGEST = 20.0
"""Seconds a segment may last, unless one word lasts longer."""

WIDEST = 250
"""Characters a segment may have: three cues of two lines of 42."""

PARAGRAPH_PAUSE = 2.0
"""Seconds of silence that begin a paragraph."""

PARAGRAPH_SENTENCES, PARAGRAPH_LEAST = 5, 250
"""A paragraph ends after so many sentences, provided they have so many characters."""

PARAGRAPH_CHARACTERS, PARAGRAPH_MOST = 600, 1200
"""Characters after which a paragraph ends with its sentence; and with its segment, where the
engine writes no full stops."""

_STOPS = ".?!。？！．।॥؟۔։።｡"
_CLOSERS = "\"'”’»›)]}）」』】〉》"
_SENTENCE_END = re.compile(rf"[{re.escape(_STOPS)}][{re.escape(_CLOSERS)}]*$")
_CLAUSE_END = re.compile(rf"[,;:—–、，；：،؛…][{re.escape(_CLOSERS)}]*$")
_ABBREVIATION = re.compile(
    r"^\W*(?:(?:\w\.)+|\d+\.|.*\.{2,}|"
    r"(?:mr|mrs|ms|messrs|dr|prof|rev|hon|gen|col|capt|lt|sgt|st|mt|jr|sr|vs|vol|approx|dept|etc|"
    r"bzw|usw|nr|mme|mlle|sra|srta)\.)$",
    re.IGNORECASE,
)
"""A word whose stop is no full stop: initials, ordinals, an ellipsis, titles."""
_SHORT = 5
"""A word no longer than this, stop included, may be any abbreviation if a small letter follows."""
_STOP_PAUSE = 0.3
"""Seconds of silence after which the stop of an abbreviation ends its sentence too."""
_CLAUSE_WORTH = 0.4
"""A comma is as good a place to cut a segment as so many seconds of silence."""


def segments(
    results: Iterable[tuple[Window, WindowResult]],
    *,
    limit: float | None = None,
    meter: CoverageMeter | None = None,
) -> Iterator[Segment]:
    """The segments of **one channel**, streamed.

    Starts do not decrease, segments do not overlap, words lie inside their segment; times are
    rounded to the millisecond. Measures are those of the utterance that gave most of a segment;
    an utterance's tokens go with its first word.

    Args:
        results: windows of the channel with their answers, by ascending index.
        limit: length of the recording in seconds; nothing is placed after it.
        meter: is told of each window and each segment, for the coverage of the channel.
    """
    words = _in_order(_once(results, meter), limit)
    for segment in _paragraphs(_phrases(words)):
        if meter is not None:
            meter.heard(segment)
        yield segment


def merge(channels: Sequence[Iterable[Segment]]) -> Iterator[Segment]:
    """Segments of several channels in one order of time, streamed.

    Paragraphs are counted anew: one ends where the speaker's channel changes.
    """
    paragraph, last = -1, None
    for segment in heapq.merge(*channels, key=lambda s: (s.start, s.end, s.channel)):
        here = (segment.channel, segment.paragraph)
        if here != last:
            paragraph, last = paragraph + 1, here
        yield replace(segment, paragraph=paragraph)


def _once(
    results: Iterable[tuple[Window, WindowResult]], meter: CoverageMeter | None
) -> Iterator[tuple[int, Heard]]:
    """Every word once, with its channel; holds the words of one window."""
    before: list[Heard] = []
    channel = 0
    for window, result in results:
        with telemetry.span("join"):
            if meter is not None:
                meter.speech(window)
            now = heard(window, result)
            if window.overlap:
                start = window.pieces[0].start
                end = start + window.overlap
                before, now = reconcile(before, now, start / SAMPLE_RATE, end / SAMPLE_RATE)
        yield from ((window.channel, word) for word in before)
        before = now
        channel = window.channel
    yield from ((channel, word) for word in before)


def _in_order(
    words: Iterable[tuple[int, Heard]], limit: float | None
) -> Iterator[tuple[int, Heard]]:
    """Words whose starts do not decrease and that end before the next begins; holds one."""
    held: tuple[int, Heard] | None = None
    for channel, heard_word in words:
        word = heard_word
        if limit is not None:
            word = word._replace(start=min(word.start, limit), end=min(word.end, limit))
        if held is not None:
            last = held[1]
            if last.start < word.start < last.end:
                last = last._replace(end=word.start)
            elif word.start < last.end or word.start < last.start:
                # Begun at once or out of order: they share the time of the earlier one.
                middle = (last.start + last.end) / 2
                last = last._replace(end=middle)
                word = word._replace(start=middle, end=max(middle, word.end))
            yield held[0], last
        held = channel, word
    if held is not None:
        yield held


def _phrases(words: Iterable[tuple[int, Heard]]) -> Iterator[tuple[Segment, bool]]:
    """Words formed into segments, each with whether it ends a sentence; holds one segment."""
    phrase: list[Heard] = []
    channel = 0
    for channel, word in words:
        if phrase and _parts(phrase[-1], word):
            yield _segment(phrase, channel)
            phrase = []
        while phrase and _too_long(phrase, word):
            at = _best_cut([*phrase, word])
            yield _segment(phrase[:at], channel)
            phrase = phrase[at:]
        phrase.append(word)
    if phrase:
        yield _segment(phrase, channel)


def _parts(before: Heard, after: Heard) -> bool:
    """Whether a segment ends between two words."""
    return (
        after.start - before.end > PAUSE
        or before.language != after.language
        or _ends_sentence(before, after)
    )


def _ends_sentence(word: Heard, after: Heard | None) -> bool:
    """Whether a sentence ends with a word; the stop of an abbreviation does not end one."""
    text = word.text.strip()
    if not _SENTENCE_END.search(text):
        return False
    if after is None or after.start - word.end >= _STOP_PAUSE:
        return True
    begins = after.text.strip().lstrip(_CLOSERS + "“‘«¿¡(")[:1]
    short = begins.islower() and len(text) <= _SHORT
    return not (text.endswith(".") and (short or _ABBREVIATION.match(text)))


def _too_long(phrase: Sequence[Heard], word: Heard) -> bool:
    characters = sum(len(part.text) for part in phrase)
    return word.end - phrase[0].start > LONGEST or characters + len(word.text) > WIDEST + 1


def _best_cut(words: Sequence[Heard]) -> int:
    """Where to cut a segment that would grow too long: before which of its words.

    In its second half, after the longest pause, where a clause's end counts as a pause.
    """

    def merit(index: int) -> tuple[float, int]:
        pause = words[index].start - words[index - 1].end
        clause = bool(_CLAUSE_END.search(words[index - 1].text.strip()))
        return round(pause + _CLAUSE_WORTH * clause, 3), index

    return max(range(max(1, len(words) // 2), len(words)), key=merit)


def _segment(phrase: Sequence[Heard], channel: int) -> tuple[Segment, bool]:
    shares: dict[int, int] = {}
    utterances: dict[int, Utterance] = {}
    for part in phrase:
        key = id(part.utterance)
        shares[key] = shares.get(key, 0) + len(part.text)
        utterances[key] = part.utterance
    most = utterances[max(shares, key=shares.__getitem__)]
    words = tuple(
        Word(round(part.start, 3), round(part.end, 3), part.text.strip(), part.confidence)
        for part in phrase
        if part.timed
    )
    segment = Segment(
        round(phrase[0].start, 3),
        round(phrase[-1].end, 3),
        written(phrase),
        words,
        channel=channel,
        language=phrase[0].language,
        tokens=tuple(token for part in phrase if part.first for token in part.utterance.tokens),
        temperature=most.temperature,
        avg_logprob=most.avg_logprob,
        compression_ratio=most.compression_ratio,
        no_speech_prob=most.no_speech_prob,
    )
    return segment, _ends_sentence(phrase[-1], None)


def _paragraphs(formed: Iterable[tuple[Segment, bool]]) -> Iterator[Segment]:
    """Number the paragraphs; a segment waits for nothing but itself."""
    paragraph = sentences = characters = 0
    last: tuple[Segment, bool] | None = None
    for segment, ends in formed:
        if last is not None:
            enough = characters >= PARAGRAPH_CHARACTERS or (
                sentences >= PARAGRAPH_SENTENCES and characters >= PARAGRAPH_LEAST
            )
            if (
                segment.start - last[0].end > PARAGRAPH_PAUSE
                or (enough and last[1])
                or characters >= PARAGRAPH_MOST
            ):
                paragraph, sentences, characters = paragraph + 1, 0, 0
        yield replace(segment, paragraph=paragraph)
        last = segment, ends
        sentences += ends
        characters += len(segment.text)
