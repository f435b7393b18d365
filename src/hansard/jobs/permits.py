"""Permits: messages that say "there is work in this pool", and nothing else.

The job table is the truth. A permit names no job, so it may be lost, doubled, late or out of order
without any harm: whoever receives one looks into the table. Permits are published when work comes
in, a few at a time however much it is, and by *rounds*: every few seconds one process of all that
share the store counts the work that nobody has in hand, and brings the queue up to that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import sqlalchemy as sa

from hansard.errors import HansardError
from hansard.jobs.claim import IS_FREE_STEP, IS_FREE_WINDOW
from hansard.jobs.queue import Queue
from hansard.jobs.worker import Crew
from hansard.model import POOL_NAMES, Job, Pool
from hansard.store import buckets
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, jobs, windows

_log = logging.getLogger("hansard.delivery")

MOST = 100
"""Permits that wait in a queue at the most: whoever counts them learns no more from more."""

_GAP = 0.05
"""Seconds between two announcements of one process: a burst of submissions needs few permits, and
who received the first tells of what is left."""

_PAUSE = 1.0
"""Seconds between two tries to reach a broker that has gone."""

_TURN = "delivery.round"
"""The bucket whose one token is the turn to make a round."""

_SHIFT = 30.0
"""Seconds for which a permit is held at the most: far less than any broker waits for an answer."""

_LOOK = 0.05
"""Seconds between two looks whether a permit is still worth holding."""


class Broker(Protocol):
    """Where permits go."""

    def permit(self, pool: Pool) -> None:
        """Publish one.

        Raises:
            BrokerGone: nobody has it.
        """
        ...

    def waiting(self, pool: Pool) -> int:
        """Permits that nobody has received yet.

        Raises:
            BrokerGone: it does not say.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


# ── what is there to do ──────────────────────────────────────────────────────────────────────

_POOL = sa.bindparam("of_pool", type_=sa.Text)
_MOST_OF = sa.bindparam("most", type_=sa.Integer)

_FREE = sa.select(
    sa.select(sa.func.count())
    .select_from(
        sa.select(jobs.c.id)
        .where(jobs.c.pool == _POOL, jobs.c.step.not_in(("record", "listen")), IS_FREE_STEP)
        .limit(_MOST_OF)
        .subquery()
    )
    .scalar_subquery()
    + sa.select(sa.func.count())
    .select_from(
        sa.select(windows.c.id)
        .where(
            IS_FREE_WINDOW,
            windows.c.job == jobs.c.id,
            IS_OPEN,
            jobs.c.pool == _POOL,
            jobs.c.not_before <= sa.bindparam("now", type_=sa.Double),
        )
        .limit(_MOST_OF)
        .subquery()
    )
    .scalar_subquery()
)


def free(database: Database, pool: Pool, *, most: int = MOST) -> int:
    """Units of a pool that nobody has in hand, up to ``most``; those of dead workers among them."""
    asked = {"of_pool": pool, "most": most, "now": time.time()}
    with database.read() as connection:
        return min(most, int(connection.scalar(_FREE, asked) or 0))


# ── publishing ───────────────────────────────────────────────────────────────────────────────


class Permits:
    """Publishes permits, in a thread of its own: nobody waits for a broker, or fails with it."""

    def __init__(self, database: Database, broker: Callable[[], Broker], every: float) -> None:
        """Get ready.

        Args:
            database: where the work is.
            broker: opens the broker; called in the thread, when it is first needed.
            every: seconds between two rounds, over all processes.
        """
        self.database = database
        self._open = broker
        self._every = every
        self._broker: Broker | None = None
        self._wanted = threading.Condition()
        self._pools: set[Pool] = set()
        self._rounds = False
        self._due = 0.0
        """When to ask for the turn again, by the monotonic clock."""
        self._closing = False
        self._thread: threading.Thread | None = None
        self._silent = False
        """The broker is gone, and that was said."""

    def say(self, pool: Pool) -> None:
        """There may be work in a pool. Returns at once."""
        with self._wanted:
            self._pools.add(pool)
            self._begin()
            self._wanted.notify()

    def queue(self, *args: Any, **kwargs: Any) -> Queue:
        """A queue whose work is told of."""
        return Announcing(*args, announce=self.say, **kwargs)

    def keep_round(self) -> None:
        """From now on make rounds, whenever it is this process's turn."""
        with self._wanted:
            self._rounds = True
            self._begin()
            self._wanted.notify()

    def pass_on(self, pool: Pool) -> None:
        """Tell of what is left in a pool, if anything is."""
        if free(self.database, pool, most=1):
            self.say(pool)

    def look(self) -> None:
        """Make a round now, if it is anybody's turn."""
        with self._wanted:
            self._due = 0.0
            self._wanted.notify()

    def close(self, patience: float = 5.0) -> None:
        """Say what is still to be said, and let go."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
            thread = self._thread
        if thread is not None:
            thread.join(patience)

    def _begin(self) -> None:
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._speak, name="hansard-permits", daemon=True)
            self._thread.start()

    def _speak(self) -> None:
        while True:
            with self._wanted:
                self._wanted.wait_for(self._has_something_to_do, self._until_due())
                pools, self._pools = self._pools, set()
                if self._closing and not pools:
                    break
            pause = _GAP
            try:
                self._do(pools)
            except HansardError as error:
                self._due = time.monotonic() + _PAUSE
                self._say_that_it_is_gone(error)
                pause = _PAUSE
            with self._wanted:
                self._wanted.wait_for(lambda: self._closing, pause)
        if self._broker is not None:
            self._broker.close()

    def _until_due(self) -> float | None:
        return max(0.0, self._due - time.monotonic()) if self._rounds else None

    def _has_something_to_do(self) -> bool:
        return bool(self._pools) or self._closing or self._until_due() == 0.0

    def _do(self, pools: set[Pool]) -> None:
        if self._broker is None:
            self._broker = self._open()
        for pool in pools:
            self._broker.permit(pool)
        if self._until_due() == 0.0:
            self._due = time.monotonic() + self._round(self._broker)
        if self._silent:
            self._silent = False
            _log.warning("the broker is back")

    def _round(self, broker: Broker) -> float:
        """Publish what is missing, if it is our turn; seconds until it may be again."""
        draw = buckets.take(self.database, _TURN, 1, rate=1 / self._every, burst=1)
        if draw.wait:
            return draw.wait
        try:
            for pool in POOL_NAMES:
                there = free(self.database, pool)
                if there:
                    for _ in range(there - broker.waiting(pool)):
                        broker.permit(pool)
        except HansardError:
            buckets.give_back(self.database, _TURN, 1, burst=1)  # somebody else may reach it
            raise
        return self._every

    def _say_that_it_is_gone(self, error: HansardError) -> None:
        if not self._silent:
            self._silent = True
            _log.error("%s %s", error.message, error.hint or "")


class Announcing(Queue):
    """A queue that tells of work as it comes in, once it is committed."""

    def __init__(self, *args: Any, announce: Callable[[Pool], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._announce = announce

    def submit(self, *args: Any, **kwargs: Any) -> tuple[Job, bool]:
        """See :meth:`Queue.submit`."""
        job, left = super().submit(*args, **kwargs)
        if left:
            self._announce(job.pool)
        return job, left

    def retry(self, job_id: str, *, tenant: str | None = None, by: str | None = None) -> Job:
        """See :meth:`Ledger.retry`."""
        job = super().retry(job_id, tenant=tenant, by=by)
        self._announce(job.pool)
        return job


# ── receiving ────────────────────────────────────────────────────────────────────────────────


class Shifts:
    """What a worker does with permits: it holds one for each unit that its crew has in hand.

    The crew pulls by itself, as it does without a broker: engines stay loaded, lanes and batches
    are what they are. A permit that comes while others' commits are heard wakes nobody, because
    the commit has. So a unit costs one wake-up and no message; what is held counts, for whoever
    inspects the worker, and what is left in the queue is work that nobody has a hand free for.
    """

    def __init__(self, crew: Crew, permits: Permits) -> None:
        self._crew = crew
        self._permits = permits
        self._guard = threading.Lock()
        self._held: dict[Pool, int] = {}

    def work(self, pool: Pool) -> None:
        """Hold a permit for as long as there is a unit in hand for it; then tell of the rest."""
        crew = self._crew
        if crew.pause() or pool not in crew.pools:
            return
        with self._guard:
            self._held[pool] = self._held.get(pool, 0) + 1
        try:
            if not crew.hands_of(pool)[0] and not self._permits.database.hears:
                self._permits.database.ring()
            self._hold(pool)
        finally:
            with self._guard:
                self._held[pool] -= 1

    def _hold(self, pool: Pool) -> None:
        crew = self._crew
        begun = time.monotonic()
        first, before = True, crew.hands_of(pool)[1]
        while not crew.pause(_LOOK):
            now, taken = crew.hands_of(pool)
            with self._guard:
                spare = self._held[pool] > now
            if spare and taken == before:
                return
            if first and not self._permits.database.hears:
                self._permits.pass_on(pool)  # others have not heard of what is left
            if time.monotonic() - begun >= _SHIFT:
                break
            first, before = False, taken
        self._permits.pass_on(pool)
