"""The store's work, as ``hansard optimise`` measures it: jobs and transcripts, and taking in files.

Both work beside the user's store, on the same disk, in a directory that is gone afterwards.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hansard.config import QueueSettings, Settings
from hansard.errors import OptimiseBusy
from hansard.jobs.queue import Queue
from hansard.model import Job, Segment, Transcript
from hansard.perf import rehearsal
from hansard.perf.optimise import Knob, Output, Space, Values, applied
from hansard.store import transcripts, views
from hansard.store.disk import Disk
from hansard.store.sqlite import Sqlite

_MEETINGS, _SEGMENTS = 120, 250
"""Of the library that is read from: some twenty minutes each, larger than any built-in cache."""
_JOBS, _READS = 24, 6
"""Done in all of the work: jobs from submit to transcript, and transcripts read for each."""
_UPLOAD = 48 * 2**20
_ROOMY = QueueSettings(capacity=10_000_000)
_WORDS = ("budget", "moved", "seconded", "asked", "cost", "chair", "hands", "clerk", "carried")


def workshop(settings: Settings) -> Path:
    """Where parts work: on the disk that the store is on. See :func:`alone`."""
    place = settings.data / "optimise"
    place.mkdir(exist_ok=True)
    return place


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Nobody else measures here meanwhile, and nothing is left of who was killed in the middle.

    Raises:
        OptimiseBusy: somebody does.
    """
    lock = FileLock(settings.data / "optimise.lock", timeout=0)
    try:
        with lock:
            place = workshop(settings)
            shutil.rmtree(place)
            place.mkdir()
            try:
                yield
            finally:
                shutil.rmtree(place, ignore_errors=True)
    except Timeout as error:
        raise OptimiseBusy(
            "Settings are being measured on this data directory already.",
            hint="Wait for the other one: two at once would measure each other.",
        ) from error


class Storing:
    """Jobs through an SQLite store, and transcripts out of it."""

    name = "store"
    weight = 2.0
    fixed = 0.0

    def __init__(self, settings: Settings) -> None:
        """Fill a library, which takes a few seconds."""
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(dir=workshop(settings))
        self._path = Path(self._folder.name) / "hansard.db"
        self._numbers = itertools.count()
        database = Sqlite(self._path)
        try:
            queue = Queue(database, "optimise", settings=_ROOMY)
            self._library = [_through(queue, next(self._numbers)) for _ in range(_MEETINGS)]
        finally:
            database.close()

    def space(self) -> Space:
        """Cache, memory map and log of SQLite; what a power cut costs is not among them."""
        mb = 2**20
        return [
            Knob(("sqlite.cache",), tuple((size * mb,) for size in (2, 4, 16, 32, 64))),
            Knob(("sqlite.mmap",), tuple((size * mb,) for size in (64, 256, 1024))),
            Knob(("sqlite.checkpoint",), tuple((pages,) for pages in (256, 1000, 2000, 4000))),
        ]

    def run(self, values: Values, share: float) -> tuple[float, Output]:
        """Do a share of the jobs; what is read must be the same."""
        settings = applied(self._settings, values)
        database = Sqlite(self._path, settings.sqlite)
        chance = random.Random(1)  # noqa: S311 nothing is kept secret with it
        read = hashlib.sha256()
        try:
            queue = Queue(database, "optimise", settings=_ROOMY)
            begun = time.perf_counter()
            for _ in range(max(1, round(share * _JOBS))):
                _through(queue, next(self._numbers))
                for job in chance.choices(self._library, k=_READS):
                    body = views.transcript(database, job.tenant, job.id, words=False)
                    assert body is not None
                    read.update(body)
            seconds = time.perf_counter() - begun
        finally:
            database.close()
        return seconds, Output(read.hexdigest())

    def close(self) -> None:
        """Remove the library."""
        self._folder.cleanup()


def _through(queue: Queue, number: int) -> Job:
    """One job from submit to its transcript, every step as the workers take it."""
    job = rehearsal.submitted(queue, number)
    rehearsal.prepare(queue)
    rehearsal.listen(queue)
    length = rehearsal.SECONDS
    head = Transcript(job.id, job.recording, job.name, length, "sphinx", "en-us", language="en")
    rehearsal.finish(
        queue,
        lambda connection: transcripts.save(connection, job.id, _said(number), lambda: head),
    )
    return job


def _said(seed: int) -> Iterator[Segment]:
    chance = random.Random(seed)  # noqa: S311 likewise
    for at in range(_SEGMENTS):
        text = " ".join(chance.choices(_WORDS, k=12))
        yield Segment(at * 5.0, at * 5.0 + 4.5, text, paragraph=at // 4)


class TakingIn:
    """An upload on its way to the disk: hashed and written, so many bytes at once."""

    name = "upload"
    weight = 1.0
    fixed = 0.0

    def __init__(self, settings: Settings) -> None:
        """Make the bytes of an upload."""
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(dir=workshop(settings))
        self._files = Disk(Path(self._folder.name), "optimise")
        self._bytes = random.Random(0).randbytes(_UPLOAD)  # noqa: S311 likewise

    def space(self) -> Space:
        """Bytes that go to the disk at once."""
        sizes = (16, 64, 512, 1024, 4096)
        return [Knob(("caches.upload",), tuple((size * 1024,) for size in sizes))]

    def run(self, values: Values, share: float) -> tuple[float, Output]:
        """Take a share of it in; the hash must be that of the bytes."""
        piece = applied(self._settings, values).caches.upload
        length = int(share * _UPLOAD)
        begun = time.perf_counter()
        pieces = (self._bytes[at : min(at + piece, length)] for at in range(0, length, piece))
        with self._files.take_in("upload.bin", pieces) as draft:
            draft.synced.result()
            seconds = time.perf_counter() - begun
            return seconds, Output(draft.sha256)

    def close(self) -> None:
        """Remove the directory."""
        self._files.close()
        self._folder.cleanup()
