"""The one way to time, count and trace a thing.

``with span("prepare.decode"): …`` adds a duration to a bounded histogram; ``count("vad.spans", 3)``
adds to a counter. Both are safe from any thread and cost about a microsecond (``bench/telemetry``).
``snapshot()`` is read by ``hansard transcribe --timings``, by Prometheus (``api.exposition``) and
by what keeps figures in the store (``store.rollup``). Engine processes send theirs with ``merge``.

Histograms have logarithmic buckets of 2 % width (the idea of DDSketch, Masson et al., VLDB
2019), so a percentile is right to within 1 % however many records there were, in a few KB.

Spans know which one they are in, in threads and in coroutines: a stage's *own* time is what it
spent in no span within it, so that the own times of all stages add up to the time of the whole.
They also know the trace they belong to (W3C Trace Context): a job's row carries it from the
request that brought the job to the webhook that tells of its end, whichever processes work on it.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Literal

from hansard.errors import HansardError
from hansard.model import Value

_WIDTH = math.log(1.02)
_LOW = 1e-7
"""Seconds; anything shorter is counted as this long."""

_SCALE, _FINE, _log = 1 / _LOW, 1 / _WIDTH, math.log
"""At hand: this is the hottest code there is."""

_SLOWEST = 3
"""Examples that are kept of each stage."""

_MOST = 1000
"""Names of stages, of counters, and of failures. What comes on top is counted as ``other``."""

OTHER = "other"


class Example(Value, frozen=True):
    """One slow time through a stage."""

    seconds: float
    at: float
    """When it ended, in seconds since the epoch."""
    trace: str | None = None
    about: str | None = None
    """The job or the request that it was about."""


class Timing(Value, frozen=True):
    """What was measured of one stage. Seconds; buckets map bucket index → records."""

    count: int
    total: float
    longest: float
    buckets: Mapping[int, int]
    own: float = 0.0
    """Of ``total``, what was spent in no span within."""

    def percentile(self, share: float) -> float:
        """Seconds that ``share`` (0 to 1) of the records stayed within, right to 1 %."""
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= wanted:
                return min(self.longest, _middle(index))
        return self.longest

    def within(self, bounds: Sequence[float]) -> list[int]:
        """Records up to each of the rising ``bounds`` and above the one before, and the rest."""
        found = [0] * (len(bounds) + 1)
        for index, count in self.buckets.items():
            found[bisect_left(bounds, _middle(index))] += count
        return found

    def above(self, bound: float) -> int:
        """Records that took longer than ``bound`` seconds, which is right to 1 % of it."""
        return sum(count for index, count in self.buckets.items() if _middle(index) > bound)

    def plus(self, other: Timing) -> Timing:
        """Both together."""
        buckets = dict(self.buckets)
        for index, count in other.buckets.items():
            buckets[index] = buckets.get(index, 0) + count
        return Timing(
            self.count + other.count,
            self.total + other.total,
            max(self.longest, other.longest),
            buckets,
            self.own + other.own,
        )

    def since(self, before: Timing | None) -> Timing:
        """What has come on top of an earlier look at the same stage."""
        if before is None:
            return self
        buckets = {
            index: more
            for index, count in self.buckets.items()
            if (more := count - before.buckets.get(index, 0))
        }
        longest = self.longest
        if longest == before.longest:  # not of this time, or just as long
            longest = min(longest, _middle(max(buckets, default=0)))
        return Timing(
            self.count - before.count,
            self.total - before.total,
            longest,
            buckets,
            self.own - before.own,
        )


NOTHING = Timing(0, 0.0, 0.0, {})


class Snapshot(Value, frozen=True):
    """All timings, counters and failures of this process at one moment."""

    timings: Mapping[str, Timing]
    counters: Mapping[str, float]
    failures: Mapping[str, Mapping[str, int]] = {}
    """Stage → code of the error → how often."""


class _Histogram:
    __slots__ = ("buckets", "count", "floor", "longest", "own", "slowest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.own = 0.0
        self.longest = 0.0
        self.buckets: dict[int, int] = {}
        self.slowest: list[Example] = []
        self.floor = -1.0
        """Only what took longer than this is among the slowest."""

    def keep(self, seconds: float, trace: Trace | None) -> None:
        known, about = (None, None) if trace is None else (trace.id, trace.about)
        self.slowest.append(Example(seconds, time.time(), known, about))
        if len(self.slowest) > _SLOWEST:
            self.slowest.remove(min(self.slowest, key=_seconds))
        if len(self.slowest) == _SLOWEST:
            self.floor = min(map(_seconds, self.slowest))


_lock = threading.Lock()
_histograms: dict[str, _Histogram] = {}
_counters: dict[str, float] = {}
_failures: dict[tuple[str, str], int] = {}


def record(stage: str, seconds: float, inner: float = 0.0) -> None:
    """Add one duration to a stage, of which ``inner`` was spent in spans within."""
    frame = _frame.get()
    _add(stage, seconds, max(0.0, seconds - inner), None if frame is None else frame.trace)


def count(name: str, amount: float = 1.0) -> None:
    """Add to a counter."""
    with _lock:
        known = _counters.get(name)
        if known is None:
            if len(_counters) >= _MOST:
                name = OTHER
            known = _counters.get(name, 0.0)
        _counters[name] = known + amount


def failed(stage: str, code: str) -> None:
    """Count a failure of a stage; ``code`` is of an error, and there are only so many of them."""
    count(f"{stage}.failed")
    with _lock:
        key = (stage, code)
        if key not in _failures and len(_failures) >= _MOST:
            key = (OTHER, code)
        _failures[key] = _failures.get(key, 0) + 1


def code_of(error: BaseException) -> str:
    """The class of a failure: a code of ours, or one word for whatever nobody foresaw."""
    if isinstance(error, HansardError):
        return error.code
    return "unexpected" if isinstance(error, Exception) else "interrupted"


def _add(stage: str, seconds: float, own: float, trace: Trace | None) -> None:
    with _lock:
        histogram = _histograms.get(stage)
        if histogram is None:
            histogram = _of(stage)
        histogram.count += 1
        histogram.total += seconds
        histogram.own += own
        histogram.longest = max(histogram.longest, seconds)
        index = int(_log(seconds * _SCALE) * _FINE) if seconds > _LOW else 0
        buckets = histogram.buckets
        buckets[index] = buckets.get(index, 0) + 1
        if seconds > histogram.floor:
            histogram.keep(seconds, trace)


def _of(stage: str) -> _Histogram:
    """The histogram of a stage. Called under the lock."""
    if stage not in _histograms and len(_histograms) >= _MOST:
        stage = OTHER
    return _histograms.setdefault(stage, _Histogram())


def _middle(index: int) -> float:
    return _LOW * math.exp((index + 0.5) * _WIDTH)


def _seconds(example: Example) -> float:
    return example.seconds


def snapshot() -> Snapshot:
    """A copy of everything measured so far."""
    with _lock:
        failures: dict[str, dict[str, int]] = {}
        for (stage, code), times in _failures.items():
            failures.setdefault(stage, {})[code] = times
        return Snapshot(
            {
                stage: Timing(h.count, h.total, h.longest, dict(h.buckets), h.own)
                for stage, h in _histograms.items()
            },
            dict(_counters),
            failures,
        )


def slowest() -> dict[str, list[Example]]:
    """The slowest times through each stage since this was last asked; then they are forgotten."""
    found = {}
    with _lock:
        for stage, histogram in _histograms.items():
            if histogram.slowest:
                found[stage] = histogram.slowest
                histogram.slowest, histogram.floor = [], -1.0
    return found


def merge(other: Snapshot) -> None:
    """Add what another process measured."""
    with _lock:
        for stage, timing in other.timings.items():
            histogram = _of(stage)
            histogram.count += timing.count
            histogram.total += timing.total
            histogram.own += timing.own
            histogram.longest = max(histogram.longest, timing.longest)
            for index, n in timing.buckets.items():
                histogram.buckets[index] = histogram.buckets.get(index, 0) + n
        for name, amount in other.counters.items():
            _counters[name] = _counters.get(name, 0.0) + amount
        for stage, codes in other.failures.items():
            for code, times in codes.items():
                _failures[stage, code] = _failures.get((stage, code), 0) + times


def reset() -> None:
    """Forget everything: for a fresh measurement."""
    with _lock:
        _histograms.clear()
        _counters.clear()
        _failures.clear()


# ── traces ───────────────────────────────────────────────────────────────────────────────────


class Trace(Value, frozen=True):
    """A place in a trace: https://www.w3.org/TR/trace-context/."""

    id: str
    """Of the whole trace: 32 hexadecimal digits."""
    span: str
    """What comes next is within this one: 16 digits."""
    sampled: bool = False
    about: str | None = None
    """The job or the request."""

    @property
    def header(self) -> str:
        """As ``traceparent`` says it to others."""
        return f"00-{self.id}-{self.span}-0{int(self.sampled)}"


class Ended(Value, frozen=True):
    """A span that is over, for whoever sends them on."""

    name: str
    trace: Trace
    """Its ``span`` is this one."""
    parent: str | None
    begun: float
    """Seconds since the epoch."""
    seconds: float
    code: str | None = None
    """Of the error, where it failed."""
    kind: Literal["internal", "server", "client"] = "internal"


_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]([0-9a-f])\Z")
_NONE = ("0" * 32, "0" * 16)

_listener: Callable[[Ended], None] | None = None
_sampled = 0
"""Of 2^64: traces whose last 64 bits are below are followed, as OpenTelemetry's sampler has it."""


def follow(listener: Callable[[Ended], None] | None, share: float = 1.0) -> None:
    """From now on tell ``listener`` of spans, of about this share of traces; ``None``: no more."""
    global _listener, _sampled
    _listener, _sampled = listener, 0 if listener is None else round(share * 2**64)


def begin(about: str | None = None) -> Trace:
    """A new trace."""
    name = secrets.token_hex(24)
    return Trace(name[:32], name[32:], int(name[16:32], 16) < _sampled, about)


def parsed(header: str | None, about: str | None = None) -> Trace | None:
    """What a ``traceparent`` says; ``None`` where it says nothing."""
    found = _HEADER.match(header or "")
    if found is None or found[1] == _NONE[0] or found[2] == _NONE[1]:
        return None
    return Trace(found[1], found[2], bool(int(found[3], 16) & 1), about)


def within(trace: Trace) -> Trace:
    """A new place below another one."""
    return Trace(trace.id, secrets.token_hex(8), trace.sampled, trace.about)


def current() -> Trace | None:
    """Where we are."""
    frame = _frame.get()
    return None if frame is None else frame.trace


def traceparent() -> str:
    """What to give to whoever goes on from here; a new trace where there is none."""
    return (current() or begin()).header


def tell(ended: Ended) -> None:
    """A span is over that was not written as one."""
    if _listener is not None and ended.trace.sampled:
        _listener(ended)


class Frame:
    """Where spans are in: a span, or the beginning of a trace."""

    __slots__ = ("inner", "trace")
    inner: float
    """Seconds spent in spans within."""

    def __init__(self, trace: Trace | None) -> None:
        self.trace = trace
        self.inner = 0.0


_frame: ContextVar[Frame | None] = ContextVar("hansard_frame", default=None)
_now = time.perf_counter
_thread = threading.get_ident
_where: dict[int, span] = {}
"""Thread → the innermost span that it is in."""


def stage_of(thread: int) -> str | None:
    """The innermost span that a thread (its ``ident``) is in just now: for who samples threads."""
    found = _where.get(thread)
    return None if found is None else found.stage


def enter(trace: Trace) -> Frame:
    """All that this task does from now on is within a trace."""
    frame = Frame(trace)
    _frame.set(frame)
    return frame


@contextmanager
def tracing(trace: Trace | None) -> Iterator[None]:
    """All within is in this trace; a new one where none is given."""
    outer, frame = _frame.get(), Frame(trace or begin())
    _frame.set(frame)
    try:
        yield
    finally:
        _frame.set(outer)
        if outer is not None:
            outer.inner += frame.inner


class span(Frame):  # noqa: N801 it is used like a function
    """Time a block; a block that raises is also counted as a failure of the stage."""

    __slots__ = ("_also", "_begun", "_on", "_outer", "before", "over", "stage")

    def __init__(self, stage: str, also: Sequence[Trace] = ()) -> None:
        """``also``: other traces that the block is a part of."""
        self.stage = stage
        self._also = also

    def __enter__(self) -> None:
        outer = self._outer = _frame.get()
        self.inner = 0.0
        self.trace = None if outer is None else outer.trace
        if _listener is not None and self.trace is not None and self.trace.sampled:
            self.trace = within(self.trace)
        _frame.set(self)
        self.over = False
        on = self._on = _thread()
        self.before = _where.get(on)
        _where[on] = self
        self._begun = _now()
        if _slow and self.stage in _slow:
            time.sleep(_slow[self.stage])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        elapsed = _now() - self._begun
        outer = self._outer
        _frame.set(outer)
        if outer is not None:
            outer.inner += elapsed
        self._leave()
        # Coroutines that run beside each other may together take longer than what they are in.
        own = elapsed - self.inner
        _add(self.stage, elapsed, own if own > 0 else 0.0, self.trace)
        if error is not None:
            failed(self.stage, code_of(error))
        if _listener is not None:
            self._tell(_listener, elapsed, error)

    def _leave(self) -> None:
        """This thread is in what it was in before; what is over by now, as coroutines end, is not.

        That need not be the span around this one: its thread may be another.
        """
        self.over = True
        before = self.before
        while before is not None and before.over:
            before = before.before
        self.before = before
        if _where.get(self._on) is self:  # else a coroutine on this thread has entered another
            if before is None:
                del _where[self._on]
            else:
                _where[self._on] = before

    def _tell(
        self, listener: Callable[[Ended], None], elapsed: float, error: BaseException | None
    ) -> None:
        code = None if error is None else code_of(error)
        began = time.time() - elapsed
        above = None if self._outer is None else self._outer.trace
        own = self.trace
        # Where the two are the same it began before anybody listened.
        if above is not None and own is not None and own.sampled and above.span != own.span:
            listener(Ended(self.stage, own, above.span, began, elapsed, code))
        for other in self._also:
            if other.sampled:
                listener(Ended(self.stage, within(other), other.span, began, elapsed, code))


def _slowed(given: str) -> dict[str, float]:
    """``stage:seconds``, several with commas; a number alone is for a test's own engine."""
    pairs = (one.rpartition(":") for one in given.split(",") if ":" in one)
    return {stage: float(seconds) for stage, _, seconds in pairs}


_slow = _slowed(os.environ.get("HANSARD_TEST_SLOW", ""))
"""Stages that are slow on purpose, for tests: whatever looks for slow stages must find them."""
