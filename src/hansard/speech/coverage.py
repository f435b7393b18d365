"""What became of the speech that was detected, and the second look at what was not well heard.

**Accounting.** ``CoverageMeter`` is told of every window and every segment of a channel and
answers with its ``Coverage``. Detected speech that is in no segment for a second or more is a
``Gap``.

**The second look**, once for a recording, when all windows have an answer:

* A *doubtful* window (``WindowResult.doubt``) is decoded again as it is.
* A *gap* is decoded again by itself: all the gaps of one window make one window.

Either way the new window **carries the index of the window it belongs to**, so that
``(index, pass)`` is a key, a first answer has at most one second, and nothing has to be numbered or
sorted again. ``settle`` makes one answer of the two, in the time of the first window; ``join``
then knows nothing of passes. The whole of finishing a channel::

    meter = CoverageMeter()
    for _ in segments(first(), meter=meter):
        pass
    again = second_look(first(), meter.coverage().gaps)     # decode these: pass 1
    …
    meter = CoverageMeter()
    for segment in segments((settled(row) for row in rows()), meter=meter):
        …

where ``settled`` is ``(window, settle(window, result, again, second))`` for windows that have a
second answer and ``(window, result)`` for the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from hansard.audio.windows import to_window
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
from hansard.speech.guards import judge, units
from hansard.speech.heard import Heard, heard, spaced, written

GAP = 1.0
"""Seconds of unheard speech that make a gap: two or three words. What is shorter is mostly breath,
laughter, or the pause of up to 0.7 s that a window keeps between two spans."""

TOLERANCE = 0.3
"""Seconds around a segment that count as heard: engines place the edges of words no better."""

PAD = 0.2
"""Seconds at each end of a detected stretch that are not speech (``VadSettings.pad``), and that
a gap is given on each side, where there is speech, when it is heard again."""

_BADNESS = {None: 0, "logprob": 1, "density": 2, "compression": 3, "repetition": 4}
"""Doubts from light to heavy: rather poor words than none (5), rather none than invented (6)."""
_NOTHING, _MADE_UP = 5, 6


class CoverageMeter:
    """Coverage of one channel, streamed. State: speech that later segments may still cover.

    Windows and segments each come in order; it does not matter how far one runs before the other,
    but only what has not been met by the other is held.

    Args:
        pad: seconds at both ends of a detected stretch that are not speech.
    """

    def __init__(self, *, pad: float = PAD) -> None:
        self._pad = pad
        self._channel = 0
        self._open: list[float] | None = None  # the last stretch, which the next may continue
        self._speech: deque[list[float]] = deque()
        self._heard: deque[list[float]] = deque()
        self._seconds = 0.0
        self._covered = 0.0
        self._gaps: list[Gap] = []

    def speech(self, window: Window) -> None:
        """Take the detected speech of the next window."""
        self._channel = window.channel
        for index, piece in enumerate(window.pieces):
            repeated = window.overlap if index == 0 else 0
            start, end = (piece.start + repeated) / SAMPLE_RATE, piece.end / SAMPLE_RATE
            if repeated and self._open is not None and abs(self._open[1] - start) < 1e-6:
                self._open[1] = end
                continue
            self._close_speech()
            self._open = [start if repeated else min(start + self._pad, end), end]

    def heard(self, segment: Segment) -> None:
        """Take the next segment."""
        start, end = segment.start - TOLERANCE, segment.end + TOLERANCE
        if self._heard and start <= self._heard[-1][1]:
            self._heard[-1][1] = max(self._heard[-1][1], end)
        else:
            self._heard.append([start, end])
        self._account(start)

    @property
    def missed(self) -> int:
        """Gaps found so far."""
        return len(self._gaps)

    @property
    def unsettled(self) -> float:
        """Where the first speech begins that is not accounted for yet; infinity: there is none."""
        if self._speech:
            return self._speech[0][0]
        return self._open[0] if self._open is not None else float("inf")

    def coverage(self) -> Coverage:
        """The account of the whole channel. The meter is spent."""
        self._close_speech()
        self._account(None)
        return Coverage(round(self._seconds, 3), round(self._covered, 3), tuple(self._gaps))

    def _close_speech(self) -> None:
        if self._open is not None:
            start, end = self._open
            self._speech.append([start, max(start, end - self._pad)])
            self._open = None

    def _account(self, before: float | None) -> None:
        """Settle the stretches that no segment after ``before`` can cover; ``None``: all."""
        while self._speech and (before is None or self._speech[0][1] <= before):
            start, end = self._speech.popleft()
            self._seconds += end - start
            at = start
            while self._heard and self._heard[0][1] <= start:
                self._heard.popleft()
            for begun, ended in self._heard:
                if begun >= end:
                    break
                self._miss(at, begun)
                self._covered += max(0.0, min(ended, end) - max(begun, at))
                at = max(at, min(ended, end))
            self._miss(at, end)

    def _miss(self, start: float, end: float) -> None:
        if end - start >= GAP:
            self._gaps.append(Gap(round(start, 3), round(end, 3), self._channel))


def combined(parts: Iterable[Coverage]) -> Coverage:
    """The coverage of several channels as one."""
    known = list(parts)
    return Coverage(
        round(sum(part.speech for part in known), 3),
        round(sum(part.covered for part in known), 3),
        tuple(
            sorted(
                (gap for part in known for gap in part.gaps),
                key=lambda gap: (gap.start, gap.end, gap.channel),
            )
        ),
    )


def second_look(
    rows: Iterable[tuple[Window, WindowResult]], gaps: Sequence[Gap]
) -> Iterator[Window]:
    """The windows to decode once more, with fallback settings, streamed.

    Args:
        rows: windows of one channel and their first answers, by ascending index.
        gaps: the gaps of that channel, in order.
    """
    waiting = deque(gaps)
    for window, result in rows:
        if result.doubt is not None:
            yield window
            continue
        first = window.pieces[0].start / SAMPLE_RATE
        while waiting and waiting[0].end <= first:
            waiting.popleft()
        pieces = _unheard(window, waiting)
        if pieces:
            yield Window(window.index, window.channel, pieces)


def _unheard(window: Window, gaps: Iterable[Gap]) -> tuple[Span, ...]:
    """The stretches of a window that lie in gaps, with a pad where there is speech around.

    The overlap belongs to the window before.
    """
    pad = round(PAD * SAMPLE_RATE)
    found: list[Span] = []
    wanted = [
        Span(round(gap.start * SAMPLE_RATE), round(gap.end * SAMPLE_RATE))
        for gap in _until(gaps, window.pieces[-1].end / SAMPLE_RATE)
    ]
    for index, piece in enumerate(window.pieces):
        head = piece.start + (window.overlap if index == 0 else 0)
        for gap in wanted:
            start, end = max(head, gap.start), min(piece.end, gap.end)
            if end <= start:
                continue
            start, end = max(piece.start, start - pad), min(piece.end, end + pad)
            if found and start <= found[-1].end:
                found[-1] = Span(found[-1].start, end)
            else:
                found.append(Span(start, end))
    return tuple(found)


def _until(gaps: Iterable[Gap], end: float) -> Iterator[Gap]:
    for gap in gaps:
        if gap.start >= end:
            return
        yield gap


def settle(
    window: Window, first: WindowResult, again: Window, second: WindowResult
) -> WindowResult:
    """One answer from two, in the time of ``window``.

    Args:
        window: a window of the first pass.
        first: its answer.
        again: what ``second_look`` gave for it.
        second: the answer to that.
    """
    if again.pieces == window.pieces:
        return choose(first, second, window.seconds)
    cost = first.cost + second.cost
    if judge(second, again.seconds) is not None:
        return replace(first, cost=cost)
    found = _in_time_of(window, again, second)
    kept = [
        part
        for utterance in first.utterances
        for part in _opened(utterance, [other.start for other in found])
    ]
    return replace(
        first, cost=cost, utterances=tuple(sorted((*kept, *found), key=lambda u: u.start))
    )


def choose(first: WindowResult, second: WindowResult, seconds: float) -> WindowResult:
    """The better of two answers for the same window; the first where neither is better.

    The lighter doubt wins, then the higher mean log-probability. The cost is that of both; the
    doubt is that of the answer chosen.
    """

    def merit(result: WindowResult, doubt: str | None) -> tuple[int, float]:
        if any(units(utterance.text) for utterance in result.utterances):
            badness = _BADNESS.get(doubt, _MADE_UP)
        else:
            badness = _NOTHING if doubt else 0
        sure = [u.avg_logprob for u in result.utterances if u.avg_logprob is not None]
        return -badness, sum(sure) / len(sure) if sure else float("-inf")

    doubts = (judge(first, seconds) or first.doubt, judge(second, seconds))
    better = merit(second, doubts[1]) > merit(first, doubts[0])
    chosen, doubt = (second, doubts[1]) if better else (first, doubts[0])
    return replace(chosen, doubt=doubt, cost=first.cost + second.cost)


def _in_time_of(window: Window, again: Window, result: WindowResult) -> list[Utterance]:
    """What was heard in the gaps of a window, as utterances of that window, in one piece each."""
    groups: list[list[Heard]] = []
    for word in heard(again, result):
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.utterance is word.utterance
            and _piece(again, last) == _piece(again, word)
        ):
            groups[-1].append(word)
        else:
            groups.append([word])
    found: list[Utterance] = []
    for group in groups:
        words = tuple(
            Word(
                to_window(window, word.start),
                to_window(window, word.end),
                word.text,
                word.confidence,
            )
            for word in group
            if word.timed
        )
        found.append(
            replace(
                group[0].utterance,
                start=to_window(window, group[0].start),
                end=to_window(window, group[-1].end),
                text=written(group),
                words=words,
                tokens=group[0].utterance.tokens if group[0].first else (),
            )
        )
    return found


def _piece(window: Window, word: Heard) -> int:
    """Index of the piece that a word was heard in."""
    middle = word.middle * SAMPLE_RATE
    return next(k for k, p in enumerate(window.pieces) if middle <= p.end)


def _opened(utterance: Utterance, instants: Sequence[float]) -> list[Utterance]:
    """An utterance cut between its words wherever something else was said (window time)."""
    words = utterance.words
    cuts = [
        k
        for k in range(1, len(words))
        if any(_middle(words[k - 1]) < instant <= _middle(words[k]) for instant in instants)
    ]
    if not cuts:
        return [utterance]
    texts = spaced(utterance.text, words)
    parts: list[Utterance] = []
    for first, last in zip([0, *cuts], [*cuts, len(words)], strict=True):
        parts.append(
            replace(
                utterance,
                start=words[first].start,
                end=words[last - 1].end,
                text="".join(texts[first:last]),
                words=words[first:last],
                tokens=utterance.tokens if first == 0 else (),
            )
        )
    return parts


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2
