"""What every kind of files promises (``store/files.py``), wherever they are."""

from __future__ import annotations

import errno
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import storage as object_storage

from hansard.errors import DiskFull, EmptyFile, MachineError, MediaGone
from hansard.store import files as files_module
from hansard.store.disk import Disk
from hansard.store.files import Files
from hansard.store.objects import Objects

CHUNK = 1024
"""Bytes of a chunk of prepared audio here: 512 samples."""

Opened = Callable[[str], Files]


@pytest.fixture(params=["disk", "objects"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, _storage: Callable[[], str]
) -> Iterator[Opened]:
    """Opens the same files as another worker; each machine has its own scratch."""
    made: list[Files] = []
    place = object_storage.fresh(_storage()) if request.param == "objects" else None

    def another(worker: str) -> Files:
        files: Files = (
            Disk(tmp_path, worker)
            if place is None
            else Objects(tmp_path / worker, worker, place.address, place.s3(), chunk=CHUNK)
        )
        made.append(files)
        return files

    yield another
    for files in made:
        files.close()


@pytest.fixture
def files(opened: Opened) -> Files:
    return opened("worker")


def scratch(files: Files) -> list[Path]:
    return [path for path in (files.root / "tmp").rglob("*") if path.is_file()]


def kept(files: Files) -> list[str]:
    return sorted(sha256 for sha256, _ in files.recordings())


def content(files: Files, sha256: str) -> bytes:
    size = files.recording_size(sha256)
    assert size is not None
    return b"".join(files.read_recording(sha256, 0, size))


# ── recordings ───────────────────────────────────────────────────────────────────────────────


def test_a_draft_that_is_kept_is_named_by_its_hash(files: Files, opened: Opened) -> None:
    with files.take_in("a/b/meeting.wav", [b"one", b"two"]) as draft:
        assert draft.path.name == "meeting.wav"
        assert not files.has_recording(draft.sha256)
        draft.keep()
    assert draft.sha256 == hashlib.sha256(b"onetwo").hexdigest()
    other = opened("another")
    for one in (files, other):
        assert one.has_recording(draft.sha256)
        assert content(one, draft.sha256) == b"onetwo"
        with one.open_recording(draft.sha256) as path:
            assert path.read_bytes() == b"onetwo"
        assert scratch(one) == []
    [(name, since)] = other.recordings()
    assert (name, since > 0) == (draft.sha256, True)


def test_the_same_bytes_are_kept_once(files: Files) -> None:
    for _ in range(2):
        with files.take_in("x", [b"one"]) as draft:
            draft.keep()
            draft.keep()
    [sha256] = kept(files)
    assert content(files, sha256) == b"one"


def test_large_recordings_are_whole_and_any_range_of_them_is_right(files: Files) -> None:
    noise = random.Random(7).randbytes(12 * 2**20 + 77)
    with files.take_in("x", [noise[:5_000_000], noise[5_000_000:]]) as draft:
        draft.keep()
    size = files.recording_size(draft.sha256)
    assert size == len(noise)
    with files.open_recording(draft.sha256) as path:
        assert path.read_bytes() == noise
    for start, end in ((0, 1), (5 * 2**20 - 3, 5 * 2**20 + 3), (size - 5, size), (7, 900_000)):
        assert b"".join(files.read_recording(draft.sha256, start, end)) == noise[start:end]


def test_many_keep_the_same_at_once(opened: Opened) -> None:
    trouble: list[BaseException] = []

    def keep(files: Files) -> None:
        try:
            with files.take_in("x", [b"same" * 1000]) as draft:
                draft.keep()
        except BaseException as error:  # noqa: BLE001 it is looked at below
            trouble.append(error)

    crowd = [opened(str(n)) for n in range(4)]
    threads = [threading.Thread(target=keep, args=(files,)) for files in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert len(kept(crowd[0])) == 1
    assert content(crowd[0], kept(crowd[0])[0]) == b"same" * 1000


def test_what_is_removed_is_gone(files: Files) -> None:
    with files.take_in("x", [b"one"]) as draft:
        draft.keep()
    files.forget_recording(draft.sha256)
    files.forget_recording(draft.sha256)
    assert not files.has_recording(draft.sha256)
    assert files.recording_size(draft.sha256) is None
    with pytest.raises(MediaGone), files.open_recording(draft.sha256):
        pass
    with pytest.raises(MediaGone):
        list(files.read_recording(draft.sha256, 0, 3))
    assert scratch(files) == []


def test_a_draft_that_is_not_kept_is_gone(files: Files) -> None:
    with files.take_in("x", [b"one"]) as draft:
        assert draft.path.exists()
    assert scratch(files) == []
    assert kept(files) == []


def test_a_stream_that_breaks_leaves_nothing(files: Files) -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        raise ConnectionError

    with pytest.raises(ConnectionError), files.take_in("x", broken()):
        pass
    assert scratch(files) == []
    assert kept(files) == []


def test_no_bytes_are_refused(files: Files) -> None:
    with pytest.raises(EmptyFile, match=r"x\.mp3 has no bytes"), files.take_in("x.mp3", []):
        pass
    assert scratch(files) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a\x00b", "", "é" * 300, "C:\\x\\y"])
def test_names_cannot_leave_the_scratch_directory(tmp_path: Path, name: str) -> None:
    files = Disk(tmp_path, "worker")
    with files.take_in(name, [b"x"]) as draft:
        assert draft.path.parent.parent == files.scratch == files.root / "tmp" / "worker"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files = Disk(tmp_path, "worker")
    monkeypatch.setattr(files_module, "_sync_file", full)
    with (
        pytest.raises(DiskFull, match="no room left"),
        files.take_in("x", [b"one"]) as draft,
    ):
        draft.keep()
    assert scratch(files) == []
    assert kept(files) == []


# ── prepared audio ───────────────────────────────────────────────────────────────────────────


def test_prepared_audio_can_be_read_while_it_is_written(files: Files, opened: Opened) -> None:
    samples = np.arange(1000, dtype=np.int16)
    other = opened("another")
    with files.write_pcm("job", 2) as pcm:
        pcm.write(np.stack([samples, -samples]))
        pcm.flush()
        assert not other.has_pcm("job", 2)
        assert np.array_equal(other.read_pcm("job", 1, 10, 5), -samples[10:15])
        assert np.array_equal(other.read_pcm("job", 1, 0, 1000), -samples)
        pcm.write(np.stack([samples, -samples]))
        pcm.flush()
        assert np.array_equal(other.read_pcm("job", 1, 1000, 1000), -samples)
        assert pcm.samples == 2000
    for one in (files, other):
        assert one.has_pcm("job", 2)
        assert np.array_equal(one.read_pcm("job", 0, 995, 10)[:5], samples[995:])
        assert np.array_equal(one.read_pcm("job", 1, 0, 2000), np.tile(-samples, 2))


def test_writing_prepared_audio_again_never_takes_it_from_a_reader(
    files: Files, opened: Opened
) -> None:
    samples = np.arange(1000, dtype=np.int16)
    with pytest.raises(ZeroDivisionError), files.write_pcm("job", 1) as pcm:
        pcm.write(samples[None, :])
        pcm.flush()
        raise ZeroDivisionError
    with files.write_pcm("job", 1) as pcm:
        for end in (100, 200, 300, 400, 500):
            assert np.array_equal(opened(f"at {end}").read_pcm("job", 0, 0, 1000), samples)
            pcm.write(samples[None, end - 100 : end])
            pcm.flush()
        assert np.array_equal(opened("at last").read_pcm("job", 0, 0, 1000), samples)
    with pytest.raises(MachineError):  # shorter than before: the end is cut only when it is whole
        opened("afterwards").read_pcm("job", 0, 0, 1000)
    assert np.array_equal(opened("afterwards").read_pcm("job", 0, 0, 500), samples[:500])


def test_prepared_audio_that_is_gone_is_an_error_with_a_hint(files: Files) -> None:
    with pytest.raises(MachineError, match="missing") as caught:
        files.read_pcm("job", 0, 0, 1)
    assert caught.value.hint


def test_one_job_is_not_the_beginning_of_another(files: Files) -> None:
    for key in ("job", "job2"):
        with files.write_pcm(key, 1) as pcm:
            pcm.write(np.zeros((1, 10), np.int16))
    assert files.pcm_keys() == {"job", "job2"}
    files.drop_pcm("job")
    files.drop_pcm("job")
    assert files.pcm_keys() == {"job2"}
    assert not files.has_pcm("job", 1)
    with pytest.raises(MachineError):
        files.read_pcm("job", 0, 0, 10)
    assert files.has_pcm("job2", 1)


# ── scratch ──────────────────────────────────────────────────────────────────────────────────


def test_the_dead_are_swept(files: Files, tmp_path: Path) -> None:
    here = Disk(tmp_path, "here")
    there = Disk(tmp_path, "other")
    with there.take_in("x", [b"one"]):
        assert here.scratch_workers() == ["other"]
        here.sweep(["other"])
        assert here.scratch_workers() == []
    with files.take_in("x", [b"one"]):
        assert files.scratch_workers() == ["worker"]
        files.sweep(["worker"])
        assert files.scratch_workers() == []


def test_they_say_how_they_are(files: Files) -> None:
    files.root.mkdir(exist_ok=True)
    assert files.see_that_they_answer()
    assert files.free_bytes() > 0
