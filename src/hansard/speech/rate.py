"""How fast a remote engine may be asked: by this process, or by all that share a store."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from hansard.errors import HansardError

if TYPE_CHECKING:
    from hansard.config import OpenAISettings
    from hansard.store.database import Database

_log = logging.getLogger("hansard.speech.remote")


class Pace(Protocol):
    """Says when a call may be made. Safe for any number of threads."""

    def admit(self, sleep: Callable[[float], None]) -> None:
        """Wait for one's turn with ``sleep``, which gets seconds, also none, and may raise."""
        ...

    def pause(self, seconds: float) -> None:
        """Let nobody call for this long."""
        ...


def pace(
    settings: OpenAISettings,
    account: str,
    database: Database | None,
    clock: Callable[[], float],
) -> Pace:
    """For an account, as its endpoint counts: one bucket for all who share ``database``.

    ``account`` holds a key: only a hash of it is kept.
    """
    if database is None:
        return TokenBucket(settings.calls_per_minute, settings.burst, clock)
    digest = hashlib.blake2b(account.encode(), digest_size=16).hexdigest()
    return SharedBucket(
        database, f"openai:{digest}", settings.calls_per_minute, settings.burst, clock
    )


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

    def admit(self, sleep: Callable[[float], None]) -> None:
        """Take a token, and wait until it may be used."""
        sleep(self.reserve())

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


class SharedBucket:
    """A bucket in the store: the same for all processes of all hosts.

    Nothing is reserved: whoever dies while he waits takes no token with him, and a pause that
    somebody else was told of holds for those who wait already. A process that was told to wait
    does not ask before that.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        per_minute: float,
        burst: int,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._name = name
        self._rate = per_minute / 60.0
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._shut_until = clock()

    def admit(self, sleep: Callable[[float], None]) -> None:
        """Wait for a token, and take it.

        Raises:
            StoreBusy, StoreGone: whether there is one cannot be asked now.
        """
        from hansard.store import buckets

        while True:
            with self._lock:
                wait = self._shut_until - self._clock()
            sleep(max(0.0, wait))
            drawn = buckets.take(self._database, self._name, 1, rate=self._rate, burst=self._burst)
            if not drawn.wait:
                return
            self._shut(drawn.wait)

    def pause(self, seconds: float) -> None:
        """Let nobody call for this long, here or elsewhere."""
        from hansard.store import buckets

        self._shut(seconds)
        try:
            buckets.close(self._database, self._name, seconds, burst=self._burst)
        except HansardError as error:
            _log.warning(
                "the others were not told to wait %.0f s for the remote engine: %s",
                seconds,
                error.message,
            )

    def _shut(self, seconds: float) -> None:
        with self._lock:
            self._shut_until = max(self._shut_until, self._clock() + seconds)
