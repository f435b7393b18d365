"""Jobs and transcripts as JSON that the database makes itself.

SQLite's driver lets go of the interpreter lock at each row, and under load getting it back may
take milliseconds. So whatever goes to many readers comes as **one** row that is ready to be sent;
nothing here decodes a segment. Every query names the tenant: another's job is not there.

What is asked is the same of both databases, and so are the answers; how it is put, each has a file
of its own for.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.errors import UnknownJob
from hansard.model import JobState, Media, Value
from hansard.store import archived, views_postgres, views_shape, views_sqlite
from hansard.store.database import Database, Dialect
from hansard.store.ids import first_id
from hansard.store.tables import jobs, recordings

PLACE = views_shape.PLACE

_SQL: dict[Dialect, ModuleType] = {"sqlite": views_sqlite, "postgresql": views_postgres}


class Filter(Value, frozen=True):
    """Which jobs are wanted. Times are seconds since the epoch."""

    states: tuple[JobState, ...] = ()
    kind: str | None = None
    since: float | None = None
    until: float | None = None
    """Before this moment."""
    text: str | None = None
    """In the name, whatever the case of its letters."""
    whole: bool = False
    """Only transcriptions, not what follows them."""


class Page(Value, frozen=True):
    """A page of jobs, newest first, as a JSON array; ``last`` is where the next goes on."""

    items: bytes
    count: int
    last: str | None = None


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────


def statuses(database: Database, tenant: str, ids: Sequence[str]) -> dict[str, bytes]:
    """The tenant's jobs among ``ids``, each as a JSON object."""
    sql = _SQL[database.dialect]
    with database.read(single=True) as connection:
        whole = connection.scalar(sql.STATUSES, {"tenant": tenant, "ids": sql.listed(ids)})
    return {name: bytes(raw) for name, raw in _BY_NAME.decode(str(whole)).items()}


_BY_NAME = msgspec.json.Decoder(dict[str, msgspec.Raw])


def page(
    database: Database, tenant: str, wanted: Filter, *, after: str | None = None, limit: int = 50
) -> Page:
    """Jobs behind the job ``after``: as fast on the last page as on the first."""
    query, asked = page_query(database.dialect, tenant, wanted, after=after, limit=limit)
    with database.read(single=True) as connection:
        row = connection.execute(query, asked).one()
    count = int(row.total)
    return Page(row.items.encode(), min(count, limit), row.last if count > limit else None)


def page_query(
    dialect: Dialect, tenant: str, wanted: Filter, *, after: str | None = None, limit: int = 50
) -> tuple[sa.TextClause, dict[str, Any]]:
    """The query of :func:`page`, one for each kind of filter, and its parameters."""
    sql = _SQL[dialect]
    asked: dict[str, Any] = {}
    if after is not None:
        asked["after"] = after
    if len(wanted.states) == 1:
        asked["state"] = wanted.states[0]
    elif wanted.states:
        asked["states"] = sql.listed(wanted.states)
    if wanted.kind is not None:
        asked["kind"] = wanted.kind
    if wanted.since is not None:
        asked |= {"first": first_id(wanted.since), "since": wanted.since}
    if wanted.until is not None:
        asked |= {"last": first_id(wanted.until + 0.001), "until": wanted.until}
    if wanted.text:
        asked["text"] = sql.any_case([cases(letter) for letter in wanted.text])
    conditions = (*asked, "whole") if wanted.whole else tuple(asked)
    query: sa.TextClause = sql.page_query(conditions)
    return query, {**asked, "tenant": tenant, "limit": limit}


def cases(letter: str) -> str:
    """A letter in any case of its script, as far as that is one letter again."""
    forms = {letter, letter.lower(), letter.upper()}
    return "".join(sorted(form for form in forms if len(form) == 1))


# ── transcripts ──────────────────────────────────────────────────────────────────────────────


def transcript(database: Database, tenant: str, job: str, *, words: bool) -> bytes | None:
    """The head, the text and the segments as one JSON object; ``None`` where there is none yet.

    ``words`` gives each segment its words with their times. The engine's tokens are left out:
    the JSON format has everything.

    Raises:
        Archived: it is in the archive.
    """
    query = transcript_query(database.dialect, words=words)
    with database.read() as connection:
        whole = connection.scalar(query, {"tenant": tenant, "job": job})
        if whole is None:
            archived.see_that_it_is_here(connection, job, tenant)
    return None if whole is None else str(whole).encode()


def transcript_query(dialect: Dialect, *, words: bool) -> sa.TextClause:
    """The query of :func:`transcript`, one for each kind."""
    query: sa.TextClause = _SQL[dialect].transcript_query(words=words)
    return query


# ── media ────────────────────────────────────────────────────────────────────────────────────


class Held(Value, frozen=True):
    """What a job says about its recording."""

    recording: str
    name: str
    step: str
    media: Media


def media(database: Database, tenant: str, job: str) -> Held:
    """The recording of a tenant's job.

    Raises:
        UnknownJob: there is no such job.
        Archived: its media are in the archive.
    """
    chosen = (
        sa.select(jobs.c.recording, jobs.c.name, jobs.c.step, recordings.c.media)
        .join(recordings, recordings.c.id == jobs.c.recording)
        .where(jobs.c.tenant == tenant, jobs.c.id == job)
    )
    with database.read() as connection:
        row = connection.execute(chosen).first()
        archived.see_that_it_is_here(connection, job, tenant, audio=True)
    if row is None:
        raise UnknownJob(f"There is no job {job[:80]}.", hint="GET /api/v1/jobs lists them.")
    return Held(row.recording, row.name, row.step, msgspec.json.decode(row.media, type=Media))
