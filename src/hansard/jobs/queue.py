"""The queue: the job table is the truth, and every change of state is one transaction.

    queued ─▶ running ─▶ completed          a job walks prepare ─▶ listen ─▶ finish
                │  ▲  └▶ failed | cancelled
                ▼  │
              retrying                      (waits until ``not_before``)

Work is claimed, never handed out. A claim writes owner, token and deadline into the row; whoever
comes back with another token than the row's finds :class:`LeaseLost` and may write nothing. A
window that is done stays done: whatever happens to the job, it is never claimed again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from hansard.errors import EngineDied, HansardError, InvalidState, LeaseLost
from hansard.jobs import claim, rows, states
from hansard.jobs.rows import Unit
from hansard.model import (
    OPEN_STATES,
    Job,
    Levels,
    Options,
    Prepared,
    Recording,
    Window,
    WindowResult,
)
from hansard.store import recordings
from hansard.store.database import Database
from hansard.store.tables import IS_LEFT, IS_OPEN, jobs, windows


class Queue:
    """Submit, claim, record, finish. Every method is one short transaction."""

    def __init__(
        self,
        database: Database,
        owner: str,
        *,
        lease_seconds: float = 60.0,
        attempts: int = 5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``owner`` is the worker's name in the rows it claims (``jobs.presence``)."""
        self.database = database
        self.owner = owner
        self.lease_seconds = lease_seconds
        self.attempts = attempts
        self._clock = clock

    # ── in ───────────────────────────────────────────────────────────────────────────────────

    def submit(
        self,
        recording: Recording,
        options: Options,
        levels: Levels,
        *,
        priority: int = 5,
        again: bool = False,
    ) -> tuple[Job, bool]:
        """Add a transcription, or find the job that is this very work already.

        A failed or cancelled job of the same work is taken up again where it stood.

        Returns:
            The job, and whether anything is left to be done for it.
        """
        identity = _identity(recording.id, options)
        with self.database.write() as connection:
            found = connection.execute(sa.select(jobs).where(jobs.c.answers == identity)).first()
            if found is not None and again and found.state not in OPEN_STATES:
                connection.execute(jobs.update().where(jobs.c.id == found.id).values(answers=None))
                found = None
            if found is not None:
                if found.state in ("failed", "cancelled"):
                    states.revive(connection, found.id)
                return rows.job(states.row(connection, found.id)), found.state != "completed"
            recordings.add(connection, recording)
            now = self._clock()
            job_id = rows.new_id(now)
            connection.execute(
                jobs.insert().values(
                    id=job_id,
                    kind="transcribe",
                    state="queued",
                    step="prepare",
                    priority=priority,
                    recording=recording.id,
                    options=rows.json(options),
                    identity=identity,
                    answers=identity,
                    batch_key=rows.batch_key(options),
                    engine=options.engine,
                    model=options.model,
                    language=options.language,
                    levels=rows.json(levels),
                    created=now,
                )
            )
            return rows.job(states.row(connection, job_id)), True

    def find(self, recording: str, options: Options) -> Job | None:
        """The job that did, does or would take up this very work; ``None`` where there is none."""
        identity = _identity(recording, options)
        with self.database.read() as connection:
            found = connection.execute(sa.select(jobs).where(jobs.c.answers == identity)).first()
        return None if found is None else rows.job(found)

    # ── claims ───────────────────────────────────────────────────────────────────────────────

    def claim_step(self) -> Unit | None:
        """The most urgent job that is to be prepared or finished; ``None`` where there is none."""
        now = self._clock()
        with self.database.write() as connection:
            row = claim.step(connection, now)
            if row is None:
                return None
            if row.attempt >= self.attempts:
                states.end(
                    connection,
                    row.id,
                    "failed",
                    _poisoned(f"step {row.step}").failure(),
                    now=self._clock(),
                )
                return None
            token = secrets.token_hex(16)
            connection.execute(
                jobs.update()
                .where(jobs.c.id == row.id)
                .values(
                    state="running",
                    started=sa.func.coalesce(jobs.c.started, now),
                    attempt=jobs.c.attempt + 1,
                    owner=self.owner,
                    token=token,
                    lease_until=now + self.lease_seconds,
                )
            )
            return Unit(token, row.step, rows.job(states.row(connection, row.id)))

    def waiting_models(self) -> list[tuple[str, str]]:
        """Engine and model of jobs that have or will have windows to hear, urgent ones first."""
        with self.database.read() as connection:
            found = connection.execute(
                sa.select(jobs.c.engine, jobs.c.model)
                .where(
                    IS_OPEN,
                    jobs.c.step != "finish",
                    jobs.c.not_before <= self._clock(),
                )
                .group_by(jobs.c.engine, jobs.c.model)
                .order_by(sa.func.max(jobs.c.priority).desc(), sa.func.min(jobs.c.created))
            ).all()
        return [(row.engine, row.model) for row in found]

    def claim_windows(self, engine: str, model: str, *, batch: int, lanes: int) -> Unit | None:
        """Up to ``batch`` windows of the most urgent job of a model, like in length.

        While a job is still being prepared and somebody is already busy with it, only a full
        batch is worth the call. Near the end the rest is shared out between ``lanes``. A batch
        that the leading job cannot fill is filled from others that decode the same way.
        """
        now = self._clock()
        with self.database.write() as connection:
            chosen = claim.batch(connection, engine, model, batch=batch, lanes=lanes, now=now)
            if not chosen:
                return None
            worn = next((row for row in chosen if row.attempt >= self.attempts), None)
            if worn is not None:
                window = rows.window(worn)
                cause = _poisoned(f"window {window.index}")
                states.end(connection, worn.job, "failed", cause.failure(), now=self._clock())
                return None
            token = secrets.token_hex(16)
            connection.execute(
                windows.update()
                .where(windows.c.id.in_([row.id for row in chosen]))
                .values(
                    state="taken",
                    attempt=windows.c.attempt + 1,
                    owner=self.owner,
                    token=token,
                    lease_until=now + self.lease_seconds,
                )
            )
            names = {row.job for row in chosen}
            connection.execute(
                jobs.update()
                .where(jobs.c.id.in_(names), jobs.c.state != "running")
                .values(state="running", started=sa.func.coalesce(jobs.c.started, now))
            )
            owners = {name: rows.job(states.row(connection, name)) for name in names}
            parts = tuple(rows.part(row, owners[row.job]) for row in chosen)
            return Unit(token, "listen", parts[0].job, parts)

    def renew(self, tokens: Iterable[str]) -> None:
        """Move the deadlines of what is in hand."""
        held = list(tokens)
        until = self._clock() + self.lease_seconds
        with self.database.write() as connection:
            for table in (jobs, windows):
                connection.execute(
                    table.update().where(table.c.token.in_(held)).values(lease_until=until)
                )

    # ── progress of a step ───────────────────────────────────────────────────────────────────

    def add_windows(
        self, unit: Unit, planned: Sequence[Window], *, position: int, hearing: int = 0
    ) -> None:
        """Write planned windows: the checkpoint. Those that are there already stay as they are.

        Raises:
            LeaseLost: the job is not ours any more, or was cancelled.
        """
        with self.database.write() as connection:
            self._hold(connection, unit, {"position": position})
            states.plan(connection, unit.job.id, planned, hearing)

    def end_prepare(self, unit: Unit, prepared: Prepared) -> None:
        """All windows are written: the job is listened to, or finished where that is done."""
        with self.database.write() as connection:
            values = {
                "prepared": rows.json(prepared),
                "position": prepared.samples,
                "step": "listen",
                "attempt": 0,
                "token": None,
                "owner": None,
            }
            self._hold(connection, unit, values)
            states.advance(connection, unit.job.id)

    def set_language(self, job: str, language: str) -> str:
        """Fix a job's language; whoever detects it first decides. Returns the one in force."""
        with self.database.write() as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job, jobs.c.language.is_(None))
                .values(language=language)
            )
            return str(connection.scalar(sa.select(jobs.c.language).where(jobs.c.id == job)))

    def record(self, unit: Unit, results: Sequence[WindowResult]) -> None:
        """Write what was heard. What somebody else took over meanwhile is left to them.

        Raises:
            LeaseLost: nothing of the unit was still ours.
        """
        now = self._clock()
        written = 0
        with self.database.write() as connection:
            still_open = sa.select(jobs.c.id).where(IS_OPEN)
            for part, result in zip(unit.parts, results, strict=True):
                done = connection.execute(
                    windows.update()
                    .where(
                        windows.c.id == part.id,
                        windows.c.token == unit.token,
                        windows.c.state == "taken",
                        windows.c.job.in_(still_open),
                    )
                    .values(
                        state="done", done=now, result=rows.json(result), token=None, owner=None
                    )
                )
                written += done.rowcount
            for job in {part.job.id for part in unit.parts}:
                states.advance(connection, job)
        if not written:
            raise LeaseLost("The windows were taken over by another worker.")

    def listen_again(self, unit: Unit, planned: Sequence[Window]) -> None:
        """From finishing back to listening: a second look at some windows."""
        with self.database.write() as connection:
            values = {"step": "listen", "attempt": 0, "token": None, "owner": None}
            self._hold(connection, unit, values)
            states.plan(connection, unit.job.id, planned, 1)
            states.advance(connection, unit.job.id)

    def complete(self, unit: Unit, write: Callable[[sa.Connection], None]) -> None:
        """End a job well; ``write`` adds the transcript in the same transaction."""
        with self.database.write() as connection:
            self._hold(connection, unit, {})
            write(connection)
            states.end(connection, unit.job.id, "completed", None, now=self._clock())

    # ── trouble ──────────────────────────────────────────────────────────────────────────────

    def fail(self, unit: Unit, error: HansardError) -> None:
        """A unit went wrong: give up, or try again later, as the error's class says."""
        now = self._clock()
        with self.database.write() as connection:
            for job in {part.job.id for part in unit.parts} or {unit.job.id}:
                row = states.row(connection, job)
                tried = self._tried(connection, unit, row)
                if row.state not in OPEN_STATES or tried is None:
                    continue  # cancelled, or another's by now: nothing of ours to report
                states.note(connection, job, unit.step, error.failure(), owner=self.owner, now=now)
                states.set_back(connection, job, error, tried=tried, limit=self.attempts, now=now)
            states.let_go(connection, windows.c.token == unit.token, jobs.c.token == unit.token)

    def fail_model(self, engine: str, model: str, error: HansardError) -> None:
        """A model cannot be loaded: every open job that needs it fails, or waits for better."""
        now = self._clock()
        with self.database.write() as connection:
            needing = connection.execute(
                sa.select(jobs).where(
                    jobs.c.engine == engine,
                    jobs.c.model == model,
                    IS_OPEN,
                    jobs.c.step != "finish",
                )
            ).all()
            for row in needing:
                tried = states.note(
                    connection, row.id, "listen", error.failure(), owner=self.owner, now=now
                )
                states.set_back(
                    connection, row.id, error, tried=tried, limit=self.attempts, now=now
                )

    def give_back(self) -> None:
        """Free all that this worker holds, as if it had never been claimed."""
        self.free([self.owner], worn=False)

    def free(self, owners: Iterable[str], *, worn: bool = True) -> None:
        """Free what these workers held. ``worn``: the claim counts as an attempt."""
        held = list(owners)
        if held:
            with self.database.write() as connection:
                states.let_go(
                    connection, windows.c.owner.in_(held), jobs.c.owner.in_(held), worn=worn
                )

    def owners(self) -> list[str]:
        """Workers that hold something."""
        with self.database.read() as connection:
            return list(
                connection.scalars(
                    sa.union(
                        sa.select(jobs.c.owner).where(IS_OPEN, jobs.c.owner.is_not(None)),
                        sa.select(windows.c.owner).where(IS_LEFT, windows.c.owner.is_not(None)),
                    )
                )
            )

    def cancel(self, job_id: str) -> Job:
        """Stop a job; what is in hand is not recorded, what is done stays for a retry.

        Raises:
            InvalidState: it has ended already.
        """
        with self.database.write() as connection:
            row = states.row(connection, job_id)
            if row.state not in OPEN_STATES:
                raise InvalidState(
                    f"Job {row.id} is {row.state}: there is nothing to cancel.",
                    hint="`hansard jobs list` shows what is open.",
                )
            states.end(connection, row.id, "cancelled", None, now=self._clock())
            return rows.job(states.row(connection, row.id))

    def retry(self, job_id: str) -> Job:
        """Take a failed or cancelled job up again; finished windows are kept.

        Raises:
            InvalidState: it is open or completed, or a later job does the same work.
        """
        with self.database.write() as connection:
            row = states.row(connection, job_id)
            if row.state not in ("failed", "cancelled"):
                raise InvalidState(
                    f"Job {row.id} is {row.state}: only failed and cancelled jobs are retried.",
                    hint="To force a completed one: `hansard transcribe FILE --again`.",
                )
            if row.answers is None:
                raise InvalidState(
                    f"Job {row.id} was superseded by a later job for the same recording.",
                    hint="`hansard jobs list` shows it.",
                )
            states.revive(connection, row.id)
            return rows.job(states.row(connection, row.id))

    # ── inside a transaction ─────────────────────────────────────────────────────────────────

    def _hold(self, connection: sa.Connection, unit: Unit, values: dict[str, Any]) -> None:
        """Write to the job of a claimed step, or nothing at all where it is not ours."""
        done = connection.execute(
            jobs.update()
            .where(
                jobs.c.id == unit.job.id,
                jobs.c.token == unit.token,
                IS_OPEN,
            )
            .values(values or {"owner": self.owner})
        )
        if done.rowcount != 1:
            raise LeaseLost(f"Job {unit.job.id} was cancelled or taken over.")

    def _tried(self, connection: sa.Connection, unit: Unit, row: sa.Row[Any]) -> int | None:
        """Attempts at this unit so far; ``None`` where it is not ours any more."""
        if unit.step != "listen":
            return row.attempt if row.token == unit.token else None
        worst: int | None = connection.scalar(
            sa.select(sa.func.max(windows.c.attempt)).where(
                windows.c.job == row.id, windows.c.token == unit.token
            )
        )
        return worst


def _identity(recording: str, options: Options) -> str:
    return rows.digest("transcribe", recording, rows.json(options))


def _poisoned(what: str) -> EngineDied:
    return EngineDied(
        f"The worker ended every time it came to {what}.",
        hint="Look at memory with `hansard doctor`; another --model may pass.",
    )
