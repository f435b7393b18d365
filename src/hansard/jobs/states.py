"""The changes of state that a job can go through, each inside the caller's transaction.

**The order of locks.** SQLite lets one writer in at a time; PostgreSQL lets in any number, each
of whose statements sees what was committed before that statement. So a transaction that decides
by what it reads first locks the rows that decide, and whatever it locks it locks in this order:
the recording (``store.locks``), then jobs in the order of their ids (:func:`lock`), then the
places of the queue and the row of an API key, then windows, then clocks (``jobs.shares``), and last
the sums of ``store.usage``, which a whole tenant writes to. Nobody then waits for anybody who
waits for him. Every change of a job's sums, numbers, history or step is made under the lock of
its row: two who record the last windows do so one after the other, and the second sees that it
was the last. Who ends a job, sets it back or frees what is held of it locks it from claims too;
who only records or plans does not (``beside_claims``), because claims of other windows may go on.
A claim of windows holds its jobs by the weakest lock there is (``FOR KEY SHARE``), which keeps
ends out and lets records and other claims pass; it takes windows that nobody has locked (``SKIP
LOCKED``), and so waits for nobody but an end. A claim of a step skips locked jobs altogether, and
so does renewing, which holds many rows: it comes again before the lease is over. Whoever may end
several jobs at once goes alone among his like, since two of them could meet at two sums of usage;
only jobs that were done at a stroke are ended together beside each other (:func:`complete`),
because their sums are written in the order of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from hansard.chance import CHANCE
from hansard.errors import EngineDied, HansardError, UnknownJob
from hansard.jobs import follow_ups, rows, shares, webhooks
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

_IDS: sa.BindParameter[str] = sa.bindparam("ids", expanding=True)
_LOCK = sa.select(jobs).where(jobs.c.id.in_(_IDS)).order_by(jobs.c.id)
_LOCK_ALL = _LOCK.with_for_update()
_LOCK_BESIDE_CLAIMS = _LOCK.with_for_update(key_share=True)  # FOR NO KEY UPDATE
HOLD = _LOCK.where(IS_OPEN).with_for_update(read=True, key_share=True)  # FOR KEY SHARE
"""Those of the jobs ``ids`` that are open: they stay so until the transaction ends."""

_RECORD = (
    windows.update()
    .where(
        windows.c.id == sa.bindparam("row"),
        windows.c.token == sa.bindparam("mark"),
        windows.c.state == "taken",
    )
    .values(
        state="done",
        done=sa.bindparam("at"),
        heard=sa.bindparam("number"),
        result=sa.bindparam("answer"),
        owner=None,
        # The token stays: it tells whose answer this is, should he never hear that it was kept.
    )
)
_COUNT = (
    jobs.update()
    .where(jobs.c.id == sa.bindparam("job_id"))
    .values(
        heard=jobs.c.heard + sa.bindparam("count"),
        heard_samples=jobs.c.heard_samples + sa.bindparam("length"),
    )
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
    .returning(jobs)
)
_COMPLETE = (
    jobs.update()
    .where(jobs.c.id.in_(_IDS))
    .values(
        state="completed",
        finished=sa.bindparam("at", type_=sa.Double),
        failure=None,
        **rows.NOBODYS,
    )
    .returning(jobs)
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
    return _tenants(connection.execute(_ROW, {"job": job}).first(), job, tenant)


def _tenants(found: sa.Row[Any] | None, job: str, tenant: str | None) -> sa.Row[Any]:
    if found is None or tenant not in (None, found.tenant):
        raise UnknownJob(f"There is no job {job}.", hint="`hansard jobs list` shows them.")
    return found


def lock(
    connection: sa.Connection, ids: Iterable[str], *, beside_claims: bool = False
) -> list[sa.Row[Any]]:
    """Rows of jobs, which stay as they are until the transaction ends. Call it first.

    Args:
        connection: a transaction that writes.
        ids: jobs; those that are not there any more are left out.
        beside_claims: claims of windows may go on meanwhile.
    """
    wanted = list(ids)
    if not wanted:
        return []
    statement = _LOCK_BESIDE_CLAIMS if beside_claims else _LOCK_ALL
    return list(connection.execute(statement, {"ids": wanted}))


def locked(connection: sa.Connection, job: str, tenant: str | None = None) -> sa.Row[Any]:
    """Like :func:`row`, and it stays as it is until the transaction ends.

    Raises:
        UnknownJob: there is none, or it is another's.
    """
    found = next(iter(lock(connection, [job])), None)
    return _tenants(found, job, tenant)


def family(connection: sa.Connection, job: str) -> list[sa.Row[Any]]:
    """A job and all that follows it, locked like :func:`lock`; empty where it is not there."""
    found = lock(connection, [job])
    while found:
        # One that has just ended, while we waited for it, may have begun another.
        known = {row.id for row in found}
        more = [name for name in follow_ups.of(connection, job) if name not in known]
        if not more:
            break
        found += lock(connection, more)
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
    connection: sa.Connection,
    parts: Sequence[rows.Part],
    token: str,
    results: Sequence[WindowResult],
    now: float,
) -> int:
    """Write what was heard; how many of the windows are ours, and done by now.

    A window's number among those done is given in the transaction that writes it, under the lock
    of its job, so that whoever has seen a number has seen all before it.
    """
    open_ = {
        row.id: row
        for row in lock(connection, sorted({part.job.id for part in parts}), beside_claims=True)
        if row.finished is None
    }
    written = 0
    counts: dict[str, list[int]] = {}
    for part, result in zip(parts, results, strict=True):
        if (job := open_.get(part.job.id)) is None:
            continue
        known = counts.setdefault(job.id, [])
        counted = part.hearing != PROVISIONAL
        number = job.heard + len(known) + 1 if counted else None
        answer = {"row": part.id, "mark": token, "at": now, "answer": rows.json(result)}
        done = connection.execute(_RECORD, answer | {"number": number}).rowcount
        written += done
        if done and counted:
            known.append(part.window.samples)
    for job_id, lengths in counts.items():
        if lengths:
            many = {"job_id": job_id, "count": len(lengths), "length": sum(lengths)}
            connection.execute(_COUNT, many)
        if may_advance(open_[job_id], len(lengths)):
            advance(connection, job_id)
    return written or _recorded(connection, parts, token)


def _recorded(connection: sa.Connection, parts: Sequence[rows.Part], token: str) -> int:
    """How many of the windows are done with answers that came by this token."""
    mine = sa.select(sa.func.count()).where(
        windows.c.id.in_([part.id for part in parts]),
        windows.c.token == token,
        windows.c.state == sa.literal_column("'done'"),
    )
    return int(connection.scalar(mine) or 0)


def may_advance(job: sa.Row[Any], more: int = 0) -> bool:
    """Whether :func:`advance` could change a job, as its locked row is, with ``more`` heard."""
    return bool(job.kind == "live" or job.heard + more >= job.planned)


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


def has_second(connection: sa.Connection, job: str) -> bool:
    """Whether some windows of a job are looked at a second time."""
    second = sa.select(windows.c.id).where(windows.c.job == job, windows.c["pass"] == 1).limit(1)
    return connection.execute(second).first() is not None


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
    # Whoever completes a recording has heard all of its windows; others have none.
    if row.kind == "live" or (row.planned and state != "completed"):
        connection.execute(_LET_GO_OF, {"job_id": job})
    if row.parent is None:
        webhooks.note_end(connection, row, now=now)
    else:
        follow_ups.go_on(connection, row, now=now)
    # Last but for what hangs on it: whoever ends another job of this tenant waits for this row.
    usage.count_end(connection, row, now)
    if row.kind == "live":
        drop_provisional(connection, job)


def complete(connection: sa.Connection, ids: Sequence[str], *, now: float) -> None:
    """Put jobs without windows, which are locked, at a good end."""
    if not ids:
        return
    ended = connection.execute(_COMPLETE, {"ids": list(ids), "at": now}).all()
    webhooks.note_ends(connection, ended, now=now)
    usage.count_ends(connection, ended, now)


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
            missed=None,
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
    of: Sequence[str],
    of_windows: sa.ColumnElement[bool],
    of_jobs: sa.ColumnElement[bool],
    *,
    worn: bool = True,
) -> None:
    """Free what is held of some jobs, which are locked. ``worn``: the claim counts as a try."""
    back = 0 if worn else 1
    connection.execute(
        windows.update()
        .where(windows.c.job.in_(of), of_windows, IS_LEFT, windows.c.state == "taken")
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
        .where(jobs.c.id.in_(of), of_jobs, jobs.c.token.is_not(None))
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
    return min(300.0, 2.0 ** (tried - 1)) * CHANCE.uniform(0.5, 1.0)
