"""Saved searches: kept by name, and told of by webhook when a new meeting matches.

Whether one matches is asked where the words of a meeting have become final, inside that very
transaction: either the meeting is there and whoever waits for it is told, or neither. It is one
look into the index for each saved search of the tenant, of which there are at most :data:`MOST`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from hansard.errors import BadQuery, InvalidField, TooMuch, UnknownSearch
from hansard.jobs import webhooks
from hansard.model import Value
from hansard.search import fulltext, spelling
from hansard.search.lookup import Asked
from hansard.search.query import Query, narrowed, parse
from hansard.store import ids, locks
from hansard.store.tables import deliveries, meetings, searches

MOST: Final = 100
"""Saved searches of a tenant."""
_NAME = 200
"""Characters of a name."""

EVENT: Final = "search.matched"


class Saved(Value, frozen=True, omit_defaults=False):
    """A saved search. Times are seconds since the epoch."""

    id: str
    name: str
    q: str
    """The query."""
    webhook_url: str | None
    """Who is told of new meetings that match."""
    created: float
    matched: int
    """Meetings that have matched since, where somebody is told of them."""
    last_match: float | None


def save(
    connection: sa.Connection,
    tenant: str,
    name: str,
    q: str,
    *,
    webhook: str | None,
    key: str | None,
    now: float,
) -> Saved:
    """Keep a search. Whether ``webhook`` may be called is its asker's to see.

    Raises:
        BadQuery: the query cannot be read, or is empty.
        InvalidField: the name is empty or too long.
        TooMuch: the tenant has :data:`MOST` already.
    """
    name = name.replace("\0", "\ufffd").strip()  # PostgreSQL takes none in a text
    if not 0 < len(name) <= _NAME:
        raise InvalidField(
            f"A saved search has a name of 1 to {_NAME} characters.", hint="Give it one."
        )
    query = parse(q)
    if query == Query(q):
        raise BadQuery(
            "There is nothing to search for (at character 1 of the search).",
            hint="Give words or filters.",
        )
    locks.alone(connection, f"searches of {tenant}")
    count = sa.select(sa.func.count()).select_from(searches).where(searches.c.tenant == tenant)
    if int(connection.scalar(count) or 0) >= MOST:
        raise TooMuch(f"There are {MOST} saved searches already.", hint="Delete one first.")
    number = ids.new_id(now)
    connection.execute(
        searches.insert().values(
            id=number,
            tenant=tenant,
            key=key,
            name=name,
            query=msgspec.json.encode(Asked(q, "text")).decode(),
            webhook=webhook,
            created=now,
        )
    )
    return find(connection, tenant, number)


def listing(
    connection: sa.Connection, tenant: str, *, before: str | None = None, limit: int = 50
) -> list[Saved]:
    """Saved searches, newest first; ``before`` is the last id of a page."""
    chosen = (
        sa.select(searches)
        .where(searches.c.tenant == tenant)
        .order_by(searches.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        chosen = chosen.where(searches.c.id < before)
    return [_saved(row) for row in connection.execute(chosen).all()]


def find(connection: sa.Connection, tenant: str, number: str) -> Saved:
    """One of them.

    Raises:
        UnknownSearch: there is none, or it is another tenant's.
    """
    chosen = sa.select(searches).where(searches.c.id == number, searches.c.tenant == tenant)
    # PostgreSQL takes no NUL, not even to say that there is no such row.
    row = None if "\0" in number else connection.execute(chosen).first()
    if row is None:
        raise UnknownSearch(
            f"There is no saved search {number[:40]}.", hint="GET /api/v1/searches lists them."
        )
    return _saved(row)


def delete(connection: sa.Connection, tenant: str, number: str) -> None:
    """Forget one.

    Raises:
        UnknownSearch: see :func:`find`.
    """
    find(connection, tenant, number)
    connection.execute(searches.delete().where(searches.c.id == number))


def note_matches(connection: sa.Connection, job: str, *, now: float) -> list[str]:
    """The words of a meeting are final: note it for whoever waits for such a meeting.

    A meeting that has been noted for a search already is not noted again, however often this is
    called.

    Returns:
        The ids of the searches that match and had not.
    """
    meeting = connection.execute(
        sa.select(meetings.c.tenant, meetings.c.title, meetings.c.held).where(meetings.c.job == job)
    ).first()
    if meeting is None:
        return []
    waiting = connection.execute(
        sa.select(searches)
        .where(searches.c.tenant == meeting.tenant, searches.c.webhook.is_not(None))
        .order_by(searches.c.id)
        .limit(MOST)
    ).all()
    known = _noted(connection, job) if waiting else set()
    matched = [
        row
        for row in waiting
        if row.id not in known and _matches(connection, row.tenant, row.query, job)
    ]
    for row in matched:
        connection.execute(
            searches.update()
            .where(searches.c.id == row.id)
            .values(matched=searches.c.matched + 1, last_match=now)
        )
        said = {
            "search": {"id": row.id, "name": row.name, "q": _asked(row.query).q},
            "meeting": {"id": job, "title": meeting.title, "held": meeting.held},
            "link": f"/api/v1/meetings/{job}",
        }
        webhooks.note(connection, EVENT, said, url=row.webhook, tenant=row.tenant, job=job, now=now)
    return [row.id for row in matched]


_asked = msgspec.json.Decoder(Asked).decode


class _Search(Value, frozen=True):
    id: str


class _Data(Value, frozen=True):
    search: _Search


class _Body(Value, frozen=True):
    """What of a delivery says which search it is about."""

    data: _Data


_body = msgspec.json.Decoder(_Body).decode


def _noted(connection: sa.Connection, job: str) -> set[str]:
    chosen = sa.select(deliveries.c.body).where(
        deliveries.c.job == job, deliveries.c.event == EVENT
    )
    return {_body(body).data.search.id for body in connection.scalars(chosen).all()}


def _matches(connection: sa.Connection, tenant: str, kept: str, job: str) -> bool:
    asked = _asked(kept)
    try:
        query = parse(asked.q)
    except BadQuery:  # kept by an earlier Hansard, with other words for its filters
        return False
    query = spelling.whole(connection, tenant, query)
    query = msgspec.structs.replace(query, filters=narrowed(query.filters, asked.filters))
    return bool(fulltext.among(connection, tenant, query, [job]))


def _saved(row: sa.Row[Any]) -> Saved:
    return Saved(
        row.id,
        row.name,
        _asked(row.query).q,
        row.webhook,
        row.created,
        row.matched,
        row.last_match,
    )
