"""Meetings to be taken away: minutes of one, and everything of many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hansard import formats
from hansard.api.answers import errors, unchanged
from hansard.api.desk import Desk, client, desk
from hansard.api.meetings import Which
from hansard.api.ranges import Rendered, disposition, ranged, rendered
from hansard.errors import Archived, BadRequest, UnknownFormat, UnknownMeeting
from hansard.formats.registry import Format
from hansard.meetings import export, makers, minutes
from hansard.meetings.minutes import Form
from hansard.store import meetings
from hansard.store.database import Database

router = APIRouter(prefix="/api/v1", tags=["meetings"])

_FILE = {"schema": {"type": "string", "format": "binary"}}


class ExportQuery(Which):
    """Which meetings, and as what."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["jsonl", "zip"] = Field(
        "jsonl", description="A line of JSON for each meeting, or a ZIP with a folder for each."
    )
    formats: str = Field(
        "json",
        max_length=200,
        description="With `zip`: formats of the transcripts, with commas, or `all`.",
    )

    def chosen(self) -> tuple[Format, ...]:
        """The formats by their names.

        Raises:
            UnknownFormat: there is no such format.
        """
        names = [name.strip() for name in self.formats.split(",") if name.strip()]
        if names == ["all"]:
            return tuple(map(formats.get, formats.names()))
        return tuple({one.name: one for one in map(formats.get, names)}.values())


@router.get(
    "/meetings/export",
    summary="Export many meetings",
    response_class=Response,
    responses={
        200: {
            "description": "As long as it takes: it is made while it is sent.",
            "content": {"application/jsonl": _FILE, "application/zip": _FILE},
        },
        **errors(BadRequest, UnknownFormat),
    },
)
async def many(request: Request, query: Annotated[ExportQuery, Query()]) -> Response:
    """All meetings that the filters name, with what was found and corrected, and their words.

    Memory does not grow with their number. Meetings in the archive are named without their words.
    """
    at, who = desk(request), client(request)
    wanted, chosen = query.wanted(), query.chosen()
    if query.format == "zip":
        pieces = export.packed(at.reader, who.tenant, wanted, chosen)
        kind = "application/zip"
    else:
        pieces = export.lines(at.reader, who.tenant, wanted)
        kind = "application/jsonl"
    headers = {"content-disposition": disposition(f"meetings.{query.format}")}
    return StreamingResponse(_sent(at, pieces), headers=headers, media_type=kind)


async def _sent(at: Desk, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await at.work(next, pieces, None)) is not None:
        yield piece


@router.get(
    "/meetings/{job}/minutes",
    summary="Get the minutes",
    response_class=Response,
    responses={
        200: {
            "description": "Title, people, summary, decisions, actions, and the transcript.",
            "content": {
                "text/markdown": {"example": "# Budget 2027\n"},
                minutes.MEDIA_TYPES["docx"]: _FILE,
            },
        },
        206: {"description": "The part that `Range` asks for."},
        304: {"description": "It is the version that `If-None-Match` names."},
        **errors(UnknownMeeting, Archived),
    },
)
async def of_one(
    request: Request,
    job: str,
    format: Annotated[Form, Query(description="Markdown or Word.")] = "md",  # noqa: A002 its name
) -> Response:
    """A document for people. What was not found out yet is said to be missing."""
    at, who = desk(request), client(request)
    title, revision = await at.read(_version, at.reader, who.tenant, job)
    name = f"minutes-{format}-{revision}"
    if (same := unchanged(request, name)) is not None:
        return same
    made = await at.work(_made, at, who.tenant, job, format)
    return ranged(
        request, made, at.work,
        version=name, media_type=minutes.MEDIA_TYPES[format], name=f"{title}.{format}",
    )  # fmt: skip


def _version(reader: Database, tenant: str, job: str) -> tuple[str, int]:
    with reader.read() as connection:
        row = meetings.row(connection, job, tenant)
    return row.title, row.revision


def _made(at: Desk, tenant: str, job: str, form: Form) -> Rendered:
    templates = makers.templates_in(at.settings.data)
    gathered = minutes.gathered(at.reader, tenant, job, templates)
    return rendered(lambda out: minutes.WRITERS[form](*gathered, out), at.house.files.scratch)
