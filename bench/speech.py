"""Long recordings for benchmarks: the sample meeting over and over, compressed, of any length.

MP3 without a header frame can be put end to end byte by byte, so ten hours take as long to make
as ten minutes take to encode.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 16_000
SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "meeting.ogg"


def sample() -> NDArray[np.int16]:
    """The sample meeting, shape ``(n,)``, 16 kHz."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pieces = []
    with av.open(str(SAMPLE)) as container:
        for frame in [*container.decode(audio=0), None]:
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    return np.concatenate(pieces)


def minutes(length: float, silence: float = 0.0) -> NDArray[np.int16]:
    """So many minutes of the meeting; ``silence``: share of it that is added between repeats."""
    once = sample()
    noise = np.random.default_rng(3).normal(0, 12, int(len(once) * silence / (1 - silence)))
    turn = np.concatenate([once, noise.astype(np.int16)])
    wanted = int(length * 60 * RATE)
    return np.tile(turn, -(-wanted // len(turn)))[:wanted]


def encode(path: Path, samples: NDArray[np.int16], codec: str, bit_rate: int = 48_000) -> Path:
    """Write a compressed mono file; the container follows from the path's suffix."""
    rate = 48_000 if codec == "libopus" else RATE
    options = {"write_xing": "0", "id3v2_version": "0"} if path.suffix == ".mp3" else {}
    resampler = av.AudioResampler(format=None, layout="mono", rate=rate)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = bit_rate
        for start in range(0, len(samples), RATE):
            piece = np.ascontiguousarray(samples[None, start : start + RATE])
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.rate = RATE
            frame.pts = None
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return path


def half_minutes(folder: Path, count: int, apart: int) -> list[Path]:
    """So many recordings, each another piece of the same speech, ``apart`` seconds later."""
    samples = minutes((count * apart + 40) / 60)
    return [
        encode(folder / f"{n}.flac", samples[n * apart * 16_000 :][: 32 * 16_000], "flac")
        for n in range(count)
    ]


def long_mp3(folder: Path, length: float, silence: float = 0.0) -> Path:
    """An MP3 of ``length`` minutes, a multiple of ten, made once in ``folder``."""
    ten = folder / f"10-{silence:g}.mp3"
    if not ten.exists():
        encode(ten, minutes(10, silence), "mp3")
    path = folder / f"{length:g}-{silence:g}.mp3"
    if not path.exists():
        body = ten.read_bytes()
        with path.open("wb") as out:
            for _ in range(round(length / 10)):
                out.write(body)
    return path
