"""Measures, adds what it measured to a store and sums it up; kills itself (SIGKILL) at a point.

    python counting.py DATA DATABASE NOW POINT NTH

DATABASE is an address, or "-" for SQLite in DATA; POINT and NTH are as for ``flow/killable.py``.
It measures FIRST, adds them, measures THEN, adds those, and sums up what is over at NOW.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.flow.killable import kill_at

from hansard import telemetry
from hansard.config import PerformanceSettings
from hansard.store import rollup
from hansard.store.opening import opened
from hansard.store.rollup import HOUR, RollUp

FIRST, THEN = 5, 7
"""Records."""


def main() -> None:
    data, address, now, point, nth = sys.argv[1:]
    if point != "-":
        kill_at(point, int(nth))
    database = opened(Path(data), None if address == "-" else address)
    rolling = RollUp(database, PerformanceSettings(), clock=lambda: float(now))
    for count in (FIRST, THEN):
        for _ in range(count):
            telemetry.record("stt", 1.0)
        rolling.flush()
    rollup.roll(database, float(now) + 2 * HOUR, 90)
    database.close()


if __name__ == "__main__":
    main()
