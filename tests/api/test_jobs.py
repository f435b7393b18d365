"""States of jobs: cheap, for many at once, with their history."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.api.conftest import Serve, Served
from tests.api.test_transcriptions import PLACE, done, error, filled, sent

from hansard.api import metrics, shapes
from hansard.api.cache import Shelf, Statuses
from hansard.errors import EngineBusy, StoreBusy, UnknownJob
from hansard.model import Options
from hansard.store import views

JOBS = "/api/v1/jobs"


def test_a_state_is_as_it_is_described(served: Served, clip: Path) -> None:
    job = done(served, clip)["id"]
    found = served.http.get(f"{JOBS}/{job}").json()
    assert list(found) == list(shapes.JobStatus.__struct_fields__)
    assert list(found["progress"]) == list(shapes.JobProgress.__struct_fields__)
    assert set(found["options"]) <= set(Options.__struct_fields__)
    assert found["progress"]["share"] == 1.0
    assert found["progress"]["windows_done"] == found["progress"]["windows"] >= 1
    assert found["progress"]["prepared_seconds"] == found["seconds"] == 12.0
    for link in ("self", "events", "download", "audio"):
        assert served.http.get(found["links"][link]).status_code == 200


def test_a_state_has_a_version(serve: Serve, clip: Path) -> None:
    served = serve(work=False)
    job = sent(served, clip).json()
    first = served.http.get(f"{JOBS}/{job['id']}")
    headers = {"If-None-Match": first.headers["etag"]}
    assert served.http.get(f"{JOBS}/{job['id']}", headers=headers).status_code == 304
    served.http.post(f"{PLACE}/{job['id']}/cancel")
    changed = served.http.get(f"{JOBS}/{job['id']}", headers=headers)
    assert changed.json()["state"] == "cancelled"


def test_jobs_are_listed_like_transcriptions(serve: Serve) -> None:
    served = serve(work=False)
    ids = filled(served, 12)
    page = served.http.get(JOBS, params={"limit": 5}).json()
    assert [one["id"] for one in page["items"]] == ids[:6:-1]
    rest = served.http.get(JOBS, params={"limit": 200, "cursor": page["next"]}).json()
    assert [one["id"] for one in rest["items"]] == ids[6::-1]
    assert rest["next"] is None
    failed = served.http.get(JOBS, params={"status": "failed"}).json()
    assert [one["id"] for one in failed["items"]] == [ids[10], ids[0]]


def test_attempts_tell_what_went_wrong(serve: Serve, clip: Path) -> None:
    served = serve(work=False)
    job = sent(served, clip).json()["id"]
    assert served.http.get(f"{JOBS}/{job}/attempts").json() == {"items": []}
    unit = served.house.queue.claim_step()
    assert unit is not None
    served.house.queue.fail(unit, EngineBusy("The engine is busy.", hint="Wait."))
    (one,) = served.http.get(f"{JOBS}/{job}/attempts").json()["items"]
    assert (one["number"], one["step"]) == (1, "prepare")
    assert one["failure"] == {
        "code": "engine_busy", "message": "The engine is busy.", "hint": "Wait.",
    }  # fmt: skip
    now = served.http.get(f"{JOBS}/{job}").json()
    assert now["state"] == "retrying"
    assert now["retry_at"] > now["created"]
    assert now["error"]["code"] == "engine_busy"


def test_a_crowd_asks_at_once(serve: Serve) -> None:
    served = serve(work=False, serve={"rate": 1e6, "burst": 100_000})
    ids = filled(served, 30)

    def ask(n: int) -> tuple[str, int, Any]:
        name = ids[n % 30] if n % 7 else f"none{n}"
        found = served.http.get(f"{JOBS}/{name}")
        return name, found.status_code, found.json().get("id")

    with ThreadPoolExecutor(16) as pool:
        for name, status, found in pool.map(ask, range(120)):
            assert (status, found) == ((200, name) if name in ids else (404, None))


def test_names_that_nobody_has(served: Served) -> None:
    for name in ("x", "0" * 200, "%00", "%27", "..", "%F0%9F%99%82", "1%25"):
        said = served.http.get(f"{JOBS}/{name}")
        assert said.status_code == 404, name
    error(served.http.get(f"{JOBS}/x"), 404, "unknown_job")
    error(served.http.get(f"{JOBS}/x/attempts"), 404, "unknown_job")


# ── how it is done ───────────────────────────────────────────────────────────────────────────


def test_many_who_ask_are_answered_by_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[str, list[str]]] = []

    def statuses(_: Any, tenant: str, ids: list[str]) -> dict[str, bytes]:
        looks.append((tenant, sorted(ids)))
        return {name: f"{tenant}/{name}".encode() for name in ids if name != "none"}

    async def read(ask: Any, *args: Any) -> Any:
        await asyncio.sleep(0.01)
        return ask(*args)

    monkeypatch.setattr(views, "statuses", statuses)
    reader: Any = None

    async def crowd() -> list[Any]:
        desk = Statuses(read, reader, lambda: 1)
        first = asyncio.create_task(desk.get("a", "1"))
        await asyncio.sleep(0.001)
        names = [("a", "2"), ("a", "3"), ("b", "2"), ("a", "none"), ("a", "2")] * 20
        rest = [asyncio.create_task(desk.get(tenant, name)) for tenant, name in names]
        impatient = asyncio.create_task(desk.get("a", "3"))
        await asyncio.sleep(0)
        impatient.cancel()
        return [await first, *(await asyncio.gather(*rest, return_exceptions=True))]

    found = asyncio.run(crowd())
    assert looks == [("a", ["1"]), ("a", ["2", "3", "none"]), ("b", ["2"])]
    assert found[:4] == [b"a/1", b"a/2", b"a/3", b"b/2"]
    assert isinstance(found[4], UnknownJob)


def test_a_state_is_kept_until_anybody_has_committed() -> None:
    beats = [1]
    asked: list[Any] = []

    async def read(ask: Any, *args: Any) -> Any:
        del ask
        asked.extend(args[-1])
        if len(asked) == 2:
            beats.append(beats[-1] + 1)  # somebody commits while this look is on its way
        return {("a", "1"): f"look {len(asked)}".encode()}

    reader: Any = None

    async def follow() -> list[bytes]:
        desk = Statuses(read, reader, lambda: beats[-1])
        seen = [await desk.get("a", "1"), await desk.get("a", "1")]
        beats.append(2)
        seen += [await desk.get("a", "1"), await desk.get("a", "1"), await desk.get("a", "1")]
        return seen

    seen = asyncio.run(follow())
    assert seen == [b"look 1", b"look 1", b"look 2", b"look 3", b"look 3"]


def test_trouble_with_the_store_reaches_all_who_asked_and_passes() -> None:
    trouble = [True]

    async def read(ask: Any, *args: Any) -> Any:
        await asyncio.sleep(0)
        if trouble.pop():
            trouble.append(False)
            raise StoreBusy("The store is busy.")
        del ask, args
        return {("a", "1"): b"one"}

    reader: Any = None

    async def crowd() -> None:
        desk = Statuses(read, reader, lambda: 1)
        both = await asyncio.gather(desk.get("a", "1"), desk.get("a", "2"), return_exceptions=True)
        assert [type(one) for one in both] == [StoreBusy, StoreBusy]
        assert await desk.get("a", "1") == b"one"

    asyncio.run(crowd())


def test_a_shelf_is_bounded_and_makes_each_thing_once() -> None:
    made: list[str] = []

    async def make(name: str, size: int) -> bytes:
        made.append(name)
        await asyncio.sleep(0.001)
        if name == "broken":
            raise StoreBusy("The store is busy.")
        return bytes(size)

    async def use() -> None:
        shelf: Shelf[bytes] = Shelf(1000)
        await asyncio.gather(*(shelf.get("a", lambda: make("a", 200)) for _ in range(50)))
        assert made == ["a"]
        for name in "bcde":
            await shelf.get(name, lambda name=name: make(name, 200))  # type: ignore[misc]
        assert shelf.size == 1000
        await shelf.get("a", lambda: make("a", 200))  # used: "b" is the oldest now
        await shelf.get("f", lambda: make("f", 200))
        assert shelf.size == 1000
        await shelf.get("a", lambda: make("a", 200))
        assert made == list("abcdef")
        await shelf.get("b", lambda: make("b", 200))
        assert made == list("abcdefb")
        assert len(await shelf.get("large", lambda: make("large", 400))) == 400
        await shelf.get("large", lambda: make("large", 400))
        assert made[-2:] == ["large", "large"], "what is too large is made, and not kept"
        for _ in range(2):
            with pytest.raises(StoreBusy):
                await shelf.get("broken", lambda: make("broken", 1))
        assert made[-2:] == ["broken", "broken"], "trouble is not kept"
        first = asyncio.create_task(shelf.get("left", lambda: make("left", 5)))
        await asyncio.sleep(0)
        second = asyncio.create_task(shelf.get("left", lambda: make("left", 5)))
        await asyncio.sleep(0)
        first.cancel()
        assert len(await second) == 5, "who asked first may go away"

    asyncio.run(use())


def test_lists_of_another_moment_take_no_room(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often something is written between two looks at a list."""
    monkeypatch.setattr(metrics, "FRESH", -1.0)
    served = serve(work=False)
    filled(served, 1)
    sizes = set()
    for number in range(5):
        with served.house.database.write() as connection:
            connection.execute(sa.text("UPDATE jobs SET name = :name"), {"name": f"n{number}"})
        (item,) = served.http.get("/api/v1/transcriptions").json()["items"]
        assert item["name"] == f"n{number}"
        (line,) = (
            line
            for line in served.http.get("/metrics").text.splitlines()
            if line.startswith('hansard_cache_bytes{cache="pages"}')
        )
        sizes.add(float(line.rpartition(" ")[2]))
    assert len(sizes) == 1, sizes
    assert min(sizes) > 100


def test_one_row_answers_a_page_and_a_state(serve: Serve) -> None:
    """The driver lets go of the interpreter at each row: so there is one."""
    served = serve(work=False)
    ids = filled(served, 20)
    fetched: list[str] = []
    database = served.house.database

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement != "BEGIN":
            fetched.append(statement)

    sa.event.listen(sa.Engine, "after_cursor_execute", after)
    views.page(database, "local", views.Filter(), limit=10)
    assert len(fetched) == 1
    assert set(views.statuses(database, "local", ids)) == set(ids)
    assert len(fetched) == 2
    assert views.statuses(database, "another", ids) == {}


def test_a_list_is_kept_until_something_is_written(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(work=False)
    ids = filled(served, 4)
    made = []
    real = views.page

    def count(*asked: Any, **more: Any) -> views.Page:
        made.append(more)
        return real(*asked, **more)

    monkeypatch.setattr(views, "page", count)

    def seen() -> list[str]:
        return [one["id"] for one in served.http.get(JOBS).json()["items"]]

    assert seen() == ids[::-1]
    quiet = len(made)
    assert seen() == ids[::-1]
    assert len(made) in {quiet, quiet + 1}, "a service may write something of its own"
    for left in (3, 2, 1, 0):
        assert served.http.delete(f"{PLACE}/{ids[left]}").status_code == 204
        assert seen() == ids[:left][::-1]
