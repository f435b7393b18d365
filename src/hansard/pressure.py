"""What is done before memory runs out, step by step, so that nothing has to be killed.

The steps are taken in order and taken back in order: keep nothing ready that can be made again;
unload models that nobody uses; take smaller batches; take no new work. How far to go follows from
the memory that is left, in *reserves*: a share of all there is, and at most a fixed number of
bytes (:class:`hansard.machine.MemorySettings`). A step begins as soon as there are fewer than 4,
3, 2 or 1 reserves, and ends when there has been a quarter more than that for some seconds, one
step after the other: so a step that worked is not at once taken back, which would undo what it
did. Where everything stands still for want of memory (PSI), the first steps are taken whatever
the numbers say.

:func:`step` is the whole of it, without a clock or a file. :class:`Pressure` is one for a process:
its API or its worker asks it now and then to :meth:`~Pressure.look`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from hansard import headroom, telemetry
from hansard.errors import HansardError, ShortOfMemory
from hansard.headroom import Bound, Headroom
from hansard.machine import MemorySettings
from hansard.model import Value

_log = logging.getLogger("hansard.memory")

EVERY = 1.0
"""Seconds between two looks at the least."""

AGAIN = 5.0
"""Seconds after which a step that is still taken is done again: models become idle later."""

_MORE = 1.25
"""A step ends where there is so many times what it begins at."""

RETRY_SECONDS = 10.0
"""When what is refused should come again: a step lasts as long at the least."""


class Stage(IntEnum):
    """How far things have gone; each includes those before it."""

    CALM = 0
    CACHES = 1
    MODELS = 2
    BATCHES = 3
    REFUSE = 4


SAID = {
    Stage.CALM: "There is room.",
    Stage.CACHES: "Nothing is kept ready.",
    Stage.MODELS: "Idle models are unloaded.",
    Stage.BATCHES: "Batches are smaller.",
    Stage.REFUSE: "No new work is taken.",
}

_BEGINS = {Stage.CACHES: 4.0, Stage.MODELS: 3.0, Stage.BATCHES: 2.0, Stage.REFUSE: 1.0}
"""Reserves left below which a stage begins."""

_STALLS = {Stage.CACHES: 10.0, Stage.MODELS: 30.0, Stage.BATCHES: 60.0}
"""Percent of time stalled above which a stage begins. By itself it never has work refused."""


class State(Value, frozen=True):
    """Where a process stands: the stage, and since when it could have been one less."""

    stage: Stage = Stage.CALM
    eased: float | None = None


def reserve(settings: MemorySettings, bound: Bound) -> float:
    """Bytes of a bound that should stay free."""
    return min(settings.share * bound.limit, float(settings.reserve))


def reserves(settings: MemorySettings, seen: Headroom) -> float:
    """How many reserves are left, where the fewest are."""
    return min(max(0, bound.available) / reserve(settings, bound) for bound in seen.bounds)


def step(state: State, left: float, stall: float, now: float, hold: float) -> State:
    """The state that follows.

    Args:
        state: the one before.
        left: reserves left; see :func:`reserves`.
        stall: percent of the last ten seconds.
        now: seconds of a clock that never goes back.
        hold: seconds for which there must have been room before a stage is left.
    """
    wanted = _stage(left, stall, 1.0)
    if wanted > state.stage:
        return State(wanted)
    if _stage(left, stall, _MORE) >= state.stage:
        return State(state.stage)
    if state.eased is None:
        return State(state.stage, now)
    if now - state.eased < hold:
        return state
    lower = Stage(state.stage - 1)
    # The next stage needs its own time of room.
    return State(lower, now if _stage(left, stall, _MORE) < lower else None)


def _stage(left: float, stall: float, more: float) -> Stage:
    short = [stage for stage, begins in _BEGINS.items() if left < begins * more]
    stuck = [stage for stage, begins in _STALLS.items() if stall > begins / more]
    return max([Stage.CALM, *short, *stuck])


Relief = Callable[[], None]
"""Does what a stage is there for. Quick, harmless when called again, and from any thread."""


class Pressure:
    """The memory of one process, watched. Safe from any thread.

    Args:
        settings: where the stages begin.
        read: gives the numbers.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        settings: MemorySettings,
        *,
        read: Callable[[], Headroom] = headroom.read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._state = State()
        self._again = 0.0
        self._relief: list[tuple[Stage, Relief]] = []
        self._left = -1
        self._due = clock()

    @property
    def stage(self) -> Stage:
        """As of the last look."""
        return self._state.stage

    @property
    def refuses(self) -> bool:
        """Whether no new work is to be taken."""
        return self._state.stage >= Stage.REFUSE

    def on(self, stage: Stage, relief: Relief) -> None:
        """Have something done when a stage begins, and now and then for as long as it lasts."""
        with self._lock:
            self._relief.append((stage, relief))

    def off(self, relief: Relief) -> None:
        """Have it done no more."""
        with self._lock:
            self._relief = [pair for pair in self._relief if pair[1] != relief]

    def batch(self, most: int) -> int:
        """Windows to take at once where ``most`` would be taken otherwise."""
        if self.refuses:
            return 1
        return max(1, most // 2) if self._state.stage >= Stage.BATCHES else most

    def look(self) -> Stage:
        """Read the numbers, at most once a second, and do what has become due.

        A relief that fails is logged: the others are still tried.
        """
        if not self._settings.watch:
            return Stage.CALM
        with self._lock:
            now = self._clock()
            if now < self._due:
                return self._state.stage
            self._due = now + EVERY
            seen = self._read()
            self._left = seen.available
            before = self._state
            left = reserves(self._settings, seen)
            self._state = step(before, left, seen.stall, now, self._settings.hold)
            stage = self._state.stage
            if stage == Stage.CALM:
                due = []
            elif stage > before.stage or now >= self._again:
                self._again = now + AGAIN
                due = [one for at, one in sorted(self._relief, key=_order) if at <= stage]
            else:
                due = []
        if stage != before.stage:
            self._say(before.stage, stage, seen)
        for relief in due:
            try:
                relief()
            except HansardError as error:
                _log.warning("%s", error.message)
        return stage

    def _say(self, before: Stage, now: Stage, seen: Headroom) -> None:
        """Each stage that begins is counted and logged once; the way back is one line a stage."""
        for stage in Stage:
            if before < stage <= now:
                telemetry.count(f"memory.{stage.name.lower()}")
                _log.warning("memory is short (%s): %s", told(seen), SAID[stage])
        if now < before:
            _log.warning("memory has room again (%s): %s", told(seen), SAID[now])

    def sentence(self) -> str:
        """For the health: what is left, and what is done about it."""
        with self._lock:
            left, stage = self._left, self._state.stage
        if left < 0:
            left = self._read().available
        return f"{left / 1e9:.1f} GB available." + (f" {SAID[stage]}" if stage else "")

    def see_that_there_is_room(self) -> None:
        """Refuse new work where there is no memory for it.

        Raises:
            ShortOfMemory: come again in a moment.
        """
        if self.refuses:
            telemetry.count("memory.refused")
            raise ShortOfMemory(
                "Memory is short: no new work is taken at the moment.",
                hint="Try again in a moment; what was accepted before is kept and done.",
                retry_after=RETRY_SECONDS,
            )


def _order(pair: tuple[Stage, Relief]) -> Stage:
    return pair[0]


def told(seen: Headroom) -> str:
    """The tightest bound in words."""
    bound = min(seen.bounds, key=lambda one: one.available)
    return f"{bound.available / 1e6:,.0f} of {bound.limit / 1e6:,.0f} MB left, {bound.what}"
