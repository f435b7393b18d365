"""What it costs to measure: nanoseconds a record, and the share of a transcription.

The share is counted, not timed: a transcription by the embedded engine says how many records,
spans and counts it makes, and each has the price that was found here. Against it stands the
processor time of that transcription.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import rig

from hansard import telemetry

TARGET_NANOSECONDS = 2000.0
TARGET_SHARE = 0.01
CALLS = 100_000


def price(work: Callable[[], object], rounds: int) -> float:
    """Nanoseconds of processor time of one call, less those of a call that does nothing.

    The least of all rounds: what else runs on the machine only adds to it.
    """

    def nothing() -> None:
        return None

    def one(what: Callable[[], object]) -> float:
        return timeit.timeit(what, number=CALLS, timer=time.process_time) / CALLS * 1e9

    return min(one(work) for _ in range(rounds)) - min(one(nothing) for _ in range(rounds))


def spanned() -> None:
    with telemetry.span("bench.span"):
        pass


def counted() -> tuple[int, float]:
    """Records, spans and counts of one transcription, and its processor seconds."""
    from hansard.config import load
    from hansard.wiring import transcribe_one

    calls = 0
    really = (telemetry._add, telemetry.count)

    def add(stage: str, seconds: float, own: float, trace: telemetry.Trace | None) -> None:
        nonlocal calls
        calls += 1
        really[0](stage, seconds, own, trace)

    def count(name: str, amount: float = 1.0) -> None:
        nonlocal calls
        calls += 1
        really[1](name, amount)

    sample = rig.ROOT / "samples" / "meeting.ogg"
    with tempfile.TemporaryDirectory() as place:
        settings = load(data=Path(place), offline=True, meetings={"follow_up": False})
        telemetry._add, telemetry.count = add, count
        before = time.process_time()
        try:
            transcribe_one(sample, settings, None, {"model": "sphinx"})
        finally:
            telemetry._add, telemetry.count = really
        return calls, time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    prices = {
        "record": price(lambda: telemetry.record("bench.record", 0.001), rounds),
        "span": price(spanned, rounds),
        "count": price(lambda: telemetry.count("bench.count"), rounds),
    }
    for name, nanoseconds in prices.items():
        print(f"{name:<8} {nanoseconds:7.0f} ns (target {TARGET_NANOSECONDS:.0f})")
    calls, seconds = counted()
    share = calls * max(prices.values()) / 1e9 / seconds
    print(
        f"{calls} calls in {seconds:.2f} s of this process: {share:.4%} (target {TARGET_SHARE:.0%})"
    )
    passed = max(prices.values()) < TARGET_NANOSECONDS and share < TARGET_SHARE
    figures = {"nanoseconds": prices, "calls": calls, "share": share, "passed": passed}
    rig.report("telemetry", figures)


if __name__ == "__main__":
    main()
