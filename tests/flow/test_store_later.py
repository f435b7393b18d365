"""A host that comes up before its database does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.flow.hosts import Worker
from tests.store import server
from tests.store.server import Server
from tests.waiting import until


@pytest.fixture
def own() -> Iterator[Server]:
    with server.running() as started:
        yield started


@pytest.mark.slow
def test_a_worker_waits_for_a_store_that_is_not_there_yet(own: Server, tmp_path: Path) -> None:
    address = own.fresh()
    own.stop()
    surroundings = {"HANSARD_DATABASE": address, "HANSARD_TEST_LOG": str(tmp_path / "log")}
    worker = Worker(tmp_path, tmp_path / "data", surroundings)
    worker.start()
    try:
        until(lambda: "cannot be reached" in worker.said(), "it says what it waits for")
        assert worker.alive()
        own.start()
        until(lambda: _signs(address), "it has signed the roll")
        assert worker.stop() == 0
    finally:
        worker.kill()


def _signs(address: str) -> bool:
    with psycopg.connect(address, autocommit=True) as connection:
        made = connection.execute("SELECT to_regclass('workers') IS NOT NULL").fetchone()
        if made != (True,):
            return False
        return connection.execute("SELECT count(*) FROM workers").fetchone() == (1,)
