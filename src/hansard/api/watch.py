"""One look at the store for everybody who follows a job.

The store tells by a number (``Database.mark``) whether anybody, in any process,
has committed since the last look. So however many follow, the store is asked a few times a
second for that number, and only when it has moved for the jobs that are followed, once each.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from hansard.jobs import progress, rows
from hansard.model import SAMPLE_RATE, Job, Value
from hansard.store.tables import jobs

if TYPE_CHECKING:
    from hansard.jobs.progress import Heard
    from hansard.store.database import Database

PAUSE: Final = 0.05
"""Seconds between two looks."""
_KEPT: Final = 200
"""Windows that a feed remembers; who is further behind reads the store."""
_PIECE: Final = 50
"""Windows that are read at once."""
_SPAN: Final = 30.0
"""Seconds over which speed is measured."""


class Pace(Value, frozen=True):
    """How fast a job goes. ``None`` as long as nothing honest can be said."""

    speed: float | None = None
    """Seconds of the recording a second."""
    left: float | None = None
    """Seconds until all is heard, if it goes on like this."""


class Feed:
    """One job that is followed, and what its followers share. For one event loop."""

    def __init__(self, tenant: str, job: str) -> None:
        self.tenant = tenant
        self.id = job
        self.job: Job | None = None
        """As it was at the last look; ``None`` before the first, and when it was removed."""
        self.gone = False
        self.leaving = False
        """The service stops: follow another time."""
        self.followers = 0
        self.version = 0
        self._recent: deque[Heard] = deque(maxlen=_KEPT)
        self._event = asyncio.Event()
        self._samples: deque[tuple[float, int]] = deque()

    @property
    def number(self) -> int:
        """How many windows are known to be done."""
        return self.job.heard if self.job is not None else 0

    def recent(self, number: int) -> list[Heard] | None:
        """Windows done after the ``number``-th; ``None`` where the store must be asked."""
        if not self._recent or self._recent[0].number > number + 1:
            return None
        return [one for one in self._recent if one.number > number]

    async def changed(self, seen: int, seconds: float) -> bool:
        """Wait until there is something newer than version ``seen``, or for ``seconds``."""
        if self.version != seen:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True

    def pace(self) -> Pace:
        """How fast it goes, over the last half minute; at first over all that was done so far."""
        job = self.job
        if job is None or job.started is None or not job.planned_samples or not job.position:
            return Pace()
        now = time.time()
        since, before = self._samples[0] if self._samples else (now, job.heard_samples)
        if now - since < _SPAN / 3:  # too short to tell
            since, before = job.started, 0
        done = job.heard_samples - before
        if done <= 0 or now - since < 0.5:
            return Pace()
        rate = done / (now - since)
        speech = job.planned_samples / job.position
        expected: float = job.planned_samples
        if job.step == "prepare" and job.seconds:
            expected = max(expected, speech * job.seconds * SAMPLE_RATE)
        left = max(0.0, expected - job.heard_samples) / rate
        return Pace(round(rate / speech / SAMPLE_RATE, 2), round(left, 1))

    def tell(self, job: Job | None, heard: list[Heard]) -> None:
        """What the last look found; wakes whoever waits where it is news."""
        if job is None:
            self.gone = True
        elif job == self.job and not heard:
            return
        else:
            self._note(job)
            self._remember(job, heard)
        self.job = job
        self.ring()

    def _remember(self, job: Job, heard: list[Heard]) -> None:
        """Keep the windows without holes: who misses one reads the store."""
        if job.heard == self.number:
            return
        if not heard or heard[-1].number != job.heard:
            self._recent.clear()  # more were done than were read
            return
        if self._recent and self._recent[-1].number + 1 != heard[0].number:
            self._recent.clear()
        self._recent.extend(heard)

    def ring(self) -> None:
        """Wake whoever waits."""
        self.version += 1
        event, self._event = self._event, asyncio.Event()
        event.set()

    def _note(self, job: Job) -> None:
        now = time.time()
        self._samples.append((now, job.heard_samples))
        while len(self._samples) > 2 and self._samples[1][0] < now - _SPAN:
            self._samples.popleft()


class Watch:
    """Follows any number of jobs with one look at a time. For one event loop."""

    def __init__(self, read: Callable[..., Awaitable[Any]], reader: Database) -> None:
        """``read`` calls a function where ``reader`` may be used."""
        self._read = read
        self._reader = reader
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._watching: asyncio.Task[None] | None = None
        self._fresh = False
        self._leaving = False

    @property
    def followed(self) -> int:
        """Jobs that somebody follows now."""
        return len(self._feeds)

    @property
    def followers(self) -> int:
        """How many follow."""
        return sum(feed.followers for feed in self._feeds.values())

    @asynccontextmanager
    async def follow(self, tenant: str, job: str) -> AsyncIterator[Feed]:
        """A job's feed, looked at for as long as somebody follows it."""
        key = tenant, job
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(tenant, job)
            self._fresh = True
        feed.followers += 1
        feed.leaving = self._leaving
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                del self._feeds[key]

    def leave(self) -> None:
        """The service is about to stop: send all followers home."""
        self._leaving = True
        for feed in self._feeds.values():
            feed.leaving = True
            feed.ring()

    async def _watch(self) -> None:
        """Look until nobody follows any more, or the store cannot be read."""
        version = None
        try:
            while self._feeds:
                if self._fresh:
                    self._fresh, version = False, None
                known = {key: feed.number for key, feed in self._feeds.items() if not feed.gone}
                version, found = await self._read(_look, self._reader, version, known)
                for key, (job, heard) in found.items():
                    if (feed := self._feeds.get(key)) is not None:
                        feed.tell(job, heard)
                await asyncio.sleep(PAUSE)
        finally:
            for feed in self._feeds.values():  # they come back, or say that it is over
                feed.leaving = True
                feed.ring()


_Found = dict[tuple[str, str], "tuple[Job | None, list[Heard]]"]


def _look(
    reader: Database, version: int | None, known: dict[tuple[str, str], int]
) -> tuple[int, _Found]:
    """What became of jobs whose windows are known up to a number, where anything was written."""
    with reader.read() as connection:
        now = reader.mark(connection)
        if now == version:
            return now, {}
        found: _Found = {}
        for tenant in {tenant for tenant, _ in known}:
            mine = {job: number for (of, job), number in known.items() if of == tenant}
            chosen = sa.select(jobs).where(jobs.c.tenant == tenant, jobs.c.id.in_(list(mine)))
            there = {row.id: rows.job(row) for row in connection.execute(chosen)}
            for name, number in mine.items():
                job = there.get(name)
                # At the first look nothing is known: followers read what was before themselves.
                news = number and job is not None and job.heard > number
                heard = progress.heard_since(reader, name, number, _PIECE) if news else []
                found[tenant, name] = job, heard
        return now, found
