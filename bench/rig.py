"""Runs peers and us side by side, in turn, in one process tree, and prints the ratio.

Every benchmark in this folder is a script that ends with one line of JSON. Timings drift on
shared machines, so alternatives are run A B B A A B …, each figure is a median over rounds, and a
ratio is the median of the ratios of runs that stood next to each other. How that is done, and how
sure it is, is ``hansard.perf``: ``hansard benchmark`` measures by the same harness.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hansard.perf import intervals
from hansard.perf.benchmark import Trial
from hansard.perf.benchmark import side_by_side as alternate
from hansard.perf.machine import git
from hansard.perf.machine import machine as here

ROOT = Path(__file__).resolve().parents[1]


def machine() -> dict[str, Any]:
    """What this ran on: enough to know whether two results may be compared."""
    found = here()
    return {
        "cpu": found.cpu,
        "cores": found.cores,
        "python": found.python,
        "fingerprint": found.fingerprint,
    }


def commit() -> str:
    """Short hash of the checkout, with ``+`` where it has uncommitted changes."""
    return git(ROOT, "describe", "--always", "--dirty=+", "--abbrev=8") or "unknown"


def side_by_side(
    alternatives: Mapping[str, Callable[[], Any]], *, rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each run of each alternative, the runs interleaved.

    Args:
        alternatives: name → what to time; each call does the whole work once.
        rounds: counted runs of each.
        warmup: runs of each that are thrown away first.
    """

    def say(number: int, name: str, one: Trial) -> None:
        print(f"  round {number:>2}  {name:<28} {one.seconds:8.3f} s", flush=True)

    found = alternate(alternatives, rounds=rounds, warmup=warmup, say=say)
    return {name: [one.seconds for one in trials] for name, trials in found.items()}


def until(holds: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for something to become true; a bench has no test's limit, so this has its own."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.02)


def speedup(seconds: Mapping[str, list[float]], *, peer: str, ours: str) -> float:
    """How many times faster we are: the median of the ratios of neighbouring runs."""
    return intervals.speedup(seconds[peer], seconds[ours])


def report(name: str, figures: Mapping[str, Any]) -> None:
    """Print the last line: one JSON object with the figures, the machine and the commit."""
    print(json.dumps({"bench": name, **figures, "machine": machine(), "commit": commit()}))
