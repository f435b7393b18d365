"""What can happen to a job beside its walk: trouble, and what people ask for.

The other half of ``jobs.queue``: failing, waiting, freeing what dead workers held, running out of
time; cancelling, retrying, deleting. Every method is one short transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import sqlalchemy as sa

from hansard.config import QueueSettings
from hansard.errors import HansardError, InvalidState, LeaseLost, QueueFull, TimedOut
from hansard.jobs import claim, rows, states, webhooks
from hansard.jobs.limits import allowance
from hansard.jobs.patience import surely
from hansard.jobs.reach import Reach
from hansard.jobs.roll import LACKING, is_left_to_others
from hansard.jobs.rows import Unit
from hansard.model import OPEN_STATES, POOLS, Client, Job, Pool
from hansard.store import archived, locks, usage
from hansard.store.database import Database
from hansard.store.lives import PLACEHOLDER
from hansard.store.tables import IS_LEFT, IS_OPEN, jobs, recordings, windows

_log = logging.getLogger("hansard.queue")

NOBODY = Client()

T = TypeVar("T")

ENDS = "ends of several jobs"
"""A lock: each end adds to the sums of a tenant, and two who end several jobs may meet there."""

_RECENTLY = 600.0
"""Seconds over which it is measured how fast jobs end."""


_ROOMY, _ROOMY_SECONDS = 10_000, 1.0
"""A queue for so many is not counted again for so long, or a hundred times as long as counting
took, after less than a quarter of it was taken: nobody submits another quarter meanwhile."""


class Ledger:
    """The job table, seen by those who do not work on it. ``jobs.queue.Queue`` is the whole."""

    def __init__(
        self,
        database: Database,
        owner: str,
        *,
        lease_seconds: float = 60.0,
        attempts: int = 5,
        settings: QueueSettings | None = None,
        pools: Collection[Pool] = frozenset(POOLS.values()),
        clock: Callable[[], float] = time.time,
        reach: Reach | None = None,
    ) -> None:
        """``owner`` is the worker's name in the rows it claims (``jobs.presence``).

        Only jobs of ``pools`` are claimed, and only what is within ``reach`` of this host; those of
        others are still submitted, seen and ended. ``clock`` tells seconds since the epoch: those
        of all hosts must agree to a fraction of a lease.
        """
        self.database = database
        self.owner = owner
        self.lease_seconds = lease_seconds
        self.attempts = attempts
        self.settings = settings or QueueSettings()
        self.pools = frozenset(pools)
        self.reach = reach
        self._unheard: list[tuple[str, list[str]]] = []
        """Tokens and jobs of claims whose answer was lost."""
        self._left: dict[tuple[str, str], float] = {}
        """Models that could not be loaded here and are left to others, and until when."""
        self._roomy_until = 0.0
        self._clock = clock

    # ── seeing ───────────────────────────────────────────────────────────────────────────────

    def get(self, job_id: str, *, tenant: str | None = None) -> Job:
        """A job as it is now.

        Raises:
            UnknownJob: there is none, or it is another tenant's.
        """
        with self.database.read() as connection:
            return rows.job(states.row(connection, job_id, tenant))

    def see_that_there_is_room(self) -> None:
        """Refuse early what would be refused when it is submitted.

        Raises:
            QueueFull: as many jobs wait as may.
        """
        with self.database.read() as connection:
            self._see_room(connection)

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

    def holds(self, unit: Unit) -> bool:
        """Whether anything of a claimed unit is still ours."""
        with self.database.read() as connection:
            step = sa.select(jobs.c.id).where(jobs.c.token == unit.token, IS_OPEN)
            heard = sa.select(windows.c.id).where(windows.c.token == unit.token, IS_LEFT)
            if unit.parts:
                heard = heard.where(windows.c.id.in_([part.id for part in unit.parts]))
                return connection.execute(heard.limit(1)).first() is not None
            return connection.execute(step.where(jobs.c.id == unit.job.id)).first() is not None

    # ── trouble ──────────────────────────────────────────────────────────────────────────────

    def fail(self, unit: Unit, error: HansardError) -> None:
        """A unit went wrong: give up, or try again later, as the error's class says."""

        def report(_: bool) -> None:
            now = self._clock()
            with self.database.write() as connection:
                ids = sorted({part.job.id for part in unit.parts} or {unit.job.id})
                if len(ids) > 1:
                    locks.alone(connection, ENDS)
                for row in states.lock(connection, ids):
                    tried = self._tried(connection, unit, row)
                    if row.state not in OPEN_STATES or tried is None:
                        continue  # cancelled, or another's by now: nothing of ours to report
                    cause = error.failure()
                    states.note(connection, row.id, unit.step, cause, owner=self.owner, now=now)
                    states.set_back(
                        connection, row.id, error, tried=tried, limit=self.attempts, now=now
                    )
                mine = (windows.c.token == unit.token, jobs.c.token == unit.token)
                states.let_go(connection, ids, *mine)

        self._surely(unit, report)

    def fail_model(self, engine: str, model: str, error: HansardError) -> None:
        """A model cannot be loaded: the open jobs that need it fail, or wait for better.

        What another host may be able to do is left to it: where files are everybody's, all of it
        until no other worker is left that has not failed to load the model; where each host has
        files of its own, the jobs of the others.
        """
        now = self._clock()
        with self.database.write() as connection:
            locks.alone(connection, ENDS)
            if self._others_may_load(connection, f"{engine}/{model}", error):
                self._left[engine, model] = now + LACKING / 5
                _log.warning("%s/%s is left to other hosts: %s", engine, model, error.message)
                return
            needing = connection.execute(
                sa.select(jobs)
                .where(
                    jobs.c.engine == engine,
                    jobs.c.model == model,
                    IS_OPEN,
                    jobs.c.step.in_(("record", "prepare", "listen")),
                )
                .order_by(jobs.c.id)
                .with_for_update()
            ).all()
            for row in needing:
                if self.reach is not None and not self.reach.has(row):
                    continue
                tried = states.note(
                    connection, row.id, "listen", error.failure(), owner=self.owner, now=now
                )
                states.set_back(
                    connection, row.id, error, tried=tried, limit=self.attempts, now=now
                )

    def _others_may_load(self, connection: sa.Connection, model: str, error: HansardError) -> bool:
        if error.trouble != "permanent" or self.reach is None or not self.reach.is_whole:
            return False
        return is_left_to_others(connection, self.owner, model, self.lease_seconds)

    def give_back(self) -> None:
        """Free all that this worker holds, as if it had never been claimed."""
        self.free([self.owner], worn=False)

    def free(self, owners: Iterable[str], *, worn: bool = True) -> None:
        """Free what these workers held. ``worn``: the claim counts as an attempt, and is noted.

        Should one of them live after all, it may not write any more: its tokens are gone.
        """
        held = list(owners)
        if not held:
            return
        now = self._clock()
        with self.database.write() as connection:
            # What they held when it was looked at, and what they hold once it cannot change.
            ids = sorted({job for job, _, _ in states.holders(connection, held)})
            states.lock(connection, ids)
            if worn:
                for job, step, owner in sorted(states.holders(connection, held)):
                    if job in ids:
                        states.note_worn(connection, job, step, owner=owner, now=now)
            theirs = (windows.c.owner.in_(held), jobs.c.owner.in_(held))
            states.let_go(connection, ids, *theirs, worn=worn)

    def expire(self) -> list[str]:
        """End jobs that have run for too long; their names.

        A job that only waits for its turn is left alone: its time begins anew with its turn. One
        that is locked just now is looked at the next time.
        """
        now = self._clock()
        late = sa.select(jobs).where(IS_OPEN, jobs.c.deadline < now)
        taken = sa.exists().where(
            windows.c.job == jobs.c.id,
            IS_LEFT,
            windows.c.state == "taken",
            windows.c.lease_until >= now,
        )
        in_hand = sa.or_(jobs.c.state == "retrying", jobs.c.lease_until >= now, taken)
        with self.database.read() as connection:
            if connection.execute(late.where(in_hand).limit(1)).first() is None:
                return []
        with self.database.write() as connection:
            locks.alone(connection, ENDS)
            locked = late.where(in_hand).order_by(jobs.c.id).with_for_update(skip_locked=True)
            found = connection.execute(locked).all()
            for row in found:
                minutes = (now - row.deadline + self._allowance(row)) / 60
                error = TimedOut(
                    f"It was not done after {minutes:,.0f} minutes, which is all it may take.",
                    hint="Try again when there is less to do, or raise HANSARD_QUEUE__SOFT_FACTOR.",
                )
                cause = error.failure()
                states.note(connection, row.id, row.step, cause, owner=self.owner, now=now)
                states.end(connection, row.id, "failed", cause, now=now)
        return [row.id for row in found]

    # ── what people ask for ──────────────────────────────────────────────────────────────────

    def cancel(self, job_id: str, *, tenant: str | None = None) -> Job:
        """Stop a job; what is in hand is not recorded, what is done stays for a retry.

        Raises:
            UnknownJob: there is none, or it is another tenant's.
            InvalidState: it has ended already.
        """
        with self.database.write() as connection:
            row = states.locked(connection, job_id, tenant)
            if row.state not in OPEN_STATES:
                raise InvalidState(
                    f"Job {row.id} is {row.state}: there is nothing to cancel.",
                    hint="`hansard jobs list` shows what is open.",
                )
            states.end(connection, row.id, "cancelled", None, now=self._clock())
            return rows.job(states.row(connection, row.id))

    def retry(self, job_id: str, *, tenant: str | None = None, by: str | None = None) -> Job:
        """Take a failed or cancelled job up again, with all that was asked for and its history.

        Finished windows are kept, and the time it may take begins anew.

        Args:
            job_id: the job.
            tenant: whose it must be; ``None`` for anybody's.
            by: who asks, for the history; this worker where it is not said.

        Raises:
            UnknownJob: there is none, or it is another tenant's.
            InvalidState: it is open or completed, or a later job does the same work.
            QueueFull: as many jobs wait as may.
            QuotaUsedUp: the day of the key that it came with has no room for it.
        """
        with self.database.write() as connection:
            row = states.locked(connection, job_id, tenant)
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
            if row.recording.startswith(PLACEHOLDER):
                raise InvalidState(
                    f"Job {row.id} was stopped before anything was recorded.",
                    hint="Begin a new one.",
                )
            if row.parent is None:
                self._see_room(connection, row.key, row.seconds, taking=True)
            states.revive(connection, row, by=by or self.owner, now=self._clock())
            return rows.job(states.row(connection, row.id))

    def delete(
        self,
        tenant: str | None,
        job_id: str,
        *,
        forget: Callable[[str], None] = lambda _: None,
        discard: Callable[[str], None] = lambda _: None,
    ) -> bool:
        """Remove a job with all that hangs on it and follows it; an open one is cancelled first.

        Args:
            tenant: whose it must be; ``None`` for anybody's.
            job_id: the job.
            forget: removes the media of a recording, given its id. It is called inside the
                transaction: nobody can submit the same recording between the two.
            discard: removes the archive of a job, given its place; inside the transaction as well.

        Returns:
            Whether the recording had no other job and is gone too.

        Raises:
            UnknownJob: there is none, or it is another tenant's.
        """
        with self.database.write() as connection:
            locks.recording(connection, states.row(connection, job_id, tenant).recording)
            row = states.locked(connection, job_id, tenant)
            if row.state in OPEN_STATES:
                states.end(connection, row.id, "cancelled", None, now=self._clock())
            whole = [one.id for one in states.family(connection, row.id)]
            webhooks.forget(connection, row.id)
            place = archived.place(connection, row.id)
            connection.execute(jobs.delete().where(jobs.c.id.in_(whole)))
            if place is not None:
                discard(place)
            others = sa.select(jobs.c.id).where(jobs.c.recording == row.recording).limit(1)
            if connection.execute(others).first() is not None:
                return False
            connection.execute(recordings.delete().where(recordings.c.id == row.recording))
            forget(row.recording)
            return True

    # ── inside a transaction ─────────────────────────────────────────────────────────────────

    def _see_room(
        self,
        connection: sa.Connection,
        key: str | None = None,
        seconds: float | None = None,
        *,
        taking: bool = False,
    ) -> None:
        """That there is room for one more, and in the day of a key for its audio.

        Asked in the transaction that accepts (``taking``): of any number who ask at once, only as
        many are told yes as there is room for. They pass one after the other once half of the
        places are taken; before that, waiting for each other would only make them slow.
        """
        waiting = self._waiting(connection)
        if taking and 2 * waiting >= self.settings.capacity:
            locks.alone(connection, "places")
            waiting = claim.waiting(connection, self.settings.capacity)
        if key is not None:
            now = self._clock()
            usage.see_that_quota_is_left(connection, key, seconds or 0.0, now, deciding=taking)
        if waiting < self.settings.capacity:
            return
        raise QueueFull(
            f"{waiting:,} jobs are waiting, and no more are taken.",
            hint="Try again later; `retry_after` says when a place should be free.",
            retry_after=self._until_one_ends(connection),
        )

    def _is_roomy(self) -> bool:
        """Whether there was so much room a moment ago that nobody needs to count."""
        if self.settings.capacity >= _ROOMY and time.monotonic() >= self._roomy_until:
            with self.database.read() as connection:
                self._waiting(connection)
        return time.monotonic() < self._roomy_until

    def _waiting(self, connection: sa.Connection) -> int:
        """Jobs that wait, as far as that matters; few where there was much room a moment ago."""
        now = time.monotonic()
        if now < self._roomy_until:
            return 0
        capacity = self.settings.capacity
        waiting = claim.waiting(connection, capacity)
        if capacity >= _ROOMY and 4 * waiting < capacity:
            ended = time.monotonic()
            self._roomy_until = ended + max(_ROOMY_SECONDS, 100 * (ended - now))
        return waiting

    def _until_one_ends(self, connection: sa.Connection) -> float:
        """Seconds in which one job ends, as it went of late; a minute where none has."""
        since = self._clock() - _RECENTLY
        recent = sa.select(jobs.c.id).where(jobs.c.finished > since).limit(int(_RECENTLY))
        ended = connection.scalar(sa.select(sa.func.count()).select_from(recent.subquery())) or 0
        return max(1.0, _RECENTLY / ended) if ended else 60.0

    def _allowance(self, row: sa.Row[Any]) -> float:
        return allowance(self.settings, row.seconds)

    def _surely(self, unit: Unit, act: Callable[[bool], T]) -> T:
        return surely(f"{unit.step} of job {unit.job.id}", act, self.lease_seconds)

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
