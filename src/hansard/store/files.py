"""The files of the store, wherever they are: recordings by content hash, and prepared audio.

:class:`Files` is what the rest of Hansard knows; ``store.disk`` keeps them in the data directory,
``store.objects`` in object storage. Both keep a recording once, whole or not at all. What is under
way is always on the disk of this machine:

tmp/<worker>/…          swept when that worker is gone
uploads/<id>/…          what comes in pieces; see store.uploads
live/<job>.raw          what is being spoken; see live.tape
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hansard.errors import CannotWrite, DiskFull, EmptyFile, MachineError, MediaGone

BYTES = 2
"""Bytes of a sample of prepared audio: signed 16 bit little endian, 16 kHz."""


class Files(ABC):
    """Recordings, prepared audio and scratch. Safe for any number of processes at once."""

    orphan_age = 60.0
    """Seconds. A recording gets its row moments after it is kept: one without a row that is older
    was left by a process that died between the two."""
    listing_pause = 0.0
    """Seconds between two listings of everything, where nothing asks for one: they may cost."""
    prepared_here = True
    """Whether prepared audio takes room on this machine's disk."""
    recordings_here = True
    """Whether recordings do."""

    def __init__(self, root: Path, worker: str) -> None:
        """``worker`` names the scratch directory below ``root``; see ``jobs.presence``."""
        self.root = root
        self.worker = worker
        self.scratch = root / "tmp" / worker
        """For whatever is under way here; it may not be there yet."""

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
        with self.folder() as folder:
            intake = None
            try:
                with room(self.root):
                    intake = Intake(self, folder / file_name(name))
                yield intake
            finally:
                if intake is not None:
                    intake.close()

    @abstractmethod
    def keep(self, draft: Draft) -> None:
        """Put a draft among the recordings: whole or not at all; the same bytes are kept once.

        Raises:
            DiskFull: no room.
            FilesGone: it cannot be reached now.
        """

    @abstractmethod
    def has_recording(self, sha256: str) -> bool:
        """Whether the bytes with this hash are kept."""

    @abstractmethod
    def recording_size(self, sha256: str) -> int | None:
        """Bytes of a recording; ``None`` where it is not kept."""

    @abstractmethod
    def open_recording(self, sha256: str) -> AbstractContextManager[Path]:
        """A recording as a file on this machine, for whoever decodes it.

        Raises:
            MediaGone: it is not kept.
            DiskFull: it had to be fetched, and there is no room.
        """

    @abstractmethod
    def read_recording(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes ``[start, end)`` of a recording, a piece at a time, as they come.

        Raises:
            MediaGone: it is not kept.
        """

    @abstractmethod
    def recordings(self) -> Iterator[tuple[str, float]]:
        """Every recording: its SHA-256, and when it was taken in (epoch seconds)."""

    @abstractmethod
    def forget_recording(self, sha256: str) -> None:
        """Remove a recording that no row names. Gives up soon: a transaction may be waiting."""

    def local_recording(self, sha256: str) -> Path | None:
        """Where a recording would lie on this machine, if that is where recordings are."""
        del sha256
        return None

    def address_of(self, sha256: str, *, name: str, media_type: str) -> str | None:
        """An address that gives anybody who has it the recording, for a while.

        ``None``: there are no such addresses, or they are not to be used.
        """
        del sha256, name, media_type
        return None

    # ── prepared audio ───────────────────────────────────────────────────────────────────────

    @abstractmethod
    def write_pcm(self, key: str, channels: int) -> AbstractContextManager[PcmWriter]:
        """Write prepared audio. Readers see what was flushed; at the end of the block it is whole.

        A second run over half-written audio writes the same bytes again and never takes any away:
        somebody may be reading windows that an earlier, killed run had planned.
        """

    @abstractmethod
    def read_pcm(self, key: str, channel: int, start: int, length: int) -> NDArray[np.int16]:
        """Samples ``[start, start + length)``, shape ``(length,)``.

        Raises:
            MachineError: the audio is gone or shorter than the window table says.
        """

    @abstractmethod
    def has_pcm(self, key: str, channels: int) -> bool:
        """Whether prepared audio is whole."""

    @abstractmethod
    def pcm_keys(self) -> set[str]:
        """Keys of all prepared audio, whole or not."""

    @abstractmethod
    def drop_pcm(self, key: str) -> None:
        """Remove prepared audio; it can be made again from the recording."""

    # ── upkeep ───────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def tend(self, now: float) -> None:
        """Remove what broken-off work left where it cannot be seen; asked for now and then."""

    @abstractmethod
    def see_that_they_answer(self) -> str:
        """What is well, in a sentence; gives up soon.

        Raises:
            MachineError: nothing can be kept or read now.
        """

    def sweep(self, gone: Iterable[str]) -> None:
        """Remove what workers that no longer live had under way."""
        for worker in gone:
            shutil.rmtree(self.root / "tmp" / worker, ignore_errors=True)

    def scratch_workers(self) -> list[str]:
        """Workers, living or not, that have a scratch directory."""
        tmp = self.root / "tmp"
        return sorted(path.name for path in tmp.iterdir()) if tmp.exists() else []

    def free_bytes(self) -> int:
        """Room on the disk where things are taken in."""
        probe = self.root
        while not probe.exists():
            probe = probe.parent
        return shutil.disk_usage(probe).free

    def see_that_it_fits(self, prepared: int, size: int, reserve: int) -> None:
        """Whether a recording of ``size`` bytes can be prepared here, leaving ``reserve`` free.

        Raises:
            DiskFull: there is no room for ``prepared`` bytes, or for the recording itself, where
                that is fetched and what is prepared goes elsewhere.
        """
        needed = prepared if self.prepared_here else size
        free = self.free_bytes() - reserve
        if needed > free:
            raise DiskFull(
                f"Preparing this recording takes {needed / 1e6:,.0f} MB; "
                f"{max(0, free) / 1e6:,.0f} MB may be used in {self.root}.",
                hint="Free some space, or choose another directory with --data.",
            )

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A directory of one's own in scratch, gone afterwards."""
        folder = self.scratch / uuid.uuid4().hex
        try:
            with room(self.root):
                folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove this worker's scratch directory."""
        shutil.rmtree(self.scratch, ignore_errors=True)


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
    """A file on this machine, whole and hashed; :meth:`keep` makes it a recording."""

    def __init__(
        self,
        path: Path,
        sha256: str,
        size: int,
        files: Files,
        synced: Future[None],
        *,
        stays: bool = False,
    ) -> None:
        """``synced``: done when the bytes are on the disk. ``stays``: the file is needed on."""
        self.path = path
        self.sha256 = sha256
        self.size = size
        self.synced = synced
        self.stays = stays
        self._files = files

    def keep(self) -> None:
        """Put it among the recordings; see :meth:`Files.keep`."""
        self._files.keep(self)


class PcmWriter(Protocol):
    """Where prepared audio goes, block by block."""

    samples: int
    """Samples written so far, each channel."""

    def write(self, block: NDArray[np.int16]) -> None:
        """Add a block, shape ``(channels, n)``."""

    def flush(self) -> None:
        """What was written can be read by anybody when this returns."""


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


def media_gone() -> MediaGone:
    """What is said of a recording that is not kept any more."""
    return MediaGone("The media of this recording were removed.", hint="Send it again.")


def pcm_gone(key: str, start: int, length: int) -> MachineError:
    """What is said of prepared audio that is not there."""
    return MachineError(
        f"Prepared audio is missing: {key}, samples {start} to {start + length}.",
        hint="`hansard jobs retry` prepares it again.",
    )


def file_name(name: str) -> str:
    """A name that any file system takes: the last part of a path, without control characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(c for c in last if c.isprintable()).strip(". ")
    return clean.encode()[-200:].decode(errors="ignore") or "recording"


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
