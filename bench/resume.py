"""``kill -9`` in the middle of real work, again and again, then the same command once more.

    python bench/resume.py [--minutes 10] [--kills 5]

The embedded engine, the real command line. Before each restart the store is read: a window that
was done must keep its answer and the moment it was done. Target: none done again, and the same
bytes at the end as an undisturbed run.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rig
import speech

FORMATS = ("txt", "json", "srt", "docx")


def command(path: Path, folder: Path) -> list[str]:
    formats = [word for name in FORMATS for word in ("-f", name)]
    return [
        *(sys.executable, "-m", "hansard", "transcribe", str(path), "--model", "sphinx", "-q"),
        *("--data", str(folder / "data"), "-o", str(folder / "out"), *formats),
    ]


def done(folder: Path) -> dict[int, tuple[float, str]]:
    """Windows that are done: row → moment and answer."""
    path = folder / "data" / "hansard.db"
    if not path.exists():
        return {}
    with sqlite3.connect(path) as store:
        return {
            row: (moment, answer)
            for row, moment, answer in store.execute(
                "SELECT id, done, result FROM windows WHERE state = 'done'"
            )
        }


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    chance = random.Random(11)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        path = speech.encode(root / "meeting.mp3", speech.minutes(given.minutes), "mp3")
        begun = time.perf_counter()
        subprocess.run(command(path, root / "calm"), check=True)
        calm = time.perf_counter() - begun
        kept, again, kills = 0, 0, 0
        before: dict[int, tuple[float, str]] = {}
        begun = time.perf_counter()
        for _ in range(given.kills):
            child = subprocess.Popen(command(path, root / "rough"))
            time.sleep(chance.uniform(0.1, 0.3) * calm)
            if child.poll() is not None:
                break
            child.kill()
            child.wait()
            kills += 1
            now = done(root / "rough")
            again += sum(1 for row, answer in before.items() if now.get(row) != answer)
            kept, before = len(now), now
            print(f"  kill {kills}: {kept} windows are done")
        subprocess.run(command(path, root / "rough"), check=True)
        rough = time.perf_counter() - begun
        now = done(root / "rough")
        again += sum(1 for row, answer in before.items() if now.get(row) != answer)
        figures: dict[str, Any] = {
            "kills": kills,
            "windows": len(now),
            "done_before_the_last_start": kept,
            "done_again": again,
            "same_bytes": written(root / "calm") == written(root / "rough"),
            "seconds_undisturbed": round(calm, 1),
            "seconds_killed": round(rough, 1),
        }
    rig.report("resume", figures)


if __name__ == "__main__":
    main()
