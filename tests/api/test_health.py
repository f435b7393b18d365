from __future__ import annotations

import time
from typing import Any

import pytest
from tests.api.conftest import Serve, Served

from hansard.api import health
from hansard.errors import StoreBroken
from hansard.store.files import Files

COMPONENTS = {"store", "files", "queue", "engine", "disk", "memory", "workers"}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "EVERY", 0.02)


def until(served: Served, component: str, status: str) -> dict[str, Any]:
    """The health, once a component is so; the test's own limit ends the waiting."""
    while True:
        said: dict[str, Any] = served.http.get("/api/v1/health").json()
        if said["components"].get(component, {}).get("status") == status:
            return said
        time.sleep(0.02)


def ready(served: Served) -> tuple[int, str]:
    response = served.http.get("/api/v1/health/ready")
    return response.status_code, response.json()["status"]


def test_each_part_says_how_it_is(served: Served) -> None:
    said = until(served, "engine", "ok")
    assert set(said["components"]) == COMPONENTS
    for component in said["components"].values():
        assert component["message"].endswith(".")
    assert said["version"]
    assert said["components"]["workers"] == {"status": "ok", "message": "This process works."}
    assert ready(served) == (200, "ready")


def test_without_a_worker_work_is_taken_in_and_waits(serve: Serve) -> None:
    served = serve(work=False)
    said = until(served, "workers", "degraded")
    assert said["status"] == "degraded"
    assert served.http.get("/api/v1/health").status_code == 200
    assert ready(served) == (200, "ready")


def test_a_worker_elsewhere_is_seen(serve: Serve) -> None:
    from hansard.jobs.presence import Presence

    served = serve(work=False)
    until(served, "workers", "degraded")
    other = Presence(served.house.settings.data / "workers")
    assert "1 more process" in until(served, "workers", "ok")["components"]["workers"]["message"]
    other.close()
    until(served, "workers", "degraded")


def test_a_disk_below_the_reserve_takes_nothing_until_there_is_room(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10 * 2**20]
    monkeypatch.setattr(Files, "free_bytes", lambda _: free[0])
    said = until(served, "disk", "down")
    assert said["status"] == "down"
    assert served.http.get("/api/v1/health").status_code == 503
    assert ready(served) == (503, "not ready")
    free[0] = 700 * 2**20
    until(served, "disk", "degraded")
    assert ready(served) == (200, "ready")
    free[0] = 2**40
    until(served, "disk", "ok")


def test_a_data_directory_that_is_gone_is_seen(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(served, "files", "ok")
    monkeypatch.setattr(served.house.files, "root", served.house.files.root / "gone")
    until(served, "files", "down")
    assert ready(served) == (503, "not ready")


def test_a_store_that_does_not_answer_is_down_and_the_process_lives(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: health.Watch) -> tuple[int, int]:
        raise StoreBroken("The store cannot be used.", hint="No.")

    with monkeypatch.context() as patch:
        patch.setattr(health.Watch, "_count", broken)
        said = until(served, "store", "down")
        assert said["components"]["store"]["message"] == "The store cannot be used."
        assert said["components"]["queue"]["status"] == "down"
        assert ready(served) == (503, "not ready")
        assert served.http.get("/api/v1/health/live").json() == {"status": "live"}
    until(served, "store", "ok")
    assert ready(served) == (200, "ready")


def test_a_store_that_takes_too_long_is_down(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_PATIENCE", 0.05)

    def slow(_: health.Watch) -> tuple[int, int]:
        time.sleep(0.3)
        return 0, 0

    monkeypatch.setattr(health.Watch, "_count", slow)
    assert "No answer" in until(served, "store", "down")["components"]["store"]["message"]


@pytest.mark.parametrize(
    ("waiting", "status", "takes"), [(8, "ok", 200), (9, "degraded", 200), (10, "down", 503)]
)
def test_a_full_queue_takes_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, waiting: int, status: str, takes: int
) -> None:
    monkeypatch.setattr(health.Watch, "_count", lambda _: (waiting, 1))
    served = serve(queue={"capacity": 10})
    said = until(served, "queue", status)
    assert said["components"]["queue"]["message"] == f"{waiting} of 10 places taken, 1 running."
    assert ready(served)[0] == takes


def test_what_waits_and_what_runs_is_counted(serve: Serve) -> None:
    from hansard.store.tables import jobs

    served = serve(work=False)
    watch = health.Watch(served_desk(served))
    columns = {
        "kind": "transcribe",
        "step": "prepare",
        "priority": 5,
        "recording": "r",
        "options": "{}",
        "identity": "i",
        "batch_key": "b",
        "engine": "e",
        "model": "m",
        "levels": "{}",
        "created": 1.0,
    }
    with served.house.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO recordings (id, name, size, media, created) VALUES ('r', 'n', 1, '{}', 1)"
        )
        for n, (state, finished) in enumerate(
            [("queued", None), ("retrying", None), ("running", None), ("completed", 2.0)]
        ):
            connection.execute(
                jobs.insert().values(id=str(n), state=state, finished=finished, **columns)
            )
    assert watch._count() == (2, 1)


def served_desk(served: Served) -> Any:
    """As much of a desk as looking at the store needs."""

    class Desk:
        house = served.house
        settings = served.house.settings
        reader = served.house.database

    return Desk()


def test_broken_models_are_named(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from hansard.speech import catalog

    whole = catalog.installed(served.house.settings)
    broken = [*whole, type("Info", (), {"name": "tiny", "problem": "model.bin is missing"})()]
    monkeypatch.setattr(health, "_SLOW_EVERY", 2)
    monkeypatch.setattr(catalog, "installed", lambda _: broken)
    assert "Broken: tiny" in until(served, "engine", "degraded")["components"]["engine"]["message"]
    monkeypatch.setattr(catalog, "installed", lambda _: broken[-1:])
    until(served, "engine", "down")


def test_a_look_that_fails_is_logged_and_the_next_is_taken(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    until(served, "disk", "ok")
    with monkeypatch.context() as patch:
        patch.setattr(health.Watch, "_see_machine", lambda _: 1 // 0)
        while "could not be looked at" not in caplog.text:
            time.sleep(0.02)
        assert ready(served) == (200, "ready")
    monkeypatch.setattr(Files, "free_bytes", lambda _: 0)
    until(served, "disk", "down")


def test_a_disk_that_says_nothing_is_down(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Files) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Files, "free_bytes", gone)
    assert "Input/output error" in until(served, "disk", "down")["components"]["disk"]["message"]
