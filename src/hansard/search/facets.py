"""How many of the meetings that match are of which kind: what a search may be narrowed by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from hansard.model import Value
from hansard.search import fulltext
from hansard.search.fulltext import Meeting

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


def facets(connection: sa.Connection, meetings: Sequence[Meeting]) -> Facets:
    """Count what the meetings have."""
    jobs = [one.job for one in meetings]
    months = Counter(f"{datetime.fromtimestamp(one.held, UTC):%Y-%m}" for one in meetings)
    return Facets(
        kind=_frequent(one.kind for one in meetings),
        status=_frequent(one.status for one in meetings),
        language=_frequent(one.language for one in meetings if one.language),
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
