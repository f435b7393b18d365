"""Jobs and transcripts as JSON that the database makes itself.

SQLite's driver lets go of the interpreter lock at each row, and under load getting it back may
take milliseconds. So whatever goes to many readers comes as **one** row that is ready to be sent;
nothing here decodes a segment. Every query names the tenant: another's job is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from hansard.errors import UnknownJob
from hansard.model import SAMPLE_RATE, JobState, Media, Value
from hansard.store.database import Database
from hansard.store.tables import jobs, recordings

PLACE = "/api/v1/transcriptions/"
"""Where a job is found by those who follow its links."""


class Filter(Value, frozen=True):
    """Which jobs are wanted. Times are seconds since the epoch."""

    states: tuple[JobState, ...] = ()
    kind: str | None = None
    since: float | None = None
    until: float | None = None
    """Before this moment."""
    text: str | None = None
    """In the name, whatever the case of its letters."""


class Page(Value, frozen=True):
    """A page of jobs, newest first, as a JSON array; ``last`` is where the next goes on."""

    items: bytes
    count: int
    last: str | None = None


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────


def statuses(database: Database, tenant: str, ids: Sequence[str]) -> dict[str, bytes]:
    """The tenant's jobs among ``ids``, each as a JSON object."""
    asked = {"tenant": tenant, "ids": msgspec.json.encode(ids).decode()}
    with database.read() as connection:
        whole = str(connection.scalar(_statuses(), asked))
    return {name: bytes(raw) for name, raw in _BY_NAME.decode(whole).items()}


def page(
    database: Database, tenant: str, wanted: Filter, *, after: str | None = None, limit: int = 50
) -> Page:
    """Jobs behind the job ``after``: as fast on the last page as on the first."""
    asked = _asked(wanted, after)
    query = page_query(tuple(asked))
    with database.read() as connection:
        row = connection.execute(query, {**asked, "tenant": tenant, "limit": limit}).one()
    count = int(row.total)
    return Page(row.items.encode(), min(count, limit), row.last if count > limit else None)


def _asked(wanted: Filter, after: str | None) -> dict[str, Any]:
    """The conditions of a page, each by the name that :data:`_CONDITIONS` has it under."""
    asked: dict[str, Any] = {}
    if after is not None:
        asked["after"] = after
    if len(wanted.states) == 1:
        asked["state"] = wanted.states[0]
    elif wanted.states:
        asked["states"] = msgspec.json.encode(wanted.states).decode()
    if wanted.kind is not None:
        asked["kind"] = wanted.kind
    if wanted.since is not None:
        asked |= {"first": first_id(wanted.since), "since": wanted.since}
    if wanted.until is not None:
        asked |= {"last": first_id(wanted.until + 0.001), "until": wanted.until}
    if wanted.text:
        asked["text"] = _any_case(wanted.text)
    return asked


def _listed(name: str) -> sa.ColumnElement[Any]:
    """The values of a parameter that is a JSON array: however many, it is the same statement."""
    values: Any = sa.func.json_each(sa.bindparam(name)).table_valued("value")
    return sa.select(values.c.value).scalar_subquery()


_CONDITIONS: dict[str, sa.ColumnElement[bool]] = {
    "after": jobs.c.id < sa.bindparam("after"),
    "state": jobs.c.state == sa.bindparam("state"),
    "states": jobs.c.state.in_(_listed("states")),
    "kind": jobs.c.kind == sa.bindparam("kind"),
    "first": jobs.c.id >= sa.bindparam("first"),
    "since": jobs.c.created >= sa.bindparam("since"),
    "last": jobs.c.id < sa.bindparam("last"),
    "until": jobs.c.created < sa.bindparam("until"),
    "text": jobs.c.name.op("GLOB")(sa.bindparam("text")),
}


@cache
def page_query(conditions: tuple[str, ...]) -> sa.TextClause:
    """One more than ``limit`` is looked for, to know whether there is another page.

    Pages go by the id, whose order is that of creation: an index gives them without sorting.
    Putting the statement together costs more than running it, hence once for each kind.
    """
    chosen = sa.select(jobs.c.id).where(
        jobs.c.tenant == sa.bindparam("tenant"), *(_CONDITIONS[name] for name in conditions)
    )
    limit = sa.bindparam("limit", type_=sa.Integer)
    found = chosen.order_by(jobs.c.id.desc()).limit(limit + 1).cte("found")
    shown = sa.select(found.c.id).order_by(found.c.id.desc()).limit(limit).cte("shown")
    shape = (
        sa.select(_SHAPE.label("item"), jobs.c.id)
        .where(jobs.c.id.in_(sa.select(shown.c.id)))
        .order_by(jobs.c.id.desc())
        .subquery()
    )
    # Joined as texts: as JSON each would be read again.
    joined = sa.func.coalesce(sa.func.group_concat(shape.c.item, sa.literal_column("','")), "")
    items = sa.select(sa.literal("[") + joined + "]").scalar_subquery()
    count = sa.select(sa.func.count()).select_from(found).scalar_subquery()
    last = sa.select(sa.func.min(shown.c.id)).scalar_subquery()
    return _fixed(sa.select(items.label("items"), count.label("total"), last.label("last")))


@cache
def _statuses() -> sa.TextClause:
    found = sa.select(sa.func.json_group_object(jobs.c.id, _SHAPE)).where(
        jobs.c.tenant == sa.bindparam("tenant"), jobs.c.id.in_(_listed("ids"))
    )
    return _fixed(found)


def _fixed(query: sa.Select[Any]) -> sa.TextClause:
    """A statement as text, with names for its parameters and values for its constants."""
    dialect = sqlite.dialect(paramstyle="named")
    made = query.compile(dialect=dialect)
    constants = {name: value for name, value in made.params.items() if value is not None}
    return sa.text(str(made)).bindparams(**constants)


def _any_case(text: str) -> str:
    """A GLOB pattern for names with ``text`` in them, in any case of any script's letters.

    LIKE knows the case of ASCII letters only.
    """
    classes = []
    for letter in text:
        forms = {letter, letter.lower(), letter.upper()}
        single = sorted(form for form in forms if len(form) == 1)
        # A bracket must come first in its class; alone it is a class of itself.
        classes.append(f"[{''.join(single)}]" if letter not in "[]^" else _BRACKETS[letter])
    return f"*{''.join(classes)}*"


_BRACKETS = {"[": "[[]", "]": "[]]", "^": "^"}

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def first_id(moment: float) -> str:
    """No job that was made from this moment on has an id before this one: see ``rows.new_id``."""
    number = max(0, int(moment * 1000)) << 25
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(65, -5, -5))


_PLAIN = (
    "id", "kind", "state", "step", "name", "priority", "created", "started", "finished",
    "seconds", "language", "engine", "model", "lane", "pool", "attempt", "recording",
)  # fmt: skip
"""Columns that are shown as they are."""


def _shape() -> sa.ColumnElement[str]:
    """A job as its owner sees it."""
    columns = jobs.c
    seconds = 1.0 / SAMPLE_RATE
    share = sa.case(
        (columns.finished.is_not(None), 1.0),
        (columns.planned_samples == 0, 0.0),
        else_=sa.func.min(0.999, columns.heard_samples * 1.0 / columns.planned_samples),
    )
    progress = {
        "share": sa.func.round(share, 4),
        "prepared_seconds": sa.func.round(columns.position * seconds, 3),
        "windows": columns.planned,
        "windows_done": columns.heard,
        "seconds": sa.func.round(columns.planned_samples * seconds, 3),
        "seconds_done": sa.func.round(columns.heard_samples * seconds, 3),
    }
    place = sa.literal(PLACE) + columns.id
    retry = sa.case((columns.state == "retrying", columns.not_before))
    return _object(
        {name: columns[name] for name in _PLAIN}
        | {
            "retry_at": retry,
            "options": sa.func.json(columns.options),
            "progress": _object(progress),
            "error": sa.func.json(columns.failure),
            "webhook_url": columns.webhook,
            "links": _object(
                {
                    "self": place,
                    "events": place + "/events",
                    "download": place + "/download",
                    "audio": place + "/audio",
                }
            ),
        }
    )


def _object(fields: dict[str, Any]) -> sa.ColumnElement[str]:
    pairs: list[Any] = []
    for name, value in fields.items():
        pairs += [sa.literal_column(f"'{name}'"), value]
    return sa.func.json_object(*pairs)


_SHAPE = _shape()
_BY_NAME = msgspec.json.Decoder(dict[str, msgspec.Raw])


# ── transcripts ──────────────────────────────────────────────────────────────────────────────


def transcript(database: Database, tenant: str, job: str, *, words: bool) -> bytes | None:
    """The head, the text and the segments as one JSON object; ``None`` where there is none yet.

    ``words`` gives each segment its words with their times. The engine's tokens are left out:
    the JSON format has everything.
    """
    query = transcript_query(words=words)
    with database.read() as connection:
        whole = connection.scalar(query, {"tenant": tenant, "job": job})
    return None if whole is None else str(whole).encode()


def transcript_query(*, words: bool) -> sa.TextClause:
    """The query of :func:`transcript`, one for each kind."""
    return _WITH_WORDS if words else _WITHOUT_WORDS


def _transcript(left_out: str) -> sa.TextClause:
    return sa.text(f"""
        SELECT substr(t.head, 1, length(t.head) - 1) || ',"text":' || json_quote(coalesce((
            SELECT group_concat(piece, '') FROM (
                SELECT CASE WHEN before IS NULL THEN ''
                            WHEN before = paragraph THEN ' '
                            ELSE char(10, 10) END || text AS piece
                FROM (
                    SELECT position, text, paragraph,
                           lag(paragraph) OVER (ORDER BY position) AS before
                    FROM (
                        SELECT position, text,
                               coalesce(json_extract(body, '$.paragraph'), 0) AS paragraph
                        FROM segments WHERE job = t.job
                    )
                ) ORDER BY position
            )), '')) || ',"segments":[' || coalesce((
            SELECT group_concat(json_remove(body, {left_out}), ',')
            FROM (SELECT body FROM segments WHERE job = t.job ORDER BY position)), '') || ']}}'
        FROM transcripts AS t JOIN jobs AS j ON j.id = t.job
        WHERE t.job = :job AND j.tenant = :tenant
    """)  # noqa: S608 two constants


_WITH_WORDS = _transcript("'$.tokens'")
_WITHOUT_WORDS = _transcript("'$.tokens', '$.words'")


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
    """
    chosen = (
        sa.select(jobs.c.recording, jobs.c.name, jobs.c.step, recordings.c.media)
        .join(recordings, recordings.c.id == jobs.c.recording)
        .where(jobs.c.tenant == tenant, jobs.c.id == job)
    )
    with database.read() as connection:
        row = connection.execute(chosen).first()
    if row is None:
        raise UnknownJob(f"There is no job {job[:80]}.", hint="GET /api/v1/jobs lists them.")
    return Held(row.recording, row.name, row.step, msgspec.json.decode(row.media, type=Media))
