"""Recordings for load tests: the same seed gives the same samples, and no file is needed.

They are put together from the sentences of the sample meeting (four voices, ``benchmark_material``)
in an order and at a loudness of their own, with pauses between them and the noise of a room. So
words are heard, can be searched for and are summed up, and an engine does what it does with speech:
sound that only resembles it makes an engine look twice, and a load test measure that.
"""

from __future__ import annotations

import io
import wave
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hansard.model import SAMPLE_RATE
from hansard.perf import benchmark_material

_PAD = 0.1
"""Seconds kept on each side of a sentence."""

_PEAK = 0.5
"""Of full scale."""

_ROOM = 10.0
"""Standard deviation of the noise: 70 dB below full scale."""


def speech(seconds: float, seed: int) -> NDArray[np.int16]:
    """Some who talk, shape ``(n,)``, 16 kHz: whole sentences, where at least one has room."""
    chance = np.random.default_rng(seed)
    sound = chance.normal(0.0, _ROOM, max(1, int(seconds * SAMPLE_RATE)))
    at = _pause(chance)
    said = _sentences()
    while at < len(sound):
        room = len(sound) - at
        fitting = [one for one in said if len(one) <= room]
        if not fitting and at > 0.5 * len(sound):
            break
        chosen = (fitting or said)[int(chance.integers(len(fitting or said)))][:room]
        sound[at : at + len(chosen)] += chosen * chance.uniform(0.6, 1.0)
        at += len(chosen) + _pause(chance)
    return (sound * (_PEAK * 32_767 / float(np.abs(sound).max()))).astype(np.int16)


def _pause(chance: np.random.Generator) -> int:
    return int(chance.uniform(0.2, 0.8) * SAMPLE_RATE)


@cache
def _sentences() -> tuple[NDArray[np.float64], ...]:
    from hansard.audio import decode

    blocks = decode.blocks(benchmark_material.sample(), track=0, channels="mix", enhance=None)
    whole = np.concatenate([block[0] for block in blocks]).astype(np.float64)
    spans = [(one.start - _PAD, one.end + _PAD) for one in benchmark_material.script()]
    return tuple(
        whole[max(0, int(start * SAMPLE_RATE)) : int(end * SAMPLE_RATE)] for start, end in spans
    )


def wav(samples: NDArray[np.int16]) -> bytes:
    """A WAV file of 16 kHz mono samples."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return out.getvalue()


class Clips:
    """Short recordings without end, no two the same. The n-th clip of a seed is always the same."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._chance = np.random.default_rng(seed)
        self._seconds = seconds

    def next(self) -> NDArray[np.int16]:
        """Samples, shape ``(n,)``, 16 kHz."""
        made = speech(self._seconds, int(self._chance.integers(2**63)))
        return (made * self._chance.uniform(0.5, 1.0)).astype(np.int16)
