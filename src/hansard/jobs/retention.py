"""What is removed, and when: leavings of the dead, what has expired, and what the settings say.

Nothing that a user gave or got is removed unless ``retention`` in the settings asks for it. Each
removal is logged with what, how old and how large. One process at a time does it.

A recording is kept once, however many jobs name it. Whether it may go is decided and done inside
one transaction that holds the recording's lock, so that no job can come to name it meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout

from hansard.config import Settings
from hansard.jobs import states, webhooks
from hansard.jobs.presence import Presence
from hansard.jobs.queue import Queue
from hansard.store import archived, locks, profiles, uploads
from hansard.store.archive import Archive
from hansard.store.database import Database
from hansard.store.files import Files
from hansard.store.tables import IS_OPEN, idempotency, jobs, recordings

_log = logging.getLogger("hansard.retention")

DAY = 86_400.0

_ROUND = 60.0
"""Seconds between two looks at what has come of age."""

_SEARCH = 3600.0
"""Seconds between two searches for recordings without a row that nobody gave a hint of."""

_MOST = 50
"""Removals in one go: whoever tidies has leases to renew as well."""

_START = (0.0, "")
"""Before every job: when it ended, and its id."""

_PAGE = 500
"""Names that are looked up at once."""


# ── leavings ─────────────────────────────────────────────────────────────────────────────────


def bury(queue: Queue, files: Files, presence: Presence) -> bool:
    """Free what dead workers held and remove what they had under way.

    A death is held against the work in hand, as one of its tries, only where a service outlived
    the worker. Whoever kills the whole service, or a command, says nothing about the work. Of a
    worker on another host nobody knows why it is silent: that is held against the work, since it
    may be what kills whole machines.

    Scratch is of this data directory, and so is whoever is swept out of it.

    Returns:
        Whether one of them may have left a recording without a row.
    """
    scratch = files.scratch_workers()
    here = {*presence.here(), *scratch}
    # Who shares a database is on the roll before it holds anything; otherwise owners are looked at.
    named = presence.known() if presence.roll is not None else queue.owners()
    gone = presence.gone({*here, *named})
    if not gone:
        return False
    elsewhere = [] if presence.roll is None else [worker for worker in gone if worker not in here]
    fallen = {*presence.comrades(gone), *elsewhere}
    for worker in gone:
        _log.info("worker %s is gone: freeing what it held", worker)
    queue.free(sorted(fallen))
    queue.free([worker for worker in gone if worker not in fallen], worn=False)
    files.sweep(gone)
    if presence.roll is not None:
        presence.roll.strike(gone)
    return not set(scratch).isdisjoint(gone)


def drop_prepared(database: Database, files: Files) -> None:
    """Remove the prepared audio of jobs that have ended; it can be made again.

    Only what lies where this host can see it: of files on disks of their own each host removes its
    own, whichever host ended the job.
    """
    # In this order: what is prepared from now on belongs to a job that is open by then.
    keys = sorted(files.pcm_keys())
    if not keys:
        return
    with database.read() as connection:
        needed = {
            key
            for page in _pages(keys)
            for key in connection.scalars(sa.select(jobs.c.id).where(IS_OPEN, jobs.c.id.in_(page)))
        }
    for key in keys:
        if key not in needed:
            with database.write() as connection:
                # Nobody takes it up again, and finds its audio there, while it is removed.
                if any(row.finished is None for row in states.lock(connection, [key])):
                    continue
                _log.info("removing prepared audio of job %s, which has ended", key)
                files.drop_pcm(key)


def drop_orphans(database: Database, files: Files) -> None:
    """Remove recordings that no row names: whoever took them in died before they were submitted."""
    files.tend(time.time())
    old = time.time() - files.orphan_age
    for page in _pages([sha256 for sha256, since in files.recordings() if since < old]):
        with database.read() as connection:
            found = sa.select(recordings.c.id).where(recordings.c.id.in_(page))
            known = {*connection.scalars(found), *profiles.named(connection, page)}
        for sha256 in page:
            if sha256 not in known:
                with database.write() as connection:
                    size = _drop_media(connection, files, sha256)
                if size is not None:
                    _log.info("removing recording %s, %d bytes, never submitted", sha256, size)


def _pages(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _PAGE):
        yield names[start : start + _PAGE]


# ── what has come of age ─────────────────────────────────────────────────────────────────────


class Retention:
    """The policies of one data directory. Cheap to ask often: it looks as seldom as will do."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        files: Files,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._files = files
        self._clock = clock
        self.archive = Archive(settings, database, files, clock)
        self._lock = FileLock(settings.data / "retention.lock")
        self._next = 0.0
        self._search = 0.0
        self._looked_at = _START
        """The media of jobs up to this one were removed, or had to stay."""
        self._hopeless = 0.0
        """Until when a full disk is left alone: nothing more could be removed."""

    def keep_up(self) -> None:
        """Remove what is due, if it is time to look and nobody else does."""
        now = self._clock()
        tight = now >= self._hopeless and self._tight()
        if now < self._next and not tight:
            return
        try:
            with self._lock.acquire(timeout=0):
                more = self.round(now)
                if tight:
                    self.relieve(now)
        except Timeout:
            more = False
        self._next = now if more else now + _ROUND

    def round(self, now: float) -> bool:
        """One look at everything that has an age; whether there is more to do at once."""
        uploads.expire(self._database, self._settings.data, now)
        with self._database.write() as connection:
            connection.execute(idempotency.delete().where(idempotency.c.created < now - DAY))
        if now >= self._search:
            self._search = now + _SEARCH
            self._looked_at = _START  # media may have come again
            drop_orphans(self._database, self._files)
            self.archive.sweep(now - DAY)
        rules = self._settings.retention
        more = rules.days is not None and self._remove_jobs(now, now - rules.days * DAY)
        more = self.archive.keep_up(now) or more
        if rules.audio_days is not None:
            more = self._remove_media(now, now - rules.audio_days * DAY) or more
        return more

    def _remove_jobs(self, now: float, before: float) -> bool:
        due = self._ended(before=before)
        for row in due:
            self._remove_job(row, now)
        return len(due) == _MOST

    def _remove_media(self, now: float, before: float) -> bool:
        due = self._ended(before=before, after=self._looked_at)
        for row in due:
            self._remove_media_of(row, now, before)
            self._looked_at = (row.finished, row.id)
        return len(due) == _MOST

    # ── a full disk ──────────────────────────────────────────────────────────────────────────

    def relieve(self, now: float) -> None:
        """Remove the oldest, one after the other, until the disk has its reserve again."""
        rule = self._settings.retention.pressure
        after = _START
        while self._tight() and (rows := self._ended(before=now, after=after)):
            for row in rows:
                if not self._tight():
                    return
                if rule == "all":
                    self._remove_job(row, now)
                else:
                    self._remove_media_of(row, now, now)
                after = (row.finished, row.id)
        if self._tight():
            self._hopeless = now + _ROUND
            _log.warning("the disk of %s has too little room still", self._files.root)

    def _tight(self) -> bool:
        if self._settings.retention.pressure == "keep" or not self._files.recordings_here:
            return False  # what lies elsewhere gives this disk no room by going
        return self._files.free_bytes() < self._settings.limits.disk_reserve

    # ── one removal ──────────────────────────────────────────────────────────────────────────

    def _ended(self, *, before: float, after: tuple[float, str] = _START) -> list[sa.Row[Any]]:
        """Jobs that ended before a moment and not before another, the oldest first.

        What follows others is left out: it goes when they do.
        """
        with self._database.read() as connection:
            return list(
                connection.execute(
                    sa.select(jobs.c.id, jobs.c.recording, jobs.c.finished)
                    .where(
                        jobs.c.finished.is_not(None),
                        jobs.c.finished < before,
                        jobs.c.parent.is_(None),
                        sa.tuple_(jobs.c.finished, jobs.c.id) > after,
                    )
                    .order_by(jobs.c.finished, jobs.c.id)
                    .limit(_MOST)
                )
            )

    def _remove_job(self, row: sa.Row[Any], now: float) -> None:
        size = remove(self._database, self._files, row.id, self.archive.discard)
        if size is not None:
            _log.info(
                "removing transcription %s, %.1f days old, %d bytes",
                *(row.id, (now - row.finished) / DAY, size),
            )

    def _remove_media_of(self, row: sa.Row[Any], now: float, before: float) -> None:
        if not self._files.has_recording(row.recording):
            return
        younger = sa.select(jobs.c.id).where(
            jobs.c.recording == row.recording, sa.or_(IS_OPEN, jobs.c.finished >= before)
        )
        with self._database.write() as connection:
            locks.recording(connection, row.recording)
            if connection.execute(younger.limit(1)).first() is not None:
                return
            size = _unlink(self._files, row.recording)
        if size is not None:
            _log.info(
                "removing the media of transcription %s, %.1f days old, %d bytes",
                *(row.id, (now - row.finished) / DAY, size),
            )


def remove(
    database: Database,
    files: Files,
    job: str,
    discard: Callable[[str], None] = lambda _: None,
) -> int | None:
    """Remove an ended transcription with all that hangs on it, and its media if no other has them.

    ``discard`` removes its archive, given the place.

    Returns:
        Bytes of media that were removed; ``None`` where there is no such job, or it is open.
    """
    with database.write() as connection:
        found = sa.select(jobs.c.recording).where(jobs.c.id == job, ~IS_OPEN)
        sha256 = connection.scalar(found)
        if sha256 is None:
            return None
        locks.recording(connection, sha256)
        now = next(iter(states.lock(connection, [job])), None)
        if now is None or now.finished is None or now.recording != sha256:
            return None  # somebody else removed it, or took it up again
        whole = [one.id for one in states.family(connection, job)]
        webhooks.forget(connection, job)
        place = archived.place(connection, job)
        connection.execute(jobs.delete().where(jobs.c.id.in_(whole)))
        if place is not None:
            discard(place)
        size = _drop_media(connection, files, sha256)
    files.drop_pcm(job)
    return size or 0


def drop_unnamed(database: Database, files: Files, sha256: str) -> None:
    """Remove a recording that was refused, unless somebody else was accepted with the same."""
    with database.write() as connection:
        _drop_media(connection, files, sha256)


def _drop_media(connection: sa.Connection, files: Files, sha256: str) -> int | None:
    """Remove a recording, row and file, where no job names it; its bytes, or ``None``."""
    locks.recording(connection, sha256)
    named = sa.select(jobs.c.id).where(jobs.c.recording == sha256).limit(1)
    if connection.execute(named).first() is not None or profiles.named(connection, [sha256]):
        return None
    connection.execute(recordings.delete().where(recordings.c.id == sha256))
    return _unlink(files, sha256)


def _unlink(files: Files, sha256: str) -> int | None:
    size = files.recording_size(sha256)
    if size is not None:
        files.forget_recording(sha256)
    return size
