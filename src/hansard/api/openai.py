"""The OpenAI-compatible routes, for clients that already speak it.

A request waits until its job is done, however long that takes; the job belongs to the store and
not to the connection. Whoever hangs up and asks again goes on where it was, and a request that
was answered before is answered at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hansard.api import (
    followed,
    openai_answer,
    openai_schema,
    openai_stream,
    openai_wait,
    submission,
)
from hansard.api.answers import answer, described
from hansard.api.desk import Desk, client, desk
from hansard.api.limits import upload_slot
from hansard.api.multipart import Form, received
from hansard.api.openai_request import STAND_INS, UNUSED, Asked, read, resolve, wrong
from hansard.api.openai_schema import OpenAIModel, OpenAIModels
from hansard.config import Settings
from hansard.errors import NotSupported, SilentAudio
from hansard.model import Client, Job, Task
from hansard.speech import catalog

router = APIRouter(prefix="/v1", tags=["openai"])

Events = AsyncIterator[bytes] | Iterator[bytes]

_LEFT: Final = 499
"""The status of an answer that nobody is there to read."""


_TINY = OpenAIModel("whisper/tiny", 1_763_655_873, "model", "hansard")


@router.post(
    "/audio/transcriptions",
    summary="Transcribe, as OpenAI's API does",
    openapi_extra=openai_schema.form("transcribe"),
    responses=openai_schema.answers(400, 403, 404, 409, 413, 429, 503),
    response_class=Response,
)
async def transcriptions(request: Request) -> Response:
    """Waits until the recording is transcribed; `stream=true` sends words as they come."""
    return await _serve(request, "transcribe")


@router.post(
    "/audio/translations",
    summary="Translate into English, as OpenAI's API does",
    openapi_extra=openai_schema.form("translate"),
    responses=openai_schema.answers(400, 403, 404, 409, 413, 429, 503),
    response_class=Response,
)
async def translations(request: Request) -> Response:
    """Waits until the recording is translated. Needs a model that translates."""
    return await _serve(request, "translate")


@router.get(
    "/models",
    summary="List models, as OpenAI's API does",
    responses={
        200: described(
            OpenAIModels, "The names that `model` may have.", OpenAIModels("list", (_TINY,))
        ),
        **openai_schema.errors(429),
    },
    response_class=Response,
)
async def models(request: Request) -> Response:
    """Models that can be used now, and OpenAI's own names, which mean the default model."""
    at = desk(request)
    return answer(await at.work(_listing, at.settings))


@router.get(
    "/models/{name:path}",
    summary="Retrieve a model, as OpenAI's API does",
    responses={
        200: described(OpenAIModel, "The model.", _TINY),
        **openai_schema.errors(404, 429),
    },
    response_class=Response,
)
async def model(request: Request, name: str) -> Response:
    """One name that `model` may have, in the list or not: a model that must be pulled first."""
    at = desk(request)
    return answer(await at.work(_one, name, at.settings))


# ── recordings ───────────────────────────────────────────────────────────────────────────────


async def _serve(request: Request, task: Task) -> Response:
    at, who = desk(request), client(request)
    await submission.see_that_there_is_room(request, at)
    async with upload_slot(request), received(request, at, cut=UNUSED) as form:
        asked = await at.work(read, form.fields, task, at.settings)
        try:
            job, ignored = await _accepted(at, who, form, asked)
        except SilentAudio:  # OpenAI's answer to silence is an empty one
            seconds = await at.work(_length, at, form)
            if asked.stream:
                return _streamed(openai_stream.empty(asked, seconds), {})
            return await openai_answer.empty(at, asked, seconds)
    if asked.stream:
        return _streamed(openai_stream.events(at, job, asked), openai_answer.told(job, ignored))
    ended = await openai_wait.ended(at, request, job)
    if ended is None:
        return Response(status_code=_LEFT)
    unknown = None
    if asked.form == "diarized_json" and not openai_wait.is_silent(ended):
        unknown = await followed.speakers(at, ended)
    return await openai_answer.answer(at, ended, asked, ignored, unknown)


def _length(at: Desk, form: Form) -> float:
    """Seconds of a recording without any sound."""
    assert form.draft is not None
    opened, limits = at.house.parts.media, at.settings.limits
    return opened.preflight(form.draft.path, limits=limits, allow_silence=True).seconds or 0.0


def _streamed(events: Events, headers: dict[str, str]) -> Response:
    # The last one is for proxies that would keep the words until there are many.
    quiet = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(events, headers={**headers, **quiet}, media_type="text/event-stream")


async def _accepted(at: Desk, who: Client, form: Form, asked: Asked) -> tuple[Job, tuple[str, ...]]:
    """The job, and the fields that had no effect on it.

    A prompt is a hint to OpenAI's models, and some clients always send one: an engine that takes
    none does without, and the answer says so.
    """
    if form.draft is None:
        raise wrong("file", "No recording was sent.", hint="With curl: -F file=@meeting.mp3")
    wanted = asked.request
    try:
        made = await submission.accept(at, who, form.name, form.draft, wanted)
    except NotSupported:
        if not (wanted.prompt or wanted.hotwords):
            raise
        bare = replace(wanted, prompt=None, hotwords=None)
        made = await submission.accept(at, who, form.name, form.draft, bare)
        hints = {"prompt": wanted.prompt, "keywords": wanted.hotwords}
        return made.job, (*(name for name, hint in hints.items() if hint), *asked.ignored)
    return made.job, asked.ignored


# ── models ───────────────────────────────────────────────────────────────────────────────────


def _listing(settings: Settings) -> OpenAIModels:
    here = [found for found in catalog.installed(settings) if found.installed and not found.problem]
    mine = [found.name for found in here if not found.name.startswith("whisper:")]
    return OpenAIModels("list", tuple(_one(name, settings) for name in (*STAND_INS, *mine)))


def _one(name: str, settings: Settings) -> OpenAIModel:
    """A model by its name.

    Raises:
        UnknownModel: there is none.
    """
    meant = resolve(name, settings)
    if name in STAND_INS or meant == "auto":
        return OpenAIModel(name, 0, "model", "hansard")
    found = catalog.info(meant, settings)
    path = Path(found.path) if found.path else None
    created = int(path.stat().st_mtime) if path is not None and path.exists() else 0
    return OpenAIModel(name, created, "model", found.engine)
