"""``/metrics`` for Prometheus: what the store knows of the whole, and this process of itself."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from hansard.api.auth import demand
from hansard.api.cache import Shelf
from hansard.api.desk import Desk, desk
from hansard.api.exposition import Meter, pooled, registry
from hansard.errors import HansardError
from hansard.jobs.waiting import waiting
from hansard.model import POOL_NAMES
from hansard.perf import levels, system
from hansard.store import usage
from hansard.store.tables import IS_OPEN, jobs, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from hansard.api.health import Watch
    from hansard.store.database import Database

_LEVELS_EVERY = 30.0

FRESH = 1.0
"""Seconds for which an answer holds, however many ask."""

_STATES = ("queued", "running", "retrying")
"""Of jobs with work to do. Those that have ended are too many to be counted each time."""

_OPEN = (
    sa.select(
        jobs.c.state,
        jobs.c.pool,
        sa.func.count().label("jobs"),
        sa.func.min(jobs.c.created).label("since"),
    )
    .where(IS_OPEN)
    .group_by(jobs.c.state, jobs.c.pool)
)
_NOW = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
_WORKERS = sa.select(workers.c.host, workers.c.pools).where(workers.c.seen > sa.bindparam("since"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store knew at a moment."""

    waiting: dict[str, float] = field(default_factory=dict)
    """Seconds of audio by pool."""
    jobs: dict[tuple[str, str], int] = field(default_factory=dict)
    """By state and pool."""
    oldest: dict[str, float] = field(default_factory=dict)
    """Seconds that the oldest job that waits has waited, by pool."""
    workers: dict[tuple[str, str], int] = field(default_factory=dict)
    """By pool and host."""
    done: tuple[usage.Line, ...] = ()
    """By engine, since ever."""
    answers: bool = True


class Ledger:
    """Sums of usage. Of days that are over they do not change, so these are added up once."""

    def __init__(self) -> None:
        self._until = ""
        self._past: list[usage.Line] = []

    def sums(self, connection: sa.Connection, today: str) -> tuple[usage.Line, ...]:
        """By engine, since ever."""
        if self._until != today:
            # Midnight is past for everybody only a little later: what ends now counts for its day.
            self._past = usage.sums(connection, "", _before(today, 2), ("engine",), None)
            self._until = today
        recent = usage.sums(connection, _before(today, 1), "9999", ("engine",), None)
        found: dict[str | None, usage.Line] = {}
        for line in (*self._past, *recent):
            known = found.get(line.engine, usage.Line(0, 0.0, 0.0, engine=line.engine))
            found[line.engine] = usage.Line(
                known.calls + line.calls,
                known.seconds + line.seconds,
                known.cost + line.cost,
                engine=line.engine,
            )
        return tuple(found.values())


def look(database: Database, ledger: Ledger, lease_seconds: float) -> Seen:
    """A few small questions: none of them looks at what has ended."""
    with database.read() as connection:
        # Signs of life are written by the database's clock: see jobs.roll.
        on_server = database.dialect == "postgresql"
        now = float(connection.scalar(_NOW) or 0.0) if on_server else time.time()
        open_ones = connection.execute(_OPEN).all()
        counts = {(row.state, row.pool): row.jobs for row in open_ones}
        oldest = {r.pool: max(0.0, now - r.since) for r in open_ones if r.state == "queued"}
        crowd: dict[tuple[str, str], int] = {}
        for row in connection.execute(_WORKERS, {"since": now - lease_seconds}):
            for pool in filter(None, row.pools.split(",")):
                crowd[pool, row.host] = crowd.get((pool, row.host), 0) + 1
        done = ledger.sums(connection, usage.day(time.time()))
        return Seen(waiting(database), counts, oldest, crowd, done)


class Board:
    """The answer of ``/metrics``, made at most once a second."""

    def __init__(self, at: Desk, watch: Watch, meter: Meter) -> None:
        self._desk = at
        self._watch = watch
        self._ledger = Ledger()
        self._meter = meter
        self._turn = asyncio.Lock()
        self._made: tuple[float, bytes] | None = None
        self._registry: CollectorRegistry | None = None
        self._seen = Seen()
        self._requests: list[Metric] = []
        self._burns: levels.Burns = {}
        self._burnt = 0.0

    async def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        async with self._turn:
            if self._made is None or time.monotonic() - self._made[0] > FRESH:
                self._seen = await self._look()
                self._burns = await self._see_levels()
                # A copy, made where it is written: the rest is done on another thread.
                self._requests = self._meter.families()
                self._made = time.monotonic(), await self._desk.work(self._write)
            return self._made[1]

    async def _look(self) -> Seen:
        at = self._desk
        lease = at.settings.lease_seconds
        try:
            return await at.read(look, at.reader, self._ledger, lease)
        except HansardError:  # the health says why
            return Seen(answers=False)

    async def _see_levels(self) -> levels.Burns:
        """At most every half a minute: it is read from more rows than the rest."""
        at = self._desk
        if time.monotonic() < self._burnt:
            return self._burns
        self._burnt = time.monotonic() + _LEVELS_EVERY
        try:
            return await at.read(levels.burns, at.reader, at.settings.levels, now=time.time())
        except HansardError:  # likewise
            return {}

    def _write(self) -> bytes:
        from prometheus_client import generate_latest

        if self._registry is None:
            self._registry = registry(self._families, lambda: self._requests)
        return generate_latest(self._registry)

    def _families(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        seen = self._seen
        if seen.answers:
            audio = GaugeMetricFamily(
                "hansard_work_waiting_seconds",
                "Seconds of audio that nobody has heard yet, by pool.",
                labels=("pool",),
            )
            for pool, seconds in sorted(seen.waiting.items()):
                audio.add_metric((pool,), seconds)
            yield audio
            counts = GaugeMetricFamily(
                "hansard_jobs", "Jobs with work to do.", labels=("state", "pool")
            )
            for pool in POOL_NAMES:
                for state in _STATES:
                    counts.add_metric((state, pool), seen.jobs.get((state, pool), 0))
            yield counts
            age = GaugeMetricFamily(
                "hansard_queue_oldest_seconds",
                "How long the oldest job that nobody has begun has waited.",
                labels=("pool",),
            )
            for pool in POOL_NAMES:
                age.add_metric((pool,), seen.oldest.get(pool, 0.0))
            yield age
            crowd = GaugeMetricFamily(
                "hansard_workers", "Worker processes that live.", labels=("pool", "host")
            )
            for (pool, host), number in sorted(seen.workers.items()):
                crowd.add_metric((pool, host), number)
            yield crowd
            for name, what, of in (
                ("hansard_transcriptions", "Transcriptions that were asked for.", "calls"),
                ("hansard_audio_seconds", "Seconds of audio transcribed.", "seconds"),
                ("hansard_cost", "Money spent on remote engines.", "cost"),
            ):
                family = CounterMetricFamily(name, what, labels=("engine",))
                for line in seen.done:
                    family.add_metric((line.engine or "",), getattr(line, of))
                yield family
        yield self._parts()
        yield from self._caches()
        yield from pooled(self._desk.house.database)
        # All of the service's processes here: those of the parent, where this is its child.
        root = os.getppid() if self._desk.house.in_service else None
        yield from system.families(self._desk.settings.data, root)
        yield from self._levels()

    def _levels(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        bound = GaugeMetricFamily(
            "hansard_level_bound_seconds", "What a level promises.", labels=("level",)
        )
        burn = GaugeMetricFamily(
            "hansard_level_burn_ratio",
            "How fast the error budget of a level burns; at 1 it lasts thirty days.",
            labels=("level", "window"),
        )
        for window, found in self._burns.items():
            for name, level in found.items():
                burn.add_metric((name, f"{window}s"), level.burn)
        for name, seconds in levels.bounds(self._desk.settings.levels).items():
            bound.add_metric((name,), seconds)
        yield from (bound, burn)

    def _caches(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        at = self._desk
        looks = CounterMetricFamily(
            "hansard_cache_looks", "Looks into a cache.", labels=("cache", "found")
        )
        size = GaugeMetricFamily("hansard_cache_bytes", "Kept in a cache.", labels=("cache",))
        kept: dict[str, Shelf[Any]] = {
            "pages": at.pages,
            "transcripts": at.ready,
            "rendered": at.rendered,
        }
        for name, shelf in kept.items():
            looks.add_metric((name, "yes"), shelf.hits)
            looks.add_metric((name, "no"), shelf.misses)
            size.add_metric((name,), shelf.size)
        looks.add_metric(("statuses", "yes"), at.statuses.hits)
        looks.add_metric(("statuses", "no"), at.statuses.misses)
        yield from (looks, size)

    def _parts(self) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily

        parts = GaugeMetricFamily(
            "hansard_part_up",
            "Whether a part of the service can be used: 1, or 0. See /api/v1/health.",
            labels=("part",),
        )
        known: dict[str, Any] = msgspec.json.decode(self._watch.whole(known=True).body)
        for name, part in known["components"].items():
            parts.add_metric((name,), float(part["status"] != "down"))
        if self._desk.shared is not None:
            parts.add_metric(("cache",), float(self._desk.shared.answers))
        return parts


async def scrape(request: Request) -> Response:
    """Where keys are asked for, one with the scope admin: figures are about everybody's work."""
    from prometheus_client import CONTENT_TYPE_LATEST

    demand(request, "admin")
    state = request.app.state
    if not hasattr(state, "board"):
        state.board = Board(desk(request), state.health, state.meter)
    board: Board = state.board
    return Response(
        await board.text(), media_type=None, headers={"content-type": CONTENT_TYPE_LATEST}
    )


def _before(day: str, days: int) -> str:
    when = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    return usage.day(when - days * 86_400.0)
