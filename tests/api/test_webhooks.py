from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.conftest import Serve, Served
from tests.receiver import Answer, Receiver, receiving, verified

from hansard.jobs import rows, webhooks
from hansard.store import keys, tables

FREE = {"private": True}
DELIVERIES = "/api/v1/webhooks/deliveries"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def send(served: Served, clip: Path, webhook: str, **fields: Any) -> httpx.Response:
    with clip.open("rb") as file:
        return served.http.post(
            "/api/v1/transcriptions",
            files={"file": ("board.flac", file)},
            data={"webhook_url": webhook, "model": "sphinx", **fields},
        )


def deliveries(served: Served, secret: str | None = None, **query: Any) -> list[dict[str, Any]]:
    answer = served.http.get(DELIVERIES, params=query, headers=bearer(secret))
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def bearer(secret: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"} if secret else {}


def settled(served: Served, delivery: str, state: str) -> dict[str, Any]:
    """The delivery, once it is in this state."""
    while True:
        found: dict[str, Any] = served.http.get(f"{DELIVERIES}/{delivery}").json()
        if found["state"] == state:
            return found
        time.sleep(0.02)


def note(served: Served, tenant: str, count: int = 1, job: str = "j") -> None:
    """Deliveries of a tenant, as the ends of jobs leave them."""
    with served.house.database.write() as connection:
        for number in range(count):
            moment = 1_800_000_000.0 + number
            connection.execute(
                tables.deliveries.insert().values(
                    id=rows.new_id(moment),
                    tenant=tenant,
                    job=f"{job}{number}",
                    event="job.completed",
                    url="https://hooks.example/",
                    host="hooks.example",
                    body="{}",
                    state="delivered" if number % 2 else "abandoned",
                    not_before=moment,
                    created=moment,
                    since=moment,
                    finished=moment,
                )
            )


def test_a_transcription_tells_of_its_end(serve: Serve, clip: Path, receiver: Receiver) -> None:
    receiver.answers = [Answer(200), Answer(204)]
    served = serve(webhooks=FREE)
    served.house.deliver()
    job = send(served, clip, receiver.url).json()["id"]
    (call,) = receiver.wait_for(1)
    said = call.said
    assert said["type"] == "job.completed"
    assert said["data"]["job"]["id"] == job
    assert said["data"]["job"]["name"] == "board.flac"
    assert served.http.get(said["data"]["link"]).json()["id"] == job
    secret = served.http.get("/api/v1/webhooks/secret")
    assert "no-store" in secret.headers["cache-control"]
    assert verified(call, secret.json()["secret"])

    whole = settled(served, call.id, "delivered")
    assert [one["id"] for one in deliveries(served, job=job)] == [call.id]
    assert (whole["event"], whole["url"], whole["attempts"]) == ("job.completed", receiver.url, 1)
    assert [trying["status"] for trying in whole["tries"]] == [200]
    assert whole["body"] == said

    again = served.http.post(f"{DELIVERIES}/{call.id}/replay")
    assert again.status_code == 202
    assert again.json()["state"] == "waiting"
    first, second = receiver.wait_for(2)
    assert (first.id, first.body) == (second.id, second.body)
    assert verified(second, secret.json()["secret"])
    assert [one["status"] for one in settled(served, call.id, "delivered")["tries"]] == [200, 204]


def test_every_job_is_told_to_the_address_in_the_settings(
    serve: Serve, clip: Path, receiver: Receiver
) -> None:
    secret = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
    served = serve(webhooks={**FREE, "url": receiver.url, "secret": secret})
    served.house.deliver()
    with receiving() as own:
        job = send(served, clip, own.url).json()["id"]
        (call,), (mine,) = receiver.wait_for(1), own.wait_for(1)
    assert call.said["data"]["job"]["id"] == mine.said["data"]["job"]["id"] == job
    assert call.id != mine.id
    assert verified(call, secret)
    assert verified(mine, secret)
    assert len(deliveries(served, job=job)) == 2


def test_a_cancelled_transcription_tells_too(serve: Serve, clip: Path, receiver: Receiver) -> None:
    served = serve(work=False, webhooks=FREE)
    served.house.deliver()
    job = send(served, clip, receiver.url).json()["id"]
    assert served.http.post(f"/api/v1/transcriptions/{job}/cancel").status_code == 200
    (call,) = receiver.wait_for(1)
    assert call.said["type"] == "job.cancelled"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:9/hook", "address_refused"),
        ("http://[::ffff:172.16.0.1]/hook", "address_refused"),
        ("http://2130706433/hook", "address_refused"),
        ("http://me:secret@example.org/", "address_refused"),
        ("ftp://example.org/hook", "bad_request"),
        ("nonsense", "bad_request"),
    ],
)
def test_addresses_that_may_not_be_called_are_refused(
    serve: Serve, clip: Path, url: str, code: str
) -> None:
    served = serve(work=False)
    answer = send(served, clip, url)
    assert answer.json()["error"]["code"] == code
    assert 400 <= answer.status_code < 500
    assert served.http.get("/api/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.mp3", "http://localhost/x.mp3"])
def test_recordings_are_not_fetched_from_private_addresses(serve: Serve, url: str) -> None:
    served = serve(work=False)
    answer = served.http.post("/api/v1/transcriptions", json={"url": url, "model": "sphinx"})
    assert answer.json()["error"]["code"] == "address_refused"


def test_pages_of_deliveries(serve: Serve) -> None:
    served = serve(work=False)
    note(served, "local", 7)
    every = [one["id"] for one in deliveries(served)]
    assert every == sorted(every, reverse=True)
    assert len(every) == 7
    walked: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = served.http.get(DELIVERIES, params={"limit": 3, **cursor}).json()
        walked += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert walked == every
    assert {one["state"] for one in deliveries(served, state="abandoned")} == {"abandoned"}
    assert len(deliveries(served, state="delivered")) == 3
    assert [one["job"] for one in deliveries(served, job="j5")] == ["j5"]
    assert deliveries(served, job="none") == []
    for query in ({"state": "lost"}, {"cursor": "x"}, {"limit": 0}, {"limit": 201}, {"more": 1}):
        assert served.http.get(DELIVERIES, params=query).status_code == 400, query


def test_what_is_not_there_and_what_is_anothers_look_the_same(serve: Serve) -> None:
    served = serve(work=False, serve={"keys": "required"})

    def key(*scopes: keys.Scope) -> tuple[str, str]:
        with served.house.database.write() as connection:
            made, secret = keys.create(connection, "test", scopes)
        return made.tenant, secret

    (tenant, mine), (_, theirs), (_, admin) = key("read", "write"), key("read"), key("admin")
    note(served, tenant)
    note(served, webhooks.HOUSE)
    (one,) = deliveries(served, mine)
    assert len(deliveries(served, admin)) == 2
    assert deliveries(served, theirs) == []

    def ask(secret: str, method: str, path: str) -> tuple[int, str]:
        answer = served.http.request(method, f"{DELIVERIES}/{path}", headers=bearer(secret))
        return answer.status_code, answer.text.replace(path.partition("/")[0], "ID")

    number = one["id"]
    assert ask(mine, "GET", number)[0] == 200
    assert ask(admin, "GET", number)[0] == 200
    assert ask(theirs, "GET", number) == ask(theirs, "GET", "none0000000000")
    assert ask(theirs, "GET", number)[0] == 404
    assert ask(theirs, "POST", f"{number}/replay")[0] == 403  # it may only read
    _, other = key("read", "write")
    assert ask(other, "POST", f"{number}/replay")[0] == 404
    assert ask(mine, "POST", f"{number}/replay")[0] == 202

    secrets = [
        served.http.get("/api/v1/webhooks/secret", headers=bearer(one)).json().get("secret")
        for one in (mine, other, admin, theirs)
    ]
    assert secrets[3] is None  # reading is not enough
    assert len(set(secrets)) == 4
    assert served.http.get("/api/v1/webhooks/secret").status_code == 401
