"""What the database thinks of our questions: whole tables read, unused indexes, old figures.

SQLite is asked how it would answer the statements that are asked most (``EXPLAIN QUERY PLAN``);
PostgreSQL has counted what it did (``pg_stat_user_tables``, ``pg_stat_user_indexes``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from hansard.model import Value
from hansard.store import views
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, jobs, segments, windows

LARGE = 10_000
"""Rows from which reading a whole table is felt."""
IDLE_INDEX = 8 * 2**20
"""Bytes of an index that nobody uses, from which it costs something."""


class Scan(Value, frozen=True):
    """A table that is read whole."""

    what: str
    """The question."""
    table: str
    rows: int
    why: str


class Unused(Value, frozen=True):
    """An index that nothing has asked for. ``size`` in bytes."""

    name: str
    table: str
    size: int


def gather(database: Database) -> Mapping[str, Any]:
    """``scans``, ``unused``, ``stale``, ``connections`` and ``most_connections``."""
    with database.read() as connection:
        if database.dialect == "sqlite":
            return _of_sqlite(connection)
        return _of_postgres(connection)


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────


def hot() -> Iterator[tuple[str, sa.TextClause | sa.Select[Any], dict[str, Any]]]:
    """The questions that are asked most, with parameters as they come."""
    whole = views.Filter()
    page, asked = views.page_query("sqlite", "local", whole, after=None, limit=50)
    yield "the list of transcriptions", page, asked
    query = views.transcript_query("sqlite", words=False)
    yield "a transcript", query, {"tenant": "local", "job": "x"}
    yield (
        "a job's windows",
        sa.select(windows.c.job).where(windows.c.job == "x"),
        {},
    )
    yield "a job's segments", sa.select(segments.c.text).where(segments.c.job == "x"), {}
    yield "open jobs", sa.select(jobs.c.id).where(IS_OPEN), {}


def _of_sqlite(connection: sa.Connection) -> Mapping[str, Any]:
    counts = {
        name: int(connection.scalar(sa.text(f'SELECT max(rowid) FROM "{name}"')) or 0)  # noqa: S608 our own tables
        for name in ("jobs", "windows", "segments", "transcripts")
        if _has_rowid(connection, name)
    }
    scans = []
    for what, statement, asked in hot():
        for detail in _plan(connection, statement, asked):
            words = detail.split()
            table = words[1] if words[:1] == ["SCAN"] and len(words) > 1 else ""
            rows = counts.get(table)
            if rows is not None and rows >= LARGE and "USING" not in words:
                why = f"SQLite would answer with {detail!r}; {table} has about {rows:,} rows."
                scans.append(Scan(what, table, rows, why))
    return {"scans": tuple(scans), "stale": _stale(connection, counts)}


def _has_rowid(connection: sa.Connection, name: str) -> bool:
    made = connection.scalar(
        sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name"),
        {"name": name},
    )
    return made is not None and "WITHOUT ROWID" not in str(made).upper()


def _plan(
    connection: sa.Connection, statement: sa.TextClause | sa.Select[Any], asked: dict[str, Any]
) -> list[str]:
    made = statement.compile(connection, compile_kwargs={"literal_binds": True}) if isinstance(
        statement, sa.Select
    ) else statement  # fmt: skip
    rows = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {made}"), asked)
    return [str(row.detail) for row in rows]


def _stale(connection: sa.Connection, counts: Mapping[str, int]) -> str | None:
    """Against what ``ANALYZE`` last saw."""
    largest = max(counts, key=counts.__getitem__, default=None)
    if largest is None or counts[largest] < LARGE:
        return None
    if not sa.inspect(connection).has_table("sqlite_stat1"):
        return f"it was never told of {largest}, which has about {counts[largest]:,} rows"
    said = connection.scalar(
        sa.text("SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = :name"),
        {"name": largest},
    )
    known = int(said or 0)
    if counts[largest] > 4 * known:
        return f"it knows of {known:,} rows in {largest}, which has about {counts[largest]:,}"
    return None


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────

_TABLES = sa.text(
    "SELECT relname, n_live_tup, seq_scan, seq_tup_read, idx_scan, n_dead_tup, "
    "coalesce(last_analyze, last_autoanalyze) AS analyzed FROM pg_stat_user_tables"
)
_INDEXES = sa.text(
    "SELECT i.indexrelname, i.relname, pg_relation_size(i.indexrelid) AS size "
    "FROM pg_stat_user_indexes i JOIN pg_index x ON x.indexrelid = i.indexrelid "
    "WHERE i.idx_scan = 0 AND NOT x.indisunique AND pg_relation_size(i.indexrelid) >= :least"
)
_CONNECTIONS = sa.text(
    "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity "
    "WHERE backend_type = 'client backend'"
)
_OFTEN = 100
"""Whole reads of a table that are no coincidence."""


def _of_postgres(connection: sa.Connection) -> Mapping[str, Any]:
    scans, stale = [], None
    for row in connection.execute(_TABLES):
        rows, whole = int(row.n_live_tup), int(row.seq_scan or 0)
        read = int(row.seq_tup_read or 0)
        if rows >= LARGE and whole >= max(1, _OFTEN) and read / whole >= rows / 2:
            why = (
                f"PostgreSQL has read all of {row.relname} ({rows:,} rows) {whole:,} times, and "
                f"used its indexes {int(row.idx_scan or 0):,} times."
            )
            scans.append(Scan("some question", str(row.relname), rows, why))
        if rows >= LARGE and (row.analyzed is None or int(row.n_dead_tup) > rows):
            stale = f"{row.relname} has {rows:,} rows, and {int(row.n_dead_tup):,} dead ones"
    unused = [
        Unused(str(row.indexrelname), str(row.relname), int(row.size))
        for row in connection.execute(_INDEXES, {"least": IDLE_INDEX})
    ]
    used, most = connection.execute(_CONNECTIONS).one()
    return {
        "scans": tuple(scans),
        "unused": tuple(unused),
        "stale": stale,
        "connections": int(used),
        "most_connections": int(most),
    }
