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

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from hansard.errors import LeaseLost
from hansard.jobs import arrivals, batches, claim, rows, shares, states, webhooks
from hansard.jobs.ledger import NOBODY
from hansard.jobs.rows import Unit
from hansard.jobs.steps import LOOKS, Steps, poisoned
from hansard.model import (
    LOCAL,
    OPEN_STATES,
    Client,
    Job,
    Levels,
    Options,
    Prepared,
    Recording,
    Value,
    Window,
    WindowResult,
)
from hansard.store import locks, recordings, usage
from hansard.store.tables import jobs, windows

_FURTHER = 6
"""Times that it looks twice as far."""


# Built once: building a statement costs more than running it.
_SAME = sa.select(jobs).where(jobs.c.answers == sa.bindparam("mark")).with_for_update()
_INSERT = jobs.insert().returning(jobs)
_SUPERSEDE = jobs.update().where(jobs.c.id == sa.bindparam("old")).values(answers=None)


class Queue(Steps):
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
        now = self._clock()
        lane = rows.lane(seconds)
        asked = {"priority": priority, "seconds": seconds, "webhook": webhook}
        whose = {"tenant": client.tenant, "key": client.key, "lane": lane}
        fresh = rows.fresh(kind, recording, options) | asked | whose
        fresh |= {"id": rows.new_id(now), "step": states.first_step(kind), "created": now}
        fresh |= {
            "answers": _answers(client.tenant, fresh["identity"]),
            "levels": rows.json(levels),
        }
        fresh["request"] = None if request is None else rows.json(request)
        if arrivals.added_at_once(
            self.database,
            recordings.columns(recording),
            fresh,
            day=usage.day(now),
            half=self.settings.capacity // 2,
            roomy=self._is_roomy(),
        ):
            return rows.untouched(fresh), True
        with self.database.write() as connection:
            locks.recording(connection, recording.id)
            found = connection.execute(_SAME, {"mark": fresh["answers"]}).first()
            if found is not None and again and found.state not in OPEN_STATES:
                connection.execute(_SUPERSEDE, {"old": found.id})
                found = None
            if found is not None:
                row = self._asked_before(connection, found, client, fresh, now)
            else:
                self._see_room(connection, client.key, seconds, taking=True)
                recordings.add(connection, recording)
                shares.arrive(connection, client.tenant, lane)
                row = connection.execute(_INSERT, fresh).one()
            usage.add(connection, now, client.tenant, client.key, options.engine, calls=1)
            return rows.job(row), row.state != "completed"

    def _asked_before(
        self,
        connection: sa.Connection,
        found: sa.Row[Any],
        client: Client,
        fresh: dict[str, Any],
        now: float,
    ) -> sa.Row[Any]:
        """The job that is this very work, as it is now: taken up again where it had gone wrong."""
        if found.state in ("failed", "cancelled"):
            self._see_room(connection, client.key, found.seconds, taking=True)
            states.revive(connection, found, by=client.key or client.tenant, now=now)
        webhooks.also_tell(connection, found.id, fresh["webhook"], now=now)
        if fresh["request"] is not None and found.state != "completed":
            wanted = {"request": fresh["request"]}
            connection.execute(jobs.update().where(jobs.c.id == found.id).values(wanted))
        return states.row(connection, found.id)

    def find(self, recording: str, options: Options, client: Client = NOBODY) -> Job | None:
        """The client's job that did, does or would take up this very work, if there is one."""
        answers = _answers(client.tenant, rows.identity("transcribe", recording, options))
        with self.database.read() as connection:
            found = connection.execute(sa.select(jobs).where(jobs.c.answers == answers)).first()
        return None if found is None else rows.job(found)

    # ── claims ───────────────────────────────────────────────────────────────────────────────

    def claim_windows(self, engine: str, model: str, *, batch: int, lanes: int) -> Unit | None:
        """Up to ``batch`` windows of the most urgent job of a model, like in length.

        While a job is still being prepared and somebody is already busy with it, only a full
        batch is worth the call. Near the end the rest is shared out between ``lanes``. A batch
        that the leading job cannot fill is filled from others that decode the same way.
        """
        self._give_back_unheard()
        ahead = batch * max(batches.LOOK_AHEAD, lanes)
        for look in range(LOOKS):
            now = self._clock()
            with self.database.read(single=True) as connection:
                asked = self._asked(connection, now, self.pools)
                asked |= {"engine": engine, "model": model}
                # Others were quicker: look where not all of them look.
                most = ahead << min(look, _FURTHER)
                chosen = batches.chosen(connection, asked, batch=batch, lanes=lanes, ahead=most)
            if chosen is None:
                return None
            of = {row.job for row in chosen.rows}
            if self.reach is not None and any(not self.reach.hears(job) for job in of):
                continue
            with suppress(_Missed):
                return self._take_windows(chosen, now)
        return None

    def _take_windows(self, chosen: batches.Batch, now: float) -> Unit:
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
            begun = [job for job in sorted(open_) if not claim.is_under_way(open_[job], now)]
            if begun:
                under_way = connection.execute(claim.BEGIN, held | {"begun": begun})
                open_ |= {row.id: row for row in under_way}
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
            cause = poisoned(f"window {rows.window(row).index}").failure()
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
                if row.kind == "live":
                    states.drop_provisional(connection, unit.job.id, left=True)
                if states.may_advance(row):
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
            raise LeaseLost("The windows were taken over, or heard more surely meanwhile.")

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
