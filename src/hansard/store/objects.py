"""Files in object storage, which many machines share. Scratch stays on the disk of each.

recordings/ab/abcdef…        the bytes as they came in, named by their SHA-256
pcm/<key>/<channel>/000007   prepared audio in chunks of a fixed size; never any other bytes
pcm/<key>/<channel>/000007.part
                             the beginning of a chunk that is still being written; it only grows
pcm/<key>/whole              says that all chunks are there, the last of them maybe a short one
uploads/<id>                 what a client puts there himself; see store.direct
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from hansard.errors import DiskFull, FilesGone
from hansard.model import Value
from hansard.shared import S3Settings
from hansard.store import lifecycle
from hansard.store.bucket import Bucket, hashed
from hansard.store.files import BYTES, Draft, Files, media_gone, pcm_gone, room

_log = logging.getLogger("hansard.store")

CHUNK = 2 * 2**20
"""Bytes of a chunk of prepared audio: a little more than a minute of one channel."""

_CACHED = 32 * 2**20
"""Bytes of chunks that are remembered: a window is read in many pieces, all of one chunk or two."""

_PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each look at a chunk that is shorter than it should be: a writer whose lease is
over may have put a shorter beginning over a longer one, which the next flush puts right."""

_ABANDONED = lifecycle.PARTS_DAYS * 86_400.0
"""Seconds after which what a client or a process of ours has begun to put up is given up."""


UPLOADS = "uploads/"
"""Where clients put what they send to the storage themselves; see ``store.direct``."""

_FRESH = 10.0
"""Seconds that a bucket which answered is believed to answer."""


class _Whole(Value, frozen=True):
    """What the object ``whole`` says."""

    samples: int
    channels: int


class Objects(Files):
    """Recordings and prepared audio in a bucket."""

    # The storage says of an upload in parts when it was begun, not when it was completed.
    orphan_age = 86_400.0
    listing_pause = 60.0
    prepared_here = False
    recordings_here = False

    def __init__(
        self, root: Path, worker: str, address: str, settings: S3Settings, *, chunk: int = CHUNK
    ) -> None:
        """``address`` is like ``s3://bucket/prefix``. Nothing is asked yet.

        Raises:
            BadSettings: the address is none.
        """
        super().__init__(root, worker)
        self.bucket = Bucket(address, settings)
        self._chunk = chunk
        self._chunks = _Chunks(_CACHED)
        self._look_again = 0.0

    # ── recordings ───────────────────────────────────────────────────────────────────────────

    def keep(self, draft: Draft) -> None:
        """Put it up, unless it is there; the draft stays its holder's."""
        key = _recording(draft.sha256)
        if self.bucket.find(key) is None:
            self.bucket.put_file(key, draft.path, {"sha256": draft.sha256})

    def has_recording(self, sha256: str) -> bool:
        """Whether there is such an object."""
        return self.bucket.find(_recording(sha256)) is not None

    def recording_size(self, sha256: str) -> int | None:
        """Bytes of the object; gives up soon."""
        found = self.bucket.find(_recording(sha256), hasty=True)
        return None if found is None else found.size

    @contextmanager
    def open_recording(self, sha256: str) -> Iterator[Path]:
        """Fetched into scratch, and compared with its hash; gone afterwards."""
        found = self.bucket.find(_recording(sha256))
        if found is None:
            raise media_gone()
        with self.folder() as folder:
            path = folder / sha256
            self._fetch(sha256, found.size, path)
            yield path

    def _fetch(self, sha256: str, size: int, path: Path) -> None:
        if size > shutil.disk_usage(path.parent).free:
            raise DiskFull(
                f"A recording of {size / 1e6:,.0f} MB has no room on the disk of {self.root}.",
                hint="Free some space, or choose another directory with --data.",
            )
        with room(self.root):
            try:
                self.bucket.fetch(_recording(sha256), size, path)
            except FileNotFoundError:
                raise media_gone() from None
            if hashed(path) != sha256:
                raise FilesGone(
                    f"The object storage gave other bytes than those of recording {sha256[:16]}…",
                    hint="It is tried again. If that does not help, send the recording again.",
                )

    def read_recording(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """One request for the range; where it is cut, another for the rest."""
        try:
            yield from self.bucket.stream(_recording(sha256), start, end)
        except FileNotFoundError:
            raise media_gone() from None

    def recordings(self) -> Iterator[tuple[str, float]]:
        """From a listing, and since when the storage says that it has them."""
        for entry in self.bucket.entries("recordings/"):
            yield entry.key.rsplit("/", 1)[1], entry.since

    def forget_recording(self, sha256: str) -> None:
        """Remove the object; gives up soon."""
        self.bucket.remove(_recording(sha256))

    def address_of(self, sha256: str, *, name: str, media_type: str) -> str | None:
        """A presigned address, where ``s3.direct`` allows it."""
        settings = self.bucket.settings
        if not settings.direct:
            return None
        return self.bucket.presigned(
            "get_object",
            _recording(sha256),
            settings.direct_seconds,
            # What a stranger uploaded is saved, never shown as a page of the storage's.
            ResponseContentDisposition=f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            ResponseContentType=media_type,
        )

    # ── prepared audio ───────────────────────────────────────────────────────────────────────

    @contextmanager
    def write_pcm(self, key: str, channels: int) -> Iterator[_Rows]:
        """Chunks go up as they fill; a half-full one when it is flushed, if it has grown."""
        below = f"pcm/{key}/"
        there = {entry.key: entry.size for entry in self.bucket.entries(below)}
        rows = _Rows(self.bucket, below, channels, self._chunk, there)
        try:
            yield rows
            rows.end()
        finally:
            rows.close()
        self._chunks.forget(key)
        kept = rows.kept()
        self.bucket.remove_all(
            entry.key for entry in self.bucket.entries(below) if entry.key not in kept
        )
        whole = msgspec.json.encode(_Whole(rows.samples, channels))
        self.bucket.put(f"{below}whole", whole)

    def read_pcm(self, key: str, channel: int, start: int, length: int) -> NDArray[np.int16]:
        """From one chunk, or a few; each is asked for once, as long as it is remembered."""
        at, end = start * BYTES, (start + length) * BYTES
        out = bytearray()
        while at < end:
            number, first = divmod(at, self._chunk)
            last = min(self._chunk, first + end - at)
            chunk = self._read_chunk(key, channel, number, last)
            if chunk is None:
                raise pcm_gone(key, start, length)
            out += chunk[first:last]
            at += last - first
        return np.frombuffer(out, dtype="<i2")

    def _read_chunk(self, key: str, channel: int, number: int, size: int) -> memoryview | None:
        """A chunk of at least ``size`` bytes."""
        name = (key, channel, number)
        found = self._chunks.get(name)
        if found is not None and len(found) >= size:
            return memoryview(found)
        place = f"pcm/{key}/{channel}/{number:06d}"
        for pause in _PAUSES:
            time.sleep(pause)
            # It is whole from one moment to the next, and its beginning is gone a little later.
            longest = 0
            for object_ in (place, f"{place}.part", place):
                found = self._get(object_)
                longest = max(longest, len(found))
                if longest >= size:
                    self._chunks.put(name, found)
                    return memoryview(found)
            if not longest or self._whole(key) is not None:
                break
        return None

    def _get(self, key: str) -> bytes:
        try:
            return self.bucket.get(key, 0, self._chunk)
        except FileNotFoundError:
            return b""

    def has_pcm(self, key: str, channels: int) -> bool:
        """Whether ``whole`` is there."""
        whole = self._whole(key)
        return whole is not None and whole.channels == channels

    def _whole(self, key: str) -> _Whole | None:
        try:
            return msgspec.json.decode(self.bucket.get(f"pcm/{key}/whole", 0, 1024), type=_Whole)
        except FileNotFoundError:
            return None

    def pcm_keys(self) -> set[str]:
        """From a listing of what look like folders."""
        return set(self.bucket.folders("pcm/"))

    def drop_pcm(self, key: str) -> None:
        """Remove the objects of a key: ``whole`` first, so that nobody takes the rest for it."""
        self._chunks.forget(key)
        below = f"pcm/{key}/"
        found = [entry.key for entry in self.bucket.entries(below)]
        self.bucket.remove_all(sorted(found, key=lambda name: name != f"{below}whole"))

    # ── upkeep ───────────────────────────────────────────────────────────────────────────────

    def tend(self, now: float) -> None:
        """See that the bucket forgets what was given up, and give up what nobody goes on with."""
        lifecycle.see_to(self.bucket)
        for key, upload in self.bucket.abandoned(now - _ABANDONED):
            _log.info("giving up the upload of %s, which was not completed", key)
            try:
                self.bucket.abort(key, upload)
            except FileNotFoundError:
                continue
        left = [one.key for one in self.bucket.entries(UPLOADS) if one.since < now - _ABANDONED]
        if left:
            _log.info("removing %d uploads that nobody made a recording of", len(left))
            self.bucket.remove_all(left)

    def see_that_they_answer(self) -> str:
        """Whether the bucket answers; asked again after some seconds, since it costs."""
        if time.monotonic() >= self._look_again:
            self.bucket.see_that_it_answers()
            self._look_again = time.monotonic() + _FRESH
        return f"The bucket {self.bucket.name} answers."

    def close(self) -> None:
        """Let go of connections, and of what is under way here."""
        self.bucket.close()
        super().close()


def _recording(sha256: str) -> str:
    return f"recordings/{sha256[:2]}/{sha256}"


class _Rows:
    """Gathers the samples of each channel into chunks, and puts them up in other threads."""

    def __init__(
        self, bucket: Bucket, below: str, channels: int, chunk: int, there: dict[str, int]
    ) -> None:
        """``there``: bytes of what an earlier run has put up, by key."""
        self.samples = 0
        self._bucket = bucket
        self._below = below
        self._chunk = chunk
        self._there = there
        self._rows = [bytearray() for _ in range(channels)]
        self._numbers = [0] * channels
        self._under_way: list[Future[None]] = []

    def write(self, block: NDArray[np.int16]) -> None:
        """Add a block; it can be read once it is flushed, or its chunk is full."""
        for channel, row in enumerate(block):
            gathered = self._rows[channel]
            gathered += np.ascontiguousarray(row, dtype="<i2").data
            while len(gathered) >= self._chunk:
                self._put(self._key(channel), bytes(gathered[: self._chunk]))
                del gathered[: self._chunk]
                self._numbers[channel] += 1
        self.samples += block.shape[1]

    def flush(self) -> None:
        """Put up what has come since; a beginning is never replaced by a shorter one."""
        for channel, gathered in enumerate(self._rows):
            key = self._key(channel)
            longest = max(self._there.get(key, 0), self._there.get(f"{key}.part", 0))
            if len(gathered) > longest:
                self._put(f"{key}.part", bytes(gathered))
        self._settle(0)

    def end(self) -> None:
        """The last chunks are as long as they are."""
        for channel, gathered in enumerate(self._rows):
            if gathered:
                self._put(self._key(channel), bytes(gathered))
                self._numbers[channel] += 1
        self._settle(0)

    def kept(self) -> set[str]:
        """The keys of all chunks there are, once they are whole."""
        return {
            f"{self._below}{channel}/{number:06d}"
            for channel, count in enumerate(self._numbers)
            for number in range(count)
        }

    def close(self) -> None:
        """Wait for what is under way, however it ends: nothing of ours comes afterwards."""
        under_way, self._under_way = self._under_way, []
        for one in under_way:
            one.cancel()
        for one in under_way:
            if not one.cancelled() and (error := one.exception()) is not None:
                _log.debug("what was under way failed too: %s", error)

    def _key(self, channel: int) -> str:
        return f"{self._below}{channel}/{self._numbers[channel]:06d}"

    def _put(self, key: str, content: bytes) -> None:
        self._settle(self._bucket.settings.at_once - 1)
        self._there[key] = len(content)
        self._under_way.append(self._bucket.submit(lambda: self._bucket.put(key, content)))

    def _settle(self, most: int) -> None:
        """Wait until so many are under way at most."""
        while len(self._under_way) > most:
            self._under_way.pop(0).result()


class _Chunks:
    """The chunks that were read last, as many as fit into so many bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._found: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: tuple[Any, ...]) -> bytes | None:
        with self._lock:
            if name not in self._found:
                return None
            self._found.move_to_end(name)
            return self._found[name]

    def put(self, name: tuple[Any, ...], chunk: bytes) -> None:
        with self._lock:
            self._remove(name)
            self._found[name] = chunk
            self._size += len(chunk)
            while self._size > self._most:
                self._remove(next(iter(self._found)))

    def forget(self, key: str) -> None:
        """Those of one key."""
        with self._lock:
            for name in [name for name in self._found if name[0] == key]:
                self._remove(name)

    def _remove(self, name: tuple[Any, ...]) -> None:
        self._size -= len(self._found.pop(name, b""))
