"""A connection, as strangers may hold it: a head that is small and comes soon, and not too many.

Uvicorn limits none of these. What comes before there is a request is refused here, in the same
shape as everything else.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hansard.api.answers import refusal
from hansard.errors import BadRequest, HansardError, HeadTooLarge, TooManyConnections, TooSlow

HEAD = 32 * 1024
"""Bytes of address and headers together."""

HEADERS = 100
"""Headers of one request."""

_LINGER = 5.0
"""Seconds that a sender has to end a body that is not wanted any more."""


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, with limits. The settings are on the application: ``app.state.serve``."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any
    ) -> None:
        super().__init__(config, server_state, app_state, **more)
        serve = app_state["serve"]
        self._slow: float = serve.slow_seconds
        self._most: int = serve.connections
        self._in_head = True
        self._head = 0
        """Bytes of a head that is not whole yet."""
        self._timer: TimerHandle | None = None
        self._why: HansardError | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as there
        """A stranger: the first head must come in its time."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._refuse(
                TooManyConnections(
                    f"{self._most} connections are held, and that is all there is room for.",
                    hint="Try again in a moment.",
                    retry_after=1,
                )
            )
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a head or of a body."""
        super().data_received(data)
        if not self._in_head or self.parser is None:
            return
        self._head += len(data)
        if self._head > HEAD:
            self._refuse(_head_too_large())
        elif self._timer is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._in_head = True
        self._head = 0

    def on_headers_complete(self) -> None:
        """The head is whole: look at its size, and let the request begin."""
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        headers = self.headers
        size = len(self.url) + sum(len(name) + len(value) for name, value in headers)
        if size > HEAD or len(headers) > HEADERS:
            self._why = _head_too_large()
            raise self._why  # the parser stops, and asks for send_400_response
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Answered. A body that was not waited for must end soon, or the connection does."""
        super().on_response_complete()
        unwanted = self.cycle.response_complete and self.cycle.more_body
        if unwanted and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(_LINGER, self._let_go)

    def on_message_complete(self) -> None:
        """The end of a body."""
        super().on_message_complete()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        cycle: RequestResponseCycle | None = self.cycle  # none of what becomes a WebSocket
        if cycle is not None:
            cycle.more_body = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What was no HTTP, or too much of it."""
        self._refuse(self._why or BadRequest(msg, hint="This is an HTTP/1.1 service."))

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self._slow, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        if self._head:
            self._refuse(
                TooSlow(
                    f"The request did not come in within {self._slow:.0f} seconds.",
                    hint="Send it at once.",
                )
            )
        else:
            self._let_go()  # nothing was asked, so nothing is answered

    def _let_go(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, error: HansardError) -> None:
        if self.transport.is_closing():
            return
        said = refusal(error)
        lines = [b"HTTP/1.1 %d %s" % (said.status_code, error.code.encode())]
        lines += [b"%s: %s" % pair for pair in said.raw_headers]
        lines += [b"cache-control: no-store", b"x-content-type-options: nosniff"]
        lines += [b"connection: close", b"", bytes(said.body)]
        cycle: RequestResponseCycle | None = self.cycle  # likewise
        if cycle is None or cycle.response_complete:
            self.transport.write(b"\r\n".join(lines))
        self.transport.close()


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"The address and the headers are longer than {HEAD:,} bytes, or more than {HEADERS}.",
        hint="What is long belongs into the body.",
    )
