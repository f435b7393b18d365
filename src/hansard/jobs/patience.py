"""A store that went away comes back: what was worked out meanwhile must not be thrown away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from hansard.chance import CHANCE
from hansard.errors import LeaseLost, StoreBusy, StoreGone

_log = logging.getLogger("hansard.queue")

T = TypeVar("T")

_FIRST, _LONGEST = 0.05, 2.0
"""Seconds between tries: at first, and at the most."""


def surely(what: str, act: Callable[[bool], T], seconds: float) -> T:
    """Do a transaction, and do it again while the store is away: so long, and once after that.

    Args:
        what: in words, for the log.
        act: told whether an earlier try may have been committed with only its answer lost. Then
            what is found done by the same token is a success.
        seconds: how long the work may still be ours: a lease.

    Raises:
        LeaseLost: nobody could be told; by now it is another's.
    """
    until: float | None = None
    pause = _FIRST
    while True:
        try:
            return act(until is not None)
        except (StoreGone, StoreBusy) as error:
            now = time.monotonic()
            if until is None:
                until = now + seconds
                _log.warning("%s is tried again: %s", what, error.message)
            elif now >= until:
                raise LeaseLost(f"The store was away for too long for {what}.") from error
            time.sleep(min(pause * CHANCE.uniform(0.5, 1.0), max(0.0, until - now)))
            pause = min(2 * pause, _LONGEST)
