from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.waiting import until

from hansard.store import buckets
from hansard.store.database import Database
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite
from hansard.store.tables import buckets as table

NEVER = 1e-9
"""Tokens a second: none while a test lasts."""


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Sqlite]:
    """Where the clock is ours."""
    opened = Sqlite(tmp_path / "hansard.db")
    yield opened
    opened.close()


def rows(database: Database) -> dict[str, float]:
    with database.read() as connection:
        found = connection.execute(sa.select(table.c.name, table.c.tokens))
        return {row.name: row.tokens for row in found}


def age(database: Database, seconds: float) -> None:
    """Let time pass for every bucket, whatever clock its store goes by."""
    with database.write() as connection:
        connection.execute(
            table.update().values(
                touched=table.c.touched - seconds, closed_until=table.c.closed_until - seconds
            )
        )


def test_a_bucket_gives_what_it_holds_and_says_when_there_is_more(database: Database) -> None:
    said = [buckets.take(database, "a", 1, rate=NEVER, burst=3) for _ in range(3)]
    assert [one.wait for one in said] == [0, 0, 0]
    assert [one.left for one in said] == pytest.approx([2, 1, 0], abs=1e-3)
    assert buckets.take(database, "a", 1, rate=NEVER, burst=3).wait > 1e8
    assert buckets.take(database, "b", 3, rate=NEVER, burst=3).wait == 0, "another is full"
    age(database, 10)
    refused = buckets.take(database, "a", 3, rate=0.2, burst=3)
    assert (refused.wait, refused.left) == pytest.approx((5.0, 2.0), abs=1.0)
    age(database, 5)
    assert buckets.take(database, "a", 3, rate=0.2, burst=3).wait == 0


def test_what_is_given_back_is_there_but_no_more_than_fits(database: Database) -> None:
    buckets.take(database, "a", 4, rate=NEVER, burst=5)
    buckets.give_back(database, "a", 2, burst=5)
    assert buckets.take(database, "a", 3, rate=NEVER, burst=5).wait == 0
    buckets.give_back(database, "a", 100, burst=5)
    assert rows(database) == {"a": 5.0}
    buckets.give_back(database, "nobody", 1, burst=5)
    assert rows(database) == {"a": 5.0}


def test_a_closed_bucket_gives_nothing_until_then(database: Database) -> None:
    buckets.close(database, "a", 50, burst=5)
    buckets.close(database, "a", 20, burst=5)  # whoever says less does not open it
    said = buckets.take(database, "a", 1, rate=1, burst=5)
    assert 40 < said.wait <= 50
    assert said.left == 5
    age(database, 51)
    assert buckets.take(database, "a", 1, rate=1, burst=5).wait == 0
    buckets.take(database, "b", 1, rate=NEVER, burst=5)
    buckets.close(database, "b", 50, burst=5)
    assert buckets.take(database, "b", 1, rate=1, burst=5).wait > 40


def test_buckets_that_nobody_uses_are_forgotten(database: Database) -> None:
    for name in ("old", "closed"):
        buckets.take(database, name, 1, rate=1, burst=5)
    age(database, 1000)
    buckets.close(database, "closed", 50, burst=5)
    buckets.take(database, "new", 1, rate=1, burst=5)
    assert buckets.sweep(database, unused=900) == 1
    assert set(rows(database)) == {"closed", "new"}


def test_a_crowd_of_threads_gets_every_token_once(database: Database) -> None:
    def draw(_: int) -> float:
        return buckets.take(database, "a", 1, rate=NEVER, burst=25).wait

    with ThreadPoolExecutor(8) as crowd:
        waits = list(crowd.map(draw, range(60)))
    assert waits.count(0.0) == 25


def test_taking_is_no_news_to_anybody(postgres: str) -> None:
    database = Postgres(postgres)
    until(lambda: database.beat() == database.beat(), "it hears the others")
    before, rings = database.beat(), database.rings()
    buckets.take(database, "a", 1, rate=1, burst=5)
    buckets.close(database, "a", 1, burst=5)
    assert (database.beat(), database.rings()) == (before, rings)
    age(database, 1)
    assert (database.beat(), database.rings()) != (before, rings), "other writes are"
    database.close()


_CHILD = """
import sys
from hansard.store import buckets
from hansard.store.postgres import Postgres

database = Postgres(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(sum(not buckets.take(database, "a", 1, rate=1e-9, burst=100).wait for _ in range(80)))
database.close()
"""


def test_processes_share_one_bucket(postgres: str) -> None:
    Postgres(postgres).close()
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, postgres],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for one in crowd:
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
    for one in crowd:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    taken = [int(one.communicate()[0]) for one in crowd]
    assert sum(taken) == 100
    assert max(taken) <= 80


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rate=st.floats(0.1, 20),
    burst=st.integers(1, 10),
    asked=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 3)), min_size=1, max_size=40),
)
def test_never_more_than_a_full_bucket_and_what_flowed_in(
    sqlite: Sqlite, rate: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    with sqlite.write() as connection:
        connection.execute(table.delete())
    now, taken = 1000.0, [(1000.0, 0)]
    for pause, wanted in asked:
        now += pause
        amount = min(wanted, burst)
        said = buckets.take(sqlite, "a", amount, rate=rate, burst=burst, now=now)
        if said.wait:
            now += said.wait
            assert not buckets.take(sqlite, "a", amount, rate=rate, burst=burst, now=now).wait
        taken.append((now, taken[-1][1] + amount))
    for first in range(len(taken) - 1):
        for last in range(first + 1, len(taken)):
            elapsed = taken[last][0] - taken[first][0]
            assert taken[last][1] - taken[first][1] <= burst + rate * elapsed + 1e-3


def test_a_clock_that_is_set_back_stops_nobody_for_long(sqlite: Sqlite) -> None:
    moments = [5000.0, 5000.0, 1000.0, 1001.0]
    said = [buckets.take(sqlite, "a", 1, rate=1, burst=1, now=now).wait for now in moments]
    assert said[0] == 0
    assert said[1] == pytest.approx(1)
    assert said[2] == pytest.approx(1)
    assert all(later <= before + 1e-6 for before, later in pairwise(said[1:]))
