"""Forms as they come in: fields in memory, bounded; the one file straight to the disk.

RFC 7578 by python-multipart's streaming parser. Bytes of the file never wait anywhere: each piece
that the network gives is hashed and written before the next is asked for, so an upload takes the
same memory whatever its size, and a sender faster than the disk is slowed down by TCP.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from hansard.api.desk import Desk
from hansard.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from hansard.config import LimitSettings
    from hansard.store.files import Draft, Files, Intake

FIELDS: Final = 64
"""Most fields of a form."""
FIELD_BYTES: Final = 64 * 1024
"""Longest text of all fields together."""
_CUT: Final = 64
"""Bytes kept of a field that is cut."""
_OVERHEAD: Final = 2**20
"""What a body may have beside the file: boundaries, fields, an epilogue."""


@dataclass
class Form:
    """What came. ``draft`` is the file, whole and hashed, in scratch; ``None`` where none came."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    """Names and texts in the order they came; a name may come several times."""
    draft: Draft | None = None
    name: str = ""
    """The file's name, as its sender has it."""

    def texts(self, name: str) -> list[str]:
        """Every text of a field; ``name[]`` is the same field."""
        return [text for known, text in self.fields if known in (name, f"{name}[]")]


@asynccontextmanager
async def received(
    request: Request, desk: Desk, *, file_field: str = "file", cut: frozenset[str] = frozenset()
) -> AsyncIterator[Form]:
    """Take a multipart form in; the file is gone after the block unless ``draft.keep`` was called.

    Of the fields named in ``cut`` only a beginning is kept, and they may be long.

    Raises:
        BadRequest: not a form, or one that breaks its own rules.
        TooLarge: more bytes than ``limits.bytes``.
        EmptyFile, DiskFull: see ``Files.intake``.
        ClientDisconnect: the sender went away; nothing is left.
    """
    taker = _Taker(request.headers.get("content-type", ""), desk, file_field, cut)
    try:
        await feed(request, desk, taker)
        yield await desk.work(taker.form)
    finally:
        await desk.work(taker.close)


@asynccontextmanager
async def raw(request: Request, desk: Desk, name: str) -> AsyncIterator[Form]:
    """Take a body that is nothing but the file; otherwise as :func:`received`."""
    taker = _RawTaker(desk, name)
    try:
        await feed(request, desk, taker)
        yield await desk.work(taker.form)
    finally:
        await desk.work(taker.close)


async def small(request: Request, limit: int = FIELD_BYTES) -> bytes:
    """A body that must be small, whole.

    Raises:
        TooLarge: it is not.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise TooLarge(
                f"The body has more than the {limit} bytes that this takes.",
                hint="Send the recording itself as multipart/form-data.",
            )
    return bytes(body)


async def feed(request: Request, desk: Desk, taker: Taker) -> None:
    """Hand a request's body to a taker, piece by piece, on a thread that may wait for the disk."""
    see_that_it_is_not_too_large(request, desk.settings.limits)
    gathered = bytearray()
    piece_size = desk.settings.caches.upload  # the network's own pieces are a few KB
    async for piece in request.stream():
        gathered += piece
        if len(gathered) >= piece_size:
            whole, gathered = bytes(gathered), bytearray()
            await desk.work(taker.take, whole)
    if gathered:
        await desk.work(taker.take, bytes(gathered))


def see_that_it_is_not_too_large(request: Request, limits: LimitSettings) -> None:
    """Refuse by the announced length, before a byte is taken.

    Raises:
        TooLarge: what is announced cannot fit.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.bytes + _OVERHEAD:
        raise _too_large(limits)


class Taker(ABC):
    """Makes a :class:`Form` of bytes. Used by one thread at a time, never by the event loop."""

    def __init__(self, desk: Desk) -> None:
        self._files: Files = desk.house.files
        self._limits = desk.settings.limits
        self._stack = ExitStack()
        self._made = Form()
        self._size = 0
        self._lock = threading.Lock()

    def take(self, piece: bytes) -> None:
        """More of the body."""
        with self._lock:
            self._size += len(piece)
            if self._size > self._limits.bytes + _OVERHEAD:
                raise _too_large(self._limits)
            self._take(piece)

    def form(self) -> Form:
        """All of the body has come."""
        return self._made

    def close(self) -> None:
        """Remove what was not kept, once nobody writes to it: an impatient caller may not wait."""
        with self._lock:
            self._stack.close()

    @abstractmethod
    def _take(self, piece: bytes) -> None:
        """Make something of the next piece."""

    def _intake(self, name: str) -> Intake:
        self._made.name = name
        return self._stack.enter_context(self._files.intake(name))

    def _write(self, intake: Intake, piece: bytes | memoryview) -> None:
        if intake.size + len(piece) > self._limits.bytes:
            raise _too_large(self._limits)
        intake.write(piece)

    def _whole(self, intake: Intake) -> Draft:
        return self._stack.enter_context(intake.draft())


class _RawTaker(Taker):
    """A body that is the file."""

    def __init__(self, desk: Desk, name: str) -> None:
        super().__init__(desk)
        self._out: Intake | None = None
        self._name = name

    def _take(self, piece: bytes) -> None:
        if self._out is None:
            self._out = self._intake(self._name)
        self._write(self._out, piece)

    def form(self) -> Form:
        out = self._intake(self._name) if self._out is None else self._out
        self._made.draft = self._whole(out)
        return self._made


class _Taker(Taker):
    """A multipart body."""

    def __init__(
        self,
        content_type: str,
        desk: Desk,
        file_field: str,
        cut: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(desk)
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise BadRequest(
                "The body is not a form: its Content-Type must be multipart/form-data "
                "with a boundary.",
                hint="With curl: -F file=@meeting.mp3",
            )
        self._file_field = file_field
        self._cut = cut
        self._out: Intake | None = None
        self._header = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._text: bytearray | None = None
        self._field = ""
        self._in_file = False
        self._texts = 0
        self._over = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )

    def _take(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def form(self) -> Form:
        if not self._over:
            raise _malformed("it ends before its last boundary")
        if self._out is not None:
            self._made.draft = self._whole(self._out)
        return self._made

    # ── what the parser tells ────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        self._headers = {}
        self._header = bytearray()
        self._value = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header = bytearray()
        self._value = bytearray()

    def _headers_end(self) -> None:
        said = self._headers.get(b"content-disposition", b"").decode("latin-1")
        kind, options = parse_options_header(said)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part does not say which field it is")
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN:
            raise _malformed("a part is encoded; send its bytes as they are")
        self._field = _decoded(options[b"name"])
        self._in_file = self._field == self._file_field
        if self._in_file:
            if self._out is not None:
                raise _malformed(f"{self._file_field} comes twice")
            self._out = self._intake(_file_name(options) or "recording")
            return
        if options.get(b"filename"):
            raise BadRequest(
                f"The field {self._field[:80]!r} is not for a file.",
                hint=f"Send the recording as the field {self._file_field}.",
            )
        if len(self._made.fields) >= FIELDS:
            raise _malformed(f"it has more than {FIELDS} fields")
        self._text = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            assert self._out is not None
            self._write(self._out, memoryview(data)[start:end])
            return
        assert self._text is not None
        if self._field.partition("[")[0] in self._cut:
            end = min(end, start + _CUT - len(self._text))
            if end <= start:
                return
        self._texts += end - start
        if self._texts > FIELD_BYTES:
            raise _malformed(f"its fields have more than {FIELD_BYTES} bytes")
        self._text += data[start:end]

    def _end(self) -> None:
        if not self._in_file and self._text is not None:
            self._made.fields.append((self._field, _decoded(bytes(self._text))))
        self._text = None
        self._in_file = False

    def _all(self) -> None:
        self._over = True


_PLAIN: Final = (b"binary", b"8bit", b"7bit")


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _malformed("its texts are not UTF-8") from error


def _file_name(options: dict[bytes, bytes]) -> str:
    """Only for show: letters of another encoding are no reason to refuse the recording."""
    return options.get(b"filename", b"").decode(errors="replace")[:255]


def _malformed(why: str) -> BadRequest:
    return BadRequest(
        f"The form cannot be read: {why}.", hint="Let your HTTP library make the form."
    )


def _too_large(limits: LimitSettings) -> TooLarge:
    return TooLarge(
        f"The upload has more than the {limits.bytes} bytes allowed.",
        hint="Compress or split the recording, or raise the setting limits.bytes.",
    )
