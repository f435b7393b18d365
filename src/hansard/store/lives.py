"""Live sessions: the rows beside their jobs. What was received lies in a file, not here."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hansard.model import Value
from hansard.store.tables import jobs, lives

PLACEHOLDER = "live-"
"""What the id of a recording begins with that is still being made; then comes its job's."""


class Live(Value, frozen=True):
    """A live session. Times are seconds since the epoch."""

    job: str
    codec: str
    rate: int
    channels: int
    received: int
    """Bytes, when its owner last wrote it down; the file knows better."""
    touched: float
    closed: float | None = None
    """When its owner said that this is all."""


def add(connection: sa.Connection, live: Live) -> None:
    """Insert a session."""
    connection.execute(
        lives.insert().values(
            job=live.job,
            codec=live.codec,
            rate=live.rate,
            channels=live.channels,
            received=live.received,
            touched=live.touched,
        )
    )


def get(connection: sa.Connection, job: str) -> Live | None:
    """The session of a job, if it has one."""
    row = connection.execute(sa.select(lives).where(lives.c.job == job)).first()
    return None if row is None else _live(row)


def of_tenant(connection: sa.Connection, job: str, tenant: str) -> Live | None:
    """The session with this id, if it is this tenant's."""
    row = connection.execute(
        sa.select(lives)
        .join(jobs, jobs.c.id == lives.c.job)
        .where(lives.c.job == job, jobs.c.tenant == tenant)
    ).first()
    return None if row is None else _live(row)


def unclosed(connection: sa.Connection) -> list[Live]:
    """Sessions whose owner may still come back, oldest first."""
    found = connection.execute(
        sa.select(lives).where(lives.c.closed.is_(None)).order_by(lives.c.job)
    )
    return [_live(row) for row in found]


def touch(connection: sa.Connection, job: str, received: int, now: float) -> None:
    """Write down how much has come, and when something last did."""
    connection.execute(
        lives.update().where(lives.c.job == job).values(received=received, touched=now)
    )


def close(connection: sa.Connection, job: str, now: float) -> None:
    """This is all. Once closed, a session stays so."""
    connection.execute(
        lives.update().where(lives.c.job == job, lives.c.closed.is_(None)).values(closed=now)
    )


def _live(row: sa.Row[Any]) -> Live:
    return Live(row.job, row.codec, row.rate, row.channels, row.received, row.touched, row.closed)
