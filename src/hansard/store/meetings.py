"""Meetings as rows: what they are called, who spoke, what was found out, and what people corrected.

A meeting is about the transcript of one job and has that job's id. Everything here is one short
statement or two inside the caller's transaction; what is JSON in a row is given and taken as text,
since its types belong to the rooms above. Every look that begins with somebody's request names the
tenant: another's meeting is not there.

Whoever changes a meeting holds the row of its job first (``jobs.states.lock``), as for the job
itself; so two changes come one after the other and the second sees the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from hansard.errors import UnknownMeeting
from hansard.model import Value
from hansard.store import ids
from hansard.store.tables import corrections, findings, meeting_tags, meetings, speakers

Status = Literal["new", "reviewing", "done"]
"""How far people are with a meeting."""

KEPT = 5
"""Versions of a finding that are kept, the one in force included."""


class Speaker(Value, frozen=True, omit_defaults=False):
    """Somebody who speaks in a meeting."""

    label: str
    """As segments have it: ``S1``, ``S2`` …"""
    name: str | None = None
    """Given or agreed to by a person."""
    proposed: str | None = None
    """A name that a remembered voice suggests."""
    confidence: float | None = None
    """0 to 1, of the proposal."""
    seconds: float = 0.0
    """How long they speak."""
    voice: str | None = None
    """The remembered voice."""


class Heard(Value, frozen=True):
    """A speaker as a diarizer found them: the voice is a vector, comparable by ``method`` alone."""

    label: str
    seconds: float
    vector: bytes | None = None
    method: str | None = None
    proposed: str | None = None
    confidence: float | None = None
    voice: str | None = None


class Found(Value, frozen=True):
    """A finding in force. ``body`` and ``source`` are JSON."""

    kind: str
    version: int
    wording: int
    source: str
    body: str
    created: float


class Correction(Value, frozen=True, omit_defaults=False):
    """What somebody changed. ``before`` and ``after`` are JSON; ``after`` ``null``: removed."""

    id: str
    target: str
    place: str
    before: msgspec.Raw | None
    after: msgspec.Raw | None
    by: str
    at: float
    """Seconds since the epoch."""


# ── the meeting ──────────────────────────────────────────────────────────────────────────────

_JOB: sa.BindParameter[str] = sa.bindparam("of")
_ONE = sa.select(meetings).where(meetings.c.job == _JOB)
_TAGS = sa.select(meeting_tags.c.tag).where(meeting_tags.c.job == _JOB).order_by(meeting_tags.c.tag)


def row(connection: sa.Connection, job: str, tenant: str | None = None) -> sa.Row[Any]:
    """The row of a meeting, where it is the tenant's.

    Raises:
        UnknownMeeting: there is none, or it is another's, which must look the same.
    """
    found = connection.execute(_ONE, {"of": job}).first()
    if found is None or tenant not in (None, found.tenant):
        raise UnknownMeeting(
            f"There is no meeting {job[:80]}.", hint="GET /api/v1/meetings lists them."
        )
    return found


def revision_of(connection: sa.Connection, job: str) -> int | None:
    """The revision of a meeting; ``None`` where a job has none."""
    found = connection.execute(_ONE, {"of": job}).first()
    return None if found is None else int(found.revision)


def find(connection: sa.Connection, name: str, tenant: str | None = None) -> sa.Row[Any]:
    """The meeting with this id, or the only one whose id begins or ends so.

    Raises:
        UnknownMeeting: none, or several.
    """
    like = (
        meetings.c.job.startswith(name, autoescape=True),
        meetings.c.job.endswith(name, autoescape=True),
    )
    wanted = sa.select(meetings).where(sa.or_(*like)).limit(2)
    if tenant is not None:
        wanted = wanted.where(meetings.c.tenant == tenant)
    found = connection.execute(wanted).all()
    if len(found) != 1:
        several = "several meetings match" if found else "there is no meeting"
        raise UnknownMeeting(f"For {name!r} {several}.", hint="`hansard meetings list` shows them.")
    return found[0]


def open_one(connection: sa.Connection, values: dict[str, Any]) -> None:
    """Add the meeting of a transcript that has just been written, once."""
    if connection.execute(_ONE, {"of": values["job"]}).first() is None:
        connection.execute(meetings.insert().values(values))


def change(
    connection: sa.Connection, job: str, values: dict[str, Any], *, now: float, words: bool = False
) -> None:
    """Write to a meeting, which then has another revision.

    Args:
        connection: a transaction that holds the row of the job.
        job: which meeting.
        values: of its columns.
        now: seconds since the epoch.
        words: words or speakers changed: what was found out before is stale.
    """
    grown = {"changed": now, "revision": meetings.c.revision + 1}
    if words:
        grown["wording"] = meetings.c.wording + 1
    connection.execute(meetings.update().where(meetings.c.job == job).values({**values, **grown}))


def tags(connection: sa.Connection, job: str) -> list[str]:
    """The tags of a meeting, in their order."""
    return list(connection.scalars(_TAGS, {"of": job}))


def set_tags(connection: sa.Connection, job: str, wanted: Iterable[str]) -> None:
    """Give a meeting these tags and no others."""
    connection.execute(meeting_tags.delete().where(meeting_tags.c.job == job))
    fresh = [{"job": job, "tag": tag} for tag in sorted(set(wanted))]
    if fresh:
        connection.execute(meeting_tags.insert(), fresh)


# ── speakers ─────────────────────────────────────────────────────────────────────────────────

_SPEAKERS = sa.select(speakers).where(speakers.c.job == _JOB)


def speakers_of(connection: sa.Connection, job: str) -> list[Speaker]:
    """Who speaks, S2 before S10."""
    found = connection.execute(_SPEAKERS, {"of": job}).all()
    fields = Speaker.__struct_fields__
    every = [Speaker(**{name: getattr(row, name) for name in fields}) for row in found]
    return sorted(every, key=lambda one: (len(one.label), one.label))


def names_of(connection: sa.Connection, job: str) -> dict[str, str]:
    """Names by label, of those who have one."""
    return {row.label: row.name for row in connection.execute(_SPEAKERS, {"of": job}) if row.name}


def voice_of(connection: sa.Connection, job: str, label: str) -> Heard | None:
    """A speaker with their voice, where there is such a speaker."""
    row = connection.execute(_SPEAKERS.where(speakers.c.label == label), {"of": job}).first()
    if row is None:
        return None
    return Heard(**{name: getattr(row, name) for name in Heard.__struct_fields__})


def set_speakers(connection: sa.Connection, job: str, heard: Sequence[Heard]) -> None:
    """Write who speaks; names that people gave stay with their labels."""
    known = {row.label: row for row in connection.execute(_SPEAKERS, {"of": job})}
    connection.execute(speakers.delete().where(speakers.c.job == job))
    fresh = []
    for one in heard:
        before = known.get(one.label)
        named = before is not None and before.name is not None
        fresh.append(
            {
                **{name: getattr(one, name) for name in Heard.__struct_fields__},
                "job": job,
                "name": before.name if before is not None else None,
                "voice": before.voice if before is not None and named else one.voice,
                "proposed": None if named else one.proposed,
                "confidence": None if named else one.confidence,
            }
        )
    if fresh:
        connection.execute(speakers.insert(), fresh)


def set_speaker(connection: sa.Connection, job: str, label: str, values: dict[str, Any]) -> None:
    """Write to one speaker, who is added where there is none of this label yet."""
    mine = sa.and_(speakers.c.job == job, speakers.c.label == label)
    if not connection.execute(speakers.update().where(mine).values(values)).rowcount:
        connection.execute(speakers.insert().values({"job": job, "label": label, **values}))


def drop_speaker(connection: sa.Connection, job: str, label: str) -> None:
    """Remove a speaker, of whom nothing is left."""
    connection.execute(speakers.delete().where(speakers.c.job == job, speakers.c.label == label))


# ── findings ─────────────────────────────────────────────────────────────────────────────────

_IN_FORCE = (
    sa.select(findings)
    .where(findings.c.job == _JOB, findings.c.kind == sa.bindparam("sort"))
    .order_by(findings.c.version.desc())
    .limit(1)
)
_NEWEST = (
    sa.select(findings.c.kind, sa.func.max(findings.c.version).label("version"))
    .where(findings.c.job == _JOB)
    .group_by(findings.c.kind)
    .subquery()
)
_ALL_IN_FORCE = (
    sa.select(findings)
    .join(
        _NEWEST,
        sa.and_(findings.c.kind == _NEWEST.c.kind, findings.c.version == _NEWEST.c.version),
    )
    .where(findings.c.job == _JOB)
    .order_by(findings.c.kind)
)


def finding(connection: sa.Connection, job: str, kind: str) -> Found | None:
    """The finding of a kind that is in force, if one was made."""
    row = connection.execute(_IN_FORCE, {"of": job, "sort": kind}).first()
    return None if row is None else Found(*(getattr(row, n) for n in Found.__struct_fields__))


def found_of(connection: sa.Connection, job: str) -> list[Found]:
    """All findings in force, one of each kind that was made."""
    found = connection.execute(_ALL_IN_FORCE, {"of": job})
    return [Found(*(getattr(row, n) for n in Found.__struct_fields__)) for row in found]


def put_finding(
    connection: sa.Connection,
    job: str,
    kind: str,
    body: str,
    source: str,
    *,
    wording: int,
    now: float,
) -> int:
    """Add a version of a finding, which is in force from now on; its number."""
    before = finding(connection, job, kind)
    version = 1 if before is None else before.version + 1
    fresh = {"job": job, "kind": kind, "version": version, "wording": wording}
    connection.execute(
        findings.insert().values(fresh | {"source": source, "body": body, "created": now})
    )
    connection.execute(
        findings.delete().where(
            findings.c.job == job, findings.c.kind == kind, findings.c.version <= version - KEPT
        )
    )
    return version


# ── corrections ──────────────────────────────────────────────────────────────────────────────


_LAST_CORRECTION = sa.select(sa.func.max(corrections.c.id)).where(corrections.c.job == _JOB)


def correct(
    connection: sa.Connection,
    job: str,
    target: str,
    place: str,
    *,
    before: Any = None,
    after: Any = None,
    by: str,
    now: float,
) -> None:
    """Note what somebody changed; ``None`` is nothing there before, or removed.

    Corrections of a meeting have ids in the order in which they were made.
    """

    def written(value: Any) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    last = connection.scalar(_LAST_CORRECTION, {"of": job})
    number = ids.new_id(now)
    if last is not None and number <= last:  # in the same millisecond, or by another's clock
        number = ids.new_id((ids.made(last) or now) + 0.002)
    connection.execute(
        corrections.insert().values(
            id=number, job=job, target=target, place=place,
            before=written(before), after=written(after), by=by, at=now,
        )
    )  # fmt: skip


_CORRECTIONS = sa.select(corrections).where(corrections.c.job == _JOB).order_by(corrections.c.id)


def corrections_of(
    connection: sa.Connection,
    job: str,
    targets: Sequence[str] = (),
    *,
    after: str = "",
    limit: int | None = None,
) -> list[Correction]:
    """What people changed, the first first; ``after`` is the last id of a page."""
    wanted = _CORRECTIONS.where(corrections.c.id > after) if after else _CORRECTIONS
    if targets:
        wanted = wanted.where(corrections.c.target.in_(targets))
    if limit is not None:
        wanted = wanted.limit(limit)
    return [
        Correction(row.id, row.target, row.place, _raw(row.before), _raw(row.after), row.by, row.at)
        for row in connection.execute(wanted, {"of": job})
    ]


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())
