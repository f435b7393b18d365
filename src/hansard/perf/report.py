"""What was measured in a window, as an operator reads it: by operation, the busiest first."""

from __future__ import annotations

from collections.abc import Mapping

from hansard.model import Value
from hansard.perf.components import component_of
from hansard.store import rollup
from hansard.store.database import Database
from hansard.store.rollup import Figures
from hansard.telemetry import Example

FACTOR = "pipeline.factor"
"""Not seconds, but seconds for each second of audio."""

WAITS = frozenset({FACTOR, "pipeline.transcription", "queue.wait", "openai.throttled"})
"""Stages in which nobody works: they have no share of the time."""

_EXAMPLES = 10


class Slow(Value, frozen=True, omit_defaults=False):
    """One of the slowest times, with what leads to its log and its spans."""

    stage: str
    seconds: float
    at: float
    """When it ended, in seconds since the epoch."""
    trace: str | None
    about: str | None
    """The job or the request."""


class Operation(Value, frozen=True, omit_defaults=False):
    """One stage. Times are seconds, right to 1 %."""

    stage: str
    component: str
    count: int
    failed: int
    rate: float
    """Records a second."""
    share: float
    """Of all the time that was worked, 0 to 1, without what other stages within took."""
    mean: float
    p50: float
    p95: float
    p99: float
    longest: float
    failures: Mapping[str, int]
    """Code of the error → how often."""


class PerformanceReport(Value, frozen=True, omit_defaults=False):
    """A window. Times are seconds since the epoch, durations seconds."""

    since: float
    until: float
    category: str | None
    """The component that it is about; ``None``: all of them."""
    count: int
    failed: int
    success_rate: float
    """0 to 1; 1 where there was nothing."""
    p50: float
    p95: float
    p99: float
    operations: tuple[Operation, ...]
    slowest: tuple[Slow, ...]


def report(
    database: Database, *, seconds: float, now: float, category: str | None = None
) -> PerformanceReport:
    """The last ``seconds`` until ``now``, of one component or of all."""
    found = rollup.read(database, now - seconds, now, now=now)
    return summed_up(found, since=now - seconds, until=now, category=category)


def summed_up(
    found: Mapping[str, Figures], *, since: float, until: float, category: str | None
) -> PerformanceReport:
    """A report of figures by stage."""
    worked = sum(one.timing.own for stage, one in found.items() if stage not in WAITS)
    chosen = {
        stage: one
        for stage, one in found.items()
        if category is None or component_of(stage) == category
    }
    whole = Figures()
    for stage, one in chosen.items():
        if stage != FACTOR:
            whole = whole.plus(one)
    operations = [
        _operation(stage, one, span=until - since, worked=worked) for stage, one in chosen.items()
    ]
    slowest = [_slow(stage, one) for stage, figures in chosen.items() for one in figures.slowest]
    slowest.sort(key=lambda one: -one.seconds)
    timing = whole.timing
    p50, p95, p99 = (
        timing.percentile(share) if timing.count else 0.0 for share in (0.5, 0.95, 0.99)
    )
    return PerformanceReport(
        since=since,
        until=until,
        category=category,
        count=timing.count,
        failed=whole.failed,
        success_rate=1.0 - whole.failed / timing.count if timing.count else 1.0,
        p50=p50,
        p95=p95,
        p99=p99,
        operations=tuple(sorted(operations, key=lambda one: (-one.share, one.stage))),
        slowest=tuple(slowest[:_EXAMPLES]),
    )


def _operation(stage: str, figures: Figures, *, span: float, worked: float) -> Operation:
    timing = figures.timing
    p50, p95, p99 = (
        timing.percentile(share) if timing.count else 0.0 for share in (0.5, 0.95, 0.99)
    )
    return Operation(
        stage=stage,
        component=component_of(stage),
        count=timing.count,
        failed=figures.failed,
        rate=timing.count / span if span else 0.0,
        share=timing.own / worked if worked and stage not in WAITS else 0.0,
        mean=timing.total / timing.count if timing.count else 0.0,
        p50=p50,
        p95=p95,
        p99=p99,
        longest=timing.longest,
        failures=figures.failures,
    )


def _slow(stage: str, one: Example) -> Slow:
    return Slow(stage, one.seconds, one.at, one.trace, one.about)
