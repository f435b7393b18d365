"""The second cache: a real Redis between API processes."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import redis
from tests.api.conftest import Serve, Served
from tests.api.test_transcriptions import done
from tests.certificates import Authority
from tests.flow.wire import Wire
from tests.waiting import until

from hansard.api import downloads, redis_cache
from hansard.api.cache import Shelf
from hansard.api.redis_cache import OfJobs, RedisCache
from hansard.config import load
from hansard.errors import BadSettings
from hansard.store import keys, views
from hansard.store.sqlite import Sqlite

SERVER = os.environ.get("HANSARD_TEST_REDIS", "redis://127.0.0.1:6379/15")
T = TypeVar("T")


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Redis; names are this test's own, and are removed with it."""
    form = secrets.token_hex(6)
    monkeypatch.setattr(redis_cache, "FORM", form)
    with redis.Redis.from_url(SERVER) as server:
        try:
            server.ping()
        except redis.RedisError as error:
            pytest.skip(f"no Redis: set HANSARD_TEST_REDIS ({error})")
        yield SERVER
        for name in server.scan_iter(f"hansard:{form}:*", count=10_000):
            server.unlink(name)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnRedis]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server to start and kill: install redis")
    one = OwnRedis(tmp_path)
    one.start()
    yield one
    one.kill()


class OwnRedis:
    """One that may be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = int(free.getsockname()[1])
        self.address = f"redis://127.0.0.1:{self._port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*words, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )
        until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.address) as server:
                return bool(server.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


async def work(act: Callable[..., T], *args: Any) -> T:
    return await asyncio.to_thread(act, *args)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Sqlite]:
    """A store; which one it is stands in the name of every key."""
    opened = Sqlite(tmp_path / "hansard.db")
    yield opened
    opened.close()


class Maker:
    """Makes an answer, and counts how often."""

    def __init__(self, answer: bytes | None = b"answer") -> None:
        self.answer = answer
        self.times = 0

    async def __call__(self) -> bytes | None:
        self.times += 1
        await asyncio.sleep(0)
        return self.answer


def run(
    address: str,
    database: Sqlite,
    play: Callable[[list[RedisCache]], Awaitable[None]],
    **more: Any,
) -> None:
    """Play with two caches over one Redis, as two processes have them."""

    async def whole() -> None:
        two = [RedisCache(address, database, work, **{"patience": 20, **more}) for _ in range(2)]
        try:
            await play(two)
        finally:
            for one in two:
                await one.close()

    asyncio.run(whole())


@pytest.mark.parametrize("size", [0, 5, 5000, 3 * 2**20])
def test_what_one_process_made_another_has(address: str, database: Sqlite, size: int) -> None:
    make = Maker((b"0123456789" * (size // 10 + 1))[:size])

    async def play(two: list[RedisCache]) -> None:
        for one in two:
            assert await one.get("me", "job", ("v1", "srt"), make) == make.answer

    run(address, database, play)
    assert make.times == 1


def test_nothing_else_has_the_same_name(
    address: str, database: Sqlite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()

    async def play(two: list[RedisCache]) -> None:
        await two[0].get("me", "job", ("v1", "srt"), make)
        assert make.times == 1
        for asked in (
            ("you", "job", ("v1", "srt")),
            ("me", "other", ("v1", "srt")),
            ("me", "job", ("v2", "srt")),
            ("me", "job", ("v1", "vtt")),
            ("me:job", "", ("v1", "srt")),
        ):
            before = make.times
            await two[1].get(*asked, make)
            assert make.times == before + 1, asked

    run(address, database, play)
    make.times = 0

    async def again(two: list[RedisCache]) -> None:
        await two[0].get("me", "job", ("v1", "srt"), make)

    run(address, database, again)
    assert make.times == 0, "it is still there"
    elsewhere = Sqlite(tmp_path / "other.db")
    run(address, elsewhere, again)
    elsewhere.close()
    assert make.times == 1, "another store"
    with monkeypatch.context() as patch:
        patch.setattr(redis_cache, "__version__", "99")
        run(address, database, again)
    assert make.times == 2, "another Hansard"


def test_a_crowd_in_two_processes_makes_it_once(address: str, database: Sqlite) -> None:
    make = Maker(b"much work" * 1000)

    async def same(body: bytes) -> bytes:
        return body

    async def play(two: list[RedisCache]) -> None:
        shelves: list[Shelf[bytes]] = [Shelf(2**20, second=OfJobs(one, same, same)) for one in two]
        slow = asyncio.Event()

        async def slowly() -> bytes:
            made = await make()
            await slow.wait()
            assert made is not None
            return made

        crowd = [
            asyncio.create_task(shelves[n % 2].get(("me", "job", "v1"), slowly)) for n in range(50)
        ]
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.1, slow.set)
        assert set(await asyncio.gather(*crowd)) == {make.answer}

    run(address, database, play)
    assert make.times == 1


def test_one_that_fails_to_make_it_holds_nobody_up(address: str, database: Sqlite) -> None:
    make = Maker()

    async def fail() -> bytes:
        raise RuntimeError("no")

    async def play(two: list[RedisCache]) -> None:
        with pytest.raises(RuntimeError):
            await two[0].get("me", "job", "v1", fail)
        # Had the lock stayed, this would wait for its end, and the test for ever.
        assert await two[1].get("me", "job", "v1", make) == make.answer
        assert await two[0].get("me", "job", "v1", fail) == make.answer

    run(address, database, play, clock=lambda: 0.0)


def test_what_is_too_large_is_not_kept(address: str, database: Sqlite) -> None:
    large = Maker(os.urandom(5 * 2**20))
    nothing = Maker(None)

    async def play(two: list[RedisCache]) -> None:
        for one in two:
            assert await one.get("me", "large", "v1", large) == large.answer
            assert await one.get("me", "nothing", "v1", nothing) is None

    run(address, database, play)
    assert (large.times, nothing.times) == (2, 2)


def test_what_is_kept_has_an_end(address: str, database: Sqlite) -> None:
    async def play(two: list[RedisCache]) -> None:
        for n in range(redis_cache._FIELDS + 5):
            await two[0].get("me", "job", n, Maker())
        await two[0].keep_page("me", "all", "now", b"[]")
        with redis.Redis.from_url(address) as server:
            name = two[0]._job("me", "job")
            assert 0 < server.ttl(name) <= redis_cache.KEPT
            assert server.hlen(name) == 5
            found = list(server.scan_iter(f"{two[0]._root}:page:*"))
            assert len(found) == 1
            assert 0 < server.ttl(found[0]) <= redis_cache.PAGE_KEPT

    run(address, database, play)


def test_what_was_removed_is_not_kept_again(address: str, database: Sqlite) -> None:
    make = Maker()

    async def play(two: list[RedisCache]) -> None:
        await two[0].get("me", "job", "v1", make)

        async def meanwhile() -> bytes | None:
            await two[0].forget("me", "job")
            return await make()

        await two[1].get("me", "job", "v2", meanwhile)
        with redis.Redis.from_url(address) as server:
            assert not server.exists(two[0]._job("me", "job"))

    run(address, database, play)


def test_lists_are_of_one_moment(address: str, database: Sqlite) -> None:
    async def play(two: list[RedisCache]) -> None:
        await two[0].keep_page("me", ("all", 50), "1:2:", b"[1]")
        assert await two[1].page("me", ("all", 50), "1:2:") == b"[1]"
        assert await two[1].page("me", ("all", 50), "1:3:") is None
        assert await two[1].page("me", ("all", 10), "1:2:") is None
        assert await two[1].page("you", ("all", 50), "1:2:") is None

    run(address, database, play)


def test_a_redis_that_dies_is_as_good_as_none(
    own: OwnRedis, database: Sqlite, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    make = Maker()

    async def play(two: list[RedisCache]) -> None:
        one = two[0]
        await one.get("me", "job", "v1", make)
        own.kill()
        said = await asyncio.gather(*(one.get("me", "job", "v1", make) for _ in range(20)))
        assert said == [make.answer] * 20
        await one.forget("me", "job")
        own.start()
        before = make.times
        await one.get("me", "job", "v1", make)
        assert make.times == before + 1, "nobody asks it yet"
        now[0] += redis_cache._LONGEST
        await one.get("me", "job", "v1", make)
        before = make.times
        await one.get("me", "job", "v1", make)
        assert make.times == before

    with caplog.at_level(logging.WARNING, "hansard.api"):
        run(own.address, database, play, clock=lambda: now[0])
    said = [record.message for record in caplog.records]
    assert len(said) == 2, said
    assert said[0].startswith("going on without the cache: ")
    assert said[1] == "the cache answers again"


def test_a_redis_that_says_nothing_is_asked_once(database: Sqlite) -> None:
    make = Maker()
    with socket.create_server(("127.0.0.1", 0)) as mute:

        async def play(two: list[RedisCache]) -> None:
            for _ in range(5):
                assert await two[0].get("me", "job", "v1", make) == make.answer

        address = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        run(address, database, play, patience=0.05, clock=lambda: 0.0)
        mute.setblocking(False)
        mute.accept()[0].close()
        with pytest.raises(BlockingIOError):
            mute.accept()


def test_a_redis_is_believed_by_its_certificate(
    address: str, database: Sqlite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = (Authority.made(tmp_path / name) for name in ("ours", "theirs"))
    parts = urlsplit(address)
    for by, name, times in ((ours, "127.0.0.1", 1), (theirs, "127.0.0.1", 2), (ours, "else", 2)):
        wire = Wire(parts.port or 6379, tls=by.server(name))
        place = "".join([*parts.netloc.rpartition("@")[:2], f"127.0.0.1:{wire.port}"])
        there = f"rediss://{place}{parts.path}?ssl_ca_certs={ours.path}"
        maker = Maker()

        async def play(
            caches: list[RedisCache], maker: Maker = maker, what: tuple[str, ...] = (name, str(by))
        ) -> None:
            for cache in caches:
                assert await cache.get("local", "job", what, maker) == b"answer"

        run(there, database, play)
        assert maker.times == times
        assert ("CERTIFICATE_VERIFY_FAILED" in caplog.text) == (times == 2)
        caplog.clear()
        wire.close()


def test_an_address_that_is_none_is_refused(database: Sqlite) -> None:
    with pytest.raises(BadSettings):
        RedisCache("127.0.0.1:6379", database, work)


# ── whole services ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two(
    serve: Serve, postgres: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Served]]:
    """Two services that share a database and a cache; the first one works."""
    patient = {**(RedisCache.__init__.__kwdefaults__ or {}), "patience": 20.0}
    monkeypatch.setattr(RedisCache.__init__, "__kwdefaults__", patient)

    def start(**serving: Any) -> list[Served]:
        shared = {"database": postgres, "cache": address, "serve": serving}
        return [
            serve(work=name == "one", data=tmp_path / name, **shared) for name in ("one", "two")
        ]

    return start


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """Calls of a function from now on."""
    calls: list[int] = []
    really = getattr(module, name)

    def count(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return really(*args, **kwargs)

    monkeypatch.setattr(module, name, count)
    return calls


def gone(served: Served, place: str) -> bool:
    """Whether nothing is said of it any more."""
    items = served.http.get("/api/v1/transcriptions").json()["items"]
    return not items and served.http.get(place).status_code == 404


def test_services_make_answers_for_each_other(
    two: Callable[..., list[Served]], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two()
    job = done(one, clip)
    rendered = counted(monkeypatch, downloads, "_render")
    read = counted(monkeypatch, views, "transcript")
    listed = counted(monkeypatch, views, "page")
    place = job["links"]["self"]
    for where in (place, f"{place}?words=true", f"{place}/download?format=srt"):
        said = [served.http.get(where) for served in (one, other)]
        assert [answer.status_code for answer in said] == [200, 200]
        assert said[0].content == said[1].content
        assert said[0].headers["etag"] == said[1].headers["etag"]
    assert (len(rendered), len(read)) == (1, 1), "without words it was made when it was sent"
    pages = [served.http.get("/api/v1/transcriptions").json() for served in (one, other)]
    assert pages[0] == pages[1]
    assert [item["id"] for item in pages[0]["items"]] == [job["id"]]
    before = len(listed)
    assert one.http.delete(place).status_code == 204
    for served in (one, other):
        until(partial(gone, served, place), "it is gone there too")
    assert len(listed) > before, "what was written is read again"


def test_another_tenants_answers_are_not_to_be_had(
    two: Callable[..., list[Served]], clip: Path
) -> None:
    one, other = two(keys="required")
    with one.house.database.write() as connection:
        tokens = [keys.create(connection, name)[1] for name in ("mine", "yours")]
    mine, yours = ({"Authorization": f"Bearer {token}"} for token in tokens)
    one.http.headers.update(mine)
    job = done(one, clip)
    place = job["links"]["self"]
    for where in (place, f"{place}/download?format=srt"):
        assert one.http.get(where).status_code == 200
        assert other.http.get(where, headers=mine).status_code == 200
        assert other.http.get(where, headers=yours).status_code == 404
    assert other.http.get("/api/v1/transcriptions", headers=yours).json()["items"] == []
    assert len(other.http.get("/api/v1/transcriptions", headers=mine).json()["items"]) == 1


def test_without_a_cache_nothing_is_asked_for_it(served: Served) -> None:
    assert load().cache is None
    assert served.http.get("/api/v1/transcriptions").status_code == 200
