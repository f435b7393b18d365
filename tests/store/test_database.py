from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from hansard.errors import DiskFull, StoreBroken
from hansard.store import schema
from hansard.store.schema import upgrade
from hansard.store.sqlite import Sqlite
from hansard.store.tables import metadata


def test_migrations_bring_a_database_to_the_tables_as_declared(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        upgrade(connection)
        ours = {"include_name": lambda name, kind, _: schema.is_declared(name, kind)}
        with connection.begin():
            context = MigrationContext.configure(connection, opts=ours)
            difference = compare_metadata(context, metadata)
    engine.dispose()
    assert difference == []


def test_the_newest_migration_is_the_one_the_code_knows() -> None:
    config = Config()
    config.set_main_option("script_location", "hansard.store:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == schema.SCHEMA


def test_settings_that_durability_rests_on(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "x.db")
    with database.read() as connection:
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA synchronous")) == 2
        assert connection.scalar(sa.text("PRAGMA foreign_keys")) == 1
    database.close()


def test_a_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "x.db")
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(sa.text("INSERT INTO recordings VALUES ('a', 'n', 1, '{}', 0.0)"))
        raise ZeroDivisionError
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM recordings")) == 0
    database.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(StoreBroken, match="cannot be used"):
        Sqlite(path)


def test_a_store_of_a_newer_hansard_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    Sqlite(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreBroken, match="newer Hansard"):
        Sqlite(path)


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreBroken, match="cannot be made"):
        Sqlite(tmp_path / "file" / "data" / "x.db")


def test_a_full_disk_is_called_one(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "x.db")
    with database.read() as connection:
        pages = connection.scalar(sa.text("PRAGMA page_count"))
        connection.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(DiskFull), database.write() as connection:
        connection.execute(
            sa.text("INSERT INTO recordings VALUES ('a', :name, 1, '{}', 0.0)"),
            {"name": "x" * 1_000_000},
        )
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM recordings")) == 0
    database.close()


def test_four_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from hansard.store.sqlite import Sqlite;"
        "Sqlite(Path(sys.argv[1])).close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "x.db")]) for _ in range(4)
    ]
    assert [child.wait() for child in children] == [0] * 4


def test_the_bell_wakes_who_waits(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "x.db")
    seen = database.rings()
    with database.write():
        pass
    assert database.rings() == seen, "nothing was written: nobody is to be woken"
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO recordings VALUES ('a', 'n', 1, '{}', 0.0)"))
    database.wait(seen, 60.0)  # returns at once; the time limit of the test says otherwise
    assert database.rings() == seen + 1
    database.close()
