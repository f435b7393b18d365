"""Uploads at rest: what counts, who holds it, what becomes of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansard.errors import (
    DiskFull,
    EmptyFile,
    QueueFull,
    TooManyUploads,
    UnknownUpload,
    UploadBusy,
    UploadConflict,
)
from hansard.model import Client
from hansard.store import uploads
from hansard.store.database import Database
from hansard.store.disk import Disk
from hansard.store.sqlite import Sqlite
from hansard.store.uploads import Upload

ME, OTHER = Client(), Client("other")
WHOLE = bytes(range(256)) * 40


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Sqlite(tmp_path / "hansard.db")
    yield database
    database.close()


@pytest.fixture
def files(tmp_path: Path) -> Disk:
    return Disk(tmp_path, "worker")


def begun(database: Database, files: Disk, length: int | None = len(WHOLE)) -> Upload:
    return uploads.create(
        database, files.root, ME, name="a/b.wav", length=length, metadata="", lasts=100
    )


def filled(database: Database, files: Disk) -> Upload:
    upload = begun(database, files)
    with uploads.hold(database, files.root, upload.id, ME) as tail:
        tail.write(WHOLE)
        tail.sync()
        tail.commit(100)
    return uploads.find(database, files.root, upload.id, ME)


def at(database: Database, files: Disk, upload: Upload) -> int:
    return uploads.find(database, files.root, upload.id, ME).position


def test_only_what_was_committed_counts(database: Database, files: Disk) -> None:
    upload = begun(database, files)
    with uploads.hold(database, files.root, upload.id, ME) as tail:
        tail.write(WHOLE[:1000])
        tail.sync()
        tail.commit(100)
        tail.write(b"never counted")
    assert at(database, files, upload) == 1000
    with uploads.hold(database, files.root, upload.id, ME) as tail:
        tail.write(b"discarded")
        tail.discard()
        tail.write(WHOLE[1000:])
        tail.sync()
        tail.commit(100)
    with uploads.draft(database, files, upload.id, ME) as draft:
        assert draft.sha256 == hashlib.sha256(WHOLE).hexdigest()


def test_one_holds_it_at_a_time(database: Database, files: Disk) -> None:
    upload = filled(database, files)
    with (
        uploads.hold(database, files.root, upload.id, ME),
        pytest.raises(UploadBusy),
        uploads.draft(database, files, upload.id, ME),
    ):
        raise AssertionError
    with uploads.hold(database, files.root, upload.id, ME):
        pass


def test_a_disk_that_lost_bytes_sets_the_upload_back(database: Database, files: Disk) -> None:
    upload = filled(database, files)
    with (files.root / "uploads" / upload.id / "b.wav").open("r+b") as file:
        file.truncate(700)
    assert at(database, files, upload) == 700
    with uploads.hold(database, files.root, upload.id, ME) as tail:
        assert tail.upload.position == 700


def test_a_recording_is_made_without_a_copy(database: Database, files: Disk) -> None:
    upload = filled(database, files)
    with uploads.draft(database, files, upload.id, ME) as draft:
        assert draft.path.name == "b.wav"
        assert draft.size == len(WHOLE)
        kept = files.local_recording(draft.sha256)
        for _ in range(2):
            draft.keep()
            assert kept.samefile(draft.path)
        assert kept.stat().st_mtime > time.time() - 60, "an old one would be taken for lost"
    assert kept.read_bytes() == WHOLE
    assert not (files.root / "uploads" / upload.id).exists()
    with pytest.raises(UnknownUpload):
        uploads.find(database, files.root, upload.id, ME)


def test_a_refusal_does_not_cost_the_bytes(database: Database, files: Disk) -> None:
    upload = filled(database, files)
    message = "as many as may"
    with (
        pytest.raises(QueueFull),
        uploads.draft(database, files, upload.id, ME) as draft,
    ):
        draft.keep()
        files.forget_recording(draft.sha256)  # as transcription.accept does
        raise QueueFull(message)
    with uploads.draft(database, files, upload.id, ME) as draft:
        draft.keep()
    assert files.local_recording(draft.sha256).read_bytes() == WHOLE


def test_an_incomplete_or_empty_one_is_no_recording(database: Database, files: Disk) -> None:
    for length, error in ((10, UploadConflict), (None, UploadConflict), (0, EmptyFile)):
        upload = begun(database, files, length)
        with pytest.raises(error), uploads.draft(database, files, upload.id, ME):
            raise AssertionError
        assert at(database, files, upload) == 0


def test_it_belongs_to_its_tenant(database: Database, files: Disk) -> None:
    upload = filled(database, files)
    for attempt in (
        lambda: uploads.find(database, files.root, upload.id, OTHER),
        lambda: uploads.remove(database, files.root, upload.id, OTHER),
        lambda: uploads.hold(database, files.root, upload.id, OTHER).__enter__(),
        lambda: uploads.draft(database, files, upload.id, OTHER).__enter__(),
    ):
        with pytest.raises(UnknownUpload):
            attempt()
    assert at(database, files, upload) == len(WHOLE)


def test_the_length_is_said_once(database: Database, files: Disk) -> None:
    upload = begun(database, files, None)
    with uploads.hold(database, files.root, upload.id, ME) as tail:
        tail.write(b"abc")
        tail.sync()
        tail.commit(100)
        with pytest.raises(UploadConflict):
            tail.set_length(2)
        tail.set_length(3)
        tail.set_length(3)
        with pytest.raises(UploadConflict):
            tail.set_length(4)
        assert tail.upload.complete


def test_what_has_expired_is_removed_unless_it_grows(database: Database, files: Disk) -> None:
    now = time.time()
    old, growing, gone = (begun(database, files) for _ in range(3))
    (files.root / "uploads" / gone.id / "b.wav").unlink()
    with uploads.hold(database, files.root, growing.id, ME):
        assert set(uploads.expire(database, files.root, now + 200)) == {old.id, gone.id}
    assert [folder.name for folder in (files.root / "uploads").iterdir()] == [growing.id]
    assert uploads.expire(database, files.root, now + 200) == [growing.id]
    assert uploads.expire(database, files.root, now + 200) == []


def test_a_directory_without_a_row_is_removed_when_it_is_old(
    database: Database, files: Disk
) -> None:
    stray = files.root / "uploads" / "0" / "b.wav"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    uploads.expire(database, files.root, time.time())
    assert stray.exists()
    uploads.expire(database, files.root, time.time() + 10_000)
    assert not stray.parent.exists()


def test_removed_while_bytes_come_they_come_for_nothing(database: Database, files: Disk) -> None:
    upload = begun(database, files)
    with uploads.hold(database, files.root, upload.id, ME) as tail:
        uploads.remove(database, files.root, upload.id, ME)
        tail.write(b"abc")
        tail.sync()
        with pytest.raises(UnknownUpload):
            tail.commit(100)


def test_nobody_has_more_than_so_many(
    database: Database, files: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_OPEN", 2)
    begun(database, files)
    begun(database, files)
    with pytest.raises(TooManyUploads):
        begun(database, files)
    uploads.create(database, files.root, OTHER, name="", length=1, metadata="", lasts=1)


def test_a_full_disk_is_told_and_keeps_what_was_there(
    database: Database, files: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begun(database, files)
    with uploads.hold(database, files.root, upload.id, ME) as tail:
        tail.write(WHOLE[:100])
        tail.sync()
        tail.commit(100)

        class Full:
            def write(self, _: object) -> int:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(tail, "_file", Full())
        with pytest.raises(DiskFull):
            tail.write(WHOLE[100:])
    assert at(database, files, upload) == 100
