"""Uploads that come in pieces: bytes on disk, and how many of them are known to be there.

uploads/<id>/<name>   what has come so far

A row's ``position`` never says more than the disk holds: bytes are written at the offset, brought
to the disk, and only then counted. What lies beyond it is of somebody who was cut off; the next
writer cuts it away. One writer at a time holds the kernel's lock on the file, which is gone when
its process is, however that ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from hansard.errors import EmptyFile, TooManyUploads, UnknownUpload, UploadBusy, UploadConflict
from hansard.model import Client, Value
from hansard.store.database import Database
from hansard.store.files import Draft, Files, file_name, room
from hansard.store.tables import uploads

_log = logging.getLogger("hansard.store")

MOST_OPEN = 1000
"""Uploads of one tenant that may exist at a time."""

_STRAY_AGE = 3600.0
"""Seconds. A directory gets its row milliseconds after it is made: one without a row that is older
was left by a process that died between the two."""

_PIECE = 1024 * 1024
"""Bytes read at a time while hashing."""


class Upload(Value, frozen=True):
    """A row of the table. ``position`` bytes have come; times are seconds since the epoch."""

    id: str
    tenant: str
    name: str
    length: int | None
    """Bytes in all; ``None`` until its owner says."""
    position: int
    metadata: str
    """The header Upload-Metadata, as it came."""
    created: float
    expires: float

    @property
    def complete(self) -> bool:
        """Whether all bytes have come."""
        return self.position == self.length


def create(
    database: Database,
    root: Path,
    client: Client,
    *,
    name: str,
    length: int | None,
    metadata: str,
    lasts: float,
) -> Upload:
    """Make room for an upload that will be removed ``lasts`` seconds after its last byte.

    Raises:
        TooManyUploads: the tenant has as many as it may.
        DiskFull, CannotWrite: no room for it.
    """
    now = time.time()
    upload = Upload(
        uuid.uuid4().hex, client.tenant, file_name(name), length, 0, metadata, now, now + lasts
    )
    count = sa.select(sa.func.count()).where(uploads.c.tenant == client.tenant)
    with room(root), database.write() as connection:
        if int(connection.scalar(count) or 0) >= MOST_OPEN:
            raise TooManyUploads(
                f"There are {MOST_OPEN} uploads already.",
                hint="Finish some, or remove them with DELETE; they expire by themselves.",
                retry_after=60.0,
            )
        path = _path(root, upload)
        path.parent.mkdir(parents=True)
        path.touch()
        connection.execute(
            uploads.insert().values(
                id=upload.id,
                tenant=upload.tenant,
                name=upload.name,
                length=length,
                position=0,
                metadata=metadata,
                created=now,
                expires=upload.expires,
            )
        )
    return upload


def row_of(database: Database, upload_id: str, client: Client) -> sa.Row[Any]:
    """The row of a client's upload that has not expired, wherever its bytes go.

    Raises:
        UnknownUpload: there is none.
    """
    with database.read() as connection:
        row = connection.execute(
            sa.select(uploads).where(
                uploads.c.id == upload_id,
                uploads.c.tenant == client.tenant,
                uploads.c.expires > time.time(),
            )
        ).one_or_none()
    if row is None:
        raise unknown()
    return row


def find(database: Database, root: Path, upload_id: str, client: Client) -> Upload:
    """The upload with this id, if it is the client's and has not expired.

    Its position is corrected where the disk holds less than was counted (a disk that lied).

    Raises:
        UnknownUpload: there is none.
    """
    row = row_of(database, upload_id, client)
    upload = Upload(
        row.id,
        row.tenant,
        row.name,
        row.length,
        row.position,
        row.metadata,
        row.created,
        row.expires,
    )
    try:
        size = _path(root, upload).stat().st_size
    except FileNotFoundError:
        raise unknown() from None
    return upload if size >= upload.position else _at(upload, size)


@contextmanager
def hold(database: Database, root: Path, upload_id: str, client: Client) -> Iterator[Tail]:
    """The end of an upload, for one writer at a time.

    Raises:
        UnknownUpload: there is no such upload.
        UploadBusy: somebody writes to it.
        DiskFull, CannotWrite: see ``files.room``.
    """
    with _locked(root, find(database, root, upload_id, client)) as file:
        # Again: it may have grown before the lock was ours.
        upload = find(database, root, upload_id, client)
        with room(root):
            file.truncate(upload.position)
            file.seek(upload.position)
        yield Tail(database, root, upload, file)


class Tail:
    """Where an upload grows. Written bytes count once :meth:`sync` and :meth:`commit` are done."""

    def __init__(self, database: Database, root: Path, upload: Upload, file: BinaryIO) -> None:
        self.upload = upload
        """As it was last committed."""
        self._database = database
        self._root = root
        self._file = file
        self._written = upload.position

    @property
    def pending(self) -> int:
        """Bytes written that do not count yet."""
        return self._written - self.upload.position

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add bytes.

        Raises:
            DiskFull: no room; what was written before is kept.
        """
        left = memoryview(chunk)
        with room(self._root):
            while left:
                count = self._file.write(left)
                self._written += count
                left = left[count:]

    def sync(self) -> None:
        """Bring what was written to the disk."""
        with room(self._root):
            os.fsync(self._file.fileno())

    def commit(self, lasts: float) -> None:
        """Count what was brought to the disk, and let the upload live ``lasts`` seconds more.

        Raises:
            UnknownUpload: it was removed meanwhile.
        """
        self._update(self._written, self.upload.length, time.time() + lasts)

    def set_length(self, length: int) -> None:
        """Say how many bytes it will be.

        Raises:
            UploadConflict: that was said already, otherwise; or more have come.
        """
        upload = self.upload
        if upload.length not in (None, length) or length < upload.position:
            raise UploadConflict(
                "The length of this upload is known already, or more bytes have come.",
                hint="HEAD tells its length and its offset.",
            )
        self._update(upload.position, length, upload.expires)

    def discard(self) -> None:
        """Forget what does not count yet."""
        with room(self._root):
            self._file.truncate(self.upload.position)
            self._file.seek(self.upload.position)
        self._written = self.upload.position

    def _update(self, position: int, length: int | None, expires: float) -> None:
        change = (
            uploads.update()
            .where(uploads.c.id == self.upload.id)
            .values(position=position, length=length, expires=expires)
        )
        with self._database.write() as connection:
            if connection.execute(change).rowcount == 0:
                raise unknown()
        self.upload = _at(self.upload, position, length, expires)


def remove(database: Database, root: Path, upload_id: str, client: Client) -> None:
    """Remove an upload, whatever has come of it.

    Raises:
        UnknownUpload: there is no such upload.
    """
    gone = uploads.delete().where(uploads.c.id == upload_id, uploads.c.tenant == client.tenant)
    with database.write() as connection:
        if connection.execute(gone).rowcount == 0:
            raise unknown()
    _forget_files(root, upload_id)


@contextmanager
def draft(database: Database, files: Files, upload_id: str, client: Client) -> Iterator[Draft]:
    """A complete upload as a recording to be: hashed here, not copied.

    The upload is gone when the block ends well, and stays as it is when the block raises: a
    refusal (a full queue, an unknown model) does not cost the bytes.

    Raises:
        UnknownUpload: there is no such upload.
        UploadConflict: bytes are still missing.
        UploadBusy: somebody writes to it, or makes a recording of it.
        EmptyFile: it has no bytes.
    """
    root = files.root
    with _locked(root, find(database, root, upload_id, client)) as file:
        upload = find(database, root, upload_id, client)
        if not upload.complete:
            whole = "an unknown number of" if upload.length is None else f"{upload.length}"
            raise UploadConflict(
                f"Only {upload.position} of {whole} bytes of this upload have come.",
                hint="Send the rest with PATCH; HEAD tells where to go on.",
            )
        if not upload.length:
            raise EmptyFile(
                f"{upload.name} has no bytes.", hint="Was it copied or recorded to the end?"
            )
        digest = hashlib.sha256()
        file.truncate(upload.length)
        while piece := file.read(_PIECE):
            digest.update(piece)
        path = _path(root, upload)
        yield Draft(path, digest.hexdigest(), upload.length, files, _DONE, stays=True)
        remove(database, root, upload_id, client)


def expire(database: Database, root: Path, now: float) -> list[str]:
    """Remove the uploads whose time is over, and files that no row names; each is logged.

    One that somebody is writing to lives on: its next bytes give it more time.

    Returns:
        Ids of the uploads that were removed.
    """
    gone = []
    with database.read() as connection:
        due = connection.execute(
            sa.select(uploads.c.id, uploads.c.name, uploads.c.position).where(
                uploads.c.expires <= now
            )
        ).all()
    for row in due:
        try:
            with _locked_path(root / "uploads" / row.id / row.name), database.write() as connection:
                again = uploads.delete().where(uploads.c.id == row.id, uploads.c.expires <= now)
                if connection.execute(again).rowcount == 0:
                    continue
        except UploadBusy:
            continue
        except UnknownUpload:  # a row without its file
            with database.write() as connection:
                connection.execute(uploads.delete().where(uploads.c.id == row.id))
        _log.info("removing upload %s, %d bytes: it has expired", row.id, row.position)
        _forget_files(root, row.id)
        gone.append(row.id)
    _forget_strays(database, root, now)
    return gone


def _forget_strays(database: Database, root: Path, now: float) -> None:
    """Remove directories whose upload never got its row, or lost it to a process that died."""
    shelf = root / "uploads"
    if not shelf.exists():
        return
    with database.read() as connection:
        known = set(connection.scalars(sa.select(uploads.c.id)))
    for folder in list(shelf.iterdir()):
        if folder.name not in known and folder.stat().st_mtime < now - _STRAY_AGE:
            _log.info("removing what was left of upload %s", folder.name)
            shutil.rmtree(folder, ignore_errors=True)


def _path(root: Path, upload: Upload) -> Path:
    return root / "uploads" / upload.id / upload.name


def _forget_files(root: Path, upload_id: str) -> None:
    shutil.rmtree(root / "uploads" / upload_id, ignore_errors=True)


@contextmanager
def _locked(root: Path, upload: Upload) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        with room(root):
            file = stack.enter_context(_locked_path(_path(root, upload)))
        yield file


@contextmanager
def _locked_path(path: Path) -> Iterator[BinaryIO]:
    """The file, ours alone for as long as it is open."""
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        raise unknown() from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadBusy(
                "Somebody is sending bytes to this upload, or makes a recording of it.",
                hint="One at a time: wait for the other request to end.",
                retry_after=1.0,
            ) from None
        yield file


def _at(
    upload: Upload, position: int, length: int | None = None, expires: float | None = None
) -> Upload:
    return Upload(
        upload.id,
        upload.tenant,
        upload.name,
        upload.length if length is None else length,
        position,
        upload.metadata,
        upload.created,
        upload.expires if expires is None else expires,
    )


def unknown() -> UnknownUpload:
    """What is said of an upload that is not there, or is another's."""
    return UnknownUpload(
        "There is no such upload.", hint="It may have expired, or be a transcription by now."
    )


_DONE: Future[None] = Future()
_DONE.set_result(None)
"""The bytes of a complete upload are on the disk already."""
