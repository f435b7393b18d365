"""How much audio waits to be heard: what tells how many workers there should be."""

from __future__ import annotations

import sqlalchemy as sa

from hansard.model import POOLS, SAMPLE_RATE
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, jobs

_LENGTH = sa.func.coalesce(jobs.c.seconds * float(SAMPLE_RATE), jobs.c.planned_samples)
"""Samples of a recording that is not prepared yet; where nobody knows, what is planned so far."""

_ALL = sa.case((jobs.c.prepared.is_(None), _LENGTH), else_=jobs.c.planned_samples)

_LEFT = sa.case((jobs.c.heard_samples < _ALL, _ALL - jobs.c.heard_samples), else_=0)

_WAITING = (
    sa.select(jobs.c.pool, (sa.func.sum(_LEFT) / float(SAMPLE_RATE)).label("seconds"))
    .where(IS_OPEN)
    .group_by(jobs.c.pool)
)
"""From the sums in the rows of open jobs: no window is looked at."""


def waiting(database: Database) -> dict[str, float]:
    """Seconds of audio that nobody has heard yet, by pool; every pool there is.

    What is in hand counts until it is done, and what waits to be tried again counts as well.
    Of a job that is prepared its windows count, else its length as preflight found it.
    """
    with database.read() as connection:
        found = connection.execute(_WAITING).all()
    none = dict.fromkeys(POOLS.values(), 0.0)
    return none | {row.pool: float(row.seconds or 0.0) for row in found}
