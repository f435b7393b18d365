"""Asking over HTTP."""

from __future__ import annotations

import pytest
from tests.api.conftest import Serve, Served
from tests.search.shelf import add

ASK = "/api/v1/ask"


@pytest.fixture
def library(serve: Serve) -> Served:
    served = serve(work=False)
    said = ["The roof leaks.", "We decided to mend the roof in March.", "Any other business?"]
    add(served.house.database, "Museum", said)
    add(served.house.database, "Secret", ["We decided to sell the roof."], tenant="other")
    return served


def test_an_answer_cites(library: Served) -> None:
    said = library.http.post(ASK, json={"question": "When do we mend the roof?"})
    assert said.status_code == 200, said.text
    found = said.json()
    assert found["known"] is True
    assert found["answer"][0]["text"] == "We decided to mend the roof in March."
    (one,) = found["answer"][0]["citations"]
    assert (one["segments"], one["start"], one["end"]) == ([1], 5.0, 10.0)
    assert found["source"]["by"] == "embedded"
    assert "sell" not in said.text
    only = {"question": "When do we mend the roof?", "meeting": one["meeting"]}
    assert library.http.post(ASK, json=only).json()["answer"] == found["answer"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"question": "roof", "meeting": "nowhere"}, 404, "unknown_meeting"),
        ({"question": ""}, 422, "usage"),
        ({"question": 7}, 400, "invalid_field"),
        ({"question": "roof", "tools": ["rm"]}, 400, "invalid_field"),
        ({}, 400, "invalid_field"),
    ],
)
def test_bad_questions(library: Served, body: dict[str, object], status: int, code: str) -> None:
    said = library.http.post(ASK, json=body)
    assert said.status_code == status, said.text
    assert said.json()["error"]["code"] == code


def test_meaning_is_searched_once_meetings_have_vectors(library: Served) -> None:
    house = library.house
    plain = library.http.get("/api/v1/search", params={"q": "roof", "mode": "hybrid"}).json()
    assert plain["answered_by"] == ["text"]
    assert plain["reason"]
    embedders, _ = house.meaning._parts()
    job = plain["items"][0]["id"]
    assert embedders.embed("local", job) == 1
    both = library.http.get("/api/v1/search", params={"q": "roof", "mode": "hybrid"}).json()
    assert set(both["answered_by"]) == {"text", "semantic"}
    assert both["items"][0]["id"] == job
