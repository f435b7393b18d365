"""What is removed and what stays where files are in object storage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.storage import Storage

from hansard.config import load
from hansard.jobs import retention
from hansard.jobs.queue import Queue
from hansard.jobs.retention import DAY, Retention
from hansard.model import Levels, Media, Options, Recording
from hansard.store import tables
from hansard.store.objects import Objects
from hansard.store.sqlite import Sqlite

NOW = time.time()
LEVELS = Levels(60.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)


class Cellar:
    """A store with jobs that ended ten days ago."""

    def __init__(self, root: Path, storage: Storage) -> None:
        self.root = root
        self.database = Sqlite(root / "hansard.db")
        self.files = Objects(root, "worker", storage.address, storage.s3())
        self.queue = Queue(self.database, "worker")

    def recording(self, name: str) -> str:
        with self.files.take_in(name, [name.encode()]) as draft:
            draft.keep()
            return draft.sha256

    def job(self, sha256: str, *, model: str = "m") -> str:
        recording = Recording(sha256, "a.wav", Media("wav", 1.0, 1000, ()), NOW)
        job, _ = self.queue.submit(recording, Options("sphinx", model), LEVELS, seconds=1.0)
        return job.id

    def end(self, job: str) -> None:
        self.queue.cancel(job)
        ended = tables.jobs.update().where(tables.jobs.c.id == job)
        with self.database.write() as connection:
            connection.execute(ended.values(finished=NOW - 10 * DAY))

    def media(self) -> set[str]:
        return {sha256 for sha256, _ in self.files.recordings()}

    def keep_up(self, **rules: Any) -> None:
        settings = load(data=self.root, retention=rules)
        Retention(settings, self.database, self.files, lambda: NOW).keep_up()


@pytest.fixture
def cellar(tmp_path: Path, storage: Storage) -> Iterator[Cellar]:
    it = Cellar(tmp_path, storage)
    yield it
    it.files.close()
    it.database.close()


def test_what_has_come_of_age_goes(cellar: Cellar) -> None:
    old, used = cellar.recording("old"), cellar.recording("used")
    ended = cellar.job(old)
    cellar.end(ended)
    cellar.end(cellar.job(used))
    cellar.job(used, model="another")
    cellar.keep_up(audio_days=20)
    assert cellar.media() == {old, used}
    cellar.keep_up(audio_days=5)
    assert cellar.media() == {used}
    assert retention.remove(cellar.database, cellar.files, ended) == 0


def test_recordings_without_a_row_go_when_they_are_old(
    cellar: Cellar, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, lost = cellar.recording("named"), cellar.recording("lost")
    cellar.job(named)
    retention.drop_orphans(cellar.database, cellar.files)
    assert cellar.media() == {named, lost}, "it may be in the middle of being submitted"
    monkeypatch.setattr(cellar.files, "orphan_age", -60.0)
    retention.drop_orphans(cellar.database, cellar.files)
    assert cellar.media() == {named}


def test_a_full_disk_here_takes_nothing_from_the_storage(
    cellar: Cellar, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cellar.recording("old")
    cellar.end(cellar.job(old))
    monkeypatch.setattr(cellar.files, "free_bytes", lambda: 0)
    cellar.keep_up(pressure="all")
    assert cellar.media() == {old}


def test_prepared_audio_of_ended_jobs_goes(cellar: Cellar) -> None:
    ended, open_ = (cellar.job(cellar.recording(name)) for name in ("a", "b"))
    for job in (ended, open_):
        with cellar.files.write_pcm(job, 1) as pcm:
            pcm.write(np.zeros((1, 100), np.int16))
    cellar.end(ended)
    retention.drop_prepared(cellar.database, cellar.files)
    assert cellar.files.pcm_keys() == {open_}
