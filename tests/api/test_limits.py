"""Limits that hold over several API processes: here, several services over one PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from tests.api.conftest import Serve, Served
from tests.cli.conftest import Audio, encoded

from hansard.api import portions
from hansard.api.limits import Allowance
from hansard.api.portions import Alone, Portions, limiter
from hansard.errors import StoreGone
from hansard.store import buckets, keys
from hansard.store.database import Database
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite
from hansard.store.tables import buckets as table

NEVER = 1e-9


@pytest.fixture
def database(postgres: str) -> Iterator[Postgres]:
    opened = Postgres(postgres)
    yield opened
    opened.close()


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many tokens were asked of the store, each time."""
    asked: list[float] = []
    really = buckets.take

    def take(database: Database, name: str, amount: float, **more: Any) -> buckets.Draw:
        asked.append(amount)
        return really(database, name, amount, **more)

    monkeypatch.setattr(buckets, "take", take)
    return asked


def tokens(database: Database) -> float:
    with database.read() as connection:
        return float(connection.scalar(sa.select(table.c.tokens)) or 0.0)


async def drain(limits: Portions, times: int, rate: float, burst: int) -> list[Allowance]:
    return [await limits.take("a", rate, burst) for _ in range(times)]


def test_where_one_process_has_a_store_alone_it_counts_in_memory(
    tmp_path: Path, database: Postgres
) -> None:
    with_file = Sqlite(tmp_path / "hansard.db")
    assert isinstance(limiter(with_file), Alone)
    with_file.close()
    assert isinstance(limiter(database), Portions)


def test_processes_let_through_no_more_than_one_would(
    database: Postgres, draws: list[float]
) -> None:
    rate, burst = 16.0, 64

    async def crowd() -> tuple[list[Allowance], float]:
        three = [Portions(database) for _ in range(3)]
        begun = time.monotonic()
        said = await asyncio.gather(*(drain(one, 100, rate, burst) for one in three))
        elapsed = time.monotonic() - begun
        for one in three:
            await one.close()
        return [one for each in said for one in each], elapsed

    said, elapsed = asyncio.run(crowd())
    passed = sum(not one.wait for one in said)
    assert burst <= passed <= burst + rate * elapsed
    assert all(0 < one.wait <= 1 / rate + 1e-3 for one in said if one.wait)
    assert max(draws) == burst // 8, "the busier, the larger the portions, up to a bound"
    assert len(draws) < len(said), "most were not asked of the store"


def test_unused_tokens_go_back(database: Postgres) -> None:
    async def some() -> float:
        limits = Portions(database)
        await drain(limits, 20, 8.0, 64)
        held = 64 - 20 - tokens(database)
        await limits.close()
        return held

    begun = time.monotonic()
    held = asyncio.run(some())
    elapsed = time.monotonic() - begun
    assert held > -8 * elapsed
    assert 44 - 1e-3 <= tokens(database) <= 44 + 8 * elapsed


def test_what_is_said_is_what_one_bucket_would_say(database: Postgres) -> None:
    async def ask() -> list[Allowance]:
        limits = Portions(database)
        said = await drain(limits, 4, 0.001, 3)
        await limits.close()
        return said

    said = asyncio.run(ask())
    assert [one.limit for one in said] == [3] * 4
    assert [one.left for one in said] == [2, 1, 0, 0]
    assert [one.wait for one in said] == pytest.approx([0, 0, 0, 1000], abs=20)
    assert [one.refill for one in said] == pytest.approx([1000, 2000, 3000, 3000], abs=20)


def test_who_is_refused_does_not_make_us_ask_again(database: Postgres, draws: list[float]) -> None:
    async def hammer() -> None:
        limits = Portions(database)
        await drain(limits, 100, NEVER, 2)
        await limits.close()

    asyncio.run(hammer())
    assert len(draws) == 3


def test_a_crowd_that_comes_at_once_gets_what_there_is(database: Postgres) -> None:
    async def crowd() -> list[Allowance]:
        limits = Portions(database)
        said = await asyncio.gather(*(limits.take("a", NEVER, 10) for _ in range(50)))
        await limits.close()
        return said

    assert sum(not one.wait for one in asyncio.run(crowd())) == 10


def test_without_a_store_each_counts_for_itself(
    database: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]

    def gone(*_: Any, **__: Any) -> None:
        raise StoreGone("The store cannot be reached.")

    async def go() -> None:
        limits = Portions(database, clock=lambda: now[0])
        with monkeypatch.context() as patch:
            patch.setattr(buckets, "take", gone)
            said = await drain(limits, 4, NEVER, 3)
            assert [bool(one.wait) for one in said] == [False, False, False, True]
            now[0] += portions._ALONE
            assert (await limits.take("a", NEVER, 3)).wait > 0
        now[0] += portions._ALONE
        said = await drain(limits, 4, NEVER, 3)
        assert [bool(one.wait) for one in said] == [False, False, False, True], "the store counts"
        await limits.close()

    with caplog.at_level(logging.WARNING, "hansard.api"):
        asyncio.run(go())
    assert [record.message for record in caplog.records] == [
        "requests are counted by this process alone: The store cannot be reached.",
        "the store counts requests again",
    ]


# ── whole services ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two(serve: Serve, postgres: str, tmp_path: Path) -> Callable[..., list[Served]]:
    """Two services on hosts of their own, as it were: all they share is the database."""

    def start(**serving: Any) -> list[Served]:
        return [
            serve(work=False, data=tmp_path / name, database=postgres, serve=serving)
            for name in ("one", "two")
        ]

    return start


def key(served: Served, **more: Any) -> dict[str, str]:
    with served.house.database.write() as connection:
        _, token = keys.create(connection, "k", **more)
    return {"Authorization": f"Bearer {token}"}


def test_a_key_has_one_rate_at_all_services(two: Callable[..., list[Served]]) -> None:
    services = two(keys="required", rate=30, burst=8)
    mine = key(services[0])
    begun = time.monotonic()
    said = [services[n % 2].http.get("/api/v1/usage", headers=mine) for n in range(24)]
    elapsed = time.monotonic() - begun
    passed = [one for one in said if one.status_code == 200]
    refused = [one for one in said if one.status_code == 429]
    assert 8 <= len(passed) <= 8 + 0.5 * elapsed
    assert len(passed) + len(refused) == 24
    assert {one.headers["retry-after"] for one in refused} <= {"1", "2"}
    assert {one.headers["ratelimit-remaining"] for one in refused} == {"0"}
    left = [int(one.headers["ratelimit-remaining"]) for one in passed[:8]]
    assert left == sorted(left, reverse=True)
    other = key(services[1])
    assert services[0].http.get("/api/v1/usage", headers=other).status_code == 200


def test_a_key_has_one_quota_at_all_services(
    two: Callable[..., list[Served]], speech: Audio, tmp_path: Path
) -> None:
    services = two(keys="required")
    mine = key(services[0], quota=7.0)

    def send(number: int) -> httpx.Response:
        clip = encoded(tmp_path / f"{number}.flac", speech[number * 1600 : number * 1600 + 32_000])
        with clip.open("rb") as media:
            return services[number % 2].http.post(
                "/api/v1/transcriptions", files={"file": media}, headers=mine
            )

    with ThreadPoolExecutor(6) as crowd:
        said = [one.status_code for one in crowd.map(send, range(6))]
    assert sorted(said) == [202, 202, 202, 429, 429, 429], "two seconds each, seven for all"
