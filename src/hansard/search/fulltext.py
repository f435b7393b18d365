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
from operator import itemgetter
from types import ModuleType
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa

from hansard.model import Value
from hansard.search import filters, fulltext_postgres, fulltext_sqlite
from hansard.search.place import Place
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

_SQL: dict[str, ModuleType] = {"sqlite": fulltext_sqlite, "postgresql": fulltext_postgres}


class Ranked(NamedTuple):
    """A meeting that matches."""

    number: int
    job: str
    score: float


class Found(Value, frozen=True):
    """Meetings that match, the best first."""

    meetings: tuple[Ranked, ...]
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
    places, more = _candidates(connection, tenant, query, newest=newest)
    if not places:
        return Found(())
    postings, every = _postings(connection, tenant, query.units, places)
    left = _holding(connection, query, postings, places)
    more = more or len(left) > MOST
    left = left[:MOST]
    if query.clauses:
        return _ranked(connection, query, left, postings, every, more=more)
    newest_first = sorted(left, key=lambda one: (-one.held, -one.number))
    return Found(tuple(Ranked(one.number, one.job, one.held) for one in newest_first), more)


def among(
    connection: sa.Connection,
    tenant: str,
    query: Query,
    jobs: Sequence[str],
    *,
    newest: int | None = None,
) -> list[Ranked]:
    """Those of some meetings of the tenant that match, in no order."""
    places, _ = _candidates(connection, tenant, query, newest=newest, only=jobs)
    if not places:
        return []
    postings = {
        unit: _phrase_postings(connection, unit, places)
        for unit in dict.fromkeys(query.units)
        if unit.is_phrase
    }
    left = _holding(connection, query, postings, places)
    return [Ranked(one.number, one.job, 0.0) for one in left]


def _holding(
    connection: sa.Connection,
    query: Query,
    postings: dict[Unit, _Postings],
    places: list[Place],
) -> list[Place]:
    """Those that have the phrases; of words the index has seen to it."""
    clauses = [clause for clause in query.clauses if any(unit.is_phrase for unit in clause)]
    without = [
        _phrase_postings(connection, unit, places).levels
        for unit in query.without
        if unit.is_phrase
    ]
    if not clauses and not without:
        return places
    return [
        one
        for one in places
        if all(any(one.number in postings[unit].levels for unit in clause) for clause in clauses)
        and not any(one.number in levels for levels in without)
    ]


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
) -> tuple[list[Place], bool]:
    """The newest that have all words, whether they stand in phrases or not."""
    asks = sql(connection)
    required: list[Ways] = []
    required += [[way for unit in clause for way in unit.ways] for clause in query.clauses]
    required += [[way] for way in filters.speakers(query.filters, without=False)]
    excluded: list[Sequence[str]] = [
        way for unit in query.without for way in unit.ways if not unit.is_phrase
    ]
    excluded += filters.speakers(query.filters, without=True)
    where, asked = filters.conditions(query.filters)
    phrases = any(unit.is_phrase for unit in (*query.units, *query.without))
    limit = _MOST_CHECKED if phrases else MOST
    asked |= {
        "match": asks.match([mine(tenant), *required], excluded),
        "below": _HIGHEST if newest is None else newest + 1,
        "tenant": tenant,
        "limit": limit,
    }
    found: list[Place]
    if only is None:
        found = asks.meetings(connection, where, asked)
    else:
        anything = not (required or excluded)
        found = asks.meetings_among(connection, only, where, asked, anything=anything)
    return found, len(found) == limit


class _Postings(Value, frozen=True):
    """Where a unit is."""

    levels: dict[int, int]
    """By the meeting's number: the logarithm of how many of its segments have it."""
    titles: frozenset[int]
    everywhere: int
    """Meetings that have it, between the oldest and the newest candidate."""


def _postings(
    connection: sa.Connection, tenant: str, units: Sequence[Unit], places: Sequence[Place]
) -> tuple[dict[Unit, _Postings], int]:
    """Where each unit is, and how many meetings there are between the oldest and the newest.

    These are counted only where there are several units to weigh: 0 where there are not.
    """
    asks = sql(connection)
    words = [unit for unit in dict.fromkeys(units) if not unit.is_phrase]
    expressions = [asks.match([mine(tenant)])] if len(set(units)) > 1 else []
    for unit in words:
        wanted = [[[terms.OF_TITLE + way[0]] for way in unit.ways]]
        wanted += [
            [[terms.levelled(way[0], level)] for way in unit.ways]
            for level in range(terms.LEVELS + 1)
        ]
        expressions += [asks.match([mine(tenant), ways]) for ways in wanted]
    answers = iter(
        asks.numbers(connection, expressions, places[-1].number, places[0].number)
        if expressions
        else ()
    )
    every = len(next(answers)) if len(set(units)) > 1 else 0
    found: dict[Unit, _Postings] = {}
    for unit in words:
        titles = frozenset(next(answers))
        levels: dict[int, int] = {}
        for level in range(terms.LEVELS + 1):
            levels.update(dict.fromkeys(next(answers), level))
        found[unit] = _Postings(levels, titles, len(levels))
    # In the order in which they were asked for: scores are sums, and sums of floats have one.
    return {
        unit: found[unit] if unit in found else _phrase_postings(connection, unit, places)
        for unit in dict.fromkeys(units)
    }, every


def _phrase_postings(connection: sa.Connection, unit: Unit, places: Sequence[Place]) -> _Postings:
    asks = sql(connection)
    jobs = {one.number: one.job for one in places}
    counts = asks.spoken(connection, [unit.ways], jobs, _MOST_PHRASES)
    levels = {number: min(terms.LEVELS, count.bit_length() - 1) for number, count in counts.items()}
    # What has its words in the title may have them apart.
    words = [[terms.OF_TITLE + term for term in way] for way in unit.ways]
    (maybe,) = asks.numbers(connection, [asks.match([words])], places[-1].number, places[0].number)
    titled = {jobs[number]: number for number in maybe if number in jobs}
    titles = frozenset(
        titled[job]
        for job, title in asks.titles(connection, list(titled))
        if holds(unit, _title(title))
    )
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


def _ranked(
    connection: sa.Connection,
    query: Query,
    places: Sequence[Place],
    postings: dict[Unit, _Postings],
    every: int,
    *,
    more: bool,
) -> Found:
    if not places:
        return Found((), more)
    every = every or len(places)
    worth = {unit: _rareness(found.everywhere, every) for unit, found in postings.items()}
    # A thousand meetings: as columns this takes half of the time that it takes meeting by meeting.
    numbers, jobs, sizes, _ = zip(*places, strict=True)
    scores = [0.0] * len(numbers)
    levels = {unit: list(map(found.levels.get, numbers)) for unit, found in postings.items()}
    if len(query.clauses) > 1:
        clauses = [[way for unit in clause for way in unit.ways] for clause in query.clauses]
        among = dict(zip(numbers, jobs, strict=True))
        at_most = _at_most(query, levels, sizes)
        together = sql(connection).spoken(
            connection, clauses, among, _MOST_TOGETHER, at_most=at_most
        )
        bonus = _TOGETHER * sum(worth.values())
        scores = [bonus if number in together else 0.0 for number in numbers]
    average = sum(sizes) / len(sizes) or 1.0
    lengths = [_K * (1 - _B + _B * size / average) for size in sizes]
    for unit, found in postings.items():
        gains = [worth[unit] * (_K + 1) * (1 << level) for level in range(terms.LEVELS + 1)]
        scores = [
            score if level is None else score + gains[level] / ((1 << level) + length)
            for score, level, length in zip(scores, levels[unit], lengths, strict=True)
        ]
        if found.titles:
            named = worth[unit] * _TITLE
            scores = [
                score + named if number in found.titles else score
                for score, number in zip(scores, numbers, strict=True)
            ]
    rounded = [round(score, 6) for score in scores]
    ranked = list(map(Ranked._make, zip(numbers, jobs, rounded, strict=True)))
    ranked.sort(key=_BEST, reverse=True)
    return Found(tuple(ranked), more, {unit.shown: value for unit, value in worth.items()})


def _at_most(query: Query, levels: dict[Unit, list[int | None]], sizes: Sequence[int]) -> float:
    """How many segments of some meetings may have all clauses, if these were strewn by chance."""
    whole = share = float(sum(sizes))
    for clause in query.clauses:
        having = sum(
            size if level == terms.LEVELS else min(size, 2 << level)
            for unit in clause
            for level, size in zip(levels[unit], sizes, strict=True)
            if level is not None
        )
        share *= min(1.0, having / whole) if whole else 0.0
    return share


_BEST = itemgetter(2, 0)
"""By score, then by number."""


def _rareness(having: int, every: int) -> float:
    every = max(every, having)
    return math.log(1 + (every - having + 0.5) / (having + 0.5))
