"""How long until the first words of a recording of 10 hours, beside one of 10 minutes.

    python bench/first_words.py [--rounds 5]

From the start of ``hansard transcribe --events`` with the embedded engine in an empty data
directory to its first ``heard`` event; then it is killed. The two lengths take turns. Target: the
long one is at most 1.2 x as late.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rig
import speech


def first_words(path: Path, folder: Path) -> float:
    """Seconds from the start of the command to its first words."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "hansard", "transcribe", str(path), "--events"),
            *("--model", "sphinx", "--data", str(folder)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        for line in command.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                raise SystemExit(line)
            if event["event"] == "heard" and event["text"]:
                taken = time.perf_counter() - begun
                command.kill()
                return taken
    raise SystemExit("the command ended without a word")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = {name: speech.long_mp3(folder, name) for name in (10, 600)}
        seconds: dict[int, list[float]] = {length: [] for length in paths}
        for turn in range(given.rounds + 1):
            for length, path in paths.items():
                taken = first_words(path, folder / f"data-{length}-{turn}")
                print(f"  round {turn}  {length:>4} min  {taken:6.2f} s", flush=True)
                if turn:
                    seconds[length].append(taken)
    ratios = [long / short for short, long in zip(seconds[10], seconds[600], strict=True)]
    figures: dict[str, Any] = {
        "10 min": round(statistics.median(seconds[10]), 3),
        "10 h": round(statistics.median(seconds[600]), 3),
        "ratio": round(statistics.median(ratios), 3),
        "target": 1.2,
    }
    rig.report("first_words", figures)


if __name__ == "__main__":
    main()
