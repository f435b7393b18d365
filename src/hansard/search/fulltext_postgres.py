"""What ``search.fulltext`` asks of PostgreSQL: the same questions of its GIN indexes.

Those know which terms a segment has and not where: what stands beside what is seen in the terms
themselves. Expressions are parameters, never joined: a query that is not known when the plan is
made costs hundreds of times more (measured: 350 times, for a rare word).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa

from hansard.search.place import Place

Ways = Sequence[Sequence[str]]

_WORDS_OF = "hansard_vector(w.words)"
_TERMS_OF = "hansard_vector(s.terms)"
"""As the indexes have them."""
_TERMS_READ = "' ' || s.terms || ' '"
"""To be looked into: of one meeting all segments are read faster than those of all meetings that
have a common word are found."""

# By the index of words and no other: hence the sums, which no index has, and the fence around what
# is joined afterwards. As columns: fetching a thousand rows takes longer than finding them.
_MEETINGS = """
    WITH found AS MATERIALIZED (
        SELECT w.number, w.job FROM meeting_words AS w
        WHERE {words} @@ CAST(:match AS tsquery) AND w.number + 0 < :below
    )
    SELECT array_agg(number), array_agg(job), array_agg(segments), array_agg(held) FROM (
        SELECT w.number, m.job, m.segments, m.held
        FROM found AS w JOIN meetings AS m ON m.job = w.job
        WHERE m.tenant = :tenant{where}
        ORDER BY w.number DESC LIMIT :limit
    ) AS newest
"""
_AMONG = """
    SELECT array_agg(number), array_agg(job), array_agg(segments), array_agg(held) FROM (
        SELECT w.number, m.job, m.segments, m.held FROM meetings AS m
        JOIN meeting_words AS w ON w.job = m.job
        WHERE m.job = ANY(CAST(:jobs AS text[])) AND m.tenant = :tenant AND w.number < :below{where}
        ORDER BY w.number DESC LIMIT :limit
    ) AS newest
"""
_NUMBERS = sa.text(f"""
    SELECT (
        SELECT array_agg(w.number) FROM meeting_words AS w
        WHERE {_WORDS_OF} @@ CAST(asked.match AS tsquery) AND w.number + 0 BETWEEN :low AND :high)
    FROM unnest(CAST(:asked AS text[])) WITH ORDINALITY AS asked(match, place) ORDER BY place
""")  # noqa: S608 constants
_BY_INDEX = sa.text("SET LOCAL enable_seqscan = off")
_by_index: WeakSet[sa.RootTransaction] = WeakSet()

AMONG = "m.job = ANY(CAST(:jobs AS text[]))"
"""A meeting is one of some that are listed."""


def listed(jobs: Sequence[str]) -> list[str]:
    """Jobs as a parameter."""
    return list(jobs)


def match(required: Sequence[Ways], excluded: Ways = ()) -> str:
    """A tsquery: of each of ``required`` one way, and none of ``excluded``."""
    wanted = " & ".join(f"({_any(ways)})" for ways in required)
    return f"({wanted}) & !({_any(excluded)})" if excluded else wanted


def _any(ways: Ways) -> str:
    return " | ".join(f"({_all(way)})" for way in ways)


def _all(way: Sequence[str]) -> str:
    return " & ".join(_quoted(term) for term in way)


def _quoted(term: str) -> str:
    # Terms are letters and digits, so quoting them is all there is to do.
    return f"'{term[:-1]}':*" if term.endswith("*") else f"'{term}'"


def _ask_the_index(connection: sa.Connection) -> None:
    """For the rest of this transaction.

    To go through all rows looks as cheap to the planner where most of them match, and is not: each
    would have to be taken apart again, which the index was made for.
    """
    transaction = connection.get_transaction()
    if transaction is None or transaction in _by_index:
        return
    connection.execute(_BY_INDEX)
    _by_index.add(transaction)


def meetings(connection: sa.Connection, where: str, asked: dict[str, Any]) -> list[Place]:
    """The newest meetings that match."""
    query = sa.text(_MEETINGS.format(where=where, words=_WORDS_OF))
    _ask_the_index(connection)
    return _places(connection.execute(query, asked).one())


def meetings_among(
    connection: sa.Connection,
    only: Sequence[str],
    where: str,
    asked: dict[str, Any],
    *,
    anything: bool,
) -> list[Place]:
    """Those of some jobs that match; with ``anything``, whatever their words are."""
    given = {**asked, "jobs": listed(only)}
    if not anything:
        return meetings(connection, f"{where} AND {AMONG}", given)
    del given["match"]
    query = sa.text(_AMONG.format(where=where))
    return _places(connection.execute(query, given).one())


def _places(columns: sa.Row[Any]) -> list[Place]:
    return list(map(Place._make, zip(*columns, strict=True))) if columns[0] else []


_SPANS = sa.text("""
    SELECT s.job, s.position, s.start, s."end", s.speaker, s.text, s.terms
    FROM unnest(CAST(:jobs AS text[]), CAST(:first AS int[]), CAST(:last AS int[]))
        AS span(job, first, last)
    JOIN segments AS s ON s.job = span.job AND s.position BETWEEN span.first AND span.last
    ORDER BY s.job, s.position
""")


def spans(
    connection: sa.Connection, wanted: Sequence[tuple[str, int, int]]
) -> Sequence[sa.Row[Any]]:
    """The segments of some meetings from one position to another, both included, in order."""
    jobs, first, last = (list(one) for one in zip(*wanted, strict=True))
    return connection.execute(_SPANS, {"jobs": jobs, "first": first, "last": last}).all()


_TITLES = sa.text("SELECT job, title FROM meetings WHERE job = ANY(CAST(:jobs AS text[]))")


def titles(connection: sa.Connection, jobs: Sequence[str]) -> Sequence[sa.Row[Any]]:
    """Job and title of some meetings."""
    return connection.execute(_TITLES, {"jobs": listed(jobs)}).all()


def numbers(
    connection: sa.Connection, expressions: Sequence[str], low: int, high: int
) -> list[list[int]]:
    """Of each expression, the meetings between two numbers that match it."""
    _ask_the_index(connection)
    asked = {"asked": list(expressions), "low": low, "high": high}
    return [list(found or ()) for (found,) in connection.execute(_NUMBERS, asked).all()]


def spoken(
    connection: sa.Connection,
    clauses: Sequence[Ways],
    among: dict[int, str],
    limit: int,
    *,
    at_most: float = 0.0,
) -> Counter[int]:
    """In how many segments of each meeting all clauses are, the newest ``limit`` segments seen.

    Args:
        connection: a transaction.
        clauses: one way of each must be there.
        among: meetings by number; others between the first and the last count towards the limit.
        limit: segments.
        at_most: about so many there may be, so far as it is known; 0 where it is not.
    """
    # Not joined with anything: where the parameters are not known the planner takes two words to be
    # together nowhere, and would go through all meetings for each place (measured: ten seconds).
    numbers_of = {job: number for number, job in among.items()}
    asked = {"first": min(numbers_of), "last": max(numbers_of), "limit": limit}
    found: Sequence[sa.Row[Any]] | None = None
    if at_most >= limit and (read := _to_read(connection, clauses, limit)):
        found = _newest_read(connection, clauses, asked | {"read": read})
    if found is None:
        where, said = _said(clauses)
        _ask_the_index(connection)
        query = sa.text(_SPOKEN_INDEXED.format(where=where))
        found = connection.execute(query, asked | said).all()
    return Counter({numbers_of[row.job]: row.total for row in found if row.job in numbers_of})


_SPOKEN_INDEXED = """
    SELECT job, count(*) AS total FROM (
        SELECT s.job FROM segments AS s
        WHERE {where} AND s.job || '' BETWEEN :first AND :last
        ORDER BY s.job || '' DESC, s.position DESC LIMIT :limit
    ) AS found GROUP BY job
"""
_SPOKEN_READ = """
    SELECT job, count(*) AS total FROM (
        SELECT s.job FROM (
            SELECT job, position, terms FROM segments WHERE job BETWEEN :first AND :last
            ORDER BY job DESC, position DESC LIMIT :read
        ) AS s WHERE {where} ORDER BY s.job DESC, s.position DESC LIMIT :limit
    ) AS found GROUP BY job
"""


def _to_read(connection: sa.Connection, clauses: Sequence[Ways], limit: int) -> int:
    """How many segments to read, the newest first, to see so many with all clauses; 0 for none.

    Twice as many as it should take, and only where the index would give more than that: all places
    of the library, of which the newest are sorted out. (Measured: 108 ms for 67 000 places; to read
    27 000 segments instead 25.)
    """
    with_all = _expected(connection, match(clauses))
    if with_all < limit:
        return 0
    needed = limit * _rows(connection, "SELECT FROM segments", {}) // with_all
    return 2 * needed if needed < with_all else 0


def _newest_read(
    connection: sa.Connection, clauses: Sequence[Ways], asked: dict[str, Any]
) -> Sequence[sa.Row[Any]] | None:
    """By reading all segments, the newest first; ``None`` where ``read`` of them were too few."""
    given = dict(asked)
    where = " AND ".join(_holds(ways, f"way_{place}", given) for place, ways in enumerate(clauses))
    query = sa.text(_SPOKEN_READ.format(where=where))
    found: Sequence[sa.Row[Any]] = connection.execute(query, given).all()
    return found if sum(row.total for row in found) == asked["limit"] else None


def places(
    connection: sa.Connection, clauses: Sequence[Ways], among: dict[int, str], limit: int
) -> tuple[Counter[str], list[sa.Row[Any]]]:
    """Of each meeting, how many segments have any of the clauses, and ``limit`` of these.

    Segments that have all of them come first, and then the earliest.
    """
    asked: dict[str, Any] = {}
    having = [_holds(ways, f"way_{place}", asked) for place, ways in enumerate(clauses)]
    conditions = {"any": " OR ".join(having), "all": " AND ".join(having)}
    asked |= {"jobs": list(among.values()), "limit": limit}
    ways = [way for clause in clauses for way in clause]
    query = _PLACES_READ
    # How many words begin with some letters the planner does not know.
    if (
        not any(way[-1].endswith("*") for way in ways)
        and _expected(connection, match([ways])) <= _FEW
    ):
        _ask_the_index(connection)
        asked["match"] = match([ways])
        query = _PLACES_INDEXED
    rows = connection.execute(sa.text(query.format(**conditions)), asked).all()
    return Counter({row.job: row.total for row in rows}), list(rows)


_FEW = 20_000
"""Segments of the whole library that have a word: where they are more, to read all segments of the
meetings that are shown takes less time than to take so many places out of the index. (Measured, on
a million segments, twenty meetings of 500: by the index 3 ms where it had 9 500, 18 where 80 000,
and by reading 6 to 8.)"""

_PLACES_READ = """
    SELECT s.job, s.position, s.start, s."end", s.speaker, s.text, s.terms, one.total
    FROM unnest(CAST(:jobs AS text[])) AS wanted(job) CROSS JOIN LATERAL (
        SELECT s.position, count(*) OVER () AS total
        FROM segments AS s WHERE s.job = wanted.job AND ({any})
        ORDER BY ({all}) DESC, s.position LIMIT :limit
    ) AS one JOIN segments AS s ON s.job = wanted.job AND s.position = one.position
"""
# What the index finds is looked into as well: a phrase's words may stand apart.
_PLACES_INDEXED = f"""
    SELECT job, position, start, "end", speaker, text, terms, total FROM (
        SELECT found.*, count(*) OVER (PARTITION BY job) AS total,
            row_number() OVER (PARTITION BY job ORDER BY has_all DESC, position) AS place
        FROM (
            SELECT s.job, s.position, s.start, s."end", s.speaker, s.text, s.terms,
                ({{all}}) AS has_all
            FROM segments AS s
            WHERE {_TERMS_OF} @@ CAST(:match AS tsquery)
                AND s.job = ANY(CAST(:jobs AS text[])) AND ({{any}})
        ) AS found
    ) AS one WHERE place <= :limit
"""  # noqa: S608 constants


def _expected(connection: sa.Connection, expression: str) -> int:
    """How many segments of all tenants match, as the planner takes it from its statistics."""
    return _rows(connection, _MATCHING, {"match": expression})


_MATCHING = f"SELECT FROM segments AS s WHERE {_TERMS_OF} @@ CAST(:match AS tsquery)"


def _rows(connection: sa.Connection, query: str, asked: dict[str, Any]) -> int:
    plan = connection.scalar(sa.text(f"EXPLAIN (FORMAT JSON) {query}"), asked)
    return int(plan[0]["Plan"]["Plan Rows"])


def _holds(ways: Ways, name: str, asked: dict[str, Any]) -> str:
    """A condition on a segment: one way stands in its terms. Parameters go to ``asked``.

    What all ways begin with is looked for first: most segments do not even have that.
    """
    either = []
    spelt = [" ".join(way) for way in ways]
    for place, said in enumerate(spelt):
        asked[f"{name}_{place}"] = f" {said[:-1]}" if said.endswith("*") else f" {said} "
        either.append(f"strpos({_TERMS_READ}, :{name}_{place}) > 0")
    asked[f"{name}_begin"] = commonprefix([said.removesuffix("*") for said in spelt])  # noqa: RUF071 letters it is
    return f"(strpos(s.terms, :{name}_begin) > 0 AND ({' OR '.join(either)}))"


def _said(clauses: Sequence[Ways]) -> tuple[str, dict[str, Any]]:
    """A condition on a segment that asks the index, and its parameters."""
    asked: dict[str, Any] = {"match": match(clauses)}
    parts = [f"{_TERMS_OF} @@ CAST(:match AS tsquery)"]
    for number, ways in enumerate(clauses):
        if any(len(way) > 1 for way in ways):
            parts.append(_holds(ways, f"way_{number}", asked))
    return " AND ".join(parts), asked


def vocabulary(
    connection: sa.Connection,
    tenant: str,
    between: tuple[str, str],
    lengths: range,
    limit: int,
) -> list[str]:
    """Words of a tenant from one up to another, of some lengths."""
    asked = {"tenant": tenant, "low": between[0], "high": between[1], "limit": limit}
    asked |= {"shortest": lengths.start, "longest": lengths.stop}
    return list(connection.scalars(_WORDS, asked))


_WORDS = sa.text("""
    SELECT term FROM vocabulary
    WHERE tenant = :tenant AND term COLLATE "C" >= :low AND term COLLATE "C" < :high
        AND length(term) >= :shortest AND length(term) < :longest
    LIMIT :limit
""")
