"""The one way to time, count and trace a thing.

``with span("prepare.decode"): …`` adds a duration to a bounded histogram; ``count("vad.spans", 3)``
adds to a counter. Both are safe from any thread and cost about a microsecond. Nothing here is
sent anywhere: ``snapshot()`` is read by ``hansard transcribe --timings`` and by Prometheus
(``api.exposition``). Engine processes send their figures home with ``merge``.

Histograms have logarithmic buckets of 1 % width (the idea of DDSketch, Masson et al., VLDB
2019), so a percentile is right to within 1 % however many records there were, in a few KB.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from hansard.model import Value

_WIDTH = math.log(1.02)
_LOW = 1e-7
"""Seconds; anything shorter is counted as this long."""


class Timing(Value, frozen=True):
    """What was measured of one stage. Seconds; buckets map bucket index → records."""

    count: int
    total: float
    longest: float
    buckets: Mapping[int, int]

    def percentile(self, share: float) -> float:
        """Seconds that ``share`` (0 to 1) of the records stayed within, right to 1 %."""
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= wanted:
                return min(self.longest, _LOW * math.exp((index + 0.5) * _WIDTH))
        return self.longest

    def within(self, bounds: Sequence[float]) -> list[int]:
        """Records up to each of the rising ``bounds`` and above the one before, and the rest."""
        found = [0] * (len(bounds) + 1)
        for index, count in self.buckets.items():
            found[bisect_left(bounds, _LOW * math.exp((index + 0.5) * _WIDTH))] += count
        return found


class Snapshot(Value, frozen=True):
    """All timings and counters of this process at one moment."""

    timings: Mapping[str, Timing]
    counters: Mapping[str, float]


class _Histogram:
    __slots__ = ("buckets", "count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self.buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        index = int(math.log(seconds / _LOW) / _WIDTH) if seconds > _LOW else 0
        self.buckets[index] = self.buckets.get(index, 0) + 1


_lock = threading.Lock()
_histograms: dict[str, _Histogram] = {}
_counters: dict[str, float] = {}
_open: dict[int, list[str]] = {}
"""Thread → the spans it is in, the innermost last."""


def record(stage: str, seconds: float) -> None:
    """Add one duration to a stage."""
    with _lock:
        histogram = _histograms.get(stage)
        if histogram is None:
            histogram = _histograms[stage] = _Histogram()
        histogram.add(seconds)


def count(name: str, amount: float = 1.0) -> None:
    """Add to a counter."""
    with _lock:
        _counters[name] = _counters.get(name, 0.0) + amount


@contextmanager
def span(stage: str) -> Iterator[None]:
    """Time a block; a block that raises is also counted as ``<stage>.failed``."""
    inside = _open.setdefault(threading.get_ident(), [])
    inside.append(stage)
    begun = time.perf_counter()
    try:
        yield
    except BaseException:
        count(f"{stage}.failed")
        raise
    finally:
        record(stage, time.perf_counter() - begun)
        if inside[-1] is stage:
            inside.pop()
        else:  # tasks of one event loop take turns
            inside.remove(stage)


def stage_of(thread: int) -> str | None:
    """The innermost span that a thread (its ``ident``) is in just now: for who samples threads."""
    inside = _open.get(thread)
    try:
        return inside[-1] if inside else None
    except IndexError:  # it left meanwhile
        return None


def snapshot() -> Snapshot:
    """A copy of everything measured so far."""
    with _lock:
        return Snapshot(
            {
                stage: Timing(h.count, h.total, h.longest, dict(h.buckets))
                for stage, h in _histograms.items()
            },
            dict(_counters),
        )


def merge(other: Snapshot) -> None:
    """Add what another process measured."""
    with _lock:
        for stage, timing in other.timings.items():
            histogram = _histograms.setdefault(stage, _Histogram())
            histogram.count += timing.count
            histogram.total += timing.total
            histogram.longest = max(histogram.longest, timing.longest)
            for index, n in timing.buckets.items():
                histogram.buckets[index] = histogram.buckets.get(index, 0) + n
        for name, amount in other.counters.items():
            _counters[name] = _counters.get(name, 0.0) + amount


def reset() -> None:
    """Forget everything: for a fresh measurement."""
    with _lock:
        _histograms.clear()
        _counters.clear()


# ── logs ─────────────────────────────────────────────────────────────────────────────────────


class _JsonLines(logging.Formatter):
    """A record as one line of JSON; a traceback is a field of it."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "role": self._role,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def log_as_json(role: str) -> None:
    """Write the logs of this process to standard error, a line of JSON each.

    ``role`` says which process of a service it is.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines(role))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("hansard").setLevel(logging.INFO)
