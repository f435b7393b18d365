"""Decode + speech detection + planning of compressed audio, on one core.

    python bench/prepare.py [--minutes 10] [--rounds 5]

Runs the flow's own ``transcription.prepare`` on a fresh job each time: prepared audio is written
and windows are committed, as in real work. Target: 150 x real time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import rig
import speech

from hansard import transcription
from hansard.config import Settings
from hansard.wiring import House

CODECS = {"mp3": "prepare.mp3", "aac": "prepare.m4a", "libopus": "prepare.ogg"}


def prepared(path: Path, folder: Path) -> float:
    """Seconds that preparing took."""
    with House(Settings(data=folder)) as house:
        request = transcription.Request(model="sphinx", again=True)
        with path.open("rb") as file:
            house.submit(path.name, iter(lambda: file.read(1 << 20), b""), request)
        unit = house.queue.claim_step()
        assert unit is not None
        begun = time.perf_counter()
        transcription.prepare(house.parts, unit)
        taken = time.perf_counter() - begun
        house.queue.cancel(unit.job.id)
        return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.sched_setaffinity(0, {0})
    figures: dict[str, Any] = {"minutes": given.minutes, "cores": 1, "target": 150}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = {
            codec: speech.encode(folder / name, speech.minutes(given.minutes), codec)
            for codec, name in CODECS.items()
        }
        seconds: dict[str, list[float]] = {codec: [] for codec in paths}
        for turn in range(given.rounds + 1):
            for codec, path in paths.items():
                taken = prepared(path, folder / f"data-{codec}-{turn}")
                print(f"  round {turn}  {codec:<8} {given.minutes * 60 / taken:7.0f} x real time")
                if turn:
                    seconds[codec].append(taken)
    for codec, taken_all in seconds.items():
        figures[codec] = round(given.minutes * 60 / statistics.median(taken_all), 1)
    rig.report("prepare", figures)


if __name__ == "__main__":
    main()
