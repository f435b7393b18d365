"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansard import formats
from hansard.errors import CannotWrite, DiskFull, UnknownFormat
from hansard.model import Segment, Transcript


def test_a_file_holds_what_render_gives(meeting: Transcript, tmp_path: Path) -> None:
    for name in formats.names():
        path = tmp_path / f"minutes{formats.get(name).extension}"
        formats.save(path, name, *formats.view(meeting))
        assert path.read_bytes() == formats.render(meeting, name)
    assert len(list(tmp_path.iterdir())) == len(formats.names())


def test_a_walk_that_breaks_leaves_the_old_file_and_nothing_else(
    meeting: Transcript, tmp_path: Path
) -> None:
    path = tmp_path / "minutes.srt"
    path.write_text("old")

    def broken() -> Iterator[Segment]:
        yield meeting.segments[0]
        assert any(p.name.endswith(".part") for p in tmp_path.iterdir())
        raise OSError(errno.EIO, "the store is gone")

    with pytest.raises(OSError, match="the store is gone"):  # not taken for trouble with writing
        formats.save(path, "srt", meeting, broken)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_nothing(meeting: Transcript, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Segment]:
        raise KeyboardInterrupt
        yield meeting.segments[0]

    with pytest.raises(KeyboardInterrupt):
        formats.save(tmp_path / "minutes.txt", "txt", meeting, interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_called_so_and_leaves_nothing(
    meeting: Transcript, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull) as refused:
        formats.save(tmp_path / "minutes.txt", "txt", *formats.view(meeting))
    assert refused.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_that_is_full(meeting: Transcript) -> None:
    with pytest.raises(DiskFull, match="/dev/full"):
        formats.save(Path("/dev/full"), "json", *formats.view(meeting))


def test_a_device_is_written_to_and_stays_a_device(meeting: Transcript) -> None:
    formats.save(Path(os.devnull), "txt", *formats.view(meeting))
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_link_is_followed_and_the_old_mode_is_kept(meeting: Transcript, tmp_path: Path) -> None:
    there = tmp_path / "there.txt"
    there.write_text("old")
    there.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(there)
    formats.save(link, "txt", *formats.view(meeting))
    assert link.is_symlink()
    assert there.read_bytes() == formats.render(meeting, "txt")
    assert stat.S_IMODE(there.stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_that_new_files_have(meeting: Transcript, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    formats.save(tmp_path / "a.txt", "txt", *formats.view(meeting))
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_places_that_cannot_be_written_are_refused(meeting: Transcript, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    too_long = tmp_path / ("n" * 300)
    for path in (tmp_path, tmp_path / "no" / "a.txt", tmp_path / "file" / "a.txt", too_long):
        with pytest.raises(CannotWrite) as refused:
            formats.save(path, "txt", *formats.view(meeting))
        assert refused.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_refused(meeting: Transcript, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(CannotWrite, match="ermission"):
        formats.save(locked / "a.txt", "txt", *formats.view(meeting))


def test_an_unknown_format_touches_nothing(meeting: Transcript, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat):
        formats.save(tmp_path / "a.pdf", "pdf", *formats.view(meeting))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_file_is_not(tmp_path: Path) -> None:
    left = tmp_path / ".notes.txt.0123456789ab.part"
    left.write_text("half of i")
    with formats.whole(tmp_path / "notes.txt") as slow:
        slow.write(b"slow")
        with formats.whole(tmp_path / "notes.txt") as quick:
            quick.write(b"quick")
        assert not left.exists()
    assert (tmp_path / "notes.txt").read_text() == "slow"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
