"""One bucket, below one prefix: objects put, got, listed and removed, in threads.

Nothing of an object is seen before all of it has come: a large one goes up in parts, which are made
one at the end. What comes down goes on where it was cut. Memory does not grow with sizes.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from hansard.chance import CHANCE
from hansard.errors import BadSettings, FilesGone, HansardError
from hansard.model import Value
from hansard.shared import S3Settings
from hansard.store.s3 import Clients, cuts, encrypted, explained, parsed

T = TypeVar("T")

_PIECE = 256 * 1024
"""Bytes in memory of one answer."""
_MOST_PARTS = 10_000
"""Parts that an upload may have; the protocol's."""
_MOST_REMOVED = 1000
"""Objects removed by one request; likewise."""
_LONGEST_PAUSE = 8.0
"""Seconds between two tries to go on with an answer."""


class Entry(Value, frozen=True):
    """An object: its key below the prefix, its bytes, and since when it is there (epoch)."""

    key: str
    size: int
    since: float


class Bucket:
    """Objects of one place. Safe for any number of threads."""

    def __init__(self, address: str, settings: S3Settings) -> None:
        """``address`` is like ``s3://bucket/prefix``. Nothing is asked yet.

        Raises:
            BadSettings: the address is none.
        """
        self.name, self.prefix = parsed(address)
        self.settings = settings
        self._clients = Clients(settings)
        self._pool: ThreadPoolExecutor | None = None
        self._making = threading.Lock()

    @contextmanager
    def client(self, *, hasty: bool = False) -> Iterator[Any]:
        """The client, for one request; what goes wrong with it comes out in Hansard's words.

        Raises:
            FileNotFoundError: what was asked for is not there.
            HansardError: see ``s3.explained``.
        """
        client = self._clients.get(hasty=hasty)
        with explained(self.name):
            yield client

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    def find(self, key: str, *, hasty: bool = False) -> Entry | None:
        """An object, if it is there."""
        try:
            with self.client(hasty=hasty) as client:
                said = client.head_object(**self._at(key))
        except FileNotFoundError:
            return None
        return Entry(key, int(said["ContentLength"]), said["LastModified"].timestamp())

    def entries(self, below: str) -> Iterator[Entry]:
        """All objects whose key begins so; a thousand with each request."""
        for page in self._pages(below):
            for one in page.get("Contents", ()):
                yield Entry(
                    one["Key"].removeprefix(self.prefix),
                    int(one["Size"]),
                    one["LastModified"].timestamp(),
                )

    def folders(self, below: str) -> Iterator[str]:
        """What stands between ``below``, which ends with a slash, and the next slash."""
        for page in self._pages(below, Delimiter="/"):
            for one in page.get("CommonPrefixes", ()):
                yield one["Prefix"].removeprefix(self.prefix + below).rstrip("/")

    @contextmanager
    def _listing(self) -> Iterator[Any]:
        """The client; what is not there, where something is listed, is the bucket."""
        try:
            with self.client() as client:
                yield client
        except FileNotFoundError as error:
            raise BadSettings(
                f"There is no bucket {self.name}: {error}", hint="See the setting `files`."
            ) from error

    def _pages(self, below: str, **more: str) -> Iterator[dict[str, Any]]:
        asked = {"Bucket": self.name, "Prefix": self.prefix + below, **more}
        while True:
            with self._listing() as client:
                page = client.list_objects_v2(**asked)
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def see_that_it_answers(self) -> None:
        """Whether there is such a bucket and we may use it; gives up soon.

        Raises:
            HansardError: there is not, we may not, or nobody answers.
        """
        try:
            with self.client(hasty=True) as client:
                client.list_objects_v2(Bucket=self.name, Prefix=self.prefix, MaxKeys=1)
        except FileNotFoundError as error:
            raise FilesGone("The object storage does not know its own bucket.") from error

    # ── getting ──────────────────────────────────────────────────────────────────────────────

    def stream(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes ``[start, end)``, or as many of them as there are, as they come.

        Raises:
            FileNotFoundError: there is no such object.
            FilesGone: it was cut again and again.
        """
        at, failed = start, 0
        while at < end:
            try:
                for piece in self._opened(key, at, end):
                    at, failed = at + len(piece), 0
                    yield piece
            except cuts() as error:
                failed += 1
                if failed >= self.settings.attempts:
                    raise FilesGone(
                        f"The object storage cut its answer {failed} times: {error}",
                        hint="It is tried again.",
                    ) from error
                time.sleep(CHANCE.uniform(0, min(_LONGEST_PAUSE, 0.1 * 2**failed)))
            else:
                return

    def _opened(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """One answer; it ends where it is cut with one of ``s3.cuts``."""
        try:
            with self.client() as client:
                said = client.get_object(**self._at(key), Range=f"bytes={start}-{end - 1}")
        except HansardError as error:
            cause = error.__cause__
            if getattr(cause, "response", {}).get("Error", {}).get("Code") == "InvalidRange":
                return  # it has no more bytes
            raise
        body = said["Body"]
        try:
            while piece := body.read(_PIECE):
                yield piece
        finally:
            body.close()

    def get(self, key: str, start: int, end: int) -> bytes:
        """Bytes ``[start, end)``, or as many of them as there are. For what fits into memory."""
        return b"".join(self.stream(key, start, end))

    def fetch(self, key: str, size: int, path: Path) -> None:
        """All of an object of ``size`` bytes into a file, in parts at once.

        Raises:
            FileNotFoundError: there is no such object.
            FilesGone: it cannot be reached, or is shorter.
        """
        with path.open("wb") as out:
            out.truncate(size)
        self.all(
            partial(self._fetch_part, key, path, start, size)
            for start in range(0, size, self.settings.part)
        )

    def _fetch_part(self, key: str, path: Path, start: int, size: int) -> None:
        end = min(start + self.settings.part, size)
        with path.open("r+b") as out:
            out.seek(start)
            for piece in self.stream(key, start, end):
                out.write(piece)
            if out.tell() != end:
                raise FilesGone(
                    f"An object of {size} bytes ended after {out.tell()}.",
                    hint="It is tried again.",
                )

    # ── putting ──────────────────────────────────────────────────────────────────────────────

    def put(self, key: str, content: bytes) -> None:
        """A small object, whole or not at all."""
        with self.client() as client:
            client.put_object(**self._at(key), **encrypted(self.settings), Body=content)

    def put_file(self, key: str, path: Path, metadata: dict[str, str]) -> None:
        """A file as an object, whole or not at all, in parts at once."""
        size = path.stat().st_size
        said = {**self._at(key), **encrypted(self.settings), "Metadata": metadata}
        if size <= self.settings.part:
            with self.client() as client, path.open("rb") as body:
                client.put_object(**said, Body=body)
            return
        length = max(self.settings.part, -(-size // _MOST_PARTS))
        with self.client() as client:
            upload = str(client.create_multipart_upload(**said)["UploadId"])
        try:
            tags = self.all(
                partial(self._put_part, key, upload, path, n, length)
                for n in range(-(-size // length))
            )
            self.complete(key, upload, tags)
        except BaseException as error:
            with suppress(FileNotFoundError, HansardError):
                self.abort(key, upload)
            if isinstance(error, FileNotFoundError):
                raise FilesGone(
                    "An upload to the object storage was ended by somebody else.",
                    hint="It is tried again.",
                ) from error
            raise

    def _put_part(self, key: str, upload: str, path: Path, index: int, length: int) -> str:
        with path.open("rb", buffering=0) as file, self.client() as client:
            said = client.upload_part(
                **self._at(key),
                UploadId=upload,
                PartNumber=index + 1,
                Body=_Slice(file, index * length, length),
            )
        return str(said["ETag"])

    def complete(self, key: str, upload: str, tags: Iterable[str]) -> None:
        """Make one object of the parts of an upload, given their tags in order.

        Raises:
            FileNotFoundError: there is no such upload.
        """
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
        try:
            with self.client() as client:
                client.complete_multipart_upload(
                    **self._at(key), UploadId=upload, MultipartUpload={"Parts": parts}
                )
        except FileNotFoundError:
            if self.find(key) is None:  # else the answer to an earlier try was lost
                raise

    def begin(self, key: str) -> str:
        """The id of an upload in parts that somebody else will send."""
        with self.client() as client:
            said = client.create_multipart_upload(**self._at(key), **encrypted(self.settings))
        return str(said["UploadId"])

    def tags(self, key: str, upload: str) -> list[str]:
        """The tags of the parts that have come of an upload, in order, without a gap.

        Raises:
            FileNotFoundError: there is no such upload.
        """
        found: list[str] = []
        asked = {**self._at(key), "UploadId": upload}
        while True:
            with self.client() as client:
                page = client.list_parts(**asked)
            for part in page.get("Parts", ()):
                if part["PartNumber"] == len(found) + 1:
                    found.append(str(part["ETag"]))
            if not page.get("IsTruncated"):
                return found
            asked["PartNumberMarker"] = page["NextPartNumberMarker"]

    def abort(self, key: str, upload: str) -> None:
        """Forget an upload that was not completed, with its parts."""
        with self.client(hasty=True) as client:
            client.abort_multipart_upload(**self._at(key), UploadId=upload)

    def abandoned(self, before: float) -> Iterator[tuple[str, str]]:
        """Key and id of uploads that were begun before a moment and never completed."""
        limit = datetime.fromtimestamp(before, UTC)
        asked = {"Bucket": self.name, "Prefix": self.prefix}
        while True:
            with self._listing() as client:
                page = client.list_multipart_uploads(**asked)
            for one in page.get("Uploads", ()):
                if one["Initiated"] < limit:
                    yield one["Key"].removeprefix(self.prefix), one["UploadId"]
            if not page.get("IsTruncated"):
                return
            asked["KeyMarker"] = page["NextKeyMarker"]
            asked["UploadIdMarker"] = page["NextUploadIdMarker"]

    # ── removing ─────────────────────────────────────────────────────────────────────────────

    def remove(self, key: str) -> None:
        """Remove an object, if it is there; gives up soon."""
        with self.client(hasty=True) as client:
            client.delete_object(**self._at(key))

    def remove_all(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand with each request.

        Raises:
            FilesGone: some could not be removed.
        """
        left = iter(keys)
        while page := list(islice(left, _MOST_REMOVED)):
            names = [{"Key": self.prefix + key} for key in page]
            with self.client() as client:
                said = client.delete_objects(
                    Bucket=self.name, Delete={"Objects": names, "Quiet": True}
                )
            if errors := said.get("Errors"):
                raise FilesGone(
                    f"{len(errors)} objects could not be removed: {errors[0].get('Message')}",
                    hint="It is tried again.",
                )

    # ── addresses ────────────────────────────────────────────────────────────────────────────

    def presigned(self, does: str, key: str, seconds: float, **more: Any) -> str:
        """An address with which anybody may do one thing with one object, for a while.

        Args:
            does: the client's method, like ``get_object``.
            key: the object.
            seconds: how long the address is good for.
            more: what else is said with the request, and cannot be said otherwise.
        """
        with self.client() as client:
            return str(
                client.generate_presigned_url(
                    does, Params={**self._at(key), **more}, ExpiresIn=max(1, int(seconds))
                )
            )

    # ── at once ──────────────────────────────────────────────────────────────────────────────

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do something in one of the threads that parts go through, ``at_once`` of them."""
        if self._pool is None:
            with self._making:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self.settings.at_once, "hansard-parts")
        try:
            return self._pool.submit(work)
        except RuntimeError as error:  # shut down
            raise FilesGone("The object storage is not used here any more.") from error

    def all(self, works: Iterable[Callable[[], T]]) -> list[T]:
        """Do all of it, ``at_once`` at a time; the first error ends it, once nothing runs any more.

        What is to be done is asked for no earlier than there is room for it.
        """
        left = iter(works)
        done: list[Future[T]] = []
        try:
            for work in left:
                done.append(self.submit(work))
                if len(done) >= self.settings.at_once:
                    done[-self.settings.at_once].result()
            return [one.result() for one in done]
        except BaseException:
            for one in done:
                one.cancel()
            wait(done)
            raise

    def close(self) -> None:
        """Let go of threads and connections, without waiting for what is under way."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._clients.close()

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": self.prefix + key}


def hashed(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Slice(io.RawIOBase):
    """A part of a file, as if it were all of it: what is sent again begins where the part does."""

    def __init__(self, file: io.FileIO, start: int, length: int) -> None:
        super().__init__()
        end = file.seek(0, io.SEEK_END)
        self._file = file
        self._start = start
        self._length = max(0, min(length, end - start))
        self._at = 0

    def __len__(self) -> int:
        return self._length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._length - self._at)
        self._file.seek(self._start + self._at)
        piece = self._file.read(left if size < 0 else min(size, left))
        self._at += len(piece)
        return piece
