"""What a voice sounds like, a hundred times a second: mel-frequency cepstra, streamed.

Frames of 25 ms every 10 ms, pre-emphasis, a Hamming window, 30 triangular filters between 100 and
7 600 Hz with equal steps on the mel scale, logarithm, cosine transform; coefficients 0 to 19, with
HTK's liftering (S. Davis and P. Mermelstein, *Comparison of parametric representations for
monosyllabic word recognition*, IEEE Trans. ASSP 28(4), 1980; S. Young et al., *The HTK Book*,
section 5.6). Coefficient 0 carries the level.

How a caller cuts the audio does not change a frame.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from hansard.model import SAMPLE_RATE

HOP = SAMPLE_RATE // 100
"""Samples between two frames."""

FRAME = SAMPLE_RATE // 40
"""Samples of a frame."""

RATE = SAMPLE_RATE // HOP
"""Frames a second."""

COEFFICIENTS = 20

_FFT = 512
_FILTERS = 30
_LOW, _HIGH = 100.0, 7600.0
_EMPHASIS = 0.97
_LIFTER = 22
_FLOOR = 1.0
"""Energy of a filter in squared 16-bit steps below which all is silence: a fraction of a step."""
_AT_ONCE = 1000
"""Frames transformed at once: their spectra stay in the cache."""

Frames = NDArray[np.float32]


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(hertz / 700.0))


@functools.cache
def _filters() -> Frames:
    """Weights of each bin of the spectrum in each filter, shape ``(bins, filters)``."""
    low, high = _mel(np.array([_LOW, _HIGH])).tolist()
    edges = np.linspace(low, high, _FILTERS + 2)
    bins = _mel(np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)), np.float32)


@functools.cache
def cosines() -> Frames:
    """Cosine transform with liftering, shape ``(filters, coefficients)``."""
    order = np.arange(COEFFICIENTS)
    angles = np.pi / _FILTERS * np.outer(np.arange(_FILTERS) + 0.5, order)
    scale = np.where(order == 0, np.sqrt(1 / _FILTERS), np.sqrt(2 / _FILTERS))
    lifter = 1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)
    return np.asarray(np.cos(angles) * scale * lifter, np.float32)


class Cepstra:
    """Frames of a stream of samples. State: the samples of a frame that is not whole yet."""

    def __init__(self) -> None:
        self._kept = np.empty(0, np.float32)
        self._last = np.float32(0.0)

    def feed(self, samples: NDArray[np.int16]) -> Frames:
        """Take samples, shape ``(n,)``; give the frames they complete, ``(frames, 20)``."""
        fresh = samples.astype(np.float32)
        if len(fresh):
            before = np.concatenate([[self._last], fresh[:-1]])
            self._last = fresh[-1]
            self._kept = np.concatenate([self._kept, fresh - np.float32(_EMPHASIS) * before])
        count = max(0, (len(self._kept) - FRAME) // HOP + 1)
        done = [self._frames(at, min(_AT_ONCE, count - at)) for at in range(0, count, _AT_ONCE)]
        self._kept = self._kept[count * HOP :]
        return np.concatenate(done) if done else np.empty((0, COEFFICIENTS), np.float32)

    def _frames(self, first: int, count: int) -> Frames:
        part = self._kept[first * HOP : (first + count - 1) * HOP + FRAME]
        cut = np.lib.stride_tricks.sliding_window_view(part, FRAME)[::HOP]
        spectrum = np.fft.rfft(cut * np.hamming(FRAME).astype(np.float32), _FFT)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        return np.asarray(np.log(power @ _filters() + np.float32(_FLOOR)) @ cosines(), np.float32)


def deltas(frames: Frames, reach: int = 2) -> Frames:
    """Slopes over ``2 * reach + 1`` frames, of the same shape; the ends are held (HTK, 5.9)."""
    padded = np.pad(frames, ((reach, reach), (0, 0)), mode="edge")
    steps = range(1, reach + 1)
    length = len(frames)
    slope = sum(
        step * (padded[reach + step :][:length] - padded[reach - step :][:length]) for step in steps
    )
    return np.asarray(slope / np.float32(2 * sum(step * step for step in steps)), np.float32)
