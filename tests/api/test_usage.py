from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import Serve, Served

from hansard.errors import BadInput
from hansard.jobs.queue import Queue
from hansard.model import (
    Client,
    Levels,
    Media,
    Options,
    Prepared,
    Recording,
    Span,
    Utterance,
    Window,
    WindowResult,
)
from hansard.store import keys, usage
from hansard.transcription import Request

LEVELS = Levels(10.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
JANUARY = 1_767_225_600.0
"""The first second of 2026, UTC."""
DAY = 86_400.0


def token(served: Served, *scopes: keys.Scope, tenant: str | None = None) -> tuple[keys.Key, str]:
    with served.house.database.write() as connection:
        return keys.create(connection, "test", scopes or ("read", "write"), tenant=tenant)


def ask(served: Served, secret: str | None = None, **query: Any) -> Any:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    query = {name.rstrip("_"): value for name, value in query.items()}
    answer = served.http.get("/api/v1/usage", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def fill(served: Served, rows: list[tuple[float, str, str | None, str, int, float, float]]) -> None:
    with served.house.database.write() as connection:
        for moment, tenant, key, engine, calls, seconds, cost in rows:
            usage.add(
                connection, moment, tenant, key, engine, calls=calls, seconds=seconds, cost=cost
            )


def test_a_transcription_is_counted(served: Served, clip: Path) -> None:
    for again in (False, False, True):
        asked = Request(model="sphinx", again=again)
        job = served.house.submit("clip.flac", [clip.read_bytes()], asked).job
        assert served.house.wait(job.id).state == "completed"
    today = usage.day(time.time())
    found = ask(served, from_=usage.day(time.time() - DAY))
    total = found["total"]
    assert (total["calls"], total["cost"]) == (3, 0.0)
    assert total["seconds"] == pytest.approx(24.0, abs=0.1)  # found once, done twice
    assert {line["day"] for line in found["lines"]} <= {today, usage.day(time.time() - DAY)}
    (line,) = ask(served, group="engine")["lines"]
    assert (line["engine"], line["day"], line["key"]) == ("sphinx", None, None)


def test_sums_by_day_key_and_engine(serve: Serve) -> None:
    served = serve(work=False)
    fill(
        served,
        [
            (JANUARY, "local", None, "sphinx", 1, 60.0, 0.0),
            (JANUARY + DAY - 1, "local", "k1", "openai", 2, 120.0, 0.5),
            (JANUARY + DAY, "local", "k1", "sphinx", 4, 240.0, 0.0),
            (JANUARY + DAY, "local", "k1", "sphinx", 1, 0.0, 0.25),
            (JANUARY + 40 * DAY, "local", None, "sphinx", 100, 1.0, 1.0),
        ],
    )
    span = {"from_": "2026-01-01", "to": "2026-01-31"}

    def lines(*group: str) -> list[tuple[Any, ...]]:
        found = ask(served, **span, group=list(group))["lines"]
        sums = ("calls", "seconds", "cost")
        return [tuple(line[name] for name in (*group, *sums)) for line in found]

    assert lines("day") == [("2026-01-01", 3, 180.0, 0.5), ("2026-01-02", 5, 240.0, 0.25)]
    assert lines("key") == [("", 1, 60.0, 0.0), ("k1", 7, 360.0, 0.75)]
    assert lines("engine") == [("openai", 2, 120.0, 0.5), ("sphinx", 6, 300.0, 0.25)]
    assert lines("engine", "day")[0] == ("openai", "2026-01-01", 2, 120.0, 0.5)
    total = ask(served, **span)["total"]
    assert (total["calls"], total["seconds"], total["cost"]) == (8, 420.0, 0.75)
    none = ask(served, from_="2020-01-01", to="2020-01-31")
    assert (none["lines"], none["total"]["calls"]) == ([], 0)


def test_what_cannot_be_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(work=False)
    for query in (
        {"from": "yesterday"},
        {"group": "hour"},
        {"from": "2026-02-01", "to": "2026-01-01"},
        {"until": "2026-01-01"},
    ):
        answer = served.http.get("/api/v1/usage", params=query)
        assert answer.status_code == 400, query
        assert answer.json()["error"]["hint"]
    fill(served, [(JANUARY + n * DAY, "local", None, "sphinx", 1, 1.0, 0.0) for n in range(4)])
    monkeypatch.setattr(usage, "ROWS", 3)
    query = {"from": "2026-01-01", "to": "2026-01-31"}
    answer = served.http.get("/api/v1/usage", params=query)
    assert answer.json()["error"]["code"] == "bad_request"


def test_a_tenant_sees_its_own_and_the_owner_everybodys(serve: Serve) -> None:
    served = serve(work=False, serve={"keys": "required"})
    mine, my_token = token(served)
    _, their_token = token(served)
    _, admin = token(served, "admin")
    fill(
        served,
        [
            (JANUARY, mine.tenant, mine.id, "sphinx", 1, 60.0, 0.0),
            (JANUARY, "local", None, "sphinx", 10, 600.0, 0.0),
        ],
    )
    span = {"from_": "2026-01-01", "to": "2026-01-01"}
    assert ask(served, my_token, **span)["total"]["calls"] == 1
    assert ask(served, my_token, **span, group="tenant")["lines"][0]["tenant"] == mine.tenant
    assert ask(served, their_token, **span)["lines"] == []
    assert ask(served, admin, **span)["total"]["calls"] == 11
    tenants = {line["tenant"] for line in ask(served, admin, **span, group="tenant")["lines"]}
    assert tenants == {mine.tenant, "local"}
    assert served.http.get("/api/v1/usage").status_code == 401


def test_money_is_counted_once_however_often_a_job_is_retried(serve: Serve) -> None:
    served = serve(work=False)
    now = [JANUARY + 3600]
    queue = Queue(served.house.database, "me", clock=lambda: now[0])
    recording = Recording("a" * 64, "a.wav", Media("wav", 10.0, 100, ()), 1.0)
    options = Options("openai", "whisper-1", language="en")
    client = Client("local", "k1")
    job, _ = queue.submit(recording, options, LEVELS, client=client, seconds=10.0)
    with served.house.database.read() as connection:
        assert usage.spent_today(connection, "k1", now[0]) == 10.0  # it waits
    unit = queue.claim_step()
    assert unit is not None
    windows = [Window(n, 0, (Span(n * 16_000, n * 16_000 + 9000),)) for n in range(2)]
    queue.add_windows(unit, windows, position=32_000)
    queue.end_prepare(unit, Prepared(160_000, 1, LEVELS))

    def hear(cost: float) -> None:
        heard = queue.claim_windows("openai", "whisper-1", batch=1, lanes=2)
        assert heard is not None
        queue.record(heard, [WindowResult((Utterance(0.0, 1.0, "yes"),), cost=cost)])

    hear(0.25)
    broken = queue.claim_windows("openai", "whisper-1", batch=1, lanes=2)
    assert broken is not None
    queue.fail(broken, BadInput("It cannot be heard."))
    span = {"from_": "2026-01-01", "to": "2026-01-01", "group": "key"}
    (line,) = ask(served, **span)["lines"]
    assert (line["calls"], line["seconds"], line["cost"]) == (1, 0.0, 0.25)
    queue.retry(job.id)
    again = queue.claim_step()
    assert again is not None
    queue.end_prepare(again, Prepared(160_000, 1, LEVELS))
    hear(0.5)
    last = queue.claim_step()
    assert last is not None

    def broken_write(_connection: Any) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        queue.complete(last, broken_write)  # it is tried again, and counted once
    queue.complete(last, lambda _: None)
    (line,) = ask(served, **span)["lines"]
    assert (line["calls"], line["seconds"], line["cost"]) == (1, 10.0, 0.75)
    with served.house.database.read() as connection:
        assert usage.spent_today(connection, "k1", now[0]) == 10.0
        assert usage.spent_today(connection, "k1", now[0] + DAY) == 0.0
        assert usage.spent_today(connection, "k2", now[0]) == 0.0
