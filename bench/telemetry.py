"""What it costs to measure: nanoseconds a record, and the share of a transcription.

The share is counted, not timed: a transcription by the embedded engine says how many records,
spans and counts it makes, and each has the price that was found here. Against it stands the
processor time of that transcription.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import rig

from hansard import telemetry
from hansard.store import rollup
from hansard.store.sqlite import Sqlite

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


STAGES = 60
DAYS = 30


def kept() -> dict[str, float]:
    """Milliseconds of the store (SQLite): a flush of 60 stages, and windows over 30 full days."""
    figures = _figures()
    day, now = rollup.DAY, 1_800_000_000.0 // rollup.DAY * rollup.DAY + 43_200.0
    with tempfile.TemporaryDirectory() as place:
        database = Sqlite(Path(place) / "hansard.db")
        for number in range(DAYS):
            _put(database, rollup.DAY, now - number * day - day, figures)
        for hour in range(9 * 24):
            _put(database, rollup.HOUR, now - hour * 3600, figures)
        for minute in range(6 * 60):
            _put(database, rollup.MINUTE, now - minute * 60, figures)
        found = {"flush": _milliseconds(lambda: rollup.add(database, figures, now))}
        for name, seconds in (
            ("30min", 1800),
            ("2h", 7200),
            ("6h", 21_600),
            ("8d", 8 * day),
            ("30d", 30 * day),
        ):
            ask = partial(rollup.read, database, now - seconds, now, now=now)
            found[name] = _milliseconds(ask)
        database.close()
    return found


def _put(database: Sqlite, grain: int, at: float, figures: dict[str, rollup.Figures]) -> None:
    start = int(at) // grain * grain
    with database.write(lasting=False) as connection:
        rows = [rollup._row(grain, start, stage, one) for stage, one in figures.items()]
        connection.execute(rollup._PUT["sqlite"], rows)


def _figures() -> dict[str, rollup.Figures]:
    """Of as many stages as a busy service has, each with buckets as a busy minute fills them."""
    telemetry.reset()
    chance = random.Random(1)
    for _ in range(300):
        telemetry.record("x", chance.lognormvariate(-4, 0.7))
    one = rollup.Figures(telemetry.snapshot().timings["x"])
    return {f"stage{number:02}.of.this.length": one for number in range(STAGES)}


def _milliseconds(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=1, repeat=7)) * 1000


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
    store = kept()
    for name, milliseconds in store.items():
        print(f"{name:<8} {milliseconds:7.1f} ms, {STAGES} stages")
    passed = max(prices.values()) < TARGET_NANOSECONDS and share < TARGET_SHARE
    figures = {
        "nanoseconds": prices,
        "calls": calls,
        "share": share,
        "store_ms": store,
        "passed": passed,
    }
    rig.report("telemetry", figures | {"passed": passed})


if __name__ == "__main__":
    main()
