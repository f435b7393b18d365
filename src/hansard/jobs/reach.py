"""Which jobs this host can work on, where many hosts share a database but not every file.

Assumed: what lies in the data directory is there for all processes that use that directory, and
for nobody else; what lies in object storage is there for everybody. So with files on disks of
their own, a recording is prepared and its windows are heard where it was taken in, and finishing
is anybody's; with shared files every host may do everything, but for live sessions that were left:
their tapes are always on the disk of whoever received them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hansard.store.files import Files
from hansard.store.lives import PLACEHOLDER
from hansard.store.tables import IS_OPEN, jobs

_OPEN = sa.select(jobs.c.id, jobs.c.kind, jobs.c.step, jobs.c.recording).where(
    IS_OPEN, jobs.c.step.in_(("record", "prepare", "listen", "run"))
)

_HEARS = "speakers"
"""The kind of follow-up that needs the recording; others need only the store."""

_FRESH = 2.0
"""Seconds for which it is remembered which jobs are out of reach: they are walked through once."""


class Reach:
    """What of the work is within reach of a host. One for each queue."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._elsewhere: set[str] = set()
        self._due = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether everybody finds every file."""
        return not self._files.prepared_here

    def elsewhere(self, connection: sa.Connection, now: float) -> list[str]:
        """Open jobs that are to be left to other hosts, as far as they are known."""
        if not self._due - _FRESH <= now < self._due:
            self._due = now + _FRESH
            prepared = self._prepared()
            found = connection.execute(_OPEN).all()
            self._elsewhere = {row.id for row in found if not self._has(row, prepared)}
        return sorted(self._elsewhere)

    def has(self, row: sa.Row[*tuple[Any, ...]]) -> bool:
        """Whether the next step of a job can be done here. It is remembered where it cannot."""
        if self._has(row, self._prepared()):
            return True
        self._elsewhere.add(row.id)
        return False

    def has_tape(self, job: str) -> bool:
        """Whether what a live session sent lies here."""
        return (self._files.root / "live" / f"{job}.raw").exists()

    def hears(self, job: str) -> bool:
        """Whether prepared audio of a job, whole or not, can be read here."""
        if not self._files.prepared_here or job in self._files.pcm_keys():
            return True
        self._elsewhere.add(job)
        return False

    def _prepared(self) -> set[str] | None:
        """Jobs whose prepared audio lies here; ``None`` where it lies with everybody's."""
        return self._files.pcm_keys() if self._files.prepared_here else None

    def _has(self, row: sa.Row[*tuple[Any, ...]], prepared: set[str] | None) -> bool:
        if row.step in ("record", "prepare") and row.recording.startswith(PLACEHOLDER):
            return self.has_tape(row.id)
        if row.step == "run" and row.kind == _HEARS and prepared is not None:
            return self._files.has_recording(row.recording)
        if row.step not in ("prepare", "listen") or prepared is None or row.id in prepared:
            return True
        return row.step == "prepare" and self._files.has_recording(row.recording)
