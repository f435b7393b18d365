"""`hansard database`: upgrade, check, vacuum, move."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import stores
from tests.cli.conftest import Command, Ended, refused
from tests.quick import QuickEngine

from hansard.jobs import presence
from hansard.store import schema
from hansard.store.postgres import Postgres
from hansard.store.tables import archives, jobs, segments, windows


@pytest.fixture
def done(clip: Path, hansard: Command, quick: QuickEngine) -> str:
    """The id of a job that is completed."""
    ended = hansard("transcribe", clip, "-m", "sphinx", "--events")
    assert quick.heard
    return str(json.loads(ended.out.splitlines()[0])["job"])


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A PostgreSQL database that the environment names."""
    with stores.fresh_postgres() as address:
        monkeypatch.setenv("HANSARD_DATABASE", address)
        yield address


def execute(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "hansard.db")) as store, store:
        store.execute(statement)


def codes(ended: Ended) -> list[str]:
    assert ended.code == (1 if ended.out else 0), ended.err
    return [json.loads(line)["code"] for line in ended.out.splitlines()]


# ── the schema ───────────────────────────────────────────────────────────────────────────────


def test_forward_and_back_in_sqlite(hansard: Command, data: Path) -> None:
    assert hansard("database", "upgrade").out.endswith(f"none → {schema.SCHEMA}\n")
    assert "nothing to do" in hansard("database", "upgrade").out
    back = hansard("database", "upgrade", "--to", "0002", "--json")
    assert json.loads(back.out)["now"] == "0002"
    assert "Make a backup first" in back.err
    with closing(sqlite3.connect(data / "hansard.db")) as store:
        assert store.execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)
    assert hansard("database", "upgrade").out.endswith(f"0002 → {schema.SCHEMA}\n")
    refused(hansard("database", "upgrade", "--to", "9999"), "usage", 2)


def test_forward_and_back_in_postgres(hansard: Command, own: str) -> None:
    assert f"schema {schema.SCHEMA}" in hansard("database", "upgrade").out
    assert hansard("database", "upgrade", "--to", "0002").code == 0
    refused(hansard("jobs", "list"), "store_outdated", 5)
    assert hansard("database", "upgrade").out.endswith(f"0002 → {schema.SCHEMA}\n")
    assert "nothing to do" in hansard("database", "upgrade").out
    assert own.rpartition("/")[2] in hansard("database", "upgrade").out


def test_what_is_archived_is_not_forgotten(done: str, hansard: Command) -> None:
    hansard("archive", done)
    refused(hansard("database", "upgrade", "--to", "0002"), "usage", 2)
    assert done in hansard("archive", "list").out


def test_nothing_is_changed_under_a_service(hansard: Command, data: Path, postgres: str) -> None:
    hansard("database", "upgrade")
    with presence.owning(data):
        presence.announce(data, presence.Notice("a", "http://127.0.0.1:1", 1, 0.0, 1))
        refused(hansard("database", "upgrade"), "already_serving", 5)
        refused(hansard("database", "move", "--to", postgres), "already_serving", 5)


# ── checking ─────────────────────────────────────────────────────────────────────────────────


def test_a_sound_store_has_no_findings(done: str, hansard: Command) -> None:
    assert done
    ended = hansard("database", "check", "--deep")
    assert (ended.code, ended.out.endswith(": nothing to find fault with\n")) == (0, True)


DAMAGE = {
    "foreign_key": "UPDATE segments SET job = 'nobody' WHERE position = 0",
    "schema": "DROP INDEX ix_jobs_tenant",
    "sums": "UPDATE jobs SET heard = heard + 1",
    "held": "UPDATE windows SET state = 'taken', token = 'x' WHERE id = 1",
    "segments": "UPDATE transcripts SET segments = segments + 1",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_wrong_in_the_rows_is_found(
    done: str, hansard: Command, data: Path, what: str
) -> None:
    assert done
    execute(data, DAMAGE[what])
    assert what in codes(hansard("database", "check", "--json"))


def test_what_is_wrong_with_the_files_is_found(
    done: str, hansard: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (path for path in (data / "recordings").rglob("*") if path.is_file())
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert codes(hansard("database", "check", "--json")) == []
    assert codes(hansard("database", "check", "--json", "--deep")) == ["damaged"]
    path.unlink()
    assert codes(hansard("database", "check", "--json")) == ["recording"]
    with monkeypatch.context() as patch:
        patch.setenv("HANSARD_RETENTION__AUDIO_DAYS", "7")
        assert codes(hansard("database", "check", "--json")) == [], "it was to be removed"
    hansard("archive", done)
    (kept,) = (data / "archive").rglob("*.tar")
    kept.rename(kept.with_name("other.tar"))
    found = codes(hansard("database", "check", "--json"))
    assert sorted(found) == ["archive", "recording", "unnamed_archive"]


def test_postgres_is_checked_too(hansard: Command, own: str) -> None:
    hansard("database", "upgrade")
    assert "month" in codes(hansard("database", "check", "--json")), "no service has made any yet"
    database = Postgres(own)
    row = {
        "id": "a",
        "kind": "transcribe",
        "state": "completed",
        "step": "finish",
        "priority": 5,
        "recording": "r",
        "options": "{}",
        "identity": "i",
        "batch_key": "b",
        "engine": "e",
        "model": "m",
        "levels": "{}",
        "created": 1.0,
        "finished": 2.0,
        "planned": 1,
    }
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO recordings VALUES ('r', 'n', 1, '{}', 0.0)"))
        connection.execute(jobs.insert().values(row))
    database.close()
    found = codes(hansard("database", "check", "--json"))
    assert {"sums", "transcript", "recording"} <= set(found)
    assert "schema" not in found


# ── room ─────────────────────────────────────────────────────────────────────────────────────


def test_room_is_given_back(done: str, hansard: Command, data: Path) -> None:
    assert done
    execute(data, "CREATE TABLE ballast AS SELECT zeroblob(2000000) AS b")
    execute(data, "DROP TABLE ballast")
    won = json.loads(hansard("database", "vacuum", "--json").out)
    assert won["before"] - won["now"] > 1_500_000
    assert "0 free pages" in hansard("database", "vacuum").out


def test_postgres_is_vacuumed(hansard: Command, own: str) -> None:
    hansard("database", "upgrade")
    won = json.loads(hansard("database", "vacuum", "--json").out)
    assert won["place"].endswith(own.rpartition("/")[2])
    assert won["now"] > 0


# ── moving ───────────────────────────────────────────────────────────────────────────────────


def test_a_library_moves(
    done: str, hansard: Command, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hansard("export", done, "-f", "json").out
    moved = hansard("database", "move", "--to", postgres)
    assert moved.code == 0, moved.err
    assert "column for column" in moved.out
    assert "copy segments" in moved.err
    events = hansard("database", "move", "--to", postgres, "--json").out.splitlines()
    last = json.loads(events[-1])
    assert (last["event"], last["copied"], last["differing"]) == ("moved", 0, 0)
    assert json.loads(events[0])["event"] == "progress"
    database = Postgres(postgres)
    with database.write() as connection:
        connection.execute(segments.update().where(segments.c.position == 0).values(text="?"))
    differing = hansard("database", "move", "--to", postgres)
    assert differing.code == 1
    assert f'segments ["{done}",0] differs in text' in differing.out
    assert hansard("database", "move", "--to", postgres, "--anew").code == 0
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(windows))
        assert not connection.scalar(sa.select(sa.func.count()).select_from(archives))
    database.close()
    monkeypatch.setenv("HANSARD_DATABASE", postgres)
    assert hansard("export", done, "-f", "json").out == before


def test_without_a_library_there_is_nothing_to_move(hansard: Command, postgres: str) -> None:
    refused(hansard("database", "move", "--to", postgres), "usage", 2)
