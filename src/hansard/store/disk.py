"""Files on the disk of this machine.

recordings/ab/abcdef…   the bytes as they came in, named by their SHA-256
pcm/<key>.<channel>.pcm prepared audio: signed 16 bit little endian, 16 kHz, mono
pcm/….part              the same while it is still being written; windows are read from it
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hansard.errors import CannotWrite
from hansard.store.files import BYTES, Draft, Files, media_gone, pcm_gone, room, sync_directory

_log = logging.getLogger("hansard.store")

_PIECE = 256 * 1024
"""Bytes of a recording in memory for one reader."""


class Disk(Files):
    """Everything in the data directory."""

    def __init__(self, root: Path, worker: str) -> None:
        super().__init__(root, worker)
        self._recordings = root / "recordings"
        self._pcm = root / "pcm"

    # ── recordings ───────────────────────────────────────────────────────────────────────────

    def keep(self, draft: Draft) -> None:
        """Move it, once its bytes are on the disk; or give it a second name, where it stays."""
        final = self.local_recording(draft.sha256)
        with room(self.root):
            draft.synced.result()
            if final.exists():
                return
            final.parent.mkdir(parents=True, exist_ok=True)
            os.utime(draft.path)  # a recording without a row is taken for lost when it is old
            if not draft.stays or not self._linked(draft.path, final):
                draft.path.replace(final)
            sync_directory(final.parent)

    def _linked(self, path: Path, final: Path) -> bool:
        try:
            final.hardlink_to(path)
        except FileExistsError:
            pass  # the same bytes, a moment earlier
        except OSError as error:
            _log.warning(
                "the disk of %s has no hard links (%s): the upload moves now, and a "
                "refusal from here on costs its bytes",
                *(self.root, error.strerror),
            )
            return False
        return True

    def local_recording(self, sha256: str) -> Path:
        """Where the bytes with this hash are, if they are."""
        return self._recordings / sha256[:2] / sha256

    def has_recording(self, sha256: str) -> bool:
        """Whether there is such a file."""
        return self.local_recording(sha256).exists()

    def recording_size(self, sha256: str) -> int | None:
        """Bytes of the file."""
        try:
            return self.local_recording(sha256).stat().st_size
        except FileNotFoundError:
            return None

    @contextmanager
    def open_recording(self, sha256: str) -> Iterator[Path]:
        """The file itself."""
        path = self.local_recording(sha256)
        if not path.exists():
            raise media_gone()
        yield path

    def read_recording(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """From the file, which stays open: whoever removes it, it is read to the end."""
        try:
            file = self.local_recording(sha256).open("rb")
        except FileNotFoundError:
            raise media_gone() from None
        with file:
            file.seek(start)
            while start < end and (piece := file.read(min(_PIECE, end - start))):
                start += len(piece)
                yield piece

    def recordings(self) -> Iterator[tuple[str, float]]:
        """Every file, and when it was kept."""
        for path in self._recordings.glob("??/*"):
            yield path.name, path.stat().st_mtime

    def forget_recording(self, sha256: str) -> None:
        """Remove the file."""
        self.local_recording(sha256).unlink(missing_ok=True)

    # ── prepared audio ───────────────────────────────────────────────────────────────────────

    @contextmanager
    def write_pcm(self, key: str, channels: int) -> Iterator[_Rows]:
        """One file a channel, written in place; the final name means whole."""
        with room(self.root):
            self._pcm.mkdir(parents=True, exist_ok=True)
            parts = [self._pcm_path(key, channel, whole=False) for channel in range(channels)]
            outs = [part.open("r+b" if part.exists() else "w+b") for part in parts]
            try:
                yield _Rows(outs)
                for out in outs:
                    out.truncate()
                    _sync(out)
            finally:
                for out in outs:
                    out.close()
            for channel, part in enumerate(parts):
                part.replace(self._pcm_path(key, channel, whole=True))

    def read_pcm(self, key: str, channel: int, start: int, length: int) -> NDArray[np.int16]:
        """One read of one file."""
        for whole in (True, False, True):  # it may be renamed between the first look and the next
            try:
                with self._pcm_path(key, channel, whole=whole).open("rb") as pcm:
                    pcm.seek(start * BYTES)
                    samples = np.fromfile(pcm, dtype="<i2", count=length)
            except FileNotFoundError:
                continue
            if len(samples) == length:
                return samples
        raise pcm_gone(key, start, length)

    def has_pcm(self, key: str, channels: int) -> bool:
        """Whether each channel has its final name."""
        return all(self._pcm_path(key, c, whole=True).exists() for c in range(channels))

    def pcm_keys(self) -> set[str]:
        """What the names of the files begin with."""
        if not self._pcm.exists():
            return set()
        return {path.name.split(".", 1)[0] for path in self._pcm.iterdir()}

    def drop_pcm(self, key: str) -> None:
        """Remove the files of a key."""
        if self._pcm.exists():
            for path in self._pcm.glob(f"{key}.*"):
                path.unlink(missing_ok=True)

    def _pcm_path(self, key: str, channel: int, *, whole: bool) -> Path:
        return self._pcm / f"{key}.{channel}.{'pcm' if whole else 'part'}"

    # ── upkeep ───────────────────────────────────────────────────────────────────────────────

    def tend(self, now: float) -> None:
        """Nothing lies where it cannot be seen."""

    def see_that_they_answer(self) -> str:
        """Whether the directory can be written."""
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise CannotWrite(
                "The data directory cannot be written.", hint="Who owns it, and is it mounted?"
            )
        return "The data directory can be written."


class _Rows:
    """Appends blocks to one file a channel."""

    def __init__(self, outs: Sequence[BinaryIO]) -> None:
        self._outs = outs
        self.samples = 0

    def write(self, block: NDArray[np.int16]) -> None:
        """Add a block; it can be read when this returns."""
        for row, out in zip(block, self._outs, strict=True):
            out.write(np.ascontiguousarray(row, dtype="<i2").data)
            out.flush()
        self.samples += block.shape[1]

    def flush(self) -> None:
        """Nothing is held back."""


def _sync(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())
