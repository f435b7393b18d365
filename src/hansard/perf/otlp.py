"""OpenTelemetry: spans and figures of this process, sent to an endpoint by OTLP over HTTP.

Behind the extra ``hansard[otel]``, and only where ``performance.otlp`` names an endpoint. Spans are
those of ``telemetry``; a job is one trace, from the request that brought it to the webhook that
tells of its end, since every process goes on with the ``traceparent`` in its row. Which traces are
sent is decided where they begin, by their ids, so all processes agree; health is never sent.
"""

from __future__ import annotations

import logging
import threading
import time
from importlib import import_module
from typing import Any, Final

from hansard import __version__, telemetry
from hansard.config import PerformanceSettings
from hansard.errors import MissingPart
from hansard.telemetry import Ended, Snapshot, Timing

_log = logging.getLogger("hansard.performance")

_EVERY = 30.0
"""Seconds between two times that figures are sent."""

BOUNDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Of the histograms, in seconds."""

_TRACE: Final = "opentelemetry.sdk.trace"
_METRICS: Final = "opentelemetry.sdk.metrics.export"
_OVER_HTTP: Final = "opentelemetry.exporter.otlp.proto.http"


class Sender:
    """Sends what this process does; in batches, from threads of its own."""

    def __init__(self, settings: PerformanceSettings, role: str) -> None:
        """Get ready to send; ``role`` is which process of a service this is.

        Raises:
            MissingPart: the extra is not installed.
        """
        assert settings.otlp is not None
        try:
            self._api: Any = import_module("opentelemetry.trace")
            self._sdk: Any = import_module(_TRACE)
            self._export: Any = import_module(_METRICS)
            of_resource = import_module("opentelemetry.sdk.resources")
            of_scope = import_module("opentelemetry.sdk.util.instrumentation")
            spans = import_module(f"{_OVER_HTTP}.trace_exporter")
            metrics = import_module(f"{_OVER_HTTP}.metric_exporter")
            batches = import_module(f"{_TRACE}.export")
        except ImportError as error:
            raise MissingPart(
                "Sending to OpenTelemetry needs packages that are not installed.",
                hint="pip install 'hansard[otel]', or leave performance.otlp unset.",
            ) from error
        said = {
            "service.name": "hansard",
            "service.version": __version__,
            "service.instance.id": role,
        }
        self._resource = of_resource.Resource.create(said)
        self._scope = of_scope.InstrumentationScope("hansard", __version__)
        place = settings.otlp.rstrip("/")
        self._spans = batches.BatchSpanProcessor(
            spans.OTLPSpanExporter(endpoint=f"{place}/v1/traces")
        )
        self._metrics = metrics.OTLPMetricExporter(endpoint=f"{place}/v1/metrics")
        self._began = time.time_ns()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hansard-otlp", daemon=True)
        telemetry.follow(self._tell, settings.sample)
        self._thread.start()

    def end(self) -> None:
        """Send what is left, and nothing more."""
        telemetry.follow(None)
        self._stop.set()
        self._thread.join(_EVERY)
        self._send()
        self._spans.shutdown()
        self._metrics.shutdown()

    # ── spans ────────────────────────────────────────────────────────────────────────────────

    def _tell(self, ended: Ended) -> None:
        flags = self._api.TraceFlags(1)
        trace = int(ended.trace.id, 16)

        def place(span: str, *, remote: bool) -> Any:
            return self._api.SpanContext(trace, int(span, 16), remote, flags)

        attributes = {"hansard.about": ended.trace.about or ""}
        status = self._api.Status(self._api.StatusCode.UNSET)
        if ended.code is not None:
            attributes["error.type"] = ended.code
            status = self._api.Status(self._api.StatusCode.ERROR)
        self._spans.on_end(
            self._sdk.ReadableSpan(
                name=ended.name,
                context=place(ended.trace.span, remote=False),
                parent=ended.parent and place(ended.parent, remote=True),
                resource=self._resource,
                attributes=attributes,
                kind=self._api.SpanKind[ended.kind.upper()],
                instrumentation_scope=self._scope,
                status=status,
                start_time=round(ended.begun * 1e9),
                end_time=round((ended.begun + ended.seconds) * 1e9),
            )
        )

    # ── figures ──────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            self._send()

    def _send(self) -> None:
        make, now = self._export, time.time_ns()
        try:
            metrics = self._figures(telemetry.snapshot(), now)
            scope = make.ScopeMetrics(self._scope, metrics, "")
            whole = make.MetricsData([make.ResourceMetrics(self._resource, [scope], "")])
            self._metrics.export(whole)
        except Exception:  # noqa: BLE001 somebody else's endpoint must not end our thread
            _log.warning("figures could not be sent by OTLP", exc_info=True)

    def _figures(self, seen: Snapshot, now: int) -> list[Any]:
        make = self._export
        whole = make.AggregationTemporality.CUMULATIVE
        times = [self._histogram(stage, one, now) for stage, one in seen.timings.items()]
        events = [self._number({"event": name}, n, now) for name, n in seen.counters.items()]
        failures = [
            self._number({"stage": stage, "error.type": code}, n, now)
            for stage, codes in seen.failures.items()
            for code, n in codes.items()
        ]
        return [
            make.Metric(name, what, unit, data)
            for name, what, unit, data in (
                ("hansard.stage", "Times of stages", "s", make.Histogram(times, whole)),
                ("hansard.events", "What was counted", "1", make.Sum(events, whole, True)),
                ("hansard.failures", "What failed", "1", make.Sum(failures, whole, True)),
            )
            if data.data_points
        ]

    def _histogram(self, stage: str, timing: Timing, now: int) -> Any:
        return self._export.HistogramDataPoint(
            attributes={"stage": stage},
            start_time_unix_nano=self._began,
            time_unix_nano=now,
            count=timing.count,
            sum=timing.total,
            bucket_counts=timing.within(BOUNDS),
            explicit_bounds=BOUNDS,
            min=0.0,
            max=timing.longest,
        )

    def _number(self, attributes: dict[str, str], value: float, now: int) -> Any:
        return self._export.NumberDataPoint(attributes, self._began, now, value)
