"""The command line as a user has it, in this process where that will do, in its own where not."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.quick import QuickEngine, use

from hansard.cli.app import run

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "meeting.ogg"
Audio = NDArray[np.int16]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Command(Protocol):
    def __call__(self, *arguments: object, stdin: Path | None = None) -> Ended: ...


def refused(ended: Ended, code: str, exit_code: int) -> None:
    """An error is one sentence with its code, and a hint; never a traceback."""
    said = ended.err
    assert ended.code == exit_code, said
    assert f"[{code}]" in said
    assert "Traceback" not in said
    first = next(line for line in said.splitlines() if f"[{code}]" in line)
    assert "error: " in first
    assert first.partition("error: ")[2][0].isprintable()
    assert first.removesuffix(f" [{code}]").endswith((".", "!", "?")), first
    assert "hint: " in said
    assert ended.out == ""


# ── audio ────────────────────────────────────────────────────────────────────────────────────


def decoded(path: Path, track: int = 0) -> Audio:
    """A file as 16 kHz mono, by PyAV alone."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    pieces = []
    with av.open(str(path)) as container:
        for frame in [*container.decode(audio=track), None]:
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    return np.concatenate(pieces)


def _add_audio(container: Any, samples: Audio, codec: str) -> Iterator[Any]:
    rows = np.atleast_2d(samples)
    layout = "mono" if len(rows) == 1 else "stereo"
    rate = 48_000 if codec in {"libopus", "libvorbis", "aac"} else 16_000
    stream = container.add_stream(codec, rate=rate, layout=layout)
    resampler = av.AudioResampler(stream.format.name, layout, rate, frame_size=stream.frame_size)
    yield None  # every stream is added before the first packet is written
    for start in range(0, rows.shape[1], 16_000):
        piece = np.ascontiguousarray(rows[:, start : start + 16_000])
        frame = av.AudioFrame.from_ndarray(piece.T.reshape(1, -1).copy(), "s16", layout)
        frame.rate = 16_000
        frame.pts = start
        for ready in resampler.resample(frame):
            container.mux(stream.encode(ready))
    for ready in resampler.resample(None):
        container.mux(stream.encode(ready))
    container.mux(stream.encode(None))


def _add_video(container: Any, seconds: float) -> Iterator[Any]:
    stream = container.add_stream("mpeg4", rate=5)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    yield None
    for number in range(max(1, int(seconds * 5))):
        image = np.full((64, 64, 3), number % 255, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
    container.mux(stream.encode(None))


def encoded(
    path: Path,
    *tracks: Audio,
    codec: str = "flac",
    video: float = 0.0,
    container: str | None = None,
) -> Path:
    """Write 16 kHz tracks, each ``(n,)`` or ``(2, n)``, and ``video`` seconds of picture."""
    with av.open(str(path), "w", format=container) as media:
        streams = [_add_audio(media, track, codec) for track in tracks]
        streams += [_add_video(media, video)] if video else []
        for stream in streams:
            next(stream)
        for stream in streams:
            for _ in stream:
                pass
    return path


@pytest.fixture(scope="session")
def speech() -> Audio:
    """Twelve seconds of the sample meeting: two voices, 16 kHz mono."""
    return decoded(SAMPLE)[: 12 * 16_000]


@pytest.fixture(scope="session")
def clip(speech: Audio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    return encoded(tmp_path_factory.mktemp("clip") / "clip.flac", speech)


# ── the command ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hansard(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Runs the command line in this process; its data directory is the test's own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: Path | None = None) -> Ended:
        capsysbinary.readouterr()
        with monkeypatch.context() as patch, open(stdin or os.devnull) as given:  # noqa: PTH123 devnull is no path of ours
            patch.setattr(sys, "stdin", given)
            code = run([str(argument) for argument in arguments])
        said = capsysbinary.readouterr()
        return Ended(code, said.out.decode(), said.err.decode())

    return call


@pytest.fixture
def process(tmp_path: Path) -> Command:
    """Runs the command line in a process of its own."""

    def call(*arguments: object, stdin: Path | None = None) -> Ended:
        with open(stdin or os.devnull, "rb") as given:  # noqa: PTH123 devnull is no path of ours
            done = subprocess.run(
                [sys.executable, "-m", "hansard", *map(str, arguments)],
                stdin=given,
                capture_output=True,
                check=False,
                cwd=tmp_path,
                timeout=110,
                env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


# ── a quick engine ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickEngine:
    """Stands in for every model, where the words are not what is looked at."""
    return use(QuickEngine(), monkeypatch)


# ── what is left in a data directory ─────────────────────────────────────────────────────────


def rows(data: Path, table: str) -> int:
    """Rows of a table of the store; 0 where there is no store."""
    if not (data / "hansard.db").exists():
        return 0
    with sqlite3.connect(data / "hansard.db") as store:
        known = store.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone()
        count = store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] if known else 0
    store.close()
    return int(count)


def scraps(data: Path) -> list[str]:
    """Files that no finished command leaves: scratch, prepared audio, signs of life."""
    below = [path for name in ("tmp", "pcm", "workers") for path in (data / name).rglob("*")]
    return sorted(str(path.relative_to(data)) for path in below)


def remains(data: Path) -> list[str]:
    """Everything a refused recording must not leave behind."""
    kept = [str(path) for path in (data / "recordings").rglob("*") if path.is_file()]
    tables = [
        f"{rows(data, table)} rows in {table}"
        for table in ("jobs", "recordings", "windows", "transcripts")
        if rows(data, table)
    ]
    return [*kept, *tables, *scraps(data)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory that the environment names in every test."""
    return tmp_path / "hansard-data"


@pytest.fixture
def nothing_left(data: Path, tmp_path: Path) -> Callable[[], list[str]]:
    """What is left of a refused recording, in the store and among the outputs."""

    def look() -> list[str]:
        out = tmp_path / "out"
        written = [str(path) for path in out.rglob("*")] if out.is_dir() else []
        return [*remains(data), *written]

    return look
