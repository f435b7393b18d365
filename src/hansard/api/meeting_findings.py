"""What was found out about a meeting, and what people make of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import meeting_shapes as shapes
from hansard.api.answers import answer, described, errors
from hansard.api.desk import client, desk
from hansard.api.meeting_segments import followed
from hansard.api.meetings import editor
from hansard.errors import (
    Archived,
    BadRequest,
    Changed,
    NotMadeYet,
    UnknownMeeting,
    UnknownPlace,
)
from hansard.insight.findings import Item, Items, Kind
from hansard.meetings import amending, editing, reading
from hansard.meetings.reading import MeetingFinding
from hansard.store import meetings
from hansard.store.database import Database

router = APIRouter(prefix="/api/v1", tags=["meetings"])

_ITEM = {
    "kind": "action",
    "text": "Anna sends the numbers by Friday.",
    "segments": [12],
    "owner": "Anna",
    "due": "2026-12-04",
}
_VALUES: dict[str, Any] = {
    "summary": {
        "short": [{"text": "The budget was agreed.", "segments": [12]}],
        "long": [{"text": "The budget was agreed.", "segments": [12]}],
    },
    "chapters": {
        "chapters": [
            {"title": "Budget", "first": 0, "last": 41, "start": 0.6, "end": 301.2,
             "phrases": ["budget", "next year"]}
        ]
    },
    "items": {"items": [_ITEM]},
    "sentiment": {
        "score": 0.12,
        "segments": [0.0, 0.4],
        "speakers": [{"speaker": "S1", "score": 0.12, "course": [[60.0, 0.2]]}],
    },
    "statistics": {
        "seconds": 3605.2, "talk": 3301.5, "silence": 303.7, "silences": 41,
        "longest_silence": 12.4, "overlap": 20.1, "turns": 212, "words": 8412,
        "words_per_minute": 152.9, "questions": 31,
        "speakers": [
            {"speaker": "S1", "talk": 1204.5, "share": 0.365, "turns": 80, "words": 3100,
             "words_per_minute": 154.4, "longest_turn": 92.3, "interruptions": 3,
             "interrupted": 5, "questions": 12}
        ],
    },
}  # fmt: skip


def _documented(kind: str, what: str) -> dict[int | str, dict[str, Any]]:
    keys = {"keys": ["9f2c0a61b7de"]} if kind in ("items", "actions") else {}
    value = _VALUES["items" if kind == "actions" else kind]
    example = shapes.finding("items" if kind == "actions" else kind, value, **keys)
    return {
        200: described(MeetingFinding, what, example),
        **errors(UnknownMeeting, NotMadeYet),
    }


async def _shown(request: Request, job: str, kind: Kind) -> Response:
    return answer(await _found(request, job, kind))


async def _found(request: Request, job: str, kind: Kind) -> MeetingFinding:
    at = desk(request)
    return await at.read(reading.shown, at.reader, client(request).tenant, job, kind)


@router.get(
    "/meetings/{job}/summary",
    summary="Get the summary",
    responses=_documented("summary", "Sentences, each with the segments that it rests on."),
)
async def summary(request: Request, job: str) -> Response:
    """Short and long, with citations; and whether words have changed since it was made."""
    return await _shown(request, job, "summary")


@router.get(
    "/meetings/{job}/chapters",
    summary="Get the chapters",
    responses=_documented("chapters", "Stretches of the meeting, in order."),
)
async def chapters(request: Request, job: str) -> Response:
    """What the meeting was about, one thing after the other."""
    return await _shown(request, job, "chapters")


@router.get(
    "/meetings/{job}/sentiment",
    summary="Get the sentiment",
    responses=_documented("sentiment", "Scores from -1 to 1."),
)
async def sentiment(request: Request, job: str) -> Response:
    """How it was said: each segment, each speaker over time, and all together."""
    return await _shown(request, job, "sentiment")


@router.get(
    "/meetings/{job}/statistics",
    summary="Get the statistics",
    responses=_documented("statistics", "Times are seconds."),
)
async def statistics(request: Request, job: str) -> Response:
    """Who spoke how much, how fast, and who fell into whose words."""
    return await _shown(request, job, "statistics")


@router.get(
    "/meetings/{job}/items",
    summary="Get everything to keep",
    responses=_documented("items", "Actions, decisions, questions, dates and figures."),
)
async def items(request: Request, job: str) -> Response:
    """In the order in which it was said; `keys` are what each item is corrected by."""
    return await _shown(request, job, "items")


@router.get(
    "/meetings/{job}/actions",
    summary="Get the action items",
    responses=_documented("actions", "What is to be done, by whom and until when."),
)
async def actions(request: Request, job: str) -> Response:
    """The items that somebody is to do something about."""
    found = await _found(request, job, "items")
    pairs = zip(found.value.items, found.keys, strict=True)
    kept = [(item, key) for item, key in pairs if item.kind == "action"]
    value = Items(tuple(item for item, _ in kept))
    cited = {at for item, _ in kept for at in item.segments}
    times = {at: start for at, start in found.times.items() if at in cited}
    fields: dict[str, Any] = {name: getattr(found, name) for name in found.__struct_fields__}
    fields |= {"value": value, "times": times, "keys": tuple(key for _, key in kept)}
    return answer(MeetingFinding(**fields))


# ── again ────────────────────────────────────────────────────────────────────────────────────


@router.post(
    "/meetings/{job}/insight",
    summary="Find everything out again",
    status_code=202,
    responses={
        202: described(
            shapes.FollowUp,
            "A job does it.",
            {
                "job": "1m7wkbd5k0a8fz",
                "links": {"job": "/api/v1/jobs/1m7wkbd5k0a8fz", "meeting": shapes.PLACE},
            },
        ),
        **errors(UnknownMeeting, BadRequest, Archived),
    },
    openapi_extra={"requestBody": shapes.body(shapes.InsightAsked, {"kinds": ["summary"]})},
)
async def again(request: Request, job: str) -> Response:
    """Make findings anew, all or some. What people corrected stays."""
    at, who = desk(request), editor(request)
    wanted = await shapes.read(request, shapes.InsightAsked, empty=True)
    await at.read(reading.see_that_it_is_here, at.reader, job, who.client.tenant)
    return followed(job, await at.write(editing.find_out, who, job, wanted.kinds))


# ── corrections ──────────────────────────────────────────────────────────────────────────────

_REFUSALS = errors(UnknownMeeting, UnknownPlace, NotMadeYet, BadRequest, Changed)


@router.patch(
    "/meetings/{job}/summary",
    summary="Write the summary anew",
    responses={**_documented("summary", "The summary as it is now."), **_REFUSALS},
    openapi_extra=shapes.changing(shapes.SummaryChange, {"short": ["The budget was agreed."]}),
)
async def change_summary(request: Request, job: str) -> Response:
    """Sentences that stay keep what they cite. It stays so, whatever is found later."""
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    wanted = await shapes.read(request, shapes.SummaryChange)
    parts = {"short": wanted.short, "long": wanted.long}
    given = {part: texts for part, texts in parts.items() if texts is not None}
    if not given:
        raise BadRequest("Nothing is to be changed.", hint="Send short, long, or both.")
    for part, texts in given.items():
        await at.write(amending.change_summary, who, job, part, texts, revision=revision)
        revision = None
    return await _shown(request, job, "summary")


@router.patch(
    "/meetings/{job}/chapters/{number}",
    summary="Call a chapter something else",
    responses={**_documented("chapters", "The chapters as they are now."), **_REFUSALS},
    openapi_extra=shapes.changing(shapes.ChapterChange, {"title": "Next year's budget"}),
)
async def change_chapter(request: Request, job: str, number: int) -> Response:
    """Chapters count from 0. The title stays, whatever is found later."""
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    wanted = await shapes.read(request, shapes.ChapterChange)
    await at.write(amending.change_chapter, who, job, number, wanted.title, revision=revision)
    return await _shown(request, job, "chapters")


@router.post(
    "/meetings/{job}/items",
    summary="Add an item",
    status_code=201,
    responses={
        201: described(
            MeetingFinding,
            "The items as they are now.",
            shapes.finding("items", _VALUES["items"], keys=["9f2c0a61b7de"]),
        ),
        **_REFUSALS,
    },
    openapi_extra=shapes.changing(
        shapes.NewItem, {"kind": "action", "text": "Book a room.", "owner": "Ben", "start": 301.5}
    ),
)
async def add_item(request: Request, job: str) -> Response:
    """Something to keep that nobody found. It stays, whatever is found later."""
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    wanted = await shapes.read(request, shapes.NewItem)
    item = _item(wanted)
    await at.write(amending.add_item, who, job, item, wanted.start, revision=revision)
    return answer(await _found(request, job, "items"), 201)


@router.patch(
    "/meetings/{job}/items/{key}",
    summary="Correct an item",
    responses={**_documented("items", "The items as they are now."), **_REFUSALS},
    openapi_extra=shapes.changing(
        shapes.ItemChange, {"kind": "action", "text": "Ben sends the numbers.", "owner": "Ben"}
    ),
)
async def change_item(request: Request, job: str, key: str) -> Response:
    """Write it as it should be. It stays so, whatever is found later."""
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    wanted = await shapes.read(request, shapes.ItemChange)
    await at.write(amending.change_item, who, job, key, _item(wanted), revision=revision)
    return await _shown(request, job, "items")


@router.delete(
    "/meetings/{job}/items/{key}",
    summary="Remove an item",
    responses={**_documented("items", "The items as they are now."), **_REFUSALS},
    openapi_extra={"parameters": [shapes.IF_MATCH]},
)
async def remove_item(request: Request, job: str, key: str) -> Response:
    """It is not shown any more, even where it is found again."""
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    await at.write(amending.change_item, who, job, key, None, revision=revision)
    return await _shown(request, job, "items")


def _item(wanted: shapes.ItemChange) -> Item:
    return Item(
        wanted.kind, wanted.text, (), owner=wanted.owner, due=wanted.due, value=wanted.value
    )


class CorrectionQuery(BaseModel):
    """From where on."""

    model_config = ConfigDict(extra="forbid")

    after: str = Field(
        "", pattern="^[0-9a-z]{0,14}$", description="`next` of the page before, unchanged."
    )
    limit: int = Field(100, ge=1, le=500, description="Most items of a page.")


@router.get(
    "/meetings/{job}/corrections",
    summary="List what people changed",
    responses={
        200: described(
            shapes.CorrectionPage, "Oldest first.", {"items": [shapes.CORRECTION], "next": None}
        ),
        **errors(UnknownMeeting),
    },
)
async def corrections(
    request: Request, job: str, query: Annotated[CorrectionQuery, Query()]
) -> Response:
    """Everything that was changed by hand: what, when, by whom, and what was there before."""
    at = desk(request)
    found = await at.read(_corrections, at.reader, client(request).tenant, job, query)
    items_ = found[: query.limit]
    further = items_[-1].id if len(found) > query.limit else None
    return answer(shapes.CorrectionPage(tuple(items_), further))


def _corrections(
    reader: Database, tenant: str, job: str, query: CorrectionQuery
) -> list[meetings.Correction]:
    with reader.read() as connection:
        meetings.row(connection, job, tenant)
        return meetings.corrections_of(connection, job, after=query.after, limit=query.limit + 1)
