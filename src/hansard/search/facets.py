"""How many of the meetings that match are of which kind: what a search may be narrowed by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import sqlalchemy as sa

from hansard.model import Value
from hansard.search import fulltext

MOST = 20
"""Values of each facet, the most frequent."""


class Facet(Value, frozen=True):
    """A value and in how many meetings it is."""

    value: str
    meetings: int


class Facets(Value, frozen=True, omit_defaults=False):
    """Of the meetings that match: a thousand at most are counted."""

    kind: tuple[Facet, ...] = ()
    status: tuple[Facet, ...] = ()
    language: tuple[Facet, ...] = ()
    tag: tuple[Facet, ...] = ()
    speaker: tuple[Facet, ...] = ()
    month: tuple[Facet, ...] = ()
    """UTC, like 2026-01; the newest first."""


def facets(connection: sa.Connection, jobs: list[str]) -> Facets:
    """Count what some meetings have."""
    asks = fulltext.sql(connection)
    chosen = f"SELECT kind, status, language, held FROM meetings AS m WHERE {asks.AMONG}"  # noqa: S608
    rows = connection.execute(sa.text(chosen), {"jobs": asks.listed(jobs)}).all()
    months = Counter(f"{datetime.fromtimestamp(row.held, UTC):%Y-%m}" for row in rows)
    return Facets(
        kind=_frequent(row.kind for row in rows),
        status=_frequent(row.status for row in rows),
        language=_frequent(row.language for row in rows if row.language),
        tag=_counted(connection, "SELECT tag AS value, job FROM meeting_tags", jobs),
        speaker=_counted(
            connection,
            "SELECT DISTINCT name AS value, job FROM speakers WHERE name IS NOT NULL",
            jobs,
        ),
        month=tuple(Facet(*pair) for pair in sorted(months.items(), reverse=True)[:MOST]),
    )


def _frequent(values: Iterable[str]) -> tuple[Facet, ...]:
    counted = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Facet(*pair) for pair in counted[:MOST])


def _counted(connection: sa.Connection, source: str, jobs: list[str]) -> tuple[Facet, ...]:
    asks = fulltext.sql(connection)
    query = (
        f"SELECT value, count(*) FROM ({source}) AS m WHERE {asks.AMONG} "  # noqa: S608 constants
        f"GROUP BY value ORDER BY count(*) DESC LIMIT {5 * MOST}"
    )
    found = connection.execute(sa.text(query), {"jobs": asks.listed(jobs)})
    # Ties in the order of their letters, which the databases do not agree on.
    pairs = sorted(((value, count) for value, count in found), key=lambda one: (-one[1], one[0]))
    return tuple(Facet(*pair) for pair in pairs[:MOST])
