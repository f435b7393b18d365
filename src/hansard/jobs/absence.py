"""Files that no host has: what waits for them fails in the end, and says so.

Where hosts keep files on disks of their own (``jobs.reach``), a job waits for the one that took its
recording in. Should that one never come back, nobody could tell: to the others it is a job that
waits for its turn elsewhere. So whoever lives and does not have the files notes since when they are
missed, and whoever has them strikes that out. What nobody has struck out for longer than
``queue.missing_seconds`` fails; another try begins anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from hansard.errors import FilesMissing
from hansard.jobs import roll, states
from hansard.jobs.ledger import ENDS, Ledger
from hansard.store import locks
from hansard.store.tables import IS_OPEN, jobs

_log = logging.getLogger("hansard.worker")

_LOOKS = 4
"""Looks in the time after which files are given up."""


class Absence:
    """What a worker does about it, for as long as it lives."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._next = 0.0

    def keep_up(self) -> None:
        """Look, if it is time to. To be called often."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._ledger.settings.missing_seconds / _LOOKS
        for job in give_up(self._ledger, time.time()):
            _log.warning("job %s has failed: no host has its files", job)


def give_up(ledger: Ledger, now: float) -> list[str]:
    """Note which jobs wait for files that are not here, and fail what has waited too long.

    Every worker does so several times in ``missing_seconds``: what is here is struck out only by
    who looks.

    Args:
        ledger: with the reach of this host.
        now: seconds since the epoch.

    Returns:
        The names of jobs that have failed.
    """
    reach, patience = ledger.reach, ledger.settings.missing_seconds
    if reach is None or reach.is_whole:
        return []
    waiting = sa.select(jobs).where(
        IS_OPEN,
        jobs.c.step.in_(("prepare", "listen", "run")),
        jobs.c.token.is_(None),
        jobs.c.created < now - patience,
    )
    with ledger.database.read() as connection:
        found = [(row, reach.has(row)) for row in connection.execute(waiting)]
    here = [row.id for row, has in found if has and row.missed is not None]
    away = [row.id for row, has in found if not has and row.missed is None]
    late = [row.id for row, has in found if not has and (row.missed or now) < now - patience]
    if here or away:
        with ledger.database.write(lasting=False, silent=True, unseen=True) as connection:
            states.lock(connection, sorted([*here, *away]))
            _mark(connection, here, None)
            _mark(connection, away, now)
    return _failed(ledger, sorted(late), now) if late else []


def _mark(connection: sa.Connection, ids: Sequence[str], since: float | None) -> None:
    if ids:
        changed = jobs.c.missed.is_not(None) if since is None else jobs.c.missed.is_(None)
        connection.execute(jobs.update().where(jobs.c.id.in_(ids), changed).values(missed=since))


def _failed(ledger: Ledger, ids: Sequence[str], now: float) -> list[str]:
    patience, failed = ledger.settings.missing_seconds, []
    with ledger.database.write() as connection:
        locks.alone(connection, ENDS)
        places = roll.hosts(connection, ledger.lease_seconds)
        for row in states.lock(connection, ids):
            still = row.missed is not None and row.missed < now - patience
            if row.finished is None and row.token is None and still:
                cause = _error(row, patience, places).failure()
                states.note(connection, row.id, row.step, cause, owner=ledger.owner, now=now)
                states.end(connection, row.id, "failed", cause, now=now)
                failed.append(row.id)
    return failed


def _error(row: sa.Row[Any], patience: float, places: Sequence[str]) -> FilesMissing:
    what = "prepared audio" if row.step == "listen" else f"recording {row.recording}"
    return FilesMissing(
        f"The {what} of {row.name or row.id} has been on no host that works for "
        f"{patience / 60:,.0f} minutes; those are now: {', '.join(places) or 'none'}.",
        hint="Start the host that took it in and retry the job, or keep files where all hosts "
        "find them: HANSARD_FILES=s3://….",
    )
