"""Decoding: ``decode.blocks`` against faster-whisper's ``decode_audio`` and against bare PyAV.

    python bench/decode.py [AUDIO …] [--minutes 10] [--rounds 7]

The audio given (or a made-up voice) is repeated to the length asked for and encoded as MP3
(44.1 kHz stereo, 128 kb/s), Opus (48 kHz mono, 32 kb/s) and AAC in M4A (44.1 kHz stereo,
128 kb/s). Each is then decoded to 16 kHz mono by ours, by the peer, and by PyAV with nothing
around it (demux and decode only, no resampling: the least that can be done). Processor time is
taken beside wall time: all three use one thread. The two sides' samples are compared.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from rig import report, side_by_side, speedup

from hansard.audio import decode

RATE = 48_000
KINDS = {
    "mp3": ("talk.mp3", "libmp3lame", 44_100, "stereo", 128_000),
    "opus": ("talk.ogg", "libopus", 48_000, "mono", 32_000),
    "aac": ("talk.m4a", "aac", 44_100, "stereo", 128_000),
}


def sound(paths: list[Path]) -> NDArray[np.int16]:
    """What the benchmark encodes: the files one after the other, or a made-up voice."""
    if not paths:
        at = np.arange(30 * RATE) / RATE
        phase = 2 * np.pi * np.cumsum(130 + 20 * np.sin(2 * np.pi * 0.4 * at)) / RATE
        tone = sum((np.sin(k * phase) / k for k in range(1, 25)), np.zeros_like(at))
        tone *= np.clip(np.sin(2 * np.pi * 3 * at), 0, 1)
        hiss = np.random.default_rng(0).normal(0, 0.01, at.size)
        return np.rint((tone + hiss) * 6000).astype(np.int16)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    parts = []
    for path in paths:
        with av.open(str(path)) as container:
            for frame in container.decode(audio=0):
                frame.pts = None
                parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.int16, copy=False)


def encode(path: Path, voice: NDArray[np.int16], seconds: float, kind: str) -> None:
    _, codec, rate, layout, bit_rate = KINDS[kind]
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = layout, bit_rate
        for start in range(0, int(seconds * RATE), RATE):
            part = np.take(voice, np.arange(start, start + RATE), mode="wrap")
            rows = [part, np.roll(part, 40)] if layout == "stereo" else [part]
            packed = np.ascontiguousarray(np.stack(rows).T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, "s16", layout)
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def bare(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


def theirs(path: Path) -> Any:
    return importlib.import_module("faster_whisper.audio").decode_audio(str(path))


def ours(path: Path) -> NDArray[np.int16]:
    blocks = list(decode.blocks(path))
    samples: NDArray[np.int16] = np.concatenate(blocks, axis=1)[0]
    return samples


def watched(work: Callable[[Path], Any], path: Path, busy: list[float]) -> Callable[[], None]:
    """The work on a file, its processor seconds noted: wall time says less on a shared machine."""

    def run() -> None:
        begun = time.process_time()
        work(path)
        busy.append(time.process_time() - begun)

    return run


PEERS: dict[str, Callable[[Path], Any]] = {
    "faster-whisper": theirs,
    "hansard": ours,
    "bare": bare,
}


def ratio(seconds: dict[str, list[float]], peer: str) -> float:
    return speedup(seconds, peer=peer, ours="hansard")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("audio", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    voice, seconds = sound(given.audio), given.minutes * 60
    figures: dict[str, Any] = {"minutes": given.minutes, "made_up": not given.audio}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (name, *_) in KINDS.items():
            path = Path(folder, name)
            encode(path, voice, seconds, kind)
            print(f"{kind}: {path.stat().st_size / 1e6:.1f} MB")
            expected = np.rint(theirs(path) * 32768).astype(np.int16)
            same = np.array_equal(expected, ours(path))
            busy: dict[str, list[float]] = {name: [] for name in PEERS}
            taken = side_by_side(
                {name: watched(work, path, busy[name]) for name, work in PEERS.items()},
                rounds=given.rounds,
                warmup=0,
            )
            figures[kind] = {
                "against_faster_whisper": round(ratio(taken, "faster-whisper"), 3),
                "against_faster_whisper_processor": round(ratio(busy, "faster-whisper"), 3),
                "against_bare_decoding_processor": round(ratio(busy, "bare"), 3),
                "times_real_time_one_core": round(seconds / statistics.median(busy["hansard"])),
                "same_samples_as_faster_whisper": same,
            }
    report("decode", figures)


if __name__ == "__main__":
    main()
