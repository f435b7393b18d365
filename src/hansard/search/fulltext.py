"""Full text: which meetings match, and in what order.

A meeting is found where all that is searched for is in its words or its title, and a phrase where
it was said in one segment. The index of meetings is asked first, since scoring every segment that
has a common word takes longer than anybody waits (measured: a quarter of a second); the segments
are looked at only for those meetings that are shown. Ranked are the newest :data:`MOST` that match.

The order is that of BM25 (Robertson and Zaragoza, 2009), with the number of segments that have a
word, rounded down to a power of two, for its frequency. Words in the title count more, and so do
those that were said together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from hansard.model import Value
from hansard.search import filters, fulltext_postgres, fulltext_sqlite
from hansard.search.query import Query, Unit
from hansard.store import terms

Ways = Sequence[Sequence[str]]
"""Terms that follow each other: one of them is enough."""

MOST: Final = 1001
"""Meetings that are ranked and counted: more is *more than a thousand*."""
_MOST_CHECKED = 4 * MOST
"""Meetings that a phrase is looked for in, because they have its words."""
_MOST_PHRASES = 20_000
"""Segments with a phrase that are counted, the newest first."""
_MOST_TOGETHER = 4000
"""Likewise with all words."""

_K, _B = 1.2, 0.75
"""BM25's own: how soon more of a word counts no more, how much length matters."""
_TITLE = 2.0
"""A word of the title counts as much as so many times its rareness."""
_TOGETHER = 0.5
"""Words said in one segment count so much more."""

_COLUMNS = (
    "w.number, m.job, m.title, m.kind, m.status, m.language, m.held, m.seconds, m.segments, m.mood"
)

_SQL: dict[str, ModuleType] = {"sqlite": fulltext_sqlite, "postgresql": fulltext_postgres}


class Meeting(Value, frozen=True):
    """A meeting that matches. Times are seconds since the epoch."""

    number: int
    job: str
    title: str
    kind: str
    status: str
    language: str | None
    held: float
    seconds: float
    segments: int
    mood: float | None
    score: float = 0.0
    in_title: bool = False


class Found(Value, frozen=True):
    """Meetings that match, the best first."""

    meetings: tuple[Meeting, ...]
    more: bool = False
    """There are more than those, older ones."""
    rareness: dict[str, float] = msgspec.field(default_factory=dict)
    """Of each unit as it was typed: what one segment with it is worth."""


def sql(connection: sa.Connection) -> ModuleType:
    """How this database is asked."""
    return _SQL[connection.dialect.name]


def mine(tenant: str) -> Ways:
    """The clause that keeps a search within a tenant's meetings."""
    return [[terms.OF_TENANT + tenant]]


def search(
    connection: sa.Connection, tenant: str, query: Query, *, newest: int | None = None
) -> Found:
    """The meetings of a tenant that match.

    Args:
        connection: a transaction.
        tenant: whose meetings.
        query: what is searched for.
        newest: no meeting with a greater number: what is new since the first page is not shown on
            the second.
    """
    rows, more = _candidates(connection, tenant, query, newest=newest)
    if not rows:
        return Found(())
    if not query.clauses and not any(unit.is_phrase for unit in query.without):
        chosen = sorted(rows, key=lambda row: (-row.held, -row.number))[:MOST]
        return Found(tuple(_meeting(row, row.held) for row in chosen), more or len(rows) > MOST)
    among = {row.number: row for row in rows}
    postings = {
        unit: _postings(connection, tenant, unit, among)
        for unit in dict.fromkeys([*query.units, *query.without])
    }
    left = [row for row in rows if _holds(query, postings, row.number)]
    more = more or len(left) > MOST
    left = left[:MOST]
    if not query.clauses:
        return Found(tuple(_meeting(row, row.held) for row in left), more)
    return _ranked(connection, tenant, query, left, postings, more=more)


def among(
    connection: sa.Connection,
    tenant: str,
    query: Query,
    jobs: Sequence[str],
    *,
    newest: int | None = None,
) -> list[Meeting]:
    """Those of some meetings of the tenant that match, in no order."""
    rows, _ = _candidates(connection, tenant, query, newest=newest, only=jobs)
    if rows and any(unit.is_phrase for unit in query.without):
        by_number = {row.number: row for row in rows}
        postings = {u: _postings(connection, tenant, u, by_number) for u in query.without}
        rows = [row for row in rows if _holds(replace(query, clauses=()), postings, row.number)]
    return [_meeting(row, 0.0) for row in rows]


def matches(connection: sa.Connection, tenant: str, query: Query, job: str) -> bool:
    """Whether one meeting matches."""
    rows, _ = _candidates(connection, tenant, query, only=[job])
    if not rows:
        return False
    among = {row.number: row for row in rows}
    postings = {
        unit: _postings(connection, tenant, unit, among) for unit in (*query.units, *query.without)
    }
    return _holds(query, postings, rows[0].number)


def numbers_with(connection: sa.Connection, tenant: str, ways: Ways) -> list[int]:
    """All meetings of a tenant that have one of some terms."""
    asks = sql(connection)
    (found,) = asks.numbers(connection, [asks.match([mine(tenant), ways])], 0, _HIGHEST)
    return list(found)


_HIGHEST = (1 << 43) - 1
"""No meeting has a greater number."""


def _candidates(
    connection: sa.Connection,
    tenant: str,
    query: Query,
    *,
    newest: int | None = None,
    only: Sequence[str] | None = None,
) -> tuple[Sequence[sa.Row[Any]], bool]:
    """The newest that have all words, whether they stand in phrases or not."""
    asks = sql(connection)
    required: list[Ways] = [mine(tenant)]
    required += [[way for unit in clause for way in unit.ways] for clause in query.clauses]
    required += [[way] for way in filters.speakers(query.filters, without=False)]
    excluded: list[Sequence[str]] = [
        way for unit in query.without for way in unit.ways if not unit.is_phrase
    ]
    excluded += filters.speakers(query.filters, without=True)
    where, asked = filters.conditions(query.filters)
    phrases = any(unit.is_phrase for unit in (*query.units, *query.without))
    limit = _MOST_CHECKED if phrases else MOST
    if only is not None:
        where += f" AND {asks.AMONG}"
        asked["jobs"] = asks.listed(only)
    asked |= {
        "match": asks.match(required, excluded),
        "below": _HIGHEST if newest is None else newest + 1,
        "tenant": tenant,
        "limit": limit,
    }
    rows: Sequence[sa.Row[Any]] = asks.meetings(connection, _COLUMNS, where, asked)
    return rows, len(rows) == limit


class _Postings(Value, frozen=True):
    """Where a unit is."""

    levels: dict[int, int]
    """By the meeting's number: the logarithm of how many of its segments have it."""
    titles: frozenset[int]
    everywhere: int
    """Meetings that have it, between the oldest and the newest candidate."""


def _postings(
    connection: sa.Connection, tenant: str, unit: Unit, among: dict[int, sa.Row[Any]]
) -> _Postings:
    if unit.is_phrase:
        return _phrase_postings(connection, unit, among)
    asks = sql(connection)
    wanted = [[[terms.OF_TITLE + way[0]] for way in unit.ways]]
    wanted += [
        [[terms.levelled(way[0], level)] for way in unit.ways] for level in range(terms.LEVELS + 1)
    ]
    expressions = [asks.match([mine(tenant), ways]) for ways in wanted]
    titles, *having = asks.numbers(connection, expressions, min(among), max(among))
    levels: dict[int, int] = {}
    for level, numbers in enumerate(having):
        levels.update(dict.fromkeys(numbers, level))
    return _Postings(levels, frozenset(titles), len(levels))


def _phrase_postings(
    connection: sa.Connection, unit: Unit, among: dict[int, sa.Row[Any]]
) -> _Postings:
    jobs = {number: row.job for number, row in among.items()}
    counts = sql(connection).spoken(connection, [unit.ways], jobs, _MOST_PHRASES)
    levels = {number: min(terms.LEVELS, count.bit_length() - 1) for number, count in counts.items()}
    titles = frozenset(number for number, row in among.items() if holds(unit, _title(row.title)))
    levels.update({number: 0 for number in titles if number not in levels})
    return _Postings(levels, titles, len(levels))


def _title(title: str) -> tuple[str, str]:
    return " ".join(terms.terms(title)), " ".join(terms.terms(title, "x"))


def holds(unit: Unit, texts: Iterable[str]) -> bool:
    """Whether terms with spaces between them hold a unit."""
    for text in texts:
        padded = f" {text} "
        for way in unit.ways:
            said = " ".join(way)
            if (f" {said[:-1]}" if said.endswith("*") else f" {said} ") in padded:
                return True
    return False


def _holds(query: Query, postings: dict[Unit, _Postings], number: int) -> bool:
    return all(
        any(number in postings[unit].levels for unit in clause) for clause in query.clauses
    ) and not any(number in postings[unit].levels for unit in query.without)


def _ranked(
    connection: sa.Connection,
    tenant: str,
    query: Query,
    rows: Sequence[sa.Row[Any]],
    postings: dict[Unit, _Postings],
    *,
    more: bool,
) -> Found:
    if not rows:
        return Found((), more)
    units = list(dict.fromkeys(query.units))
    every = len(rows)
    if len(units) > 1:
        asks = sql(connection)
        low, high = min(row.number for row in rows), max(row.number for row in rows)
        (others,) = asks.numbers(connection, [asks.match([mine(tenant)])], low, high)
        every = len(others)
    worth = {unit: _rareness(postings[unit].everywhere, every) for unit in units}
    together: dict[int, int] = {}
    if len(query.clauses) > 1:
        clauses = [[way for unit in clause for way in unit.ways] for clause in query.clauses]
        jobs = {row.number: row.job for row in rows}
        together = sql(connection).spoken(connection, clauses, jobs, _MOST_TOGETHER)
    average = sum(row.segments for row in rows) / len(rows) or 1.0
    bonus = _TOGETHER * sum(worth.values())
    scored = []
    for row in rows:
        score = bonus if row.number in together else 0.0
        length = _K * (1 - _B + _B * row.segments / average)
        in_title = False
        for unit in units:
            level = postings[unit].levels.get(row.number)
            if level is not None:
                score += worth[unit] * (_K + 1) * (1 << level) / ((1 << level) + length)
            if row.number in postings[unit].titles:
                in_title = True
                score += worth[unit] * _TITLE
        scored.append(_meeting(row, round(score, 6), in_title=in_title))
    scored.sort(key=lambda one: (-one.score, -one.number))
    return Found(tuple(scored), more, {unit.shown: value for unit, value in worth.items()})


def _rareness(having: int, every: int) -> float:
    every = max(every, having)
    return math.log(1 + (every - having + 0.5) / (having + 0.5))


def _meeting(row: sa.Row[Any], score: float, *, in_title: bool = False) -> Meeting:
    values: list[Any] = [*row, score, in_title]
    return Meeting(*values)
