"""What is removed and what stays: each policy, and that without one nothing goes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from filelock import FileLock

from hansard.config import load
from hansard.errors import MediaGone
from hansard.jobs import retention
from hansard.jobs.presence import Presence
from hansard.jobs.queue import Queue
from hansard.jobs.retention import DAY, Retention
from hansard.model import Client, Levels, Media, Options, Recording
from hansard.store import tables, uploads
from hansard.store.disk import Disk
from hansard.store.sqlite import Sqlite

LEVELS = Levels(1.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
NOW = time.time()


class Cellar:
    """A data directory with jobs that ended as long ago as a test likes."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.database = Sqlite(root / "hansard.db")
        self.presence = Presence(root / "workers")
        self.files = Disk(root, self.presence.worker)
        self.queue = Queue(self.database, self.presence.worker)

    def recording(self, name: str, size: int = 1000) -> str:
        with self.files.take_in(name, [name.encode().ljust(size, b".")]) as draft:
            draft.keep()
            return draft.sha256

    def job(self, sha256: str, *, model: str = "m", days: float | None = 10.0) -> str:
        """A job that ended so many days ago; ``None``: it is open."""
        media = Media("wav", 1.0, 1000, ())
        job, _ = self.queue.submit(
            Recording(sha256, "a.wav", media, NOW), Options("sphinx", model), LEVELS, seconds=1.0
        )
        if days is not None:
            self.queue.cancel(job.id)
            with self.database.write() as connection:
                connection.execute(
                    tables.jobs.update()
                    .where(tables.jobs.c.id == job.id)
                    .values(finished=NOW - days * DAY)
                )
        return job.id

    def jobs(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.scalars(sa.select(tables.jobs.c.id)))

    def media(self) -> set[str]:
        return {sha256 for sha256, _ in self.files.recordings()}

    def keep_up(self, **rules: Any) -> None:
        """One look, as a worker takes it."""
        settings = load(data=self.root, **rules)
        Retention(settings, self.database, self.files, lambda: NOW).keep_up()


@pytest.fixture
def cellar(tmp_path: Path) -> Iterator[Cellar]:
    it = Cellar(tmp_path / "data")
    yield it
    it.files.close()
    it.database.close()
    it.presence.close()


def test_nothing_goes_unless_it_is_asked_for(cellar: Cellar) -> None:
    old = cellar.recording("old")
    job = cellar.job(old, days=10_000)
    cellar.keep_up()
    cellar.keep_up(limits={"disk_reserve": 2**60})  # a full disk is no leave
    assert cellar.jobs() == {job}
    assert cellar.media() == {old}


def test_whole_transcriptions_after_their_days(
    cellar: Cellar, caplog: pytest.LogCaptureFixture
) -> None:
    old, young = cellar.recording("old", 5000), cellar.recording("young")
    gone, kept = cellar.job(old, days=31), cellar.job(young, days=29)
    running = cellar.job(cellar.recording("open"), days=None)
    with caplog.at_level(logging.INFO, "hansard.retention"):
        cellar.keep_up(retention={"days": 30})
    assert cellar.jobs() == {kept, running}
    assert old not in cellar.media()
    assert len(cellar.media()) == 2
    assert f"removing transcription {gone}, 31.0 days old, 5000 bytes" in caplog.messages


def test_a_recording_that_a_younger_job_has_too_stays(cellar: Cellar) -> None:
    shared = cellar.recording("shared")
    cellar.job(shared, model="one", days=40)
    young = cellar.job(shared, model="two", days=1)
    cellar.keep_up(retention={"days": 30})
    cellar.keep_up(retention={"audio_days": 30})
    assert cellar.jobs() == {young}
    assert cellar.media() == {shared}


def test_media_alone(cellar: Cellar, caplog: pytest.LogCaptureFixture) -> None:
    old, shared, used = (cellar.recording(name) for name in ("old", "shared", "used"))
    first = cellar.job(old, days=31)
    others = {
        cellar.job(shared, model="one", days=31),
        cellar.job(shared, model="two", days=29),
        cellar.job(used, model="one", days=31),
        cellar.job(used, model="two", days=None),
    }
    with caplog.at_level(logging.INFO, "hansard.retention"):
        cellar.keep_up(retention={"audio_days": 30})
    assert cellar.jobs() == {first, *others}
    assert cellar.media() == {shared, used}
    assert f"removing the media of transcription {first}, 31.0 days old, 1000 bytes" in (
        caplog.messages
    )


def test_a_job_whose_media_are_gone_says_so(cellar: Cellar) -> None:
    from hansard import transcription

    job = cellar.job(cellar.recording("old"), days=31)
    cellar.keep_up(retention={"audio_days": 30})
    cellar.queue.retry(job)
    unit = cellar.queue.claim_step()
    assert unit is not None
    parts = transcription.Parts(load(data=cellar.root), cellar.queue, cellar.files)
    with pytest.raises(MediaGone):
        transcription.prepare(parts, unit)


def test_more_than_one_go_takes(cellar: Cellar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_MOST", 3)
    for number in range(8):  # all at the same moment
        cellar.job(cellar.recording(str(number)), days=31)
    settings = load(data=cellar.root, retention={"audio_days": 30})
    keeper = Retention(settings, cellar.database, cellar.files, lambda: NOW)
    for left in (5, 2, 0):
        keeper.keep_up()  # the next look comes at once while there is more
        assert len(cellar.media()) == left


@pytest.mark.parametrize("rule", ["audio", "all"])
def test_a_full_disk_takes_the_oldest_until_there_is_room(
    rule: str, cellar: Cellar, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [cellar.recording(str(age)) for age in (50, 40, 30, 20)]
    ages = [cellar.job(name, days=age) for name, age in zip(names, (50, 40, 30, 20), strict=True)]
    running = cellar.job(cellar.recording("open"), days=None)

    def free(files: Disk) -> int:
        return 1_000_000 - 1000 * sum(1 for _ in files.recordings())

    monkeypatch.setattr(Disk, "free_bytes", free)
    # Five recordings leave 995 000; two must go.
    cellar.keep_up(retention={"pressure": rule}, limits={"disk_reserve": 997_000})
    assert set(names) & cellar.media() == set(names[2:])
    assert cellar.jobs() == {running, *(ages[2:] if rule == "all" else ages)}


def test_a_disk_that_others_filled_is_said_and_left_alone(
    cellar: Cellar, caplog: pytest.LogCaptureFixture
) -> None:
    cellar.job(cellar.recording("only"), days=None)
    settings = load(data=cellar.root, retention={"pressure": "all"}, limits={"disk_reserve": 2**60})
    keeper = Retention(settings, cellar.database, cellar.files, lambda: NOW)
    with caplog.at_level(logging.WARNING, "hansard.retention"):
        keeper.keep_up()
        keeper.keep_up()
    assert len(caplog.messages) == 1
    assert len(cellar.media()) == 1


def test_answers_to_idempotent_requests_last_a_day(cellar: Cellar) -> None:
    job = cellar.job(cellar.recording("a"))
    with cellar.database.write() as connection:
        for key, days in (("old", 1.1), ("new", 0.9)):
            connection.execute(
                tables.idempotency.insert().values(
                    tenant="local", key=key, fingerprint="f", job=job, created=NOW - days * DAY
                )
            )
    cellar.keep_up()
    with cellar.database.read() as connection:
        assert list(connection.scalars(sa.select(tables.idempotency.c.key))) == ["new"]


def test_uploads_that_were_never_finished(cellar: Cellar) -> None:
    for lasts in (-3600.0, 3600.0):
        uploads.create(
            cellar.database, cellar.root, Client(),
            name=f"{lasts}", length=10, metadata="", lasts=lasts,
        )  # fmt: skip
    cellar.keep_up()
    with cellar.database.read() as connection:
        assert list(connection.scalars(sa.select(tables.uploads.c.name))) == ["3600.0"]


def test_one_process_at_a_time(cellar: Cellar) -> None:
    old = cellar.recording("old")
    cellar.job(old, days=31)
    with FileLock(cellar.root / "retention.lock"):
        cellar.keep_up(retention={"days": 30})
        assert cellar.media() == {old}
    cellar.keep_up(retention={"days": 30})
    assert cellar.media() == set()


def test_prepared_audio_of_ended_jobs(cellar: Cellar) -> None:
    ended = cellar.job(cellar.recording("a"), days=0)
    running = cellar.job(cellar.recording("b"), days=None)
    for job in (ended, running):
        with cellar.files.write_pcm(job, 1):
            pass
    retention.drop_prepared(cellar.database, cellar.files)
    assert cellar.files.pcm_keys() == {running}


def test_recordings_without_a_row_among_ten_thousand(
    cellar: Cellar, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = cellar.recording("named")
    cellar.job(named)
    lost, fresh = cellar.recording("lost"), cellar.recording("fresh")
    for sha256 in (named, lost):
        os.utime(cellar.files.local_recording(sha256), (NOW - 3600, NOW - 3600))
    with cellar.database.write() as connection:
        connection.execute(
            tables.recordings.insert(),
            [
                {"id": f"{n:064x}", "name": "", "size": 1, "media": "{}", "created": NOW}
                for n in range(10_000)
            ],
        )
    on_disk = cellar.files.recordings
    monkeypatch.setattr(
        cellar.files,
        "recordings",
        lambda: [*((f"{n:064x}", 0.0) for n in range(10_000)), *on_disk()],
    )
    asked = 0
    ask = cellar.database.read

    def counted() -> Any:
        nonlocal asked
        asked += 1
        return ask()

    monkeypatch.setattr(cellar.database, "read", counted)
    retention.drop_orphans(cellar.database, cellar.files)
    assert {sha256 for sha256, _ in on_disk()} == {named, fresh}
    assert asked <= 25, "one question for each recording"


# ── whose death counts against the work ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("service", "other", "tries"), [("one", "one", 1), ("one", "two", 0), (None, None, 0)]
)
def test_a_death_counts_where_a_service_outlived_it(
    service: str | None, other: str | None, tries: int, tmp_path: Path
) -> None:
    fallen = Presence(tmp_path / "workers", service)
    mine = Presence(tmp_path / "workers", other)
    database = Sqlite(tmp_path / "hansard.db")
    files = Disk(tmp_path, mine.worker)
    theirs, queue = Queue(database, fallen.worker), Queue(database, mine.worker)
    media = Media("wav", 1.0, 1000, ())
    theirs.submit(Recording("0" * 64, "a.wav", media, NOW), Options("sphinx", "m"), LEVELS)
    assert theirs.claim_step() is not None
    retention.bury(queue, files, mine)
    assert queue.owners() == [fallen.worker], "it lives"
    fallen._lock.release()  # as the kernel does it
    retention.bury(queue, files, mine)
    assert queue.owners() == []
    with database.read() as connection:
        assert connection.scalar(sa.select(tables.jobs.c.attempt)) == tries
    database.close()
    mine.close()


def test_a_sign_of_life_is_not_taken_from_the_living(tmp_path: Path) -> None:
    one, two = Presence(tmp_path), Presence(tmp_path)
    assert one.gone(one.known()) == []
    two._lock.release()
    assert one.gone(one.known()) == [two.worker]
    assert one.known() == [one.worker]
    one.close()
    assert list(tmp_path.iterdir()) == []
