"""Speech found while it is spoken, and windows that end when somebody stops speaking.

The rules are those of files (``audio.vad``, ``audio.windows``); only the windows are not filled.
A window is closed when silence has lasted for :data:`PAUSE`, also where somebody has gone on
speaking by then, or when what is being said cannot fit into it any more. The same samples give the
same windows, however they were cut on the way.
"""

from __future__ import annotations

import numpy as np
from msgspec import to_builtins
from numpy.typing import NDArray

from hansard.audio.vad import FRAME, Detector
from hansard.audio.windows import OVERLAP_SECONDS, Planner
from hansard.config import VadSettings
from hansard.model import SAMPLE_RATE, Options, Span, Window

PAUSE = 0.4
"""Seconds of silence behind padded speech that end a window: 0.6 s with the usual pad."""

_FRAMES = 4
"""Frames judged at once: 128 ms."""

_STEP = _FRAMES * FRAME

_LEAST = 0.4
"""Seconds of speech that are worth a first guess at what is being said."""


class Ear:
    """Speech detection and planning for one live session; bounded, however long it lasts."""

    def __init__(self, options: Options) -> None:
        detection = VadSettings.model_validate(to_builtins(options.detection))
        longest = options.window_seconds - OVERLAP_SECONDS
        self._detector = Detector(detection, max_span=longest, frames=_FRAMES)
        self._planner = Planner(0, options.window_seconds)
        self._room = int(options.window_seconds * SAMPLE_RATE)
        self._unsure = round(detection.min_silence * SAMPLE_RATE)
        self._gap = round(max(0.0, PAUSE - detection.pad) * SAMPLE_RATE)
        self._waiting = np.empty(0, np.int16)
        self._position = 0
        self._shown: tuple[Span, ...] = ()

    def hear(self, samples: NDArray[np.int16]) -> list[Window]:
        """Take the next samples, shape ``(n,)``; give the windows that are ready to be heard."""
        waiting = np.concatenate((self._waiting, samples))
        whole = len(waiting) // _STEP * _STEP
        planned: list[Window] = []
        # Always the same steps, counted from the start: where a window ends depends on them.
        for start in range(0, whole, _STEP):
            self._position += _STEP
            planned += self._planner.feed(self._detector.feed(waiting[start : start + _STEP]))
            if self._is_ready():
                planned += self._planner.cut()
        self._waiting = waiting[whole:].copy()
        return planned

    def end(self) -> list[Window]:
        """The windows that are left. The ear is spent."""
        spans = [*self._detector.feed(self._waiting), *self._detector.finish()]
        return [*self._planner.feed(spans), *self._planner.finish()]

    def guess(self) -> Window | None:
        """What is being said just now, as far as it goes; ``None`` where there is nothing new.

        Its index is that of the window that will hold it all.
        """
        pieces = list(self._planner.pieces)
        since = self._detector.open
        if since is not None and since < self._position:
            if pieces and since < pieces[-1].end:
                since = pieces[-1].end
            pieces.append(Span(since, self._position))
        window = Window(self._planner.index, 0, tuple(pieces))
        if not _LEAST <= window.seconds <= self._room / SAMPLE_RATE or self._shown == tuple(pieces):
            return None
        self._shown = tuple(pieces)
        return window

    def _is_ready(self) -> bool:
        pieces = self._planner.pieces
        if not pieces:
            return False
        since = self._detector.open
        if since is None:
            return self._position - pieces[-1].end >= PAUSE * SAMPLE_RATE
        if since - pieces[-1].end >= self._gap:
            return True  # it was a pause, though somebody went on before it was looked at
        held = sum(piece.length for piece in pieces)
        return held + self._position - self._unsure - since > self._room
