"""Whether a meeting is in the archive: asked where its transcript is not in the store."""

from __future__ import annotations

import sqlalchemy as sa

from hansard.errors import Archived
from hansard.store.tables import archives, jobs


def see_that_it_is_here(
    connection: sa.Connection, job: str, tenant: str | None = None, *, audio: bool = False
) -> None:
    """Say so where a meeting is not here; ``audio``: only where its media are not.

    Raises:
        Archived: it is in the archive.
    """
    found = sa.select(archives.c.job).where(archives.c.job == job)
    if tenant is not None:
        found = found.join(jobs, jobs.c.id == archives.c.job).where(jobs.c.tenant == tenant)
    if audio:
        found = found.where(archives.c.audio == 1)
    if connection.execute(found).first() is not None:
        raise Archived(
            f"Job {job} is in the archive.", hint=f"`hansard archive restore {job}` brings it back."
        )


def place(connection: sa.Connection, job: str) -> str | None:
    """Where the archive of a job is, if it is in one."""
    return connection.scalar(sa.select(archives.c.place).where(archives.c.job == job))
