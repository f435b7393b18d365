"""Who is alive: each worker holds a file lock that the kernel lets go of when it dies.

A lease that ran out is noticed by the clock, whoever held it. A worker of this machine that was
killed is noticed at once: its lock can be taken. Process ids are not used; they are reused.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout


class Presence:
    """This worker's sign of life, held until :meth:`close` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is shared by the workers of one data directory."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.worker = secrets.token_hex(8)
        """This worker's name: unique, and good as a file name."""
        self._lock = FileLock(self._path(self.worker))
        self._lock.acquire()

    def gone(self, workers: Iterable[str]) -> list[str]:
        """Those of the named workers that live no more. Never this one."""
        return [worker for worker in workers if worker != self.worker and self._is_gone(worker)]

    def known(self) -> list[str]:
        """Every worker that left a sign, living or not."""
        return sorted(path.stem for path in self._directory.glob("*.lock"))

    def forget(self, workers: Iterable[str]) -> None:
        """Remove the signs of workers that are gone."""
        for worker in workers:
            self._path(worker).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave, in order."""
        self._lock.release()
        self._path(self.worker).unlink(missing_ok=True)

    def _is_gone(self, worker: str) -> bool:
        path = self._path(worker)
        if not path.exists():
            return True
        probe = FileLock(path)
        try:
            probe.acquire(timeout=0)
        except Timeout:
            return False
        probe.release()
        return True

    def _path(self, worker: str) -> Path:
        return self._directory / f"{worker}.lock"
