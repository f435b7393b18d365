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
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa

from hansard.errors import EngineDied, LeaseLost, StoreBusy, StoreGone
from hansard.jobs import claim, rows, shares, states, webhooks
from hansard.jobs.ledger import NOBODY, Ledger
from hansard.jobs.rows import Unit
from hansard.model import (
    LOCAL,
    OPEN_STATES,
    Client,
    Job,
    Levels,
    Options,
    Pool,
    Prepared,
    Recording,
    Value,
    Window,
    WindowResult,
)
from hansard.store import locks, recordings, usage
from hansard.store.tables import jobs, windows

_LOOKS = 64
"""Times that a claim looks before it goes away: others were quicker each time, or hold everything
that is left and do not let go of it."""

_FURTHER = 6
"""Times that it looks twice as far."""


class Queue(Ledger):
    """Submit, claim, record, finish. Every method is one short transaction."""

    # ── in ───────────────────────────────────────────────────────────────────────────────────

    def submit(
        self,
        recording: Recording,
        options: Options,
        levels: Levels,
        *,
        priority: int = 5,
        again: bool = False,
        client: Client = NOBODY,
        seconds: float | None = None,
        webhook: str | None = None,
        kind: str = "transcribe",
        request: Value | None = None,
    ) -> tuple[Job, bool]:
        """Add a job, or find the client's job that is this very work already.

        A failed or cancelled one is taken up again where it stood. ``request`` is what is wanted
        of the jobs that follow it.

        Returns:
            The job, and whether anything is left to be done for it.

        Raises:
            QueueFull, QuotaUsedUp: there is no room for it; nothing was written.
        """
        answers = _answers(client.tenant, rows.identity(kind, recording.id, options))
        now = self._clock()
        with self.database.write() as connection:
            locks.recording(connection, recording.id)
            same = sa.select(jobs).where(jobs.c.answers == answers).with_for_update()
            found = connection.execute(same).first()
            if found is not None and again and found.state not in OPEN_STATES:
                superseded = jobs.update().where(jobs.c.id == found.id).values(answers=None)
                connection.execute(superseded)
                found = None
            if found is not None:
                job, left = found.id, found.state != "completed"
                if found.state in ("failed", "cancelled"):
                    self._see_room(connection, client.key, found.seconds, taking=True)
                    states.revive(connection, found, by=client.key or client.tenant, now=now)
                webhooks.also_tell(connection, job, webhook, now=now)
                if request is not None and left:
                    wanted = {"request": rows.json(request)}
                    connection.execute(jobs.update().where(jobs.c.id == job).values(wanted))
            else:
                self._see_room(connection, client.key, seconds, taking=True)
                recordings.add(connection, recording)
                lane = rows.lane(seconds)
                shares.arrive(connection, client.tenant, lane)
                job, left = rows.new_id(now), True
                asked = {"priority": priority, "seconds": seconds, "webhook": webhook}
                whose = {"tenant": client.tenant, "key": client.key, "lane": lane}
                fresh = rows.fresh(kind, recording, options) | asked | whose
                fresh |= {"id": job, "step": states.first_step(kind), "answers": answers}
                fresh |= {"levels": rows.json(levels), "created": now}
                fresh["request"] = None if request is None else rows.json(request)
                connection.execute(jobs.insert().values(fresh))
            row = rows.job(states.row(connection, job))
            usage.add(connection, now, client.tenant, client.key, options.engine, calls=1)
            return row, left

    def find(self, recording: str, options: Options, client: Client = NOBODY) -> Job | None:
        """The client's job that did, does or would take up this very work, if there is one."""
        answers = _answers(client.tenant, rows.identity("transcribe", recording, options))
        with self.database.read() as connection:
            found = connection.execute(sa.select(jobs).where(jobs.c.answers == answers)).first()
        return None if found is None else rows.job(found)

    # ── claims ───────────────────────────────────────────────────────────────────────────────

    def claim_step(
        self, pools: Collection[Pool] | None = None, *, quick: bool = False
    ) -> Unit | None:
        """The most urgent job that is to be prepared or finished; ``None`` where there is none.

        Args:
            pools: kinds of work to choose from; the queue's own where it is not said.
            quick: only what is over soon, so that somebody has a hand free for a short note.
        """
        among = self.pools if pools is None else frozenset(pools)
        self._give_back_unheard()
        # Looked for in one transaction and taken in another: idle workers do not hold up those
        # who write. What somebody else took meanwhile is not taken again; then we look again.
        for _ in range(_LOOKS):
            now = self._clock()
            with self.database.read() as connection:
                asked = self._asked(connection, now, among) | {"quick": quick}
                turns = claim.steps(connection, asked)
            if not turns:
                return None
            for turn in turns:
                taken = self._take_step(asked, turn)
                if isinstance(taken, Unit):
                    return taken
                if taken:
                    break  # not ours, and not as it was: who is next may be another
        return None

    def _take_step(self, asked: dict[str, Any], turn: claim.Turn) -> Unit | bool:
        """The unit; or else whether something has changed."""
        now = asked["now"]
        held = self._held(now)
        taking: list[str] = []
        with self._taking(held["mark"], taking) as connection:
            row = claim.step(connection, asked, turn)
            if row is None:
                return False  # others are taking all that there was
            taking.append(row.id)
            if self.reach is not None and not turn.ends and not self.reach.has(row):
                return True
            if row.token is not None:
                states.note_worn(connection, row.id, row.step, owner=row.owner, now=now)
            if row.attempt >= self.attempts:
                cause = _poisoned(f"step {row.step}").failure()
                states.end(connection, row.id, "failed", cause, now=now)
                return True
            taken = connection.execute(claim.TAKE_STEP, held | {"job": row.id}).one()
        return Unit(held["mark"], row.step, rows.job(taken))

    def waiting_models(self) -> list[tuple[str, str]]:
        """Engine and model of jobs that have or will have windows to hear, urgent ones first."""
        with self.database.read() as connection:
            return claim.models(connection, self._asked(connection, self._clock(), self.pools))

    def claim_windows(self, engine: str, model: str, *, batch: int, lanes: int) -> Unit | None:
        """Up to ``batch`` windows of the most urgent job of a model, like in length.

        While a job is still being prepared and somebody is already busy with it, only a full
        batch is worth the call. Near the end the rest is shared out between ``lanes``. A batch
        that the leading job cannot fill is filled from others that decode the same way.
        """
        self._give_back_unheard()
        ahead = batch * max(claim.LOOK_AHEAD, lanes)
        for look in range(_LOOKS):
            now = self._clock()
            with self.database.read() as connection:
                asked = self._asked(connection, now, self.pools)
                asked |= {"engine": engine, "model": model}
                # Others were quicker: look where not all of them look.
                most = ahead << min(look, _FURTHER)
                chosen = claim.batch(connection, asked, batch=batch, lanes=lanes, ahead=most)
            if chosen is None:
                return None
            of = {row.job for row in chosen.rows}
            if self.reach is not None and any(not self.reach.hears(job) for job in of):
                continue
            with suppress(_Missed):
                return self._take_windows(chosen, now)
        return None

    def _take_windows(self, chosen: claim.Batch, now: float) -> Unit:
        """The best of some windows, as far as nobody was quicker.

        Raises:
            _Missed: none was left, or one of them nobody survives; nothing was taken.
        """
        hopeless = next((row for row in chosen.best if row.attempt >= self.attempts), None)
        if hopeless is not None:
            self._give_up(hopeless, now)
            raise _Missed
        held = self._held(now)
        # That a worker did not come back with a window is noted in the history: that is rare, and
        # done alone. Otherwise only what simply waits is taken.
        worn = any(row.token is not None for row in chosen.best)
        able = chosen.best if worn else [r for r in chosen.rows if self._is_fresh(r)]
        ids = sorted({row.job for row in able})
        with self._taking(held["mark"], ids) as connection:
            if worn:
                found = states.lock(connection, ids)
            else:
                found = list(connection.execute(states.HOLD, {"ids": ids}))
            open_ = {row.id: row for row in found if row.finished is None}
            for job in sorted(open_):
                if not claim.is_under_way(open_[job], now):
                    open_[job] = connection.execute(claim.BEGIN, held | {"job": job}).one()
            wanted = {
                "windows": [row.id for row in able],
                "jobs": list(open_),
                "lead": chosen.lead,
                "about": chosen.samples,
                "wanted": chosen.wanted,
            }
            taken = set(connection.scalars(claim.TAKE_WINDOWS, held | wanted))
            if not taken:
                raise _Missed
            mine = [row for row in able if row.id in taken]
            for job, owner in sorted({(r.job, r.owner) for r in mine if r.token is not None}):
                states.note_worn(connection, job, "listen", owner=owner, now=now)
            owners = {job: rows.job(row) for job, row in open_.items()}
            parts = tuple(rows.part(row, owners[row.job]) for row in mine)
            shares.charge(connection, _seconds(parts))
        return Unit(held["mark"], "listen", parts[0].job, parts)

    @contextmanager
    def _taking(self, mark: str, ids: list[str]) -> Iterator[sa.Connection]:
        """A transaction that takes something of these jobs under a token.

        Should the store go away at its end, it may have been taken, and nobody knows of it.
        """
        try:
            with self.database.write(lasting=False, silent=True) as connection:
                yield connection
        except (StoreGone, StoreBusy):
            if ids:
                self._unheard.append((mark, ids))
            raise

    def _give_back_unheard(self) -> None:
        """What was taken without our ever hearing of it, as if it had never been."""
        while True:
            try:
                mark, ids = self._unheard.pop()
            except IndexError:
                return
            with self._taking(mark, ids) as connection:
                states.lock(connection, sorted(ids))
                theirs = (windows.c.token == mark, jobs.c.token == mark)
                states.let_go(connection, ids, *theirs, worn=False)

    def _is_fresh(self, row: sa.Row[Any]) -> bool:
        """Whether a window simply waits."""
        return row.token is None and row.attempt < self.attempts

    def _give_up(self, row: sa.Row[Any], now: float) -> None:
        """A window that nobody survived fails its job."""
        with self.database.write(lasting=False, silent=True) as connection:
            job = next(iter(states.lock(connection, [row.job])), None)
            still = sa.select(windows.c.id).where(windows.c.id == row.id, claim.IS_FREE_WINDOW)
            if job is None or job.finished is not None:
                return
            if connection.execute(still, {"now": now}).first() is None:
                return
            if row.token is not None:
                states.note_worn(connection, job.id, "listen", owner=row.owner, now=now)
            cause = _poisoned(f"window {rows.window(row).index}").failure()
            states.end(connection, job.id, "failed", cause, now=now)

    def renew(self, units: Iterable[Unit]) -> None:
        """Move the deadlines of what is in hand, as far as it is still ours.

        What somebody has locked is left: it comes again before the lease is over.
        """
        held = list(units)
        if not held:
            return
        by = {"tokens": [unit.token for unit in held], "until": self._clock() + self.lease_seconds}
        of_jobs = [unit.job.id for unit in held if not unit.parts]
        of_windows = [part.id for unit in held for part in unit.parts]
        with self.database.write(lasting=False, silent=True) as connection:
            for statement, ids in ((claim.RENEW_JOBS, of_jobs), (claim.RENEW_WINDOWS, of_windows)):
                if ids:
                    connection.execute(statement, by | {"ids": ids})

    # ── progress of a step ───────────────────────────────────────────────────────────────────

    def add_windows(
        self, unit: Unit, planned: Sequence[Window], *, position: int, hearing: int = 0
    ) -> None:
        """Write planned windows: the checkpoint. Those that are there already stay as they are.

        Raises:
            LeaseLost: the job is not ours any more, or was cancelled.
        """

        def add(_: bool) -> None:
            with self.database.write(lasting=False) as connection:
                self._hold(connection, unit, {"position": position})
                states.plan(connection, unit.job.id, planned, hearing)

        self._surely(unit, add)

    def end_prepare(self, unit: Unit, prepared: Prepared) -> None:
        """All windows are written: the job is listened to, or finished where that is done.

        Raises:
            LeaseLost: the job is not ours any more, or was cancelled.
        """
        values = {
            "prepared": rows.json(prepared),
            "position": prepared.samples,
            "step": "listen",
            "attempt": 0,
            **rows.NOBODYS,
        }

        def end(again: bool) -> None:
            with self.database.write(lasting=False) as connection:
                row = self._mine(connection, unit)
                if again and row.step != "prepare" and row.prepared == values["prepared"]:
                    return
                self._hold(connection, unit, values)
                states.drop_provisional(connection, unit.job.id, left=True)
                states.advance(connection, unit.job.id)

        self._surely(unit, end)

    def set_language(self, job: str, language: str) -> str:
        """Fix a job's language; whoever detects it first decides. Returns the one in force.

        Raises:
            UnknownJob: it was deleted meanwhile.
        """
        with self.database.write(lasting=False) as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job, jobs.c.language.is_(None))
                .values(language=language)
            )
            return str(states.row(connection, job).language)

    def record(self, unit: Unit, results: Sequence[WindowResult]) -> None:
        """Write what was heard. What somebody else took over meanwhile is left to them.

        To write the same twice is not an error: the answer to the first time may have been lost.

        Raises:
            LeaseLost: nothing of the unit was still ours.
        """

        def write(_: bool) -> int:
            with self.database.write() as connection:
                now = self._clock()
                return states.record(connection, unit.parts, unit.token, results, now)

        if not self._surely(unit, write):
            raise LeaseLost("The windows were taken over by another worker.")

    def listen_again(self, unit: Unit, planned: Sequence[Window]) -> None:
        """From finishing back to listening: a second look at some windows.

        Raises:
            LeaseLost: the job is not ours any more, or was cancelled.
        """

        def back(again: bool) -> None:
            with self.database.write() as connection:
                row = self._mine(connection, unit)
                if again and row.token != unit.token and states.has_second(connection, row.id):
                    return
                values = {"step": "listen", "attempt": 0, **rows.NOBODYS}
                self._hold(connection, unit, values)
                states.plan(connection, unit.job.id, planned, 1)
                states.advance(connection, unit.job.id)

        self._surely(unit, back)

    def keep(self, unit: Unit, write: Callable[[sa.Connection], None]) -> None:
        """Write something that a step has found before it has ended; see :meth:`complete`.

        Raises:
            LeaseLost: the job is not ours any more, or was cancelled.
        """

        def note(_: bool) -> None:
            with self.database.write() as connection:
                self._see_that_it_is_ours(connection, unit)
                write(connection)

        self._surely(unit, note)

    def complete(self, unit: Unit, write: Callable[[sa.Connection], None]) -> None:
        """End a job well; ``write`` adds the transcript in the same transaction.

        It is called again where the store goes away in its middle.

        Raises:
            LeaseLost: the job is not ours any more, or was cancelled.
        """

        def end(again: bool) -> None:
            with self.database.write() as connection:
                if again and self._mine(connection, unit).state == "completed":
                    return
                self._see_that_it_is_ours(connection, unit)
                write(connection)
                states.end(connection, unit.job.id, "completed", None, now=self._clock())

        self._surely(unit, end)

    # ── inside a transaction ─────────────────────────────────────────────────────────────────

    def _held(self, now: float) -> dict[str, Any]:
        """What a claim writes, under the names that ``claim`` has for it."""
        return {
            "now": now,
            "by": self.owner,
            "mark": secrets.token_hex(16),
            "until": now + self.lease_seconds,
            "soft_seconds": self.settings.soft_seconds,
            "soft_factor": self.settings.soft_factor,
        }

    def _asked(
        self, connection: sa.Connection, now: float, pools: Collection[Pool]
    ) -> dict[str, Any]:
        """What every claim asks with."""
        elsewhere = [] if self.reach is None else self.reach.elsewhere(connection, now)
        return {"now": now, "pools": list(pools), "elsewhere": elsewhere}

    def _mine(self, connection: sa.Connection, unit: Unit) -> sa.Row[Any]:
        """The locked row of a job whose step is in our hands, or was.

        Raises:
            LeaseLost: it was deleted.
        """
        # What follows another writes about that one: it must not go meanwhile.
        wanted = [name for name in (unit.job.parent, unit.job.id) if name is not None]
        found = {row.id: row for row in states.lock(connection, wanted)}
        if len(found) < len(wanted):
            raise LeaseLost(f"Job {unit.job.id} was deleted.")
        return found[unit.job.id]

    def _see_that_it_is_ours(self, connection: sa.Connection, unit: Unit) -> None:
        row = self._mine(connection, unit)
        if row.token != unit.token or row.finished is not None:
            raise LeaseLost(f"Job {unit.job.id} was cancelled or taken over.")


class _Missed(Exception):
    """Others were quicker; what was begun is undone."""


def _seconds(parts: Iterable[rows.Part]) -> dict[tuple[str, str], float]:
    """Seconds of audio by tenant and lane."""
    taken: defaultdict[tuple[str, str], float] = defaultdict(float)
    for part in parts:
        taken[part.job.tenant, part.job.lane] += part.window.seconds
    return taken


def _answers(tenant: str, identity: str) -> str:
    """What is unique: a tenant must not even learn that another has the same recording."""
    return identity if tenant == LOCAL else rows.digest(tenant, identity)


def _poisoned(what: str) -> EngineDied:
    return EngineDied(
        f"The worker ended every time it came to {what}.",
        hint="Look at memory with `hansard doctor`; another --model may pass.",
    )
