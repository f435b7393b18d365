"""Sums by day: the same from both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.store.test_views import BEGIN, Pair, put, row

from hansard.store import statistics
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite
from hansard.store.statistics import Statistics, Tally
from hansard.store.tables import buckets, jobs

DAY = 86_400.0
MIDNIGHT = BEGIN - BEGIN % DAY

ROWS = [
    row(1, finished=BEGIN, started=BEGIN - 8, seconds=60.5, created=MIDNIGHT),
    row(2, finished=BEGIN, started=BEGIN - 2, seconds=0.25, created=MIDNIGHT + DAY - 1e-4),
    row(3, finished=BEGIN, seconds=None, state="cancelled", created=MIDNIGHT),
    row(4, finished=BEGIN, started=BEGIN, seconds=1.0, tenant="another", created=MIDNIGHT),
    row(5, finished=BEGIN, seconds=4.0, engine="whisper", model="tiny", created=MIDNIGHT + DAY),
    row(6, seconds=9.0, state="running", created=MIDNIGHT),
    row(7, finished=BEGIN, seconds=2.0, created=MIDNIGHT - 1e-3),
]


def test_both_add_up_to_the_same(pair: Pair) -> None:
    for database in pair:
        put(database, ROWS)
    assert statistics.refresh(pair[1])
    assert not statistics.refresh(pair[0]), "nothing to be done"
    for tenant in ("local", "another", None, "nobody"):
        for days in (("2023-11-14", "2023-11-14"), ("2000-01-01", "2100-01-01")):
            one, two = (statistics.read(database, tenant, *days) for database in pair)
            assert one == two
            assert bool(one) == (tenant != "nobody")
    assert statistics.read(pair[1], "local", "2023-11-14", "2023-11-14") == [
        Tally("2023-11-14", "sphinx", "en-us", "cancelled", 1, 0.0, 0.0),
        Tally("2023-11-14", "sphinx", "en-us", "completed", 2, 60.75, 10.0),
    ]
    assert statistics.read(pair[1], None, "2023-11-14", "2023-11-14")[1].jobs == 3


def test_they_are_made_by_one_host_at_a_time_and_now_and_then(postgres: str) -> None:
    database, other = Postgres(postgres), Postgres(postgres)
    put(database, ROWS)
    now = 100.0
    keepers = [Statistics(one, lambda: now) for one in (database, other)]

    def known() -> int:
        return sum(one.jobs for one in statistics.read(other, None, "2000-01-01", "2100-01-01"))

    for keeper in keepers:
        keeper.keep_up()
    assert known() == 6
    with database.write() as connection:
        connection.execute(jobs.delete().where(jobs.c.tenant == "another"))
    now += 3_600.0
    for keeper in keepers:
        keeper.keep_up()
    assert known() == 6, "ten minutes have not passed for the store"
    with database.write() as connection:
        connection.execute(buckets.update().values(touched=buckets.c.touched - 601))
    now += 3_600.0
    with other.write() as connection:  # another host is at it
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended('statistics', 0))")
        )
        assert not statistics.refresh(database)
    keepers[0].keep_up()
    assert known() == 5
    for one in (database, other):
        one.close()


def test_sqlite_has_nothing_to_keep(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Sqlite(tmp_path / "x.db")  # type: ignore[operator]
    monkeypatch.setattr(database, "write", None)
    Statistics(database).keep_up()
    database.close()
