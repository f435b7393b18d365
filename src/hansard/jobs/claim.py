"""Which rows a worker should take next: the one place where SQL decides about urgency.

Read inside the caller's write transaction, which is what keeps two workers apart on SQLite.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hansard.store.tables import IS_LEFT, IS_OPEN, jobs, windows

RUN_AHEAD = 256
"""Windows that may wait before the next job is prepared: about two hours, 230 MB of PCM."""

LOOK_AHEAD = 4
"""Batches among which windows of like length are sought."""


def step(connection: sa.Connection, now: float) -> sa.Row[Any] | None:
    """The job most in need of preparing or finishing."""
    waiting = (
        sa.select(sa.literal(1)).select_from(windows).where(IS_LEFT, windows.c.state == "waiting")
    ).limit(RUN_AHEAD)
    crowded = connection.scalar(sa.select(sa.func.count()).select_from(waiting.subquery()))
    ready = ["finish"] if crowded == RUN_AHEAD else ["finish", "prepare"]
    return connection.execute(
        sa.select(jobs)
        .where(
            _open(now),
            jobs.c.step.in_(ready),
            sa.or_(jobs.c.token.is_(None), jobs.c.lease_until < now),
        )
        .order_by(
            jobs.c.priority.desc(),
            sa.case((jobs.c.step == "finish", 0), else_=1),
            jobs.c.created,
            jobs.c.id,
        )
        .limit(1)
    ).first()


def batch(
    connection: sa.Connection, engine: str, model: str, *, batch: int, lanes: int, now: float
) -> list[sa.Row[Any]]:
    """Windows of one model that are best decoded together; empty where it is better to wait.

    The earliest window of the most urgent job comes first, so that words appear in the order
    they were spoken; it is joined by those nearest to it in length.
    """
    lead = connection.execute(
        sa.select(jobs.c.id, jobs.c.language, jobs.c.batch_key, jobs.c.prepared)
        .where(
            jobs.c.engine == engine,
            jobs.c.model == model,
            _open(now),
            sa.exists().where(windows.c.job == jobs.c.id, _free(now)),
        )
        .order_by(jobs.c.priority.desc(), jobs.c.created, jobs.c.id)
        .limit(1)
    ).first()
    if lead is None:
        return []
    ahead = list(
        connection.execute(
            sa.select(windows)
            .where(windows.c.job == lead.id, _free(now))
            .order_by(windows.c.id)
            .limit(batch * max(LOOK_AHEAD, lanes))
        )
    )
    if lead.prepared is None and len(ahead) < batch and _in_hand(connection, lead.id):
        return []
    # Near the end each lane takes its share, so that none is left with a whole batch alone.
    wanted = min(batch, max(1, -(-len(ahead) // lanes))) if lead.prepared else batch
    first = ahead[0]
    ahead.sort(key=lambda row: (abs(row.samples - first.samples), row.id))
    chosen = ahead[:wanted]
    if lead.language is not None and len(chosen) < batch and len(ahead) <= wanted:
        chosen += _of_other_jobs(connection, lead, batch - len(chosen), now)
    return chosen


def _of_other_jobs(
    connection: sa.Connection, lead: sa.Row[Any, Any, Any, Any], room: int, now: float
) -> list[sa.Row[Any]]:
    """Windows of other jobs that decode the same way: engine, model, options and language."""
    return list(
        connection.execute(
            sa.select(windows)
            .join(jobs, jobs.c.id == windows.c.job)
            .where(
                jobs.c.batch_key == lead.batch_key,
                jobs.c.language == lead.language,
                _open(now),
                windows.c.job != lead.id,
                _free(now),
            )
            .order_by(jobs.c.priority.desc(), jobs.c.created, windows.c.id)
            .limit(room)
        )
    )


def _in_hand(connection: sa.Connection, job: str) -> bool:
    taken = sa.select(windows.c.id).where(windows.c.job == job, IS_LEFT, windows.c.state == "taken")
    return connection.execute(taken.limit(1)).first() is not None


def _open(now: float) -> sa.ColumnElement[bool]:
    return sa.and_(IS_OPEN, jobs.c.not_before <= now)


def _free(now: float) -> sa.ColumnElement[bool]:
    return sa.and_(
        IS_LEFT,
        sa.or_(windows.c.state == "waiting", windows.c.lease_until < now),
    )
