"""Waiting for what another thread or process does; the test's own time limit is the only clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(holds: Callable[[], T | None], what: str = "") -> T:
    """Wait for something to become true, and return it.

    ``what`` is said in words for whoever reads the stack of a test that waited in vain.
    """
    del what
    while not (found := holds()):
        time.sleep(0.01)
    return found
