"""What ``search.fulltext`` asks of SQLite: its FTS5 indexes, a term of which needs no more care.

Rows of ``segment_index`` are numbered by meeting and position, so one meeting's are a range.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.store.index import POSITIONS

Ways = Sequence[Sequence[str]]

# Pronounced: the join starts with the index, which gives the newest first without sorting.
_MEETINGS = """
    SELECT {columns} FROM meeting_index
    CROSS JOIN meeting_words AS w ON w.number = meeting_index.rowid
    CROSS JOIN meetings AS m ON m.job = w.job
    WHERE meeting_index MATCH :match AND meeting_index.rowid < :below
        AND m.tenant = :tenant{where}
    ORDER BY meeting_index.rowid DESC LIMIT :limit
"""
_NUMBERS = sa.text("""
    SELECT group_concat(rowid) FROM meeting_index
    WHERE meeting_index MATCH :match AND rowid BETWEEN :low AND :high
""")
_PHRASE = sa.text(f"""
    SELECT number, count(*) FROM (
        SELECT rowid >> {POSITIONS} AS number FROM segment_index
        WHERE segment_index MATCH :match AND rowid BETWEEN :low AND :high
        ORDER BY rowid DESC LIMIT :limit
    ) GROUP BY number
""")  # noqa: S608 constants
_POSITIONS = sa.text("""
    SELECT group_concat(rowid) FROM segment_index
    WHERE segment_index MATCH :match AND rowid BETWEEN :low AND :high
""")
_SEGMENTS = sa.text("""
    SELECT s.job, s.position, s.start, s."end", s.speaker, s.text, s.terms
    FROM json_each(:spots) AS spot
    CROSS JOIN segments AS s ON s.job = spot.value ->> 0 AND s.position = spot.value ->> 1
""")


AMONG = "m.job IN (SELECT value FROM json_each(:jobs))"
"""A meeting is one of some that are listed."""


def listed(jobs: Sequence[str]) -> str:
    """Jobs as a parameter."""
    return msgspec.json.encode(jobs).decode()


def match(required: Sequence[Ways], excluded: Ways = (), *, adjacent: bool = False) -> str:
    """An expression of FTS5: of each of ``required`` one way, and none of ``excluded``."""
    wanted = " AND ".join(f"({_any(ways, adjacent)})" for ways in required)
    if not excluded:
        return wanted
    return f"({wanted}) NOT ({_any(excluded, adjacent)})"


def _any(ways: Ways, adjacent: bool) -> str:
    return " OR ".join(_phrase(way) if adjacent else f"({_all(way)})" for way in ways)


def _all(way: Sequence[str]) -> str:
    return " AND ".join(_phrase([term]) for term in way)


def _phrase(way: Sequence[str]) -> str:
    said = " ".join(way)
    # Terms are letters and digits, so quoting them is all there is to do.
    return f'"{said[:-1]}" *' if said.endswith("*") else f'"{said}"'


def meetings(
    connection: sa.Connection, columns: str, where: str, asked: dict[str, Any]
) -> Sequence[sa.Row[Any]]:
    """The newest meetings that match, by their numbers."""
    query = sa.text(_MEETINGS.format(columns=columns, where=where))
    return connection.execute(query, asked).all()


def numbers(connection: sa.Connection, expression: str, low: int, high: int) -> list[int]:
    """Meetings between two numbers that match."""
    found = connection.scalar(_NUMBERS, {"match": expression, "low": low, "high": high})
    return [] if found is None else list(map(int, found.split(",")))


def spoken(
    connection: sa.Connection, clauses: Sequence[Ways], among: dict[int, str], limit: int
) -> Counter[int]:
    """In how many segments of each meeting all clauses are, the newest ``limit`` segments seen."""
    low, high = min(among) << POSITIONS, (max(among) + 1 << POSITIONS) - 1
    asked = {
        "match": match(clauses, adjacent=True),
        "low": low,
        "high": high,
        "limit": limit,
    }
    return Counter(dict(map(tuple, connection.execute(_PHRASE, asked))))


def places(
    connection: sa.Connection, clauses: Sequence[Ways], among: dict[int, str], limit: int
) -> tuple[Counter[str], list[sa.Row[Any]]]:
    """Of each meeting, how many segments have any of the clauses, and ``limit`` of these.

    Segments that have all of them come first, and then the earliest.
    """
    whole = match(clauses, adjacent=True)
    either = match([[way for ways in clauses for way in ways]], adjacent=True)
    counts: Counter[str] = Counter()
    spots: list[tuple[str, int]] = []
    for number, job in among.items():
        found = _within(connection, either, number)
        counts[job] = len(found)
        if len(found) > limit and len(clauses) > 1:
            best = _within(connection, whole, number)[:limit]
            found = list(dict.fromkeys([*best, *found]))
        spots += [(job, position) for position in found[:limit]]
    rows = connection.execute(_SEGMENTS, {"spots": msgspec.json.encode(spots).decode()})
    return counts, list(rows)


def _within(connection: sa.Connection, expression: str, number: int) -> list[int]:
    first = number << POSITIONS
    asked = {"match": expression, "low": first, "high": first + (1 << POSITIONS) - 1}
    found = connection.scalar(_POSITIONS, asked)
    return [] if found is None else [int(one) - first for one in found.split(",")]


def vocabulary(
    connection: sa.Connection,
    tenant: str,
    between: tuple[str, str],
    lengths: range,
    limit: int,
) -> list[str]:
    """Words of a tenant from one up to another, of some lengths."""
    return list(
        connection.scalars(
            _WORDS,
            {
                "tenant": tenant,
                "low": between[0],
                "high": between[1],
                "shortest": lengths.start,
                "longest": lengths.stop,
                "limit": limit,
            },
        )
    )


_WORDS = sa.text("""
    SELECT term FROM vocabulary
    WHERE term >= :low AND term < :high AND tenant = :tenant
        AND length(term) >= :shortest AND length(term) < :longest
    LIMIT :limit
""")
