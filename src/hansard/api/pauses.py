"""Short pauses: what has come to stay is left out of the collector's rounds.

A full round of CPython's garbage collector stands still for as long as it takes to look at every
object: 100 ms for the 170 000 of a service that only has modules, routes and schemas (measured,
every one or two seconds under load). Those are never garbage. So what survives a round that took
long is frozen: the next one looks at what is new.
"""

from __future__ import annotations

import gc
import time
from typing import Final

LONG: Final = 0.02
"""Seconds of a full round that are too many."""

_MOST: Final = 16
"""Times that survivors are frozen: cycles under way at that moment stay for good, and must not add
up for as long as a process lives."""


class Pauses:
    """Watches the rounds of this process's collector."""

    def __init__(self) -> None:
        self._begun = 0.0
        self.frozen = 0
        """How often survivors were frozen."""

    def watch(self) -> None:
        """From now on."""
        gc.callbacks.append(self._round)

    def leave(self) -> None:
        """Not any more; what is frozen is looked at again."""
        gc.callbacks.remove(self._round)
        gc.unfreeze()

    def _round(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
        elif (
            info["generation"] == 2
            and time.perf_counter() - self._begun > LONG
            and self.frozen < _MOST
        ):
            self.frozen += 1
            gc.freeze()
