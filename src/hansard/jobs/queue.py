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
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from hansard.errors import EngineDied, LeaseLost
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
    Window,
    WindowResult,
)
from hansard.store import recordings, usage
from hansard.store.tables import jobs, windows


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
    ) -> tuple[Job, bool]:
        """Add a job, or find the client's job that is this very work already.

        A failed or cancelled one is taken up again where it stood.

        Returns:
            The job, and whether anything is left to be done for it.

        Raises:
            QueueFull, QuotaUsedUp: there is no room for it; nothing was written.
        """
        answers = _answers(client.tenant, rows.identity(kind, recording.id, options))
        now = self._clock()
        with self.database.write() as connection:
            usage.add(connection, now, client.tenant, client.key, options.engine, calls=1)
            found = connection.execute(sa.select(jobs).where(jobs.c.answers == answers)).first()
            if found is not None and again and found.state not in OPEN_STATES:
                connection.execute(jobs.update().where(jobs.c.id == found.id).values(answers=None))
                found = None
            if found is not None:
                if found.state in ("failed", "cancelled"):
                    self._see_room(connection, client.key, found.seconds)
                    states.revive(connection, found, by=client.key or client.tenant, now=now)
                webhooks.also_tell(connection, found.id, webhook, now=now)
                return rows.job(states.row(connection, found.id)), found.state != "completed"
            self._see_room(connection, client.key, seconds)
            recordings.add(connection, recording)
            lane = rows.lane(seconds)
            shares.arrive(connection, client.tenant, lane)
            job_id = rows.new_id(now)
            connection.execute(
                jobs.insert().values(
                    **rows.fresh(kind, recording, options),
                    id=job_id,
                    step=states.first_step(kind),
                    priority=priority,
                    answers=answers,
                    levels=rows.json(levels),
                    created=now,
                    tenant=client.tenant,
                    key=client.key,
                    lane=lane,
                    seconds=seconds,
                    webhook=webhook,
                )
            )
            return rows.job(states.row(connection, job_id)), True

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
        # Looked for in one transaction and taken in another: idle workers do not hold up those
        # who write. What somebody else took meanwhile is not taken again; then we look again.
        while True:
            now = self._clock()
            with self.database.read() as connection:
                row = claim.step(connection, now, among, quick=quick)
            if row is None:
                return None
            held = self._held(now)
            with self.database.write(lasting=False, silent=True) as connection:
                as_it_was = {"job": row.id, "was_step": row.step, "was_attempt": row.attempt}
                taken = connection.execute(claim.TAKE_STEP, held | as_it_was).first()
                if taken is None:
                    continue
                if row.token is not None:
                    states.note_worn(connection, row.id, row.step, owner=row.owner, now=now)
                if row.attempt >= self.attempts:
                    cause = _poisoned(f"step {row.step}").failure()
                    states.end(connection, row.id, "failed", cause, now=now)
                    continue
            return Unit(held["mark"], row.step, rows.job(taken))

    def waiting_models(self) -> list[tuple[str, str]]:
        """Engine and model of jobs that have or will have windows to hear, urgent ones first."""
        with self.database.read() as connection:
            return claim.models(connection, self._clock(), self.pools)

    def claim_windows(self, engine: str, model: str, *, batch: int, lanes: int) -> Unit | None:
        """Up to ``batch`` windows of the most urgent job of a model, like in length.

        While a job is still being prepared and somebody is already busy with it, only a full
        batch is worth the call. Near the end the rest is shared out between ``lanes``. A batch
        that the leading job cannot fill is filled from others that decode the same way.
        """
        while True:
            now = self._clock()
            with self.database.read() as connection:
                chosen = claim.batch(
                    connection, engine, model, batch=batch, lanes=lanes, now=now, pools=self.pools
                )
            if not chosen:
                return None
            held = self._held(now)
            with self.database.write(lasting=False, silent=True) as connection:
                wanted = {"windows": [row.id for row in chosen]}
                taken = set(connection.scalars(claim.TAKE_WINDOWS, held | wanted))
                chosen = [row for row in chosen if row.id in taken]
                if chosen and self._take(connection, chosen, now):
                    names = {"jobs": list({row.job for row in chosen})}
                    begun = connection.execute(claim.BEGIN, held | names)
                    owners = {row.id: rows.job(row) for row in begun}
                    parts = tuple(rows.part(row, owners[row.job]) for row in chosen)
                    shares.charge(connection, _seconds(parts))
                    return Unit(held["mark"], "listen", parts[0].job, parts)

    def renew(self, tokens: Iterable[str]) -> None:
        """Move the deadlines of what is in hand."""
        held = list(tokens)
        until = self._clock() + self.lease_seconds
        with self.database.write(lasting=False, silent=True) as connection:
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
        with self.database.write(lasting=False) as connection:
            self._hold(connection, unit, {"position": position})
            states.plan(connection, unit.job.id, planned, hearing)

    def end_prepare(self, unit: Unit, prepared: Prepared) -> None:
        """All windows are written: the job is listened to, or finished where that is done."""
        with self.database.write(lasting=False) as connection:
            values = {
                "prepared": rows.json(prepared),
                "position": prepared.samples,
                "step": "listen",
                "attempt": 0,
                **rows.NOBODYS,
            }
            self._hold(connection, unit, values)
            states.drop_provisional(connection, unit.job.id, left=True)
            states.advance(connection, unit.job.id)

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

        Raises:
            LeaseLost: nothing of the unit was still ours.
        """
        written = 0
        with self.database.write() as connection:
            now = self._clock()
            for part, result in zip(unit.parts, results, strict=True):
                written += states.record(connection, part, unit.token, result, now)
            for job in {part.job.id for part in unit.parts}:
                states.advance(connection, job)
        if not written:
            raise LeaseLost("The windows were taken over by another worker.")

    def listen_again(self, unit: Unit, planned: Sequence[Window]) -> None:
        """From finishing back to listening: a second look at some windows."""
        with self.database.write() as connection:
            values = {"step": "listen", "attempt": 0, **rows.NOBODYS}
            self._hold(connection, unit, values)
            states.plan(connection, unit.job.id, planned, 1)
            states.advance(connection, unit.job.id)

    def complete(self, unit: Unit, write: Callable[[sa.Connection], None]) -> None:
        """End a job well; ``write`` adds the transcript in the same transaction."""
        with self.database.write() as connection:
            self._hold(connection, unit, {})
            write(connection)
            states.end(connection, unit.job.id, "completed", None, now=self._clock())

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

    def _take(self, connection: sa.Connection, chosen: Sequence[sa.Row[Any]], now: float) -> bool:
        """Whether windows are fit to be heard; one that nobody survived fails its job."""
        for job, owner in {(row.job, row.owner) for row in chosen if row.token is not None}:
            states.note_worn(connection, job, "listen", owner=owner, now=now)
        worn = next((row for row in chosen if row.attempt >= self.attempts), None)
        if worn is not None:
            cause = _poisoned(f"window {rows.window(worn).index}").failure()
            states.end(connection, worn.job, "failed", cause, now=now)
            tokens = windows.c.id.in_([row.id for row in chosen])
            states.let_go(connection, tokens, sa.false(), worn=False)
        return worn is None


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
