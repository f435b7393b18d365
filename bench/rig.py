"""Runs peers and us side by side, in turn, in one process tree, and prints the ratio.

Every benchmark in this folder is a script that ends with one line of JSON. Timings drift on
shared machines, so alternatives are run A B C A B C …, each figure is a median over rounds, and a
ratio is the median of the ratios of runs that stood next to each other.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def machine() -> dict[str, Any]:
    """What this ran on: enough to know whether two results may be compared."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}


def commit() -> str:
    """Short hash of the checkout, with ``+`` where it has uncommitted changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def side_by_side(
    alternatives: Mapping[str, Callable[[], Any]], *, rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each run of each alternative, the runs interleaved.

    Args:
        alternatives: name → what to time; each call does the whole work once.
        rounds: counted runs of each.
        warmup: runs of each that are thrown away first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(warmup + rounds):
        for name, work in alternatives.items():
            begun = time.perf_counter()
            work()
            taken = time.perf_counter() - begun
            print(f"  round {turn - warmup + 1:>2}  {name:<28} {taken:8.3f} s", flush=True)
            if turn >= warmup:
                seconds[name].append(taken)
    return seconds


def until(holds: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for something to become true; a bench has no test's limit, so this has its own."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.02)


def speedup(seconds: Mapping[str, list[float]], *, peer: str, ours: str) -> float:
    """How many times faster we are: the median of the ratios of neighbouring runs."""
    return statistics.median(
        theirs / mine for theirs, mine in zip(seconds[peer], seconds[ours], strict=True)
    )


def report(name: str, figures: Mapping[str, Any]) -> None:
    """Print the last line: one JSON object with the figures, the machine and the commit."""
    print(json.dumps({"bench": name, **figures, "machine": machine(), "commit": commit()}))
