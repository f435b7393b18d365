"""Searching a library: by words, by meaning, or both; one answer that says how it was found."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from hansard.errors import BadRequest, HansardError
from hansard.model import Value
from hansard.search import facets, fulltext, fusion, quotes, spelling
from hansard.search.facets import Facets
from hansard.search.fulltext import Found, Ranked
from hansard.search.query import Filters, Query, narrowed, parse
from hansard.search.quotes import Passage
from hansard.search.snippets import Marker, Snippet
from hansard.store.database import Database

Mode = Literal["auto", "text", "semantic", "hybrid"]
Way = Literal["text", "semantic"]

_NEAREST = 200
"""Passages that are near enough to be looked at."""
_FUSED = 1000
"""Meetings of each order that are fused."""


class Near(NamedTuple):
    """A passage that is about what was asked: from its first segment to its last."""

    job: str
    first: int
    last: int
    start: float
    end: float
    score: float


Nearest = Callable[[str, int], "Sequence[Near] | None"]
"""Passages of the tenant that are nearest to a text, at most so many, the nearest first; ``None``
where there is nothing to compare by: no meeting has vectors yet."""


class Asked(Value, frozen=True):
    """A search as it is asked; what is saved of one, too."""

    q: str = ""
    mode: Mode = "auto"
    filters: Filters = Filters()


class Hit(Value, frozen=True, omit_defaults=False):
    """A meeting that was found. Times are seconds since the epoch, in passages of the meeting."""

    id: str
    title: Snippet
    kind: str
    status: str
    language: str | None
    held: float
    seconds: float
    mood: float | None
    score: float
    """Of this search only: it says nothing beside another's."""
    found_by: tuple[Way, ...]
    matches: int
    """Segments that have any of the words."""
    passages: tuple[Passage, ...]
    link: str


class Answer(Value, frozen=True, omit_defaults=False):
    """What was found."""

    mode: Mode
    """As it was asked for."""
    answered_by: tuple[Way, ...]
    """What the answer comes from."""
    reason: str | None
    """Why that is not all that was asked for."""
    corrected: dict[str, str]
    """Words that nobody said, and what they were taken for."""
    total: int
    """Meetings that match; with ``more`` there are others beyond them."""
    more: bool
    items: tuple[Hit, ...]
    facets: Facets | None
    next: str | None
    """The ``cursor`` of the next page."""


class _Order(Value, frozen=True):
    """Meetings in the order in which they are shown, and what is known of how."""

    found: Found
    query: Query
    ways: dict[str, tuple[Way, ...]]
    near: dict[str, list[Near]]
    answered_by: tuple[Way, ...]
    reason: str | None = None
    corrected: dict[str, str] = msgspec.field(default_factory=dict)


def search(
    database: Database,
    tenant: str,
    asked: Asked,
    *,
    nearest: Nearest | Sought | None = None,
    cursor: str | None = None,
    limit: int = 20,
    with_facets: bool = False,
) -> Answer:
    """Look for meetings.

    Args:
        database: the store.
        tenant: whose meetings.
        asked: what is looked for.
        nearest: finds by meaning, or what it has found (:func:`sought`); ``None``: nothing does.
        cursor: ``next`` of the page before.
        limit: meetings on a page.
        with_facets: count what the search may be narrowed by.

    Raises:
        BadQuery: the query cannot be read.
        BadRequest: the cursor is none that was given out.
    """
    query = parse(asked.q)
    query = replace(query, filters=narrowed(query.filters, asked.filters))
    after = None if cursor is None else _place(cursor)
    found = nearest if isinstance(nearest, Sought) else _sought(query, asked.mode, nearest)
    with database.read() as connection:
        order = _ordered(
            connection, tenant, query, found, newest=None if after is None else after.newest
        )
        every = order.found.meetings
        rest: Sequence[Ranked] = every
        if after is not None:
            rest = [m for m in every if (-m.score, -m.number) > (-after.score, -after.number)]
        page = rest[:limit]
        shown = quotes.of(connection, order.query, page, order.found.rareness)
        shown = _with_near(connection, shown, order, page)
        about = _about(connection, tenant, page)
        counted = facets.facets(connection, [one.job for one in every]) if with_facets else None
    newest = after.newest if after else max((one.number for one in every), default=0)
    marker = Marker(order.query.units)
    further = None
    if len(rest) > limit:
        further = _cursor(_Place(page[-1].score, page[-1].number, newest))
    return Answer(
        asked.mode,
        order.answered_by,
        order.reason,
        order.corrected,
        min(len(every), fulltext.MOST - 1),
        order.found.more or len(every) >= fulltext.MOST,
        tuple(_hit(one, about[one.job], order, shown, marker) for one in page),
        counted,
        further,
    )


# ── by which way ─────────────────────────────────────────────────────────────────────────────


class Sought(Value, frozen=True):
    """What is near in meaning, and why there is nothing where it was wanted."""

    mode: Mode
    near: Sequence[Near] | None = None
    reason: str | None = None


def sought(asked: Asked, nearest: Nearest | None) -> Sought:
    """What :func:`search` looks for by meaning first: for callers that must not hold up others.

    Raises:
        BadQuery: the query cannot be read.
    """
    return _sought(parse(asked.q), asked.mode, nearest)


def _sought(query: Query, mode: Mode, nearest: Nearest | None) -> Sought:
    if mode == "text":
        return Sought(mode)
    if not query.said:
        return Sought(mode, reason="There are no words to find the meaning of.")
    try:
        found = None if nearest is None else nearest(query.said, _NEAREST)
    except HansardError as error:  # whoever makes vectors failed: the words are there all the same
        return Sought(mode, reason=f"The meaning could not be searched: {error.message}")
    if found is None:
        reason = "No meeting has been prepared for searching by meaning yet."
        return Sought(mode, reason=reason)
    return Sought(mode, found)


def _ordered(
    connection: sa.Connection, tenant: str, query: Query, sought: Sought, *, newest: int | None
) -> _Order:
    near = sought.near
    by_meaning = _meant(connection, tenant, query, near or (), newest)
    if near is not None and sought.mode == "semantic":
        return _of_meaning(query, by_meaning, near)
    query = spelling.whole(connection, tenant, query)
    found = fulltext.search(connection, tenant, query, newest=newest)
    corrected: dict[str, str] = {}
    if not found.meetings and query.clauses:
        better, corrected = spelling.corrected(connection, tenant, query)
        if corrected:
            query = better
            found = fulltext.search(connection, tenant, query, newest=newest)
    if near is None:
        ways: dict[str, tuple[Way, ...]] = {one.job: ("text",) for one in found.meetings}
        return _Order(found, query, ways, {}, ("text",), sought.reason, corrected)
    return replace(_of_both(query, found, by_meaning, near), corrected=corrected)


def _meant(
    connection: sa.Connection,
    tenant: str,
    query: Query,
    near: Sequence[Near],
    newest: int | None,
) -> list[Ranked]:
    """The meetings of passages that are near, if the filters let them through; nearest first."""
    jobs = list(dict.fromkeys(one.job for one in near))
    if not jobs:
        return []
    # By meaning a word need not be there; what was left out, and who speaks, still count.
    without_words = replace(query, clauses=())
    found = fulltext.among(connection, tenant, without_words, jobs, newest=newest)
    best: dict[str, float] = {}
    for one in near:
        best.setdefault(one.job, one.score)
    known = {one.job: one for one in found}
    return [known[job]._replace(score=round(best[job], 6)) for job in jobs if job in known]


def _by_job(near: Sequence[Near]) -> dict[str, list[Near]]:
    grouped: dict[str, list[Near]] = {}
    for one in near:
        grouped.setdefault(one.job, []).append(one)
    return grouped


def _of_meaning(query: Query, meant: list[Ranked], near: Sequence[Near]) -> _Order:
    ordered = sorted(meant, key=lambda one: (-one.score, -one.number))
    ways: dict[str, tuple[Way, ...]] = {one.job: ("semantic",) for one in meant}
    return _Order(Found(tuple(ordered)), query, ways, _by_job(near), ("semantic",))


def _of_both(query: Query, found: Found, meant: list[Ranked], near: Sequence[Near]) -> _Order:
    orders: dict[Way, list[str]] = {
        "text": [one.job for one in found.meetings[:_FUSED]],
        "semantic": [one.job for one in meant],
    }
    numbers = {one.job: one.number for one in (*meant, *found.meetings)}
    ways: dict[str, tuple[Way, ...]] = dict.fromkeys(numbers, ())
    for way, order in orders.items():
        ways |= {job: (*ways[job], way) for job in order}
    fused = fusion.fused(list(orders.values()))
    scored = [Ranked(numbers[job], job, score) for job, score in fused]
    scored.sort(key=lambda one: (-one.score, -one.number))
    whole = Found(tuple(scored), found.more, found.rareness)
    return _Order(whole, query, ways, _by_job(near), ("text", "semantic"))


# ── what is shown ────────────────────────────────────────────────────────────────────────────


def _with_near(
    connection: sa.Connection, shown: quotes.Shown, order: _Order, page: Sequence[Ranked]
) -> quotes.Shown:
    """The nearest passage of each meeting that the words alone did not show."""
    wanted = [order.near[one.job][0] for one in page if one.job in order.near]
    return quotes.joined(connection, shown, order.query, wanted)


def _about(connection: sa.Connection, tenant: str, page: Sequence[Ranked]) -> dict[str, Any]:
    asks = fulltext.sql(connection)
    chosen = f"SELECT {_SHOWN} FROM meetings AS m WHERE m.tenant = :tenant AND {asks.AMONG}"  # noqa: S608 constants
    asked = {"tenant": tenant, "jobs": asks.listed([one.job for one in page])}
    return {row.job: row for row in connection.execute(sa.text(chosen), asked).all()}


_SHOWN = "job, title, kind, status, language, held, seconds, mood"


def _hit(one: Ranked, about: Any, order: _Order, shown: quotes.Shown, marker: Marker) -> Hit:
    return Hit(
        one.job,
        marker.snippet(about.title, longest=500),
        about.kind,
        about.status,
        about.language,
        about.held,
        about.seconds,
        about.mood,
        one.score,
        order.ways[one.job],
        shown.matches.get(one.job, 0),
        tuple(shown.passages.get(one.job, ())),
        f"/api/v1/meetings/{one.job}",
    )


# ── pages ────────────────────────────────────────────────────────────────────────────────────


class _Place(Value, frozen=True):
    """Behind what a page goes on, and the newest meeting when the first page was made."""

    score: float
    number: int
    newest: int


_places = msgspec.json.Decoder(tuple[float, int, int])


def _cursor(place: _Place) -> str:
    written = msgspec.json.encode((place.score, place.number, place.newest))
    return base64.urlsafe_b64encode(written).decode().rstrip("=")


def _place(cursor: str) -> _Place:
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return _Place(*_places.decode(plain))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise BadRequest(
            "The cursor is none that was given out.", hint="Take `next` of the page before."
        ) from error
