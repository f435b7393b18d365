"""Which models are wanted: what a worker loads, and lets go of. No walk through what waits."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hansard.jobs.claim import WITHIN_REACH
from hansard.jobs.groups import MODELS, open_groups
from hansard.store.tables import IS_OPEN, jobs

_LOADED_FOR = open_groups(MODELS)
_WANTS_IT = sa.and_(
    IS_OPEN,
    *(jobs.c[key] == _LOADED_FOR.c[key] for key in MODELS),
    WITHIN_REACH,
    jobs.c.step.in_(("record", "prepare", "listen")),
    jobs.c.not_before <= sa.bindparam("now", type_=sa.Double),
)
_MOST_URGENT = (
    sa.select(jobs.c.priority)
    .where(_WANTS_IT)
    .order_by(jobs.c.priority.desc())
    .limit(1)
    .correlate(_LOADED_FOR)
    .scalar_subquery()
)
_WANTED = (
    sa.select(_LOADED_FOR, _MOST_URGENT.label("urgency"))
    .where(_LOADED_FOR.c.pool.in_(sa.bindparam("pools", expanding=True)))
    .subquery()
)
_EARLIEST = (
    sa.select(jobs.c.created)
    .where(
        IS_OPEN,
        *(jobs.c[key] == _WANTED.c[key] for key in MODELS),
        jobs.c.priority == _WANTED.c.urgency,
    )
    .order_by(jobs.c.created)
    .limit(1)
    .correlate(_WANTED)
    .scalar_subquery()
)
_MODELS = (
    sa.select(_WANTED.c.engine, _WANTED.c.model)
    .where(_WANTED.c.urgency.is_not(None))
    .order_by(_WANTED.c.urgency.desc(), _EARLIEST)
)


def models(connection: sa.Connection, asked: dict[str, Any]) -> list[tuple[str, str]]:
    """Engine and model of jobs that have or will have windows to hear, urgent ones first."""
    found = connection.execute(_MODELS, asked)
    return list(dict.fromkeys((row.engine, row.model) for row in found))
