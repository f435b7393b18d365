from __future__ import annotations

from typing import Any

from tests.api.conftest import Serve
from tests.waiting import until

from hansard.store import keys

PLACE = "/api/v1/performance/profiles"


def test_a_service_is_profiled_while_it_runs(serve: Serve) -> None:
    served = serve(work=False, serve={"keys": "required"})
    with served.house.database.write() as connection:
        _, admin = keys.create(connection, "a", [*keys.SCOPES])
        _, reader = keys.create(connection, "r")
    served.http.headers["authorization"] = f"Bearer {reader}"
    for answer in (
        served.http.post(PLACE, json={"seconds": 1}),
        served.http.get(PLACE),
        served.http.get(f"{PLACE}/x"),
        served.http.get(f"{PLACE}/x/samples"),
        served.http.delete(f"{PLACE}/x"),
    ):
        assert answer.status_code == 403, answer.text
    served.http.headers["authorization"] = f"Bearer {admin}"
    for body in ({"seconds": 0}, {"seconds": 1e9}, {"kind": "disk"}, {"secs": 1}, [1]):
        answer = served.http.post(PLACE, json=body)
        assert answer.json()["error"]["code"] == "invalid_field", answer.text

    begun = served.http.post(PLACE, json={"seconds": 0.3})
    assert begun.status_code == 202, begun.text
    assert begun.json()["state"] == "running"
    busy = served.http.post(PLACE)
    assert busy.status_code == 409
    assert busy.json()["error"]["code"] == "profile_busy"
    place = begun.headers["location"]

    def done() -> Any:
        found = served.http.get(place).json()
        return found if found["state"] != "running" else None

    found = until(done)
    assert found["state"] == "completed", found
    (process,) = found["summary"]["processes"]
    assert process["name"].startswith("api ")
    assert process["looks"]
    assert served.http.get(PLACE).json()["items"][0]["id"] == found["id"]
    page = served.http.get(f"{place}/flamegraph")
    assert page.headers["content-type"].startswith("text/html")
    assert "attachment" in page.headers["content-disposition"]
    assert served.http.get(f"{place}/speedscope").json()["profiles"] is not None
    assert served.http.get(f"{place}/other").status_code == 404
    assert served.http.delete(place).status_code == 204
    assert served.http.get(place).json()["error"]["code"] == "unknown_profile"
