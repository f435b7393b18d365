"""Who does the work: threads that pull units from the queue until they are told to stop.

Two threads for each pool take *steps* (preparing, finishing, what is done at a stroke): one
whatever there is, the other only what is over soon, so that a short note does not wait for a long
hearing to be prepared. For each engine and model that jobs ask for, as many *lanes* as the engine
has take windows. A watcher renews leases, ends what takes too long, frees what dead workers held,
and opens lanes. Nothing is pushed: a thread without work sleeps on the store's bell.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from hansard import telemetry
from hansard.errors import HansardError, LeaseLost
from hansard.jobs.armful import Armful, Looks, Pace
from hansard.jobs.limits import unit_limit
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.steps import Write
from hansard.jobs.unit import StepHandler, traces_of_others, unexpected, work_once
from hansard.model import POOLS, Pool, Step, Value
from hansard.pressure import Pressure
from hansard.store.database import FEW

_log = logging.getLogger("hansard.worker")

_NAP = 0.5
"""Seconds between looks at a store that another process may have changed. Changes made in this
process ring the bell. Of a crowd all together look as often as a few would."""

_BREATH = 0.1
"""Seconds between two looks for models that are wanted, however often the bell rings."""

_ROUND = 2.0
"""Seconds between looks for workers that died."""

_NICENESS = 10

HANDS = 2
"""Threads that take steps, of each pool: one any, one only what is over soon."""

Kinds = Mapping[str, Mapping[Step, StepHandler]]
"""Kind of job → its steps → who does them."""


class Listener(Value, frozen=True):
    """A loaded model, as the worker sees it: how many lanes, how large a batch, what to call."""

    lanes: int
    batch: int
    listen: Callable[[Unit], None]


Listeners = Callable[[str, str], AbstractContextManager[Listener]]
"""Engine and model → the listener, for as long as the context lasts. May take long to enter."""


@dataclass(slots=True)
class _InHand:
    """A unit that somebody in this process works on. Times are monotonic seconds."""

    unit: Unit
    since: float
    limit: float
    given_up: bool = False
    hung: bool = False


def _written(write: Write, _: Unit) -> Write:
    return write


def _say_that_it_hangs(unit: Unit) -> None:
    _log.critical("%s of job %s hangs, and cannot be interrupted", unit.step, unit.job.id)


def _be_nice() -> None:
    """Let the engines go first: preparing a long recording runs far ahead of them anyway."""
    if sys.platform == "linux":  # where threads have a priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class Crew:
    """The working threads of one process."""

    def __init__(
        self,
        queue: Queue,
        kinds: Kinds,
        listeners: Listeners,
        *,
        tidy: Callable[[], None] = lambda: None,
        hung: Callable[[Unit], None] = _say_that_it_hangs,
        broken: Callable[[], None] = lambda: None,
        pools: Collection[Pool] | None = None,
        hands: int | None = None,
        pressure: Pressure | None = None,
        waits: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Get ready; :meth:`start` begins.

        Args:
            queue: where the work is.
            kinds: who does the steps of each kind of job.
            listeners: who hears windows.
            tidy: called now and then; it frees what dead workers held.
            hung: told of a unit that nothing comes of any more. A native call cannot be
                interrupted: only ending the process helps.
            broken: told that one of the threads has ended by a fault of ours: leases may be renewed
                no more, or a pool be served by nobody.
            pools: kinds of work that are done here; those of ``queue`` where it is not said.
            hands: threads that take steps, of each pool; the last is for what is over soon.
            pressure: the memory; looked at by the watcher, and heeded by all who take work.
            waits: whether nothing is taken while memory is short.
            clock: monotonic seconds.
        """
        self._queue = queue
        self._kinds = kinds
        self._listeners = listeners
        self._tidy = tidy
        self._hung = hung
        self._broken = broken
        mine = {POOLS[kind] for kind in kinds}
        self._pools = sorted(mine.intersection(queue.pools if pools is None else pools))
        self._hands = hands or HANDS
        self._pressure, self._waits = pressure, waits
        self._clock = clock
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._in_hand: dict[tuple[str, str], _InHand] = {}
        self._armfuls: set[Armful] = set()
        self._turns = {pool: (threading.Lock(), Looks()) for pool in self._pools}
        """Of hands that do nothing one looks for work: all would find the same."""
        self._taken: Counter[Pool] = Counter()
        self._open_lanes: set[tuple[str, str]] = set()
        self._threads: list[threading.Thread] = []
        self.trouble: HansardError | None = None
        """The store can no longer be used, and asking again does not help: a full disk."""

    def start(self) -> None:
        """Begin to pull, also what other processes submit."""
        self._queue.database.watch()
        for pool in self._pools:
            for number in range(1, self._hands + 1):
                quick = number == self._hands > 1
                name = f"{pool}-quick" if quick else f"{pool}-steps-{number}"
                self._spawn(name, partial(self._take_steps, pool, quick=quick))
        self._spawn("watch", self._watch)

    @property
    def pools(self) -> list[Pool]:
        """Kinds of work that are done here."""
        return list(self._pools)

    def pause(self, seconds: float = 0.0) -> bool:
        """Sleep, but not beyond the end: whether no more work is taken."""
        return self._stop.wait(seconds)

    def hands_of(self, pool: Pool) -> tuple[int, int]:
        """Units of a pool that are in hand now, and how many were taken up since the start."""
        with self._guard:
            now = sum(one.unit.job.pool == pool for one in self._in_hand.values())
            return now, self._taken[pool]

    def stop(self, patience: float = 5.0) -> bool:
        """Take no more work, wait for what is in hand, give the rest back.

        Args:
            patience: seconds to wait; what is not finished then is done again by somebody.

        Returns:
            Whether every thread has ended.
        """
        self._stop.set()
        self._queue.database.ring()
        deadline = time.monotonic() + patience
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        try:
            self._queue.give_back()
        except HansardError as error:  # the leases run out by themselves
            _log.warning("what was in hand is not given back: %s", error.message)
        return not any(thread.is_alive() for thread in self._threads)

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        # Daemons: an engine's native call cannot be interrupted, and must not keep Ctrl-C waiting.
        thread = threading.Thread(
            target=self._to_its_end, args=(name, work), name=f"hansard-{name}", daemon=True
        )
        with self._guard:
            self._threads = [t for t in self._threads if t.is_alive()]
            self._threads.append(thread)
        thread.start()

    def _to_its_end(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            if not self._stop.is_set():
                _log.critical(
                    "the thread %s has ended by a fault of Hansard's", name, exc_info=True
                )
                self.trouble = HansardError(
                    f"A worker's thread ({name}) has ended by a fault of Hansard's: {error!r}.",
                    hint="The job is kept: the same command again goes on with it.",
                )
                self._broken()
            raise

    def _pull(self, claim: Callable[[], Unit | None], handler: StepHandler) -> bool:
        with self._patient():
            begun = time.perf_counter()
            unit = claim()
            if unit is None:
                return False
            telemetry.record("claim", time.perf_counter() - begun)
            with self._holding([unit]):
                return self._work(unit, handler)
        return False

    @contextmanager
    def _holding(self, units: Sequence[Unit]) -> Iterator[None]:
        """These are in hand: their leases are renewed."""
        settings, now = self._queue.settings, self._clock()
        held = {
            (unit.token, unit.job.id): _InHand(unit, now, unit_limit(settings, unit))
            for unit in units
        }
        with self._guard:
            self._in_hand |= held
            self._taken.update(unit.job.pool for unit in units)
        try:
            yield
        finally:
            with self._guard:
                for key in held:
                    self._in_hand.pop(key, None)

    def _work(
        self,
        unit: Unit,
        handler: StepHandler,
        ended: Callable[[Unit, Write], None] | None = None,
    ) -> bool:
        job = unit.job
        if unit.step in ("prepare", "run") and job.attempt == 1 and job.started is not None:
            telemetry.record("queue.wait", max(0.0, job.started - job.created))
        trace = telemetry.parsed(job.trace, job.id)
        with (
            telemetry.tracing(trace),
            telemetry.span(f"unit.{unit.step}", also=traces_of_others(unit)),
        ):
            return work_once(self._queue, unit, handler, ended)

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """A store that is in trouble is asked again later; a thread must not die of it."""
        try:
            yield
        except HansardError as error:
            if not self._stop.is_set():
                if error.trouble == "transient":
                    _log.warning("%s %s", error.message, error.hint or "")
                else:
                    self.trouble = error  # whoever follows a job says it
                self._stop.wait(_NAP)

    def _take_steps(self, pool: Pool, *, quick: bool) -> None:
        _be_nice()
        pace = Pace()
        while not self._stop.is_set():
            with self._patient():
                units = self._claimed(pool, pace.most, quick=quick)
                if units:
                    begun = time.perf_counter()
                    self._do_all(units)
                    pace.took(len(units), time.perf_counter() - begun)

    def _claimed(self, pool: Pool, most: int, *, quick: bool) -> list[Unit]:
        """Steps to do; none where there is nothing, after a while or a ring."""
        database = self._queue.database
        turn, looks = self._turns[pool]
        with turn:
            while pause := max(looks.pause(time.monotonic()), database.tended(pool)):
                if self.pause(pause):
                    return []
            if self.pause():
                return []
            seen = database.rings()
            if self._refuses:
                database.wait(seen, self._nap())
                return []
            now, begun = time.monotonic(), time.perf_counter()
            units = self._queue.claim_steps((pool,), quick=quick, most=most)
            if looks.saw(now, units, most):
                database.tend(pool)
            if units:
                telemetry.record("claim", time.perf_counter() - begun)
                return units
            if not quick:
                database.wait(seen, self._nap())
                return []
        # Who looks only for what is over soon does not keep the others from looking for the rest.
        database.wait(seen, self._nap())
        return []

    def _do_all(self, units: Sequence[Unit]) -> None:
        """One after the other; the ends of those that leave theirs to the crew are written last."""
        if len(units) == 1:
            with self._holding(units):
                self._work(units[0], self._do_step)
            return
        armful = Armful(units)
        with self._guard:
            self._armfuls.add(armful)
        try:
            with self._holding(units):
                while not self._stop.is_set() and (unit := armful.next(self._clock())) is not None:
                    self._work(unit, self._do_step, armful.ended)
                self._end(armful.ends())
        finally:
            with self._guard:
                self._armfuls.discard(armful)
            self._queue.release(armful.rest())

    def _end(self, ends: Sequence[tuple[Unit, Write]]) -> None:
        """Together; where one of them cannot be written, each by itself."""
        try:
            for unit in self._queue.complete_all(ends):
                _log.info("job %s was cancelled or taken over", unit.job.id)
        except LeaseLost as lost:
            _log.info("%s", lost.message)
        except Exception as error:  # noqa: BLE001 whichever it was says it by itself
            _log.debug("ends are written one by one: %r", error)
            for unit, write in ends:
                work_once(self._queue, unit, partial(_written, write))

    def _free_what_is_stuck(self) -> None:
        """Nothing waits in a hand that has its hands full for longer than it thought."""
        with self._guard:
            armfuls = list(self._armfuls)
        for armful in armfuls:
            left, ends = armful.stuck(self._clock())
            self._end(ends)
            self._queue.release(left)
            with self._guard:
                for unit in (*left, *(unit for unit, _ in ends)):
                    self._in_hand.pop((unit.token, unit.job.id), None)

    def _nap(self) -> float:
        return _NAP * max(1.0, self._queue.database.crowd / FEW)

    def _do_step(self, unit: Unit) -> Write | None:
        return self._kinds[unit.job.kind][unit.step](unit)

    def _watch(self) -> None:
        database = self._queue.database
        beat = self._queue.lease_seconds / 3
        renewed = looked = time.monotonic()
        while not self._stop.is_set():
            seen = database.rings()
            if self._pressure is not None:
                self._pressure.look()
            with self._patient():
                if "speech" in self._pools and not self._refuses:
                    for pair in self._queue.waiting_models():
                        self._open(pair)
                self._free_what_is_stuck()
                now = time.monotonic()
                if now - renewed >= beat:
                    self._queue.renew(self._worth_waiting_for())
                    renewed = now  # not before it worked: then the next look does it
                if now - looked >= _ROUND:
                    looked = now
                    for job in self._queue.expire():
                        _log.warning("job %s took too long and has failed", job)
                    self._tidy()
            # The bell rings with each window that is recorded: looking at each would cost more.
            if not self._stop.wait(_BREATH):
                database.wait(seen, min(self._nap(), beat / 2, _ROUND))

    @property
    def _refuses(self) -> bool:
        """Whether there is too little memory to take anything."""
        return self._waits and self._pressure is not None and self._pressure.refuses

    def _worth_waiting_for(self) -> list[Unit]:
        """What is in hand, without what took too long: its leases end, others take over."""
        now = self._clock()
        with self._guard:
            in_hand = list(self._in_hand.values())
        held = []
        for one in in_hand:
            taken = now - one.since
            if taken <= one.limit:
                held.append(one.unit)
                continue
            what = (one.unit.step, one.unit.job.id, taken)
            if not one.given_up:
                one.given_up = True
                _log.warning("%s of job %s has taken %.0f s: others may take over", *what)
            if taken > 2 * one.limit and not one.hung:
                one.hung = True
                self._hung(one.unit)
        return held

    def _open(self, pair: tuple[str, str]) -> None:
        with self._guard:
            if pair in self._open_lanes:
                return
            self._open_lanes.add(pair)
        self._spawn("/".join(pair), lambda: self._listen(pair))

    def _listen(self, pair: tuple[str, str]) -> None:
        """Load a model and keep its lanes busy until nobody asks for it any more."""
        try:
            with self._listeners(*pair) as listener:
                lanes = [
                    threading.Thread(
                        target=self._lane,
                        args=(pair, listener),
                        name=f"hansard-lane-{number}",
                        daemon=True,
                    )
                    for number in range(listener.lanes)
                ]
                for lane in lanes:
                    lane.start()
                for lane in lanes:
                    lane.join()
        except HansardError as error:
            self._say_that_it_fails(pair, error)
        except Exception as error:  # noqa: BLE001 it is logged and becomes the jobs' failure
            _log.exception("cannot load %s/%s", *pair)
            self._say_that_it_fails(pair, unexpected(error))
        finally:
            with self._guard:
                self._open_lanes.discard(pair)

    def _say_that_it_fails(self, pair: tuple[str, str], error: HansardError) -> None:
        with self._patient():  # if it cannot be said now, the next try to load it says it
            self._queue.fail_model(*pair, error)

    def _lane(self, pair: tuple[str, str], listener: Listener) -> None:
        queue = self._queue

        def claim() -> Unit | None:
            most = listener.batch
            batch = most if self._pressure is None else self._pressure.batch(most)
            return queue.claim_windows(*pair, batch=batch, lanes=listener.lanes)

        looked = self._clock()
        while not self._stop.is_set():
            if self._refuses:
                return  # so that the model is idle, and can be unloaded
            seen = queue.database.rings()
            if self._pull(claim, listener.listen):
                continue
            # Not at each ring: the bell rings often, and a model that nobody needs may wait.
            if self._clock() - looked >= _NAP:
                looked = self._clock()
                with self._patient():
                    if pair not in queue.waiting_models():
                        return
            queue.database.wait(seen, self._nap())
