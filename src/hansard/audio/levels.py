"""How loud and how clean audio is, and what to do when it is too quiet.

Levels are taken from frames of 30 ms, as speech meters do (the idea of ITU-T P.56: speech is
judged by the moments in which somebody speaks, not by the pauses between them). Frame levels go
into a histogram of fixed size, so a day of audio costs no more memory than a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hansard.model import SAMPLE_RATE, Levels, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOOR: Final = -100.0
"""dBFS reported for digital silence: just below the smallest step of 16 bits (-96.3 dB)."""

QUIET: Final = -40.0
"""dBFS of speech below which audio is enhanced.

ITU-T P.56 material is recorded at -26 dBFS. At -40 speech has lost 14 dB of the 16-bit range to
nothing, and normal recordings (the AMI far-field microphones included) lie above it.
"""

SPEECH_TARGET: Final = -16.0
"""dBFS that the gain lifts speech to before the compressor and the limiter round its peaks."""

CREST: Final = 13.0
"""dB from speech to peak with which lifted speech just reaches the limiter; what has less is
lifted further, what has more (a click) is limited."""

MOST_GAIN: Final = 60.0
"""dB. Beyond this the sound is the recorder's own noise."""

_FRAME: Final = SAMPLE_RATE * 30 // 1000
_STEP: Final = 0.25
"""Width in dB of a bin of the histogram."""
_BINS: Final = int(-FLOOR / _STEP) + 1
_FULL_SCALE: Final = 32768.0
_NOISE_SHARE: Final = 0.10
_SPEECH_SHARE: Final = 0.90
_ABOVE_NOISE: Final = 6.0
"""dB over the noise from which a frame counts as active."""
_COMPRESSED: Final = 6.0
"""dB that the compressor of ``decode`` takes from speech at the target, about."""
_FEW: Final = 0.005
"""Share of active frames below which the sound is taken as steady, without pauses."""


class Enhancement(Value, frozen=True):
    """What makes quiet speech usable: see ``decode.blocks``, which applies it.

    A band-pass keeps the voice, ``gain`` lifts it, a compressor evens it out, and a limiter sets
    the highest peak at ``ceiling`` without clipping.
    """

    gain: float
    """dB before the compressor."""
    makeup: float
    """dB after it: what it took from loud passages, and what is still lacking to the ceiling."""
    low: float = 80.0
    """Hz; rumble and DC below are removed."""
    high: float = 7000.0
    """Hz; hiss above is removed."""
    ceiling: float = -3.0
    """dBFS of the highest peak."""


class Meter:
    """Measures 16 kHz audio that comes in blocks of any length.

    Channels are measured side by side: RMS, DC and clipping are means over them, the peak is the
    highest, and each frame counts with its loudest channel (a silent second microphone does not
    make a meeting quiet).
    """

    def __init__(self) -> None:
        self._histogram = np.zeros(_BINS, dtype=np.int64)
        self._rest: NDArray[np.int16] | None = None
        self._length = 0
        self._values = 0
        self._sum = 0
        self._squares = 0.0
        self._peak = 0
        self._clipped = 0

    def feed(self, block: NDArray[np.int16]) -> None:
        """Measure a block of shape ``(channels, n)`` or ``(n,)``.

        Every block of one recording has the same number of channels.
        """
        samples = np.atleast_2d(block)
        if not samples.size:
            return
        self._length += samples.shape[1]
        self._values += samples.size
        self._sum += int(samples.sum(dtype=np.int64))
        highest, lowest = int(samples.max()), int(samples.min())
        self._peak = max(self._peak, highest, -lowest)
        if highest == 32767 or lowest == -32768:
            self._clipped += int(np.count_nonzero(samples == 32767))
            self._clipped += int(np.count_nonzero(samples == -32768))
        if self._rest is not None:
            samples = np.concatenate((self._rest, samples), axis=1)
        whole = samples.shape[1] // _FRAME * _FRAME
        self._rest = samples[:, whole:].copy()
        self._add_frames(samples[:, :whole])

    def _add_frames(self, samples: NDArray[np.int16]) -> None:
        if not samples.size:
            return
        frames = samples.reshape(samples.shape[0], -1, _FRAME).astype(np.float32)
        # float32 products summed over 480 samples are right to six digits, far below a bin.
        energies = np.einsum("cfs,cfs->cf", frames, frames)
        self._squares += float(energies.sum(dtype=np.float64))
        power = energies.max(axis=0) / (_FRAME * _FULL_SCALE**2)
        decibels = 10.0 * np.log10(np.maximum(power, 10.0 ** (FLOOR / 10.0)))
        bins = np.clip(((decibels - FLOOR) / _STEP).astype(np.int64), 0, _BINS - 1)
        self._histogram += np.bincount(bins, minlength=_BINS)

    def levels(self) -> Levels:
        """The figures for everything fed so far."""
        squares, histogram = self._squares, self._histogram
        if self._rest is not None:
            squares += float(np.sum(self._rest.astype(np.float64) ** 2))
            if not histogram.any() and self._rest.size:
                histogram = histogram.copy()  # shorter than one frame: the rest is the frame
                power = np.mean(self._rest.astype(np.float64) ** 2, axis=1).max() / _FULL_SCALE**2
                histogram[int((max(_decibels(power), FLOOR) - FLOOR) / _STEP)] = 1
        values = max(1, self._values)
        noise, speech = _noise_and_speech(histogram)
        return Levels(
            measured=self._length / SAMPLE_RATE,
            rms=round(_decibels(squares / values / _FULL_SCALE**2), 2),
            peak=round(_decibels((self._peak / _FULL_SCALE) ** 2), 2),
            noise=round(noise, 2),
            dynamic_range=round(speech - noise, 2),
            dc_offset=round(self._sum / values / _FULL_SCALE, 6),
            clipped=round(self._clipped / values, 6),
        )


def speech_level(levels: Levels) -> float:
    """DBFS of the frames in which somebody speaks."""
    return levels.noise + levels.dynamic_range


def enhancement(levels: Levels, *, always: bool = False) -> Enhancement | None:
    """How to lift audio whose speech is below :data:`QUIET`; ``None`` where it is loud enough.

    ``always`` filters and evens out louder speech too, without lowering it first.

    Judged by the level of speech and not by the peak, which one cough or click decides.
    """
    speech = speech_level(levels)
    if levels.measured <= 0 or (speech >= QUIET and not always):
        return None
    return Enhancement(
        gain=round(max(0.0, min(SPEECH_TARGET - speech, MOST_GAIN)), 2),
        makeup=round(_COMPRESSED + min(_COMPRESSED, max(0.0, CREST - (levels.peak - speech))), 2),
    )


def _decibels(power: float) -> float:
    return max(FLOOR, 10.0 * float(np.log10(power))) if power > 0 else FLOOR


def _noise_and_speech(histogram: NDArray[np.int64]) -> tuple[float, float]:
    """Noise (10th percentile) and speech (90th percentile of the frames that rise above it)."""
    heard = histogram.copy()
    if heard[1:].any():
        heard[0] = 0  # digital silence is a muted microphone, not the noise of the room
    if not heard.any():
        return FLOOR, FLOOR
    noise = _percentile(heard, _NOISE_SHARE)
    active = heard.copy()
    active[: int((noise + _ABOVE_NOISE - FLOOR) / _STEP)] = 0
    if active.sum() < _FEW * heard.sum():
        active = heard
    return noise, _percentile(active, _SPEECH_SHARE)


def _percentile(histogram: NDArray[np.int64], share: float) -> float:
    counts = np.cumsum(histogram)
    index = int(np.searchsorted(counts, max(1.0, share * counts[-1])))
    return FLOOR if index == 0 else FLOOR + (index + 0.5) * _STEP
