from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "meeting.ogg"
KILLABLE = Path(__file__).with_name("killable.py")


def decoded(path: Path) -> NDArray[np.int16]:
    """A file as 16 kHz mono, by PyAV alone: the tests' own ears."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    pieces = []
    with av.open(str(path)) as container:
        for frame in [*container.decode(audio=0), None]:
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    return np.concatenate(pieces)


def encoded(path: Path, samples: NDArray[np.int16], codec: str = "flac") -> Path:
    """Write mono (shape ``(n,)``) or multichannel (``(channels, n)``) 16 kHz audio to a file."""
    rows = np.atleast_2d(samples)
    layout = "mono" if len(rows) == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout=layout)
        assert isinstance(stream, av.AudioStream)
        for start in range(0, rows.shape[1], 16_000):
            piece = np.ascontiguousarray(rows[:, start : start + 16_000])
            packed = piece.T.reshape(1, -1).copy()
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            frame.rate = 16_000
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def meeting() -> Path:
    """The sample meeting: two minutes, four voices."""
    return SAMPLE


@pytest.fixture(scope="session")
def long_meeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample three times over with silences between: about seven minutes, some windows."""
    samples = decoded(SAMPLE)
    silence = np.zeros(8 * 16_000, np.int16)
    joined = np.concatenate([samples, silence, samples, silence, samples])
    return encoded(tmp_path_factory.mktemp("media") / "long.flac", joined)


@pytest.fixture
def hansard(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in its own process, with its own data directory."""

    def run(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hansard", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=110,
            input=stdin,
        )

    return run


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight recordings of half a minute, each another piece of the sample."""
    samples = decoded(SAMPLE)
    folder = tmp_path_factory.mktemp("batch")
    return [
        encoded(folder / f"{start}.flac", samples[start * 16_000 : (start + 32) * 16_000])
        for start in range(0, 80, 10)
    ]
