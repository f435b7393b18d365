"""Answers that are ready: made once, kept by version, bounded in bytes.

A key names what an answer was made from, version included. A write that changes the one changes
the other, so nothing is ever invalidated: the old answer is simply not asked for any more, and
goes when room is needed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from hansard.errors import UnknownJob
from hansard.store import views

if TYPE_CHECKING:
    from hansard.store.database import Database


STATUSES = 8192
"""States that are kept until something is written: a kilobyte each, or less."""
LARGEST = 16 * 2**20
"""Bytes of an answer that processes share; larger ones each makes for itself."""


def version(made: bytes) -> str:
    """A name for these very bytes: of a job's status, it changes with every write to the job."""
    return hashlib.blake2b(made, digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Made:
    """An answer with its version, so that this is not worked out again each time it is sent."""

    body: bytes
    version: str

    def __len__(self) -> int:
        return len(self.body)


class Sized(Protocol):
    """What a shelf holds: something that takes room."""

    def __len__(self) -> int: ...


V = TypeVar("V", bound=Sized)
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Second(Protocol[V]):
    """Where an answer may be ready that is not on the shelf."""

    async def get(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        """The answer for a key; ``make`` is called where there is none."""
        ...


class Shelf(Generic[V]):
    """Ready answers, the least recently used go first. For one event loop.

    However many ask for what is not there yet, it is made once: a crowd costs what a single
    reader costs.
    """

    def __init__(self, capacity: int, *, at_once: int = 1, second: Second[V] | None = None) -> None:
        """``capacity`` in bytes. What is larger than a quarter of it is made, but not kept.

        Up to ``at_once`` answers are made at the same time. ``second`` is looked into before.
        """
        self._capacity = capacity
        self._second = second
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._size = 0
        self._moment: int | None = None
        self.hits = self.misses = 0
        self._making: dict[Hashable, asyncio.Task[V]] = {}
        self._turn = asyncio.Semaphore(at_once)

    @property
    def size(self) -> int:
        """Bytes kept now."""
        return self._size

    def clear(self) -> None:
        """Keep nothing; what is being made is still given to those who wait."""
        self._kept.clear()
        self._size = 0

    def see(self, moment: int) -> None:
        """It is this moment of the store: what was made from another is not asked for any more."""
        if moment != self._moment:
            self.clear()
            self._moment = moment

    async def get(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        """The answer for a key; ``make`` is called where there is none."""
        found = self._kept.get(key)
        if found is not None:
            self.hits += 1
            self._kept.move_to_end(key)
            return found
        self.misses += 1
        task = self._making.get(key)
        if task is None:
            # A task of its own: whoever asked first may go away while others still wait.
            task = asyncio.create_task(self._make(key, make))
            self._making[key] = task
            task.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(task)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        async def in_turn() -> V:
            async with self._turn:
                return await make()

        made = await (self._second.get(key, in_turn) if self._second else in_turn())
        self._keep(key, made)
        return made

    def _made(self, key: Hashable, done: asyncio.Task[V]) -> None:
        self._making.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at here, or asyncio complains where nobody waits any more

    def _keep(self, key: Hashable, made: V) -> None:
        if len(made) > self._capacity // 4:
            return
        self._kept[key] = made
        self._size += len(made)
        while self._size > self._capacity:
            _, old = self._kept.popitem(last=False)
            self._size -= len(old)


class Together(Generic[K, T]):
    """One look answers all who ask. For one event loop.

    A hop to another thread costs more than the look itself. While one look is on its way, those
    who come gather for the next: nobody is given what was seen before he asked.
    """

    def __init__(self, look: Callable[[list[K]], Awaitable[dict[K, T]]]) -> None:
        self._look = look
        self._asked: dict[K, asyncio.Future[T | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def get(self, key: K) -> T | None:
        """What a look found under ``key``; ``None`` where there was nothing."""
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._answer_all())
        return await asyncio.shield(future)

    async def _answer_all(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self._look(list(asked))
            except Exception as error:  # noqa: BLE001 it is raised where it was asked
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # looked at: its asker may have gone away
            except BaseException:
                for future in asked.values():
                    future.cancel()
                raise
            else:
                for key, future in asked.items():
                    future.set_result(found.get(key))


class Statuses:
    """States of jobs, for many who ask at once; kept until anybody commits anything."""

    def __init__(
        self, read: Callable[..., Awaitable[Any]], reader: Database, beat: Callable[[], int]
    ) -> None:
        """``read`` calls a function where ``reader`` may be used; ``beat`` is a ``Pulse``'s."""
        self._jobs = Together[tuple[str, str], bytes](partial(read, _statuses, reader))
        self._kept: dict[tuple[str, str], bytes] = {}
        self._at = 0
        self.hits = self.misses = 0
        self.moment = beat
        """A number that changes with every write to the store."""

    async def get(self, tenant: str, job: str) -> bytes:
        """The tenant's job as JSON.

        Raises:
            UnknownJob: there is none.
        """
        now = self.moment()
        if now != self._at or len(self._kept) > STATUSES:
            self._kept.clear()
            self._at = now
        found = self._kept.get((tenant, job))
        self.hits += found is not None
        self.misses += found is None
        if found is None:
            found = await self._jobs.get((tenant, job))
            if found is not None and self._at == now:
                self._kept[tenant, job] = found
        if found is None:
            raise UnknownJob(
                f"There is no transcription {job[:80]}.",
                hint="GET /api/v1/transcriptions lists them.",
            )
        return found


def _statuses(reader: Database, asked: list[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    found: dict[tuple[str, str], bytes] = {}
    for tenant in dict.fromkeys(tenant for tenant, _ in asked):
        mine = [job for of, job in asked if of == tenant]
        for job, made in views.statuses(reader, tenant, mine).items():
            found[tenant, job] = made
    return found
