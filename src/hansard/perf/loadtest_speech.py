"""Speech-like sound for load tests: the same seed gives the same samples, and no file is needed.

A voice is made as in Klatt's cascade synthesizer (J. Acoust. Soc. Am. 67, 1980): a train of glottal
pulses goes through resonators at the formants of vowels (Peterson and Barney, J. Acoust. Soc. Am.
24, 1952), consonants are bursts of noise, pitch falls within a phrase, and phrases have pauses
between them. A detector of speech takes it for speech; it says nothing, so what an engine makes
of it is noise, and only how long that takes is of interest.
"""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hansard.model import SAMPLE_RATE

_FORMANTS = (
    (270.0, 2290.0, 3010.0),
    (390.0, 1990.0, 2550.0),
    (530.0, 1840.0, 2480.0),
    (660.0, 1720.0, 2410.0),
    (730.0, 1090.0, 2440.0),
    (570.0, 840.0, 2410.0),
    (440.0, 1020.0, 2240.0),
    (300.0, 870.0, 2240.0),
    (640.0, 1190.0, 2390.0),
)
"""Hz: the first three formants of men's vowels, Peterson and Barney's table II."""

_WIDTHS = (60.0, 90.0, 150.0)
"""Hz: bandwidths of the three resonators, from Klatt's table I."""

_PEAK = 0.5
"""Of full scale."""


def speech(seconds: float, seed: int) -> NDArray[np.int16]:
    """Somebody who talks, shape ``(n,)``, 16 kHz: syllables at about four a second, and pauses."""
    chance = np.random.default_rng(seed)
    wanted = max(1, int(seconds * SAMPLE_RATE))
    pieces: list[NDArray[np.float64]] = []
    have = 0
    while have < wanted:
        for piece in (_phrase(chance), np.zeros(int(chance.uniform(0.25, 0.7) * SAMPLE_RATE))):
            pieces.append(piece)
            have += len(piece)
    sound = np.concatenate(pieces)[:wanted]
    sound += chance.normal(0.0, 2e-4 * float(np.abs(sound).max() or 1.0), wanted)  # a room
    return (sound * (_PEAK * 32_767 / float(np.abs(sound).max()))).astype(np.int16)


def _phrase(chance: np.random.Generator) -> NDArray[np.float64]:
    """Five to twelve syllables, the pitch falling by a third."""
    count = int(chance.integers(5, 13))
    pitch = chance.uniform(95.0, 150.0)
    falling = np.linspace(1.15, 0.8, count)
    return np.concatenate([_syllable(chance, pitch * float(fall)) for fall in falling])


def _syllable(chance: np.random.Generator, pitch: float) -> NDArray[np.float64]:
    """A burst of noise, and a vowel that rises and dies away."""
    noise = chance.normal(0.0, 1.0, int(chance.uniform(0.03, 0.09) * SAMPLE_RATE))
    consonant = np.diff(noise, prepend=0.0) * 0.04 * np.hanning(len(noise))
    length = int(chance.uniform(0.11, 0.24) * SAMPLE_RATE)
    # Pulses whose distance wavers by a few percent, as a larynx's does.
    phase = np.cumsum(pitch * (1 + 0.03 * chance.normal(size=length)) / SAMPLE_RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    vowel = _filtered([1.0], [1.0, -1.8, 0.81], pulses)  # a glottal pulse falls by 12 dB an octave
    for hertz, width in zip(_FORMANTS[int(chance.integers(len(_FORMANTS)))], _WIDTHS, strict=True):
        vowel = _resonated(vowel, hertz, width)
    rise = np.minimum(1.0, np.arange(length) / (0.02 * SAMPLE_RATE))
    return np.concatenate(
        [consonant, vowel / (float(np.abs(vowel).max()) or 1.0) * rise * rise[::-1]]
    )


def _resonated(sound: NDArray[np.float64], hertz: float, width: float) -> NDArray[np.float64]:
    """Klatt's digital resonator, with a gain of 1 at 0 Hz."""
    radius = np.exp(-np.pi * width / SAMPLE_RATE)
    b = 2 * radius * np.cos(2 * np.pi * hertz / SAMPLE_RATE)
    c = -(radius**2)
    return _filtered([1.0 - b - c], [1.0, -b, -c], sound)


def _filtered(
    above: list[float], below: list[Any], sound: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.signal import lfilter

    found: NDArray[np.float64] = lfilter(above, below, sound)
    return found


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
    """Short recordings without end, no two the same: each is another piece, at another loudness.

    Kept for the whole of a load test: a minute of samples, 1.9 MB. The n-th clip of a seed is
    always the same.
    """

    def __init__(self, seconds: float, seed: int) -> None:
        self._chance = np.random.default_rng(seed)
        self._length = int(seconds * SAMPLE_RATE)
        self._whole = speech(max(60.0, 2 * seconds), seed)

    def next(self) -> NDArray[np.int16]:
        """Samples, shape ``(n,)``, 16 kHz."""
        start = int(self._chance.integers(0, len(self._whole) - self._length))
        piece = self._whole[start : start + self._length]
        return (piece * self._chance.uniform(0.5, 1.0)).astype(np.int16)
