"""Profiles: the rows, and the files beside them, which are kept as recordings are.

A file is named by the SHA-256 of its bytes and lies where recordings lie, so that every host of a
service finds it. A row of ``profile_files`` is what keeps it from being taken for an orphan.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from hansard.errors import UnknownProfile
from hansard.model import Failure, Value
from hansard.store import locks
from hansard.store.database import Database
from hansard.store.files import Files
from hansard.store.ids import new_id
from hansard.store.stored import as_json
from hansard.store.tables import profile_files, profiles, recordings

State = Literal["running", "completed", "failed"]
Kind = Literal["cpu", "memory"]

KEPT = 200
"""Profiles that are kept: with one more, the oldest goes."""

_PIECE = 1 << 16


class File(Value, frozen=True):
    """One file of a profile. ``size`` is in bytes."""

    name: str
    sha256: str
    size: int


class Profile(Value, frozen=True, omit_defaults=False):
    """A profile as it is listed. Times are seconds since the epoch."""

    id: str
    kind: Kind
    subject: str
    state: State
    seconds: float
    """Asked for; of a command, what it took."""
    created: float
    failure: Failure | None = None
    files: tuple[File, ...] = ()
    summary: msgspec.Raw | None = None
    """JSON of ``perf.profile.Summary``; left out of lists."""


def begin(database: Database, kind: Kind, subject: str, seconds: float, until: float) -> Profile:
    """A row for a profile that is being made; ``until``: whoever makes it has ended by then."""
    now = time.time()
    made = Profile(new_id(now), kind, subject, "running", seconds, now)
    with database.write() as connection:
        connection.execute(
            profiles.insert().values(
                id=made.id,
                kind=kind,
                subject=subject,
                state=made.state,
                seconds=seconds,
                created=now,
                until=until,
            )
        )
    return made


def complete(
    database: Database,
    files: Files,
    profile: str,
    summary: msgspec.Struct,
    bodies: Mapping[str, bytes],
    *,
    seconds: float | None = None,
) -> Profile:
    """Keep what was found. ``bodies``: name of the file → its bytes.

    Raises:
        DiskFull, FilesGone, StoreGone: it cannot be kept now.
    """
    done: dict[str, Any] = {"state": "completed", "summary": as_json(summary)}
    if seconds is not None:
        done["seconds"] = seconds
    with ExitStack() as stack:
        drafts = {
            name: stack.enter_context(files.take_in(f"profile-{name}", _pieces(body)))
            for name, body in bodies.items()
        }
        for draft in drafts.values():
            draft.keep()
        with database.write() as connection:
            for sha256 in sorted({draft.sha256 for draft in drafts.values()}):
                locks.recording(connection, sha256)
            connection.execute(profiles.update().where(profiles.c.id == profile).values(done))
            rows = [
                {"profile": profile, "name": name, "sha256": draft.sha256, "size": draft.size}
                for name, draft in drafts.items()
            ]
            connection.execute(profile_files.insert(), rows)
        for draft in drafts.values():
            if not files.has_recording(draft.sha256):
                draft.keep()  # it was there and was removed meanwhile; from now on it stays
    _make_room(database, files)
    return find(database, profile)


def fail(database: Database, profile: str, failure: Failure) -> None:
    """Say of a profile that it came to nothing, and why."""
    with database.write() as connection:
        connection.execute(
            profiles.update()
            .where(profiles.c.id == profile, profiles.c.state == "running")
            .values(state="failed", failure=as_json(failure))
        )


def listing(database: Database, limit: int = KEPT) -> list[Profile]:
    """The newest first, without their summaries."""
    newest = profiles.c.created.desc(), profiles.c.id.desc()
    with database.read() as connection:
        rows = connection.execute(sa.select(profiles).order_by(*newest).limit(limit)).all()
        files = _files(connection, [row.id for row in rows])
    return [_profile(row, files.get(row.id, ()), whole=False) for row in rows]


def find(database: Database, profile: str) -> Profile:
    """One profile, with its summary; ``profile`` is its id, or as much of it as is enough.

    Raises:
        UnknownProfile: none has this id, or several begin so.
    """
    begins = profiles.c.id.startswith(profile, autoescape=True)
    with database.read() as connection:
        rows = connection.execute(sa.select(profiles).where(begins).limit(2)).all()
        exact = [row for row in rows if row.id == profile]
        found = exact or rows
        if not profile or len(found) != 1:
            what = "No profile has" if not found else "More than one profile has"
            raise UnknownProfile(
                f"{what} the id {profile}.", hint="`hansard profile list` shows them."
            )
        files = _files(connection, [found[0].id])
    return _profile(found[0], files.get(found[0].id, ()), whole=True)


def file_of(profile: Profile, name: str) -> File:
    """One file of a profile.

    Raises:
        UnknownProfile: it has none of this name, or not yet.
    """
    for file in profile.files:
        if file.name == name:
            return file
    raise UnknownProfile(
        f"The profile {profile.id} is {profile.state} and has no file {name}.",
        hint="It has: " + (", ".join(file.name for file in profile.files) or "none") + ".",
    )


def read(files: Files, file: File) -> bytes:
    """All of a file; profiles are a few megabytes.

    Raises:
        MediaGone: it is not kept any more.
    """
    return b"".join(files.read_recording(file.sha256, 0, file.size))


def remove(database: Database, files: Files, profile: str) -> None:
    """Remove a profile and those of its files that nothing else names.

    Raises:
        UnknownProfile: there is none.
    """
    hashes = sorted({file.sha256 for file in find(database, profile).files})
    with database.write() as connection:
        for sha256 in hashes:
            locks.recording(connection, sha256)
        connection.execute(profiles.delete().where(profiles.c.id == profile))
        still = named(connection, hashes)
        heard = sa.select(recordings.c.id).where(recordings.c.id.in_(hashes))
        still |= set(connection.scalars(heard))
        for sha256 in hashes:
            if sha256 not in still:
                files.forget_recording(sha256)


def named(connection: sa.Connection, hashes: Sequence[str]) -> set[str]:
    """Those of the hashes that are files of a profile."""
    found = sa.select(profile_files.c.sha256).where(profile_files.c.sha256.in_(hashes))
    return set(connection.scalars(found))


def _make_room(database: Database, files: Files) -> None:
    for old in listing(database, KEPT + 20)[KEPT:]:
        remove(database, files, old.id)


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def _files(connection: sa.Connection, ids: list[str]) -> dict[str, tuple[File, ...]]:
    rows = connection.execute(
        sa.select(profile_files).where(profile_files.c.profile.in_(ids)).order_by("name")
    )
    found: dict[str, tuple[File, ...]] = {}
    for row in rows:
        one = File(row.name, row.sha256, row.size)
        found[row.profile] = (*found.get(row.profile, ()), one)
    return found


def _profile(row: sa.Row[Any], files: tuple[File, ...], *, whole: bool) -> Profile:
    failure = None if row.failure is None else msgspec.json.decode(row.failure, type=Failure)
    state: State = row.state
    if state == "running" and row.until < time.time():
        state = "failed"
        failure = Failure("interrupted", "Whoever made this profile ended before it was done.")
    summary = msgspec.Raw(row.summary.encode()) if whole and row.summary is not None else None
    return Profile(
        row.id, row.kind, row.subject, state, row.seconds, row.created, failure, files, summary
    )
