"""The store's work, as ``hansard optimise`` measures it: jobs and transcripts, and taking in files.

Both work beside the user's store, on the same disk, in a directory that is gone afterwards.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hansard.config import QueueSettings, Settings
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.model import (
    SAMPLE_RATE,
    Job,
    Levels,
    Media,
    Options,
    Prepared,
    Recording,
    Segment,
    Span,
    Transcript,
    Utterance,
    Window,
    WindowResult,
)
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
_OPTIONS = Options("sphinx", "en-us")
_LEVELS = Levels(1.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
_LENGTH = 25 * SAMPLE_RATE
_WORDS = ("budget", "moved", "seconded", "asked", "cost", "chair", "hands", "clerk", "carried")


class Storing:
    """Jobs through an SQLite store, and transcripts out of it."""

    name = "store"
    weight = 2.0
    fixed = 0.0

    def __init__(self, settings: Settings) -> None:
        """Fill a library, which takes a few seconds."""
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="optimise-", dir=settings.data)
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
    media = Media("wav", 25.0, 100, ())
    recording = Recording(f"{number:064x}", f"{number}.wav", media, time.time())
    job, _ = queue.submit(recording, _OPTIONS, _LEVELS, seconds=25.0)
    unit = _claimed(queue.claim_step())
    window = Window(0, 0, (Span(0, _LENGTH),))
    queue.add_windows(unit, [window], position=_LENGTH)
    queue.end_prepare(unit, Prepared(_LENGTH, 1, _LEVELS, speech=_LENGTH))
    unit = _claimed(queue.claim_windows("sphinx", "en-us", batch=1, lanes=1))
    queue.record(unit, [WindowResult((Utterance(0.0, 25.0, "said"),), "en") for _ in unit.parts])
    unit = _claimed(queue.claim_step())
    head = Transcript(job.id, job.recording, job.name, 25.0, "sphinx", "en-us", language="en")
    queue.complete(
        unit,
        lambda connection: transcripts.save(connection, job.id, _said(number), lambda: head),
    )
    return job


def _claimed(unit: Unit | None) -> Unit:
    assert unit is not None, "nobody else works on this store"
    return unit


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
        self._folder = tempfile.TemporaryDirectory(prefix="optimise-", dir=settings.data)
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
