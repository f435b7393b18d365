"""What one hand has taken at once: jobs that are done at a stroke, one after the other.

As many are taken as the last ones would have filled :data:`AIM` seconds: of jobs that take long one
by one, so that nobody waits behind them. Ends are written together when the armful is done. Should
one of the jobs take long after all, the watcher gives back those behind it and writes the ends of
those before it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from hansard.jobs.rows import Unit
from hansard.jobs.steps import Write

AIM = 0.05
"""Seconds that an armful should take."""

MOST = 32
"""Units in an armful."""

LINGER = 0.01
"""Seconds between two looks of a process where the first found less than it could have taken."""

_PATIENCE = 0.5
"""Seconds for which one unit may hold up the others of its armful."""


class Looks:
    """When to look for steps again; for the hands of one pool, of which one looks at a time.

    A look that finds one job costs as much as one that finds ten. So who was rung for after a quiet
    while looks at once; but where jobs come one after the other, the next look waits for a moment,
    and takes what came meanwhile. Nothing waits where more was left than could be taken.
    """

    def __init__(self) -> None:
        self._not_before = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next look, by the clock that :meth:`saw` was told of."""
        return max(0.0, self._not_before - now)

    def saw(self, now: float, units: Sequence[Unit], most: int) -> bool:
        """A look that began at ``now`` found these, where ``most`` would have been taken.

        Returns:
            Whether all that there was is in this hand, which will soon be empty again.
        """
        few = bool(units) and units[0].step == "run" and len(units) < most
        self._not_before = now + LINGER if few or not units else now
        return few


class Pace:
    """How many units to take at once; for one hand."""

    def __init__(self) -> None:
        self.most = 1

    def took(self, units: int, seconds: float) -> None:
        """So many units took so long. What is quick may double what is taken, no more."""
        fitting = int(AIM * units / seconds) if seconds > 0.0 else MOST
        self.most = max(1, min(MOST, 2 * self.most, fitting))


class Armful:
    """Units in one hand. Its own thread and the watcher take from it, each what is still there."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._left = deque(units)
        self._ends: list[tuple[Unit, Write]] = []
        self._since: float | None = None
        self._guard = threading.Lock()

    def next(self, now: float) -> Unit | None:
        """The unit to be done next; ``None`` where none is left."""
        with self._guard:
            self._since = now
            return self._left.popleft() if self._left else None

    def ended(self, unit: Unit, write: Write) -> None:
        """A unit was done: this is to be written at its end."""
        with self._guard:
            self._ends.append((unit, write))

    def ends(self) -> list[tuple[Unit, Write]]:
        """What is to be written, once."""
        with self._guard:
            self._since = None
            ends, self._ends = self._ends, []
            return ends

    def stuck(self, now: float) -> tuple[list[Unit], list[tuple[Unit, Write]]]:
        """What is behind a unit that takes long, and the ends of those before it; once."""
        with self._guard:
            if self._since is None or now - self._since < _PATIENCE:
                return [], []
            left, ends = list(self._left), self._ends
            self._left.clear()
            self._ends = []
            return left, ends

    def rest(self) -> list[Unit]:
        """What was not begun, once."""
        with self._guard:
            left = list(self._left)
            self._left.clear()
            return left
