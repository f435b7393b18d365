"""The ear of one channel: speech is found and packed into windows while audio comes in."""

from __future__ import annotations

import numpy as np
from msgspec import to_builtins
from numpy.typing import NDArray

from hansard.audio.vad import BLOCK_FRAMES, Detector
from hansard.audio.windows import OVERLAP_SECONDS, Planner
from hansard.config import VadSettings
from hansard.model import Options, Window


class Ear:
    """Speech detection and planning for one channel of a recording; bounded memory."""

    def __init__(self, channel: int, options: Options, frames: int = BLOCK_FRAMES) -> None:
        """``frames``: see ``vad.Probabilities``."""
        longest = options.window_seconds - OVERLAP_SECONDS
        detection = VadSettings.model_validate(to_builtins(options.detection))
        self._detector = Detector(detection, max_span=longest, frames=frames)
        self._planner = Planner(channel, options.window_seconds)

    def hear(self, samples: NDArray[np.int16]) -> list[Window]:
        """Take the next samples, shape ``(n,)``; give the windows that they complete."""
        return self._planner.feed(self._detector.feed(samples))

    def end(self) -> list[Window]:
        """The windows that are left. The ear is spent."""
        return [*self._planner.feed(self._detector.finish()), *self._planner.finish()]
