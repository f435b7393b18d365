"""What every request goes through and every answer comes out of, in one layer of pure ASGI.

Each layer costs every request, so what all of them share is done here and at once: a request id,
the body's limits, the headers of safety, caching and time, ETag and 304, compression, the access
log, and the last word on errors that nobody expected.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Hashable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hansard import telemetry
from hansard.api.answers import matches, refusal_at
from hansard.api.body import Body, takes_uploads
from hansard.api.compression import Compressed, coding
from hansard.api.exposition import Meter
from hansard.api.journal import Entry, Journal
from hansard.config import ServeSettings
from hansard.errors import HansardError

_log = logging.getLogger("hansard.api")

_SANE_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}\Z")

COMPRESSED_FROM = 1024
"""Bytes. Shorter texts gain nothing worth the work."""

_SAFETY: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE = (b"cache-control", b"no-store")

_HOUR = b"private, max-age=3600"
_CACHING: tuple[tuple[str, bytes], ...] = (
    ("/api/v1/health/", b"no-store"),
    ("/api/v1/health", b"private, max-age=30"),
    ("/api/v1/models", _HOUR),
    ("/api/v1/languages", _HOUR),
    ("/v1/models", _HOUR),
    ("/api/v1/transcriptions", b"private, no-cache"),
)
"""How long what an address answers may be kept, first match wins; all else and errors: not at all.
``no-cache`` keeps, and asks each time whether it still holds: that is what ETags are for."""

_TEXT = re.compile(rb"(?:text/|application/(?:[\w.-]+\+)?(?:json|xml|x-subrip|ndjson))")
_STREAMED = b"text/event-stream"


class Envelope:
    """The outermost layer."""

    def __init__(
        self, app: ASGIApp, serve: ServeSettings, journal: Journal | None, meter: Meter
    ) -> None:
        self._app = app
        self._serve = serve
        self._journal = journal
        self._meter = meter
        self._compressed = Compressed()
        # Other sites' pages are kept from embedding what is here, unless they may read it anyway.
        shared = b"cross-origin" if serve.cors else b"same-origin"
        self._safety = (*_SAFETY, (b"cross-origin-resource-policy", shared))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, whatever happens inside."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        headers = state["headers"] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        sane = _SANE_ID.match(given)
        state["request_id"] = given.decode() if sane else secrets.token_hex(8)
        self._trace(state, headers.get(b"traceparent"))
        if scope["type"] == "http":
            await _Exchange(self, scope, headers, send).run(receive)
        else:
            await self._call(scope, receive, send)

    def _trace(self, state: dict[str, Any], given: bytes | None) -> None:
        """Go on with the trace of whoever asks, or begin one."""
        about = state["request_id"]
        above = None if given is None else telemetry.parsed(given.decode("latin-1"), about)
        state["above"] = None if above is None else above.span
        trace = state["trace"] = telemetry.within(above) if above else telemetry.begin(about)
        state["frame"] = telemetry.enter(trace)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: only its beginning is an answer."""
        begun = time.perf_counter()
        status = 499

        async def pass_on(message: Message) -> None:
            nonlocal status
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                status = message.get("status", 101)
                named = (b"x-request-id", scope["state"]["request_id"].encode())
                own = [named] if status == 101 else [named, _POLICY, _NO_STORE, *self._safety]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            elif message["type"] == "websocket.close" and status == 499:
                status = 403
            await send(message)

        try:
            await self._app(scope, receive, pass_on)
        finally:
            self.note(scope, status, 0, time.perf_counter() - begun)

    def note(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        """Count a request that is over, and write its line into the access log."""
        path = scope["path"]
        route = getattr(scope.get("route"), "path", None)
        method = scope.get("method", "WEBSOCKET")
        self._meter.note(method, route, status, seconds)
        state = scope["state"]
        stage = self._meter.stage(method, route)
        telemetry.record(stage, seconds, state["frame"].inner)
        code = state.get("failed", f"http_{status}") if status >= 500 else None
        if code is not None:
            telemetry.failed(stage, code)
        if path.startswith("/api/v1/health"):
            return
        if state["trace"].sampled:
            began, name = time.time() - seconds, stage.removeprefix("api.")
            place = state["trace"], state["above"]
            telemetry.tell(telemetry.Ended(name, *place, began, seconds, code, "server"))
        if self._journal is None:
            return
        client = state.get("client")
        self._journal.write(
            Entry(
                time.time(),
                method,
                route or path[:200],
                status,
                round(seconds * 1000, 2),
                size,
                state["request_id"],
                state["trace"].id,
                client.key if client else None,
                client.tenant if client else None,
                (scope.get("client") or ("",))[0],
            )
        )


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_begun",
        "_envelope",
        "_headers",
        "_held",
        "_scope",
        "_send",
        "_size",
        "_started",
        "_status",
    )

    def __init__(
        self, envelope: Envelope, scope: Scope, headers: dict[bytes, bytes], send: Send
    ) -> None:
        self._begun = time.perf_counter()
        self._envelope = envelope
        self._scope = scope
        self._headers = headers
        self._send = send
        self._held: Message | None = None
        """The answer's head, until it is known whether the body is whole."""
        self._started = False
        self._status = 499
        """What is logged where nothing was answered: the client went away."""
        self._size = 0

    async def run(self, receive: Receive) -> None:
        scope, envelope = self._scope, self._envelope
        serve = envelope._serve  # noqa: SLF001 one thing in two classes
        uploads = takes_uploads(scope)
        body = Body(receive, self._headers, serve.slow_seconds, uploads=uploads)
        try:
            body.see_length()
            await envelope._app(scope, body.receive, self.send)  # noqa: SLF001 likewise
        except ClientDisconnect:
            pass  # nobody is there to be told; the access log says 499
        except HansardError as error:
            await self._refuse(error)
        except Exception:  # noqa: BLE001 the last word: nothing else may end a request
            _log.exception("request %s failed", scope["state"]["request_id"])
            await self._refuse(
                HansardError(
                    "Something went wrong here, and it is not the request's fault.",
                    hint=f"The service's log says more about {scope['state']['request_id']}.",
                )
            )
        finally:
            envelope.note(scope, self._status, self._size, time.perf_counter() - self._begun)

    async def _refuse(self, error: HansardError) -> None:
        self._scope["state"]["failed"] = error.code
        if self._started:
            return  # half an answer is out: the server ends the connection, which says that it is
        self._held = None

        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        await refusal_at(self._scope["path"], error)(self._scope, nothing, self.send)

    # ── the answer ───────────────────────────────────────────────────────────────────────────

    async def send(self, message: Message) -> None:
        """Take what the application sends; pass it on with all that is ours."""
        if message["type"] == "http.response.start":
            # A copy: a response may be kept and sent again.
            self._held = {**message, "headers": list(message.get("headers", ()))}
            content = _header(self._held["headers"], b"content-type")
            if content.startswith(_STREAMED):
                await self._begin()  # its first event may be a long way off
            return
        body = message.get("body", b"")
        if self._held is not None:
            if not message.get("more_body", False):
                body = await self._whole(self._held, body)
                message = {"type": "http.response.body", "body": body}
            await self._begin()
        self._size += len(body)
        await self._send(message)

    async def _begin(self) -> None:
        message, self._held = self._held, None
        assert message is not None
        self._status = message["status"]
        self._dress(message)
        self._started = True
        await self._send(message)

    async def _whole(self, message: Message, body: bytes) -> bytes:
        """ETag, 304 and compression, for an answer that is all there."""
        status, headers = message["status"], message["headers"]
        if status != 200:
            return body
        named = dict(headers)
        text = _TEXT.match(named.get(b"content-type", b"")) is not None
        etag = named.get(b"etag", b"")
        if self._scope["method"] in ("GET", "HEAD"):
            if not etag and text and body:
                etag = b'"%s"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()
                headers.append((b"etag", etag))
            known = self._headers.get(b"if-none-match")
            if known and etag and matches(known.decode("latin-1"), etag.decode("latin-1")):
                message["status"] = 304
                _drop(headers, b"content-length", b"content-type")
                return b""
        if not text or len(body) < COMPRESSED_FROM or b"content-encoding" in named:
            return body
        _vary(headers, b"accept-encoding")
        chosen = coding(self._headers.get(b"accept-encoding", b""))
        if not chosen or b"range" in self._headers:
            return body
        desk = self._scope["app"].state.desk
        name = self._name(etag, named[b"content-type"])
        body = await self._envelope._compressed.of(desk, body, chosen, name)  # noqa: SLF001 as above
        _drop(headers, b"content-length", b"etag", b"accept-ranges")
        headers.append((b"content-length", b"%d" % len(body)))
        headers.append((b"content-encoding", chosen.encode()))
        if etag:
            headers.append((b"etag", etag if etag.startswith(b"W/") else b"W/" + etag))
        return body

    def _name(self, etag: bytes, content: bytes) -> Hashable | None:
        """What of one version, at one address, for one tenant is always the same text."""
        if not etag:
            return None
        scope = self._scope
        tenant = scope["state"]["client"].tenant if "client" in scope["state"] else None
        return tenant, scope["path"], scope["query_string"], etag, content

    def _dress(self, message: Message) -> None:
        """Put on every answer what every answer has."""
        state, headers = self._scope["state"], message["headers"]
        named = {name for name, _ in headers}
        headers.append((b"x-request-id", state["request_id"].encode()))
        headers.extend(self._envelope._safety)  # noqa: SLF001 likewise
        if b"content-security-policy" not in named:
            headers.append(_POLICY)
        if b"cache-control" not in named:
            headers.append((b"cache-control", _caching(self._scope, message["status"])))
        allowance = state.get("allowance")
        if allowance is not None:
            headers.append((b"ratelimit-limit", b"%d" % allowance.limit))
            headers.append((b"ratelimit-remaining", b"%d" % allowance.left))
            headers.append((b"ratelimit-reset", b"%d" % (allowance.refill + 0.999)))
        spent = (time.perf_counter() - self._begun) * 1000
        headers.append((b"server-timing", b"total;dur=%.2f" % spent))
        headers.append((b"x-response-time", b"%.2fms" % spent))


def _caching(scope: Scope, status: int) -> bytes:
    if status in (200, 206, 304) and scope["method"] in ("GET", "HEAD"):
        path = scope["path"]
        for start, value in _CACHING:
            if path.startswith(start):
                return value
    return b"no-store"


def _header(headers: list[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")


def _drop(headers: list[tuple[bytes, bytes]], *names: bytes) -> None:
    headers[:] = [pair for pair in headers if pair[0] not in names]


def _vary(headers: list[tuple[bytes, bytes]], name: bytes) -> None:
    known = _header(headers, b"vary")
    _drop(headers, b"vary")
    headers.append((b"vary", b"%s, %s" % (known, name) if known else name))
