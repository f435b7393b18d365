"""How long a person waits for ``hansard --help`` and a program for ``import hansard``.

Each is a fresh interpreter, timed from outside. ``python`` alone is the floor that nothing can go
below; importing faster-whisper is what a command pays that imports its engine at the top.
Targets: 0.3 s and 0.15 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from functools import partial

from rig import ROOT, report, side_by_side

COMMANDS = {
    "python": ["-c", "pass"],
    "import hansard": ["-c", "import hansard"],
    "hansard --help": ["-m", "hansard", "--help"],
    "import faster_whisper": ["-c", "import faster_whisper"],
}


def main() -> None:
    """Time all four in turn and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

    def start(arguments: list[str]) -> None:
        subprocess.run(
            [sys.executable, *arguments], env=surroundings, check=True, stdout=subprocess.DEVNULL
        )

    alternatives = {name: partial(start, words) for name, words in COMMANDS.items()}
    seconds = side_by_side(alternatives, rounds=rounds)
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    # What others do on this machine at the same time only ever adds.
    best = {name: min(runs) for name, runs in seconds.items()}
    report(
        "startup",
        {
            "rounds": rounds,
            "median_seconds": {name: round(value, 3) for name, value in medians.items()},
            "best_seconds": {name: round(value, 3) for name, value in best.items()},
            "help_within_0.3": medians["hansard --help"] < 0.3,
            "import_within_0.15": medians["import hansard"] < 0.15,
        },
    )


if __name__ == "__main__":
    main()
