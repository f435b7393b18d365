"""What a load test asks for, what it saw, and whether that is within the service levels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from hansard.model import Value
from hansard.telemetry import Timing

if TYPE_CHECKING:
    from hansard.config import LevelSettings

Scenario = Literal["upload", "poll", "search", "read", "mixed", "live"]

SCENARIOS: Mapping[Scenario, Mapping[str, int]] = {
    "upload": {"upload": 1},
    "poll": {"status": 9, "health": 1},
    "search": {"search": 1},
    "read": {"meeting": 4, "transcript": 2, "list": 2, "health": 1},
    "mixed": {
        "upload": 1,
        "status": 6,
        "meeting": 2,
        "transcript": 2,
        "list": 2,
        "search": 2,
        "health": 1,
    },
    "live": {"live": 1},
}
"""What users do in each, and how often they do it next to the rest."""

SENT = " once sent"
"""What an operation's name ends with where its latency is told without the waiting for a user: the
same requests again, which count once."""

CONFIDENCE = 0.95
"""Of every interval here."""

_MOST_MOMENTS = 240
"""Moments that are kept, however long a test lasts: neighbours are put together beyond."""

_FEW_MOMENTS = 5
"""With fewer, nothing can be said about how much requests near to each other are alike."""


Unit = Literal["s", "times real time"]


class Level(Value, frozen=True):
    """What is promised of an operation: ``share`` of its requests take less than ``limit``."""

    operation: str
    limit: float
    """Seconds; of a transcription, seconds for a second of audio."""
    share: float = 0.95
    unit: Unit = "s"


_HELD = ("health", "search", "status", "meeting", "upload", "transcription")
"""Levels that are named like what users do."""


def promised(settings: LevelSettings) -> tuple[Level, ...]:
    """The service levels that a load test can see, by the settings; 0 promises nothing.

    An upload counts without its transfer. ``findings`` are sentiment and summary together, held to
    the tighter of their two levels; vectors are made in the background, where no request sees them.
    """
    limits = {name: float(getattr(settings, name)) for name in _HELD}
    limits["findings"] = min(filter(None, (settings.sentiment, settings.summary)), default=0.0)
    return tuple(
        Level(name, limit, settings.objective, unit_of(name))
        for name, limit in limits.items()
        if limit
    )


def unit_of(operation: str) -> Unit:
    """What its figures are in."""
    return "times real time" if operation == "transcription" else "s"


FAILED_SHARE = 0.01
"""More requests than this share may not fail, whatever is promised of those that do not."""


class Order(Value, frozen=True):
    """A load test: who asks what, how often, for how long. Given to the process of the users."""

    scenario: Scenario
    url: str
    users: int = 10
    """At the same time; with ``rate``, the most that can be under way at once."""
    duration: float | None = None
    """Seconds that are measured, after the warm-up …"""
    requests: int | None = None
    """… or how many visits; there is no warm-up then."""
    rate: float | None = None
    """Visits a second, whether the ones before have been answered or not. Without it every user
    waits for an answer, thinks, and asks again."""
    think: float = 1.0
    """Seconds between an answer and the user's next visit: half to one and a half of it."""
    warmup: float = 0.0
    """Seconds at the start that do not count."""
    patience: float = 60.0
    """Seconds that what was submitted has to end after the last visit."""
    clip: float = 20.0
    """Seconds of audio of an upload, and of a live session."""
    model: str | None = None
    key: str | None = None
    seed: int = 1


class Moment(Value, frozen=True):
    """What the users saw in a stretch of the test."""

    at: float
    """Seconds from the start of the test to the start of the stretch …"""
    seconds: float
    """… and its length."""
    users: int
    warm: bool
    """Whether it is part of the warm-up."""
    timings: Mapping[str, Timing]
    """By operation; in seconds, but ``transcription``: in seconds for a second of audio."""
    counters: Mapping[str, float]
    """``<operation>!<code>``: refusals and failures."""


class Operation(Value, frozen=True):
    """What was measured of one kind of request. Seconds (a transcription: times real time)."""

    name: str
    requests: int
    """With those that failed …"""
    failures: Mapping[str, int]
    """… which are here by the code of the error."""
    per_second: float
    p50: float
    p95: float
    p99: float
    longest: float
    buckets: Mapping[int, int]
    """Of the histogram, as in :class:`hansard.telemetry.Timing`."""

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(self.failures.values())


class Verdict(Value, frozen=True):
    """Whether a service level was held."""

    operation: str
    limit: float
    unit: str
    share: float
    measured: float
    """The percentile ``share``; of failures, their share."""
    requests: int
    over: float
    """Share of the requests above the limit …"""
    low: float
    high: float
    """… and its interval with a confidence of 95 %."""
    holds: bool
    sure: bool
    """Whether the interval is on one side of what is allowed: more requests may turn it if not."""


class Growth(Value, frozen=True):
    """How a figure of the server's processes moved in a soak."""

    what: Literal["memory", "descriptors", "threads"]
    start: float
    """Once caches had filled and models were loaded."""
    end: float
    an_hour: float
    """Slope, in bytes or pieces an hour …"""
    low: float | None
    high: float | None
    """… and its interval with a confidence of 95 %; ``None``: too few samples for one."""
    allowed: float
    """An hour."""
    verdict: Literal["steady", "grows", "not told"]
    samples: tuple[tuple[float, float], ...]
    """Seconds from the start, and the figure."""


class Step(Value, frozen=True):
    """One number of users that was tried for the knee."""

    users: int
    seconds: float
    requests: int
    per_second: float
    holds: bool
    sure: bool
    worst: str
    """The operation that was nearest to its level, or furthest beyond it …"""
    load: float
    """… and how much of its level it took: above 1 it was missed."""


class Knee(Value, frozen=True):
    """The most users at which the levels hold."""

    users: int
    """0: not even one."""
    above: int | None
    """The fewest at which they were missed; ``None``: the most that was allowed still held."""
    sure: bool
    """Whether both are certain with a confidence of 95 % each."""
    per_second: float
    steps: tuple[Step, ...]


class Result(Value, frozen=True):
    """A load test that is over."""

    order: Order
    started: float
    """Seconds since the epoch."""
    seconds: float
    """Measured, without the warm-up."""
    machine: str
    """Where the users ran: it matters where that is the server, too."""
    local: bool
    """Whether users and server share a machine."""
    measured: str
    """What a latency is here, in words."""
    operations: tuple[Operation, ...]
    verdicts: tuple[Verdict, ...]
    moments: tuple[Moment, ...]
    notes: tuple[str, ...] = ()
    growth: tuple[Growth, ...] = ()
    knee: Knee | None = None

    @property
    def passed(self) -> bool:
        """Whether every level was held and nothing grew."""
        if self.knee is not None:
            return self.knee.users > 0
        grows = any(one.verdict == "grows" for one in self.growth)
        return bool(self.operations) and all(one.holds for one in self.verdicts) and not grows


# ── adding up ────────────────────────────────────────────────────────────────────────────────


def merged(first: Timing, second: Timing) -> Timing:
    """Both as one histogram."""
    buckets = dict(first.buckets)
    for index, count in second.buckets.items():
        buckets[index] = buckets.get(index, 0) + count
    return Timing(
        first.count + second.count,
        first.total + second.total,
        max(first.longest, second.longest),
        buckets,
    )


def _together(first: Moment, second: Moment) -> Moment:
    timings = dict(first.timings)
    for name, timing in second.timings.items():
        timings[name] = merged(timings[name], timing) if name in timings else timing
    counters = dict(first.counters)
    for name, amount in second.counters.items():
        counters[name] = counters.get(name, 0.0) + amount
    return Moment(
        first.at,
        second.at + second.seconds - first.at,
        max(first.users, second.users),
        first.warm,
        timings,
        counters,
    )


class Course:
    """The moments of a test in their order, at most 240 however long it lasts."""

    def __init__(self) -> None:
        self._moments: list[Moment] = []
        self._width = 0.0
        """Seconds that a moment has to have before the next one begins."""

    def add(self, moment: Moment) -> None:
        """Take the next one; neighbours are put together once there are too many."""
        self._put(moment)
        if len(self._moments) > _MOST_MOMENTS:
            # Half as many: two of the average length are one from here on.
            self._width = 1.5 * (moment.at + moment.seconds) / len(self._moments)
            moments, self._moments = self._moments, []
            for one in moments:
                self._put(one)

    def _put(self, moment: Moment) -> None:
        last = self._moments[-1] if self._moments else None
        if last is not None and last.warm == moment.warm and last.seconds < self._width:
            self._moments[-1] = _together(last, moment)
        else:
            self._moments.append(moment)

    def moments(self) -> tuple[Moment, ...]:
        """All of them."""
        return tuple(self._moments)


def operations(moments: Sequence[Moment]) -> tuple[Operation, ...]:
    """What was measured outside the warm-up, by kind of request, in order of their names."""
    counted = [one for one in moments if not one.warm]
    seconds = sum(one.seconds for one in counted)
    names = {name for one in counted for name in one.timings}
    names |= {name.partition("!")[0] for one in counted for name in one.counters}
    return tuple(_operation(name, counted, seconds) for name in sorted(names))


def _operation(name: str, counted: Sequence[Moment], seconds: float) -> Operation:
    whole = Timing(0, 0.0, 0.0, {})
    failures: dict[str, int] = {}
    for moment in counted:
        if name in moment.timings:
            whole = merged(whole, moment.timings[name])
        for counter, amount in moment.counters.items():
            which, _, code = counter.partition("!")
            if which == name:
                failures[code] = failures.get(code, 0) + int(amount)
    requests = whole.count + sum(failures.values())
    p50, p95, p99 = (whole.percentile(share) if whole.count else 0.0 for share in (0.5, 0.95, 0.99))
    rate = requests / seconds if seconds else 0.0
    return Operation(
        *(name, requests, failures, rate, p50, p95, p99, whole.longest, dict(whole.buckets))
    )


# ── levels ───────────────────────────────────────────────────────────────────────────────────


def verdicts(
    moments: Sequence[Moment], found: Sequence[Operation], levels: Iterable[Level]
) -> tuple[Verdict, ...]:
    """Whether each level that was asked for was held, and failures last."""
    counted = [one for one in moments if not one.warm]
    by_name = {one.name: one for one in found}
    told = [
        _verdict(level, by_name[level.operation], counted)
        for level in levels
        if level.operation in by_name and by_name[level.operation].buckets
    ]
    return (*told, *([_failures(found, counted)] if found else []))


def _verdict(level: Level, seen: Operation, counted: Sequence[Moment]) -> Verdict:
    clusters = [
        (timing.count, timing.count - timing.within([level.limit])[0])
        for moment in counted
        if (timing := moment.timings.get(level.operation)) is not None
    ]
    count, over = (sum(column) for column in zip(*clusters, strict=True))
    low, high = interval(clusters)
    allowed = 1 - level.share
    timing = Timing(count, 0.0, seen.longest, seen.buckets)
    return Verdict(
        operation=level.operation,
        limit=level.limit,
        unit=level.unit,
        share=level.share,
        measured=timing.percentile(level.share),
        requests=count,
        over=over / count,
        low=low,
        high=high,
        holds=over <= allowed * count,
        sure=not low <= allowed < high,
    )


def _failures(found: Sequence[Operation], counted: Sequence[Moment]) -> Verdict:
    clusters = []
    for moment in counted:
        failed = int(sum(moment.counters.values()))
        answered = sum(t.count for name, t in moment.timings.items() if not name.endswith(SENT))
        clusters.append((failed + answered, failed))
    requests = sum(one.requests for one in found if not one.name.endswith(SENT))
    failed = sum(one.failed for one in found)
    low, high = interval(clusters)
    share = failed / requests
    return Verdict(
        operation="failed requests",
        limit=FAILED_SHARE,
        unit="",
        share=1.0,
        measured=share,
        requests=requests,
        over=share,
        low=low,
        high=high,
        holds=share <= FAILED_SHARE,
        sure=not low <= FAILED_SHARE < high,
    )


def interval(clusters: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Where a share lies with a confidence of 95 %, from (requests, those of them that count).

    Clopper and Pearson's exact interval (Biometrika 26, 1934) with the effective number of
    requests of Korn and Graubard (Survey Methodology 24, 1998): requests of the same moment are
    slow together, so a thousand of them tell less than a thousand tosses of a coin. How much less
    is the variance between moments over that of independent requests.
    """
    from scipy.stats import beta

    filled = [(n, x) for n, x in clusters if n]
    count = sum(n for n, _ in filled)
    if not count:
        return 0.0, 1.0
    share = sum(x for _, x in filled) / count
    effective = float(count)
    if len(filled) >= _FEW_MOMENTS and 0 < share < 1:
        spread = sum((x - share * n) ** 2 for n, x in filled) * len(filled) / (len(filled) - 1)
        effective /= max(1.0, spread / count**2 / (share * (1 - share) / count))
    hits = share * effective
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, hits, effective - hits + 1)) if share > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, effective - hits)) if share < 1 else 1.0
    return (0.0 if math.isnan(low) else low, 1.0 if math.isnan(high) else high)
