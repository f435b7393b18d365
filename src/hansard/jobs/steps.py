"""Steps of jobs: claimed by one, ended by the same; those that are a whole job, several at a time.

Preparing and finishing a recording take long, and are claimed one by one. A job that is done *at a
stroke* has one step, ``run``, and may be over in a moment: then taking it, and ending it, cost
more than the work. So a hand may take several at once, in the order in which they would have been
taken, and end them in one transaction. Each is a unit like any other: leased, fenced by its token,
noted in its own history where it goes wrong.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import sqlalchemy as sa

from hansard import telemetry
from hansard.errors import EngineDied, LeaseLost, StoreBusy, StoreGone
from hansard.jobs import claim, rows, shares, states, wanted
from hansard.jobs.ledger import ENDS, Ledger
from hansard.jobs.patience import surely
from hansard.jobs.rows import Unit
from hansard.model import SAMPLE_RATE, Job, Pool
from hansard.store import locks
from hansard.store.tables import jobs, windows

LOOKS = 64
"""Times that a claim looks before it goes away: others were quicker each time, or hold everything
that is left and do not let go of it."""

Write = Callable[[sa.Connection], None]
"""What is written in the transaction that ends a job well. It may be called more than once."""


class Steps(Ledger):
    """Claiming and ending steps. ``jobs.queue.Queue`` is the whole."""

    # ── claims ───────────────────────────────────────────────────────────────────────────────

    def claim_step(
        self, pools: Collection[Pool] | None = None, *, quick: bool = False
    ) -> Unit | None:
        """The most urgent job that is to be prepared or finished; ``None`` where there is none.

        Args:
            pools: kinds of work to choose from; the queue's own where it is not said.
            quick: only what is over soon, so that somebody has a hand free for a short note.
        """
        return next(iter(self.claim_steps(pools, quick=quick)), None)

    def claim_steps(
        self, pools: Collection[Pool] | None = None, *, quick: bool = False, most: int = 1
    ) -> list[Unit]:
        """Like :meth:`claim_step`; up to ``most`` units where the jobs are done at a stroke."""
        among = self.pools if pools is None else frozenset(pools)
        self._give_back_unheard()
        # Looked for in one transaction and taken in another: idle workers do not hold up those
        # who write. What somebody else took meanwhile is not taken again; then we look again.
        for _ in range(LOOKS):
            now = self._clock()
            with self.database.read(single=True) as connection:
                asked = self._asked(connection, now, among) | {"quick": quick}
                turns = claim.steps(connection, asked)
            if not turns:
                return []
            for place, turn in enumerate(turns):
                if turn.stroke:
                    if units := self._take_strokes(asked, turns[place:], most):
                        return units
                    continue  # all that there was is others' by now
                taken = self._take_step(asked, turn)
                if isinstance(taken, Unit):
                    return [taken]
                if taken:
                    break  # not ours, and not as it was: who is next may be another
        return []

    def _take_strokes(
        self, asked: dict[str, Any], turns: Sequence[claim.Turn], most: int
    ) -> list[Unit]:
        """Jobs of the first of some turns and, while there is room, of those like it behind it."""
        alike = list(takewhile(lambda turn: turn.stroke, turns))
        urgent = [one for one in alike if one.group.priority == turns[0].group.priority]
        held = self._held(asked["now"])
        taking: list[str] = []
        found: list[sa.Row[Any]] = []
        with self._taking(held["mark"], taking) as connection:
            if len(urgent) >= most > 1:
                # One of each, all at once; where others were quicker, one by one.
                found += self._take_eldest(connection, asked | held, urgent[:most])
                served = {row.id for row in found}
                urgent = [turn for turn in urgent if turn.eldest not in served]
            for place, turn in enumerate(urgent):
                if len(found) >= most:
                    break
                # Each its share: nobody is served sixteen times while others wait.
                share = -(-(most - len(found)) // (len(urgent) - place))
                wanted = asked | held | claim.of(turn.group) | {"wanted": share}
                taken = connection.execute(claim.TAKE_STROKES, wanted).all()
                found += sorted(taken, key=lambda row: (row.created, row.id))
            taking += [row.id for row in found]
            # Where nobody else waits for these hands, there is nobody to be fair to.
            if found and len({(turn.group.tenant, turn.group.lane) for turn in turns}) > 1:
                shares.charge(connection, _counted(found))
        return [Unit(held["mark"], row.step, rows.job(row)) for row in found]

    def _take_eldest(
        self, connection: sa.Connection, asked: dict[str, Any], turns: Sequence[claim.Turn]
    ) -> list[sa.Row[Any]]:
        """The eldest job of each turn that nobody else has by now, in the order of the turns."""
        place = {turn.eldest: number for number, turn in enumerate(turns)}
        wanted = asked | {"eldest": list(place), "wanted": len(place)}
        return sorted(connection.execute(claim.TAKE_ELDEST, wanted), key=lambda row: place[row.id])

    def release(self, units: Iterable[Unit]) -> None:
        """Give back some units, as if they had never been claimed."""
        held = list(units)
        if not held:
            return
        ids = sorted({unit.job.id for unit in held})
        tokens = {unit.token for unit in held}
        with self.database.write() as connection:
            states.lock(connection, ids)
            mine = (windows.c.token.in_(tokens), jobs.c.token.in_(tokens))
            states.let_go(connection, ids, *mine, worn=False)

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
                cause = poisoned(f"step {row.step}").failure()
                states.end(connection, row.id, "failed", cause, now=now)
                return True
            taken = connection.execute(claim.TAKE_STEP, held | {"job": row.id}).one()
        return Unit(held["mark"], row.step, rows.job(taken))

    def waiting_models(self) -> list[tuple[str, str]]:
        """Engine and model of jobs that have or will have windows to hear, urgent ones first."""
        with self.database.read() as connection:
            now = self._clock()
            found = wanted.models(connection, self._asked(connection, now, self.pools))
        return [pair for pair in found if self._left.get(pair, now) <= now]

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

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def complete_all(self, ends: Sequence[tuple[Unit, Write]]) -> list[Unit]:
        """End jobs that were done at a stroke, in one transaction; those that were ours no more.

        What one of them writes must not fail: then none is ended.
        """
        ids = sorted(unit.job.id for unit, _ in ends)

        def end(again: bool) -> list[Unit]:
            lost, mine = [], []
            with self.database.write() as connection:
                locks.beside(connection, ENDS)
                found = {row.id: row for row in states.lock(connection, ids)}
                for unit, write in ends:
                    row = found.get(unit.job.id)
                    if row is not None and row.token == unit.token and row.finished is None:
                        write(connection)
                        mine.append(row.id)
                    elif row is None or not (again and row.state == "completed"):
                        lost.append(unit)
                states.complete(connection, mine, now=self._clock())
            return lost

        return surely(f"the end of {len(ends)} jobs", end, self.lease_seconds) if ends else []

    def complete(self, unit: Unit, write: Write) -> None:
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
        if unit.step == "finish":
            _note_time(unit.job)

    def keep(self, unit: Unit, write: Write) -> None:
        """Write something that a step has found before it has ended; see :meth:`complete`.

        Raises:
            LeaseLost: the job is not ours any more, or was cancelled.
        """

        def note(_: bool) -> None:
            with self.database.write() as connection:
                self._see_that_it_is_ours(connection, unit)
                write(connection)

        self._surely(unit, note)

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


def _counted(taken: Iterable[sa.Row[Any]]) -> dict[tuple[str, str], float]:
    """What jobs that are done at a stroke count, by tenant and lane."""
    counts: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in taken:
        counts[row.tenant, row.lane] += shares.of_stroke(row.seconds)
    return counts


def _note_time(job: Job) -> None:
    """How long a recording took, and how long a second of it; of what is spoken live, nothing."""
    if job.started is None or job.prepared is None or job.kind == "live":
        return
    taken = max(0.0, time.time() - job.started)
    telemetry.record("pipeline.transcription", taken)
    telemetry.record("pipeline.factor", taken * SAMPLE_RATE / job.prepared.samples)


def poisoned(what: str) -> EngineDied:
    """That nobody survives something."""
    return EngineDied(
        f"The worker ended every time it came to {what}.",
        hint="Look at memory with `hansard doctor`; another --model may pass.",
    )
