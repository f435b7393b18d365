"""How much was transcribed on which day, with what and how it ended: for charts over long times.

PostgreSQL keeps these sums (a materialized view), so that years of jobs are not added up at each
look; they are up to ten minutes old. SQLite adds them up when asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa

from hansard.errors import StoreBusy
from hansard.model import Value
from hansard.store import buckets
from hansard.store.database import Database, Dialect

_log = logging.getLogger("hansard.store")

_EVERY = 600.0
"""Seconds between two times that the sums are made, over all hosts."""
_LOOK = 60.0
"""Seconds between two looks whether it is time, of one process."""

ROWS = 10_000
"""Most lines of one answer."""


class Tally(Value, frozen=True, omit_defaults=False):
    """Jobs of one day that ended alike."""

    day: str
    """In UTC, like ``2026-01-31``: when they were asked for."""
    engine: str
    model: str
    state: str
    """completed, failed or cancelled."""
    jobs: int
    seconds: float
    """Of audio."""
    busy: float
    """Seconds from their beginning to their end, summed up."""


_SUMS: dict[Dialect, str] = {
    "postgresql": "SELECT tenant, day, engine, model, state, jobs, seconds, busy FROM statistics",
    "sqlite": """
        SELECT tenant, date(CAST(created AS integer), 'unixepoch') AS day, engine, model, state,
               count(*) AS jobs, coalesce(sum(seconds), 0.0) AS seconds,
               coalesce(sum(finished - started), 0.0) AS busy
        FROM jobs WHERE finished IS NOT NULL GROUP BY 1, 2, 3, 4, 5
    """,
}
_LINES = {
    dialect: sa.text(f"""
        SELECT day, engine, model, state, CAST(sum(jobs) AS bigint) AS jobs,
               sum(seconds) AS seconds, sum(busy) AS busy
        FROM ({sums}) AS sums
        WHERE day >= :first AND day <= :last AND tenant = coalesce(:tenant, tenant)
        GROUP BY day, engine, model, state ORDER BY day, engine, model, state LIMIT {ROWS + 1}
    """).bindparams(sa.bindparam("tenant", type_=sa.Text))  # noqa: S608 constants
    for dialect, sums in _SUMS.items()
}


def read(database: Database, tenant: str | None, first: str, last: str) -> list[Tally]:
    """Sums between two days, both included; ``tenant`` ``None`` is everybody's.

    At most one more than :data:`ROWS`, so that its caller knows that there are too many.
    """
    asked = {"tenant": tenant, "first": first, "last": last}
    with database.read() as connection:
        found = connection.execute(_LINES[database.dialect], asked).all()
    return [Tally(*row) for row in found]


def refresh(database: Database) -> bool:
    """Make the sums anew, unless somebody does just now; whoever reads them is not held up.

    Returns:
        Whether it was done here. Never in SQLite, where there is nothing to be done.
    """
    if database.dialect != "postgresql":
        return False
    with database.write(lasting=False, unseen=True) as connection:
        mine = "SELECT pg_try_advisory_xact_lock(hashtextextended('statistics', 0))"
        if not connection.scalar(sa.text(mine)):
            return False
        connection.execute(sa.text("REFRESH MATERIALIZED VIEW CONCURRENTLY statistics"))
    return True


class Statistics:
    """Keeps the sums of a store fresh enough. Cheap to ask often."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._next = 0.0

    def keep_up(self) -> None:
        """Refresh the sums, if it is time and no other host has done it."""
        if self._database.dialect != "postgresql" or self._clock() < self._next:
            return
        self._next = self._clock() + _LOOK
        try:
            drawn = buckets.take(self._database, "statistics", 1, rate=1 / _EVERY, burst=1)
            if not drawn.wait:
                refresh(self._database)
        except StoreBusy as error:
            _log.info("the statistics stay as they are for now: %s", error.message)
