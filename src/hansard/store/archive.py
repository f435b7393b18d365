"""Meetings that are kept in a cheaper place: one file each, and a row that says where it is.

A file is written, read back and held against its hash before anything leaves the store, and one
transaction does that. So whoever is killed at any moment loses nothing: at most a file is there
that no row names, and the next run takes it as it is. Only completed meetings go: others may still
be tried again, and hold little.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hansard.config import Settings
from hansard.errors import FilesGone, HansardError, InvalidState, StoreBroken, UnknownJob
from hansard.model import Value
from hansard.store import archived, index, locks, packing, vault
from hansard.store.database import Database
from hansard.store.files import Files
from hansard.store.tables import archives, jobs, metadata, segments, transcripts, windows

_log = logging.getLogger("hansard.archive")

DAY = 86_400.0

_ROUND = 20
"""Meetings in one go of house-keeping: whoever keeps house has leases to renew as well."""

_PIECE = 500
"""Rows in one statement."""

_ORDER = [table.name for table in packing.TAKEN]


class Entry(Value, frozen=True):
    """An archived meeting. Times are seconds since the epoch."""

    job: str
    name: str
    created: float
    archived: float
    place: str
    sha256: str
    size: int
    """Bytes of the file."""
    segments: int
    audio: bool
    """Whether its media are in there."""


class Archive:
    """The archive of one store."""

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
        self._vaults = vault.Vaults(settings.data, settings.s3)
        self._after = ""
        """House-keeping has looked at meetings up to this one."""

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    def due(self, before: float, limit: int = 1000, *, after: str = "") -> list[str]:
        """Completed meetings that ended before a moment and are not archived, by their ids."""
        chosen = (
            sa.select(jobs.c.id)
            .outerjoin(archives, archives.c.job == jobs.c.id)
            .where(
                jobs.c.finished < before,
                jobs.c.state == "completed",
                archives.c.job.is_(None),
                jobs.c.parent.is_(None),
                jobs.c.id > after,
            )
            .order_by(jobs.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return list(connection.scalars(chosen))

    def listing(self, limit: int = 1000, *, before: str | None = None) -> list[Entry]:
        """What is archived, the newest meeting first; ``before`` is the last id of a page."""
        chosen = (
            sa.select(archives, jobs.c.name, jobs.c.created)
            .join(jobs, jobs.c.id == archives.c.job)
            .order_by(archives.c.job.desc())
            .limit(limit)
        )
        if before is not None:
            chosen = chosen.where(archives.c.job < before)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(chosen)]

    def find(self, job: str) -> Entry:
        """What is said of an archived meeting.

        Raises:
            UnknownJob: there is no such job.
            InvalidState: it is not archived.
        """
        chosen = (
            sa.select(archives, jobs.c.name, jobs.c.created)
            .join(jobs, jobs.c.id == archives.c.job)
            .where(archives.c.job == job)
        )
        with self._database.read() as connection:
            found = connection.execute(chosen).first()
            if found is None:
                _row(connection, job)
                raise InvalidState(
                    f"Job {job} is not archived.", hint="`hansard archive list` shows what is."
                )
        return _entry(found)

    def trouble(self, *, deep: bool) -> Iterator[tuple[str, str, str]]:
        """Archives that are not there or not whole: job, place, what; ``deep`` reads them all."""
        last: str | None = None
        while page := self.listing(_PIECE, before=last):
            for entry in page:
                last = entry.job
                where, key = self._vaults.of(entry.place)
                size = where.size(key)
                if size is None:
                    yield entry.job, entry.place, "not there"
                elif size != entry.size or (deep and _hash(where.read(key)) != entry.sha256):
                    yield entry.job, entry.place, "damaged"

    def unnamed(self) -> Iterator[str]:
        """Files that no row names: left by a run that was interrupted, or another library's."""
        where = self._vaults.get(self._settings.archive.place)
        places = map(where.place, where.keys())
        while page := list(islice(places, _PIECE)):
            with self._database.read() as connection:
                found = sa.select(archives.c.place).where(archives.c.place.in_(page))
                known = set(connection.scalars(found))
            yield from (place for place in page if place not in known)

    # ── there ────────────────────────────────────────────────────────────────────────────────

    def put(self, job: str, *, audio: bool = False) -> Entry:
        """Take a completed meeting out of the store; ``audio``: and its media.

        Raises:
            UnknownJob: there is no such job.
            Archived: it is archived already.
            InvalidState: it is not completed, or there is no transcript of it.
            MediaGone: its media are wanted, and are not kept any more.
            HansardError: the file cannot be written, or does not come back as it was.
        """
        with self._database.read() as connection:
            row = _row(connection, job)
            archived.see_that_it_is_here(connection, job)
            if row.state != "completed":
                raise InvalidState(
                    f"Job {job} is {row.state}: only completed ones are archived.",
                    hint="`hansard jobs delete` removes one for good.",
                )
            if row.parent is not None:
                raise InvalidState(
                    f"Job {job} follows job {row.parent}: it is that one that is archived.",
                    hint=f"`hansard archive put {row.parent}`",
                )
        opened = self._files.open_recording(row.recording) if audio else nullcontext()
        with self._files.folder() as folder, opened as media:
            path, counts = packing.pack(self._database, job, folder, media, row.recording)
            place, sha256, size = self._keep(_key(job, row.created), path)
        known = {
            "job": job,
            "place": place,
            "sha256": sha256,
            "size": size,
            "segments": counts["segments"],
            "audio": int(audio),
            "archived": self._clock(),
        }
        self.take_out(row, counts, known)
        if audio:
            self.drop_media(row.recording)
        return self.find(job)

    def _keep(self, key: str, path: Path) -> tuple[str, str, int]:
        """Bring a file to the archive; where it is, its hash and its size."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        where = self._vaults.get(self._settings.archive.place)
        if where.size(key) != size or _hash(where.read(key)) != sha256:
            where.keep(key, path)
            if _hash(where.read(key)) != sha256:
                raise FilesGone(
                    f"The archive {where.place(key)} did not come back as it was written.",
                    hint="Nothing was taken out of the store. Is that storage sound?",
                )
        return where.place(key), sha256, size

    def take_out(self, row: sa.Row[Any], counts: dict[str, int], known: dict[str, Any]) -> None:
        """The one transaction: out of the store what is in the file, and nothing else."""
        with self._database.write() as connection:
            now = _row(connection, row.id, lock=True)
            archived.see_that_it_is_here(connection, row.id)
            # First of all, as in writing one, or making a month would wait for us and we for it.
            connection.execute(
                transcripts.update()
                .where(transcripts.c.job == row.id)
                .values(segments=transcripts.c.segments)
            )
            found = {
                table.name: connection.execute(table.delete().where(table.c.job == row.id)).rowcount
                for table in (segments, windows, transcripts)
            }
            if (now.state, now.finished) != (row.state, row.finished) or any(
                found[name] != counts.get(name, 0) for name in found
            ):
                raise InvalidState(
                    f"Job {row.id} changed while it was being archived.", hint="Try again."
                )
            connection.execute(archives.insert().values(known))

    def drop_media(self, recording: str) -> None:
        """Remove media that only archives need, which have them."""
        needed = (
            sa.select(jobs.c.id)
            .outerjoin(archives, archives.c.job == jobs.c.id)
            .where(
                jobs.c.recording == recording,
                jobs.c.parent.is_(None),
                sa.func.coalesce(archives.c.audio, 0) == 0,
            )
            .limit(1)
        )
        with self._database.write() as connection:
            locks.recording(connection, recording)
            if connection.execute(needed).first() is None:
                self._files.forget_recording(recording)

    def sweep(self, since: float = 0.0) -> None:
        """Remove media that an interrupted run left, though the archive has them.

        Only meetings that were archived after ``since`` are looked at.
        """
        with_audio = (
            sa.select(archives.c.job, jobs.c.recording)
            .join(jobs, jobs.c.id == archives.c.job)
            .where(archives.c.audio == 1, archives.c.archived >= since)
            .order_by(archives.c.job)
            .limit(_PIECE)
        )
        last = ""
        while True:
            with self._database.read() as connection:
                page = connection.execute(with_audio.where(archives.c.job > last)).all()
            for row in page:
                last = row.job
                if self._files.has_recording(row.recording):
                    self.drop_media(row.recording)
            if len(page) < _PIECE:
                return

    # ── and back ─────────────────────────────────────────────────────────────────────────────

    def restore(self, job: str) -> Entry:
        """Bring a meeting back as it was, and remove its file from the archive.

        Raises:
            UnknownJob: there is no such job.
            InvalidState: it is not archived.
            StoreBroken: the file is not there, or is not what was written; nothing was changed.
            HansardError: the archive cannot be reached, or there is no room.
        """
        entry = self.find(job)
        with self._files.folder() as folder:
            path = folder / f"{job}.tar"
            self._fetch(entry, path)
            with packing.unpacked(path, job, entry.place) as packed:
                self._keep_media(entry, packed)
                self.put_back(entry, packed)
                # Until then house-keeping may have taken them for left over.
                self._keep_media(entry, packed)
        try:
            self.discard(entry.place)
        except HansardError as error:
            _log.warning(
                "job %s is back, but its archive %s could not be removed: %s",
                *(job, entry.place, error.message),
            )
        return entry

    def _fetch(self, entry: Entry, path: Path) -> None:
        where, key = self._vaults.of(entry.place)
        digest = hashlib.sha256()
        try:
            with path.open("wb") as out:
                for piece in where.read(key):
                    digest.update(piece)
                    out.write(piece)
        except FileNotFoundError as error:
            raise StoreBroken(
                f"The archive {entry.place} of job {entry.job} is not there.",
                hint="Put a copy of it in its place.",
            ) from error
        if digest.hexdigest() != entry.sha256:
            raise StoreBroken(
                f"The archive {entry.place} of job {entry.job} is damaged: "
                "its SHA-256 is not what it was.",
                hint="Nothing was changed. Put a sound copy of it in its place.",
            )

    def _keep_media(self, entry: Entry, packed: packing.Packed) -> None:
        if packed.media is not None and not self._files.has_recording(packed.media):
            with self._files.take_in(entry.name, packed.chunks()) as draft:
                draft.keep()

    def put_back(self, entry: Entry, packed: packing.Packed) -> None:
        """The one transaction: into the store what is in the file."""
        tables = {name: metadata.tables[name] for name in _ORDER}
        with self._database.write() as connection:
            _row(connection, entry.job, lock=True)
            gone = connection.execute(archives.delete().where(archives.c.job == entry.job))
            if gone.rowcount != 1:
                raise InvalidState(f"Job {entry.job} was restored by somebody else just now.")
            wanted = ((name, row) for name, row in packed.rows() if name in tables)
            while piece := list(islice(wanted, _PIECE)):
                for name in _ORDER:
                    fit = [_fitting(tables[name], row) for table, row in piece if table == name]
                    if fit:
                        connection.execute(tables[name].insert(), fit)
            index.keep(connection, entry.job)

    # ── removing ─────────────────────────────────────────────────────────────────────────────

    def discard(self, place: str) -> None:
        """Remove a file of the archive, given the ``place`` that its row had."""
        where, key = self._vaults.of(place)
        where.remove(key)

    def close(self) -> None:
        """Let go of connections."""
        self._vaults.close()

    # ── by itself ────────────────────────────────────────────────────────────────────────────

    def keep_up(self, now: float) -> bool:
        """Archive what ``archive.days`` says is old enough; whether there is more to do at once.

        Media stay where they are. What goes wrong is said, and tried again in the next round.
        """
        days = self._settings.archive.days
        if days is None:
            return False
        due = self.due(now - days * DAY, _ROUND, after=self._after)
        self._after = due[-1] if len(due) == _ROUND else ""  # one that cannot go holds up no other
        for job in due:
            try:
                entry = self.put(job)
            except HansardError as error:
                _log.warning("job %s cannot be archived: %s", job, error.message)
                if error.trouble != "permanent":
                    return False
            else:
                _log.info("archived job %s, %d bytes, to %s", job, entry.size, entry.place)
        return len(due) == _ROUND


def _row(connection: sa.Connection, job: str, *, lock: bool = False) -> sa.Row[Any]:
    chosen: sa.Select[Any] = sa.select(
        *(jobs.c.id, jobs.c.state, jobs.c.finished, jobs.c.created, jobs.c.recording),
        jobs.c.parent,
    ).where(jobs.c.id == job)
    found = connection.execute(chosen.with_for_update() if lock else chosen).first()
    if found is None:
        raise UnknownJob(f"There is no job {job}.", hint="`hansard jobs list` shows them.")
    return found


def _entry(row: sa.Row[Any]) -> Entry:
    return Entry(
        row.job,
        row.name,
        row.created,
        row.archived,
        row.place,
        row.sha256,
        row.size,
        row.segments,
        bool(row.audio),
    )


def _key(job: str, created: float) -> str:
    return f"{datetime.fromtimestamp(created, UTC):%Y/%m}/{job}.tar"


def _hash(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _fitting(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    """The columns that the table has: an archive may be older than the schema."""
    return {name: value for name, value in row.items() if name in table.columns}
