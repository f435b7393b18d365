"""Whether a meeting is in the archive: asked where its transcript is not in the store."""

from __future__ import annotations

import sqlalchemy as sa

from hansard.errors import Archived
from hansard.store.tables import archives


def see_that_it_is_here(connection: sa.Connection, job: str) -> None:
    """Say so where a meeting is not here.

    Raises:
        Archived: it is in the archive.
    """
    if place(connection, job) is not None:
        raise Archived(
            f"Job {job} is in the archive.", hint=f"`hansard archive restore {job}` brings it back."
        )


def place(connection: sa.Connection, job: str) -> str | None:
    """Where the archive of a job is, if it is in one."""
    return connection.scalar(sa.select(archives.c.place).where(archives.c.job == job))
