"""How far jobs are: what the command line shows and the API will stream."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.errors import UnknownJob
from hansard.jobs import rows, states
from hansard.model import SAMPLE_RATE, Failure, Job, Value, WindowResult
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, attempts, jobs, windows


class Progress(Value, frozen=True):
    """A job at one moment. Seconds are of audio; windows count both hearings."""

    job: Job
    prepared_seconds: float
    windows: int
    windows_done: int
    seconds: float
    """Seconds of audio in the windows known so far."""
    seconds_done: float

    @property
    def share(self) -> float:
        """0 to 1, of the windows known so far; 1 only when nothing is left to be done."""
        if self.job.finished is not None:
            return 1.0
        return min(0.999, self.seconds_done / self.seconds) if self.seconds else 0.0


class Heard(Value, frozen=True):
    """The words of one window that was finished, for following along."""

    row: int
    """Grows with every window planned; windows finish in any order."""
    number: int
    """1, 2, 3 … in the order in which the windows of the job were done."""
    channel: int
    start: float
    """Seconds into the recording where the window begins."""
    text: str


class Attempt(Value, frozen=True):
    """One try that went wrong; or, where the step is ``retry``, that somebody asked for another."""

    number: int
    step: str
    owner: str
    """The worker that tried, or who asked."""
    ended: float
    failure: Failure


def progress(database: Database, job: str, *, tenant: str | None = None) -> Progress:
    """How far one job is.

    Raises:
        UnknownJob: there is none, or it is another tenant's.
    """
    with database.read() as connection:
        return of(rows.job(states.row(connection, job, tenant)))


def of(job: Job) -> Progress:
    """How far a job was when it was read."""
    return Progress(
        job,
        job.position / SAMPLE_RATE,
        job.planned,
        job.heard,
        job.planned_samples / SAMPLE_RATE,
        job.heard_samples / SAMPLE_RATE,
    )


def heard_since(database: Database, job: str, number: int = 0, limit: int = 50) -> list[Heard]:
    """Windows done after the ``number``-th, in the order they were done."""
    with database.read() as connection:
        found = connection.execute(
            sa.select(windows)
            .where(windows.c.job == job, windows.c.heard > number)
            .order_by(windows.c.heard)
            .limit(limit)
        ).all()
    return [_heard(row) for row in found]


def _heard(row: sa.Row[Any]) -> Heard:
    window = rows.window(row)
    result = msgspec.json.decode(row.result, type=WindowResult)
    text = " ".join(utterance.text.strip() for utterance in result.utterances)
    start = window.pieces[0].start / SAMPLE_RATE
    return Heard(row.id, row.heard, window.channel, start, text)


def find(database: Database, name: str, *, tenant: str | None = None) -> Job:
    """The job with this id, or the only one whose id ends or begins so.

    Raises:
        UnknownJob: none, or several.
    """
    wanted = sa.select(jobs).where(
        sa.or_(
            jobs.c.id.startswith(name, autoescape=True),
            jobs.c.id.endswith(name, autoescape=True),
        )
    )
    if tenant is not None:
        wanted = wanted.where(jobs.c.tenant == tenant)
    with database.read() as connection:
        found = connection.execute(wanted.limit(2)).all()
    if len(found) != 1:
        several = "several jobs match" if found else "there is no job"
        raise UnknownJob(f"For {name!r} {several}.", hint="`hansard jobs list` shows them.")
    return rows.job(found[0])


def listing(
    database: Database,
    *,
    state: str | None = None,
    before: str | None = None,
    limit: int = 50,
    tenant: str | None = None,
) -> list[Job]:
    """Jobs, newest first; ``before`` is the last id of a page."""
    chosen = sa.select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    if state is not None:
        chosen = chosen.where(jobs.c.state == state)
    if tenant is not None:
        chosen = chosen.where(jobs.c.tenant == tenant)
    if before is not None:
        chosen = chosen.where(jobs.c.id < before)
    with database.read() as connection:
        return [rows.job(row) for row in connection.execute(chosen)]


def history(database: Database, job: str, *, tenant: str | None = None) -> list[Attempt]:
    """Every try of a job that went wrong, and every time somebody asked for another; in order.

    Raises:
        UnknownJob: there is none, or it is another tenant's.
    """
    with database.read() as connection:
        states.row(connection, job, tenant)
        found = connection.execute(
            sa.select(attempts).where(attempts.c.job == job).order_by(attempts.c.number)
        ).all()
    return [
        Attempt(
            row.number,
            row.step,
            row.owner,
            row.ended,
            msgspec.json.decode(row.failure, type=Failure),
        )
        for row in found
    ]


def open_jobs(database: Database) -> set[str]:
    """Jobs that are not at an end: their prepared audio is still needed."""
    with database.read() as connection:
        return set(connection.scalars(sa.select(jobs.c.id).where(IS_OPEN)))
