"""Copying an SQLite library into PostgreSQL: in pieces that can be resumed, compared at the end.

Each piece of rows is committed together with its mark in ``moves``: whoever is killed goes on
behind the last mark, and no row is there twice. While it goes on the library's one write lock is
held, so that what is copied and what is compared are the same. Rows are streamed by primary key:
memory does not grow with the library.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from hansard.errors import StoreBroken, StoreBusy, StoreGone, UsageError
from hansard.model import Value
from hansard.store import ids, partitions
from hansard.store.tables import metadata, moves

if TYPE_CHECKING:
    import psycopg

    from hansard.store.postgres import Postgres
    from hansard.store.sqlite import Sqlite

PIECE = 2000
"""Rows in memory at once, and in one transaction."""

NAMED = 20
"""Differences that are named; more are counted."""

_LOCK = 0x4D_6F_76_65
"""The advisory lock of whoever moves a library here."""

_TABLES = tuple(table for table in metadata.sorted_tables if table is not moves)
"""In the order of their foreign keys: what is pointed at comes first."""

_NUMBERED = (("windows", "id"), ("meetings", "number"), ("meeting_words", "number"))
"""Tables that number their own rows."""

_LARGE = ("meeting_words", "windows", "transcripts", "segments", "jobs", "recordings")

Row = tuple[Any, ...]


class Step(Value, frozen=True):
    """How far one table is."""

    stage: Literal["copy", "compare"]
    table: str
    rows: int
    of: int


class Difference(Value, frozen=True):
    """A row that is not the same on both sides; ``key`` is its primary key as JSON."""

    table: str
    key: str
    what: str


class MovedTable(Value, frozen=True):
    """What became of one table. ``sha256`` is that of all its rows, as JSON in order of keys."""

    name: str
    rows: int
    copied: int
    """In this run; the others were there already."""
    sha256: str


class Moved(Value, frozen=True, omit_defaults=False):
    """What became of a move: whole where there are no differences."""

    source: str
    target: str
    rows: int
    copied: int
    seconds: float
    compared_seconds: float
    tables: tuple[MovedTable, ...]
    differences: tuple[Difference, ...] = ()
    differing: int = 0
    """All of them; :data:`NAMED` are named."""


class _Plan:
    """One table, as both sides are asked for it."""

    def __init__(self, table: sa.Table) -> None:
        self.name = str(table.name)
        self.columns = [str(column.name) for column in table.columns]
        self.keys = [str(column.name) for column in table.primary_key]
        self.key: Callable[[Row], Row] = _picked([self.columns.index(name) for name in self.keys])
        self.first: Callable[[Row], Any] = itemgetter(self.columns.index(self.keys[0]))
        numeric = isinstance(table.c[self.keys[0]].type, sa.Integer)
        self._array = "bigint[]" if numeric else "text[]"

    def read(self, *, after: bool) -> str:
        """The rows in order, in SQLite's words."""
        keys = _quoted(self.keys)
        where = f"WHERE ({keys}) > ({', '.join('?' * len(self.keys))}) " if after else ""
        return f"SELECT {_quoted(self.columns)} FROM {self.name} {where}ORDER BY {keys}"  # noqa: S608 names of ours

    def found(self) -> str:
        """The rows whose key begins with one of an array, in PostgreSQL's words."""
        return (
            f"SELECT {_quoted(self.columns)} FROM {self.name} "  # noqa: S608 names of ours
            f"WHERE {_quoted(self.keys[:1])} = ANY(%s::{self._array})"
        )

    def copy(self) -> str:
        """Takes rows in."""
        return f"COPY {self.name} ({_quoted(self.columns)}) FROM STDIN"


def _picked(places: Sequence[int]) -> Callable[[Row], Row]:
    if len(places) == 1:
        (place,) = places
        return lambda row: (row[place],)
    return itemgetter(*places)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_PLANS = tuple(_Plan(table) for table in _TABLES)


# ── the whole ────────────────────────────────────────────────────────────────────────────────


def move(
    source: Sqlite,
    target: Postgres,
    note: Callable[[Step], None] = lambda _: None,
    *,
    anew: bool = False,
) -> Moved:
    """Copy every row of ``source`` into ``target``, or what is missing of them, and compare all.

    Args:
        source: the library. Nobody can write to it meanwhile.
        target: an empty database, or one that an earlier move of the same library was to fill.
        note: told how far it is, after each piece.
        anew: empty what an earlier move of the same library has filled, and begin again.

    Raises:
        UsageError: the target has rows that do not come from this library.
        StoreBusy: the library is in use, or somebody else moves one to the same target.
        StoreGone: the target cannot be reached any more; called again it goes on.
        StoreBroken: a row cannot be stored in PostgreSQL; the message names it.
    """
    import psycopg

    begun = time.monotonic()
    with source.write(silent=True) as held:
        driver: Any = held.connection.driver_connection
        try:
            with target.connect() as connection:
                _own(connection)
                _begin(connection, source.place, anew=anew)
                say = partial(_saying, note, {plan.name: _count(driver, plan) for plan in _PLANS})
                for month in _months(driver):
                    partitions.make(target, month)
                copied = {
                    plan.name: copy(driver, connection, plan, source.place, say("copy", plan))
                    for plan in _PLANS
                }
                _settle(connection)
                tally = _Tally(copied)
                for plan in _PLANS:
                    compare(driver, connection, plan, tally, say("compare", plan))
        except psycopg.OperationalError as error:
            raise StoreGone(
                f"The store {target.place} cannot be reached: {_said(error)}.",
                hint="The same command goes on from where it was.",
            ) from error
    return tally.made(source.place, target.place, begun)


def _own(connection: psycopg.Connection[Any]) -> None:
    import psycopg

    connection.execute("SET lock_timeout = '30s'")
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    except psycopg.errors.LockNotAvailable as error:
        raise StoreBusy(
            "Somebody else is moving a library to this database.", hint="Wait until that is over."
        ) from error
    connection.execute("SET lock_timeout = 0")


def _begin(connection: psycopg.Connection[Any], source: str, *, anew: bool) -> None:
    """Mark the target as ours, or see that it is."""
    with connection.transaction():
        known = connection.execute("SELECT DISTINCT source FROM moves").fetchall()
        if known == [(source,)]:
            if anew:
                names = ", ".join(plan.name for plan in _PLANS)
                connection.execute(f"TRUNCATE {names} RESTART IDENTITY")
                connection.execute("UPDATE moves SET last = NULL, rows = 0, finished = NULL")
            return
        if known:
            raise UsageError(
                f"The database was filled from another library: {known[0][0]}.",
                hint="Name an empty database.",
            )
        for plan in _PLANS:
            if connection.execute(f"SELECT 1 FROM {plan.name} LIMIT 1").fetchone():  # noqa: S608 a name of ours
                raise UsageError(
                    f"The database is in use already: its table {plan.name} has rows.",
                    hint="Name an empty database: CREATE DATABASE makes one.",
                )
        connection.cursor().executemany(
            "INSERT INTO moves (source, name) VALUES (%s, %s)",
            [(source, plan.name) for plan in _PLANS],
        )


def _saying(
    note: Callable[[Step], None],
    sizes: dict[str, int],
    stage: Literal["copy", "compare"],
    plan: _Plan,
) -> Callable[[int], None]:
    return lambda rows: note(Step(stage, plan.name, rows, sizes[plan.name]))


def _count(driver: Any, plan: _Plan) -> int:
    return int(driver.execute(f"SELECT count(*) FROM {plan.name}").fetchone()[0])  # noqa: S608 a name of ours


def _months(driver: Any) -> Iterator[partitions.Month]:
    """The months in which there are segments, without walking them."""
    after = ""
    while True:
        found = driver.execute("SELECT min(job) FROM transcripts WHERE job > ?", [after]).fetchone()
        if found[0] is None:
            return
        after = str(found[0])
        moment = ids.made(after)
        if moment is None:
            continue  # no id of ours: it goes where no month is made for
        month = partitions.month_of(moment)
        yield month
        after = max(after, month.bounds[1])


# ── copying ──────────────────────────────────────────────────────────────────────────────────


def _pieces(driver: Any, plan: _Plan, after: Row | None = None) -> Iterator[list[Row]]:
    cursor = driver.execute(plan.read(after=after is not None), after or ())
    try:
        while piece := cursor.fetchmany(PIECE):
            yield piece
    except UnicodeDecodeError as error:
        raise StoreBroken(
            f"A text in the table {plan.name} is not UTF-8.",
            hint="`hansard database check` says more.",
        ) from error
    finally:
        cursor.close()


def copy(
    driver: Any,
    connection: psycopg.Connection[Any],
    plan: _Plan,
    source: str,
    note: Callable[[int], None],
) -> int:
    """Add the rows behind the mark; how many."""
    at = {"source": source, "name": plan.name}
    row = connection.execute(
        "SELECT last, rows, finished FROM moves WHERE source = %(source)s AND name = %(name)s", at
    ).fetchone()
    assert row is not None, "it was marked when the move began"
    last, before, finished = row
    copied = 0
    after = None if last is None else tuple(msgspec.json.decode(last))
    for piece in _pieces(driver, plan, after):
        put(connection, plan, piece, at)
        copied += len(piece)
        note(before + copied)
    if finished is None or copied:
        with connection.transaction():
            # All before it waits for the disk with this one.
            connection.execute("SET LOCAL synchronous_commit = on")
            connection.execute(
                "UPDATE moves SET finished = %(now)s WHERE source = %(source)s AND name = %(name)s",
                at | {"now": time.time()},
            )
    return copied


def put(
    connection: psycopg.Connection[Any], plan: _Plan, piece: list[Row], at: dict[str, str]
) -> None:
    """Rows and their mark, in one transaction."""
    import psycopg

    try:
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(plan.copy()) as copy:
                for row in piece:
                    copy.write_row(row)
            mark = msgspec.json.encode(plan.key(piece[-1])).decode()
            cursor.execute(
                "UPDATE moves SET last = %(last)s, rows = rows + %(count)s "
                "WHERE source = %(source)s AND name = %(name)s",
                at | {"last": mark, "count": len(piece)},
            )
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise StoreBroken(
            f"A row of {plan.name} cannot be stored in PostgreSQL"
            f"{_which(error, plan, piece)}: {_said(error)}.",
            hint="Change or delete it in the library, then begin again with --anew.",
        ) from error


def _which(error: psycopg.Error, plan: _Plan, piece: list[Row]) -> str:
    """The key of the row that an error is about, where that is known."""
    line = (error.diag.context or "").partition(" line ")[2].partition(",")[0].partition(":")[0]
    if line.isdigit() and 0 < int(line) <= len(piece):
        return f" (key {_key(plan, piece[int(line) - 1])})"
    for row in piece:
        if any(isinstance(value, str) and "\0" in value for value in row):
            return f" (key {_key(plan, row)})"
    return ""


def _key(plan: _Plan, row: Row) -> str:
    return msgspec.json.encode(plan.key(row)).decode()


def _said(error: psycopg.Error) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")


def _settle(connection: psycopg.Connection[Any]) -> None:
    """What rests on the rows: the next id, the planner's figures, the statistics."""
    for name, key in _NUMBERED:
        connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{name}', '{key}'), "  # noqa: S608 names of ours
            f"(SELECT coalesce(max({key}), 1) FROM {name}), EXISTS (SELECT 1 FROM {name}))"
        )
    for name in _LARGE:
        connection.execute(f"ANALYZE {name}")
    connection.execute("REFRESH MATERIALIZED VIEW statistics")


# ── comparing ────────────────────────────────────────────────────────────────────────────────


class _Tally:
    """What comparing has found so far."""

    def __init__(self, copied: dict[str, int]) -> None:
        self.tables: list[MovedTable] = []
        self._copied = copied
        self._named: list[Difference] = []
        self._differing = 0
        self._since = time.monotonic()

    def add(self, found: Iterable[Difference]) -> None:
        """Name the first, count all."""
        for one in found:
            self._differing += 1
            if len(self._named) < NAMED:
                self._named.append(one)

    def end(self, table: str, rows: int, sha256: str) -> None:
        """A table is compared."""
        self.tables.append(MovedTable(table, rows, self._copied[table], sha256))

    def made(self, source: str, target: str, begun: float) -> Moved:
        """All of it."""
        now = time.monotonic()
        return Moved(
            source,
            target,
            sum(table.rows for table in self.tables),
            sum(table.copied for table in self.tables),
            round(now - begun, 3),
            round(now - self._since, 3),
            tuple(self.tables),
            tuple(self._named),
            self._differing,
        )


def compare(
    driver: Any,
    connection: psycopg.Connection[Any],
    plan: _Plan,
    tally: _Tally,
    note: Callable[[int], None],
) -> None:
    """Hold every row of a table against the other side's, and that against ours."""
    digest = hashlib.sha256()
    rows = there = 0
    for group in _groups(driver, plan):
        found = _found(connection, plan, group)
        ours, theirs = _lines(group), _lines(found)
        digest.update(ours)
        rows += len(group)
        there += len(found)
        if ours != theirs:
            tally.add(_differences(plan, group, found))
        note(rows)
    tally.add(_surplus(driver, connection, plan, there))
    tally.end(plan.name, rows, digest.hexdigest())


_canonical = msgspec.json.Encoder().encode
_lines = msgspec.json.Encoder().encode_lines


def _groups(driver: Any, plan: _Plan) -> Iterator[list[Row]]:
    """The rows in pieces that hold all rows of whatever their keys begin with.

    The two databases order text differently; what is equal is equal in both.
    """
    held: list[Row] = []
    for piece in _pieces(driver, plan):
        held += piece
        last = plan.first(held[-1])
        rest = len(list(itertools.takewhile(lambda row: plan.first(row) == last, held[::-1])))  # noqa: B023 used at once
        if rest < len(held):
            yield held[:-rest]
            held = held[-rest:]
    if held:
        yield held


def _found(connection: psycopg.Connection[Any], plan: _Plan, group: list[Row]) -> list[Row]:
    """The same rows on the other side, in the same order."""
    beginnings = list(dict.fromkeys(map(plan.first, group)))
    with connection.cursor(binary=True) as cursor:
        return sorted(cursor.execute(plan.found(), [beginnings]).fetchall(), key=plan.key)


def _differences(plan: _Plan, ours: list[Row], theirs: list[Row]) -> Iterator[Difference]:
    here, there = ({plan.key(row): row for row in side} for side in (ours, theirs))
    for key in sorted(here.keys() | there.keys()):
        mine, other = here.get(key), there.get(key)
        if mine is None or other is None:
            what = "is missing in PostgreSQL" if other is None else "is in PostgreSQL alone"
        elif _canonical(mine) != _canonical(other):
            pairs = zip(plan.columns, mine, other, strict=True)
            what = "differs in " + ", ".join(
                n for n, a, b in pairs if _canonical(a) != _canonical(b)
            )
        else:
            continue
        yield Difference(plan.name, msgspec.json.encode(key).decode(), what)


def _surplus(
    driver: Any, connection: psycopg.Connection[Any], plan: _Plan, seen: int
) -> Iterator[Difference]:
    """Rows on the other side whose keys begin with nothing that is in the library."""
    (there,) = connection.execute(f"SELECT count(*) FROM {plan.name}").fetchone() or (0,)  # noqa: S608 a name of ours
    if there == seen:
        return
    known = f'SELECT 1 FROM {plan.name} WHERE "{plan.keys[0]}" = ? LIMIT 1'  # noqa: S608 names of ours
    with connection.transaction(), connection.cursor("surplus") as cursor:
        cursor.execute(f"SELECT {_quoted(plan.keys)} FROM {plan.name}")  # noqa: S608 names of ours
        for key in cursor:
            if driver.execute(known, key[:1]).fetchone() is None:
                shown = msgspec.json.encode(key).decode()
                yield Difference(plan.name, shown, "is in PostgreSQL alone")
