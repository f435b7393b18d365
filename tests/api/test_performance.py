"""``hansard performance`` and its API: what a real transcription leaves, seen from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.conftest import Serve, Served
from tests.api.test_transcriptions import done
from tests.perf.conftest import put

from hansard import telemetry
from hansard.cli.app import run
from hansard.config import load
from hansard.store import keys
from hansard.wiring import House


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    telemetry.reset()
    yield
    telemetry.reset()


def flushed(served: Served) -> None:
    served.house._figures.flush()


def test_a_transcription_is_found_again_with_its_trace(served: Served, clip: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    served.http.headers["traceparent"] = f"00-{trace}-b7ad6b7169203331-01"
    job = done(served, clip)
    assert served.http.get("/api/v1/jobs/none").status_code == 404
    flushed(served)
    found = served.http.get("/api/v1/performance/report", params={"hours": 24}).json()
    operations = {one["stage"]: one for one in found["operations"]}
    assert operations["unit.listen"]["component"] == "pipeline"
    assert operations["prepare.decode"]["component"] == "decode"
    assert {"queue.wait", "pipeline.factor", "submit.accept"} <= set(operations)
    assert 0 < found["success_rate"] <= 1
    slow = {one["stage"]: one for one in found["slowest"]}
    ours = [one for one in slow.values() if one["trace"] == trace]
    assert any(one["about"] == job["id"] for one in ours), slow
    api = served.http.get("/api/v1/performance/report", params={"category": "api"}).json()
    assert {one["component"] for one in api["operations"]} == {"api"}
    assert "api.GET /api/v1/jobs/{job}" in {one["stage"] for one in api["operations"]}
    for wrong in ({"hours": 0}, {"hours": 721}, {"category": "none"}, {"day": 1}):
        said = served.http.get("/api/v1/performance/report", params=wrong)
        assert said.status_code in {400, 422}, wrong
        assert said.json()["error"]["code"] == "bad_request"


def test_a_stage_that_is_slow_on_purpose_is_named_by_each(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.time() - 3700
    put(served.house.database, before, "unit.listen", 0.02, 10, own=0.01)
    put(served.house.database, before, "engine", 0.01, 10)
    monkeypatch.setattr(telemetry, "_slow", {"engine": 0.15})
    for _ in range(5):
        with telemetry.span("unit.listen"), telemetry.span("engine"):
            pass
    flushed(served)
    report = served.http.get("/api/v1/performance/report").json()
    assert report["operations"][0]["stage"] == "engine"
    changes = served.http.get("/api/v1/performance/insights").json()["changes"]
    assert [one["stage"] for one in changes if one["kind"] == "slower"] == ["engine"]
    assert run(["performance", "--minutes", "60"]) == 0
    assert "! engine is" in capsys.readouterr().out


def test_figures_are_for_administrators(serve: Serve) -> None:
    service = serve(work=False, serve={"keys": "required"})
    with service.house.database.write() as connection:
        tokens = {scope: keys.create(connection, scope, (scope,))[1] for scope in keys.SCOPES}
    for address in ("report", "insights"):
        said = {
            scope: service.http.get(
                f"/api/v1/performance/{address}", headers={"Authorization": f"Bearer {token}"}
            ).status_code
            for scope, token in tokens.items()
        }
        assert said == {"read": 403, "write": 403, "admin": 200}


def test_the_command_shows_exports_and_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with House(load()) as house:
        put(house.database, now, "engine.decode", 2.0, 10, failures={"engine_died": 1})
        put(house.database, now, "api.GET /api/v1/search", 5.0, 10)
    out = tmp_path / "figures.json"
    assert run(["performance", "--export", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "engine.decode" in shown
    assert "search is over its level: 10 of 10" in shown
    assert json.loads(out.read_text())["report"]["failed"] == 1
    assert run(["performance", "--json", "--component", "stt", "--minutes", "5"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["stage"] for one in said["report"]["operations"]] == ["engine.decode"]
    assert run(["performance", "--component", "nothing"]) == 2
    capsys.readouterr()

    pictures = iter([None, KeyboardInterrupt()])

    def sleep(_: float) -> None:
        if (end := next(pictures)) is not None:
            raise end

    monkeypatch.setattr("hansard.cli.performance.time.sleep", sleep)
    assert run(["performance", "--live"]) == 130
    assert "engine.decode" in capsys.readouterr().out
