"""Output files, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hansard.errors import CannotWrite, DiskFull
from hansard.formats.layout import STANDARD, Layout, Segments
from hansard.formats.registry import get
from hansard.model import Transcript

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_BUFFER = 1 << 16
_WRITE = os.O_WRONLY | getattr(os, "O_BINARY", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def save(
    path: Path,
    name: str,
    head: Transcript,
    segments: Segments,
    layout: Layout = STANDARD,
) -> None:
    """Write a transcript to a file in the format ``name``: see ``whole`` for what is promised.

    Raises:
        UnknownFormat: no such format; nothing is touched.
        CannotWrite: the file or its directory does not allow it.
        DiskFull: no room; nothing is left behind.
    """
    chosen = get(name)
    with whole(path) as out:
        chosen.write(head, segments, out, layout)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name only when the block ends well.

    The bytes go to a hidden file beside it, are synced, and take the name in one step, so a
    reader sees the old file or the new one, after a crash too. Whatever goes wrong, the hidden
    file is removed and an old file stays as it was. A link is followed; the mode of an old file
    is kept. A device or a pipe (``/dev/stdout``) cannot be replaced and is written directly.

    Raises:
        CannotWrite, DiskFull: as ``save``.
    """
    with _refusing(path):
        old = _mode(path)
        if old is not None and stat.S_ISDIR(old):
            raise CannotWrite(
                f"{path} is a directory.", hint="Give the name of a file to write to."
            )
        in_place = old is not None and not stat.S_ISREG(old)
        target = Path(os.path.realpath(path))
    if in_place:
        with _refusing(path):
            descriptor = os.open(path, _WRITE)
        with io.BufferedWriter(_File(descriptor, path), _BUFFER) as out:
            yield out
        return
    with _refusing(path):
        _sweep(target)
        hidden, descriptor, lock = _hidden(target)
    try:
        with io.BufferedWriter(_File(descriptor, path), _BUFFER) as out:
            yield out
            with _refusing(path):
                out.flush()
                os.fsync(descriptor)
        with _refusing(path):
            if old is not None:
                hidden.chmod(stat.S_IMODE(old))
            hidden.replace(target)
            _sync_directory(target.parent)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


def _hidden(target: Path) -> tuple[Path, int, int]:
    """A new hidden file beside the target: its path, a descriptor, and one that holds its lock."""
    while True:
        hidden = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.part")
        descriptor = os.open(hidden, _WRITE | os.O_CREAT | os.O_EXCL, 0o666)
        lock = os.dup(descriptor)
        # It may have been swept between the two: then there is no file of this name any more.
        if _lock(lock) and hidden.exists():
            return hidden, descriptor, lock
        os.close(descriptor)
        os.close(lock)


def _sweep(target: Path) -> None:
    """Remove what a killed writer of the same file left: hidden files that nobody holds."""
    for left in target.parent.glob(f".{glob.escape(target.name[:40])}.*.part"):
        with contextlib.suppress(OSError):  # another may sweep it first, or it is not ours
            descriptor = os.open(left, _WRITE)
            try:
                if _lock(descriptor):
                    left.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Hold a file as its writer; the kernel lets go of it when the process dies."""
    if sys.platform == "win32":  # no such locks; there, a file that is open cannot be removed
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _File(io.FileIO):
    """A descriptor that refuses in Hansard's words, so that trouble with reading stays itself."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: ReadableBuffer, /) -> int:
        with _refusing(self._path):
            return super().write(data)


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refusal(path, error) from error


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _sync_directory(directory: Path) -> None:
    """Make the new name outlive a power cut, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(path: Path, error: OSError) -> CannotWrite | DiskFull:
    if error.errno in _FULL:
        return DiskFull(
            f"The disk is full: {path} was not written.",
            hint=f"Free some room in {path.parent}, or write elsewhere with -o.",
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CannotWrite(
            f"{path} cannot be written: there is no directory {path.parent}.",
            hint="Make the directory first, or write elsewhere with -o.",
        )
    return CannotWrite(
        f"{path} cannot be written: {error.strerror or error}.",
        hint="Check that you may write there, or write elsewhere with -o.",
    )
