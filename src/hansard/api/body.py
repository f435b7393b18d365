"""A request's body as it comes in: not too much of it, and not too slowly.

Only what is read is counted and timed, so a request without a body pays nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from starlette.types import Message, Receive, Scope

from hansard.errors import BadRequest, RequestTooLarge, TooSlow

MOST = 2**20
"""Bytes of a body that is no upload."""

_UPLOADS = ("/api/v1/uploads", "/v1/audio/")
_UPLOAD = "/api/v1/transcriptions"
"""Where recordings come in: these count for themselves, up to ``limits.bytes``."""

_GRACE = 60.0
_SLOWEST = 1024
"""Bytes a second that an upload must reach on the whole, once the grace (seconds) is over."""


def takes_uploads(scope: Scope) -> bool:
    """Whether a recording may come with this request."""
    if scope["method"] not in ("POST", "PATCH"):
        return False
    path: str = scope["path"]
    return path == _UPLOAD or path.startswith(_UPLOADS)


class Body:
    """Stands between the server and whoever reads the body."""

    __slots__ = ("_begun", "_done", "_headers", "_read", "_receive", "_slow", "_uploads")

    def __init__(
        self, receive: Receive, headers: Mapping[bytes, bytes], slow: float, *, uploads: bool
    ) -> None:
        """``slow`` is how many seconds the next piece may take; the whole, where no upload."""
        self._receive = receive
        self._headers = headers
        self._slow = slow
        self._uploads = uploads
        self._begun: float | None = None
        self._read = 0
        self._done = False

    def see_length(self) -> None:
        """Refuse at once what says itself that it is too long.

        Raises:
            RequestTooLarge: it is.
        """
        said = self._headers.get(b"content-length")
        if said is None or self._uploads:
            return
        if not said.isdigit():
            raise BadRequest("Content-Length is no number.", hint="It counts the body's bytes.")
        if len(said) > 18 or int(said) > MOST:
            raise _too_large()

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            RequestTooLarge: there is more than there may be.
            TooSlow: it did not come in its time.
        """
        if self._done:
            return await self._receive()  # what comes now is that the client went away
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        patience = self._slow if self._uploads else self._begun + self._slow - now
        try:
            async with asyncio.timeout(patience):
                message = await self._receive()
        except TimeoutError as error:
            raise _too_slow(self._slow) from error
        if message["type"] != "http.request":
            return message
        self._read += len(message.get("body", b""))
        self._done = not message.get("more_body", False)
        if not self._uploads and self._read > MOST:
            raise _too_large()
        spent = time.monotonic() - self._begun
        if not self._done and spent > _GRACE and self._read < spent * _SLOWEST:
            raise _too_slow(spent)
        return message


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(
        f"The request's body is longer than {MOST:,} bytes.",
        hint="Recordings go to /api/v1/transcriptions, or in pieces to /api/v1/uploads.",
    )


def _too_slow(seconds: float) -> TooSlow:
    return TooSlow(
        f"The request did not come in within {seconds:.0f} seconds.",
        hint="A resumable upload goes on where it stands: see docs/uploads.md.",
    )
