"""How many machines so much audio takes: arithmetic, and nothing else.

Every figure keeps its formula and the numbers in it, so that whoever doubts one can follow it.
Nothing here is a promise: what was measured, given or only assumed is said with each basis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from hansard.jobs import queueing
from hansard.model import SAMPLE_RATE, Value

PCM = SAMPLE_RATE * 2
"""Bytes of a second of prepared audio, one channel."""

MONTH = 30
"""Days."""

_HOUR = 3600.0
_AIM = 0.8
"""Share of its time that a worker is planned to work: what is fuller has queues without end."""

_LIVE = 2.0
"""How often a second of live audio is heard: guesses while somebody speaks, and the final."""

_HELD = 2.0
"""Connections of a person: the events of a job, and one request."""

_FULL = 0.5
"""Share of ``serve.connections`` that is planned with."""

_BESIDE = 10
"""Connections for who else looks into the database: backups, figures, a person."""

_READS = 2.0
"""How often prepared audio crosses the network: written once, and read once by who hears it."""

Origin = Literal["given", "measured", "setting", "assumed"]


class Basis(Value, frozen=True):
    """A number that figures rest on, and where it comes from."""

    value: float
    origin: Origin
    note: str = ""


class Demand(Value, frozen=True):
    """What there is to be done. Hours are hours of audio a day unless their name says otherwise."""

    hours_per_day: float
    busy_hours: float = 8.0
    """Hours of the day in which recordings come in."""
    deadline: float = 1.0
    """Hours after which a recording that came in must be done."""
    longest: float = 2.0
    """Hours of the longest recording."""
    people: int = 50
    """Who look on at the same time."""
    live: int = 0
    """Live sessions at the same time."""
    spare: int = 1
    """Workers more than needed, so that one may be lost."""
    level: float = 0.95
    """Share of the recordings that must be done by the deadline."""


class Bases(Value, frozen=True):
    """What one second of audio costs, and what one process may hold."""

    rtf: Basis
    """Seconds that one worker takes for one second of audio."""
    bytes_per_second: Basis
    """Of recordings as they come in."""
    database_bytes_per_second: Basis
    connections: Basis
    """``serve.connections``: connections of one API process."""
    lives: Basis
    """``serve.lives``: live sessions of one API process."""
    pool: Basis
    """``postgres.connections``: connections of a process of each of two kinds."""
    audio_days: Basis | None = None
    """``retention.audio_days``; kept for ever where it is not set."""
    length: Basis | None = None
    """Seconds of a recording on average …"""
    variability: Basis | None = None
    """… and their variance over its square. Without both, nothing is said about waiting."""


class Figure(Value, frozen=True):
    """One result."""

    name: str
    value: float
    unit: str
    formula: str
    """In words and symbols …"""
    worked: str
    """… and with the numbers in it."""


class Plan(Value, frozen=True):
    """What it takes."""

    demand: Demand
    bases: Bases
    figures: tuple[Figure, ...]

    def __getitem__(self, name: str) -> float:
        """The value of a figure."""
        return next(one.value for one in self.figures if one.name == name)

    @property
    def assumed(self) -> Sequence[str]:
        """Names of the bases that nobody has measured here."""
        pairs = ((name, getattr(self.bases, name)) for name in Bases.__struct_fields__)
        return [name for name, one in pairs if one is not None and one.origin == "assumed"]


def plan(demand: Demand, bases: Bases) -> Plan:
    """Workers, API processes, connections, storage and network for a demand."""
    queue = _queue(demand, bases)
    workers = _workers(demand, bases.rtf.value, queue)
    processes = _processes(demand, bases)
    both = workers.value + processes.value
    pool = bases.pool.value
    connections = Figure(
        "postgres_connections",
        math.ceil(both * (2 * pool + 2)) + _BESIDE,
        "connections",
        "(workers + API processes) * (2 * postgres.connections + 2 for messages) + 10 beside; "
        "max_connections must not be less",
        f"({workers.value:g} + {processes.value:g}) * (2 * {pool:g} + 2) + {_BESIDE}",
    )
    return Plan(
        demand,
        bases,
        (
            workers,
            *_waiting(demand, queue, int(workers.value) - demand.spare),
            processes,
            connections,
            *_storage(demand, bases),
            *_network(demand, bases),
        ),
    )


def _queue(demand: Demand, bases: Bases) -> queueing.Queue | None:
    """What comes in during busy hours, by the hour; ``None`` where lengths are not known."""
    if bases.length is None or bases.variability is None or not demand.hours_per_day:
        return None
    hours = bases.length.value / _HOUR
    rate = demand.hours_per_day / demand.busy_hours / hours
    return queueing.Queue(rate, hours * bases.rtf.value, bases.variability.value)


def _queued(demand: Demand, queue: queueing.Queue | None) -> int:
    """Workers that let ``level`` of the recordings be done in time, though they come at random."""
    if queue is None:
        return 0
    asked = (queue, demand.deadline, demand.level)
    return min(queueing.enough(*asked), queueing.enough_for(*asked, demand.busy_hours))


def _workers(demand: Demand, rtf: float, queue: queueing.Queue | None) -> Figure:
    hours = min(24.0, demand.busy_hours + demand.deadline)
    steady = demand.hours_per_day * rtf / (hours * _AIM)
    alone = demand.longest * rtf / demand.deadline if demand.hours_per_day else 0.0
    live = demand.live * rtf * _LIVE / _AIM
    queued = _queued(demand, queue)
    needed = max(1, math.ceil(max(steady, alone) + live), math.ceil(queued + live))
    formula, worked = "", ""
    if queue is not None:
        formula = ", or ⌈queue + live * …⌉ (the queue M/G/c, docs/loadtest.md) if that is more"
        worked = f", or ⌈{queued} + {demand.live} * …⌉ if that is more"
    return Figure(
        "workers_speech",
        needed + demand.spare,
        "workers",
        "⌈max(hours a day * rtf / (min(24, busy hours + deadline) * 0.8), "
        f"longest * rtf / deadline) + live * rtf * 2 / 0.8⌉{formula}, at least 1, + spare",
        f"⌈max({demand.hours_per_day:g} * {rtf:g} / ({hours:g} * {_AIM:g}), "
        f"{demand.longest:g} * {rtf:g} / {demand.deadline:g}) "
        f"+ {demand.live} * {rtf:g} * {_LIVE:g} / {_AIM:g}⌉{worked} + {demand.spare}",
    )


def _waiting(demand: Demand, queue: queueing.Queue | None, workers: int) -> list[Figure]:
    """How long recordings wait, with no worker lost and none that a live session keeps."""
    if queue is None or queue.offered >= workers:
        return []  # what comes in busy hours is worked off after them: nothing settles
    numbers = (
        f"λ = {queue.rate:.4g} an hour, S = {queue.service:.4g} h, cs² = {queue.variability:g}, "
        f"c = {workers}"
    )
    return [
        Figure(
            "mean_wait",
            queue.wait(workers) * _HOUR,
            "seconds",
            "(1 + cs²) / 2 * u^(√(2(c + 1)) - 1) / (c * (1 - u)) * S with u = λ * S / c: M/G/c by "
            "Allen and Cunneen, M/M/c by Sakasegawa",
            numbers,
        ),
        Figure(
            "done_in_time",
            queue.done(demand.deadline, workers),
            "share",
            "1 - P(wait) * exp(-(deadline - S) / mean wait of those who wait), the worse of one "
            "worker for each recording and all for one",
            numbers,
        ),
    ]


def _processes(demand: Demand, bases: Bases) -> Figure:
    held = demand.people * _HELD + demand.live
    room = bases.connections.value * _FULL
    needed = max(2, math.ceil(held / room), math.ceil(demand.live / bases.lives.value))
    return Figure(
        "api_processes",
        needed,
        "processes",
        "max(2, so that one may be lost; ⌈(people * 2 + live) / (serve.connections * 0.5)⌉; "
        "⌈live / serve.lives⌉)",
        f"max(2, ⌈({demand.people} * {_HELD:g} + {demand.live}) / "
        f"({bases.connections.value:g} * {_FULL:g})⌉, ⌈{demand.live} / {bases.lives.value:g}⌉)",
    )


def _storage(demand: Demand, bases: Bases) -> list[Figure]:
    seconds = demand.hours_per_day * _HOUR
    each, rows = bases.bytes_per_second.value, bases.database_bytes_per_second.value
    waiting = seconds * min(1.0, (demand.deadline + demand.longest) / 24.0)
    figures = [
        Figure(
            "recordings_a_month",
            seconds * each * MONTH,
            "bytes",
            "hours a day * 3600 * bytes a second * 30: object storage, or the data directory",
            f"{demand.hours_per_day:g} * 3600 * {each:g} * {MONTH}",
        ),
        Figure(
            "prepared_audio",
            waiting * PCM,
            "bytes",
            "hours a day * 3600 * min(1, (deadline + longest) / 24) * 32000: a channel, while its "
            "job is open, where the recordings are",
            f"{demand.hours_per_day:g} * 3600 * "
            f"min(1, ({demand.deadline:g} + {demand.longest:g}) / 24) * {PCM}",
        ),
        Figure(
            "database_a_month",
            seconds * rows * MONTH,
            "bytes",
            "hours a day * 3600 * bytes of rows a second * 30: PostgreSQL's disk",
            f"{demand.hours_per_day:g} * 3600 * {rows:g} * {MONTH}",
        ),
    ]
    if bases.audio_days is not None:
        days = bases.audio_days.value
        figures.append(
            Figure(
                "recordings_kept",
                seconds * each * days,
                "bytes",
                "hours a day * 3600 * bytes a second * retention.audio_days: where it ends to grow",
                f"{demand.hours_per_day:g} * 3600 * {each:g} * {days:g}",
            )
        )
    return figures


def _network(demand: Demand, bases: Bases) -> list[Figure]:
    rate = demand.hours_per_day / demand.busy_hours
    each = bases.bytes_per_second.value
    return [
        Figure(
            "network_in",
            rate * each * 8,
            "bits/s",
            "hours a day / busy hours * bytes a second * 8: uploads, on average in busy hours",
            f"{demand.hours_per_day:g} / {demand.busy_hours:g} * {each:g} * 8",
        ),
        Figure(
            "network_storage",
            rate * (2 * each + _READS * PCM) * 8,
            "bits/s",
            "hours a day / busy hours * (2 * bytes a second + 2 * 32000) * 8: recordings are put "
            "and fetched, prepared audio is put and fetched; with object storage",
            f"{demand.hours_per_day:g} / {demand.busy_hours:g} * "
            f"(2 * {each:g} + {_READS:g} * {PCM}) * 8",
        ),
    ]
