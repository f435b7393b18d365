from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any, Self

import brotli
import httpx
import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from tests.api.conftest import Serve, Served

from hansard.api import answers, app, body, connection, envelope, journal, limits
from hansard.api.compression import Compressed, coding, compressed
from hansard.api.journal import Entry, Journal
from hansard.errors import DiskFull, EngineBusy, TooSlow

TEXT = {"text": "So ordered. " * 1000}
SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Versions:
    """What the route below counts: a version, and how often its answer was made."""

    number = 1
    made = 0


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> Versions:
    """Routes that do what routes may do."""
    seen = Versions()
    router = APIRouter(prefix="/api/v1", include_in_schema=False)
    add_answers(router)
    add_versions(router, seen)
    add_trouble(router)
    add_readers(router)
    more: Any = SimpleNamespace(router=router, __name__="various")
    monkeypatch.setattr(app, "_RESOURCES", (*app._RESOURCES, more))
    return seen


def add_answers(router: APIRouter) -> None:
    @router.get("/big/{name}")
    async def big(name: str) -> Response:
        return answers.answer({**TEXT, "name": name})

    @router.post("/big")
    async def big_post() -> Response:
        return answers.answer(TEXT, 200)

    @router.get("/small")
    async def small() -> Response:
        return answers.answer({"small": True})

    @router.get("/sound")
    async def sound() -> Response:
        return Response(b"\0" * 5000, media_type="audio/wav")

    @router.get("/ready-made")
    async def ready_made() -> Response:
        made = gzip.compress(b'"ready"' + b" " * 5000)
        return Response(made, headers={"content-encoding": "gzip"}, media_type="application/json")

    @router.get("/page")
    async def page() -> Response:
        own = {"content-security-policy": "default-src 'self'", "cache-control": "max-age=5"}
        return Response("<p>", headers=own, media_type="text/html")

    @router.get("/stream")
    async def stream() -> Response:
        async def events() -> AsyncIterator[str]:
            for n in range(3):
                yield f"data: {n} {'x' * 2000}\n\n"
                await asyncio.sleep(0)

        return StreamingResponse(events(), media_type="text/event-stream")


def add_versions(router: APIRouter, seen: Versions) -> None:
    @router.get("/versioned")
    async def versioned(request: Request) -> Response:
        version = f"v{seen.number}"
        same = answers.unchanged(request, version)
        if same is not None:
            return same
        seen.made += 1
        return answers.answer({**TEXT, "version": version}, version=version)


def add_trouble(router: APIRouter) -> None:
    @router.get("/breaks/{how}")
    async def breaks(how: str) -> Response:
        if how == "full":
            raise DiskFull("There is no room.", hint="Make some.")
        if how == "busy":
            raise EngineBusy("Later.", hint="Wait.", retry_after=1.2)
        raise ValueError("a secret of the inside")

    @router.get("/half")
    async def half() -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            raise ValueError("a secret of the inside")

        return StreamingResponse(pieces(), media_type="text/plain")


def add_readers(router: APIRouter) -> None:
    @router.post("/typed")
    async def typed(count: int, names: list[str]) -> Response:
        return answers.answer([count, names])

    @router.post("/raw")
    async def raw(request: Request) -> Response:
        return answers.answer(len(await request.body()))

    @router.post("/uploads/slow/one")
    async def slow(request: Request) -> Response:
        async with limits.upload_slot(request):
            size = 0
            async for piece in request.stream():
                size += len(piece)
            return answers.answer(size)


def get(served: Served, path: str, **headers: str) -> httpx.Response:
    plain = {"accept-encoding": "identity", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return served.http.get(f"/api/v1{path}", headers=plain)


def code(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    return str(error["code"])


def dressed(response: httpx.Response) -> None:
    """What every answer has."""
    for name, value in SAFE.items():
        assert response.headers[name] == value
    assert response.headers["x-request-id"]
    assert response.headers["server-timing"].startswith("total;dur=")
    assert response.headers["x-response-time"].endswith("ms")
    assert response.headers["cache-control"]
    assert "server" not in response.headers


# ── every answer ─────────────────────────────────────────────────────────────────────────────


def test_every_answer_is_safe_timed_and_named(served: Served) -> None:
    for path, status in (
        ("/small", 200),
        ("/big/a", 200),
        ("/sound", 200),
        ("/stream", 200),
        ("/health", 200),
        ("/nowhere", 404),
        ("/breaks/full", 507),
        ("/breaks/anyhow", 500),
        ("/openapi.json", 200),
    ):
        response = get(served, path)
        assert response.status_code == status
        dressed(response)
    dressed(served.http.get("/v1/nowhere"))
    dressed(served.http.get("/", headers={"host": "evil.example"}))
    dressed(served.http.put("/api/v1/small"))
    dressed(get(served, "/small", if_none_match=get(served, "/small").headers["etag"]))


def test_a_route_may_say_otherwise(served: Served) -> None:
    page = get(served, "/page")
    assert page.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert page.headers.get_list("cache-control") == ["max-age=5"]


@pytest.mark.parametrize("given", ["abc-123_X", "a" * 64])
def test_a_request_id_is_taken_over(served: Served, given: str) -> None:
    assert get(served, "/small", x_request_id=given).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "a;b", "<a>", "a\tb"])
def test_a_request_id_that_makes_no_sense_is_not(served: Served, given: str) -> None:
    made = get(served, "/small", x_request_id=given).headers["x-request-id"]
    assert made != given
    assert len(made) == 16


def test_how_long_an_answer_may_be_kept(served: Served) -> None:
    kept = {
        "/health": "private, max-age=30",
        "/health/live": "no-store",
        "/health/ready": "no-store",
        "/small": "no-store",
    }
    assert {path: get(served, path).headers["cache-control"] for path in kept} == kept


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/models", b"private, max-age=3600"),
        ("/api/v1/languages", b"private, max-age=3600"),
        ("/v1/models", b"private, max-age=3600"),
        ("/v1/models/tiny", b"private, max-age=3600"),
        ("/api/v1/transcriptions", b"private, no-cache"),
        ("/api/v1/transcriptions/1/download", b"private, no-cache"),
        ("/api/v1/jobs", b"no-store"),
        ("/api/v1/usage", b"no-store"),
    ],
)
def test_cache_headers_by_route(path: str, said: bytes) -> None:
    for method, status, value in (
        ("GET", 200, said),
        ("GET", 206, said),
        ("HEAD", 304, said),
        ("POST", 200, b"no-store"),
        ("GET", 404, b"no-store"),
    ):
        assert envelope._caching({"method": method, "path": path}, status) == value


def test_what_can_be_got_can_be_asked_about(served: Served) -> None:
    got = get(served, "/big/a")
    asked = served.http.head("/api/v1/big/a", headers={"accept-encoding": "identity"})
    assert asked.content == b""
    for name in ("etag", "content-length", "content-type"):
        assert asked.headers[name] == got.headers[name]


# ── versions ─────────────────────────────────────────────────────────────────────────────────


def test_who_has_the_version_gets_304_and_nothing_is_made(
    served: Served, versions: Versions
) -> None:
    first = get(served, "/versioned")
    assert first.headers["etag"] == '"v1"'
    for known in ('"v1"', 'W/"v1"', '"v0", "v1"', "*"):
        again = get(served, "/versioned", if_none_match=known)
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == '"v1"'
        assert "content-type" not in again.headers
    assert versions.made == 1
    versions.number = 2
    changed = get(served, "/versioned", if_none_match='"v1"')
    assert changed.status_code == 200
    assert changed.headers["etag"] == '"v2"'


def test_what_has_no_version_has_that_of_its_bytes(served: Served) -> None:
    one, two = get(served, "/big/a"), get(served, "/big/b")
    assert one.headers["etag"] != two.headers["etag"]
    assert get(served, "/big/a").headers["etag"] == one.headers["etag"]
    for coded in ("identity", "gzip", "br"):
        known = get(served, "/big/a", accept_encoding=coded).headers["etag"]
        again = get(served, "/big/a", accept_encoding=coded, if_none_match=known)
        assert again.status_code == 304
        assert get(served, "/big/b", if_none_match=known).status_code == 200


def test_errors_and_changes_have_no_version(served: Served) -> None:
    for response in (
        get(served, "/nowhere", if_none_match="*"),
        served.http.post("/api/v1/big", headers={"if-none-match": "*"}),
    ):
        assert response.status_code != 304
        assert "etag" not in response.headers


@given(st.text(st.characters(codec="ascii", exclude_characters='",'), max_size=20), st.booleans())
def test_versions_match_weakly(version: str, weak: bool) -> None:
    known = f'"other", {"W/" if weak else ""}"{version}"'
    assert answers.matches(known, f'"{version}"')
    assert answers.matches(known, f'W/"{version}"')
    assert not answers.matches(known, f'"{version}x"')


# ── compression ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("asked", "given"), [("gzip", "gzip"), ("br", "br"), ("gzip, br", "br")])
def test_texts_are_compressed_for_those_who_accept_it(
    served: Served, asked: str, given: str
) -> None:
    plain = get(served, "/big/a")
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "accept-encoding"
    with served.http.stream("GET", "/api/v1/big/a", headers={"accept-encoding": asked}) as small:
        sent = b"".join(small.iter_raw())
    assert small.headers["content-encoding"] == given
    assert small.headers["vary"] == "accept-encoding"
    assert int(small.headers["content-length"]) == len(sent) < len(plain.content) / 10
    assert small.headers["etag"] == f"W/{plain.headers['etag']}"
    unpacked = brotli.decompress(sent) if given == "br" else gzip.decompress(sent)
    assert unpacked == plain.content


def test_a_changed_version_is_compressed_anew(served: Served, versions: Versions) -> None:
    for number in (1, 2, 2, 3):
        versions.number = number
        assert get(served, "/versioned", accept_encoding="br").json()["version"] == f"v{number}"
    assert get(served, "/big/a", accept_encoding="br").json()["name"] == "a"
    assert get(served, "/big/b", accept_encoding="br").json()["name"] == "b"


def test_what_gains_nothing_is_left_alone(served: Served) -> None:
    for path in ("/small", "/sound", "/stream"):
        assert "content-encoding" not in get(served, path, accept_encoding="gzip, br").headers
    made = get(served, "/ready-made", accept_encoding="gzip, br")
    assert made.headers["content-encoding"] == "gzip"
    assert made.json() == "ready"
    part = get(served, "/big/a", accept_encoding="gzip", range="bytes=0-10")
    assert "content-encoding" not in part.headers
    posted = served.http.post("/api/v1/big", headers={"accept-encoding": "gzip"})
    assert posted.headers["content-encoding"] == "gzip"
    assert posted.json() == TEXT


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip;q=0", ""),
        ("gzip;q=0.5, br;q=0.1", "gzip"),
        ("GZIP", "gzip"),
        ("*", "br"),
        ("br;q=0, *", "gzip"),
        ("deflate, zstd", ""),
        ("gzip;q=x", ""),
    ],
)
def test_the_coding_that_is_liked_best(accepted: str, chosen: str) -> None:
    assert coding(accepted.encode()) == chosen


@given(st.binary(max_size=100))
def test_anything_can_be_said_to_be_accepted(accepted: bytes) -> None:
    assert coding(accepted) in ("", "br", "gzip")


def test_what_was_compressed_is_kept_only_so_long() -> None:
    class Desk:
        made = 0

        async def work(self, act: Any, *args: Any) -> Any:
            self.made += 1
            return act(*args)

    async def walk() -> None:
        desk: Any = Desk()
        texts = [bytes([65 + n]) * 50_000 for n in range(10)]
        most = 8 * max(len(compressed(text, "br")) for text in texts)
        kept = Compressed(most)
        for _ in range(2):
            together = [kept.of(desk, texts[0], "br", "first") for _ in range(5)]
            assert len({bytes(made) for made in await asyncio.gather(*together)}) == 1
        assert desk.made == 1, "asked for by many, made once"
        for n, text in enumerate(texts):
            assert brotli.decompress(await kept.of(desk, text, "br", n)) == text
        assert kept._size == sum(map(len, kept._kept.values())) <= most
        assert desk.made == 11
        await kept.of(desk, texts[0], "br", "first")
        assert desk.made == 12, "the oldest had to go"

    asyncio.run(walk())


# ── errors ───────────────────────────────────────────────────────────────────────────────────


def test_refusals_have_one_shape(served: Served) -> None:
    assert code(get(served, "/nowhere"), 404) == "unknown_address"
    assert code(get(served, "/nowhere/" + "x" * 5000), 404) == "unknown_address"
    wrong = served.http.put("/api/v1/big/a")
    assert code(wrong, 405) == "wrong_method"
    assert wrong.headers["allow"] == "GET, HEAD"
    assert code(get(served, "/breaks/full"), 507) == "disk_full"
    busy = get(served, "/breaks/busy")
    assert code(busy, 503) == "engine_busy"
    assert busy.headers["retry-after"] == "2"
    assert code(get(served, "/small/"), 404) == "unknown_address"


def test_what_cannot_be_read_names_the_field(served: Served) -> None:
    def post(path: str, **more: Any) -> str:
        response = served.http.post(f"/api/v1/typed{path}", **more)
        assert code(response, 400) == "bad_request"
        assert "input" not in response.json()
        return str(response.json()["error"]["message"])

    assert "count (query)" in post("", json=["a"])
    assert "count (query)" in post("?count=many", json=["a"])
    assert "1 (body)" in post("?count=1", json=["a", 2])
    assert "not JSON" in post(
        "?count=1", content=b'["a"', headers={"content-type": "application/json"}
    )
    assert "body" in post("?count=1", content=b"\xff")


def test_below_v1_errors_are_as_openais_clients_read_them(served: Served) -> None:
    said = served.http.get("/v1/nowhere")
    assert said.status_code == 404
    assert set(said.json()["error"]) == {"message", "type", "param", "code"}


def test_an_error_that_nobody_expected_says_nothing_of_the_inside(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    response = get(served, "/breaks/anyhow", x_request_id="find-me")
    assert code(response, 500) == "error"
    assert "secret" not in response.text
    assert "find-me" in response.json()["error"]["hint"]
    (record,) = [one for one in caplog.records if one.name == "hansard.api"]
    assert "find-me" in record.getMessage()
    assert record.exc_info is not None
    assert "a secret of the inside" in str(record.exc_info[1])
    assert get(served, "/small").status_code == 200


def test_half_an_answer_is_known_to_be_half(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(httpx.RemoteProtocolError), served.http.stream("GET", "/api/v1/half") as it:
        b"".join(it.iter_raw())
    assert "a secret of the inside" in caplog.text
    caplog.clear()
    assert get(served, "/small").status_code == 200


# ── too much, too slow ───────────────────────────────────────────────────────────────────────


def test_a_body_is_only_so_long(served: Served) -> None:
    http = served.http
    assert http.post("/api/v1/raw", content=b"x" * body.MOST).json() == body.MOST
    assert (
        code(http.post("/api/v1/raw", content=b"x" * (body.MOST + 1)), 413) == "request_too_large"
    )

    def pieces() -> Iterator[bytes]:
        for _ in range(1025):
            yield b"x" * 1024

    assert code(http.post("/api/v1/raw", content=pieces()), 413) == "request_too_large"
    typed = http.post(
        "/api/v1/typed?count=1", content=pieces(), headers={"content-type": "application/json"}
    )
    assert code(typed, 413) == "request_too_large"
    assert http.post("/api/v1/uploads/slow/one", content=b"x" * (body.MOST + 1)).json() == 1_048_577


class Wire:
    """A connection, byte by byte."""

    def __init__(self, served: Served) -> None:
        host, port = served.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self) -> bytes:
        """All that comes until the other side ends the connection."""
        pieces = []
        try:
            while piece := self.socket.recv(65536):
                pieces.append(piece)
        except ConnectionResetError:
            pass
        return b"".join(pieces)

    def answer(self) -> tuple[int, str]:
        """Status and error code of what comes until the end."""
        head, _, said = self.rest().partition(b"\r\n\r\n")
        assert b"nosniff" in head
        return int(head.split()[1]), json.loads(said)["error"]["code"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


HEAD = b"POST /api/v1/raw HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        (HEAD + b"A: " + b"a" * 40_000 + b"\r\n\r\n", 431, "head_too_large"),
        (HEAD + b"A: " + b"a" * 40_000, 431, "head_too_large"),
        (HEAD + b"".join(b"A-%d: b\r\n" % n for n in range(200)) + b"\r\n", 431, "head_too_large"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431, "head_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400, "bad_request"),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused_in_the_same_shape(
    served: Served, sent: bytes, status: int, error: str
) -> None:
    with Wire(served) as wire:
        wire.send(sent)
        assert wire.answer() == (status, error)
    assert get(served, "/small").status_code == 200


def test_a_head_that_drips_has_its_time(serve: Serve) -> None:
    served = serve(serve={"slow_seconds": 0.3})
    with Wire(served) as wire, Wire(served) as silent:
        wire.send(b"GET /api/v1/small HTT")
        assert wire.answer() == (408, "too_slow")
        assert silent.rest() == b"", "nothing was asked, so nothing is answered"


@pytest.mark.parametrize("length", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("path", [b"raw", b"uploads/slow/one"])
def test_a_body_that_does_not_come_has_its_time(serve: Serve, length: bytes, path: bytes) -> None:
    served = serve(serve={"slow_seconds": 0.3})
    with Wire(served) as wire:
        wire.send(HEAD.replace(b"raw", path) + length + b"Connection: close\r\n\r\n1")
        assert wire.answer() == (408, "too_slow")
    assert get(served, "/small").status_code == 200


def test_an_upload_may_take_longer_as_long_as_something_comes() -> None:
    async def walk(*, uploads: bool) -> int:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"x", "more_body": True}

        taken = body.Body(receive, {}, 0.2, uploads=uploads)
        for n in range(10):
            try:
                await taken.receive()
            except TooSlow:
                return n
        return 10

    assert asyncio.run(walk(uploads=True)) == 10
    assert asyncio.run(walk(uploads=False)) < 10


def test_an_upload_that_drips_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    async def walk(size: int) -> int:
        async def receive() -> dict[str, Any]:
            now[0] += 10
            return {"type": "http.request", "body": b"x" * size, "more_body": True}

        taken = body.Body(receive, {}, 20, uploads=True)
        for n in range(20):
            try:
                await taken.receive()
            except TooSlow:
                return n
        return 20

    assert asyncio.run(walk(1)) == 6
    assert asyncio.run(walk(20_480)) == 20


def test_a_body_that_nobody_wants_must_end_soon(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LINGER", 0.3)
    served = serve()
    with Wire(served) as wire:
        wire.send(HEAD + b"Content-Length: 100000000\r\n\r\n" + b"x" * 1000)
        assert wire.answer() == (413, "request_too_large")
    with Wire(served) as wire:  # one that ends is as good as any other
        wire.send(HEAD + b"Content-Length: 1048577\r\n\r\n" + b"x" * 1_048_577)
        wire.send(b"GET /api/v1/small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert wire.rest().endswith(b'{"small":true}')


def test_connections_are_only_so_many(serve: Serve) -> None:
    served = serve(serve={"connections": 3})
    served.http.close()
    with Wire(served), Wire(served), Wire(served), Wire(served) as fourth:
        assert fourth.answer() == (503, "too_many_connections")


def test_uploads_are_only_so_many_and_only_so_long(serve: Serve) -> None:
    served = serve(serve={"uploads": 1, "upload_seconds": 0.5})
    begun, done = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x"
        begun.set()
        done.wait(20)
        yield b"x"

    said: list[httpx.Response] = []

    def upload() -> None:
        said.append(httpx.post(f"{served.url}/api/v1/uploads/slow/one", content=pieces()))

    thread = threading.Thread(target=upload)
    thread.start()
    begun.wait(20)
    refused = served.http.post("/api/v1/uploads/slow/one", content=b"x")
    assert code(refused, 503) == "too_many_uploads"
    assert refused.headers["retry-after"] == "5"
    while served.house.files.root.exists():  # until its time is over
        if served.http.post("/api/v1/uploads/slow/one", content=b"x").status_code == 200:
            break
    done.set()
    thread.join(20)
    assert code(said[0], 408) == "too_slow"


# ── the access log ───────────────────────────────────────────────────────────────────────────


def test_every_request_is_a_line_and_no_query_is_in_it(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    served = serve()
    get(served, "/big/secret-name?text=secret", x_request_id="one")
    get(served, "/nowhere?text=secret", x_request_id="two")
    get(served, "/breaks/full", x_request_id="three")
    get(served, "/health")
    get(served, "/stream", x_request_id="four")
    served.http.close()
    lines: list[dict[str, Any]] = []
    out = ""
    while len(lines) < 4:
        out += capsys.readouterr().out
        lines = [json.loads(line) for line in out.splitlines()]
    one, two, three, four = lines
    assert "secret" not in out
    assert one.keys() == {
        *("time", "method", "route", "status", "ms", "bytes"),
        *("request", "trace", "key", "tenant", "client"),
    }
    assert (one["method"], one["route"], one["status"]) == ("GET", "/api/v1/big/{name}", 200)
    assert (one["request"], one["tenant"], one["key"]) == ("one", "local", None)
    assert one["client"] == "127.0.0.1"
    assert one["bytes"] > 12_000
    assert one["ms"] >= 0
    assert (two["route"], two["status"]) == ("/api/v1/nowhere", 404)
    assert (three["status"], four["bytes"]) == (507, 3 * 2010)


def test_the_access_log_can_be_turned_off(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    served = serve(serve={"access_log": False})
    get(served, "/small")
    assert capsys.readouterr().out == ""


ENTRY = Entry(1.0, "GET", "/", 200, 0.5, 10, "id", "0" * 32, None, None, "127.0.0.1")


class Stuck(StringIO):
    """A reader that does not read, until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait(20)
        return super().write(text)


def test_a_reader_that_does_not_read_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MOST", 10)
    out = Stuck()
    log = Journal(out)
    log.start()
    for _ in range(100):
        log.write(ENTRY)
    out.go.set()
    log.close()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    written = [line for line in lines if "status" in line]
    dropped = sum(line["dropped"] for line in lines if "dropped" in line)
    assert 10 <= len(written) <= 12
    assert len(written) + dropped == 100
