"""Service levels: what was promised, what came of it, and how fast the budget for the rest burns.

A level is a bound in seconds that a share of all requests or works, the objective, must stay
within; what fails does not. The rest is the error budget of thirty days. The *burn rate* of a
window is the share that broke the bound over the share that may: at 1 the budget lasts exactly
thirty days. A level burns if a long window and a short one both do: the long one says that it
matters, the short one that it still goes on (Google, The Site Reliability Workbook, chapter 5,
"Multiwindow, Multi-Burn-Rate Alerts", whose figures these are).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hansard.config import LevelSettings
from hansard.model import Value
from hansard.perf.report import FACTOR
from hansard.store import rollup
from hansard.store.database import Database
from hansard.store.rollup import DAY, HOUR, MINUTE, Figures

STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "health": ("api.GET /api/v1/health",),
    "search": ("api.GET /api/v1/search",),
    "status": ("api.GET /api/v1/jobs/{job}",),
    "meeting": ("api.GET /api/v1/meetings/{job}",),
    "upload": ("submit.accept",),
    "transcription": (FACTOR,),
    "sentiment": ("insight.sentiment",),
    "summary": ("insight.summary",),
    "embeddings": ("embeddings.meeting",),
}
"""What each level is measured by."""

BUDGET: Final = 30 * DAY
"""Seconds that an error budget is for."""

_FEW = 10
"""So many must have broken a bound before anybody is told: one at night is no incident."""


class Rule(Value, frozen=True):
    """How fast a budget must burn, over which two windows (seconds)."""

    name: str
    long: int
    short: int
    burn: float


RULES: Final = (
    Rule("fast", HOUR, 5 * MINUTE, 14.4),
    Rule("steady", 6 * HOUR, 30 * MINUTE, 6.0),
    Rule("slow", 3 * DAY, 6 * HOUR, 1.0),
)
"""Two, five and ten percent of the budget gone in an hour, six hours and three days."""

STILL: Final = 30 * MINUTE
"""Seconds. What was over before is no news, however much of the budget it took: the windows of the
slow rule would remember it for hours."""

WINDOWS: Final = sorted({window for rule in RULES for window in (rule.long, rule.short)})


class Level(Value, frozen=True, omit_defaults=False):
    """How well a level was kept in a window."""

    name: str
    bound: float
    """Seconds; of ``transcription``: for each second of audio."""
    objective: float
    """Share that must stay within, 0 to 1."""
    count: int
    broken: int
    """Slower than the bound, or failed."""
    attained: float
    """What the objective's share stayed within."""
    burn: float
    """Of this window; above 1 it is over its level."""


def bounds(settings: LevelSettings) -> dict[str, float]:
    """Levels that are watched, and their bounds."""
    found = {name: float(getattr(settings, name)) for name in STAGES}
    return {name: bound for name, bound in found.items() if bound}


def measure(
    database: Database, settings: LevelSettings, *, seconds: float, now: float
) -> list[Level]:
    """Every level that is watched, over the last ``seconds``."""
    watched = bounds(settings)
    stages = [stage for name in watched for stage in STAGES[name]]
    found = rollup.read(database, now - seconds, now, now=now, stages=stages)
    return [judged(name, bound, settings.objective, found) for name, bound in watched.items()]


def judged(name: str, bound: float, objective: float, found: Mapping[str, Figures]) -> Level:
    """One level by the figures of its stages."""
    whole = Figures()
    for stage in STAGES[name]:
        whole = whole.plus(found.get(stage, Figures()))
    timing = whole.timing
    broken = min(timing.count, timing.above(bound) + whole.failed)
    share = broken / timing.count if timing.count else 0.0
    return Level(
        name=name,
        bound=bound,
        objective=objective,
        count=timing.count,
        broken=broken,
        attained=timing.percentile(objective) if timing.count else 0.0,
        burn=share / (1.0 - objective),
    )


class Burning(Value, frozen=True, omit_defaults=False):
    """A level whose budget burns too fast, by a rule."""

    level: Level
    """In the long window."""
    rule: str
    long: float
    """Burn rates of the two windows."""
    short: float


Burns = Mapping[int, Mapping[str, Level]]
"""Seconds of a window → levels in it by name."""


def burns(database: Database, settings: LevelSettings, *, now: float) -> Burns:
    """Every level in every window that a rule looks at."""
    return {
        window: {
            level.name: level for level in measure(database, settings, seconds=window, now=now)
        }
        for window in WINDOWS
    }


def burning(found: Burns) -> dict[str, Burning]:
    """Levels that burn, each by the most urgent rule."""
    made: dict[str, Burning] = {}
    for rule in RULES:
        for name, long in found[rule.long].items():
            short = found[rule.short][name]
            enough = long.broken >= _FEW
            goes_on = found[STILL][name].burn >= 1.0
            burn = min(long.burn, short.burn)
            if name not in made and enough and goes_on and burn >= rule.burn:
                made[name] = Burning(long, rule.name, long.burn, short.burn)
    return made


def is_over(found: Burns, name: str, rule: str) -> bool:
    """Whether an incident is over: the short window of its rule keeps within the budget."""
    windows = [one.short for one in RULES if one.name == rule]
    levels = [found[window].get(name) for window in windows]
    return all(level is None or level.burn < 1.0 for level in levels)
