"""How fast the jobs went that this store has finished, and how many bytes they took."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from hansard.model import Value
from hansard.store.database import Database
from hansard.store.tables import jobs, recordings

_LATEST = 500
"""Jobs that are looked at: the newest, since models and machines change."""

_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


class Past(Value, frozen=True):
    """Sums over finished transcriptions. All are 0 where there are none."""

    jobs: int
    audio: float
    """Seconds of their recordings."""
    busy: float
    """Seconds on the clock in which at least one of them was under way."""
    bytes: int
    """Of their recordings."""
    database: int
    """Bytes of the whole database …"""
    stored: float
    """… and the seconds of audio of all transcriptions in it."""
    squares: float = 0.0
    """Sum of the squares of the lengths of the recordings: how unlike they are."""

    @property
    def variability(self) -> float:
        """The variance of the lengths over the square of their mean; 0 where all are alike."""
        return max(0.0, self.jobs * self.squares / self.audio**2 - 1.0) if self.audio else 0.0


def past(database: Database) -> Past:
    """What the newest finished transcriptions took.

    Recordings that came live are left out: they go as fast as somebody speaks.
    """
    ended = (jobs.c.state == "completed", jobs.c.kind == "transcribe", jobs.c.seconds > 0)
    newest = (
        sa.select(jobs.c.started, jobs.c.finished, jobs.c.seconds, recordings.c.size)
        .join(recordings, recordings.c.id == jobs.c.recording)
        .where(*ended, jobs.c.started.is_not(None))
        .order_by(jobs.c.finished.desc())
        .limit(_LATEST)
    )
    with database.read() as connection:
        found = connection.execute(newest).all()
        size = int(connection.scalar(sa.text(_SIZE[database.dialect])) or 0)
        stored = connection.scalar(sa.select(sa.func.sum(jobs.c.seconds)).where(*ended))
    return Past(
        len(found),
        sum(float(row.seconds) for row in found),
        covered((float(row.started), float(row.finished)) for row in found),
        sum(int(row.size) for row in found),
        size,
        float(stored or 0.0),
        sum(float(row.seconds) ** 2 for row in found),
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of all spans together; where several overlap it counts once."""
    whole, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        whole += max(0.0, end - max(start, until))
        until = max(until, end)
    return whole
