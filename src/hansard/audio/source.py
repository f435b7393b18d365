"""What a user may name as a recording: files, directories, ``-`` and http(s) addresses.

``expand`` turns the words of a command line into sources, and ``stream`` gives a source's bytes
in chunks, so that the caller hashes and keeps them without ever holding the whole.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal
from urllib.parse import unquote, urlsplit

from hansard.errors import (
    AddressRefused,
    EmptyFile,
    FetchFailed,
    NoMediaInDirectory,
    NotFound,
    TooLarge,
    TooManyRedirects,
    Unreadable,
    UsageError,
)
from hansard.model import Value

if TYPE_CHECKING:
    import httpx

    from hansard.config import LimitSettings, Settings

_log = logging.getLogger(__name__)

CHUNK: Final = 1024 * 1024
"""Bytes of a chunk; the last is shorter."""

_ENDINGS: Final = (
    "3g2 3gp aac ac3 aif aifc aiff amr ape asf au avi caf dts dv flac flv gsm m2ts m4a m4b m4v "
    "mka mkv mov mp2 mp3 mp4 mpeg mpg mts mxf oga ogg ogv opus qt ra rm snd spx tak ts tta vob "
    "voc w64 wav wave weba webm wma wmv wtv wv"
)
EXTENSIONS: Final = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Names that media files end in; a directory's other files are not looked at."""

_MAGIC: Final = re.compile(
    rb"RIFF|RF64|BW64|FORM|OggS|fLaC|ID3|caff|riff|#!AMR|MAC |wvpk|TTA1|tBaK|FLV|\.snd|\.RMF"
    rb"|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75|\x0b\x77|\x7f\xfe\x80\x01|\x00\x00\x01[\xba\xb3]"
    rb"|\x06\x0e\x2b\x34|\x2e\x72\x61\xfd|Creative Voice|\xb7\xd8\x00\x20"
    rb"|\xff[\xe2-\xfd]"  # MPEG audio and ADTS frames: eleven bits set; ff fe is UTF-16
    rb"|....(?:ftyp|moov|mdat|wide|free|skip|pnot)"
    rb"|G.{187}G|.{4}G.{191}G",  # MPEG transport streams, plain and with time codes
    re.DOTALL,
)
_SNIFFED: Final = 512
_CONNECT_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 30.0
"""A server that says nothing for so long is given up."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


class Source(Value, frozen=True):
    """Something that a recording can be read from."""

    kind: Literal["file", "stdin", "url"]
    name: str
    """To show; for an address only a guess until it answers (see :class:`Incoming`)."""
    location: str
    """Absolute path, ``-`` or address."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """Bytes that are on their way."""

    name: str
    """The file's name, as the disk or the server gives it."""
    size: int | None
    """Bytes, where they are known beforehand."""
    chunks: Iterator[bytes]
    """Pieces of :data:`CHUNK` bytes; may raise what :func:`stream` raises."""


def expand(names: Sequence[str]) -> list[Source]:
    """Files, directories (read recursively, sorted), ``-`` and addresses → sources, each once.

    In a directory a file counts when both its extension and its first bytes are a media file's;
    hidden files and directories are passed over. A file named outright is taken as it is.

    Raises:
        NotFound, Unreadable: a path.
        NoMediaInDirectory: a directory without a single media file.
        UsageError: an address that is not http or https.
    """
    found: dict[str, Source] = {}
    for name in names:
        for source in _sources(name):
            found.setdefault(source.location, source)
    return list(found.values())


def from_stranger(url: str, settings: Settings) -> Source:
    """The source that a stranger names: an address of the web, and never a file of this machine.

    Raises:
        BadRequest, AddressRefused: see ``outbound.see_that_it_may_be_called``.
    """
    from hansard.outbound import see_that_it_may_be_called

    see_that_it_may_be_called(url, settings)
    return Source("url", _name_in_address(url), url)


@contextmanager
def stream(
    source: Source, limits: LimitSettings, *, guarded: Settings | None = None
) -> Iterator[Incoming]:
    """Open a source and give its bytes chunk by chunk.

    Args:
        source: what to read.
        limits: the most bytes, time and redirects.
        guarded: the settings of a service, where a stranger named the address. It is fetched
            through ``outbound`` then; a user of this machine may fetch what he likes.

    Raises:
        AddressRefused: a guarded address leads into a private network, perhaps by a redirect.
        NotFound, Unreadable, EmptyFile: the file, or nothing on standard input.
        TooLarge: more than ``limits.bytes``, as announced or as counted.
        FetchFailed: an address that does not answer, refuses, stops in the middle or takes
            longer than ``limits.fetch_seconds``; TooManyRedirects after ``limits.redirects``.
    """
    if source.kind == "url":
        with _fetched(source, limits, guarded) as incoming:
            yield incoming
    elif guarded is not None:
        raise AddressRefused(f"{source.name} is no address.", hint="Give an http or https address.")
    elif source.kind == "stdin":
        if sys.stdin.isatty():
            raise UsageError(
                "Standard input is a terminal.", hint="Pipe a recording into it, or name a file."
            )
        yield Incoming(source.name, None, _read(sys.stdin.buffer, source.name, limits))
    else:
        path = Path(source.location)
        with _opened(path) as file:
            facts = os.fstat(file.fileno())
            size = facts.st_size if stat.S_ISREG(facts.st_mode) else None
            _refuse_large(source.name, size, limits)
            yield Incoming(source.name, size, _read(file, source.name, limits))


# ── naming ───────────────────────────────────────────────────────────────────────────────────


def _sources(name: str) -> list[Source]:
    if name == "-":
        return [Source("stdin", "standard input", "-")]
    scheme, colon, _ = name.partition("://")
    if colon and scheme.lower() in {"http", "https"}:
        return [Source("url", _name_in_address(name), name)]
    path = Path(name)
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            raise UsageError(
                f"Addresses of the kind {scheme}:// are not fetched.",
                hint="Give an http or https address, or download the file first.",
            ) from None
        raise NotFound(
            f"There is no file {name}.", hint="Check the spelling of the path."
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    if stat.S_ISDIR(facts.st_mode):
        return _media_below(path)
    return [Source("file", path.name, str(path.absolute()))]


def _media_below(root: Path) -> list[Source]:
    found: list[Path] = []
    for folder, folders, files in os.walk(root, onerror=_folder_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        candidates = (Path(folder, name) for name in files if not name.startswith("."))
        found += (path for path in candidates if _is_media(path))
    if not found:
        raise NoMediaInDirectory(
            f"There are no audio or video files in {root}.",
            hint="Files count by extension and content; name a file to have it tried anyway.",
        )
    return [Source("file", path.name, str(path.absolute())) for path in sorted(found)]


def _folder_unreadable(error: OSError) -> None:
    _log.warning("skipping %s: %s", error.filename, error.strerror)


def _is_media(path: Path) -> bool:
    if path.suffix.lower() not in EXTENSIONS or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
    except OSError as error:
        _log.warning("skipping %s: %s", path, error.strerror)
        return False
    if _MAGIC.match(head) is None:
        _log.warning("skipping %s: its content is not a media file's", path)
        return False
    return True


def _name_in_address(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise UsageError(
            f"{address} is not an address: {error}.", hint="Check the spelling of the address."
        ) from None
    return _safe(unquote(parts.path)) or parts.hostname or "download"


def _safe(name: str) -> str:
    """The last part of a path, fit for a terminal and for a file system."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _CONTROL.sub("", last).strip().lstrip(".")[:200]


# ── reading ──────────────────────────────────────────────────────────────────────────────────


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(
            f"There is no file {path}.", hint="Was it moved or deleted just now?"
        ) from None
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _unreadable(name: str, error: OSError | ValueError) -> Unreadable:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Unreadable(
        f"{name} cannot be read: {reason}.",
        hint="Check that it is a file and that you may read it.",
    )


def _read(file: BinaryIO, name: str, limits: LimitSettings) -> Iterator[bytes]:
    def pieces() -> Iterator[bytes]:
        try:
            while piece := file.read(CHUNK):
                yield piece
        except OSError as error:
            raise _unreadable(name, error) from error

    return _chunks(pieces(), name, limits)


def _chunks(pieces: Iterable[bytes], name: str, limits: LimitSettings) -> Iterator[bytes]:
    """Pieces of any length → chunks of one length, counted; at least one byte must come."""
    total = 0
    kept = bytearray()
    for piece in pieces:
        total += len(piece)
        _refuse_large(name, total, limits)
        kept += piece
        while len(kept) >= CHUNK:
            yield bytes(kept[:CHUNK])
            del kept[:CHUNK]
    if not total:
        raise EmptyFile(f"{name} is empty.", hint="Was the upload or copy cut short?")
    if kept:
        yield bytes(kept)


def _refuse_large(name: str, size: int | None, limits: LimitSettings) -> None:
    if size is not None and size > limits.bytes:
        raise TooLarge(
            f"{name} has more than the {limits.bytes} bytes allowed.",
            hint="Compress or split the recording, or raise the setting limits.bytes.",
        )


# ── fetching ─────────────────────────────────────────────────────────────────────────────────


def _client(limits: LimitSettings, guarded: Settings | None) -> httpx.Client:
    import httpx

    patience = min(_SILENT_SECONDS, limits.fetch_seconds)
    if guarded is not None:
        from hansard import outbound

        return outbound.client(
            private=guarded.webhooks.private,
            seconds=limits.fetch_seconds,
            silence=patience,
            redirects=limits.redirects,
        )
    timeout = httpx.Timeout(patience, connect=min(_CONNECT_SECONDS, patience))
    return httpx.Client(follow_redirects=True, max_redirects=limits.redirects, timeout=timeout)


@contextmanager
def _fetched(source: Source, limits: LimitSettings, guarded: Settings | None) -> Iterator[Incoming]:
    deadline = time.monotonic() + limits.fetch_seconds
    address = source.location
    with _client(limits, guarded) as client:
        with _explained(address, limits):
            response = client.send(
                # Media does not shrink, and a length that counts is worth more.
                client.build_request("GET", address, headers={"Accept-Encoding": "identity"}),
                stream=True,
            )
        try:
            _refuse_answer(address, response)
            if guarded is not None:
                _refuse_compression(address, response)
            name = _name_of(response) or source.name
            size = _length_of(response)
            _refuse_large(name, size, limits)
            body = _body(response, address, deadline, limits)
            yield Incoming(name, size, _chunks(body, name, limits))
        finally:
            response.close()


def _body(
    response: httpx.Response, address: str, deadline: float, limits: LimitSettings
) -> Iterator[bytes]:
    with _explained(address, limits):
        for piece in response.iter_bytes():
            if time.monotonic() > deadline:
                raise FetchFailed(
                    f"{address} took longer than {limits.fetch_seconds:g} s.",
                    hint="Download the file first, or raise the setting limits.fetch_seconds.",
                )
            yield piece


@contextmanager
def _explained(address: str, limits: LimitSettings) -> Iterator[None]:
    """Say what httpx's exceptions mean to somebody who wants a recording."""
    import httpx

    try:
        yield
    except httpx.TooManyRedirects as error:
        raise TooManyRedirects(
            f"{address} redirects more than {limits.redirects} times.",
            hint="Open it in a browser and copy the final address.",
        ) from error
    except httpx.TimeoutException as error:
        raise FetchFailed(
            f"{address} does not answer.", hint="Try again later, or download the file first."
        ) from error
    except httpx.ConnectError as error:
        raise FetchFailed(
            f"{address} cannot be reached: {error}.",
            hint="Check the address, the network and the proxy.",
        ) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise FetchFailed(
            f"{address} does not lead to an http or https address: {error}.",
            hint="Check the spelling of the address.",
        ) from error
    except httpx.HTTPError as error:
        raise FetchFailed(
            f"{address} stopped in the middle: {error}.",
            hint="Try again, or download the file first.",
        ) from error


def _refuse_answer(address: str, response: httpx.Response) -> None:
    status = response.status_code
    if status >= 400 or status < 200 or status in {204, 205}:
        if status in {401, 403}:
            hint = "The address needs a login; download the file yourself and name that."
        elif status in {404, 410}:
            hint = "Check the address; the file is not there any more."
        elif status == 429 or status >= 500:
            hint = "The server has trouble; try again later."
        else:
            hint = "Check the address in a browser."
        raise FetchFailed(
            f"{address} answers {status} {response.reason_phrase}.".replace(" .", "."), hint=hint
        )
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise FetchFailed(
            f"{address} is a web page, not a recording.",
            hint="Give the address of the media file itself.",
        )


def _refuse_compression(address: str, response: httpx.Response) -> None:
    """A few bytes from a stranger must not become gigabytes in memory."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise FetchFailed(
            f"{address} answers in the encoding {encoding}, though plain bytes were asked for.",
            hint="Give the address of the media file itself.",
        )


def _name_of(response: httpx.Response) -> str:
    """The name in Content-Disposition (RFC 6266), else the last part of the final address."""
    header = response.headers.get("content-disposition")
    if header:
        message = Message()
        message["content-disposition"] = header
        if name := _safe(message.get_filename() or ""):
            return name
    return _safe(unquote(response.url.path))


def _length_of(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length", "")
    encoded = response.headers.get("content-encoding", "identity") != "identity"
    return int(length) if length.isdigit() and not encoded else None
