"""Moving a library into PostgreSQL: every column of every row, whoever kills it on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hansard.errors import StoreBroken, UsageError
from hansard.store import move
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite, sqlite_module
from hansard.store.tables import metadata, moves, recordings, segments, windows

ROOT = Path(__file__).parents[2]
ROWS = 10
TABLES = [table for table in metadata.sorted_tables if table is not moves]

ODD = "tab\t new\nline \\ \\N \\. \"' é 漢 🎙 \x7f end"
"""What text may hold that means something to those who carry it."""


def value(column: sa.Column[Any], number: int) -> Any:
    """A value for the row of a number; rows with the same number belong together."""
    if column.name == "recording" or (column.table is recordings and column.name == "id"):
        return f"{number:064x}"
    if isinstance(column.type, sa.Double):
        return 1_700_000_000.123456 + number / 3
    if isinstance(column.type, sa.Integer):
        return 2**40 + number if isinstance(column.type, sa.BigInteger) else number + 1
    if column.nullable and number % 3 == 0:
        return None
    if isinstance(column.type, sa.LargeBinary):
        return bytes(range(256)) + bytes([number])
    if column.primary_key or column.foreign_keys or column.name in ("answers", "day"):
        # Capital letters and small ones, which PostgreSQL may sort otherwise than SQLite.
        return f"{'aBc'[number % 3]}{number:07}"
    return f"{number} {ODD}"[: getattr(column.type, "length", None) or 200]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Sqlite]:
    """A library with rows in every table."""
    database = Sqlite(tmp_path / "hansard.db")
    with database.write() as connection:
        for table in TABLES:
            connection.execute(
                table.insert(),
                [
                    {column.name: value(column, number) for column in table.columns}
                    for number in range(ROWS)
                ],
            )
        # A long one: it goes over several pieces.
        some = {column.name: value(column, 4) for column in segments.columns}
        connection.execute(segments.insert(), [some | {"position": 10 + n} for n in range(10)])
    yield database
    database.close()


@pytest.fixture
def target(postgres: str) -> Iterator[Postgres]:
    database = Postgres(postgres)
    yield database
    database.close()


def everything(database: Sqlite | Postgres) -> dict[str, set[tuple[Any, ...]]]:
    """Every row there is, as SQLAlchemy reads it: another way than the move's own."""
    with database.read() as connection:
        return {
            table.name: {tuple(row) for row in connection.execute(sa.select(table))}
            for table in TABLES
        }


def test_every_row_of_every_table_arrives_once(library: Sqlite, target: Postgres) -> None:
    steps: list[move.Step] = []
    moved = move.move(library, target, steps.append)
    assert moved.differences == ()
    assert moved.rows == moved.copied == ROWS * len(TABLES) + 10
    assert everything(library) == everything(target)
    assert {step.table for step in steps if step.stage == "copy"} == {t.name for t in TABLES}
    last = {(step.stage, step.table): step for step in steps}
    assert all(step.rows == step.of for step in last.values())
    again = move.move(library, target)
    assert (again.copied, again.rows, again.differing) == (0, moved.rows, 0)
    assert again.tables == tuple(
        move.MovedTable(table.name, table.rows, 0, table.sha256) for table in moved.tables
    )


def test_the_next_window_has_the_next_id(library: Sqlite, target: Postgres) -> None:
    move.move(library, target)
    row = {column.name: value(column, 77) for column in windows.columns if column.name != "id"}
    with target.write() as connection:
        made = connection.execute(windows.insert().values(row | {"job": "a0000000"}))
        assert made.inserted_primary_key is not None
        assert made.inserted_primary_key[0] == ROWS + 1
    with target.read() as connection:
        known = sa.text("SELECT count(*) FROM statistics")
        assert connection.scalar(known), "the statistics know what was moved"


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("hansard.store.move:put:before", 9),
        ("hansard.store.move:put:after", 30),
        ("hansard.store.move:_settle:before", 1),
    ],
)
def test_a_killed_move_goes_on_and_doubles_nothing(
    library: Sqlite, target: Postgres, postgres: str, point: str, nth: int
) -> None:
    command = [sys.executable, str(Path(__file__).with_name("moving.py")), library.place]
    done = subprocess.run(
        [*command, postgres, point, str(nth)],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    moved = move.move(library, target)
    assert moved.differences == ()
    assert 0 <= moved.copied < moved.rows, "what was there was not copied again"
    assert everything(library) == everything(target)


def test_what_is_not_the_same_is_named(library: Sqlite, target: Postgres) -> None:
    move.move(library, target)
    with target.write() as connection:
        connection.execute(
            segments.update().where(segments.c.position == 12).values(text="other", end=0.5)
        )
        connection.execute(segments.delete().where(segments.c.position == 13))
        some = {column.name: value(column, 4) for column in segments.columns}
        connection.execute(segments.insert().values(some | {"position": 99}))
        other = {column.name: value(column, 50) for column in recordings.columns}
        connection.execute(recordings.insert().values(other))
    moved = move.move(library, target)
    assert {(one.table, one.key, one.what) for one in moved.differences} == {
        ("segments", '["B0000004",12]', "differs in end, text"),
        ("segments", '["B0000004",13]', "is missing in PostgreSQL"),
        ("segments", '["B0000004",99]', "is in PostgreSQL alone"),
        ("recordings", f'["{50:064x}"]', "is in PostgreSQL alone"),
    }
    assert moved.differing == 4
    again = move.move(library, target, anew=True)
    assert (again.copied, again.differing) == (moved.rows, 0)
    assert everything(library) == everything(target)


def test_a_database_that_is_in_use_is_refused(
    library: Sqlite, target: Postgres, tmp_path: Path
) -> None:
    with target.write() as connection:
        row = {column.name: value(column, 1) for column in recordings.columns}
        connection.execute(recordings.insert().values(row))
    with pytest.raises(UsageError, match="its table recordings has rows"):
        move.move(library, target)
    with pytest.raises(UsageError, match="its table recordings has rows"):
        move.move(library, target, anew=True)
    with target.write() as connection:
        connection.execute(recordings.delete())
    move.move(library, target)
    other = Sqlite(tmp_path / "other.db")
    with pytest.raises(UsageError, match=r"filled from another library: .*hansard\.db"):
        move.move(other, target)
    other.close()


def test_a_text_that_postgres_cannot_hold_is_named(library: Sqlite, target: Postgres) -> None:
    with library.write() as connection:
        connection.execute(segments.update().where(segments.c.position == 15).values(text="a\0b"))
    with pytest.raises(StoreBroken, match=r'row of segments .*key \["B0000004",15\]'):
        move.move(library, target)
    with library.write() as connection:
        connection.execute(segments.update().where(segments.c.position == 15).values(text="ab"))
    assert move.move(library, target).differing == 0


def test_nobody_writes_to_the_library_meanwhile(library: Sqlite, target: Postgres) -> None:
    refused = []

    def write(_: move.Step) -> None:
        other = sqlite_module().connect(library.path, timeout=0)
        try:
            other.execute("DELETE FROM buckets")
        except sqlite_module().OperationalError as error:
            refused.append(str(error))
        finally:
            other.close()

    move.move(library, target, write)
    assert set(refused) == {"database is locked"}
