"""Jobs: what is queued, running and done."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import shapes
from hansard.api.answers import answer, described, encoded, errors, unchanged
from hansard.api.cache import version
from hansard.api.desk import client, desk
from hansard.api.pages import PARAMETERS, page
from hansard.errors import BadRequest, UnknownJob
from hansard.jobs import progress

router = APIRouter(prefix="/api/v1", tags=["jobs"])

_TRY = {
    "number": 1,
    "step": "listen",
    "owner": "worker-1",
    "ended": 1763655901.2,
    "failure": {"code": "engine_busy", "message": "The remote engine asks us to slow down."},
}


@router.get(
    "/jobs",
    summary="List jobs",
    responses={
        200: described(
            shapes.StatusPage, "Newest first.", {"items": [shapes.EXAMPLE], "next": None}
        ),
        **errors(BadRequest),
    },
    openapi_extra={"parameters": PARAMETERS},
)
async def every(request: Request) -> Response:
    """Pages of jobs, of every kind."""
    return await page(request)


@router.get(
    "/jobs/{job}",
    summary="Get a job's state",
    responses={
        200: described(shapes.JobStatus, "The job as it is now.", shapes.EXAMPLE),
        304: {"description": "It is the version that `If-None-Match` names."},
        **errors(UnknownJob),
    },
)
async def one(request: Request, job: str) -> Response:
    """State and progress, cheap enough to be asked for often; events are cheaper still."""
    found = await desk(request).statuses.get(client(request).tenant, job)
    name = version(found)
    return unchanged(request, name) or encoded(found, version=name)


@router.get(
    "/jobs/{job}/attempts",
    summary="What went wrong so far",
    responses={
        200: described(shapes.Attempts, "Every try that went wrong.", {"items": [_TRY]}),
        **errors(UnknownJob),
    },
)
async def attempts(request: Request, job: str) -> Response:
    """Every try that went wrong, the first first: when, who, at which step, and why."""
    at = desk(request)
    await at.statuses.get(client(request).tenant, job)  # another's is not there
    found = await at.read(progress.history, at.reader, job)
    return answer(shapes.Attempts(tuple(found)))
