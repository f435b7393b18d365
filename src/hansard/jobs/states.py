"""The changes of state that a job can go through, each inside the caller's transaction."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from hansard.errors import EngineDied, HansardError, UnknownJob
from hansard.jobs import rows, shares, webhooks
from hansard.model import POOLS, Failure, JobState, Step, Window, WindowResult
from hansard.store import usage
from hansard.store.tables import IS_LEFT, IS_OPEN, attempts, jobs, windows

PROVISIONAL = 2
"""The hearing of windows that only serve to follow along live; see ``jobs.sessions``."""

RETRY = "retry"
"""The step under which the history notes that somebody asked for another try."""

# Built once: that costs several times what SQLite needs to run them. Parameters are not named
# like columns, because SQLAlchemy would set those to them.
_ROW = sa.select(jobs).where(jobs.c.id == sa.bindparam("job"))

_RECORD = (
    windows.update()
    .where(
        windows.c.id == sa.bindparam("row"),
        windows.c.token == sa.bindparam("mark"),
        windows.c.state == "taken",
        sa.exists().where(jobs.c.id == windows.c.job, IS_OPEN),
    )
    .values(
        state="done",
        done=sa.bindparam("at"),
        heard=sa.case(
            (windows.c["pass"] == PROVISIONAL, None),
            else_=sa.select(jobs.c.heard + 1).where(jobs.c.id == windows.c.job).scalar_subquery(),
        ),
        result=sa.bindparam("answer"),
        token=None,
        owner=None,
    )
)
_COUNT = (
    jobs.update()
    .where(jobs.c.id == sa.bindparam("job_id"))
    .values(heard=jobs.c.heard + 1, heard_samples=jobs.c.heard_samples + sa.bindparam("length"))
)
_ADVANCE = (
    jobs.update()
    .where(
        jobs.c.id == sa.bindparam("job_id"),
        jobs.c.step == "listen",
        ~sa.exists().where(
            windows.c.job == sa.bindparam("job_id"), IS_LEFT, windows.c["pass"] != PROVISIONAL
        ),
    )
    .values(step="finish", attempt=0)
)
_END = (
    jobs.update()
    .where(jobs.c.id == sa.bindparam("job_id"))
    .values(
        state=sa.bindparam("how"),
        finished=sa.bindparam("at"),
        failure=sa.bindparam("why"),
        **rows.NOBODYS,
    )
    .returning(jobs.c.kind)
)
_LET_GO_OF = (
    windows.update()
    .where(windows.c.job == sa.bindparam("job_id"), IS_LEFT, windows.c.state == "taken")
    .values(state="waiting", **rows.NOBODYS)
)


def first_step(kind: str) -> Step:
    """Where jobs of a kind begin: recordings are prepared, all else is done at a stroke."""
    return "prepare" if POOLS[kind] == "speech" else "run"


def row(connection: sa.Connection, job: str, tenant: str | None = None) -> sa.Row[Any]:
    """The row of a job, where it is the tenant's.

    Raises:
        UnknownJob: there is none, or it is another's, which must look the same.
    """
    found = connection.execute(_ROW, {"job": job}).first()
    if found is None or tenant not in (None, found.tenant):
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
    fresh: list[dict[str, Any]] = [
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
        samples = sum(window["samples"] for window in fresh)
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job)
            .values(
                planned=jobs.c.planned + len(fresh),
                planned_samples=jobs.c.planned_samples + samples,
            )
        )


def record(
    connection: sa.Connection, part: rows.Part, token: str, result: WindowResult, now: float
) -> int:
    """Write what was heard in a window; 0 where it is not ours any more, and nothing is written.

    The window's number among those done is given in the transaction that writes it, so that
    whoever has seen a number has seen all before it.
    """
    answer = {"row": part.id, "mark": token, "at": now, "answer": rows.json(result)}
    done = connection.execute(_RECORD, answer).rowcount
    if done and part.hearing != PROVISIONAL:
        connection.execute(_COUNT, {"job_id": part.job.id, "length": part.window.samples})
    return int(done)


def advance(connection: sa.Connection, job: str) -> None:
    """Listening is over when preparing is and no window is left."""
    connection.execute(_ADVANCE, {"job_id": job})


def note(
    connection: sa.Connection, job: str, step: str, cause: Failure, *, owner: str, now: float
) -> int:
    """Add a try that went wrong to the history; how many there are since it began anew."""
    so_far, anew = connection.execute(
        sa.select(
            sa.func.max(attempts.c.number),
            sa.func.max(sa.case((attempts.c.step == RETRY, attempts.c.number))),
        ).where(attempts.c.job == job)
    ).one()
    number = (so_far or 0) + 1
    connection.execute(
        attempts.insert().values(
            job=job, number=number, step=step, owner=owner, ended=now, failure=rows.json(cause)
        )
    )
    return int(number - (anew or 0))


def note_worn(connection: sa.Connection, job: str, step: str, *, owner: str, now: float) -> None:
    """Add to the history that a worker did not come back with what it had in hand."""
    cause = EngineDied("The worker ended, or stopped, with this in hand.")
    note(connection, job, step, cause.failure(), owner=owner, now=now)


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
    failure = None if cause is None else rows.json(cause)
    how = {"job_id": job, "how": state, "at": now, "why": failure}
    row = connection.execute(_END, how).one()
    connection.execute(_LET_GO_OF, {"job_id": job})
    usage.count_end(connection, job, now)
    if row.kind == "live":
        drop_provisional(connection, job)
    webhooks.note_end(connection, job, now=now)


def revive(connection: sa.Connection, found: sa.Row[Any], *, by: str, now: float) -> None:
    """Take an ended job up again where it stood; windows that are done stay done.

    Everything that was asked for stays as it was. ``by`` is who wanted it, for the history.
    """
    shares.arrive(connection, found.tenant, found.lane)
    asked = Failure("retried", "Somebody asked for another try.")
    note(connection, found.id, RETRY, asked, owner=by, now=now)
    connection.execute(
        jobs.update()
        .where(jobs.c.id == found.id)
        .values(
            state="queued",
            step=first_step(found.kind),  # over at once where prepared audio is still there
            attempt=0,
            not_before=0,
            finished=None,
            failure=None,
            deadline=None,
        )
    )
    connection.execute(
        windows.update()
        .where(windows.c.job == found.id, IS_LEFT)
        .values(state="waiting", attempt=0)
    )


def drop_provisional(connection: sa.Connection, job: str, *, left: bool = False) -> None:
    """Remove the windows that only served to follow along; ``left``: those nobody has heard.

    What was spent on the others still counts until the job ends.
    """
    gone = windows.delete().where(windows.c.job == job, windows.c["pass"] == PROVISIONAL)
    connection.execute(gone.where(IS_LEFT) if left else gone)


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


def holders(connection: sa.Connection, owners: Sequence[str]) -> list[tuple[str, str, str]]:
    """Job, step and owner of what these workers hold."""
    steps = sa.select(jobs.c.id, jobs.c.step, jobs.c.owner).where(
        IS_OPEN, jobs.c.token.is_not(None), jobs.c.owner.in_(owners)
    )
    heard = sa.select(windows.c.job, sa.literal("listen"), windows.c.owner).where(
        IS_LEFT, windows.c.state == "taken", windows.c.owner.in_(owners)
    )
    return [(job, step, owner) for job, step, owner in connection.execute(steps.union(heard))]


def _backoff(tried: int) -> float:
    """Seconds to wait: 1, 2, 4 … 300, each up to half less at random so that crowds disperse."""
    return min(300.0, 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 not a secret
