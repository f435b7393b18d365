"""The bell, when other processes write."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from hansard.store.sqlite import Sqlite

PATIENCE = 60.0

WRITE = """
import sys
from pathlib import Path
from sqlalchemy import text
from hansard.store.sqlite import Sqlite
with Sqlite(Path(sys.argv[1])).write() as connection:
    connection.execute(text("INSERT INTO shares VALUES ('a', '', 1)"))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hansard.db"


@pytest.fixture
def watched(path: Path) -> Iterator[Sqlite]:
    database = Sqlite(path)
    database.watch()
    database.watch()  # twice is once
    yield database
    database.close()


def write(database: Sqlite, sql: str) -> None:
    with database.write() as connection:
        connection.execute(text(sql))


def test_it_rings_when_another_process_has_written(watched: Sqlite, path: Path) -> None:
    seen = watched.rings()
    subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
    watched.wait(seen, PATIENCE)
    assert watched.rings() > seen


def test_it_rings_once_for_each_own_change_and_for_nothing_else(
    watched: Sqlite, path: Path
) -> None:
    other = Sqlite(path)
    seen = watched.rings()
    write(watched, "INSERT INTO shares VALUES ('a', '', 1)")
    assert watched.rings() == seen + 1
    for database in (watched, other):
        write(database, "UPDATE shares SET served = 2 WHERE tenant = 'nobody'")
    watched._version()
    looks = [watched._version() for _ in range(3)]
    assert len(set(looks)) == 1
    assert watched.rings() == seen + 1
    write(other, "UPDATE shares SET served = 3")
    watched.wait(seen + 1, PATIENCE)
    assert watched.rings() == seen + 2
    assert watched._version() != looks[0]
    other.close()


def test_closing_ends_the_watch(path: Path) -> None:
    database = Sqlite(path)
    database.watch()
    assert "hansard-bell" in {thread.name for thread in threading.enumerate()}
    database.close()
    assert database._watcher is not None
    assert not database._watcher.is_alive()


def test_only_what_need_not_last_does_not_wait_for_the_disk(watched: Sqlite) -> None:
    def synchronous() -> int:
        driver = watched._connection.connection.driver_connection
        assert driver is not None
        return int(driver.execute("PRAGMA synchronous").fetchone()[0])

    normal, full = 1, 2
    assert synchronous() == full
    with watched.write(lasting=False):
        assert synchronous() == normal
    with watched.write():
        assert synchronous() == full
    with pytest.raises(ZeroDivisionError), watched.write(lasting=False):
        _ = 1 / 0
    assert synchronous() == full
