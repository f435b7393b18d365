"""Figures of many processes, added up in the store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.store.counting import FIRST, THEN

from hansard import telemetry
from hansard.config import PerformanceSettings
from hansard.errors import StoreBusy
from hansard.store import rollup
from hansard.store.database import Database
from hansard.store.rollup import DAY, HOUR, MINUTE, Figures, RollUp
from hansard.store.tables import performance
from hansard.telemetry import Example, Timing

NOW = 1_800_000_000.0 // DAY * DAY + 12 * HOUR + 60.5
SETTINGS = PerformanceSettings()


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    telemetry.reset()
    telemetry.slowest()
    yield
    telemetry.reset()


def figures(*seconds: float, failures: dict[str, int] | None = None) -> Figures:
    telemetry.reset()
    for one in seconds:
        telemetry.record("x", one)
    timing = telemetry.snapshot().timings["x"]
    telemetry.reset()
    telemetry.slowest()
    return Figures(timing, failures or {}, (Example(max(seconds), NOW, "t", "j"),))


def test_a_process_adds_what_came_since_the_last_time(database: Database) -> None:
    rolling = RollUp(database, SETTINGS, clock=lambda: NOW)
    assert not rolling.flush(), "nothing to add, nothing written"
    with telemetry.tracing(telemetry.begin("job1")), telemetry.span("stt"):
        pass
    assert rolling.flush()
    assert not rolling.flush()
    telemetry.record("stt", 3.0)
    telemetry.failed("stt", "engine_died")
    assert rolling.flush()
    found = rollup.read(database, NOW - 60, NOW, now=NOW)
    assert set(found) == {"stt"}
    assert found["stt"].timing == telemetry.snapshot().timings["stt"]
    assert found["stt"].failures == {"engine_died": 1}
    assert [one.about for one in found["stt"].slowest] == [None, "job1"]
    assert rollup.read(database, NOW - 60, NOW, now=NOW, stages=["y"]) == {}


def test_nothing_is_lost_while_the_store_is_in_trouble(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolling = RollUp(database, SETTINGS, clock=lambda: NOW)
    telemetry.record("stt", 1.0)
    with monkeypatch.context() as broken, pytest.raises(StoreBusy):

        def busy(*_: object) -> None:
            raise StoreBusy("x")

        broken.setattr(rollup, "add", busy)
        rolling.flush()
    telemetry.record("stt", 2.0)
    rolling.flush()
    (found,) = rollup.read(database, NOW - 60, NOW, now=NOW).values()
    assert found.timing.count == 2
    assert [one.seconds for one in found.slowest] == [2.0, 1.0]


def test_processes_that_add_at_once_lose_nothing(database: Database) -> None:
    def adding(number: int) -> None:
        for _ in range(5):
            rollup.add(database, {"x": one, f"y{number}": one}, NOW)

    one = figures(0.1, 0.2, failures={"full": 1})
    threads = [threading.Thread(target=adding, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = rollup.read(database, NOW - 60, NOW, now=NOW)
    assert {name: value.timing.count for name, value in found.items()} == {
        "x": 40,
        **{f"y{number}": 10 for number in range(4)},
    }
    assert found["x"].failures == {"full": 20}


def test_minutes_become_hours_and_days_and_every_window_says_the_same(database: Database) -> None:
    chance = random.Random(7)
    truth: list[tuple[float, float]] = []
    begin = NOW - 2 * DAY
    moment = begin
    while moment < NOW:
        seconds = chance.lognormvariate(-2, 1)
        truth.append((moment, seconds))
        rollup.add(database, {"x": figures(seconds)}, moment)
        before, moment = moment, moment + chance.uniform(300, 1200)
        if before // HOUR != moment // HOUR:
            rollup.roll(database, moment, SETTINGS.days)
    rollup.roll(database, NOW, SETTINGS.days)
    rollup.roll(database, NOW, SETTINGS.days)
    for length, grain in ((600, MINUTE), (2 * HOUR, MINUTE), (30 * HOUR, HOUR), (30 * DAY, DAY)):
        since = (NOW - length) // grain * grain
        wanted = sorted(seconds for moment, seconds in truth if moment >= since)
        found = rollup.read(database, NOW - length, NOW, now=NOW).get("x", Figures())
        assert found.timing.count == len(wanted), length
        assert found.timing.total == pytest.approx(sum(wanted))
        if wanted:
            middle = wanted[-(-len(wanted) // 2) - 1]
            assert found.timing.percentile(0.5) == pytest.approx(middle, rel=0.0101)
            assert found.slowest[0].seconds == pytest.approx(wanted[-1])
    # A window that is over, next to one that is not: each record is in one of them.
    halves = [
        rollup.read(database, NOW - (n + 1) * 24 * HOUR, NOW - n * 24 * HOUR, now=NOW)["x"]
        for n in (1, 0)
    ]
    since = (NOW - 48 * HOUR) // HOUR * HOUR
    assert sum(half.timing.count for half in halves) == sum(at >= since for at, _ in truth)
    with database.read() as connection:
        rows = connection.execute(
            sa.select(performance.c.grain, sa.func.count()).group_by(performance.c.grain)
        )
        counts = {grain: count for grain, count in rows}  # noqa: C416 a row is no pair of types
    assert counts[MINUTE] <= 6 * 60, "old minutes are gone"
    assert counts[HOUR] <= 49
    assert counts[DAY] == 2


def test_who_comes_late_is_counted_with_the_next_hour(database: Database) -> None:
    hour = NOW // HOUR * HOUR
    rollup.add(database, {"x": figures(1.0)}, hour - 30 * MINUTE)
    rollup.roll(database, hour + 130, SETTINGS.days)
    rollup.add(database, {"x": figures(2.0)}, hour - MINUTE)  # a clock that is behind
    rollup.add(database, {"x": figures(3.0)}, hour + 5 * MINUTE)
    later = hour + HOUR + 130
    rollup.roll(database, later, SETTINGS.days)
    found = rollup.read(database, later - 6 * HOUR, later, now=later)
    assert found["x"].timing.count == 3


def test_a_thread_adds_and_the_end_adds_the_rest(database: Database) -> None:
    rolling = RollUp(database, PerformanceSettings(interval=3600))
    telemetry.record("before", 1.0)
    rolling.begin()
    rolling.begin()
    telemetry.record("x", 1.0)
    rolling.end()
    rolling.end()
    with database.read() as connection:
        assert connection.scalars(sa.select(performance.c.stage)).all() == ["x"]


def test_only_so_many_classes_of_failures_are_kept() -> None:
    whole = Figures()
    for number in range(100):
        whole = whole.plus(Figures(Timing(1, 1.0, 1.0, {3: 1}), {f"code{number}": 1}))
    assert whole.failed == 100
    assert len(whole.failures) <= 21


@pytest.mark.parametrize(
    ("point", "left"),
    [
        (("hansard.store.rollup:add:before", "2"), FIRST),
        (("hansard.store.rollup:locks.alone:after", "2"), FIRST),  # in the middle of adding
        (("hansard.store.rollup:add:after", "2"), FIRST + THEN),
        (("hansard.store.rollup:locks.alone:after", "3"), FIRST + THEN),  # of making an hour
        (("-", "0"), FIRST + THEN),
    ],
)
def test_a_kill_loses_an_interval_at_most_and_nothing_counts_twice(
    database: Database,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    point: tuple[str, str],
    left: int,
) -> None:
    address = "-" if database.dialect == "sqlite" else request.getfixturevalue("_postgres")()
    ended = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("counting.py"))),
            *(str(tmp_path), address, str(NOW), *point),
        ],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=60,
    )
    assert ended.returncode == (0 if point[0] == "-" else -signal.SIGKILL)
    later = NOW + 2 * HOUR
    for _ in range(2):
        found = rollup.read(database, NOW - HOUR, later, now=later)
        assert found["stt"].timing.count == left
        rollup.roll(database, later, SETTINGS.days)  # which another process does in its place
    with database.read() as connection:
        hours = sa.select(sa.func.sum(performance.c.count)).where(performance.c.grain == HOUR)
        assert connection.scalar(hours) == left
