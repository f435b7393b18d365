"""Meetings: what they are called and how far people are with them; one, many, and all at once."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import meeting_shapes as shapes
from hansard.api.answers import answer, described, encoded, errors, unchanged
from hansard.api.desk import Desk, client, desk
from hansard.api.pages import epoch
from hansard.errors import BadRequest, Changed, HansardError, UnknownMeeting
from hansard.insight import templates
from hansard.meetings import editing, makers
from hansard.meetings.editing import Editor
from hansard.model import Client
from hansard.store import meeting_views
from hansard.store.meetings import Status

router = APIRouter(prefix="/api/v1", tags=["meetings"])


class Which(BaseModel):
    """Which meetings. What is not known here is refused."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = Field(None, description="How far people are with it.")
    kind: str | None = Field(None, max_length=64, description="Of this kind: a template's name.")
    tag: str | None = Field(None, max_length=64, description="Has this tag.")
    language: str | None = Field(None, max_length=16, description="In this language: a code.")
    since: datetime | None = Field(
        None, alias="from", description="Held then or later: ISO 8601, or epoch seconds."
    )
    until: datetime | None = Field(None, alias="to", description="Held before then.")
    text: str | None = Field(
        None, max_length=100, description="Has this in its title, whatever the case."
    )

    def wanted(self) -> meeting_views.Filter:
        """The same as the store takes it."""
        return meeting_views.Filter(
            self.status, self.kind, self.tag, self.language,
            epoch(self.since), epoch(self.until), self.text,
        )  # fmt: skip


class MeetingQuery(Which):
    """Which meetings, and from where on."""

    limit: int = Field(50, ge=1, le=200, description="Most items of a page.")
    cursor: str | None = Field(
        None, max_length=120, description="`next` of the page before, unchanged."
    )


def editor(request: Request) -> Editor:
    """Who asks, as somebody who changes something."""
    at = desk(request)
    return Editor(at.house.queue, at.settings.meetings, client(request))


async def shown(at: Desk, who: Client, job: str, status: int = 200) -> Response:
    """A meeting as it is now, with its version."""
    made = await _made(at, who, job)
    return encoded(made, status, version=_version(made))


async def _made(at: Desk, who: Client, job: str) -> bytes:
    made = await at.read(meeting_views.one, at.reader, who.tenant, job)
    if made is None:
        raise UnknownMeeting(
            f"There is no meeting {job[:80]}.", hint="GET /api/v1/meetings lists them."
        )
    return made


class _Known(msgspec.Struct):
    revision: int
    archived: float | None


def _version(made: bytes) -> str:
    known = msgspec.json.decode(made, type=_Known)
    return shapes.etag(known.revision, archived=known.archived is not None)


# ── many ─────────────────────────────────────────────────────────────────────────────────────


@router.get(
    "/meetings",
    summary="List meetings",
    responses={
        200: described(
            shapes.MeetingPage, "The last held first.", {"items": [shapes.EXAMPLE], "next": None}
        ),
        **errors(BadRequest),
    },
)
async def every(request: Request, query: Annotated[MeetingQuery, Query()]) -> Response:
    """Pages by when meetings were held: the last page is as fast as the first."""
    at, who = desk(request), client(request)
    after = None if query.cursor is None else _after(query.cursor)
    page = await at.read(
        meeting_views.page, at.reader, who.tenant, query.wanted(), after=after, limit=query.limit
    )
    further = msgspec.json.encode(None if page.last is None else _cursor(page.last))
    return encoded(b'{"items":' + page.items + b',"next":' + further + b"}")


def _cursor(place: meeting_views.Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _after(cursor: str) -> meeting_views.Place:
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        place = msgspec.json.decode(plain, type=meeting_views.Place)
    except (ValueError, msgspec.DecodeError):
        place = None
    if place is None or not place.job.isascii() or len(place.job) > 40 or "\0" in place.job:
        raise BadRequest(
            "The cursor is none that was given out.", hint="Take `next` of the page before."
        )
    return place


@router.post(
    "/meetings/bulk",
    summary="Change many meetings",
    responses={
        200: described(
            shapes.BulkResult,
            "What became of each.",
            {"changed": ["1m7wkb3n3a9jd3"], "failed": {"1m7wkb3n3a9jd4": "unknown_meeting"}},
        ),
        **errors(BadRequest),
    },
    openapi_extra={
        "requestBody": shapes.body(
            shapes.Bulk, {"ids": ["1m7wkb3n3a9jd3"], "status": "done", "add_tags": ["2026"]}
        )
    },
)
async def bulk(request: Request) -> Response:
    """Give up to 50 meetings a status and tags, or take tags away. Each for itself."""
    at, who = desk(request), editor(request)
    wanted = await shapes.read(request, shapes.Bulk)
    changed, failed = await at.write(_bulk, who, wanted)
    return answer(shapes.BulkResult(tuple(changed), failed))


def _bulk(who: Editor, wanted: shapes.Bulk) -> tuple[list[str], dict[str, str]]:
    changed: list[str] = []
    failed: dict[str, str] = {}
    for job in dict.fromkeys(wanted.ids):
        try:
            editing.change_many(who, job, wanted.status, wanted.add_tags, wanted.remove_tags)
            changed.append(job)
        except HansardError as error:
            failed[job] = error.code
    return changed, failed


# ── one ──────────────────────────────────────────────────────────────────────────────────────


@router.get(
    "/meetings/{job}",
    summary="Get a meeting",
    responses={
        200: described(shapes.Meeting, "The meeting; its `ETag` is its revision.", shapes.EXAMPLE),
        304: {"description": "It is the version that `If-None-Match` names."},
        **errors(UnknownMeeting),
    },
)
async def one(request: Request, job: str) -> Response:
    """What a meeting is called, when it was held, who was there, and where the rest of it is."""
    at, who = desk(request), client(request)
    made = await _made(at, who, job)
    name = _version(made)
    return unchanged(request, name) or encoded(made, version=name)


@router.patch(
    "/meetings/{job}",
    summary="Change a meeting",
    responses={
        200: described(shapes.Meeting, "The meeting as it is now.", shapes.EXAMPLE),
        **errors(UnknownMeeting, BadRequest, Changed),
    },
    openapi_extra=shapes.changing(
        shapes.MeetingChange, {"title": "Budget 2027", "tags": ["budget"], "status": "reviewing"}
    ),
)
async def change(request: Request, job: str) -> Response:
    """Call it something else, say when it was held, who was there, what it is about."""
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    given = await shapes.read(request, shapes.MeetingChange)
    if given.kind is not msgspec.UNSET:
        templates.named(await at.work(makers.templates_in, at.settings.data), given.kind)
    named: dict[str, Any] = {name: getattr(given, name) for name in given.__struct_fields__}
    wanted = editing.Change(**named)
    await at.write(editing.change, who, job, wanted, revision=revision)
    return await shown(at, who.client, job)


@router.delete(
    "/meetings/{job}",
    summary="Delete a meeting",
    status_code=204,
    responses={204: {"description": "It is gone."}, **errors(UnknownMeeting)},
)
async def remove(request: Request, job: str) -> Response:
    """Remove a meeting with its transcript, and the media where no other is about them."""
    at, who = desk(request), client(request)
    await _made(at, who, job)
    await at.write(
        at.house.queue.delete,
        who.tenant,
        job,
        forget=at.house.files.forget_recording,
        discard=at.house.archive.discard,
    )
    if at.shared is not None:
        await at.shared.forget(who.tenant, job)
    return Response(status_code=204)
