"""Resumable uploads by the tus protocol, version 1.0: https://tus.io/protocols/resumable-upload.

Core, creation (with deferred length, and with bytes at once), checksum, termination, expiration.
What came is kept in steps: a request that is cut off, by either side, costs the last few megabytes
at most. A body with a checksum counts as a whole or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import ExitStack, asynccontextmanager
from email.utils import formatdate
from functools import partial
from typing import Any, Final, TypeVar

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from hansard.api import tus
from hansard.api.answers import answer
from hansard.api.desk import Desk, client, desk
from hansard.api.limits import upload_slot
from hansard.errors import (
    BadRequest,
    ChecksumMismatch,
    DiskFull,
    HansardError,
    TooLarge,
    UploadConflict,
)
from hansard.store import uploads
from hansard.store.uploads import Tail, Upload

T = TypeVar("T")

STEP: Final = 8 * 2**20
"""Bytes after which what came is brought to the disk and counted …"""
STEP_SECONDS: Final = 5.0
"""… or after so many seconds."""
PATIENCE: Final = 2.0
"""Seconds that a second request waits for the first to end; a first one that was silent for as long
is ended for it: a sender whose network changed must not wait for its own ghost."""

_BUFFER: Final = 512 * 1024
"""Bytes gathered before a thread is asked to write them."""


router = APIRouter(prefix="/api/v1", tags=["uploads"], route_class=tus.TusRoute)


# ── routes ───────────────────────────────────────────────────────────────────────────────────


@router.options("/uploads", status_code=204, summary="What of the protocol is spoken here")
@router.options("/uploads/{upload}", status_code=204, summary="The same", include_in_schema=False)
async def discover(request: Request) -> Response:
    """Version, extensions, checksums and the largest upload, in headers."""
    headers = {
        "tus-version": tus.VERSION,
        "tus-extension": tus.EXTENSIONS,
        "tus-checksum-algorithm": ",".join(tus.ALGORITHMS),
        "tus-max-size": str(desk(request).settings.limits.bytes),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "/uploads",
    status_code=201,
    summary="Begin an upload",
    responses={
        **tus.SAID,
        201: {
            "description": "`Location` is where the bytes go; the id is what "
            "`POST /transcriptions` takes as `upload`.",
            "content": {"application/json": {"example": {"id": "0f8c…"}}},
        },
        413: {"description": "Longer than the largest upload (`Tus-Max-Size`)."},
        507: {"description": "No room for it on the disk."},
    },
    openapi_extra={
        "parameters": [
            tus.VERSION_HEADER,
            tus.LENGTH,
            tus.header("Upload-Defer-Length", "`1`: the length is said later."),
            tus.header("Upload-Metadata", "`filename <base64>,…`; the name of the recording."),
            tus.CHECKSUM,
            tus.OVERRIDE,
        ],
        "requestBody": {**tus.BODY, "description": "The first bytes, if any."},
    },
)
async def create(request: Request) -> Response:
    """Give the length and a file name; optionally the first bytes at once."""
    if tus.method(request) != "POST":
        return await tus.overridden(request, {"OPTIONS": discover})
    place, asker = desk(request), client(request)
    length = tus.length_said(request, place.settings.limits.bytes)
    if length is None and request.headers.get("upload-defer-length") != "1":
        raise BadRequest(
            "The length of the upload is missing.",
            hint="Send Upload-Length, or Upload-Defer-Length: 1.",
        )
    metadata = request.headers.get("upload-metadata", "")
    known = tus.parsed_metadata(metadata)
    place.house.pressure.see_that_there_is_room()
    _see_that_it_fits(place, length or 0)
    with_bytes = "content-type" in request.headers and tus.has_body(request)
    if with_bytes:
        tus.see_content(request)
    checksum = tus.checksum_said(request) if with_bytes else None
    make = partial(
        uploads.create,
        place.house.database,
        place.house.files.root,
        asker,
        name=known.get("filename") or known.get("name") or "recording",
        length=length,
        metadata=metadata,
        lasts=place.settings.serve.upload_expiry,
    )
    upload = await place.write(make)
    if with_bytes:
        try:
            upload = await _append(request, upload, 0, None, checksum)
        except (HansardError, ClientDisconnect):
            # Nobody was told where it is.
            await place.work(_remove, place, upload.id, client(request))
            raise
    headers = {
        "location": f"{request.scope.get('root_path', '')}/api/v1/uploads/{upload.id}",
        "upload-offset": str(upload.position),
        "upload-expires": formatdate(upload.expires, usegmt=True),
    }
    return answer({"id": upload.id}, 201, headers)


@router.head(
    "/uploads/{upload}",
    summary="How far an upload is",
    responses=tus.SAID,
    openapi_extra={"parameters": [tus.VERSION_HEADER]},
)
async def head(upload: str, request: Request) -> Response:
    """`Upload-Offset` is where to go on."""
    await _find(request, upload)
    await _settled(request, upload)
    found = await _find(request, upload)
    headers = {
        "upload-offset": str(found.position),
        "upload-expires": formatdate(found.expires, usegmt=True),
        "cache-control": "no-store",
    }
    if found.length is None:
        headers["upload-defer-length"] = "1"
    else:
        headers["upload-length"] = str(found.length)
    if found.metadata:
        headers["upload-metadata"] = found.metadata
    return Response(status_code=200, headers=headers)


@router.patch(
    "/uploads/{upload}",
    status_code=204,
    summary="Send bytes",
    responses={
        **tus.SAID,
        204: {"description": "They are on the disk; `Upload-Offset` is where to go on."},
        408: {"description": "The bytes stopped coming; those that came are kept."},
        409: {"description": "The upload does not stand at this offset."},
        413: {"description": "More bytes than the upload has."},
        415: {"description": f"The body must be `{tus.CONTENT}`."},
        423: {"description": "Another request is sending bytes to it."},
        460: {"description": "The checksum does not fit; nothing of this request is kept."},
        507: {"description": "The disk is full; what came is kept."},
    },
    openapi_extra={
        "parameters": [
            tus.VERSION_HEADER,
            tus.header("Upload-Offset", "Where these bytes belong.", required=True),
            tus.LENGTH,
            tus.CHECKSUM,
        ],
        "requestBody": {**tus.BODY, "required": True},
    },
)
async def patch(upload: str, request: Request) -> Response:
    """Bytes from `Upload-Offset` on; any number of them."""
    tus.see_content(request)
    offset = tus.number(request, "upload-offset")
    if offset is None:
        raise BadRequest("The header Upload-Offset is missing.", hint="HEAD tells the offset.")
    length = tus.length_said(request, desk(request).settings.limits.bytes)
    checksum = tus.checksum_said(request)
    await _find(request, upload)
    await _settled(request, upload)
    grown = await _append(request, await _find(request, upload), offset, length, checksum)
    headers = {
        "upload-offset": str(grown.position),
        "upload-expires": formatdate(grown.expires, usegmt=True),
    }
    return Response(status_code=204, headers=headers)


@router.delete(
    "/uploads/{upload}",
    status_code=204,
    summary="Remove an upload",
    responses=tus.SAID,
    openapi_extra={"parameters": [tus.VERSION_HEADER]},
)
async def delete(upload: str, request: Request) -> Response:
    """Also in the middle of it."""
    place = desk(request)
    await _find(request, upload)
    await _settled(request, upload, force=True)
    await place.work(_remove, place, upload, client(request))
    return Response(status_code=204)


@router.post("/uploads/{upload}", include_in_schema=False)
async def override(upload: str, request: Request) -> Response:
    """HEAD, PATCH or DELETE by those who can only say POST."""
    kinds = {"HEAD": head, "PATCH": patch, "DELETE": delete}
    if tus.method(request) == "OPTIONS":
        return await discover(request)
    return await tus.overridden(
        request, {name: partial(kind, upload) for name, kind in kinds.items()}
    )


# ── bytes ────────────────────────────────────────────────────────────────────────────────────


class _Running:
    """A request that is sending bytes, as others see it."""

    def __init__(self) -> None:
        self.heard = time.monotonic()
        """When the last bytes came."""
        self.ended = asyncio.Event()
        self._stopped = False
        self._scope: asyncio.Timeout | None = None

    async def receive(self, request: Request) -> tuple[bytes, bool]:
        """The next bytes of the body, and whether more may come.

        Raises:
            ClientDisconnect: the sender hung up.
            UploadConflict: another request takes over.
            TooSlow: see ``api.body``.
        """
        if self._stopped:
            raise _taken_over()
        try:
            async with asyncio.timeout(None) as self._scope:
                message = await request.receive()
        except TimeoutError:
            raise _taken_over() from None
        finally:
            self._scope = None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self.heard = time.monotonic()
        return message.get("body", b""), message.get("more_body", False)

    def stop(self) -> None:
        """Make it end as if its sender had hung up."""
        self._stopped = True
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())


async def _append(
    request: Request,
    upload: Upload,
    offset: int,
    length: int | None,
    checksum: tuple[str, bytes] | None,
) -> Upload:
    """Write the body to the end of an upload; gives the upload as it stands then.

    Raises:
        HansardError: a refusal. What came before it is kept, unless a checksum came with it.
        ClientDisconnect: the sender hung up; likewise.
    """
    place = desk(request)
    async with upload_slot(request), _held(request, upload.id) as (tail, running):
        if tail.upload.position != offset:
            raise UploadConflict(
                f"The upload stands at {tail.upload.position} bytes, not at {offset}.",
                hint="Ask with HEAD where to go on.",
            )
        if length is not None:
            _see_that_it_fits(place, length - offset)
            await _whole(place.write(tail.set_length, length))
        try:
            await _take(request, tail, running, checksum)
        except (HansardError, ClientDisconnect, asyncio.CancelledError):
            if checksum is not None:
                await _whole(place.work(tail.discard))
            await _count(place, tail)
            raise
        return tail.upload


async def _take(
    request: Request, tail: Tail, running: _Running, checksum: tuple[str, bytes] | None
) -> None:
    """Write the body step by step; with a checksum, in one."""
    place = desk(request)
    end = place.settings.limits.bytes if tail.upload.length is None else tail.upload.length
    room = end - tail.upload.position
    if int(request.headers.get("content-length") or 0) > room:
        raise _too_much(room)
    digest = None if checksum is None else hashlib.new(checksum[0], usedforsecurity=False)
    counted = time.monotonic()
    buffer = bytearray()
    more = True
    while more:
        try:
            chunk, more = await running.receive(request)
        except (HansardError, ClientDisconnect):
            if digest is None:
                await _whole(place.work(tail.write, buffer))
            raise
        buffer += chunk
        room -= len(chunk)
        if room < 0:
            raise _too_much(room + len(buffer))
        if len(buffer) >= _BUFFER or not more:
            await _whole(place.work(_write, tail, buffer, digest))
            buffer = bytearray()
        late = time.monotonic() - counted >= STEP_SECONDS
        if digest is None and (tail.pending >= STEP or (late and tail.pending)):
            await _count(place, tail)
            counted = time.monotonic()
            _see_that_it_fits(place, 0)
    if checksum is not None and digest is not None and digest.digest() != checksum[1]:
        raise ChecksumMismatch(
            f"The {checksum[0]} of the {tail.pending} bytes that came is another.",
            hint="Nothing of them is kept: send them again.",
        )
    await _count(place, tail)


def _write(tail: Tail, piece: bytearray, digest: Any) -> None:
    if digest is not None:
        digest.update(piece)
    tail.write(piece)


async def _count(place: Desk, tail: Tail) -> None:
    """Bring what was written to the disk, then count it."""
    if tail.pending:
        await _whole(place.work(tail.sync))
    await _whole(place.write(tail.commit, place.settings.serve.upload_expiry))


@asynccontextmanager
async def _held(request: Request, upload: str) -> AsyncIterator[tuple[Tail, _Running]]:
    """The end of an upload for this request alone, and what others see of it meanwhile."""
    place = desk(request)
    running = _Running()
    with ExitStack() as stack:
        house = place.house
        lock = uploads.hold(house.database, house.files.root, upload, client(request))
        tail = await _whole(place.work(stack.enter_context, lock))
        running_now = _all_running(request)
        running_now[upload] = running
        try:
            yield tail, running
        finally:
            del running_now[upload]
            running.ended.set()


async def _whole(work: Awaitable[T]) -> T:
    """Wait for a thread to the end, also when we are cancelled: it is using the file."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _settled(request: Request, upload: str, *, force: bool = False) -> None:
    """Let a request that is sending bytes to the same upload end, if it is about to.

    One that is not stays undisturbed: it will be found in the way. ``force`` ends any.
    """
    running = _all_running(request).get(upload)
    if running is None:
        return
    limit = time.monotonic() + PATIENCE
    while not running.ended.is_set():
        now = time.monotonic()
        if force or now - running.heard >= PATIENCE:
            running.stop()
            await running.ended.wait()
        elif now >= limit:
            return
        else:
            try:
                async with asyncio.timeout(PATIENCE / 10):
                    await running.ended.wait()
            except TimeoutError:
                continue


def _all_running(connection: HTTPConnection) -> dict[str, _Running]:
    """Requests of this application that are sending bytes, by upload."""
    state = connection.app.state
    if not hasattr(state, "uploads_running"):
        state.uploads_running = {}
    found: dict[str, _Running] = state.uploads_running
    return found


def _see_that_it_fits(place: Desk, length: int) -> None:
    free = place.house.files.free_bytes() - place.settings.limits.disk_reserve
    if length > free or free < 0:
        raise DiskFull(
            f"There is no room for {length} bytes on the disk of the service.",
            hint="Try again later; its operator can free some space.",
        )


def _taken_over() -> UploadConflict:
    return UploadConflict(
        "Another request took the upload over.", hint="Ask with HEAD where to go on."
    )


def _too_much(room: int) -> TooLarge:
    return TooLarge(
        f"More bytes came than the {room} that are left of the upload.",
        hint="Ask with HEAD how long it is and where it stands.",
    )


async def _find(request: Request, upload: str) -> Upload:
    place = desk(request)
    return await place.read(
        uploads.find, place.reader, place.house.files.root, upload, client(request)
    )


def _remove(place: Desk, upload: str, asker: Any) -> None:
    uploads.remove(place.house.database, place.house.files.root, upload, asker)
