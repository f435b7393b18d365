"""Uploads that go to the object storage itself: addresses out, an object in, no byte through us.

A row like those of other uploads says whose it is and how long it will be; the bytes are below
``uploads/`` in the bucket, in one piece or in the parts of an upload that is completed when they
are asked for. What nobody asks for is removed by its age, see ``Objects.tend``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import msgspec
import sqlalchemy as sa

from hansard.errors import (
    ChecksumMismatch,
    NotSupported,
    TooManyUploads,
    UploadConflict,
)
from hansard.model import Client, Value
from hansard.store.bucket import hashed
from hansard.store.database import Database
from hansard.store.files import Draft, Files, file_name, room
from hansard.store.objects import UPLOADS, Objects
from hansard.store.tables import uploads
from hansard.store.uploads import MOST_OPEN, row_of, unknown

_MARK = "direct"
"""What these ids begin with, and no other does: those are hexadecimal."""

LASTS = 86_400.0
"""Seconds after which an upload that nobody made a recording of is forgotten."""

_ONE_PIECE = 64 * 2**20
"""Bytes up to which an upload has one address …"""
_MOST_PARTS = 1000
"""… and more at most."""


class Place(Value, frozen=True):
    """An address that takes bytes ``[start, end)`` of the file with PUT."""

    url: str
    start: int
    end: int


class Direct(Value, frozen=True):
    """An upload and its addresses; ``expires`` says until when they are good."""

    id: str
    expires: float
    parts: tuple[Place, ...]


class _Asked(Value, frozen=True):
    """What is remembered in the row."""

    upload: str | None
    """Its id in the storage, where it has parts."""
    count: int
    sha256: str | None


class _Found(Value, frozen=True):
    id: str
    name: str
    size: int
    asked: _Asked


def is_direct(upload_id: str) -> bool:
    """Whether an upload went to the storage itself, by its id."""
    return upload_id.startswith(_MARK)


def storage(files: Files) -> Objects:
    """The files, where clients can send them to themselves.

    Raises:
        NotSupported: they are on the disk of this machine.
    """
    if not isinstance(files, Objects):
        raise NotSupported(
            "This service keeps files on its own disk: there is nowhere else to send them.",
            hint="Send them to it: POST /api/v1/transcriptions, or /api/v1/uploads.",
        )
    return files


def begin(
    database: Database, files: Files, client: Client, *, name: str, size: int, sha256: str | None
) -> Direct:
    """Addresses for a file of ``size`` bytes.

    Raises:
        NotSupported: see :func:`storage`.
        TooManyUploads: the tenant has as many as it may.
    """
    bucket = storage(files).bucket
    now = time.time()
    upload_id = _MARK + secrets.token_hex(13)
    key = UPLOADS + upload_id
    part = max(_ONE_PIECE, bucket.settings.part, -(-size // _MOST_PARTS))
    count = -(-size // part)
    many = sa.select(sa.func.count()).where(uploads.c.tenant == client.tenant)
    with database.read() as connection:
        if int(connection.scalar(many) or 0) >= MOST_OPEN:
            raise TooManyUploads(
                f"There are {MOST_OPEN} uploads already.",
                hint="Finish some; they expire by themselves.",
                retry_after=60.0,
            )
    upload = bucket.begin(key) if count > 1 else None
    seconds = min(bucket.settings.direct_seconds, LASTS)
    places = []
    for number, start in enumerate(range(0, size, part), 1):
        end = min(start + part, size)
        more = {"ContentLength": end - start}
        if upload is None:
            url = bucket.presigned("put_object", key, seconds, **more)
        else:
            more |= {"PartNumber": number}
            url = bucket.presigned("upload_part", key, seconds, UploadId=upload, **more)
        places.append(Place(url, start, end))
    with database.write() as connection:
        connection.execute(
            uploads.insert().values(
                id=upload_id,
                tenant=client.tenant,
                name=file_name(name),
                length=size,
                position=0,
                metadata=msgspec.json.encode(_Asked(upload, count, sha256)).decode(),
                created=now,
                expires=now + LASTS,
            )
        )
    return Direct(upload_id, now + seconds, tuple(places))


def name_of(database: Database, upload_id: str, client: Client) -> str:
    """What the file is called.

    Raises:
        UnknownUpload: the client has no such upload.
    """
    return _find(database, upload_id, client).name


@contextmanager
def draft(database: Database, files: Files, upload_id: str, client: Client) -> Iterator[Draft]:
    """What has come, fetched into scratch and hashed, as a recording to be.

    The upload is gone when the block ends well, and stays as it is when the block raises.

    Raises:
        UnknownUpload: the client has no such upload.
        UploadConflict: bytes are missing, or there are too many.
        ChecksumMismatch: they are not those that were announced.
        DiskFull: no room to look at it.
    """
    bucket = storage(files).bucket
    found = _find(database, upload_id, client)
    key = UPLOADS + upload_id
    _complete(files, found)
    entry = bucket.find(key)
    if entry is None or entry.size != found.size:
        came = 0 if entry is None else entry.size
        raise UploadConflict(
            f"{came} bytes have come of this upload, not {found.size}.",
            hint="PUT all of them to the addresses that were given, then ask again.",
        )
    done: Future[None] = Future()
    done.set_result(None)
    with files.folder() as folder:
        path = folder / found.name
        with room(files.root):
            bucket.fetch(key, entry.size, path)
            sha256 = hashed(path)
        if found.asked.sha256 not in {None, sha256}:
            raise ChecksumMismatch(
                "The SHA-256 of what came is not the one that was announced.",
                hint="Begin another upload and send the file again.",
            )
        yield Draft(path, sha256, entry.size, files, done)
    _forget(database, files, found)


def remove(database: Database, files: Files, upload_id: str, client: Client) -> None:
    """Remove an upload, whatever has come of it.

    Raises:
        UnknownUpload: the client has no such upload.
    """
    _forget(database, files, _find(database, upload_id, client))


def _find(database: Database, upload_id: str, client: Client) -> _Found:
    if not is_direct(upload_id):
        raise unknown()
    row = row_of(database, upload_id, client)
    return _Found(row.id, row.name, row.length, msgspec.json.decode(row.metadata, type=_Asked))


def _complete(files: Files, found: _Found) -> None:
    """Make one object of the parts that have come; again is harmless."""
    bucket, key = storage(files).bucket, UPLOADS + found.id
    if found.asked.upload is None:
        return
    with suppress(FileNotFoundError):  # it was completed before
        tags = bucket.tags(key, found.asked.upload)
        if len(tags) < found.asked.count:
            raise UploadConflict(
                f"{len(tags)} of the {found.asked.count} parts of this upload have come so far.",
                hint="PUT the others to the addresses that were given, then ask again.",
            )
        bucket.complete(key, found.asked.upload, tags)


def _forget(database: Database, files: Files, found: _Found) -> None:
    bucket, key = storage(files).bucket, UPLOADS + found.id
    with database.write() as connection:
        connection.execute(uploads.delete().where(uploads.c.id == found.id))
    bucket.remove(key)
    if found.asked.upload is not None:
        with suppress(FileNotFoundError):
            bucket.abort(key, found.asked.upload)
