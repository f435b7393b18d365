"""The changes of state that a job can go through, each inside the caller's transaction."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from hansard.errors import HansardError, UnknownJob
from hansard.jobs import rows
from hansard.model import Failure, JobState, Window
from hansard.store.tables import IS_LEFT, attempts, jobs, windows


def row(connection: sa.Connection, job: str) -> sa.Row[Any]:
    """The row of a job.

    Raises:
        UnknownJob: there is none.
    """
    found = connection.execute(sa.select(jobs).where(jobs.c.id == job)).first()
    if found is None:
        raise UnknownJob(f"There is no job {job}.", hint="`hansard jobs list` shows them.")
    return found


def plan(connection: sa.Connection, job: str, planned: Sequence[Window], hearing: int) -> None:
    """Write windows that are not there yet; those that are stay as they are."""
    if not planned:
        return
    known = {
        (one.channel, one.position)
        for one in connection.execute(
            sa.select(windows.c.channel, windows.c.position).where(
                windows.c.job == job,
                windows.c["pass"] == hearing,
                windows.c.position.in_([window.index for window in planned]),
            )
        )
    }
    fresh = [
        {
            "job": job,
            "pass": hearing,
            "channel": window.channel,
            "position": window.index,
            "window": rows.json(window),
            "samples": window.samples,
        }
        for window in planned
        if (window.channel, window.index) not in known
    ]
    if fresh:
        connection.execute(windows.insert(), fresh)


def advance(connection: sa.Connection, job: str) -> None:
    """Listening is over when preparing is and no window is left."""
    left = sa.exists().where(windows.c.job == job, IS_LEFT)
    connection.execute(
        jobs.update()
        .where(jobs.c.id == job, jobs.c.step == "listen", ~left)
        .values(step="finish", attempt=0)
    )


def note(
    connection: sa.Connection, job: str, step: str, cause: Failure, *, owner: str, now: float
) -> int:
    """Add a try that went wrong to the history; how many there are now."""
    so_far = sa.select(sa.func.count()).select_from(attempts).where(attempts.c.job == job)
    number = (connection.scalar(so_far) or 0) + 1
    connection.execute(
        attempts.insert().values(
            job=job, number=number, step=step, owner=owner, ended=now, failure=rows.json(cause)
        )
    )
    return number


def set_back(
    connection: sa.Connection,
    job: str,
    error: HansardError,
    *,
    tried: int,
    limit: int,
    now: float,
) -> None:
    """Wait and try again where that can help and has not been tried too often; fail otherwise."""
    if error.trouble == "permanent" or tried >= limit:
        end(connection, job, "failed", error.failure(), now=now)
        return
    connection.execute(
        jobs.update()
        .where(jobs.c.id == job)
        .values(
            state="retrying",
            not_before=now + (error.retry_after or _backoff(tried)),
            failure=rows.json(error.failure()),
        )
    )


def end(
    connection: sa.Connection, job: str, state: JobState, cause: Failure | None, *, now: float
) -> None:
    """Put a job at its end; nobody holds anything of it any more."""
    connection.execute(
        jobs.update()
        .where(jobs.c.id == job)
        .values(state=state, finished=now, failure=None if cause is None else rows.json(cause))
    )
    let_go(connection, windows.c.job == job, jobs.c.id == job)


def revive(connection: sa.Connection, job: str) -> None:
    """Take an ended job up again where it stood; windows that are done stay done."""
    connection.execute(
        jobs.update()
        .where(jobs.c.id == job)
        .values(
            state="queued",
            step="prepare",  # which is over at once where prepared audio is still there
            attempt=0,
            not_before=0,
            finished=None,
            failure=None,
        )
    )
    connection.execute(
        windows.update().where(windows.c.job == job, IS_LEFT).values(state="waiting", attempt=0)
    )


def let_go(
    connection: sa.Connection,
    of_windows: sa.ColumnElement[bool],
    of_jobs: sa.ColumnElement[bool],
    *,
    worn: bool = True,
) -> None:
    """Free what is held. ``worn``: the claim counts as an attempt."""
    back = 0 if worn else 1
    connection.execute(
        windows.update()
        .where(of_windows, IS_LEFT, windows.c.state == "taken")
        .values(
            state="waiting",
            attempt=windows.c.attempt - back,
            owner=None,
            token=None,
            lease_until=None,
        )
    )
    connection.execute(
        jobs.update()
        .where(of_jobs, jobs.c.token.is_not(None))
        .values(attempt=jobs.c.attempt - back, owner=None, token=None, lease_until=None)
    )


def _backoff(tried: int) -> float:
    """Seconds to wait: 1, 2, 4 … 300, each up to half less at random so that crowds disperse."""
    return min(300.0, 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 not a secret
