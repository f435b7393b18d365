"""What Prometheus reads: figures of this process, and the text that they are written as.

Imported by workers too, which have no API: nothing of a web framework is in here.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from hansard import __version__, telemetry
from hansard.errors import CannotListen, UsageError
from hansard.perf import system

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import HistogramMetricFamily, Metric

    from hansard.store.database import Database
    from hansard.wiring import House

Collect = Callable[[], Iterable["Metric"]]

STAGES = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Bounds of the histogram of stages, in seconds: from a claim to the hearing of a long window."""

REQUESTS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Bounds of the histogram of requests, in seconds."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT", "WEBSOCKET"})
OTHER = "other"


def _named(method: str) -> str:
    return method if method in _METHODS else OTHER


class Meter:
    """Counts requests by method, route and kind of status. For one event loop.

    A route is a template of ours or none at all, so strangers cannot make labels.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int], list[int]] = {}
        self._totals: dict[tuple[str, str, int], float] = {}

    def note(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request is over. Costs about a microsecond."""
        key = (_named(method), route or OTHER, status // 100)
        counts = self._seen.get(key)
        if counts is None:
            counts = self._seen[key] = [0] * (len(REQUESTS) + 1)
            self._totals[key] = 0.0
        counts[bisect_left(REQUESTS, seconds)] += 1
        self._totals[key] += seconds

    def stage(self, method: str, route: str | None) -> str:
        """What ``telemetry`` calls requests of a route; strangers cannot make stages either."""
        return f"api.{_named(method)} {route or OTHER}"

    def families(self) -> list[Metric]:
        """As it stands now."""
        from prometheus_client.metrics_core import HistogramMetricFamily

        family = HistogramMetricFamily(
            "hansard_http_request_seconds",
            "Requests by route, as this process answered them, to the end of the body.",
            labels=("method", "route", "status"),
        )
        for key, counts in self._seen.items():
            method, route, status = key
            _add(family, (method, route, f"{status}xx"), REQUESTS, counts, self._totals[key])
        return [family]


def stages() -> list[Metric]:
    """All that ``telemetry`` has timed and counted in this process."""
    from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

    seen = telemetry.snapshot()
    timings = HistogramMetricFamily(
        "hansard_stage_seconds",
        "What was timed in this process: claims, units of work by step, and what they consist of.",
        labels=("stage",),
    )
    failures = CounterMetricFamily(
        "hansard_failures", "What failed in this process, by its class.", labels=("stage", "code")
    )
    for stage, codes in sorted(seen.failures.items()):
        for code, times in sorted(codes.items()):
            failures.add_metric((stage, code), times)
    for stage, timing in sorted(seen.timings.items()):
        if stage.startswith("api."):
            continue  # they have a family of their own
        _add(timings, (stage,), STAGES, timing.within(STAGES), timing.total)
    counters = CounterMetricFamily(
        "hansard_events", "What was counted in this process.", labels=("event",)
    )
    for name, amount in sorted(seen.counters.items()):
        counters.add_metric((name,), amount)
    return [timings, counters, failures]


def pooled(database: Database) -> list[Metric]:
    """The connections of this process to the database, where they are pooled."""
    from prometheus_client.metrics_core import GaugeMetricFamily

    found = GaugeMetricFamily(
        "hansard_database_connections", "Connections of this process.", labels=("state",)
    )
    if (pool := database.connections()) is not None:
        found.add_metric(("used",), pool.used)
        found.add_metric(("idle",), pool.idle)
        found.add_metric(("most",), pool.most)
    return [found]


def registry(*collects: Collect) -> CollectorRegistry:
    """A registry of our own, with what every process has, and ``collects`` on top."""
    from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
    from prometheus_client.metrics_core import InfoMetricFamily
    from prometheus_client.registry import Collector, CollectorRegistry

    def build() -> Iterable[Metric]:
        return [InfoMetricFamily("hansard_build", "This Hansard.", {"version": __version__})]

    class Collected(Collector):
        def collect(self) -> Iterable[Metric]:
            return itertools.chain.from_iterable(one() for one in (build, *collects, stages))

        def describe(self) -> Iterable[Metric]:
            return ()  # what there is, is known when it is asked for

    made = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    made.register(Collected())
    return made


def listen(address: str, house: House | None = None) -> WSGIServer:
    """Answer Prometheus at ``host:port`` in a thread of this process, until it is shut down.

    Raises:
        UsageError: that is no address.
        CannotListen: it cannot be listened on.
    """
    from prometheus_client import start_http_server

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{address} is not a host and a port.", hint="For example 127.0.0.1:9464")
    of_house: list[Collect] = []
    if house is not None:
        of_house = [
            partial(pooled, house.database),
            partial(system.families, house.settings.data),
        ]
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), registry(*of_house))
    except OSError as error:
        raise CannotListen(
            f"{address} cannot be listened on: {error.strerror}.", hint="Choose another port."
        ) from error
    return server


def _add(
    family: HistogramMetricFamily,
    labels: tuple[str, ...],
    bounds: tuple[float, ...],
    counts: Iterable[int],
    total: float,
) -> None:
    names = [*(str(bound) for bound in bounds), "+Inf"]
    sums = itertools.accumulate(counts)
    family.add_metric(labels, list(zip(names, map(float, sums), strict=True)), total)
