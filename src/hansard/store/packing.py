"""A meeting as one file: a tar with its rows as compressed JSON lines, and its media if wanted.

meeting.jsonl.gz   {"archive": 1, "job": …}, then {"table": …, "row": {…}} a line, then {"end": …}
media/<sha256>     the recording as it came in

The same meeting gives the same bytes, and anybody's tar, gzip and JSON read it.
"""

from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import sqlalchemy as sa

from hansard.errors import StoreBroken
from hansard.store.database import Database
from hansard.store.tables import attempts, jobs, lives, recordings, segments, transcripts, windows

VERSION = 1

TAKEN = (transcripts, segments, windows)
"""Tables whose rows go into the archive and out of the store; in the order they come back."""

_BESIDE = (attempts, lives)
"""Tables whose rows stay in the store, and are in the archive as well: it speaks for itself."""

_MEETING = "meeting.jsonl.gz"
_MEDIA = "media/"
_PIECE = 500
"""Rows in memory at once."""

_OWN = {"windows": ("id", "owner", "token", "lease_until"), "segments": ("terms",)}
"""Columns that mean nothing to another store: they are given anew."""

_encode = msgspec.json.Encoder().encode


# ── out ──────────────────────────────────────────────────────────────────────────────────────


def rows(database: Database, job: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Table and row of all that belongs to a job that has ended, in order, streamed."""
    with database.read() as connection:
        found = connection.execute(sa.select(jobs).where(jobs.c.id == job)).mappings().one()
        wanted = recordings.c.id == found["recording"]
        recording = connection.execute(sa.select(recordings).where(wanted)).mappings().one()
    yield "recordings", _plain(recording)
    yield "jobs", _plain(found)
    for table in (*_BESIDE, *TAKEN):
        for row in _walk(database, table, job):
            yield str(table.name), _plain(row, _OWN.get(table.name, ()))


def _plain(row: sa.RowMapping, left_out: Collection[str] = ()) -> dict[str, Any]:
    """By names that are plain strings: SQLAlchemy's own are not JSON."""
    return {str(name): row[name] for name in row if name not in left_out}


def _walk(database: Database, table: sa.Table, job: str) -> Iterator[sa.RowMapping]:
    """In short transactions: the rows of a job that has ended do not change."""
    (*_, key) = table.primary_key.columns
    last: Any = None
    while True:
        chosen = sa.select(table).where(table.c.job == job).order_by(key).limit(_PIECE)
        with database.read() as connection:
            piece = (
                connection.execute(chosen if last is None else chosen.where(key > last))
                .mappings()
                .all()
            )
        yield from piece
        if len(piece) < _PIECE:
            return
        last = piece[-1][key]


def pack(
    database: Database, job: str, folder: Path, media: Path | None, sha256: str
) -> tuple[Path, Counter[str]]:
    """Write a meeting into a file in ``folder``; how many rows of each table are in it.

    Args:
        database: the store.
        job: which meeting; it has ended.
        folder: scratch.
        media: the recording, where it is to be in there.
        sha256: of the recording.
    """
    counts: Counter[str] = Counter()
    packed = folder / _MEETING
    with packed.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as out:
        out.write(_encode({"archive": VERSION, "job": job}) + b"\n")
        for table, row in rows(database, job):
            out.write(_encode({"table": table, "row": row}) + b"\n")
            counts[table] += 1
        out.write(_encode({"end": dict(sorted(counts.items()))}) + b"\n")
    whole = folder / f"{job}.tar"
    with tarfile.open(whole, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, _MEETING, packed)
        if media is not None:
            _add(tar, f"{_MEDIA}{sha256}", media)
    packed.unlink()
    return whole, counts


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    about = tarfile.TarInfo(name)
    about.size = path.stat().st_size
    with path.open("rb") as file:
        tar.addfile(about, file)


# ── in ───────────────────────────────────────────────────────────────────────────────────────


class Packed:
    """An archive that is read."""

    def __init__(self, tar: tarfile.TarFile, job: str, place: str) -> None:
        self._tar = tar
        self._job = job
        self._place = place
        self.media = next(
            (name.removeprefix(_MEDIA) for name in tar.getnames() if name.startswith(_MEDIA)), None
        )
        """The SHA-256 of the recording, where it is in there."""

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Table and row, as they were written.

        Raises:
            StoreBroken: it is not the archive of this meeting, or not all of it.
        """
        counts: Counter[str] = Counter()
        with self._member(_MEETING) as file, gzip.GzipFile(fileobj=file) as lines:
            head = msgspec.json.decode(next(lines, b"{}"))
            if head.get("archive") != VERSION or head.get("job") != self._job:
                raise self._broken("it says that it is something else")
            for line in lines:
                said = msgspec.json.decode(line)
                if "end" in said:
                    if said["end"] != counts:
                        raise self._broken("rows are missing in it")
                    return
                counts[said["table"]] += 1
                yield said["table"], said["row"]
        raise self._broken("its end is missing")

    def chunks(self) -> Iterator[bytes]:
        """The recording, where it is in there."""
        with self._member(f"{_MEDIA}{self.media}") as file:
            while piece := file.read(1 << 20):
                yield piece

    @contextmanager
    def _member(self, name: str) -> Iterator[IO[bytes]]:
        try:
            found = self._tar.extractfile(name)
        except KeyError:
            found = None
        if found is None:
            raise self._broken(f"it has no {name}")
        with found:
            yield found

    def _broken(self, why: str) -> StoreBroken:
        return StoreBroken(
            f"The archive {self._place} of job {self._job} cannot be used: {why}.",
            hint="Nothing was changed. Put a sound copy of it in its place.",
        )


@contextmanager
def unpacked(path: Path, job: str, place: str) -> Iterator[Packed]:
    """A file that :func:`pack` wrote, to be read. ``place`` is what to call it in messages."""
    with tarfile.open(path, "r:") as tar:
        yield Packed(tar, job, place)
