"""Log-mel features as Whisper was trained on them, for a batch of windows at a time.

The transform is that of openai/whisper ``audio.py`` (``log_mel_spectrogram``): a Hann window of
25 ms every 10 ms, power spectrum, Slaney mel filters, log10, the lowest 80 dB below the loudest
point cut off, scaled to about [-1, 1]. What is left of 30 s after a window's audio is silence,
whose features are one constant, so only the audio itself is transformed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hansard.model import MAX_WINDOW_SECONDS, SAMPLE_RATE

Features = NDArray[np.float32]
"""Shape ``(windows, mels, FRAMES)``."""

HOP = 160
"""Samples between frames: 10 ms."""
FFT = 400
"""Samples in a frame: 25 ms."""
FRAMES = int(MAX_WINDOW_SECONDS * SAMPLE_RATE) // HOP
"""Frames that the encoder takes: 3000."""

_HALF = FFT // 2
"""Frames are centred on their time, so the first one begins this far before the audio."""
_BINS = _HALF + 1
_BLOCK = 256
"""Frames transformed at once: 0.4 MB of samples and as much spectrum stay in the L2 cache."""
_DYNAMIC_RANGE = 8.0
"""Powers of ten below the loudest point that are kept: 80 dB."""
_FLOOR = 1e-10
"""The least power, so that digital silence has a logarithm."""


def log_mel(batch: Sequence[NDArray[np.int16]], mels: int) -> Features:
    """Features of windows of at most 30 s each.

    Args:
        batch: windows, each of shape ``(n,)``, 16 kHz, ``n`` at most 480 000.
        mels: filters; 80, or 128 for large-v3.

    Returns:
        Shape ``(len(batch), mels, 3000)``, C-contiguous.
    """
    out = np.empty((len(batch), mels, FRAMES), np.float32)
    for window, features in zip(batch, out, strict=True):
        _transform(window, features)
    return out


def _transform(window: NDArray[np.int16], out: Features) -> None:
    """Write one window's features to ``out``, shape ``(mels, FRAMES)``."""
    bands = _bands(len(out))
    mels = np.empty((len(out), _BLOCK), np.float32)
    padded = _padded(window)
    heard = min(FRAMES, -(-(len(window) + _HALF) // HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    hann = _hann()
    for first in range(0, heard, _BLOCK):
        last = min(first + _BLOCK, heard)
        spectrum = np.fft.rfft(frames[first:last] * hann)
        parts = spectrum.view(np.float32).reshape(last - first, _BINS, 2)
        np.square(parts, out=parts)
        power = np.add(parts[:, :, 0].T, parts[:, :, 1].T, order="C")
        for mel, (bottom, top, weights) in enumerate(bands):
            np.dot(weights, power[bottom:top], out=mels[mel, : last - first])
        out[:, first:last] = mels[:, : last - first]
    loud = out[:, :heard]
    np.maximum(loud, _FLOOR, out=loud)
    np.log10(loud, out=loud)
    least = np.float32(loud.max() - _DYNAMIC_RANGE if heard else 0)
    np.maximum(loud, least, out=loud)
    # The log of silence is -10, unless the cut lies above it.
    out[:, heard:] = max(least, np.float32(-10.0))
    out += np.float32(4.0)
    out *= np.float32(0.25)


def _padded(window: NDArray[np.int16]) -> NDArray[np.float32]:
    """The window as floats in [-1, 1), mirrored before its start and in silence after its end."""
    samples = min(len(window), FRAMES * HOP)
    padded = np.zeros(_HALF + samples + FFT + HOP, np.float32)
    np.multiply(window[:samples], np.float32(1 / 32768), out=padded[_HALF : _HALF + samples])
    # A window shorter than half a frame is followed by silence, which is mirrored with it.
    padded[:_HALF] = padded[2 * _HALF : _HALF : -1]
    return padded


@functools.cache
def _hann() -> NDArray[np.float32]:
    return np.hanning(FFT + 1)[:-1].astype(np.float32)


@functools.cache
def _bands(mels: int) -> tuple[tuple[int, int, NDArray[np.float32]], ...]:
    """Of each filter the first bin, the last + 1, and the weights between: 391 of 16 080 values.

    The product with the whole matrix would be handed to a BLAS, whose waiting threads take the
    cores from the engine: fifteen milliseconds of processor time a window instead of five.
    """
    bands = []
    for row in mel_filters(mels):
        (bins,) = np.nonzero(row)
        bottom, top = (int(bins[0]), int(bins[-1]) + 1) if len(bins) else (0, 1)
        bands.append((bottom, top, row[bottom:top]))
    return tuple(bands)


@functools.cache
def mel_filters(mels: int) -> NDArray[np.float32]:
    """Triangular filters of equal area on Slaney's mel scale, shape ``(mels, 201)``.

    The scale is linear to 1 kHz and logarithmic above (Slaney, Auditory Toolbox, 1998); these are
    the values of ``librosa.filters.mel`` that openai/whisper ships as a file.
    """
    # 3 mel are 200 Hz up to 1000 Hz (mel 15); above, 27 mel are a factor of 6.4.
    top = 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4)
    scale = np.linspace(0.0, top, mels + 2)
    edges = np.where(scale < 15, scale * 200 / 3, 1000 * np.exp((scale - 15) * np.log(6.4) / 27))
    bins = np.linspace(0, SAMPLE_RATE / 2, _BINS)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return np.asarray(triangles, np.float32)
