"""The index is in step with what was said, whichever way that changes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import stores
from tests.search.shelf import add, ask, found

from hansard.config import Settings
from hansard.errors import StoreBroken
from hansard.model import Segment, Transcript
from hansard.store import check, index, move, schema, transcripts
from hansard.store.archive import Archive
from hansard.store.database import Database
from hansard.store.disk import Disk
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite
from hansard.store.tables import jobs, meeting_words, meetings, segments, speakers, vocabulary
from hansard.store.tables import transcripts as heads


def in_step(database: Database) -> None:
    """SQLite compares its index with the rows itself; PostgreSQL's cannot be anything else."""
    if database.dialect == "sqlite":
        with database.write() as connection:
            for name in ("segment_index", "meeting_index"):
                connection.exec_driver_sql(
                    f"INSERT INTO {name} ({name}, rank) VALUES ('integrity-check', 1)"
                )
    with database.read() as connection:
        words = set(connection.scalars(sa.select(meeting_words.c.job)))
        assert words == set(connection.scalars(sa.select(heads.c.job)))


def head() -> Transcript:
    return Transcript("i", "r", "n", 1.0, "e", "m")


def test_the_check_of_the_tests_sees_a_difference(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "x.db")
    add(database, "One", ["The lighthouse."])
    in_step(database)
    with database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER segments_changed")
        connection.execute(segments.update().values(terms="other"))
    with pytest.raises(StoreBroken, match="malformed"):
        in_step(database)
    database.close()


def test_a_transcript_that_is_written_again(database: Database) -> None:
    job = add(database, "One", ["The lighthouse.", "The keeper."])
    add(database, "Two", ["The keeper of another."])
    with database.write() as connection:
        transcripts.save(connection, job, [Segment(0.0, 1.0, "The harbour.")], head)
    assert found(database, "lighthouse") == set()
    assert found(database, "harbour") == {"One"}
    assert found(database, "keeper") == {"Two"}
    in_step(database)


def test_words_titles_and_names_that_people_correct(database: Database) -> None:
    job = add(database, "One", ["The lighthouse.", "The keeper."], people=["Anna", "Bob"])
    with database.write() as connection:
        connection.execute(
            segments.update()
            .where(segments.c.job == job, segments.c.position == 1)
            .values(text="The harbours, really.")
        )
        connection.execute(meetings.update().values(title="Other"))
        connection.execute(
            speakers.update().where(speakers.c.label == "S2").values(name="Zoë Müller")
        )
        index.keep(connection, job)
    assert found(database, "keeper") == set()
    assert found(database, '"the harbour"') == {"Other"}
    assert found(database, "other lighthouse") == {"Other"}
    assert found(database, "one") == set()
    assert found(database, "speaker:muller") == {"Other"}
    assert found(database, "speaker:bob") == set()
    in_step(database)
    with database.write() as connection:
        index.keep(connection, "nothing")


SAID = ["the", "lighthouse", "keepers", "keep", "lighthouses", "budget", "budgets", "roof"]
SAID += ["Übung", "会議", "don't", "running", "2026", "co-op", "harbour"]


def indexed(database: Database, job: str) -> tuple[str | None, list[str]]:
    """All that a meeting is found by."""
    with database.read() as connection:
        words = connection.scalar(
            sa.select(meeting_words.c.words).where(meeting_words.c.job == job)
        )
        mine = sa.select(segments.c.terms).where(segments.c.job == job)
        return words, list(connection.scalars(mine.order_by(segments.c.position)))


def test_what_is_renewed_is_what_all_would_be(database: Database) -> None:
    chance = random.Random(3)

    def text() -> str:
        return " ".join(chance.choices(SAID, k=chance.randint(1, 9)))

    add(database, "Other", [text() for _ in range(40)])
    job = add(database, "The Roof", [text() for _ in range(70)], people=["Anna", "Bob"])
    for turn in range(12):
        with database.write() as connection:
            changed = chance.sample(range(70), turn % 3)
            for position in changed:
                transcripts.put(connection, job, position, Segment(0.0, 1.0, text()))
            if turn % 4 == 1:
                connection.execute(
                    meetings.update().where(meetings.c.job == job).values(title=text())
                )
            if turn % 4 == 2:
                who = speakers.update().where(speakers.c.job == job, speakers.c.label == "S1")
                connection.execute(who.values(name=text()))
            index.renew(connection, job, changed)
        renewed, answers = indexed(database, job), [ask(database, word) for word in SAID]
        with database.write() as connection:
            index.keep(connection, job)
        assert renewed == indexed(database, job)
        assert answers == [ask(database, word) for word in SAID]
    in_step(database)


def test_what_is_renewed_where_nothing_was_counted_before(database: Database) -> None:
    job = add(database, "One", ["The lighthouse.", "The keeper."])
    whole = indexed(database, job)
    with database.write() as connection:
        connection.execute(meeting_words.delete().where(meeting_words.c.job == job))
        index.renew(connection, job)
        index.renew(connection, "nothing")
    assert indexed(database, job) == whole
    every = " ".join(f"word{number}" for number in range(2000))
    with database.write() as connection:
        transcripts.put(connection, job, 0, Segment(0.0, 1.0, every))
        index.renew(connection, job, [0])
    assert found(database, "word1999 keeper") == {"One"}
    assert found(database, "lighthouse") == set()
    in_step(database)


def test_positions_that_move(database: Database) -> None:
    job = add(database, "One", ["The lighthouse.", "The keeper."])
    with database.write() as connection:
        for old, new in ((1, 7), (0, 1)):
            connection.execute(
                segments.update()
                .where(segments.c.job == job, segments.c.position == old)
                .values(position=new)
            )
    in_step(database)
    assert found(database, "lighthouse") == {"One"}
    with database.write() as connection:
        connection.execute(segments.delete().where(segments.c.job == job))
        connection.execute(meeting_words.delete().where(meeting_words.c.job == job))
        connection.execute(heads.delete())
    in_step(database)
    assert found(database, "lighthouse") == set()


def test_a_job_that_is_deleted(database: Database) -> None:
    job = add(database, "One", ["The lighthouse."])
    add(database, "Two", ["The lighthouse."])
    with database.write() as connection:
        connection.execute(jobs.delete().where(jobs.c.id == job))
    assert found(database, "lighthouse") == {"Two"}
    in_step(database)


def test_a_transaction_that_is_taken_back(database: Database) -> None:
    job = add(database, "One", ["The lighthouse."])
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        transcripts.save(connection, job, [Segment(0.0, 1.0, "The harbour.")], head)
        raise ZeroDivisionError
    assert found(database, "lighthouse") == {"One"}
    assert found(database, "harbour") == set()
    in_step(database)


def test_the_archive_takes_words_along_and_brings_them_back(
    database: Database, tmp_path: Path
) -> None:
    job = add(database, "One", ["The lighthouse."], people=["Anna"])
    with database.write() as connection:
        connection.execute(jobs.update().values(finished=1.0))
    archive = Archive(Settings(data=tmp_path), database, Disk(tmp_path, "me"))
    archive.put(job)
    assert found(database, "lighthouse") == set()
    in_step(database)
    archive.restore(job)
    archive.close()
    assert found(database, "lighthouse speaker:anna") == {"One"}
    in_step(database)


def test_a_library_that_moves(tmp_path: Path) -> None:
    with stores.fresh_postgres() as address:  # its own: months are made in it
        _moved(Sqlite(tmp_path / "x.db"), Postgres(address))


def _moved(source: Sqlite, target: Postgres) -> None:
    add(source, "One", ["The lighthouse.", "Übungsgelände."])
    moved = move.move(source, target)
    assert moved.differing == 0
    assert found(target, "lighthouse ubungsgelande") == {"One"}
    add(target, "Two", ["The lighthouse."])
    assert found(target, "lighthouse") == {"One", "Two"}
    source.close()
    target.close()


def test_words_are_remembered_once(database: Database) -> None:
    add(database, "One", ["The lighthouse, the Lighthouses; a 1234 ok."])
    add(database, "Two", ["The lighthouse."])
    add(database, "Three", ["The lighthouse."], tenant="other")
    with database.read() as connection:
        known = connection.execute(sa.select(vocabulary.c.tenant, vocabulary.c.term)).all()
    assert sorted(map(tuple, known)) == [
        ("local", "lighthouse"),
        ("local", "lighthouses"),
        ("local", "the"),
        ("other", "lighthouse"),
        ("other", "the"),
    ]


def bring(database: Database, wanted: str) -> None:
    assert isinstance(database, Sqlite | Postgres)
    database.go_to(wanted)


def test_what_is_there_already_is_indexed(database: Database) -> None:
    add(database, "One", ["The lighthouses.", "Nothing."], language="en")
    with database.write() as connection:
        connection.execute(meetings.delete())
    bring(database, "0004")
    try:
        with database.read() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(segments)) == 2
    finally:
        bring(database, schema.SCHEMA)
    assert found(database, "lighthouse one") == {"One"}
    with database.read() as connection:
        made = connection.execute(sa.select(meetings)).one()
    assert (made.words, made.segments, made.kind) == (3, 2, "meeting")
    in_step(database)


def test_a_store_is_checked(database: Database, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    add(database, "One", ["The lighthouse.", "Nothing."])

    def codes() -> list[str]:
        given = check.findings(settings, database, Disk(tmp_path, "me"), deep=True)
        return [one.code for one in given if one.code not in ("month", "recording", "stray")]

    assert codes() == []
    with database.write() as connection:
        connection.execute(
            segments.update().where(segments.c.position == 1).values(text="The harbour.")
        )
    assert codes() == ["index"]
    assert index.keep_all(database) == 1
    assert codes() == []
    with database.write() as connection:
        connection.execute(meeting_words.delete())
    assert codes() == ["index"]
