"""The desk: what every route works with, and the threads that the event loop leaves work to.

The event loop never reads the store or the disk itself; it only asks whether anything has changed
(``store.database.Pulse``). Reads have threads of
their own, so that none waits behind a write that is being brought to the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, BinaryIO, ParamSpec, TypeVar, cast

from starlette.requests import HTTPConnection

from hansard.api.cache import (
    LARGEST,
    PAGES,
    RENDERED,
    TRANSCRIPTS,
    Made,
    Shelf,
    Sized,
    Statuses,
)
from hansard.api.ranges import Rendered, rendered
from hansard.api.redis_cache import OfJobs, RedisCache
from hansard.api.turns import Turns
from hansard.api.watch import Watch
from hansard.model import Client
from hansard.wiring import House

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V", bound=Sized)


class Desk:
    """One service's open house, seen from its event loop."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.settings = house.settings
        self.reader = house.database.reader()
        """For reading only, on the thread of :meth:`read`."""
        self.uploading = 0
        """Uploads under way: see ``limits.upload_slot``."""
        self._pulse = self.reader.pulse()
        self.statuses = Statuses(self.read, self.reader, self._pulse.beat)
        self.watch = Watch(self.read, self.reader)
        self.turns = Turns()
        self.shared = self._cache()
        """What all API processes share, where the setting ``cache`` names one."""
        self.pages: Shelf[Made] = Shelf(PAGES)
        """Lists as they are sent, each at one moment of the store."""
        self.ready: Shelf[bytes] = Shelf(TRANSCRIPTS, second=self._second(_same, _same))
        """Transcripts as they are sent."""
        self.rendered: Shelf[Rendered] = Shelf(
            RENDERED, at_once=4, second=self._second(self._whole, self._rendered)
        )
        """Transcripts in the formats they were asked for."""
        self._reads = ThreadPoolExecutor(self.reader.readers, "hansard-reads")
        self._writes = ThreadPoolExecutor(1, "hansard-writes")
        self._work = ThreadPoolExecutor(house.settings.serve.uploads + 8, "hansard-work")

    async def read(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the store a short question; give it ``self.reader``."""
        return await self._on(self._reads, ask, *args, **kwargs)

    async def write(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Change the store through ``house.database`` or ``house.queue``, in turn."""
        return await self._on(self._writes, act, *args, **kwargs)

    async def work(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Anything slower: files, hashing, examining media."""
        return await self._on(self._work, act, *args, **kwargs)

    async def _on(
        self, pool: ThreadPoolExecutor, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        loop = asyncio.get_running_loop()
        # In the request's own context: what is timed and logged there belongs to its trace.
        inside = copy_context().run
        return await loop.run_in_executor(pool, partial(inside, act, *args, **kwargs))

    # ── the second cache ─────────────────────────────────────────────────────────────────────

    def _cache(self) -> RedisCache | None:
        if self.settings.cache is None:
            return None
        return RedisCache(self.settings.cache, self.house.database, self.work)

    def _second(
        self,
        pack: Callable[[V], Awaitable[bytes | None]],
        unpack: Callable[[bytes], Awaitable[V]],
    ) -> OfJobs[V] | None:
        return None if self.shared is None else OfJobs(self.shared, pack, unpack)

    async def _whole(self, made: Rendered) -> bytes | None:
        """All of it, unless that is more than a cache takes."""
        if made.size > LARGEST:
            return None
        if made.at_hand:
            return made.read(0, made.size)
        return await self.work(made.read, 0, made.size)

    async def _rendered(self, body: bytes) -> Rendered:
        return await self.work(rendered, partial(_write, body), self.house.files.scratch)

    def close(self) -> None:
        """Let go of the threads and of the reader. The house is its owner's to close."""
        for pool in (self._work, self._writes, self._reads):
            pool.shutdown(wait=True, cancel_futures=True)
        self._pulse.close()
        if self.reader is not self.house.database:
            self.reader.close()


async def _same(body: bytes) -> bytes:
    return body


def _write(body: bytes, out: BinaryIO) -> None:
    out.write(body)


def desk(connection: HTTPConnection) -> Desk:
    """The desk of the service that a request came to."""
    return cast("Desk", connection.app.state.desk)


def client(connection: HTTPConnection) -> Client:
    """Who asks: put there by ``api.auth`` before any route is reached."""
    found: Any = connection.scope["state"]["client"]
    return cast("Client", found)
