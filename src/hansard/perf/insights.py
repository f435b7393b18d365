"""What changed against the window before, and what is over its service level, by name.

A stage that became slower makes all stages slower that it is within. So a stage is named only if
most of what it takes longer is its *own*: spent in no stage within. Then the sum over stages is the
sum of what changed, and the first of them is where to look.
"""

from __future__ import annotations

from typing import Literal

from hansard.config import LevelSettings
from hansard.model import Value
from hansard.perf import levels
from hansard.perf.alerts import Incident, open_ones
from hansard.perf.components import component_of
from hansard.perf.levels import Level
from hansard.perf.report import FACTOR, WAITS
from hansard.store import rollup
from hansard.store.database import Database
from hansard.store.rollup import Figures

_FEW = 5
"""Records in each window: fewer say nothing."""

_MEDIAN, _TAIL = 1.25, 1.5
"""How much longer half of the records, or the slowest twentieth, must take."""

_LEAST = 0.001
"""Seconds a record: less is no matter of anybody's."""

_OF_ITS_OWN = 0.5
"""Share of a change that must be the stage's own."""

_FAILS, _TWICE = 0.01, 2.0
"""Share of failures that is worth a word, and how much more it must be than before."""


class Shift(Value, frozen=True, omit_defaults=False):
    """A stage that is not as it was. Durations are seconds."""

    kind: Literal["slower", "faster", "failing"]
    stage: str
    component: str
    message: str
    before: float
    """The median; of ``failing`` the share that failed."""
    now: float
    cost: float
    """Seconds of all records in the window that are there, or saved, because of it."""


class Insights(Value, frozen=True, omit_defaults=False):
    """Two windows of the same length, one behind the other; times are seconds since the epoch."""

    before: float
    since: float
    until: float
    changes: tuple[Shift, ...]
    """What costs most first."""
    over: tuple[Level, ...]
    """Levels that are not kept in this window."""
    incidents: tuple[Incident, ...]
    """What is open now."""


def insights(
    database: Database, settings: LevelSettings, *, seconds: float, now: float
) -> Insights:
    """What is to be said of the last ``seconds``, against as many before."""
    since, before = now - seconds, now - 2 * seconds
    past = rollup.read(database, before, since, now=now)
    present = rollup.read(database, since, now, now=now)
    kept = levels.measure(database, settings, seconds=seconds, now=now)
    return Insights(
        before=before,
        since=since,
        until=now,
        changes=tuple(changes(past, present)),
        over=tuple(level for level in kept if level.burn > 1.0),
        incidents=tuple(open_ones(database)),
    )


def changes(past: dict[str, Figures], present: dict[str, Figures]) -> list[Shift]:
    """Stages that differ by more than chance and noise make them, the most costly first."""
    found = []
    for stage, now in present.items():
        before = past.get(stage, Figures())
        found += _pace(stage, before, now) + _failing(stage, before, now)
    return sorted(found, key=lambda one: -abs(one.cost))


def _pace(stage: str, before: Figures, now: Figures) -> list[Shift]:
    old, new = before.timing, now.timing
    if min(old.count, new.count) < _FEW or stage == FACTOR:
        return []
    halves = old.percentile(0.5), new.percentile(0.5)
    tails = old.percentile(0.95), new.percentile(0.95)
    more = new.total / new.count - old.total / old.count
    own = new.own / new.count - old.own / old.count
    slower = more > 0
    # As a factor of at least 1 in either direction.
    half, tail = (now / was if slower else was / now for was, now in (halves, tails))
    if not (half >= _MEDIAN or (tail >= _TAIL and half >= 1.0)) or abs(more) < _LEAST:
        return []
    if stage not in WAITS and own / more < _OF_ITS_OWN:
        return []  # what is within has changed, and is named itself
    word: Literal["slower", "faster"] = "slower" if slower else "faster"
    said = (
        f"{stage} is {max(half, tail):.1f} times {word}: half of its {new.count} times within "
        f"{_written(halves[1])}, before within {_written(halves[0])}."
    )
    cost = own * new.count if stage not in WAITS else 0.0
    return [Shift(word, stage, component_of(stage), said, *halves, cost)]


def _failing(stage: str, before: Figures, now: Figures) -> list[Shift]:
    if now.failed < _FEW or not now.timing.count:
        return []
    share = now.failed / now.timing.count
    past = before.failed / before.timing.count if before.timing.count else 0.0
    if share < _FAILS or share < _TWICE * past:
        return []
    most = max(now.failures, key=lambda code: now.failures[code])
    said = f"{stage} fails {share:.1%} of the time, mostly by {most}; before {past:.1%}."
    return [Shift("failing", stage, component_of(stage), said, past, share, 0.0)]


def _written(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
