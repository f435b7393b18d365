"""Reports, insights, service levels and their alerts, over both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.perf.conftest import NOW, put

from hansard.config import LevelSettings, load
from hansard.perf import alerts, levels
from hansard.perf.insights import insights
from hansard.perf.report import report
from hansard.store.database import Database
from hansard.store.tables import deliveries

LEVELS = LevelSettings()
SEARCH = levels.STAGES["search"][0]


def test_a_report_says_where_the_time_went(database: Database) -> None:
    put(database, NOW - 60, "engine", 1.0, 30, own=0.1)
    put(database, NOW - 60, "engine.decode", 0.9, 30, failures={"engine_died": 3})
    put(database, NOW - 60, "queue.wait", 500.0, 5)
    put(database, NOW - 60, SEARCH, 0.02, 100)
    put(database, NOW - 7200, SEARCH, 9.0, 100)
    found = report(database, seconds=1800, now=NOW)
    assert [one.stage for one in found.operations[:2]] == ["engine.decode", "engine"]
    shares = {one.stage: one.share for one in found.operations}
    assert shares["engine.decode"] == pytest.approx(27 / 32)
    assert shares["queue.wait"] == 0, "who waits does not work"
    assert sum(shares.values()) == pytest.approx(1)
    assert (found.count, found.failed) == (165, 3)
    assert found.operations[0].failures == {"engine_died": 3}
    api = report(database, seconds=1800, now=NOW, category="api")
    assert [one.stage for one in api.operations] == [SEARCH]
    assert (api.count, api.success_rate) == (100, 1.0)
    assert api.p95 == pytest.approx(0.02, rel=0.0101)
    assert api.operations[0].rate == pytest.approx(100 / 1800)
    assert [(one.about, one.trace) for one in api.slowest] == [(f"job-{SEARCH}", "a" * 32)]
    nothing = report(database, seconds=60, now=NOW + 7200)
    assert (nothing.count, nothing.success_rate, nothing.operations) == (0, 1.0, ())


def test_the_stage_that_became_slow_is_named_and_not_what_it_is_in(database: Database) -> None:
    for at, slow in ((NOW - 5400, 0.0), (NOW - 600, 1.0)):
        put(database, at, "engine.decode", 0.5 + slow, 20)
        put(database, at, "engine", 0.6 + slow, 20, own=0.1)
        put(database, at, "unit.listen", 0.7 + slow, 20, own=0.1)
        put(database, at, "prepare.vad", 0.3, 20)
        put(database, at, "join", 2.0 - slow, 10)
        put(database, at, "rare", 0.1 + slow, 2)
        wrong = {"store_busy": 5} if slow else None
        put(database, at, SEARCH, 0.05, 100, failures=wrong)
    found = insights(database, LEVELS, seconds=3600, now=NOW)
    said = {change.kind: change for change in found.changes}
    assert [change.stage for change in found.changes] == ["engine.decode", "join", SEARCH]
    assert said["slower"].component == "stt"
    assert said["slower"].cost == pytest.approx(20.0)
    assert "engine.decode" in said["slower"].message
    assert said["faster"].stage == "join"
    assert "store_busy" in said["failing"].message
    assert found.over == (), "five of two hundred are within the budget"


def test_a_level_counts_what_is_slow_and_what_failed(database: Database) -> None:
    put(database, NOW - 60, SEARCH, 0.1, 90)
    put(database, NOW - 60, SEARCH, 0.3, 6)
    put(database, NOW - 60, SEARCH, 0.01, 4, failures={"store_busy": 4})
    (found,) = [one for one in levels.measure(database, LEVELS, seconds=600, now=NOW) if one.count]
    assert (found.name, found.count, found.broken) == ("search", 100, 10)
    assert found.burn == pytest.approx(2.0)
    assert found.attained == pytest.approx(0.3, rel=0.0101)
    assert [one.name for one in insights(database, LEVELS, seconds=600, now=NOW).over] == ["search"]
    none = LevelSettings(search=0)
    assert "search" not in [one.name for one in levels.measure(database, none, seconds=9, now=NOW)]


def test_every_level_is_a_setting_and_has_its_stages() -> None:
    assert set(levels.STAGES) == set(LevelSettings.model_fields) - {"objective"}
    assert levels.bounds(LEVELS) == {
        "health": 0.05, "search": 0.2, "status": 0.1, "meeting": 0.3, "upload": 2.0,
        "transcription": 0.3, "sentiment": 30.0, "summary": 60.0, "embeddings": 120.0,
    }  # fmt: skip


def told(database: Database) -> list[Any]:
    with database.read() as connection:
        rows = connection.execute(sa.select(deliveries).order_by(deliveries.c.id))
        return [(row.event, msgspec.json.decode(row.body)["data"]) for row in rows]


def test_an_incident_is_told_once_and_its_end_as_well(database: Database) -> None:
    settings = load(webhooks={"url": "https://example.org/hook"})

    def looks(at: float) -> list[alerts.Incident]:
        return alerts.look(database, settings, now=at)

    put(database, NOW - 1800, SEARCH, 0.01, 100)
    assert looks(NOW) == []
    put(database, NOW, SEARCH, 0.01, 10)
    put(database, NOW, SEARCH, 5.0, 9)
    assert looks(NOW) == [], "nine are too few to wake anybody"
    put(database, NOW, SEARCH, 5.0, 891)
    (opened,) = looks(NOW + 1)
    assert (opened.level, opened.rule, opened.closed) == ("search", "fast", None)
    assert looks(NOW + 2) == []
    assert [one.id for one in insights(database, LEVELS, seconds=60, now=NOW).incidents] == [
        opened.id
    ]
    # The shortest window is well again, half an hour is not yet; six hours remember it for long.
    put(database, NOW + 900, SEARCH, 0.01, 1000)
    assert looks(NOW + 910) == []
    (closed,) = looks(NOW + 1900)
    assert (closed.id, closed.closed) == (opened.id, NOW + 1900)
    assert looks(NOW + 1910) == []
    assert alerts.open_ones(database) == []
    (first, burning), (second, over) = told(database)
    assert (first, second) == ("level.burning", "level.recovered")
    assert burning["incident"]["found"]["level"]["broken"] == 900
    assert burning["burn"]["300s"] == pytest.approx(900 / 910 / 0.05, rel=0.01)
    assert over["incident"]["id"] == opened.id


def test_a_slow_burn_is_found_by_its_longer_windows(database: Database) -> None:
    for hours in range(1, 71):
        put(database, NOW - hours * 3600, SEARCH, 0.01, 90)
        put(database, NOW - hours * 3600, SEARCH, 5.0, 10)
    assert levels.burning(levels.burns(database, LEVELS, now=NOW)) == {}, "it seems to be over"
    put(database, NOW - 600, SEARCH, 0.01, 9)
    put(database, NOW - 600, SEARCH, 5.0, 1)
    found = levels.burning(levels.burns(database, LEVELS, now=NOW))
    assert found["search"].rule == "slow"
    assert found["search"].long == pytest.approx(2.0)
