"""Packs spans of speech into windows that an engine decodes at once, and maps time back.

A window holds consecutive spans, packed end to end; the silence between them is left out. Windows
are filled in order, each as far as the next span still fits. Among packings that keep the order
and cut only between spans none has fewer windows, so looking further ahead could only trade a
window more for something else. Spans carry their own pads; two that lie closer than
:data:`MERGE_SECONDS` keep the silence between them, because a natural pause is worth more to an
engine than a tenth of a second.

Where spans touch, speech was cut (see ``vad.Detector``). If such a cut falls between two windows,
the later one starts ``overlap_seconds`` earlier and says so in ``Window.overlap``; ``speech.join``
reconciles what both heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hansard.errors import BadSettings, StoreBroken
from hansard.model import SAMPLE_RATE, Span, Window

MERGE_SECONDS = 0.3
"""Silence between padded spans up to which it stays in the window."""

OVERLAP_SECONDS = 2.0
"""Speech heard twice where it was cut: five or six words, enough to find the same ones in both."""


class Planner:
    """Windows of one channel, streamed. State: the window being filled (bounded).

    Args:
        channel: the channel that the windows name.
        max_seconds: the longest window the engine takes.
        overlap_seconds: how much of unbroken speech is heard twice.

    Raises:
        BadSettings: the overlap leaves less than half of a window for new speech.
    """

    def __init__(
        self, channel: int, max_seconds: float, overlap_seconds: float = OVERLAP_SECONDS
    ) -> None:
        self._channel = channel
        self._room = int(max_seconds * SAMPLE_RATE)
        self._overlap = round(overlap_seconds * SAMPLE_RATE)
        if self._room < 1 or self._overlap < 0 or 2 * self._overlap > self._room:
            raise BadSettings(
                f"Windows of {max_seconds:g} s cannot overlap by {overlap_seconds:g} s."
            )
        self._merge = round(MERGE_SECONDS * SAMPLE_RATE)
        self._index = 0
        self._pieces: list[Span] = []
        self._used = 0
        self._repeated = 0  # overlap of the window being filled
        self._end = 0  # of the last span taken
        self._behind = 0  # length of the last piece of a window closed by ``cut``

    @property
    def pieces(self) -> tuple[Span, ...]:
        """What the window being filled holds so far."""
        return tuple(self._pieces)

    @property
    def index(self) -> int:
        """Of the window being filled."""
        return self._index

    def feed(self, spans: Iterable[Span]) -> list[Window]:
        """Take spans in order; give the windows that no later span can change.

        Raises:
            ValueError: a span is empty, or starts before the one before it ended.
        """
        windows: list[Window] = []
        for span in spans:
            if span.start < self._end or span.length <= 0:
                raise ValueError(f"{span} does not follow sample {self._end}")
            for part in self._parts(span):
                windows += self._take(part)
        return windows

    def cut(self) -> list[Window]:
        """Close the window being filled, where there is one, without waiting for it to be full.

        Speech that goes on right behind it is heard twice, as if the window had been full.
        """
        self._behind = self._pieces[-1].length if self._pieces else self._behind
        return self.finish()

    def finish(self) -> list[Window]:
        """The last window, where there is one. The planner is spent."""
        return [self._close()] if self._pieces else []

    def _parts(self, span: Span) -> Iterator[Span]:
        """The span itself; touching equal parts of one that no window could hold."""
        longest = self._room - self._overlap
        count = -(-span.length // longest)
        for part in range(count):
            yield Span(
                span.start + span.length * part // count,
                span.start + span.length * (part + 1) // count,
            )

    def _take(self, span: Span) -> list[Window]:
        """Add a span to the open window, closing that first where the span does not fit."""
        closed: list[Window] = []
        touching = bool(self._pieces) and span.start == self._end
        near = bool(self._pieces) and span.start - self._end <= self._merge
        if near and self._used + span.end - self._end <= self._room:
            last = self._pieces[-1]
            self._used += span.end - last.end
            self._pieces[-1] = Span(last.start, span.end)
        elif not self._pieces and self._behind and span.start == self._end:
            self._repeated = min(self._overlap, self._behind)
            self._pieces = [Span(span.start - self._repeated, span.end)]
            self._used = self._pieces[0].length
        elif self._used + span.length <= self._room:
            self._pieces.append(span)
            self._used += span.length
        else:
            # Only speech can be heard twice: not more than the last piece holds.
            back = min(self._overlap, self._pieces[-1].length) if touching else 0
            closed.append(self._close())
            self._repeated = back
            self._pieces = [Span(span.start - back, span.end)]
            self._used = self._pieces[0].length
        self._end = span.end
        return closed

    def _close(self) -> Window:
        window = Window(self._index, self._channel, tuple(self._pieces), self._repeated)
        self._index += 1
        self._pieces, self._used, self._repeated = [], 0, 0
        return window


def plan(
    spans: Iterable[Span],
    *,
    channel: int = 0,
    max_seconds: float,
    overlap_seconds: float = OVERLAP_SECONDS,
) -> Iterator[Window]:
    """Windows of a stream of spans; see :class:`Planner`."""
    planner = Planner(channel, max_seconds, overlap_seconds)
    for span in spans:
        yield from planner.feed((span,))
    yield from planner.finish()


def piece_at(window: Window, seconds: float, edge: Literal["start", "end"]) -> int:
    """Index of the piece that an instant of window time falls in.

    Where two pieces meet, an instant at which something **starts** belongs to the later piece and
    one at which something **ends** to the earlier. Instants outside the window belong to its
    first or last piece.
    """
    position = round(seconds * SAMPLE_RATE)
    packed = 0
    for index, piece in enumerate(window.pieces):
        packed += piece.length
        if position < packed or (edge == "end" and position == packed):
            return index
    return len(window.pieces) - 1


def to_recording(window: Window, seconds: float, edge: Literal["start", "end"]) -> float:
    """Recording time of an instant of window time, both in seconds; exact to the sample.

    Args:
        window: the window whose time it is.
        seconds: window time; times before its start or after its end count as those.
        edge: whether something starts or ends at that instant (see :func:`piece_at`).
    """
    index = piece_at(window, seconds, edge)
    packed = sum(piece.length for piece in window.pieces[:index])
    piece = window.pieces[index]
    within = min(max(seconds * SAMPLE_RATE - packed, 0.0), float(piece.length))
    return (piece.start + within) / SAMPLE_RATE


def to_window(window: Window, seconds: float) -> float:
    """Window time of an instant of the recording, both in seconds: undoes :func:`to_recording`.

    An instant in silence that was left out is the seam where that silence was.
    """
    packed = 0
    for piece in window.pieces:
        if seconds * SAMPLE_RATE < piece.end:
            packed += max(0, round(seconds * SAMPLE_RATE) - piece.start)
            break
        packed += piece.length
    return packed / SAMPLE_RATE


def pcm_ranges(window: Window) -> tuple[tuple[int, int], ...]:
    """What to read of the prepared audio: ``(start, length)`` of each piece, in samples."""
    return tuple((piece.start, piece.length) for piece in window.pieces)


def pack(window: Window, read: Callable[[int, int], NDArray[np.int16]]) -> NDArray[np.int16]:
    """The window's audio, shape ``(window.samples,)``.

    Args:
        window: what to gather.
        read: gives ``length`` samples from ``start`` of the channel: ``read(start, length)``.

    Raises:
        StoreBroken: the prepared audio is shorter than it was when the window was planned.
    """
    packed = np.empty(window.samples, np.int16)
    at = 0
    for start, length in pcm_ranges(window):
        samples = read(start, length)
        if len(samples) != length:
            raise StoreBroken(
                f"The prepared audio ends before sample {start + length}.",
                hint="Its file was damaged; transcribe the recording again with --again.",
            )
        packed[at : at + length] = samples
        at += length
    return packed
