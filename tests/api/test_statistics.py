from __future__ import annotations

from tests.api.conftest import Serve
from tests.api.test_usage import token
from tests.store.test_views import BEGIN, put, row

from hansard.store import statistics

DAYS = {"from": "2023-11-01", "to": "2023-11-30"}
PLACE = "/api/v1/statistics"


def test_days_are_summed_up_by_what_became_of_them(serve: Serve) -> None:
    served = serve(work=False)
    put(
        served.house.database,
        [
            row(1, finished=BEGIN + 9, started=BEGIN + 1, seconds=60.0),
            row(2, finished=BEGIN + 9, seconds=2.0, state="failed"),
            row(3, finished=BEGIN + 9, started=BEGIN, seconds=1.5, tenant="another"),
            row(4, seconds=9.0, state="running"),
        ],
    )
    statistics.refresh(served.house.database)
    line = {"day": "2023-11-14", "engine": "sphinx", "model": "en-us"}
    failed = {**line, "state": "failed", "jobs": 1, "seconds": 2.0, "busy": 0.0}
    done = {**line, "state": "completed", "jobs": 2, "seconds": 61.5, "busy": 17.0}
    found = served.http.get(PLACE, params=DAYS)
    assert found.json() == {**DAYS, "lines": [done, failed]}
    _, secret = token(served, "read", tenant="another")
    theirs = served.http.get(PLACE, params=DAYS, headers={"x-api-key": secret}).json()["lines"]
    assert theirs == [{**done, "jobs": 1, "seconds": 1.5, "busy": 9.0}]
    recent = served.http.get(PLACE)
    assert recent.status_code == 200
    assert recent.json()["lines"] == []


def test_days_that_cannot_be(serve: Serve) -> None:
    served = serve(work=False)
    for asked in ({"from": "2023-11-30", "to": "2023-11-01"}, {"from": "then"}, {"x": "1"}):
        assert served.http.get(PLACE, params=asked).status_code == 400, asked
