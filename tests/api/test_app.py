from __future__ import annotations

import json
import threading

import httpx
import pytest
from tests.api.conftest import Serve, Served

from hansard.api import health
from hansard.api.app import create
from hansard.config import load
from hansard.wiring import House


def test_the_api_describes_itself(served: Served) -> None:
    described = served.http.get("/api/v1/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    assert described["info"]["title"] == "Hansard"


def test_no_page_is_served_that_loads_from_elsewhere(served: Served) -> None:
    assert [served.http.get(path).status_code for path in ("/docs", "/redoc", "/")] == [404] * 3


def test_a_service_starts_and_stops_many_times_and_leaves_no_thread(serve: Serve) -> None:
    before = {thread.name for thread in threading.enumerate()}
    for _ in range(2):
        with House(load()) as house:
            app = create(house)
            with pytest.raises(AttributeError):
                _ = app.state.desk
    served = serve(work=False)
    assert served.http.get("/api/v1/health/live").status_code == 200
    assert "hansard-access-log" in {thread.name for thread in threading.enumerate()} - before


def test_routes_are_matched_once(served: Served) -> None:
    app = create(served.house)
    assert all(hasattr(route, "path") for route in app.routes), "a router that is included"


def test_a_hundred_at_once_are_answered(served: Served) -> None:
    said: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=served.url, trust_env=False) as http:
            said.extend(http.get(f"/api/v1/jobs?limit={n + 1}").status_code for n in range(5))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [200] * 100


def test_health_is_part_of_the_page_though_it_is_called_at_once(served: Served) -> None:
    paths = json.loads(served.http.get("/api/v1/openapi.json").content)["paths"]
    for route in health.router.routes:
        assert getattr(route, "path", "") in paths
