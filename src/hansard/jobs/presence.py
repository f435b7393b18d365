"""Who is alive: each worker holds a file lock that the kernel lets go of when it dies.

A lease that ran out is noticed by the clock, whoever held it. A worker of this machine that was
killed is noticed at once: its lock can be taken. Process ids are not used; they are reused. Where
hosts share a database, workers of other data directories are known by ``jobs.roll`` alone.

A service holds ``service.lock`` in the same way, and says in ``service.json`` where it is reached.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from hansard.errors import AlreadyServing
from hansard.jobs.roll import Roll
from hansard.model import Value

_CLAIM_SECONDS = 1.0
"""Whoever only looks holds the service's lock for microseconds; a service holds it for good."""


class Presence:
    """This worker's sign of life, held until :meth:`close` or the end of the process."""

    def __init__(self, directory: Path, service: str | None = None) -> None:
        """``directory`` is shared by the workers of one data directory.

        ``service`` is the id of the one that watches over this process, if there is one.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._mark = f"{service}." if service else None
        self.worker = f"{self._mark or ''}{secrets.token_hex(8)}"
        """This worker's name: by chance unlike any other on any host, and good as a file name."""
        self.roll: Roll | None = None
        """Where those of other hosts are found, if there may be any."""
        self._lock = FileLock(self._path(self.worker))
        self._lock.acquire()

    def gone(self, workers: Iterable[str]) -> list[str]:
        """Those of the named workers that live no more. Never this one.

        Their signs are removed: what they held is found by what they left elsewhere.
        """
        others = [worker for worker in workers if worker != self.worker]
        here = [worker for worker in others if self._path(worker).exists()]
        gone = {worker for worker in here if self._is_gone(worker)}
        elsewhere = [worker for worker in others if worker not in here]
        gone.update(elsewhere if self.roll is None else self.roll.silent(elsewhere))
        return [worker for worker in others if worker in gone]

    def comrades(self, workers: Iterable[str]) -> list[str]:
        """Those of the named workers that the same living service watches over."""
        return [w for w in workers if self._mark is not None and w.startswith(self._mark)]

    def known(self) -> list[str]:
        """Every worker that left a sign, living or not, on any host."""
        elsewhere = [] if self.roll is None else self.roll.known()
        return sorted({*self.here(), *elsewhere})

    def here(self) -> list[str]:
        """Those of this data directory."""
        return sorted(path.name.removesuffix(".lock") for path in self._directory.glob("*.lock"))

    def close(self) -> None:
        """Leave, in order."""
        self._lock.release()
        self._path(self.worker).unlink(missing_ok=True)

    def _is_gone(self, worker: str) -> bool:
        path = self._path(worker)
        probe = FileLock(path)
        try:
            probe.acquire(timeout=0)
        except Timeout:
            return False
        # While it is held: a worker that made this file a moment ago, and waits, makes another.
        path.unlink(missing_ok=True)
        probe.release()
        return True

    def _path(self, worker: str) -> Path:
        return self._directory / f"{worker}.lock"


# ── the service ──────────────────────────────────────────────────────────────────────────────


class Notice(Value, frozen=True):
    """What a service says of itself."""

    id: str
    url: str
    pid: int
    started: float
    """Seconds since the epoch."""
    workers: int
    """Worker processes; a service without any only takes work in."""


def serving(data: Path) -> Notice | None:
    """The service that owns a data directory, if one lives and can be reached."""
    lock = data / "service.lock"
    if not lock.exists() or not _held(lock):
        return None
    try:
        return msgspec.json.decode((data / "service.json").read_bytes(), type=Notice)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None  # it is just starting, or just ending


def _held(path: Path) -> bool:
    probe = FileLock(path)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    probe.release()
    return False


@contextmanager
def owning(data: Path) -> Iterator[bool]:
    """Own a data directory as its service, for as long as the context lasts.

    Yields:
        Whether the service before this one was killed: what it had may be in use a moment longer.

    Raises:
        AlreadyServing: another one does.
    """
    lock = FileLock(data / "service.lock")
    try:
        lock.acquire(timeout=_CLAIM_SECONDS)
    except Timeout:
        other = serving(data)
        where = f"at {other.url} (process {other.pid})" if other else "and is just starting"
        raise AlreadyServing(
            f"A service has {data} already, {where}.",
            hint="Use that one, stop it, or choose another directory with --data.",
        ) from None
    notice = data / "service.json"
    try:
        killed = notice.exists()
        notice.unlink(missing_ok=True)
        yield killed
    finally:
        with contextlib.suppress(OSError):  # what counts is the lock
            notice.unlink(missing_ok=True)
        lock.release()


def announce(data: Path, service: Notice) -> None:
    """Say where the service is reached; readers see all of it or nothing."""
    part = data / "service.json.part"
    part.write_bytes(msgspec.json.encode(service) + b"\n")
    part.replace(data / "service.json")
