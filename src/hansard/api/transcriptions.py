"""Transcriptions: recordings in, words out."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import fields, multipart, shapes, submission
from hansard.api.answers import described, encoded, errors, refusal, unchanged
from hansard.api.cache import version
from hansard.api.desk import Desk, client, desk
from hansard.api.fields import Fields
from hansard.api.limits import upload_slot
from hansard.api.pages import PARAMETERS, page
from hansard.errors import (
    Archived,
    BadRequest,
    Cancelled,
    IdempotencyConflict,
    InvalidState,
    NotMedia,
    QueueFull,
    ShortOfMemory,
    TooLarge,
    TooManyUploads,
    UnknownJob,
    UnknownModel,
    UnknownUpload,
    UploadConflict,
    from_failure,
)
from hansard.jobs import follow_ups
from hansard.meetings.requests import SPEAKERS
from hansard.model import Client, Failure, JobState, Value
from hansard.outbound import see_that_it_may_be_called
from hansard.store import direct, idempotency, uploads, views

if TYPE_CHECKING:
    from hansard.store.files import Draft

router = APIRouter(prefix="/api/v1", tags=["transcriptions"])

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = 5.0
"""Seconds after which somebody who waits looks again, whatever the watch says."""


class _Known(Value, frozen=True):
    """What is looked at in a status."""

    state: JobState
    finished: float | None = None
    error: Failure | None = None


_KNOWN = msgspec.json.Decoder(_Known)


# ── in ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Incoming:
    """A request that was read: what is asked for, and the file, where it came along."""

    asked: Fields
    source: str
    """What the recording is, for comparing requests."""
    name: str = ""
    draft: Draft | None = None


def _body() -> dict[str, Any]:
    known = msgspec.json.schema(Fields)["$defs"]["Fields"]["properties"]
    file = {"type": "string", "format": "binary", "description": "The recording."}
    plain = {"schema": {"type": "object", "properties": known}}
    return {
        "required": True,
        "description": "A recording as a form, or as the body itself with the fields in the "
        "address; or where it is, as JSON or a form: `url` or `upload`.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": file, **known}}
            },
            "application/json": plain
            | {"example": {"url": "https://example.org/meeting.mp3", "language": "en"}},
            "application/x-www-form-urlencoded": plain,
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }


@router.post(
    "/transcriptions",
    summary="Transcribe a recording",
    status_code=202,
    responses={
        202: described(
            shapes.Accepted, "Accepted; `Location` is where to ask.", shapes.EXAMPLE | {"notes": []}
        ),
        200: described(shapes.Transcription, "With `sync`, when it was done in time.", shapes.DONE),
        **errors(
            BadRequest, UnknownModel, UnknownUpload, UploadConflict, TooLarge, NotMedia,
            IdempotencyConflict, QueueFull, ShortOfMemory, TooManyUploads,
        ),
    },
    openapi_extra={
        "requestBody": _body(),
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "maxLength": 255},
                "description": "The same key with the same request is answered with the same "
                "job, for a day.",
            }
        ],
    },
)  # fmt: skip
async def create(request: Request) -> Response:
    """Send a recording; get a job. The same recording with the same options is the same job."""
    at, who = desk(request), client(request)
    key = _idempotency_key(request)
    async with AsyncExitStack() as stack:
        asked_before = key is not None and await at.read(
            idempotency.known, at.reader, who.tenant, key
        )
        if not asked_before:
            await submission.see_that_there_is_room(request, at)
        async with upload_slot(request):
            came = await _read(request, at, stack)
        asked = came.asked
        if asked.webhook_url is not None:
            see_that_it_may_be_called(asked.webhook_url, at.settings)
        whole = msgspec.json.encode(asked).decode()
        same = submission.fingerprint(whole, came.source, came.name)
        notes: tuple[str, ...] = ()
        async with submission.once(at, who, key, same) as (before, accepted):
            if before is None:
                name, draft = await _recording(request, at, came, stack)
                done = await submission.accept(
                    at, who, asked.name or name, draft, asked.request(at.settings)
                )
                accepted.append(done.job)
                notes += done.notes
        job = before or accepted[0].id
    return await _accepted(at, who, job, asked, notes, again=before is not None)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest(
            "An Idempotency-Key has 1 to 255 characters of ASCII, without blanks.",
            hint="A UUID will do.",
        )
    return key


async def _read(request: Request, at: Desk, stack: AsyncExitStack) -> _Incoming:
    """Take the body in, whatever kind it is of."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    given = request.query_params.multi_items()
    form = None
    if kind == "multipart/form-data":
        fields.of_texts(given)  # a typo there is refused before the recording is taken in
        form = await stack.enter_async_context(multipart.received(request, at))
        asked = fields.of_texts([*given, *form.fields])
    elif kind == "application/json":
        if given:
            raise BadRequest(
                "Fields are in the body or in the address, not in both.",
                hint="Put all of them into the JSON object.",
            )
        asked = fields.of_json(await multipart.small(request))
    elif kind == "application/x-www-form-urlencoded":
        body = (await multipart.small(request)).decode(errors="replace")
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=multipart.FIELDS)
        asked = fields.of_texts([*given, *pairs])
    elif kind.startswith(("audio/", "video/")) or kind == "application/octet-stream":
        asked = fields.of_texts(given)
        name = asked.name or "recording"
        form = await stack.enter_async_context(multipart.raw(request, at, name))
    else:
        raise BadRequest(
            "The body is neither a form, nor JSON, nor audio or video.",
            hint="With curl: -F file=@meeting.mp3",
        )
    draft = None if form is None else form.draft
    sources = [asked.url, asked.upload, draft]
    if sum(source is not None for source in sources) != 1:
        raise BadRequest(
            "A request is about one recording: a file, a url or an upload.",
            hint="With curl: -F file=@meeting.mp3",
        )
    if form is None or draft is None:
        return _Incoming(asked, "elsewhere")
    return _Incoming(asked, draft.sha256, form.name, draft)


async def _recording(
    request: Request, at: Desk, came: _Incoming, stack: AsyncExitStack
) -> tuple[str, Draft]:
    """The recording's name and its bytes in scratch, from wherever it is."""
    if came.draft is not None:
        return came.name, came.draft
    who, asked = client(request), came.asked
    if asked.upload is not None:
        house = at.house
        if direct.is_direct(asked.upload):
            name = await at.work(direct.name_of, house.database, asked.upload, who)
            sent = direct.draft(house.database, house.files, asked.upload, who)
            return name, await stack.enter_async_context(submission.elsewhere(at, sent))
        upload = await at.work(uploads.find, house.database, house.files.root, asked.upload, who)
        manager = uploads.draft(house.database, house.files, asked.upload, who)
        return upload.name, await stack.enter_async_context(submission.elsewhere(at, manager))
    assert asked.url is not None
    async with upload_slot(request):
        fetched = submission.fetched(at, asked.url)
        return await stack.enter_async_context(submission.elsewhere(at, fetched))


async def _accepted(
    at: Desk, who: Client, job: str, asked: Fields, notes: tuple[str, ...], *, again: bool
) -> Response:
    """The job that a request is answered with; with ``sync``, its transcript."""
    place = f"{views.PLACE}{job}"
    headers = {"location": place}
    if again:
        headers["idempotent-replayed"] = "true"
    if asked.sync:
        known = await ended(at, who, job, at.settings.serve.sync_seconds)
        if known.state == "completed":
            if asked.speakers.diarize:
                child = await at.read(follow_ups.latest, at.reader, job, SPEAKERS)
                if child is not None:
                    await ended(at, who, child.id, at.settings.serve.sync_seconds)
            return encoded(await whole(at, who, job, words=asked.words), 200, headers)
        if known.finished is not None:
            cause = known.error and from_failure(known.error)
            said = refusal(cause or Cancelled("The job was cancelled.", hint="POST …/retry"))
            said.headers.update(headers)
            return said
    found = await at.statuses.get(who.tenant, job)
    more = {
        "notes": notes,
        "downloads": {name: f"{place}/download?format={name}" for name in asked.formats},
    }
    return encoded(joined(found, msgspec.json.encode(more)), 202, headers)


def joined(first: bytes, second: bytes) -> bytes:
    """Two JSON objects as one."""
    return first[:-1] + b"," + second[1:]


async def ended(at: Desk, who: Client, job: str, seconds: float) -> _Known:
    """The job at its end, or as it is after ``seconds``; at once when the service stops."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    async with at.watch.follow(who.tenant, job) as feed:
        while True:
            seen = feed.version
            known = _KNOWN.decode(await at.statuses.get(who.tenant, job))
            left = until - loop.time()
            if known.finished is not None or left <= 0 or feed.leaving:
                return known
            await feed.changed(seen, min(left, _WAIT))


# ── out ──────────────────────────────────────────────────────────────────────────────────────


async def whole(at: Desk, who: Client, job: str, *, words: bool) -> bytes:
    """A job with its transcript, where there is one, as JSON; made once for each version.

    Raises:
        UnknownJob: the client has no such job.
    """
    found = await at.statuses.get(who.tenant, job)
    return await _whole(at, who, job, found, words=words)


async def _whole(at: Desk, who: Client, job: str, found: bytes, *, words: bool) -> bytes:
    if _KNOWN.decode(found).state != "completed":
        return found[:-1] + b',"transcript":null}'

    async def make() -> bytes:
        made = await at.read(views.transcript, at.reader, who.tenant, job, words=words)
        return found[:-1] + b',"transcript":' + (made or b"null") + b"}"

    return await at.ready.get((who.tenant, job, version(found), words), make)


@router.get(
    "/transcriptions",
    summary="List transcriptions",
    responses={
        200: described(
            shapes.StatusPage,
            "Newest first. `next` is there as long as there are more.",
            {"items": [shapes.EXAMPLE], "next": "MTFtN3drYjNuM2E5amQz"},
        ),
        **errors(BadRequest),
    },
    openapi_extra={"parameters": PARAMETERS},
)
async def every(request: Request) -> Response:
    """Pages by where the last one ended: the last page is as fast as the first."""
    return await page(request, whole=True)


_DETAIL = {
    200: described(
        shapes.Transcription, "The job, with its transcript when completed.", shapes.DONE
    ),
    304: {"description": "It is the version that `If-None-Match` names."},
    **errors(UnknownJob, Archived),
}


@router.get("/transcriptions/{job}", summary="Get a transcription", responses=_DETAIL)
async def one(
    request: Request,
    job: str,
    words: Annotated[bool, Query(description="Give each segment its words.")] = False,
) -> Response:
    """The job; when it is completed, text, segments and coverage as well."""
    at, who = desk(request), client(request)
    found = await at.statuses.get(who.tenant, job)
    name = f"{version(found)}{'-words' if words else ''}"
    return unchanged(request, name) or encoded(
        await _whole(at, who, job, found, words=words), version=name
    )


@router.delete(
    "/transcriptions/{job}",
    summary="Delete a transcription",
    status_code=204,
    responses={204: {"description": "It is gone."}, **errors(UnknownJob)},
)
async def remove(request: Request, job: str) -> Response:
    """Remove the job and its transcript; the media too, where no other job is about them."""
    at, who = desk(request), client(request)
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


@router.post(
    "/transcriptions/{job}/cancel",
    summary="Cancel a transcription",
    responses={
        200: described(
            shapes.JobStatus, "It is cancelled.", shapes.EXAMPLE | {"state": "cancelled"}
        ),
        **errors(UnknownJob, InvalidState),
    },
)
async def cancel(request: Request, job: str) -> Response:
    """Stop the work at the next window. What was heard is kept for a retry."""
    at, who = desk(request), client(request)
    await at.write(at.house.queue.cancel, job, tenant=who.tenant)
    return encoded(await at.statuses.get(who.tenant, job))


@router.post(
    "/transcriptions/{job}/retry",
    summary="Retry a transcription",
    status_code=202,
    responses={
        202: described(shapes.JobStatus, "It is queued again.", shapes.EXAMPLE),
        **errors(UnknownJob, InvalidState, QueueFull),
    },
)
async def retry(request: Request, job: str) -> Response:
    """Take a failed or cancelled job up again, with everything that was asked for."""
    at, who = desk(request), client(request)
    await at.write(at.house.queue.retry, job, tenant=who.tenant, by=who.key or who.tenant)
    headers = {"location": f"{views.PLACE}{job}"}
    return encoded(await at.statuses.get(who.tenant, job), 202, headers)
