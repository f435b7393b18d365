"""From one schema to the next and back, on PostgreSQL, with rows in the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests import stores
from tests.store.test_views import row

from hansard.store import schema, usage
from hansard.store.ids import new_id
from hansard.store.partitions import make, month_of
from hansard.store.postgres import Postgres
from hansard.store.tables import jobs, metadata, recordings, segments, transcripts, windows

BEGIN = 1_767_225_600.0


@pytest.fixture
def address() -> Iterator[str]:
    with stores.fresh_postgres() as made:
        yield made


@pytest.fixture
def connection(address: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(sa.make_url(address).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def fill(connection: sa.Connection) -> None:
    ids = [new_id(BEGIN + n * 20 * 86_400) for n in range(4)]
    with connection.begin():
        connection.execute(
            recordings.insert().values(id="r", name="r", size=1, media="{}", created=1.0)
        )
        for name in ids:
            connection.execute(jobs.insert().values(row(1, id=name, identity=name)))
            connection.execute(transcripts.insert().values(job=name, head="{}", segments=3))
            for n in range(3):
                said = {"start": n, "end": n + 1, "channel": 0, "text": f"é {n}", "body": "{}"}
                connection.execute(segments.insert().values(job=name, position=n, **said))
        window(connection, ids[0], 0)


def window(connection: sa.Connection, job: str, position: int) -> int:
    said = {"pass": 0, "channel": 0, "position": position, "window": "{}", "samples": 1}
    return int(connection.scalar(windows.insert().values(job=job, **said).returning(windows.c.id)))


LATER = {"parent", "request", "terms", "missed", "trace"}
"""Columns that the oldest schema here has not yet."""


def everything(connection: sa.Connection) -> dict[str, list[Any]]:
    tables = (recordings, jobs, transcripts, segments, windows)
    with connection.begin():
        return {
            table.name: sorted(
                tuple(one)
                for one in connection.execute(
                    sa.select(*(column for column in table.c if column.name not in LATER))
                )
            )
            for table in tables
        }


def test_rows_are_the_same_at_every_schema_there_and_back(
    connection: sa.Connection, address: str
) -> None:
    schema.upgrade(connection, "0002")
    fill(connection)
    before = everything(connection)
    assert len(before["segments"]) == 12
    for way in range(2):
        schema.upgrade(connection)
        assert everything(connection) == before
        database = Postgres(address)
        assert make(database, month_of(BEGIN))
        database.close()
        assert everything(connection) == before
        with connection.begin():
            job = before["jobs"][0][0]
            assert window(connection, job, 1 + way) > max(one[0] for one in before["windows"])
        with connection.begin() as trial:
            connection.execute(jobs.delete().where(jobs.c.id == job))
            left = connection.scalar(sa.select(sa.func.count()).select_from(segments))
            assert left == 9, "segments go with their job"
            trial.rollback()
        before = everything(connection)
        schema.downgrade(connection, "0002")
        assert everything(connection) == before
    with connection.begin():
        connection.execute(jobs.delete())
    assert everything(connection)["segments"] == []
    schema.downgrade(connection, "base")
    schema.upgrade(connection)


def test_sums_of_usage_are_the_same_in_one_row_and_in_several(connection: sa.Connection) -> None:
    schema.upgrade(connection, "0006")
    one = "INSERT INTO usage VALUES ('2026-11-27', 't', 'k', 'sphinx', 3, 1.5, 0.25)"
    more = "INSERT INTO usage VALUES ('2026-11-27', 't', 'k', 'sphinx', 7, 2, 4.5, 0.5)"
    with connection.begin():
        connection.execute(sa.text(one))
    schema.upgrade(connection)
    with connection.begin():
        connection.execute(sa.text(more))
        assert usage.sums(connection, "", "9", ("key",), "t") == [
            usage.Line(5, 6.0, 0.75, key="k"),
        ]
    schema.downgrade(connection, "0006")
    with connection.begin():
        (row,) = connection.execute(sa.text("SELECT * FROM usage")).all()
    assert tuple(row) == ("2026-11-27", "t", "k", "sphinx", 5, 6.0, 0.75)


def test_postgres_comes_to_the_tables_as_declared(postgres: str) -> None:
    engine = sa.create_engine(sa.make_url(postgres).set(drivername="postgresql+psycopg"))

    def declared(_: Any, name: str | None, kind: str, *__: Any) -> bool:
        return schema.is_declared(name, kind)

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": declared, "compare_server_default": True}
        )
        found = list(flat(compare_metadata(context, metadata)))
    engine.dispose()
    assert [one for one in found if one[0] != "modify_comment"] == []


def flat(differences: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Changes of one table come as a list."""
    for one in differences:
        yield from flat(one) if isinstance(one, list) else [one]
