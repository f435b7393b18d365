"""Searching over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.api.conftest import Serve, Served
from tests.search.shelf import BEGIN, DAY, add

from hansard.model import LOCAL
from hansard.store import keys

SEARCH = "/api/v1/search"
SAVED = "/api/v1/searches"


@pytest.fixture
def library(serve: Serve) -> Served:
    """A service without a worker, with some meetings."""
    served = serve(work=False)
    database = served.house.database
    add(
        database,
        "Budget <2026>",
        ["The <script>museum</script> budget.", "Its roof."],
        kind="hearing",
        status="reviewed",
        tags=["money"],
        people=["Anna"],
        held=BEGIN + DAY,
        mood=0.5,
    )
    add(database, "Stand-up", ["The roof and the budget."], held=BEGIN)
    add(database, "Secret", ["The budget."], tenant="other")
    return served


def ask(served: Served, **query: Any) -> dict[str, Any]:
    answer = served.http.get(SEARCH, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def titles(found: dict[str, Any]) -> set[str]:
    return {one["title"]["text"] for one in found["items"]}


def test_a_search(library: Served) -> None:
    found = ask(library, q="budget museum", facets="true")
    assert (found["mode"], found["answered_by"]) == ("auto", ["text"])
    assert "prepared" in found["reason"]
    assert (found["total"], found["more"], found["next"]) == (1, False, None)
    (one,) = found["items"]
    assert one["title"] == {
        "text": "Budget <2026>",
        "marks": [[0, 6]],
        "html": "<mark>Budget</mark> &lt;2026&gt;",
    }
    shown = one["passages"][0]
    assert shown["snippet"]["html"] == (
        "The &lt;script&gt;<mark>museum</mark>&lt;/script&gt; <mark>budget</mark>."
    )
    assert (shown["speaker"], shown["start"]) == ("Anna", 0.0)
    assert shown["link"] == f"{one['link']}?t=0"
    assert found["facets"]["kind"] == [{"value": "hearing", "meetings": 1}]


def test_filters(library: Served) -> None:
    for narrow in (
        {"kind": "hearing"},
        {"status": ["reviewed", "x"]},
        {"tag": "money"},
        {"speaker": "anna"},
        {"after": "2026-01-02"},
        {"after": str(BEGIN + 1)},
        {"mood_min": 0.4},
        {"q": "budget kind:hearing"},
    ):
        found = ask(library, **{"q": "budget", **narrow})
        assert titles(found) == {"Budget <2026>"}, narrow


def test_pages(library: Served) -> None:
    first = ask(library, q="budget", limit=1, mode="text")
    second = ask(library, q="budget", limit=1, mode="text", cursor=first["next"])
    assert titles(first) | titles(second) == {"Budget <2026>", "Stand-up"}
    assert second["next"] is None
    assert first["reason"] is None


def test_typos_and_answers_that_are_known(library: Served) -> None:
    found = ask(library, q="musuem")
    assert found["corrected"] == {"musuem": "museum"}
    assert titles(found) == {"Budget <2026>"}
    answer = library.http.get(SEARCH, params={"q": "roof"})
    again = library.http.get(
        SEARCH, params={"q": "roof"}, headers={"if-none-match": answer.headers["etag"]}
    )
    assert again.status_code == 304


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"q": 'a "b'}, "bad_query"),
    ({"q": "speeker:x"}, "bad_query"),
    ({"q": "x" * 1500}, "bad_query"),
    ({"q": "x", "cursor": "none"}, "bad_request"),
    ({"q": "x", "limit": 0}, "bad_request"),
    ({"q": "x", "mode": "magic"}, "bad_request"),
    ({"q": "x", "colour": "red"}, "bad_request"),
    ({"q": "x", "after": "soon"}, "bad_request"),
]


def test_what_is_refused(library: Served) -> None:
    for query, code in REFUSED:
        answer = library.http.get(SEARCH, params=query)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["code"] == code, query
        assert error["hint"]


def test_a_tenant_searches_its_own(serve: Serve) -> None:
    served = serve(work=False, serve={"keys": "required"})
    add(served.house.database, "Mine", ["The budget."], tenant="a")
    add(served.house.database, "Yours", ["The budget."], tenant="b")
    add(served.house.database, "The house's", ["The budget."], tenant=LOCAL)
    secrets = {}
    for tenant in ("a", "b"):
        with served.house.database.write() as connection:
            made = keys.create(
                connection, tenant, tenant=tenant, scopes=("read", "write"), now=BEGIN
            )
            secrets[tenant] = made[1]

    def asked(tenant: str, method: str, address: str, **given: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {secrets[tenant]}"}
        return served.http.request(method, address, headers=headers, **given)

    assert titles(asked("a", "GET", SEARCH, params={"q": "budget"}).json()) == {"Mine"}
    assert titles(asked("b", "GET", SEARCH).json()) == {"Yours"}
    kept = asked("a", "POST", SAVED, json={"name": "x", "q": "budget"}).json()["id"]
    assert asked("b", "GET", SAVED).json()["items"] == []
    assert asked("b", "GET", f"{SAVED}/{kept}").status_code == 404
    assert asked("b", "DELETE", f"{SAVED}/{kept}").status_code == 404
    assert asked("a", "GET", f"{SAVED}/{kept}").status_code == 200


# ── saved searches ───────────────────────────────────────────────────────────────────────────


def test_searches_are_saved(library: Served) -> None:
    made = []
    for number in range(3):
        answer = library.http.post(SAVED, json={"name": f"s{number}", "q": "budget -draft"})
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
        assert answer.headers["location"] == f"{SAVED}/{made[-1]['id']}"
        assert library.http.get(answer.headers["location"]).json() == made[-1]
    page = library.http.get(SAVED, params={"limit": 2}).json()
    rest = library.http.get(SAVED, params={"limit": 2, "cursor": page["next"]}).json()
    assert rest["next"] is None
    assert {one["name"] for one in page["items"] + rest["items"]} == {"s0", "s1", "s2"}
    assert library.http.delete(f"{SAVED}/{made[0]['id']}").status_code == 204
    gone = library.http.delete(f"{SAVED}/{made[0]['id']}")
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "unknown_search"


NOT_SAVED: list[tuple[dict[str, Any], str]] = [
    ({"name": "x", "q": "a OR"}, "bad_query"),
    ({"name": "", "q": "a"}, "invalid_field"),
    ({"name": "x"}, "bad_request"),
    ({"name": "x", "q": "a", "colour": "red"}, "bad_request"),
    ({"name": "x", "q": "a", "webhook_url": "http://127.0.0.1:1/"}, "address_refused"),
    ({"name": "x", "q": "a", "webhook_url": "ftp://example.org/"}, "bad_request"),
]


def test_what_is_not_saved(library: Served) -> None:
    for body, code in NOT_SAVED:
        answer = library.http.post(SAVED, json=body)
        assert answer.json()["error"]["code"] == code, answer.text
    assert library.http.get(SAVED).json()["items"] == []


@pytest.mark.parametrize("name", ["-", "\u0096", "()"])
def test_a_speaker_has_letters(library: Served, name: str) -> None:
    said = library.http.get(SEARCH, params={"q": "budget", "speaker": name})
    assert said.status_code == 400, said.text
    assert said.json()["error"]["code"] == "bad_query"
