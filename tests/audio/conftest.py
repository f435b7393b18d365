"""Media made on the spot with PyAV, and a voice-like signal that survives lossy codecs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from hansard import telemetry

Signal = NDArray[np.int16]


class MakeMedia(Protocol):
    """See :func:`write_media`."""

    def __call__(
        self,
        name: str,
        codec: str,
        *tracks: Signal,
        rate: int = 48_000,
        container: str | None = None,
        offset: float = 0.0,
        video: float = 0.0,
        languages: Sequence[str] = (),
        options: dict[str, str] | None = None,
        keep: Callable[[float], bool] = ...,
    ) -> Path: ...


@cache
def voice(seconds: float, *, rate: int = 48_000, level: float = -20.0, seed: int = 1) -> Signal:
    """Syllables of a harmonic tone with pauses: shape ``(n,)``, RMS about ``level`` dBFS."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    at = np.arange(n) / rate
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.35 * at + seed) + 10 * np.sin(2 * np.pi * 1.7 * at)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 16))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * at), 0, 1) * (np.sin(2 * np.pi * 0.23 * at) > -0.6)
    signal = np.asarray(tone) * syllables + rng.normal(0, 0.003, n)
    signal *= 10 ** (level / 20) / np.sqrt(np.mean(signal**2))
    result: Signal = np.clip(np.rint(signal * 32768), -32768, 32767).astype(np.int16)
    result.flags.writeable = False  # shared by tests
    return result


@pytest.fixture(scope="session")
def make_voice() -> Callable[..., Signal]:
    return voice


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


def _encode_audio(stream: Any, track: Signal, rate: int, keep: Callable[[float], bool]) -> Any:
    rows = np.atleast_2d(track)
    layout = _layout(rows.shape[0])
    step = rate // 10
    for start in range(0, rows.shape[1], step):
        if not keep(start / rate):
            continue
        part = np.ascontiguousarray(rows[:, start : start + step].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, "s16", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _encode_video(stream: Any, seconds: float) -> Any:
    for i in range(int(seconds * 10)):
        picture = np.full((48, 64, 3), i % 255, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = i, Fraction(1, 10)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio_stream(output: Any, codec: str, track: Signal, rate: int) -> Any:
    stream = output.add_stream(codec, rate=rate)
    channels = np.atleast_2d(track).shape[0]
    stream.layout = _layout(channels)
    if codec in {"aac", "libmp3lame", "wmav2"}:
        stream.bit_rate = 96_000 * channels
    elif codec == "libopencore_amrnb":
        stream.bit_rate = 12_200
    return stream


def write_media(
    path: Path,
    codec: str,
    *tracks: Signal,
    rate: int = 48_000,
    container: str | None = None,
    offset: float = 0.0,
    video: float = 0.0,
    languages: Sequence[str] = (),
    options: dict[str, str] | None = None,
    keep: Callable[[float], bool] = lambda _: True,
) -> Path:
    """Encode signals of shape ``(n,)`` or ``(channels, n)``, one audio track each.

    ``offset`` seconds are added to the audio's timestamps; ``video`` seconds of pictures go with
    it; stretches of 0.1 s whose start time ``keep`` refuses are left out, timestamps and all.
    """
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        moving = output.add_stream("mpeg4", rate=10) if video else None
        if moving is not None:
            moving.width, moving.height, moving.pix_fmt = 64, 48, "yuv420p"
        streams = [_audio_stream(output, codec, track, rate) for track in tracks]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        output.start_encoding()  # so that a file without a packet has its header
        packets: list[Any] = []
        if moving is not None:
            packets += _encode_video(moving, video)
        for stream, track in zip(streams, tracks, strict=True):
            for packet in _encode_audio(stream, track, rate, keep):
                if offset:
                    ticks = round(offset / packet.time_base)
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packets.append(packet)
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            output.mux(packet)
    return path


@pytest.fixture
def make_media(tmp_path: Path) -> MakeMedia:
    """``write_media`` into the test's own directory."""

    def make(name: str, codec: str, *tracks: Signal, **options: Any) -> Path:
        return write_media(tmp_path / name, codec, *tracks, **options)

    return make


@pytest.fixture
def counters() -> Callable[[], dict[str, float]]:
    """Telemetry of this test alone."""
    telemetry.reset()
    return lambda: dict(telemetry.snapshot().counters)
