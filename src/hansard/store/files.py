"""The files of the store: recordings by content hash, prepared audio, and nothing half-written.

recordings/ab/abcdef…   the bytes as they came in, named by their SHA-256
pcm/<key>.<channel>.pcm prepared audio: signed 16 bit little endian, 16 kHz, mono
pcm/….part              the same while it is still being written; windows are read from it
tmp/<worker>/…          whatever is under way; swept when that worker is gone
uploads/<id>/…          what comes in pieces; see store.uploads
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hansard.errors import CannotWrite, DiskFull, EmptyFile, MachineError

_BYTES = 2
"""Bytes of a sample on disk."""


class Files:
    """Files under one directory. Safe for any number of processes at once."""

    def __init__(self, root: Path, worker: str) -> None:
        """``worker`` names the scratch directory; see ``jobs.presence``."""
        self.root = root
        self.worker = worker
        self._recordings = root / "recordings"
        self._pcm = root / "pcm"
        self._scratch = root / "tmp" / worker

    # ── recordings ───────────────────────────────────────────────────────────────────────────

    @contextmanager
    def take_in(self, name: str, chunks: Iterable[bytes]) -> Iterator[Draft]:
        """Write a stream to scratch while hashing it; it is gone afterwards unless kept.

        Args:
            name: what the recording is called; the draft's file is named like it, so that an
                error about the file is about something the user knows.
            chunks: the bytes, read once.

        Raises:
            EmptyFile: not one byte came.
            DiskFull: no room; nothing is left behind.
        """
        with self.intake(name) as intake:
            for chunk in chunks:
                intake.write(chunk)
            with intake.draft() as draft:
                yield draft

    @contextmanager
    def intake(self, name: str) -> Iterator[Intake]:
        """Like :meth:`take_in`, for bytes that are pushed and not pulled."""
        folder = self._scratch / uuid.uuid4().hex
        intake = None
        try:
            with room(self.root):
                folder.mkdir(parents=True)
                intake = Intake(self, folder / file_name(name))
            yield intake
        finally:
            if intake is not None:
                intake.close()
            shutil.rmtree(folder, ignore_errors=True)

    def recording(self, sha256: str) -> Path:
        """Where the bytes with this hash are."""
        return self._recordings / sha256[:2] / sha256

    def recordings(self) -> Iterator[tuple[str, float]]:
        """Every recording on disk: its SHA-256, and when it was taken in (epoch seconds)."""
        for path in self._recordings.glob("??/*"):
            yield path.name, path.stat().st_mtime

    def forget_recording(self, sha256: str) -> None:
        """Remove a recording that no row names."""
        self.recording(sha256).unlink(missing_ok=True)

    # ── prepared audio ───────────────────────────────────────────────────────────────────────

    @contextmanager
    def write_pcm(self, key: str, channels: int) -> Iterator[PcmWriter]:
        """Write prepared audio; readers see each block at once, the final name means whole.

        A second run over a half-written file writes the same bytes again in place and never
        truncates: somebody may be reading windows that an earlier, killed run had planned.
        """
        with room(self.root):
            self._pcm.mkdir(parents=True, exist_ok=True)
            parts = [self._pcm_path(key, channel, whole=False) for channel in range(channels)]
            outs = [part.open("r+b" if part.exists() else "w+b") for part in parts]
            try:
                yield PcmWriter(outs)
                for out in outs:
                    out.truncate()
                    _sync(out)
            finally:
                for out in outs:
                    out.close()
            for channel, part in enumerate(parts):
                part.replace(self._pcm_path(key, channel, whole=True))

    def read_pcm(self, key: str, channel: int, start: int, length: int) -> NDArray[np.int16]:
        """Samples ``[start, start + length)``, shape ``(length,)``.

        Raises:
            MachineError: the file is gone or shorter than the window table says.
        """
        for whole in (True, False, True):  # it may be renamed between the first look and the next
            try:
                with self._pcm_path(key, channel, whole=whole).open("rb") as pcm:
                    pcm.seek(start * _BYTES)
                    samples = np.fromfile(pcm, dtype="<i2", count=length)
            except FileNotFoundError:
                continue
            if len(samples) == length:
                return samples
        raise MachineError(
            f"Prepared audio is missing: {key}, samples {start} to {start + length}.",
            hint="`hansard jobs retry` prepares it again.",
        )

    def has_pcm(self, key: str, channels: int) -> bool:
        """Whether prepared audio is whole."""
        return all(self._pcm_path(key, c, whole=True).exists() for c in range(channels))

    def pcm_keys(self) -> set[str]:
        """Keys of all prepared audio, whole or not."""
        if not self._pcm.exists():
            return set()
        return {path.name.split(".", 1)[0] for path in self._pcm.iterdir()}

    def drop_pcm(self, key: str) -> None:
        """Remove prepared audio; it can be made again from the recording."""
        if self._pcm.exists():
            for path in self._pcm.glob(f"{key}.*"):
                path.unlink(missing_ok=True)

    def _pcm_path(self, key: str, channel: int, *, whole: bool) -> Path:
        return self._pcm / f"{key}.{channel}.{'pcm' if whole else 'part'}"

    # ── scratch ──────────────────────────────────────────────────────────────────────────────

    def sweep(self, gone: Iterable[str]) -> None:
        """Remove what workers that no longer live had under way."""
        for worker in gone:
            shutil.rmtree(self.root / "tmp" / worker, ignore_errors=True)

    def scratch_workers(self) -> list[str]:
        """Workers, living or not, that have a scratch directory."""
        tmp = self.root / "tmp"
        return sorted(path.name for path in tmp.iterdir()) if tmp.exists() else []

    def free_bytes(self) -> int:
        """Room on the disk that holds the store."""
        probe = self.root
        while not probe.exists():
            probe = probe.parent
        return shutil.disk_usage(probe).free

    def close(self) -> None:
        """Remove this worker's scratch directory."""
        shutil.rmtree(self._scratch, ignore_errors=True)


class Intake:
    """A file in scratch that is being written and hashed."""

    def __init__(self, files: Files, path: Path) -> None:
        self.path = path
        self.size = 0
        self._files = files
        self._digest = hashlib.sha256()
        self._out = path.open("wb")

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add bytes. Lets go of the GIL while it hashes and writes.

        Raises:
            DiskFull: no room.
        """
        with room(self._files.root):
            self._digest.update(chunk)
            self._out.write(chunk)
        self.size += len(chunk)

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """All has come: what came, whole and hashed.

        Raises:
            EmptyFile: not one byte came.
            DiskFull: no room.
        """
        with room(self._files.root):
            self._out.close()
        if self.size == 0:
            raise EmptyFile(
                f"{self.path.name} has no bytes.", hint="Was it copied or recorded to the end?"
            )
        # Bringing gigabytes to the disk takes seconds: meanwhile the file can be examined.
        with ThreadPoolExecutor(1, "hansard-sync") as pool:
            synced = pool.submit(_sync_file, self.path)
            yield Draft(self.path, self._digest.hexdigest(), self.size, self._files, synced)

    def close(self) -> None:
        """Let go of the file; on a full disk, without what could not be written."""
        with suppress(OSError):
            self._out.close()


class Draft:
    """A file in scratch, whole and hashed; :meth:`keep` makes it a recording."""

    def __init__(
        self, path: Path, sha256: str, size: int, files: Files, synced: Future[None]
    ) -> None:
        self.path = path
        self.sha256 = sha256
        self.size = size
        self._files = files
        self._synced = synced

    def keep(self) -> Path:
        """Move it among the recordings, once its bytes are on the disk; the same are kept once.

        Raises:
            DiskFull: no room.
        """
        final = self._files.recording(self.sha256)
        with room(self._files.root):
            self._synced.result()
            if not final.exists():
                final.parent.mkdir(parents=True, exist_ok=True)
                os.utime(self.path)  # a recording without a row is taken for lost when it is old
                self.path.replace(final)
                sync_directory(final.parent)
        return final


class PcmWriter:
    """Appends blocks to one file a channel."""

    def __init__(self, outs: Sequence[BinaryIO]) -> None:
        self._outs = outs
        self.samples = 0
        """Samples written so far, each channel."""

    def write(self, block: NDArray[np.int16]) -> None:
        """Add a block, shape ``(channels, n)``; it can be read when this returns."""
        for row, out in zip(block, self._outs, strict=True):
            out.write(np.ascontiguousarray(row, dtype="<i2").data)
            out.flush()
        self.samples += block.shape[1]


@contextmanager
def room(where: Path) -> Iterator[None]:
    """A full disk, and a directory that may not be written, in Hansard's words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(
                f"There is no room left on the disk of {where}.",
                hint="Free some space, or choose another directory with --data.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise CannotWrite(
                f"{where} cannot be written: {error.strerror}.",
                hint="Choose another directory with --data.",
            ) from error
        raise


def file_name(name: str) -> str:
    """A name that any file system takes: the last part of a path, without control characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(c for c in last if c.isprintable()).strip(". ")
    return clean.encode()[-200:].decode(errors="ignore") or "recording"


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
