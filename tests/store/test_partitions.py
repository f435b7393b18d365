"""Months of segments: there before they begin, made once, and each asked alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from tests.store.test_views import put, row

from hansard.errors import HansardError
from hansard.model import Segment, Transcript
from hansard.store import partitions, transcripts, views
from hansard.store.ids import new_id
from hansard.store.partitions import Month, Months, make, month_of
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite
from hansard.store.tables import jobs

HEAD = Transcript("i", "r", "n", 1.0, "sphinx", "en-us")

WHERE = sa.text("SELECT DISTINCT CAST(tableoid AS regclass)::text FROM segments WHERE job = :job")
TABLES = sa.text(
    "SELECT CAST(inhrelid AS regclass)::text FROM pg_inherits "
    "WHERE inhparent = CAST('segments' AS regclass)"
)


def moment(year: int, month: int, day: int = 1, hour: int = 0) -> float:
    return datetime(year, month, day, hour, tzinfo=UTC).timestamp()


@pytest.fixture
def database(postgres: str) -> Iterator[Postgres]:
    opened = Postgres(postgres)
    yield opened
    with opened.write() as connection:  # the tables stay when rows go
        for name in months(opened):
            connection.execute(sa.text(f"DROP TABLE {name}"))
    opened.close()


def months(database: Postgres) -> list[str]:
    with database.read() as connection:
        return sorted(set(connection.scalars(TABLES)) - {"segments_rest"})


def talk(database: Postgres, *moments: float) -> list[str]:
    """A job with a transcript of three segments for each moment."""
    ids = [new_id(when) for when in moments]
    put(database, [row(0, id=name, created=when) for name, when in zip(ids, moments, strict=True)])
    for name in ids:
        with database.write() as connection:
            said = [Segment(n, n + 1.0, f"{name} {n}") for n in range(3)]
            transcripts.save(connection, name, said, lambda: HEAD)
    return ids


def places(database: Postgres, ids: list[str]) -> list[list[str]]:
    with database.read() as connection:
        return [list(connection.scalars(WHERE, {"job": name})) for name in ids]


def test_a_month_has_its_name_and_its_bounds() -> None:
    november = month_of(moment(2026, 11, 30, 23) + 3599)
    assert november == Month(2026, 11)
    assert november.table == "segments_2026_11"
    assert november.after(2).table == "segments_2027_01"
    low, high = november.bounds
    assert low <= new_id(moment(2026, 11)) < new_id(moment(2026, 12) - 0.001) < high
    assert high <= new_id(moment(2026, 12))
    assert november.after(1).bounds[0] == high


def test_months_are_made_before_they_begin(database: Postgres) -> None:
    now = moment(2026, 11, 20)
    keeper = Months(database, lambda: now)
    keeper.keep_up()
    assert months(database) == ["segments_2026_11", "segments_2026_12", "segments_2027_01"]
    now += 86_400 * 15
    keeper.keep_up()
    keeper.keep_up()
    assert months(database)[-1] == "segments_2027_02"
    ids = talk(database, *(moment(2026, 11 + n, 30, 23) for n in (0, 1)), moment(2027, 1))
    assert places(database, ids) == [
        ["segments_2026_11"], ["segments_2026_12"], ["segments_2027_01"],
    ]  # fmt: skip


def test_what_came_before_its_month_was_made_moves(database: Postgres) -> None:
    ids = talk(database, moment(2026, 10, 31, 23), moment(2026, 11, 1), moment(2027, 1, 1))
    assert places(database, ids) == [["segments_rest"]] * 3
    before = [views.transcript(database, "local", name, words=True) for name in ids]
    assert make(database, Month(2026, 11))
    assert not make(database, Month(2026, 11))
    assert places(database, ids) == [["segments_rest"], ["segments_2026_11"], ["segments_rest"]]
    assert [views.transcript(database, "local", name, words=True) for name in ids] == before
    with database.write() as connection:
        connection.execute(jobs.delete().where(jobs.c.id == ids[1]))
    assert places(database, ids) == [["segments_rest"], [], ["segments_rest"]], "it cascades"


def test_many_hosts_make_a_month_once_while_transcripts_are_written(
    database: Postgres, postgres: str
) -> None:
    talk(database, moment(2026, 11))
    hosts = [Postgres(postgres) for _ in range(3)]
    start = threading.Barrier(len(hosts) + 1)
    made: list[bool] = []
    trouble: list[HansardError] = []

    def act(host: Postgres) -> None:
        start.wait()
        try:
            made.append(make(host, Month(2026, 11)))
        except HansardError as error:
            trouble.append(error)

    threads = [threading.Thread(target=act, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    start.wait()
    ids = talk(database, *(moment(2026, 11, 2 + n) for n in range(6)))
    for thread in threads:
        thread.join()
    for host in hosts:
        host.close()
    assert trouble == []
    assert sorted(made) == [False, False, True]
    assert places(database, ids) == [["segments_2026_11"]] * 6


def test_somebody_in_the_way_is_waited_for_another_time(
    database: Postgres, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_PATIENCE", "20ms")
    other, now = Postgres(postgres), moment(2026, 11)
    keeper = Months(database, lambda: now)
    with other.write() as connection:
        connection.execute(sa.text("LOCK TABLE transcripts IN ROW EXCLUSIVE MODE"))
        keeper.keep_up()
        assert months(database) == []
    keeper.keep_up()
    assert months(database) == [], "not at once"
    now += 61
    keeper.keep_up()
    assert len(months(database)) == 3
    other.close()


def test_a_job_is_looked_for_in_its_month_alone(database: Postgres) -> None:
    for month in (10, 11, 12):
        make(database, Month(2026, month))
    ids = talk(database, *(moment(2026, month, 5) for month in (10, 11, 12)))
    query = views.transcript_query("postgresql", words=False)
    asked = {"tenant": "local", "job": ids[1]}
    with database.read() as connection:
        for _ in range(8):  # also once it is prepared, and planned for any job
            connection.execute(query, asked)
        plan = "\n".join(connection.scalars(sa.text(f"EXPLAIN (ANALYZE) {query}"), asked))
    assert "segments_2026_11" in plan
    for other in ("segments_2026_10", "segments_2026_12", "segments_rest"):
        assert other not in plan, plan


def test_sqlite_has_one_table_for_all(tmp_path) -> None:
    database = Sqlite(tmp_path / "x.db")
    Months(database).keep_up()
    assert not make(database, Month(2026, 11))
    database.close()
