"""What `hansard optimise --explain` recommends, and from which figures."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.cli.conftest import Command, hansard  # noqa: F401 a fixture

from hansard import telemetry
from hansard.config import Settings
from hansard.perf import advice, plans
from hansard.perf.advice import Facts, advise, gather
from hansard.perf.plans import Scan, Unused
from hansard.store import rollup
from hansard.store.database import Database
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite

WELL = {"free": 10**12, "memory_limit": 10**10, "memory_left": 9 * 10**9, "memory_reserve": 10**8}


def about(**facts: object) -> dict[str, str]:
    found = list(advise(Facts(**{**WELL, **facts})))  # type: ignore[arg-type]
    for one in found:
        assert all((one.change, one.why, one.gain, one.undo))
    return {one.about: f"{one.change} {one.why}" for one in found}


def test_where_all_is_well_there_is_nothing_to_say() -> None:
    assert about() == {}


@pytest.mark.parametrize(
    ("facts", "topic", "said"),
    [
        ({"free": 10**10, "arriving": 2e9}, "disk", "in 5 days"),
        ({"free": 10, "reserve": 20}, "disk", "taken now"),
        ({"memory_left": 3 * 10**8}, "memory", "300 of 10,000 MB"),
        ({"oldest": 1200.0, "waiting": 7200.0}, "queue", "Start a worker"),
        ({"oldest": 1200.0, "waiting": 7200.0, "workers": 2}, "queue", "2 live now"),
        ({"loads": 200, "loading": 900.0, "model_idle": 300.0}, "models", "MODEL_IDLE=3600"),
        ({"loads": 200, "loading": 900.0, "fits": False}, "models", "push each other"),
        ({"connections": 90, "most_connections": 100}, "pool", "90 of 100"),
        ({"most_connections": 100, "pool": 16, "processes": 8}, "pool", "may open 256"),
        ({"scans": (Scan("a list", "jobs", 10**6, "SCAN"),)}, "database", "reads all of jobs"),
        ({"unused": (Unused("ix_x", "jobs", 10**8),)}, "database", "DROP INDEX ix_x"),
        ({"stale": "never"}, "database", "hansard database vacuum"),
    ],
)
def test_each_trouble_has_its_advice(facts: dict[str, object], topic: str, said: str) -> None:
    found = about(**facts)
    assert list(found) == [topic]
    assert said in found[topic]


def test_facts_of_an_empty_store(database: Database, tmp_path) -> None:
    settings = Settings(data=tmp_path)
    facts = gather(settings, database)
    assert (facts.scans, facts.unused, facts.loads, facts.oldest) == ((), (), 0, 0.0)
    assert facts.free > 0
    assert (facts.most_connections > 0) == (database.dialect == "postgresql")


def test_the_hot_questions_have_their_indexes_and_one_that_is_gone_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "LARGE", 0)
    database = Sqlite(tmp_path / "hansard.db")
    try:
        assert plans.gather(database)["scans"] == ()
        query = (
            "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE%INDEX%' AND tbl_name = 'jobs'"
        )
        with database.read() as connection:
            names = [str(row.name) for row in connection.execute(sa.text(query))]
        with database.write() as connection:
            for name in names:
                connection.execute(sa.text(f'DROP INDEX "{name}"'))
        found = plans.gather(database)
    finally:
        database.close()
    assert {scan.table for scan in found["scans"]} == {"jobs"}
    assert any(scan.what == "open jobs" for scan in found["scans"])
    assert found["stale"] is not None


def test_postgresql_has_counted_what_was_used(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "IDLE_INDEX", 0)
    database = Postgres(postgres)
    try:
        found = plans.gather(database)
    finally:
        database.close()
    assert found["unused"], "of an empty store most are"
    assert 0 < found["connections"] <= found["most_connections"]


def test_loads_of_models_are_counted_over_all_processes(database: Database) -> None:
    now = time.time()
    timing = telemetry.Timing(50, 200.0, 5.0, {1: 50})
    rollup.add(database, {"engine.load": rollup.Figures(timing)}, now - 60)
    rollup.add(database, {"engine.load": rollup.Figures(timing)}, now)
    assert advice._loads(database) == (100, 400.0)


def test_the_command_says_it(hansard: Command) -> None:  # noqa: F811
    ended = hansard("optimise", "--explain", "--json")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("[")
