"""Files and rendered texts as answers: whole, in part, or only their size.

Ranges by RFC 9110, section 14: one range is answered with 206, one that lies outside with 416;
several at once are answered with the whole, as a server may. Nothing is read but what is sent,
and a reader that is slow holds one piece in memory.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol
from urllib.parse import quote

from starlette.responses import Response

from hansard.api.answers import refusal
from hansard.errors import RangeOutside
from hansard.store.files import room

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

_PIECE: Final = 256 * 1024
"""Bytes in memory for one reader."""
_IN_MEMORY: Final = 2**20
"""Rendered bytes that are kept in memory; more lie on the disk."""
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)


class Reading(Protocol):
    """Somebody reads from the start of a range to its end."""

    def read(self, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``, where the last piece ended."""

    def close(self) -> None:
        """No more is wanted."""


class Content(Protocol):
    """Bytes that stand still, wherever they are."""

    size: int

    @property
    def at_hand(self) -> bool:
        """Whether it can be read without waiting for a disk or a network."""

    def reading(self, start: int, end: int) -> Reading:
        """For reading ``[start, end)`` once; nothing is asked for yet."""


class Rendered:
    """Bytes that stand still: in memory, or in a file that has no name and goes with its reader.

    The file is open, so whatever happens to its name, a reader reads on to the end.
    """

    def __init__(self, content: bytes | BinaryIO, size: int) -> None:
        self._content = content
        self.size = size
        if not isinstance(content, bytes):
            weakref.finalize(self, content.close)

    def __len__(self) -> int:
        return self.size

    @property
    def at_hand(self) -> bool:
        """Whether it can be read without waiting for a disk."""
        return isinstance(self._content, bytes)

    def read(self, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``. Any number of threads at once."""
        if isinstance(self._content, bytes):
            return self._content[start : start + length]
        return os.pread(self._content.fileno(), length, start)

    def reading(self, start: int, end: int) -> Rendered:
        """Itself: any number may read at once, anywhere."""
        del start, end
        return self

    def close(self) -> None:
        """Others may be reading; it goes with the last of them."""


class Remote:
    """Bytes that come from elsewhere, asked for when they are wanted."""

    at_hand = False

    def __init__(self, ask: Callable[[int, int], Iterator[bytes]], size: int) -> None:
        """``ask`` gives the bytes of a range as they come."""
        self.size = size
        self._ask = ask

    def reading(self, start: int, end: int) -> _Flow:
        """One request for the range."""
        return _Flow(self._ask(start, end))


class _Flow:
    """Pieces of the size that is asked for, from pieces as they come."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = bytearray()
        self._busy = threading.Lock()
        self._closed = False

    def read(self, start: int, length: int) -> bytes:
        """The next bytes. One thread at a time."""
        del start
        with self._busy:
            while len(self._left) < length and not self._closed:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._left += piece
            wanted = bytes(self._left[:length])
            del self._left[:length]
        if self._closed:
            self.close()
        return wanted

    def close(self) -> None:
        """Never waits: a thread that is in the middle of reading closes it itself."""
        self._closed = True
        if self._busy.acquire(blocking=False):
            try:
                close = getattr(self._pieces, "close", None)
                if close is not None:
                    close()
            finally:
                self._busy.release()


def opened(path: Path) -> Rendered:
    """A file of the store, for reading.

    Raises:
        FileNotFoundError: it is not there.
    """
    file = path.open("rb")
    return Rendered(file, os.fstat(file.fileno()).st_size)


def rendered(write: Callable[[BinaryIO], None], scratch: Path) -> Rendered:
    """What ``write`` writes; a megabyte of it in memory, more of it in ``scratch``.

    Raises:
        DiskFull: no room; nothing is left behind.
    """
    spooled: Any = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(scratch))  # noqa: SIM115 kept open
    out: BinaryIO = spooled
    try:
        with room(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            write(out)
            size = out.seek(0, os.SEEK_END)
            out.seek(0)
            if size > _IN_MEMORY:
                out.flush()
                return Rendered(out, size)
        content = out.read()
    except BaseException:
        out.close()
        raise
    out.close()
    return Rendered(content, size)


def ranged(
    request: Request,
    content: Content,
    work: Callable[..., Awaitable[bytes]],
    *,
    version: str,
    media_type: str,
    name: str,
) -> Response:
    """An answer from a :class:`Content`: 200, 206 or 416; HEAD gets its headers.

    Args:
        request: says which part.
        content: all of it.
        work: calls a function where it may wait for the disk.
        version: changes whenever the bytes do.
        media_type: of the content.
        name: to save it under.
    """
    try:
        return _Ranged(request, content, work, version=version, media_type=media_type, name=name)
    except RangeOutside as error:
        said = refusal(error)
        said.headers["content-range"] = f"bytes */{content.size}"
        return said


class _Ranged(Response):
    def __init__(
        self,
        request: Request,
        content: Content,
        work: Callable[..., Awaitable[bytes]],
        *,
        version: str,
        media_type: str,
        name: str,
    ) -> None:
        self._content = content
        self._work = work
        etag = f'"{version}"'
        headers = {
            "accept-ranges": "bytes",
            "etag": etag,
            "content-disposition": disposition(name),
            # What a stranger uploaded is never a page of ours.
            "content-security-policy": "sandbox; default-src 'none'",
        }
        part = _asked(request, content.size, etag)
        self._start, end = part or (0, content.size)
        self._length = end - self._start
        if part is not None:
            headers["content-range"] = f"bytes {self._start}-{end - 1}/{content.size}"
        headers["content-length"] = str(self._length)
        super().__init__(None, 206 if part else 200, headers, media_type)
        self._head = request.method == "HEAD"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, piece by piece, no faster than it is taken."""
        del scope, receive
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        left = 0 if self._head else self._length
        at = self._start
        content = self._content.reading(at, at + left)
        try:
            while left:
                wanted = min(left, _PIECE)
                if self._content.at_hand:
                    piece = content.read(at, wanted)
                else:
                    piece = await self._work(content.read, at, wanted)
                if not piece:
                    raise OSError("the file became shorter while it was sent")
                at += len(piece)
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        finally:
            content.close()
        if not self._length or self._head:
            await send({"type": "http.response.body", "body": b""})


def _asked(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The part that is asked for, half open; ``None`` for the whole."""
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or request.method not in {"GET", "HEAD"}:
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        return None  # it has another version: the whole of this one
    first, last = (text[:20] for text in match.groups())
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return None  # not a range at all
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= end:
        raise RangeOutside(
            f"There are {size} bytes, and none of them is in the range asked for.",
            hint="HEAD tells how many there are.",
        )
    return start, end


def disposition(name: str) -> str:
    """``Content-Disposition`` for a name with any letters (RFC 6266): always to be saved."""
    clean = "".join(c for c in name if c.isprintable() and c not in '/\\"').strip(". ")
    clean = clean or "recording"
    plain = clean.encode("ascii", "replace").decode().replace("?", "_")
    if plain == clean:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(clean, safe='')}"
