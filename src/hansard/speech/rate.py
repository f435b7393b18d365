"""How fast a remote engine may be asked."""

from __future__ import annotations

import threading
from collections.abc import Callable


class TokenBucket:
    """Says when the next call may be made: ``burst`` at once, then ``per_minute``.

    The generic cell rate algorithm (ITU-T I.371) as a reservation: one number, no queue of past
    calls, and callers sleep outside of the lock. Unlike the buckets of the rate-limiting
    libraries it can be paused, which is what a Retry-After means for all lanes at once.
    """

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float]) -> None:
        self._interval = 60.0 / per_minute
        self._tolerance = (burst - 1) * self._interval
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at = clock()
        self._paused_until = clock()

    def reserve(self) -> float:
        """Take a token; the answer is how many seconds to wait before using it."""
        with self._lock:
            now = self._clock()
            at = max(now, self._full_at - self._tolerance, self._paused_until)
            self._full_at = max(self._full_at, at) + self._interval
            return at - now

    def pause(self, seconds: float) -> None:
        """Let nobody call for this long; tokens that were handed out stay valid."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
