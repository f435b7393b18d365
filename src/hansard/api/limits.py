"""How much a stranger gets: requests by a token bucket, audio by the day, uploads at a time."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from hansard.api.desk import desk
from hansard.errors import TooManyUploads, TooSlow
from hansard.store import usage
from hansard.store.keys import Key

_BUSY_SECONDS = 5.0
"""When an upload that found no room should come again."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket said. Times are seconds."""

    limit: int
    """Requests that a full bucket holds."""
    left: int
    refill: float
    """Until the bucket is full again."""
    wait: float
    """Until there is one more; 0 where this one was let through."""


class Buckets:
    """One token bucket for each name. The names unseen for longest make room for new ones."""

    def __init__(self, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Name → tokens, and the moment they were counted."""

    def take(self, name: str, rate: float, burst: int) -> Allowance:
        """Take one token from a bucket that gains ``rate`` tokens a second up to ``burst``."""
        now = self._clock()
        tokens, since = self._buckets.pop(name, (float(burst), now))
        tokens = min(float(burst), tokens + (now - since) * rate)
        wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / rate
        if not wait:
            tokens -= 1.0
        self._buckets[name] = (tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return Allowance(burst, math.floor(tokens), (burst - tokens) / rate, wait)

    def __len__(self) -> int:
        return len(self._buckets)


async def see_that_quota_is_left(connection: HTTPConnection, seconds: float = 0.0) -> None:
    """Refuse early audio that the key's day has no room for, before it is taken in.

    The queue asks again, with the length that preflight found, in the transaction that accepts.

    Raises:
        QuotaUsedUp: come again tomorrow (UTC).
    """
    key: Key | None = connection.scope["state"].get("key")
    if key is None or key.quota is None:
        return
    at = desk(connection)

    def look() -> None:
        with at.reader.read() as reading:
            usage.see_that_quota_is_left(reading, key.id, seconds, time.time())

    await at.read(look)


@asynccontextmanager
async def upload_slot(connection: HTTPConnection) -> AsyncIterator[None]:
    """Take in an upload within this: one of the few at a time, and not for ever.

    Raises:
        TooManyUploads: all places are taken.
        TooSlow: it took longer than ``serve.upload_seconds``.
    """
    at = desk(connection)
    serve = at.settings.serve
    if at.uploading >= serve.uploads:
        raise TooManyUploads(
            f"{serve.uploads} uploads are under way, and that is all there is room for.",
            hint="Try again in a moment.",
            retry_after=_BUSY_SECONDS,
        )
    at.uploading += 1
    limit = asyncio.timeout(serve.upload_seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TooSlow(
            f"The upload took longer than {serve.upload_seconds:.0f} seconds.",
            hint="A resumable upload goes on where it stands: see docs/uploads.md.",
        ) from error
    finally:
        at.uploading -= 1
