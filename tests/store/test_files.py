from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hansard.errors import DiskFull, EmptyFile, MachineError
from hansard.store import files as files_module
from hansard.store.disk import Disk


@pytest.fixture
def files(tmp_path: Path) -> Disk:
    return Disk(tmp_path, "worker")


def left_behind(files: Disk) -> list[Path]:
    return [path for path in files.root.rglob("*") if path.is_file()]


def test_a_draft_that_is_kept_is_named_by_its_hash(files: Disk) -> None:
    with files.take_in("a/b/meeting.wav", [b"one", b"two"]) as draft:
        assert draft.path.name == "meeting.wav"
        draft.keep()
    assert draft.sha256 == hashlib.sha256(b"onetwo").hexdigest()
    assert files.local_recording(draft.sha256).read_bytes() == b"onetwo"
    assert left_behind(files) == [files.local_recording(draft.sha256)]


def test_a_draft_that_is_not_kept_is_gone(files: Disk) -> None:
    with files.take_in("x", [b"one"]) as draft:
        assert draft.path.exists()
    assert left_behind(files) == []


def test_a_stream_that_breaks_leaves_nothing(files: Disk) -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        raise ConnectionError

    with pytest.raises(ConnectionError), files.take_in("x", broken()):
        pass
    assert left_behind(files) == []


def test_no_bytes_are_refused(files: Disk) -> None:
    with pytest.raises(EmptyFile, match=r"x\.mp3 has no bytes"), files.take_in("x.mp3", []):
        pass
    assert left_behind(files) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a\x00b", "", "é" * 300, "C:\\x\\y"])
def test_names_cannot_leave_the_scratch_directory(files: Disk, name: str) -> None:
    with files.take_in(name, [b"x"]) as draft:
        assert draft.path.parent.parent == files.root / "tmp" / "worker"


def test_a_full_disk_leaves_nothing(files: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files_module, "_sync_file", full)
    with (
        pytest.raises(DiskFull, match="no room left"),
        files.take_in("x", [b"one"]) as draft,
    ):
        draft.keep()
    assert left_behind(files) == []


def test_prepared_audio_can_be_read_while_it_is_written(files: Disk) -> None:
    samples = np.arange(1000, dtype=np.int16)
    with files.write_pcm("job", 2) as pcm:
        pcm.write(np.stack([samples, -samples]))
        assert not files.has_pcm("job", 2)
        assert np.array_equal(files.read_pcm("job", 1, 10, 5), -samples[10:15])
        pcm.write(np.stack([samples, -samples]))
    assert files.has_pcm("job", 2)
    assert np.array_equal(files.read_pcm("job", 0, 995, 10)[:5], samples[995:])


def test_writing_prepared_audio_again_never_takes_it_from_a_reader(files: Disk) -> None:
    samples = np.arange(1000, dtype=np.int16)
    with pytest.raises(ZeroDivisionError), files.write_pcm("job", 1) as pcm:
        pcm.write(samples[None, :])
        raise ZeroDivisionError
    with files.write_pcm("job", 1) as pcm:
        assert np.array_equal(files.read_pcm("job", 0, 0, 1000), samples)
        pcm.write(samples[None, :500])
    with pytest.raises(MachineError):  # shorter than before: the end is cut only when it is whole
        files.read_pcm("job", 0, 0, 1000)


def test_prepared_audio_that_is_gone_is_an_error_with_a_hint(files: Disk) -> None:
    with pytest.raises(MachineError, match="missing") as caught:
        files.read_pcm("job", 0, 0, 1)
    assert caught.value.hint


def test_dropping_and_sweeping(files: Disk) -> None:
    with files.write_pcm("job", 1) as pcm:
        pcm.write(np.zeros((1, 10), np.int16))
    assert files.pcm_keys() == {"job"}
    files.drop_pcm("job")
    assert files.pcm_keys() == set()
    other = Disk(files.root, "other")
    with other.take_in("x", [b"one"]):
        assert files.scratch_workers() == ["other"]
        files.sweep(["other"])
        assert files.scratch_workers() == []
