"""Meetings as JSON that the database makes itself: one row a page, like ``store.views``.

Pages go by the day on which a meeting was held, the newest first: an index of the tenant gives
them in that order, and the last page is as fast as the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.model import Segment, Value
from hansard.store import archived, views, views_postgres, views_sqlite
from hansard.store.database import Database, Dialect
from hansard.store.tables import segments
from hansard.store.views_shape import Fields, written

PLACE = "/api/v1/meetings/"

PIECE = 500
"""Segments in memory at once."""

_PLAIN = ("title", "kind", "status", "held", "language", "seconds", "words", "segments", "mood")
_LINKS = ("segments", "summary", "actions", "chapters", "sentiment", "speakers", "statistics")


class Filter(Value, frozen=True):
    """Which meetings are wanted. Times are seconds since the epoch."""

    status: str | None = None
    kind: str | None = None
    tag: str | None = None
    language: str | None = None
    since: float | None = None
    """Held then or later."""
    until: float | None = None
    """Held before then."""
    text: str | None = None
    """In the title, whatever the case of its letters."""


class Place(Value, frozen=True, array_like=True):
    """Where a page ends: when the last meeting was held, and its id."""

    held: float
    job: str


class Page(Value, frozen=True):
    """A page of meetings as a JSON array; ``last`` is where the next goes on."""

    items: bytes
    last: Place | None = None


def _fields(json: Callable[[str], str], tags: str) -> Fields:
    return {
        "id": "m.job",
        **{name: f"m.{name}" for name in _PLAIN},
        "people": json("m.people"),
        "tags": tags,
        **{name: f"m.{name}" for name in ("created", "changed", "revision", "wording")},
        "archived": "(SELECT a.archived FROM archives AS a WHERE a.job = m.job)",
        "links": {
            "self": f"'{PLACE}' || m.job",
            **{name: f"'{PLACE}' || m.job || '/{name}'" for name in _LINKS},
            "transcription": f"'{views.PLACE}' || m.job",
        },
    }


_SHAPES: dict[Dialect, str] = {
    "sqlite": written(
        "json_object",
        _fields(
            lambda column: f"json({column})",
            "(SELECT json_group_array(tag) FROM "
            "(SELECT tag FROM meeting_tags WHERE job = m.job ORDER BY tag))",
        ),
    ),
    "postgresql": written(
        "json_build_object",
        _fields(
            lambda column: f"CAST({column} AS json)",
            "(SELECT coalesce(json_agg(tag ORDER BY tag), CAST('[]' AS json)) "
            "FROM meeting_tags WHERE job = m.job)",
        ),
    ),
}
_JOINED = {"sqlite": "group_concat(item, ',')", "postgresql": "string_agg(item, ',')"}

_CONDITIONS = {
    "after": "(m.held, m.job) < (:held, :after)",
    "status": "m.status = :status",
    "kind": "m.kind = :kind",
    "language": "m.language = :language",
    "since": "m.held >= :since",
    "until": "m.held < :until",
    "tag": "EXISTS (SELECT 1 FROM meeting_tags AS t WHERE t.job = m.job AND t.tag = :tag)",
}


@cache
def _page_query(dialect: Dialect, conditions: tuple[str, ...]) -> sa.TextClause:
    known = _CONDITIONS | {"text": f"m.title {'GLOB' if dialect == 'sqlite' else '~'} :text"}
    where = " AND ".join(["m.tenant = :tenant", *(known[name] for name in conditions)])
    shown = (
        f"SELECT CAST({_SHAPES[dialect]} AS text) AS item FROM found AS f "  # noqa: S608 constants
        "JOIN meetings AS m ON m.job = f.job "
        "ORDER BY f.held DESC, f.job DESC LIMIT :limit"
    )
    order = "ORDER BY held DESC, job DESC LIMIT 1"
    return sa.text(f"""
        WITH found AS (
            SELECT m.held, m.job FROM meetings AS m WHERE {where}
            ORDER BY m.held DESC, m.job DESC LIMIT :limit + 1
        )
        SELECT '[' || coalesce((SELECT {_JOINED[dialect]} FROM ({shown}) AS shown), '') || ']'
                   AS items,
               (SELECT count(*) FROM found) AS total,
               (SELECT held FROM found {order} OFFSET :limit - 1) AS held,
               (SELECT job FROM found {order} OFFSET :limit - 1) AS last
    """)  # noqa: S608 constants


_SQL: dict[Dialect, Any] = {"sqlite": views_sqlite, "postgresql": views_postgres}


def page(
    database: Database, tenant: str, wanted: Filter, *, after: Place | None = None, limit: int = 50
) -> Page:
    """A tenant's meetings behind a place, the last held first."""
    asked: dict[str, Any] = {
        name: getattr(wanted, name)
        for name in ("status", "kind", "tag", "language", "since", "until")
        if getattr(wanted, name) is not None
    }
    if after is not None:
        asked["after"] = after.job
    if wanted.text:
        letters = [views.cases(letter) for letter in wanted.text]
        asked["text"] = _SQL[database.dialect].any_case(letters)
    query = _page_query(database.dialect, tuple(sorted(asked)))
    if after is not None:
        asked["held"] = after.held
    with database.read() as connection:
        row = connection.execute(query, {**asked, "tenant": tenant, "limit": limit}).one()
    last = Place(float(row.held), row.last) if row.total > limit else None
    return Page(row.items.encode(), last)


@cache
def _one_query(dialect: Dialect) -> sa.TextClause:
    return sa.text(
        f"SELECT CAST({_SHAPES[dialect]} AS text) FROM meetings AS m "  # noqa: S608 constants
        "WHERE m.job = :job AND m.tenant = :tenant"
    )


def one(database: Database, tenant: str, job: str) -> bytes | None:
    """A tenant's meeting as a JSON object; ``None`` where there is none."""
    with database.read() as connection:
        asked = {"job": job, "tenant": tenant}
        made = connection.scalar(_one_query(database.dialect), asked)
    return None if made is None else str(made).encode()


def walk(database: Database, tenant: str, wanted: Filter, *, piece: int = 100) -> Iterator[str]:
    """Ids of all meetings of a tenant, the last held first, a page in memory at a time."""
    last: Place | None = None
    known = msgspec.json.Decoder(list[_Named])
    while True:
        found = page(database, tenant, wanted, after=last, limit=piece)
        for row in known.decode(found.items):
            yield row.id
        last = found.last
        if last is None:
            return


class _Named(Value, frozen=True):
    id: str


# ── segments ─────────────────────────────────────────────────────────────────────────────────


class Line(Value, frozen=True):
    """A segment with its place in the transcript."""

    position: int
    segment: Segment


_ROWS = sa.select(segments.c.position, segments.c.body).where(segments.c.job == sa.bindparam("of"))


def lines(
    database: Database,
    job: str,
    *,
    since: float | None = None,
    until: float | None = None,
    after: int = -1,
    limit: int = PIECE,
) -> list[Line]:
    """Segments behind a position that are heard between two moments (seconds), in order.

    Raises:
        Archived: they are in the archive.
    """
    wanted = _ROWS.where(segments.c.position > after)
    if since is not None:
        wanted = wanted.where(segments.c.end > since)
    if until is not None:
        wanted = wanted.where(segments.c.start < until)
    piece = wanted.order_by(segments.c.position).limit(limit).subquery()
    with database.read() as connection:
        row = connection.execute(
            sa.select(
                sa.func.aggregate_strings(sa.cast(piece.c.position, sa.Text), ",").label("places"),
                sa.func.aggregate_strings(piece.c.body, ",").label("bodies"),
            ),
            {"of": job},
        ).one()
        if row.places is None:
            archived.see_that_it_is_here(connection, job)
            return []
    places = msgspec.json.decode(f"[{row.places}]", type=list[int])
    bodies = _SEGMENTS.decode(f"[{row.bodies}]")
    return [Line(at, segment) for at, segment in zip(places, bodies, strict=True)]


_SEGMENTS = msgspec.json.Decoder(list[Segment])


def every_line(database: Database, job: str) -> Iterator[Line]:
    """All segments in order, a piece of them in memory at a time."""
    last = -1
    look = partial(lines, database, job, limit=PIECE)
    while piece := look(after=last):
        yield from piece
        last = piece[-1].position


_PIECE = (
    _ROWS.where(segments.c.position > sa.bindparam("after"))
    .order_by(segments.c.position)
    .limit(PIECE)
    .subquery()
)
_BODIES = sa.select(
    sa.func.max(_PIECE.c.position).label("last"),
    sa.func.count().label("found"),
    sa.func.aggregate_strings(_PIECE.c.body, ",").label("bodies"),
)


def bodies(database: Database, job: str) -> Iterator[bytes]:
    """The JSON of all segments as it is stored, with commas between, a piece at a time."""
    last = -1
    while True:
        with database.read() as connection:
            row = connection.execute(_BODIES, {"of": job, "after": last}).one()
        if row.found:
            yield (b"" if last < 0 else b",") + row.bodies.encode()
        if row.found < PIECE:
            return
        last = row.last
