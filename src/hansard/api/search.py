"""Searching the library, and saved searches."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import multipart
from hansard.api.answers import answer, described, errors
from hansard.api.desk import client, desk
from hansard.errors import (
    AddressRefused,
    BadQuery,
    BadRequest,
    InvalidField,
    TooMuch,
    UnknownSearch,
)
from hansard.model import Value
from hansard.outbound import see_that_it_may_be_called
from hansard.search import lookup, saved
from hansard.search.lookup import Answer, Asked
from hansard.search.query import Filters, Wish
from hansard.search.saved import Saved
from hansard.store.database import Database

router = APIRouter(prefix="/api/v1", tags=["search"])

_HIT = {
    "id": "1jbx4s31mv0q7c",
    "title": {"text": "Budget 2026", "marks": [[0, 6]], "html": "<mark>Budget</mark> 2026"},
    "kind": "hearing",
    "status": "new",
    "language": "en",
    "held": 1768089600.0,
    "seconds": 3605.2,
    "mood": 0.31,
    "score": 4.107311,
    "found_by": ["text"],
    "matches": 1,
    "passages": [
        {
            "position": 17,
            "start": 85.2,
            "end": 89.9,
            "speaker": "Anna Krüger",
            "snippet": {
                "text": "The museum's budget is < 5 million.",
                "marks": [[13, 19]],
                "html": "The museum&#x27;s <mark>budget</mark> is &lt; 5 million.",
            },
            "link": "/api/v1/meetings/1jbx4s31mv0q7c?t=85.2",
        }
    ],
    "link": "/api/v1/meetings/1jbx4s31mv0q7c",
}
_FOUND = {
    "mode": "auto",
    "answered_by": ["text"],
    "reason": "No meeting has been prepared for searching by meaning yet.",
    "corrected": {"budgte": "budget"},
    "total": 1,
    "more": False,
    "items": [_HIT],
    "facets": None,
    "next": None,
}
_SAVED = {
    "id": "1jbx4s8k7qz0ab",
    "name": "Museum money",
    "q": "museum budget -draft kind:hearing",
    "webhook_url": "https://example.org/hooks",
    "created": 1763655901.2,
    "matched": 2,
    "last_match": 1763742301.7,
}


class SearchQuery(BaseModel):
    """What is searched for, and where. What is not known here is refused."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(
        "",
        max_length=2000,
        description='Words (all of them), "phrases", prefix*, -without, this OR that, and filters: '
        "`kind:`, `status:`, `tag:`, `language:`, `speaker:`, `before:`, `after:`, `mood:`.",
    )
    mode: lookup.Mode = Field(
        "auto",
        description="By words, by meaning, or both fused by reciprocal rank. `auto` is both as "
        "far as there is something to compare meanings by; the answer says what it comes from.",
    )
    kind: list[str] = Field(
        default_factory=list, max_length=10, description="Of one of these kinds."
    )
    status: list[str] = Field(default_factory=list, max_length=10, description="In one of these.")
    language: list[str] = Field(
        default_factory=list, max_length=10, description="In one of these languages."
    )
    tag: list[str] = Field(default_factory=list, max_length=10, description="With all of these.")
    speaker: list[str] = Field(
        default_factory=list, max_length=10, description="All of these speak; only they are shown."
    )
    after: datetime | None = Field(
        None, description="Held then or later: ISO 8601 or epoch seconds."
    )
    before: datetime | None = Field(None, description="Held before then.")
    mood_min: float | None = Field(None, ge=-1, le=1, description="Sentiment, -1 to 1, at least.")
    mood_max: float | None = Field(None, ge=-1, le=1, description="Sentiment at most.")
    facets: bool = Field(default=False, description="Count what the search may be narrowed by.")
    cursor: str | None = Field(
        None, max_length=200, description="`next` of the page before, unchanged."
    )
    limit: int = Field(20, ge=1, le=100, description="Most meetings of a page.")

    def asked(self) -> Asked:
        """The same as the library takes it."""
        wishes = [
            Wish(field, value.replace("\0", " ")[:64])
            for field in _FIELDS
            for value in getattr(self, field)
            if value.strip()
        ]
        return Asked(
            self.q,
            self.mode,
            Filters(
                tuple(wishes),
                _moment(self.after),
                _moment(self.before),
                self.mood_min,
                self.mood_max,
            ),
        )


_FIELDS: tuple[Literal["kind", "status", "tag", "language", "speaker"], ...] = (
    "kind",
    "status",
    "language",
    "tag",
    "speaker",
)


@router.get(
    "/search",
    summary="Search the meetings",
    responses={
        200: described(Answer, "Meetings, the best first, with what was said.", _FOUND),
        **errors(BadQuery, BadRequest),
    },
)
async def search(request: Request, query: Annotated[SearchQuery, Query()]) -> Response:
    """Full text over everything that was said and every title, grouped by meeting.

    English is searched by stems, other languages by words; case and accents do not matter. A
    meeting is found where all words are in it, a phrase where it was said in one segment. `marks`
    are positions in `text`, from and up to, counted in Unicode code points; `html` is the same
    escaped, with `<mark>`. At most a thousand meetings are counted and ranked, the newest: `more`
    says that there are others. Where nothing matches, words that nobody said are taken for near
    ones: `corrected` says which.
    """
    at, who = desk(request), client(request)
    asked = query.asked()
    # Comparing vectors takes longer than a look into the store, which others wait for.
    sought = await at.work(lookup.sought, asked, at.house.nearest(who.tenant))
    found = await at.read(
        lookup.search,
        at.reader,
        who.tenant,
        asked,
        nearest=sought,
        cursor=query.cursor,
        limit=query.limit,
        with_facets=query.facets,
    )
    return answer(found)


# ── saved searches ───────────────────────────────────────────────────────────────────────────


class SavedPage(Value, frozen=True, omit_defaults=False):
    """Saved searches, newest first."""

    items: tuple[Saved, ...]
    next: str | None
    """The ``cursor`` of the next page."""


class SavedQuery(BaseModel):
    """From where on."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="Most items of a page.")
    cursor: str | None = Field(
        None, pattern="^[0-9a-z]{14}$", description="`next` of the page before, unchanged."
    )


class _New(Value, frozen=True, forbid_unknown_fields=True):
    """A search to be saved."""

    name: str
    q: str
    webhook_url: str | None = None


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["name", "q"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 200},
                    "q": {"type": "string", "minLength": 1, "maxLength": 1000},
                    "webhook_url": {
                        "type": ["string", "null"],
                        "description": "Told of each new meeting that matches.",
                    },
                },
            },
            "example": {
                "name": _SAVED["name"],
                "q": _SAVED["q"],
                "webhook_url": _SAVED["webhook_url"],
            },
        }
    },
}


@router.post(
    "/searches",
    status_code=201,
    summary="Save a search",
    responses={
        201: described(Saved, "It is kept.", {**_SAVED, "matched": 0, "last_match": None}),
        **errors(BadQuery, InvalidField, BadRequest, AddressRefused, TooMuch),
    },
    openapi_extra={"requestBody": _BODY},
)
async def save(request: Request) -> Response:
    """Keep a search by name, and with `webhook_url` be told of new meetings that match.

    What comes is the event `search.matched`, signed and sent until it arrives like any other.
    Whether a meeting matches is looked at by words and filters, once its words are final.
    """
    at, who = desk(request), client(request)
    asked = _new(await multipart.small(request))
    if asked.webhook_url is not None:
        see_that_it_may_be_called(asked.webhook_url, at.settings)
    kept = await at.write(
        _write,
        at.house.database,
        saved.save,
        who.tenant,
        asked.name,
        asked.q,
        webhook=asked.webhook_url,
        key=who.key,
        now=time.time(),
    )
    return answer(kept, 201, {"location": f"/api/v1/searches/{kept.id}"})


@router.get(
    "/searches",
    summary="List saved searches",
    responses={200: described(SavedPage, "Newest first.", {"items": [_SAVED], "next": None})},
)
async def every(request: Request, query: Annotated[SavedQuery, Query()]) -> Response:
    """The saved searches of this key's tenant, with how often they have matched."""
    at = desk(request)
    found = await at.read(
        _read,
        at.reader,
        saved.listing,
        client(request).tenant,
        before=query.cursor,
        limit=query.limit + 1,
    )
    items = found[: query.limit]
    further = items[-1].id if len(found) > query.limit else None
    return answer(SavedPage(tuple(items), further))


@router.get(
    "/searches/{search}",
    summary="Get a saved search",
    responses={200: described(Saved, "As it was saved.", _SAVED), **errors(UnknownSearch)},
)
async def one(request: Request, search: str) -> Response:
    """One saved search and how often it has matched."""
    at = desk(request)
    return answer(await at.read(_read, at.reader, saved.find, client(request).tenant, search))


@router.delete(
    "/searches/{search}",
    status_code=204,
    summary="Delete a saved search",
    responses={204: {"description": "It is gone."}, **errors(UnknownSearch)},
)
async def delete(request: Request, search: str) -> Response:
    """Nobody is told of its matches any more; what waits to be sent already still is."""
    at = desk(request)
    await at.write(_write, at.house.database, saved.delete, client(request).tenant, search)
    return Response(status_code=204)


def _new(body: bytes) -> _New:
    try:
        return msgspec.json.decode(body, type=_New)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(
            f"The body is not what it must be: {error}.",
            hint='{"name": "Museum", "q": "museum budget"}',
        ) from error


def _read(reader: Database, ask: Callable[..., Any], *given: Any, **chosen: Any) -> Any:
    with reader.read() as connection:
        return ask(connection, *given, **chosen)


def _write(database: Database, act: Callable[..., Any], *given: Any, **chosen: Any) -> Any:
    with database.write() as connection:
        return act(connection, *given, **chosen)


def _moment(when: datetime | None) -> float | None:
    """Seconds since the epoch; a time without a zone is UTC."""
    if when is None:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
