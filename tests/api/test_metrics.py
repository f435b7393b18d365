"""/metrics, read by Prometheus' own parser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests import stores
from tests.api.conftest import Serve, Served
from tests.api.test_transcriptions import done, sent
from tests.quick import QuickEngine
from tests.waiting import until

from hansard import telemetry
from hansard.api import exposition, metrics
from hansard.errors import CannotListen, StoreGone, UsageError
from hansard.store import keys, usage
from hansard.store.tables import workers

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH", -1.0)
    telemetry.reset()


def parsed(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figures(served: Served, **headers: str) -> Figures:
    said = served.http.get("/metrics", headers=headers)
    assert said.status_code == 200, said.text
    assert said.headers["content-type"].startswith("text/plain; version=")
    assert said.headers["cache-control"] == "no-store"
    return parsed(said.text)


def figure(found: Figures, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def test_work_is_seen_from_waiting_to_done(served: Served, clip: Path, quick: QuickEngine) -> None:
    quick.hold.clear()
    sent(served, clip)

    def running() -> Figures | None:
        found = figures(served)
        return found if figure(found, "hansard_jobs", state="running", pool="speech") else None

    found = until(running, "somebody works on it")
    waiting = figure(found, "hansard_work_waiting_seconds", pool="speech")
    assert waiting is not None
    assert 9 < waiting <= 12.5, "of twelve seconds, those in which somebody speaks"
    assert figure(found, "hansard_work_waiting_seconds", pool="video") in (0, None)
    assert figure(found, "hansard_jobs", state="queued", pool="speech") == 0
    quick.hold.set()
    done(served, clip)
    found = figures(served)
    assert figure(found, "hansard_jobs", state="running", pool="speech") == 0
    assert figure(found, "hansard_work_waiting_seconds", pool="speech") == 0
    assert figure(found, "hansard_audio_seconds_total", engine="sphinx") == pytest.approx(12)
    assert figure(found, "hansard_transcriptions_total", engine="sphinx") == 2
    for stage in ("claim", "unit.prepare", "unit.listen", "unit.finish"):
        assert (figure(found, "hansard_stage_seconds_count", stage=stage) or 0) >= 1, stage


def test_parts_and_the_process_are_seen(served: Served) -> None:
    found = figures(served)
    for part in ("store", "files", "disk", "memory"):
        assert figure(found, "hansard_part_up", part=part) == 1
    assert figure(found, "process_resident_memory_bytes")
    assert any(name == "hansard_build_info" for name, _ in found)


def test_a_store_that_is_gone_is_said_and_the_rest_goes_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise StoreGone("The store cannot be reached.")

    monkeypatch.setattr(metrics, "look", gone)
    found = figures(served)
    assert not any(name == "hansard_jobs" for name, _ in found), "unknown is not none"
    assert figure(found, "process_resident_memory_bytes")


def test_requests_are_counted_by_route_and_not_by_address(served: Served) -> None:
    for n in range(20):
        assert served.http.get(f"/api/v1/jobs/job{n}").status_code == 404
        served.http.get(f"/nothing/{n}")
        served.http.request(f"X{n}", "/nothing")
    served.http.get("/api/v1/jobs")
    found = figures(served)
    name = "hansard_http_request_seconds"
    counted = {labels: value for (kind, labels), value in found.items() if kind == f"{name}_count"}
    job = {"method": "GET", "route": "/api/v1/jobs/{job}", "status": "4xx"}
    assert counted[tuple(sorted(job.items()))] == 20
    assert counted[tuple(sorted({**job, "route": "other"}.items()))] == 20
    assert len(counted) <= 4
    assert figure(found, f"{name}_bucket", **job, le="+Inf") == 20
    bounds = [
        figure(found, f"{name}_bucket", **job, le=str(bound)) or 0.0
        for bound in exposition.REQUESTS
    ]
    assert bounds == sorted(bounds), "buckets add up"
    assert bounds[-1] == 20


@pytest.mark.parametrize("kind", stores.BOTH)
def test_living_workers_are_counted_by_host(
    serve: Serve, kind: str, request: pytest.FixtureRequest
) -> None:
    shared = {} if kind == "sqlite" else {"database": request.getfixturevalue("postgres")}
    served = serve(work=False, **shared)
    lease = served.house.settings.lease_seconds
    now = time.time()
    rows = [
        {"id": "a", "host": "one", "pools": "speech,video", "started": 0.0, "seen": now},
        {"id": "b", "host": "one", "pools": "speech", "started": 0.0, "seen": now},
        {"id": "c", "host": "two", "pools": "speech", "started": 0.0, "seen": now},
        {"id": "d", "host": "two", "pools": "speech", "started": 0.0, "seen": now - 9 * lease},
        {"id": "e", "host": "api", "pools": "", "started": 0.0, "seen": now},
    ]
    with served.house.database.write() as connection:
        connection.execute(workers.delete())
        connection.execute(workers.insert(), rows)
    found = figures(served)
    crowd = {
        (dict(labels)["pool"], dict(labels)["host"]): value
        for (name, labels), value in found.items()
        if name == "hansard_workers"
    }
    mine = {key: value for key, value in crowd.items() if key[1] in ("one", "two", "api")}
    assert mine == {("speech", "one"): 2, ("video", "one"): 1, ("speech", "two"): 1}


def test_figures_are_for_administrators(serve: Serve) -> None:
    served = serve(work=False, serve={"keys": "required"})
    with served.house.database.write() as connection:
        tokens = {scope: keys.create(connection, scope, (scope,))[1] for scope in keys.SCOPES}
    assert served.http.get("/metrics").status_code == 401
    said = {
        scope: served.http.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code
        for scope, token in tokens.items()
    }
    assert said == {"read": 403, "write": 403, "admin": 200}


def test_an_answer_holds_for_a_moment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    really: Callable[..., Any] = metrics.look

    def counted(*args: Any) -> Any:
        looks.append(1)
        return really(*args)

    monkeypatch.setattr(metrics, "look", counted)
    monkeypatch.setattr(metrics, "FRESH", 1e9)
    assert len({served.http.get("/metrics").text for _ in range(5)}) == 1
    assert len(looks) == 1


def test_sums_go_on_over_midnight(served: Served) -> None:
    database, ledger = served.house.database, metrics.Ledger()
    day = 86_400.0

    def heard(moment: float, seconds: float) -> None:
        with database.write() as connection:
            usage.add(connection, moment, "t", None, "sphinx", calls=1, seconds=seconds)

    def total(moment: float) -> float:
        with database.read() as connection:
            (line,) = ledger.sums(connection, usage.day(moment))
        return line.seconds

    heard(10 * day, 1)
    heard(19.9 * day, 2)
    heard(20 * day, 4)
    assert total(20 * day) == 7
    heard(19.9 * day, 8)  # a job that ended just before midnight
    heard(20.5 * day, 16)
    assert total(20.5 * day) == 31
    heard(21 * day, 32)
    assert total(21.1 * day) == 63
    assert total(300 * day) == 63


def test_a_worker_may_answer_by_itself() -> None:
    with telemetry.span("unit.listen"):
        pass
    telemetry.count("vad.spans", 3)
    server = exposition.listen("127.0.0.1:0")
    with urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as said:
        found = parsed(said.read().decode())
    with pytest.raises(CannotListen):
        exposition.listen(f"127.0.0.1:{server.server_port}")
    with pytest.raises(UsageError):
        exposition.listen("9464")
    server.shutdown()
    server.server_close()
    assert figure(found, "hansard_stage_seconds_count", stage="unit.listen") == 1
    assert figure(found, "hansard_stage_seconds_bucket", stage="unit.listen", le="0.001") == 1
    assert figure(found, "hansard_events_total", event="vad.spans") == 3
