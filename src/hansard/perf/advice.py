"""``hansard optimise --explain``: what would help that is not changed by itself, and why.

Facts are gathered from the store, its database, the disk and the memory (:func:`gather`); what
follows from them is worked out by :func:`advise`, which touches nothing. Whatever it recommends,
it says from which figures, what is to be gained, and how to take it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from hansard.config import Settings
from hansard.jobs.waiting import waiting
from hansard.model import Value
from hansard.perf import plans
from hansard.perf.plans import Scan, Unused
from hansard.store import rollup
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, jobs, recordings

_DAY = 86_400.0
_WEEK = 7 * _DAY
_LOAD = "engine.load"

THRASHING = 6.0
"""Loads of models an hour, on average over a day, that are too many."""
OLD = 600.0
"""Seconds that a job may wait before more workers are worth a thought."""
SOON = 14.0
"""Days until the disk is full that call for something."""
BUSY = 0.8
"""Share of the database's connections in use that leaves too few."""


class Advice(Value, frozen=True, omit_defaults=False):
    """One recommendation."""

    about: str
    """``database``, ``pool``, ``models``, ``disk``, ``queue`` or ``memory``."""
    change: str
    why: str
    gain: str
    undo: str


class Facts(Value, frozen=True):
    """What is known at a moment. Sizes in bytes, times in seconds."""

    scans: tuple[Scan, ...] = ()
    unused: tuple[Unused, ...] = ()
    stale: str | None = None
    """Why what the planner knows is out of date, as a phrase."""
    connections: int = 0
    """To the database server, in use now, of everybody."""
    most_connections: int = 0
    """That it takes; 0 where there is no server."""
    pool: int = 0
    """That one of our processes may open."""
    processes: int = 0
    loads: int = 0
    """Models loaded in the last day."""
    loading: float = 0.0
    """Seconds that took, in all."""
    model_idle: float = 0.0
    fits: bool = True
    """Whether the models here fit into half of the memory together."""
    waiting: float = 0.0
    """Seconds of audio that nobody has heard."""
    oldest: float = 0.0
    """Seconds that the oldest job has waited without being begun."""
    workers: int = 0
    free: int = 0
    reserve: int = 0
    arriving: float = 0.0
    """Bytes of recordings a day, over the last week."""
    memory_limit: int = 0
    memory_left: int = 0
    memory_reserve: int = 0


def explain(settings: Settings) -> list[Advice]:
    """Look, and say what should be done.

    Raises:
        HansardError: the store cannot be opened.
    """
    from hansard.store.opening import opened

    database = opened(settings.data, settings.database, sqlite=settings.sqlite)
    try:
        return list(advise(gather(settings, database)))
    finally:
        database.close()


# ── what follows ─────────────────────────────────────────────────────────────────────────────


def advise(facts: Facts) -> Iterator[Advice]:
    """What should be done, the most pressing first."""
    yield from _disk(facts)
    yield from _memory(facts)
    yield from _queue(facts)
    yield from _models(facts)
    yield from _pool(facts)
    yield from _database(facts)


def _disk(facts: Facts) -> Iterator[Advice]:
    left = facts.free - facts.reserve
    days = left / facts.arriving if facts.arriving > 0 else float("inf")
    if left > 0 and days > SOON:
        return
    when = "now" if left <= 0 else f"in {days:.0f} days"
    yield Advice(
        "disk",
        "Archive or remove old media: set retention.audio_days, or `hansard archive`.",
        f"{facts.free / 1e9:.1f} GB are free, {facts.reserve / 1e9:.1f} GB of them the reserve, "
        f"and {facts.arriving / 1e9:.2f} GB come a day: nothing more is taken {when}.",
        f"each day of media that is let go gives {facts.arriving / 1e9:.2f} GB back",
        "Unset it; what was archived comes back with `hansard archive restore`.",
    )


def _memory(facts: Facts) -> Iterator[Advice]:
    if not facts.memory_limit or facts.memory_left >= 4 * facts.memory_reserve:
        return
    yield Advice(
        "memory",
        "Run fewer or smaller models at a time (whisper.lanes, sphinx.processes, serve.workers), "
        "or give the machine more memory.",
        f"{facts.memory_left / 1e6:,.0f} of {facts.memory_limit / 1e6:,.0f} MB are left; below "
        f"{4 * facts.memory_reserve / 1e6:,.0f} MB nothing is kept ready, below "
        f"{facts.memory_reserve / 1e6:,.0f} MB no new work is taken.",
        "answers from caches again, and no refusals",
        "Unset what was set.",
    )


def _queue(facts: Facts) -> Iterator[Advice]:
    if facts.oldest < OLD or facts.waiting <= 0:
        return
    if not facts.workers:
        change = "Start a worker: `hansard worker`, or serve.workers above 0."
        gain = "what waits is done"
    else:
        change = (
            f"Add workers on more machines; {facts.workers} live now. `hansard plan` says how many."
        )
        gain = f"waits shrink in proportion: twice the workers, {facts.oldest / 120:.0f} minutes"
    yield Advice(
        "queue",
        change,
        f"The oldest job has waited {facts.oldest / 60:.0f} minutes, and "
        f"{facts.waiting / 3600:.1f} hours of audio are unheard.",
        gain,
        "End them: what they had in hand is done by others.",
    )


def _models(facts: Facts) -> Iterator[Advice]:
    if facts.loads / 24 < THRASHING or not facts.loading:
        return
    cost = f"{facts.loads} models were loaded in a day, which took {facts.loading:,.0f} s"
    if facts.fits:
        yield Advice(
            "models",
            f"Keep models longer: HANSARD_MODEL_IDLE={max(3600, 4 * facts.model_idle):.0f}.",
            f"{cost}; they go after {facts.model_idle:.0f} s unused, and all of them fit.",
            f"up to {facts.loading:,.0f} s a day, and the wait of whoever comes first",
            "Unset HANSARD_MODEL_IDLE.",
        )
    else:
        yield Advice(
            "models",
            "Use fewer models on one machine: name one (HANSARD_MODEL), or give each its workers.",
            f"{cost}; together they do not fit into half of the memory, so they push each other "
            "out.",
            f"up to {facts.loading:,.0f} s a day",
            "Unset HANSARD_MODEL.",
        )


def _pool(facts: Facts) -> Iterator[Advice]:
    if not facts.most_connections:
        return
    wanted = 2 * facts.pool * max(1, facts.processes)
    if facts.connections >= BUSY * facts.most_connections or wanted > facts.most_connections:
        yield Advice(
            "pool",
            f"Raise max_connections of PostgreSQL to {int(wanted / BUSY)}, put a pooler before "
            "it, or lower postgres.connections.",
            f"{facts.connections} of {facts.most_connections} connections are in use, and "
            f"{facts.processes} processes of ours may open {wanted}.",
            "no request fails or waits for want of a connection",
            "Put the old value back; PostgreSQL must be started again for it.",
        )


def _database(facts: Facts) -> Iterator[Advice]:
    for scan in facts.scans:
        yield Advice(
            "database",
            f"See why {scan.what} reads all of {scan.table}; `hansard database check` says "
            "whether an index is missing, `hansard database vacuum` refreshes what is known.",
            scan.why,
            f"reads a few rows instead of {scan.rows:,}",
            "DROP INDEX what was created.",
        )
    for index in facts.unused:
        yield Advice(
            "database",
            f"If nobody searches by it, DROP INDEX {index.name}.",
            f"{index.name} on {index.table} takes {index.size / 1e6:,.0f} MB and was not used "
            "since statistics began.",
            f"{index.size / 1e6:,.0f} MB, and a little of each write to {index.table}",
            "`hansard database upgrade` on a copy shows its definition; create it again.",
        )
    if facts.stale is not None:
        yield Advice(
            "database",
            "Run `hansard database vacuum`.",
            f"What the planner knows is out of date: {facts.stale}.",
            "plans that fit the tables as they are",
            "There is nothing to undo.",
        )


# ── what there is ────────────────────────────────────────────────────────────────────────────


def gather(settings: Settings, database: Database) -> Facts:
    """The facts as they are now; nothing is changed."""
    from hansard import headroom
    from hansard.pressure import reserve
    from hansard.speech import catalog
    from hansard.store.opening import files

    kept = files(settings, "explain")
    try:
        free = kept.free_bytes()
    finally:
        kept.close()
    memory = headroom.read()
    tightest = min(memory.bounds, key=lambda one: one.available)
    needs = [one.memory or 0 for one in catalog.installed(settings)]
    loads, loading = _loads(database)
    return Facts(
        **plans.gather(database),
        **_crowd(database),
        pool=settings.postgres.connections,
        loads=loads,
        loading=loading,
        model_idle=settings.model_idle,
        fits=sum(needs) <= memory.limit / 2,
        waiting=waiting(database)["speech"],
        free=free,
        reserve=settings.limits.disk_reserve,
        memory_limit=memory.limit,
        memory_left=memory.available,
        memory_reserve=int(reserve(settings.memory, tightest)),
    )


def _crowd(database: Database) -> Mapping[str, Any]:
    """Who works, what waits, and what comes in."""
    from hansard.store.tables import workers

    now = time.time()
    with database.read() as connection:
        oldest = connection.scalar(
            sa.select(sa.func.min(jobs.c.created)).where(IS_OPEN, jobs.c.state == "queued")
        )
        arrived = connection.scalar(
            sa.select(sa.func.sum(recordings.c.size)).where(recordings.c.created > now - _WEEK)
        )
        alive = connection.scalar(
            sa.select(sa.func.count()).select_from(workers).where(workers.c.seen > now - 120.0)
        )
        owners = connection.scalar(sa.select(sa.func.count(jobs.c.owner.distinct())).where(IS_OPEN))
    return {
        "oldest": max(0.0, now - oldest) if oldest else 0.0,
        "arriving": float(arrived or 0) / 7.0,
        "workers": int(alive or owners or 0),
        "processes": int(alive or 0) + 1,
    }


def _loads(database: Database) -> tuple[int, float]:
    """Models loaded in the last day, and seconds that took, in all processes."""
    now = time.time()
    timing = rollup.read(database, now - _DAY, now, now=now, stages=(_LOAD,)).get(_LOAD)
    return (0, 0.0) if timing is None else (timing.timing.count, timing.timing.total)
