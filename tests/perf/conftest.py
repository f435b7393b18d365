"""Figures as many processes would have added them, without the processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hansard import telemetry
from hansard.store import rollup
from hansard.store.database import Database
from hansard.store.rollup import Figures
from hansard.telemetry import Example, Timing

NOW = 1_800_000_000.0 // 86_400 * 86_400 + 43_200 + 30.5


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    telemetry.reset()
    telemetry.slowest()
    yield
    telemetry.follow(None)
    telemetry.reset()


def timing(seconds: float, times: int, own: float | None = None) -> Timing:
    telemetry.reset()
    telemetry.record("x", seconds)
    one = telemetry.snapshot().timings["x"]
    telemetry.reset()
    telemetry.slowest()
    (index,) = one.buckets
    worked = seconds if own is None else own
    return Timing(times, seconds * times, seconds, {index: times}, worked * times)


def put(
    database: Database,
    at: float,
    stage: str,
    seconds: float,
    times: int,
    *,
    own: float | None = None,
    failures: dict[str, int] | None = None,
) -> None:
    """Add ``times`` records of as many seconds, of which ``own`` in no stage within."""
    slow = (Example(seconds, at, "a" * 32, f"job-{stage}"),)
    figures = Figures(timing(seconds, times, own), failures or {}, slow)
    rollup.add(database, {stage: figures}, at)
