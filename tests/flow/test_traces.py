"""A job is one trace, from its upload to its webhook, across the processes of a service."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.flow.running import Service
from tests.receiver import Receiver, receiving

from hansard.config import load
from hansard.store import rollup
from hansard.wiring import House

pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")


def sent(receiver: Receiver, path: str, message: Any) -> list[Any]:
    """What came to a collector, as OTLP's own messages."""
    found = []
    for call in receiver.calls:
        if call.path == path:
            assert call.headers["content-type"] == "application/x-protobuf"
            found.append(message.FromString(call.body))
    return found


def spans(receiver: Receiver) -> list[tuple[str, Any]]:
    """The role of the process, and the span."""
    of = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    return [
        (_said(one.resource.attributes, "service.instance.id"), span)
        for batch in sent(receiver, "/v1/traces", of.ExportTraceServiceRequest)
        for one in batch.resource_spans
        for scope in one.scope_spans
        for span in scope.spans
    ]


def _said(attributes: Any, name: str) -> str:
    return str(next(one.value.string_value for one in attributes if one.key == name))


def test_a_job_is_one_trace_from_upload_to_webhook(tmp_path: Path, meeting: Path) -> None:
    with receiving() as collector, receiving() as hook:
        service = Service(
            tmp_path / "service",
            HANSARD_PERFORMANCE__OTLP=collector.url.removesuffix("/hook"),
            HANSARD_WEBHOOKS__URL=hook.url,
            HANSARD_WEBHOOKS__PRIVATE="true",
        )
        service.start()
        job = service.submit(meeting)
        (told,) = hook.wait_for(1)
        assert service.stop() == 0, service.said()
        found = spans(collector)
        figures = import_module("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
        batches = sent(collector, "/v1/metrics", figures.ExportMetricsServiceRequest)
    with House(load(data=service.data)) as house:
        kept = rollup.read(house.database, 0.0, time.time(), now=time.time())
    steps = ("unit.prepare", "unit.finish", "pipeline.factor", "api.POST /api/v1/transcriptions")
    assert [kept[stage].timing.count for stage in steps] == [1, 1, 1, 1], "an orderly end adds all"
    assert told.said["data"]["job"]["id"] == job
    trace = told.headers["traceparent"].split("-")[1]
    mine = [(role, span) for role, span in found if span.trace_id.hex() == trace]
    who = {(role, span.name) for role, span in mine}
    wanted = {
        ("api", "POST /api/v1/transcriptions"),
        ("worker", "unit.prepare"),
        ("worker", "unit.listen"),
        ("worker", "unit.finish"),
    }
    assert wanted <= who, who
    assert "webhook.send" in {name for _, name in who}
    ids = {span.span_id for _, span in mine}
    roots = [span.name for _, span in mine if span.parent_span_id not in ids]
    assert roots == ["POST /api/v1/transcriptions"], "every other span is within another"
    assert not [span.name for _, span in found if "health" in span.name]
    about = {_said(span.attributes, "hansard.about") for role, span in mine if role == "worker"}
    assert about == {job}
    names = {
        metric.name
        for batch in batches
        for one in batch.resource_metrics
        for scope in one.scope_metrics
        for metric in scope.metrics
    }
    assert {"hansard.stage", "hansard.events"} <= names
