"""What can be taken away: transcripts in every format, and the recording itself."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hansard import formats
from hansard.api.answers import errors, unchanged
from hansard.api.cache import version
from hansard.api.desk import Desk, client, desk
from hansard.api.ranges import Content, Remote, Rendered, opened, ranged, rendered
from hansard.errors import (
    Archived,
    BadSettings,
    InvalidState,
    MediaGone,
    RangeOutside,
    UnknownFormat,
    UnknownJob,
)
from hansard.formats import Layout
from hansard.formats.layout import Segments
from hansard.meetings.turns import as_segments, turns_of
from hansard.model import JobState, Value
from hansard.store import meetings, transcripts, views

if TYPE_CHECKING:
    from hansard.formats import Format
    from hansard.model import Media
    from hansard.store.files import Files

router = APIRouter(prefix="/api/v1", tags=["transcriptions"])


class _Known(Value, frozen=True):
    """What is looked at in a status."""

    state: JobState
    name: str


_KNOWN = msgspec.json.Decoder(_Known)


class DownloadQuery(BaseModel):
    """Which format, and how it is laid out."""

    model_config = ConfigDict(extra="forbid")

    format: str = Field("txt", max_length=32, description=f"One of: {', '.join(formats.names())}.")
    max_line: int = Field(42, le=10_000, description="Columns of a line of subtitles.")
    max_lines: int = Field(2, le=100, description="Lines of a subtitle.")
    max_seconds: float = Field(7.0, description="Longest time of a subtitle, in seconds.")
    speakers: bool = Field(True, description="Show who speaks, where that is known.")
    words: bool = Field(True, description="Give verbose JSON its list of words.")

    def layout(self) -> Layout:
        """The same as writers take it.

        Raises:
            BadSettings: nothing could be laid out so.
        """
        return Layout(self.max_line, self.max_lines, self.max_seconds, self.speakers, self.words)


_PART: dict[int | str, dict[str, Any]] = {
    206: {"description": "The part that `Range` asks for."},
    304: {"description": "It is the version that `If-None-Match` names."},
}
_FILE = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/transcriptions/{job}/download",
    summary="Download a transcript",
    response_class=Response,
    responses={
        200: {
            "description": "The transcript in the format asked for.",
            "content": {
                **{formats.get(name).media_type: _FILE for name in formats.names()},
                "application/x-subrip": {
                    "example": "1\n00:00:00,620 --> 00:00:01,480\nGood morning.\n"
                },
            },
        },
        **_PART,
        **errors(UnknownJob, UnknownFormat, BadSettings, InvalidState, Archived, RangeOutside),
    },
)
async def download(
    request: Request, job: str, query: Annotated[DownloadQuery, Query()]
) -> Response:
    """A finished transcript as a file: made once, answered whole or in ranges."""
    at, who = desk(request), client(request)
    chosen, layout = formats.get(query.format), query.layout()
    found = await at.statuses.get(who.tenant, job)
    known = _KNOWN.decode(found)
    if known.state != "completed":
        raise InvalidState(
            f"Job {job} is {known.state}: there is no transcript yet.",
            hint="Its events tell when there is.",
        )
    key = (version(found), chosen.name, layout)
    name = version(repr(key).encode())
    if (same := unchanged(request, name)) is not None:
        return same
    made = await at.rendered.get(
        (who.tenant, job, *key), partial(at.work, _render, at, job, chosen, layout)
    )
    stem = known.name.rsplit(".", 1)[0] or known.name
    return ranged(
        request,
        made,
        at.work,
        version=name,
        media_type=chosen.media_type,
        name=f"{stem}{chosen.extension}",
    )


def _render(at: Desk, job: str, chosen: Format, layout: Layout) -> Rendered:
    """The transcript in a format, all of it from before or after a change of its words."""
    while True:
        before = _revision(at, job)
        made = _rendered(at, job, chosen, layout)
        if _revision(at, job) == before:
            return made


def _revision(at: Desk, job: str) -> int | None:
    with at.reader.read() as connection:
        return meetings.revision_of(connection, job)


def _rendered(at: Desk, job: str, chosen: Format, layout: Layout) -> Rendered:
    head = transcripts.head(at.reader, job)
    if head is None:
        raise InvalidState(f"Job {job} has no transcript.", hint="Its events tell when it has.")
    segments = _turns(at, job) if chosen.name == "rttm" else None
    segments = segments or partial(transcripts.stream, at.reader, job)
    scratch = at.house.files.scratch
    return rendered(lambda out: chosen.write(head, segments, out, layout), scratch)


def _turns(at: Desk, job: str) -> Segments | None:
    """Who spoke when as it was found, overlaps included; ``None`` where it was not."""
    with at.reader.read() as connection:
        found = as_segments(turns_of(connection, job), meetings.names_of(connection, job))
    return (lambda: iter(found)) if found else None


@router.get(
    "/transcriptions/{job}/audio",
    summary="Download the recording",
    response_class=Response,
    responses={
        200: {"description": "The file as it came in.", "content": {"audio/*": _FILE}},
        307: {"description": "Where it is, for a while: the object storage itself."},
        **_PART,
        **errors(UnknownJob, InvalidState, Archived, MediaGone, RangeOutside),
    },
)
async def audio(request: Request, job: str) -> Response:
    """The recording, whole or in ranges."""
    at, who = desk(request), client(request)
    found = await at.read(views.media, at.reader, who.tenant, job)
    if found.step == "record":
        raise InvalidState(
            f"Job {job} is still being recorded.", hint="Ask again when the recording has ended."
        )
    if (same := unchanged(request, found.recording)) is not None:
        return same
    media_type = _media_type(found.media)
    files = at.house.files
    content = await at.work(_open, files, found.recording)
    where = await at.work(files.address_of, found.recording, name=found.name, media_type=media_type)
    if where is not None:
        headers = {"location": where, "cache-control": "no-store"}
        return Response(status_code=307, headers=headers)
    return ranged(
        request,
        content,
        at.work,
        version=found.recording,
        media_type=media_type,
        name=found.name,
    )


def _open(files: Files, sha256: str) -> Content:
    path = files.local_recording(sha256)
    if path is not None:
        with suppress(FileNotFoundError):
            return opened(path)
    elif (size := files.recording_size(sha256)) is not None:
        return Remote(partial(files.read_recording, sha256), size)
    raise MediaGone(
        "The media of this recording were removed.", hint="The transcript is still here."
    )


_KINDS = {
    "mp3": "mpeg", "wav": "wav", "flac": "flac", "ogg": "ogg", "mov": "mp4", "mp4": "mp4",
    "matroska": "x-matroska", "webm": "webm", "aac": "aac", "aiff": "aiff", "amr": "amr",
    "avi": "x-msvideo", "mpegts": "mp2t", "asf": "x-ms-asf", "caf": "x-caf", "mpeg": "mpeg",
}  # fmt: skip
"""The first name of a container → the media type's second half. Never what a sender said."""


def _media_type(media: Media) -> str:
    names = media.container.split(",")
    kind = _KINDS.get("webm" if names == ["matroska", "webm"] else names[0])
    if kind is None:
        return "application/octet-stream"
    return f"{'video' if media.has_video else 'audio'}/{kind}"
