"""What a live session has sent, in one file that only grows: written first, read afterwards.

Whoever receives appends; whoever decodes follows behind and waits for more. Nothing is handed on
in memory, so nothing that was received is lost with a process, and a slow reader costs no memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hansard.audio.growing import LENGTH, Sound
from hansard.errors import BadRequest
from hansard.store.files import room

_SIP = 64 * 1024
"""Bytes read at once."""


def path(root: Path, job: str) -> Path:
    """Where the tape of a job lies, in the data directory ``root``."""
    return root / "live" / f"{job}.raw"


class LetGo(Exception):
    """The tape goes on, but not here."""


class Tape:
    """The bytes of one session. One thread appends, one follows."""

    def __init__(self, where: Path, sound: Sound) -> None:
        """Open a tape, or begin one. What a kill left half-written at its end is cut off."""
        self.path = where
        self.read = 0
        """Bytes that were followed."""
        self._packets = sound.codec == "opus"
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._ended = False
        self._let_go = False
        with room(where.parent):
            where.parent.mkdir(parents=True, exist_ok=True)
            self._out = where.open("r+b" if where.exists() else "w+b", buffering=0)
            self.size, headers = _whole(self._out) if self._packets else (_size(self._out), 0)
            """Bytes on the tape."""
            self._out.truncate(self.size)
            self._out.seek(self.size)
        self.received = self.size - headers
        """Bytes that its owner has sent: where he goes on."""

    @property
    def touched(self) -> float:
        """When something was last added, in seconds since the epoch."""
        return os.fstat(self._out.fileno()).st_mtime

    def append(self, data: bytes) -> None:
        """Add what has come; where the tape was closed meanwhile it is dropped.

        Raises:
            BadRequest: no packet can be that long.
            DiskFull: no room; nothing of it was added.
        """
        written = data
        if self._packets:
            if not 0 < len(data) < 65_536:
                raise BadRequest(
                    f"A packet of Opus cannot have {len(data)} bytes.",
                    hint="Send one packet in each message, without a container.",
                )
            written = LENGTH.pack(len(data)) + data
        with self._writing:
            if self._out.closed:
                return
            self._write(written)
        with self._changed:
            self.size += len(written)
            self.received += len(data)
            self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        try:
            with room(self.path.parent):
                view = memoryview(data)
                while view:
                    view = view[self._out.write(view) :]
        except BaseException:
            self._out.truncate(self.size)
            self._out.seek(self.size)
            raise

    def sync(self) -> int:
        """Bring what has come to the disk; how much that is, in bytes sent."""
        received = self.received
        with self._writing, room(self.path.parent):
            if not self._out.closed:
                os.fsync(self._out.fileno())
        return received

    def end(self) -> None:
        """This is all: whoever follows comes to an end."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def let_go(self) -> None:
        """Whoever follows stops, wherever he is."""
        with self._changed:
            self._let_go = True
            self._changed.notify_all()

    def follow(self) -> Iterator[bytes]:
        """Everything from the start to the end, as it comes.

        Raises:
            LetGo: :meth:`let_go` was called.
        """
        with self.path.open("rb", buffering=0) as source:
            while self._await():
                chunk = source.read(min(_SIP, self.size - self.read))
                assert chunk, "the tape is shorter than it was"
                yield chunk
                self.read += len(chunk)

    def _await(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._let_go or self._ended or self.size > self.read)
            if self._let_go:
                raise LetGo
            return self.size > self.read

    def close(self) -> None:
        """Let go of the file."""
        self.let_go()
        with self._writing:
            self._out.close()

    def remove(self) -> None:
        """Close it and throw it away."""
        self.close()
        self.path.unlink(missing_ok=True)


def packets(where: Path) -> Iterator[bytes]:
    """The packets on a tape of Opus."""
    with where.open("rb") as source:
        while len(head := source.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(head)
            packet = source.read(length)
            if len(packet) < length:
                return
            yield packet


def _size(out: BinaryIO) -> int:
    return os.fstat(out.fileno()).st_size


def _whole(out: BinaryIO) -> tuple[int, int]:
    """Bytes of the whole packets on a tape, and how many of those are lengths."""
    size = _size(out)
    at = headers = 0
    with open(os.dup(out.fileno()), "rb") as source:  # noqa: PTH123 a descriptor has no path
        source.seek(0)
        while len(head := source.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(head)
            if at + LENGTH.size + length > size:
                break
            source.seek(length, os.SEEK_CUR)
            at += LENGTH.size + length
            headers += LENGTH.size
    return at, headers
