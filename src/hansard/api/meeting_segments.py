"""What was said in a meeting, and by whom: read by time, and corrected."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import meeting_shapes as shapes
from hansard.api.answers import answer, described, errors
from hansard.api.desk import client, desk
from hansard.api.meetings import editor, shown
from hansard.errors import (
    Archived,
    BadRequest,
    Changed,
    NotSupported,
    UnknownMeeting,
    UnknownPlace,
    UnknownVoice,
)
from hansard.meetings import editing, reading
from hansard.meetings.editing import TEXT
from hansard.meetings.requests import Speakers
from hansard.meetings.turns import SPEAKER
from hansard.model import Segment
from hansard.store import meeting_views, meetings, voices
from hansard.store.database import Database
from hansard.store.meeting_views import Line

router = APIRouter(prefix="/api/v1", tags=["meetings"])

_FOLLOW_UP = {
    "job": "1m7wkbd5k0a8fz",
    "links": {"job": "/api/v1/jobs/1m7wkbd5k0a8fz", "meeting": shapes.PLACE},
}


class SegmentQuery(BaseModel):
    """Which segments, and from where on."""

    model_config = ConfigDict(extra="forbid")

    since: float | None = Field(
        None, alias="from", ge=0, description="Heard after this second of the meeting."
    )
    until: float | None = Field(
        None, alias="to", ge=0, description="Heard before this second of the meeting."
    )
    after: int = Field(
        -1, ge=-1, le=2**31 - 1, description="`next` of the page before: behind this position."
    )
    limit: int = Field(100, ge=1, le=500, description="Most items of a page.")
    words: bool = Field(False, description="Give each segment its words.")


@router.get(
    "/meetings/{job}/segments",
    summary="List what was said",
    responses={
        200: described(
            shapes.SegmentPage,
            "In order.",
            {"items": [shapes.LINE], "speakers": {"S2": "Ben"}, "next": None},
        ),
        **errors(UnknownMeeting, Archived),
    },
)
async def every(request: Request, job: str, query: Annotated[SegmentQuery, Query()]) -> Response:
    """Segments of a stretch of the meeting, a page at a time."""
    at = desk(request)
    return answer(await at.read(_page, at.reader, client(request).tenant, job, query))


def _page(reader: Database, tenant: str, job: str, query: SegmentQuery) -> shapes.SegmentPage:
    with reader.read() as connection:
        meetings.row(connection, job, tenant)
        names = meetings.names_of(connection, job)
        found = meeting_views.lines(
            reader,
            job,
            since=query.since,
            until=query.until,
            after=query.after,
            limit=query.limit + 1,
        )
    items = found[: query.limit]
    further = items[-1].position if len(found) > query.limit else None
    return shapes.SegmentPage(tuple(_line(one, words=query.words) for one in items), names, further)


_SHOWN = tuple(name for name in Segment.__struct_fields__ if name not in ("tokens", "words"))


def _line(line: Line, *, words: bool) -> shapes.SegmentLine:
    fields: dict[str, Any] = {name: getattr(line.segment, name) for name in _SHOWN}
    if words:
        fields["words"] = line.segment.words
    return shapes.SegmentLine(position=line.position, **fields)


@router.patch(
    "/meetings/{job}/segments/{position}",
    summary="Correct a segment",
    responses={
        200: described(shapes.SegmentLine, "The segment as it is now.", shapes.LINE),
        **errors(UnknownMeeting, UnknownPlace, BadRequest, Changed, Archived),
    },
    openapi_extra=shapes.changing(
        shapes.SegmentChange, {"text": "Anna sends the numbers by Friday.", "speaker": "S2"}
    ),
)
async def correct(request: Request, job: str, position: int) -> Response:
    """Write what was really said, or who said it. Words that stay keep their times.

    What was there before is kept: see the segment's history.
    """
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    wanted = await shapes.read(request, shapes.SegmentChange)
    if wanted.text is None and wanted.speaker is None:
        raise BadRequest("Nothing is to be changed.", hint="Send text, speaker, or both.")
    _see_that_it_may_be(position)
    made = await at.write(
        editing.correct, who, job, position,
        text=wanted.text, speaker=wanted.speaker, revision=revision,
    )  # fmt: skip
    return answer(_line(Line(position, made), words=True))


def _see_that_it_may_be(position: int) -> None:
    if not 0 <= position < 2**31:
        raise UnknownPlace("There is no such segment.", hint="Positions count from 0.")


@router.get(
    "/meetings/{job}/segments/{position}/history",
    summary="What a segment was before",
    responses={
        200: described(
            shapes.CorrectionPage, "Oldest first.", {"items": [shapes.CORRECTION], "next": None}
        ),
        **errors(UnknownMeeting, UnknownPlace, Archived),
    },
)
async def history(request: Request, job: str, position: int) -> Response:
    """Every correction of what was said in the segment's time, or of who said it."""
    at = desk(request)
    _see_that_it_may_be(position)
    found = await at.read(_history, at.reader, client(request).tenant, job, position)
    return answer(shapes.CorrectionPage(tuple(found), None))


def _history(reader: Database, tenant: str, job: str, at: int) -> list[meetings.Correction]:
    with reader.read() as connection:
        meetings.row(connection, job, tenant)
        found = meeting_views.lines(reader, job, after=at - 1, limit=1)
        if not found or found[0].position != at:
            raise UnknownPlace(f"Meeting {job} has no segment {at}.")
        said = meetings.corrections_of(connection, job, (TEXT, SPEAKER))
    segment = found[0].segment
    middle = (segment.start + segment.end) / 2
    return [one for one in said if _covers(one.place, middle)]


def _covers(place: str, moment: float) -> bool:
    start, end = map(float, place.split())
    return start <= moment <= end


# ── speakers ─────────────────────────────────────────────────────────────────────────────────


@router.get(
    "/meetings/{job}/speakers",
    summary="List who speaks",
    responses={
        200: described(shapes.SpeakerList, "By label.", {"items": [shapes.SPEAKER]}),
        **errors(UnknownMeeting),
    },
)
async def speakers(request: Request, job: str) -> Response:
    """Speakers with their names, the names that their voices suggest, and how long they speak."""
    at = desk(request)
    found = await at.read(_speakers, at.reader, client(request).tenant, job)
    return answer(shapes.SpeakerList(tuple(found)))


def _speakers(reader: Database, tenant: str, job: str) -> list[meetings.Speaker]:
    with reader.read() as connection:
        meetings.row(connection, job, tenant)
        return meetings.speakers_of(connection, job)


@router.patch(
    "/meetings/{job}/speakers/{label}",
    summary="Name a speaker, or merge two",
    responses={
        200: described(shapes.Meeting, "The meeting as it is now.", shapes.EXAMPLE),
        **errors(UnknownMeeting, UnknownPlace, BadRequest, Changed, Archived, NotSupported),
    },
    openapi_extra=shapes.changing(shapes.SpeakerChange, {"name": "Anna", "remember": True}),
)
async def name(request: Request, job: str, label: str) -> Response:
    """Say who a speaker is; `remember` knows the voice again. Or say that two are one person."""
    at, who = desk(request), editor(request)
    revision = shapes.wanted_revision(request)
    wanted = await shapes.read(request, shapes.SpeakerChange)
    if wanted.merge_into is not None:
        if wanted.name is not msgspec.UNSET or wanted.remember:
            raise BadRequest("Merge or name a speaker, one after the other.")
        await at.write(editing.merge, who, job, label, wanted.merge_into, revision=revision)
    elif wanted.name is msgspec.UNSET:
        raise BadRequest("Nothing is to be changed.", hint="Send name or merge_into.")
    else:
        await at.write(
            editing.rename, who, job, label, wanted.name,
            remember=wanted.remember, revision=revision,
        )  # fmt: skip
    return await shown(at, who.client, job)


@router.post(
    "/meetings/{job}/speakers",
    summary="Find speakers again",
    status_code=202,
    responses={
        202: described(shapes.FollowUp, "A job does it.", _FOLLOW_UP),
        **errors(UnknownMeeting, BadRequest, Archived),
    },
    openapi_extra={"requestBody": shapes.body(shapes.SpeakersAsked, {"max_speakers": 4})},
)
async def find(request: Request, job: str) -> Response:
    """Tell voices apart again, maybe with the number of people; then all findings are made anew.

    What people said about speakers, names and words stays.
    """
    at, who = desk(request), editor(request)
    given = await shapes.read(request, shapes.SpeakersAsked, empty=True)
    least, most = given.min_speakers, given.max_speakers
    if least is not None and most is not None and least > most:
        raise BadRequest(f"There cannot be at least {least} speakers and at most {most}.")
    await at.read(reading.see_that_it_is_here, at.reader, job, who.client.tenant)
    wanted = Speakers(None, least, most)
    return followed(job, await at.write(editing.find_speakers, who, job, wanted))


def followed(meeting: str, job: str) -> Response:
    """A job was asked for."""
    links = {"job": f"/api/v1/jobs/{job}", "meeting": f"{meeting_views.PLACE}{meeting}"}
    return answer(shapes.FollowUp(job, links), 202, {"location": links["job"]})


# ── voices ───────────────────────────────────────────────────────────────────────────────────

_VOICE = {
    "id": "1m7wkbc0d8v2ke",
    "name": "Anna",
    "method": "mfcc-1",
    "seconds": 1204.5,
    "created": 1763656290.12,
    "changed": 1763656290.12,
}


@router.get(
    "/voices",
    summary="List remembered voices",
    responses={200: described(shapes.VoiceList, "By name.", {"items": [_VOICE]})},
)
async def remembered(request: Request) -> Response:
    """Voices that are known again in later meetings, without what they are known by."""
    at = desk(request)
    return answer(shapes.VoiceList(await at.read(_voices, at.reader, client(request).tenant)))


def _voices(reader: Database, tenant: str) -> tuple[voices.Voice, ...]:
    with reader.read() as connection:
        return tuple(voices.listing(connection, tenant))


@router.delete(
    "/voices/{voice}",
    summary="Forget a voice",
    status_code=204,
    responses={204: {"description": "It is forgotten."}, **errors(UnknownVoice)},
)
async def forget(request: Request, voice: str) -> Response:
    """What the voice is known by is removed. Names that people gave in meetings stay."""
    at = desk(request)
    await at.write(_forget, at.house.database, client(request).tenant, voice)
    return Response(status_code=204)


def _forget(database: Database, tenant: str, voice: str) -> None:
    with database.write() as connection:
        voices.forget(connection, tenant, voice)
