"""The databases that contract suites run over: an SQLite file, and a real PostgreSQL."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from hansard.store.database import Database
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite
from hansard.store.tables import metadata

SERVER = os.environ.get("HANSARD_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
"""A server on which databases may be made and dropped."""

BOTH = ("sqlite", "postgresql")


@contextmanager
def fresh_postgres() -> Iterator[str]:
    """The address of a database of its own, dropped afterwards. Skips where there is no server."""
    name = f"hansard_test_{secrets.token_hex(6)}"
    try:
        with psycopg.connect(SERVER, autocommit=True, connect_timeout=3) as server:
            server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    except psycopg.Error as error:
        pytest.skip(f"no PostgreSQL: set HANSARD_TEST_POSTGRES ({str(error).splitlines()[0]})")
    address = sa.make_url(SERVER).set(database=name)
    try:
        yield address.render_as_string(hide_password=False)
    finally:
        with psycopg.connect(SERVER, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def emptied(address: str) -> None:
    """Remove every row, which is quicker than making the tables again."""
    names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")


def opened(kind: str, path: Path, postgres: Callable[[], str]) -> Database:
    """A store of a kind, empty."""
    return Sqlite(path / "hansard.db") if kind == "sqlite" else Postgres(postgres())
