"""Whether a store is what it should be: rows that belong together, and the files they speak of.

Nothing is changed here. Each finding says in words what is not as it should be, and what to do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import sqlalchemy as sa

from hansard.config import Settings
from hansard.model import TRANSCRIBING, Value
from hansard.store import ids, index, partitions, profiles, schema
from hansard.store.archive import Archive
from hansard.store.database import Database
from hansard.store.files import Files
from hansard.store.lives import PLACEHOLDER
from hansard.store.tables import (
    IS_OPEN,
    archives,
    jobs,
    meeting_words,
    metadata,
    recordings,
    segments,
    transcripts,
    windows,
)

_PROVISIONAL = 2
"""The hearing of windows that are counted nowhere: see ``jobs.states``."""

_PAGE = 500


class Finding(Value, frozen=True):
    """Something that is not as it should be. ``code`` is for machines and never renamed."""

    code: str
    message: str
    hint: str


def findings(
    settings: Settings, database: Database, files: Files, *, deep: bool = False
) -> Iterator[Finding]:
    """All there are, one after the other. ``deep`` reads every recording and archive."""
    yield from _integrity(database)
    yield from _schema(database)
    yield from _sums(database)
    yield from _held(database)
    yield from _transcripts(database)
    yield from _index(database, deep=deep)
    yield from _months(database)
    yield from _recordings(settings, database, files, deep=deep)
    yield from _prepared(database, files)
    yield from _archives(settings, database, files, deep=deep)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────


def _integrity(database: Database) -> Iterator[Finding]:
    if database.dialect != "sqlite":
        return  # the server sees to it itself
    hint = "Bring the file back from a backup; `sqlite3 hansard.db .recover` saves what it can."
    with database.read() as connection:
        for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if said != "ok":
                yield Finding("integrity", f"The database is damaged: {said}.", hint)
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            said = f"A row of {row[0]} names one of {row[2]} that is not there."
            yield Finding("foreign_key", said, hint)


def _schema(database: Database) -> Iterator[Finding]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def ours(name: str | None, kind: str, _: object) -> bool:
        return schema.is_declared(name, kind)

    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours})
        found = compare_metadata(context, metadata)
    for one in found:
        steps: list[tuple[object, ...]] = one if isinstance(one, list) else [one]
        for step in steps:
            if step[0] == "modify_comment":
                continue  # words for people, which no migration brings up to date
            named = (str(getattr(part, "name", part)) for part in step[1:] if part is not None)
            yield Finding(
                "schema",
                "The tables are not what they should be; what it would take is "
                f"{step[0]} {' '.join(named)}.",
                "Run `hansard database upgrade`; if that is done, somebody else changed them.",
            )


def _sums(database: Database) -> Iterator[Finding]:
    """What a job says of its windows, and its windows; those of archived jobs are elsewhere."""
    counted = windows.c["pass"] != _PROVISIONAL
    done = sa.and_(counted, windows.c.state == "done")
    sums = (
        sa.func.count(sa.case((counted, 1))),
        sa.func.count(sa.case((done, 1))),
        sa.func.coalesce(sa.func.sum(sa.case((counted, windows.c.samples))), 0),
        sa.func.coalesce(sa.func.sum(sa.case((done, windows.c.samples))), 0),
    )
    said = (jobs.c.planned, jobs.c.heard, jobs.c.planned_samples, jobs.c.heard_samples)
    chosen = (
        sa.select(jobs.c.id, jobs.c.planned, sums[0], jobs.c.heard, sums[1])
        .select_from(jobs)
        .outerjoin(windows, windows.c.job == jobs.c.id)
        .outerjoin(archives, archives.c.job == jobs.c.id)
        .where(archives.c.job.is_(None))
        .group_by(jobs.c.id)
        .having(sa.or_(*(one != other for one, other in zip(said, sums, strict=True))))
        .order_by(jobs.c.id)
    )
    with database.read() as connection:
        for job, planned, there, heard, done_there in connection.execute(chosen):
            yield Finding(
                "sums",
                f"Job {job} counts {heard} of {planned} windows, and has {done_there} of {there}.",
                f"Its progress is shown wrong; delete it and transcribe again: {job}.",
            )


def _held(database: Database) -> Iterator[Finding]:
    chosen = (
        sa.select(windows.c.job, sa.func.count())
        .join(jobs, jobs.c.id == windows.c.job)
        .where(~IS_OPEN, windows.c.state == "taken")
        .group_by(windows.c.job)
        .order_by(windows.c.job)
    )
    with database.read() as connection:
        for job, count in connection.execute(chosen):
            yield Finding(
                "held",
                f"Job {job} has ended, and somebody holds {count} of its windows.",
                "They are free again when it is retried; nothing is lost.",
            )


def _transcripts(database: Database) -> Iterator[Finding]:
    there = (
        sa.select(
            segments.c.job,
            sa.func.count().label("count"),
            (sa.func.max(segments.c.position) + 1).label("end"),
        )
        .group_by(segments.c.job)
        .subquery()
    )
    count = sa.func.coalesce(there.c["count"], 0)
    chosen = (
        sa.select(transcripts.c.job, transcripts.c.segments, count)
        .outerjoin(there, there.c.job == transcripts.c.job)
        .where(sa.or_(transcripts.c.segments != count, count != sa.func.coalesce(there.c.end, 0)))
        .order_by(transcripts.c.job)
    )
    without = (
        sa.select(jobs.c.id)
        .outerjoin(transcripts, transcripts.c.job == jobs.c.id)
        .outerjoin(archives, archives.c.job == jobs.c.id)
        .where(
            jobs.c.state == "completed",
            jobs.c.kind.in_(TRANSCRIBING),
            transcripts.c.job.is_(None),
            archives.c.job.is_(None),
        )
        .order_by(jobs.c.id)
    )
    hint = "Bring it back from a backup, or delete the job and transcribe again."
    with database.read() as connection:
        for job, said, found in connection.execute(chosen):
            message = f"The transcript of job {job} should have {said} segments and has {found}."
            yield Finding("segments", message, hint)
        for (job,) in connection.execute(without):
            yield Finding("transcript", f"Job {job} is completed and has no transcript.", hint)


def _index(database: Database, *, deep: bool) -> Iterator[Finding]:
    """Transcripts that cannot be searched; with ``deep``, those found by other words as well."""
    bare = sa.exists().where(segments.c.job == transcripts.c.job, segments.c.terms.is_(None))
    without = (
        sa.select(transcripts.c.job)
        .outerjoin(meeting_words, meeting_words.c.job == transcripts.c.job)
        .where(sa.or_(meeting_words.c.job.is_(None), bare))
        .order_by(transcripts.c.job)
    )
    hint = "Run `hansard database index`."
    with database.read() as connection:
        found = set(connection.scalars(without).all())
        every = connection.scalars(sa.select(transcripts.c.job).order_by(transcripts.c.job)).all()
    for job in sorted(found):
        yield Finding("index", f"What was said in job {job} cannot be searched.", hint)
    for job in every if deep else ():
        with database.read() as connection:
            if job not in found and index.stale(connection, job):
                said = f"Job {job} is not found by what was said in it."
                yield Finding("index", said, hint)


def _months(database: Database) -> Iterator[Finding]:
    if database.dialect != "postgresql":
        return
    this = partitions.month_of(time.time())
    with database.read() as connection:
        for month in (this, this.after(1)):
            if connection.scalar(sa.select(sa.func.to_regclass(month.table))) is None:
                yield Finding(
                    "month",
                    f"The month {month.year}-{month.month:02} has no table for its segments.",
                    "A running service makes it within the hour: `hansard serve` or "
                    "`hansard worker`.",
                )
        stray = sa.text("SELECT min(job), count(*) FROM segments_rest")
        first, count = connection.execute(stray).one()
    if count and ids.made(first) is not None:
        yield Finding(
            "stray",
            f"{count} segments are in no month, the first of job {first}.",
            "They are found all the same, only slower; they move when their month is made.",
        )


# ── files ────────────────────────────────────────────────────────────────────────────────────


def _recordings(
    settings: Settings, database: Database, files: Files, *, deep: bool
) -> Iterator[Finding]:
    """Recordings that jobs name and that are not kept, and the other way round."""
    rules = settings.retention
    expected = rules.audio_days is not None or rules.pressure != "keep"
    old = time.time() - files.orphan_age
    kept: set[str] = set()
    page: list[str] = []
    for sha256, since in files.recordings():
        kept.add(sha256)
        page += [sha256] * (since < old)
        if deep:
            yield from _damaged(files, sha256)
        if len(page) == _PAGE:
            yield from _orphans(database, page)
            page = []
    yield from _orphans(database, page)
    for job, recording, is_open in _named(database):
        if recording in kept or (expected and not is_open):
            continue
        yield Finding(
            "recording",
            f"The media of job {job} are not there: recording {recording}.",
            "It cannot be prepared; cancel it, or bring the media back from a backup."
            if is_open
            else "Bring them back from a backup, or leave it: the transcript is still here.",
        )


def _named(database: Database) -> Iterator[tuple[str, str, bool]]:
    """A job of each recording whose media should be kept, and whether one is open."""
    needed = sa.func.coalesce(archives.c.audio, 0) == 0
    chosen = (
        sa.select(
            sa.func.max(jobs.c.id), jobs.c.recording, sa.func.max(sa.case((IS_OPEN, 1), else_=0))
        )
        .outerjoin(archives, archives.c.job == jobs.c.id)
        .where(needed, jobs.c.parent.is_(None), ~jobs.c.recording.startswith(PLACEHOLDER))
        .group_by(jobs.c.recording)
        .order_by(jobs.c.recording)
    )
    last = ""
    while True:
        with database.read() as connection:
            page = connection.execute(chosen.where(jobs.c.recording > last).limit(_PAGE)).all()
        for job, recording, is_open in page:
            yield job, recording, bool(is_open)
        if len(page) < _PAGE:
            return
        last = page[-1].recording


def _damaged(files: Files, sha256: str) -> Iterator[Finding]:
    digest = hashlib.sha256()
    for piece in files.read_recording(sha256, 0, files.recording_size(sha256) or 0):
        digest.update(piece)
    if digest.hexdigest() != sha256:
        yield Finding(
            "damaged",
            f"Recording {sha256} is not what came in: its bytes hash to {digest.hexdigest()}.",
            "Bring it back from a backup.",
        )


def _orphans(database: Database, page: list[str]) -> Iterator[Finding]:
    with database.read() as connection:
        found = sa.select(recordings.c.id).where(recordings.c.id.in_(page))
        known = {*connection.scalars(found), *profiles.named(connection, page)}
    for sha256 in page:
        if sha256 not in known:
            yield Finding(
                "orphan",
                f"Recording {sha256} is named by no job.",
                "The house-keeping of `hansard serve` removes it within the hour.",
            )


def _prepared(database: Database, files: Files) -> Iterator[Finding]:
    keys = sorted(files.pcm_keys())
    for start in range(0, len(keys), _PAGE):
        page = keys[start : start + _PAGE]
        with database.read() as connection:
            needed = set(
                connection.scalars(sa.select(jobs.c.id).where(IS_OPEN, jobs.c.id.in_(page)))
            )
        for key in page:
            if key not in needed:
                yield Finding(
                    "prepared",
                    f"There is prepared audio of job {key}, which needs none.",
                    "House-keeping removes it: start `hansard serve`, or run any command.",
                )


def _archives(
    settings: Settings, database: Database, files: Files, *, deep: bool
) -> Iterator[Finding]:
    archive = Archive(settings, database, files)
    try:
        for job, place, what in archive.trouble(deep=deep):
            yield Finding(
                "archive",
                f"The archive {place} of job {job} is {what}.",
                "Put a sound copy of it in its place.",
            )
        for place in archive.unnamed():
            yield Finding(
                "unnamed_archive",
                f"No job names the archive {place}.",
                "An interrupted run left it, or another library shares that place; archiving "
                "the same meeting again takes it up.",
            )
    finally:
        archive.close()
