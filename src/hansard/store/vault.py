"""Where archives lie: a directory, or a bucket. A file is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hansard.errors import CannotWrite
from hansard.shared import S3Settings
from hansard.store.files import room, sync_directory

_S3 = "s3://"

_PIECE = 1 << 20
"""Bytes in memory at once."""


class Vault(ABC):
    """Files by key; keys have slashes."""

    @abstractmethod
    def place(self, key: str) -> str:
        """What a file is known by in the store: see :func:`of`."""

    @abstractmethod
    def keep(self, key: str, path: Path) -> None:
        """Put a copy of a file there, in place of what may be there already.

        Raises:
            DiskFull, CannotWrite, FilesGone: it cannot be.
        """

    @abstractmethod
    def read(self, key: str) -> Iterator[bytes]:
        """All bytes of a file, a piece at a time.

        Raises:
            FileNotFoundError: there is none.
            FilesGone: it cannot be reached.
        """

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of a file; ``None`` where there is none."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def keys(self) -> Iterator[str]:
        """Every file there is."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""


class Folder(Vault):
    """A directory of this machine, or one that it mounts."""

    def __init__(self, data: Path, root: Path) -> None:
        """``root`` is remembered from ``data`` on where it lies in there: both may be moved."""
        self.root = data / root
        self._data = data

    def place(self, key: str) -> str:
        """Below the data directory, or from the root."""
        path = self.root / key
        if path.is_relative_to(self._data):
            return str(path.relative_to(self._data))
        return str(path.absolute())

    def keep(self, key: str, path: Path) -> None:
        """Under another name until it is on the disk."""
        final = self.root / key
        part = final.with_name(f".{final.name}.part")
        with room(self.root):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("rb") as given, part.open("wb") as out:
                    shutil.copyfileobj(given, out, _PIECE)
                    out.flush()
                    os.fsync(out.fileno())
                part.replace(final)
            finally:
                part.unlink(missing_ok=True)
            sync_directory(final.parent)

    def read(self, key: str) -> Iterator[bytes]:
        """All bytes, a piece at a time."""
        with (self.root / key).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def size(self, key: str) -> int | None:
        """Bytes of a file, if it is there."""
        try:
            return (self.root / key).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, key: str) -> None:
        """Remove a file, and its directory where that is empty then."""
        path = self.root / key
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CannotWrite(
                f"{path} cannot be removed: {error.strerror}.", hint="May its directory be written?"
            ) from error
        with suppress(OSError):  # another is still in there
            path.parent.rmdir()

    def keys(self) -> Iterator[str]:
        """Every whole file below the directory."""
        for path in self.root.rglob("*.tar"):
            yield path.relative_to(self.root).as_posix()

    def close(self) -> None:
        """Nothing is held."""


class Shelf(Vault):
    """Below a prefix of a bucket."""

    def __init__(self, address: str, settings: S3Settings) -> None:
        """``address`` is like ``s3://bucket/prefix``.

        Raises:
            BadSettings: it is none.
        """
        from hansard.store.bucket import Bucket

        self._address = address.rstrip("/")
        self._bucket = Bucket(address, settings)

    def place(self, key: str) -> str:
        """Its address."""
        return f"{self._address}/{key}"

    def keep(self, key: str, path: Path) -> None:
        """In parts, where it is large."""
        self._bucket.put_file(key, path, {})

    def read(self, key: str) -> Iterator[bytes]:
        """All bytes, as they come."""
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(key)
        return self._bucket.stream(key, 0, size)

    def size(self, key: str) -> int | None:
        """Bytes of an object, if it is there."""
        found = self._bucket.find(key)
        return None if found is None else found.size

    def remove(self, key: str) -> None:
        """Remove an object; gives up soon."""
        self._bucket.remove(key)

    def keys(self) -> Iterator[str]:
        """Every object below the prefix."""
        return (entry.key for entry in self._bucket.entries(""))

    def close(self) -> None:
        """Let go of threads and connections."""
        self._bucket.close()


class Vaults:
    """Those of one process: each is opened once."""

    def __init__(self, data: Path, settings: S3Settings) -> None:
        self._data = data
        self._settings = settings
        self._opened: dict[str, Vault] = {}

    def get(self, place: str | None) -> Vault:
        """The vault of a setting; ``archive/`` in the data directory where it names none.

        Raises:
            BadSettings: it is no place.
        """
        name = place or "archive"
        if name not in self._opened:
            self._opened[name] = (
                Shelf(name, self._settings)
                if name.startswith(_S3)
                else Folder(self._data, Path(name).expanduser())
            )
        return self._opened[name]

    def of(self, place: str) -> tuple[Vault, str]:
        """The vault that a file lies in and its key there, as :meth:`Vault.place` named it."""
        if place.startswith(_S3):
            bucket, _, key = place.removeprefix(_S3).partition("/")
            return self.get(f"{_S3}{bucket}"), key
        path = Path(place)
        return Folder(self._data, path.parent), path.name

    def close(self) -> None:
        """Let go of connections."""
        for one in self._opened.values():
            one.close()
        self._opened.clear()
