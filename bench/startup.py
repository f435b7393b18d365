"""How long a person waits for ``hansard --help`` and a program for ``import hansard``.

Each is a fresh interpreter, timed from outside. ``python`` alone is the floor that nothing can go
below; importing faster-whisper is what a command pays that imports its engine at the top.
Targets: 0.3 s and 0.15 s, on a machine with nothing else to do. Processor time is printed besides:
it is what remains true on a busy one.
"""

from __future__ import annotations

import argparse
import os
import resource
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

    busy: dict[str, list[float]] = {name: [] for name in COMMANDS}

    def start(name: str) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *COMMANDS[name]],
            env=surroundings,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    alternatives = {name: partial(start, name) for name in COMMANDS}
    seconds = side_by_side(alternatives, rounds=rounds)
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    cpu = {name: statistics.median(runs) for name, runs in busy.items()}
    report(
        "startup",
        {
            "rounds": rounds,
            "median_seconds": {name: round(value, 3) for name, value in medians.items()},
            "cpu_seconds": {name: round(value, 3) for name, value in cpu.items()},
            "help_within_0.3": medians["hansard --help"] < 0.3,
            "import_within_0.15": medians["import hansard"] < 0.15,
        },
    )


if __name__ == "__main__":
    main()
