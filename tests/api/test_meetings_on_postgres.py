"""Meetings, search and questions over PostgreSQL: one meeting's whole life, and searching.

What is imported are the tests of the other files, run again with another store below.
"""

from __future__ import annotations

from pathlib import Path

from tests.api.conftest import Served
from tests.api.conftest import serve_on_postgres as serve
from tests.api.test_meetings import (
    got,
    made,
    patched,
    served,
    settled,
)
from tests.api.test_meetings import (
    test_a_meeting_from_its_recording_to_its_corrections as begins,
)
from tests.api.test_search import library, test_a_search, test_filters, test_searches_are_saved

__all__ = [
    "library",
    "made",
    "serve",
    "served",
    "test_a_search",
    "test_filters",
    "test_searches_are_saved",
]


def test_the_life_of_a_meeting(served: Served, clip: Path) -> None:
    begins(served, clip)
    (one,) = got(served, "/meetings")["items"]
    job, place = one["id"], f"/meetings/{one['id']}"
    settled(served, job)
    # It is called something else, in one change of many and in one of its own.
    tagged = {"ids": [job, "nowhere"], "status": "reviewing", "add_tags": ["money"]}
    said = served.http.post("/api/v1/meetings/bulk", json=tagged).json()
    assert (said["changed"], said["failed"]) == ([job], {"nowhere": "unknown_meeting"})
    held = {"title": "The roof", "held": 5000.0, "people": [{"name": "Zoë"}]}
    assert patched(served, place, held)["title"] == "The roof"
    assert [found["id"] for found in got(served, "/meetings", text="ROOF", tag="money")["items"]]
    # What was found, and what people say about it.
    for kind in ("summary", "actions", "chapters", "sentiment", "statistics", "speakers"):
        assert got(served, f"{place}/{kind}")
    patched(served, f"{place}/segments/0", {"text": "The roof leaks badly.", "speaker": "S2"})
    targets = [one["target"] for one in got(served, f"{place}/segments/0/history")["items"]]
    assert targets[-2:] == ["text", "speaker"]
    patched(served, f"{place}/speakers/S1", {"merge_into": "S2"})
    assert [one["label"] for one in got(served, f"{place}/speakers")["items"]] == ["S2"]
    settled(served, job)
    # It is found, by its words and by what is asked.
    (hit,) = got(served, "/search", q="leaking roof")["items"]
    assert hit["id"] == job
    asked = {"question": "Does the roof leak?", "meeting": job}
    answer = served.http.post("/api/v1/ask", json=asked).json()
    assert answer["answer"][0]["citations"][0]["segments"] == [0]
    for written in ("md", "docx"):
        paper = served.http.get(f"/api/v1{place}/minutes", params={"format": written})
        assert (paper.status_code, bool(paper.content)) == (200, True), paper.text
    # In the archive it is still listed, and says so; then it is gone.
    version = served.http.get(f"/api/v1{place}").headers["etag"]
    served.house.archive.put(job)
    known = served.http.get(f"/api/v1{place}", headers={"if-none-match": version})
    assert known.status_code == 200
    assert known.json()["archived"] > 0
    assert [one["archived"] > 0 for one in got(served, "/meetings", text="roof")["items"]] == [True]
    served.house.archive.restore(job)
    assert served.http.get(f"/api/v1{place}").headers["etag"] == version
    assert served.http.delete(f"/api/v1{place}").status_code == 204
    assert got(served, "/search", q="roof")["items"] == got(served, "/meetings")["items"] == []
