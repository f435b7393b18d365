"""How far jobs are: what the command line shows and the API will stream."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.errors import UnknownJob
from hansard.jobs import rows
from hansard.model import SAMPLE_RATE, Failure, Job, Value, WindowResult
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, attempts, jobs, recordings, windows


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
    done: float
    channel: int
    start: float
    """Seconds into the recording where the window begins."""
    text: str


class Attempt(Value, frozen=True):
    """One try that went wrong."""

    number: int
    step: str
    owner: str
    ended: float
    failure: Failure


def progress(database: Database, job: str) -> Progress:
    """How far one job is."""
    done = windows.c.state == "done"
    with database.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one()
        count, finished, total, heard = connection.execute(
            sa.select(
                sa.func.count(),
                sa.func.sum(sa.case((done, 1), else_=0)),
                sa.func.sum(windows.c.samples),
                sa.func.sum(sa.case((done, windows.c.samples), else_=0)),
            ).where(windows.c.job == job)
        ).one()
    return Progress(
        rows.job(row),
        row.position / SAMPLE_RATE,
        count,
        finished or 0,
        (total or 0) / SAMPLE_RATE,
        (heard or 0) / SAMPLE_RATE,
    )


def heard_since(database: Database, job: str, done: float, limit: int = 50) -> list[Heard]:
    """Windows finished after the moment ``done``, in the order they were finished."""
    with database.read() as connection:
        found = connection.execute(
            sa.select(windows)
            .where(windows.c.job == job, windows.c.state == "done", windows.c.done > done)
            .order_by(windows.c.done, windows.c.id)
            .limit(limit)
        ).all()
    return [_heard(row) for row in found]


def _heard(row: sa.Row[Any]) -> Heard:
    window = rows.window(row)
    result = msgspec.json.decode(row.result, type=WindowResult)
    text = " ".join(utterance.text.strip() for utterance in result.utterances)
    start = window.pieces[0].start / SAMPLE_RATE
    return Heard(row.id, row.done, window.channel, start, text)


def find(database: Database, name: str) -> Job:
    """The job with this id, or the only one whose id ends or begins so.

    Raises:
        UnknownJob: none, or several.
    """
    with database.read() as connection:
        found = connection.execute(
            sa.select(jobs)
            .where(
                sa.or_(
                    jobs.c.id.startswith(name, autoescape=True),
                    jobs.c.id.endswith(name, autoescape=True),
                )
            )
            .limit(2)
        ).all()
    if len(found) != 1:
        several = "several jobs match" if found else "there is no job"
        raise UnknownJob(f"For {name!r} {several}.", hint="`hansard jobs list` shows them.")
    return rows.job(found[0])


def listing(
    database: Database, *, state: str | None = None, before: str | None = None, limit: int = 50
) -> list[tuple[Job, str]]:
    """Jobs with their recordings' names, newest first; ``before`` is the last id of a page."""
    chosen = (
        sa.select(jobs, recordings.c.name)
        .join(recordings, recordings.c.id == jobs.c.recording)
        .order_by(jobs.c.id.desc())
        .limit(limit)
    )
    if state is not None:
        chosen = chosen.where(jobs.c.state == state)
    if before is not None:
        chosen = chosen.where(jobs.c.id < before)
    with database.read() as connection:
        return [(rows.job(row), row.name) for row in connection.execute(chosen)]


def history(database: Database, job: str) -> list[Attempt]:
    """Every try of a job that went wrong, oldest first."""
    with database.read() as connection:
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
