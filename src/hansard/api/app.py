"""The application: every route, inside the few layers of middleware that all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from functools import cache
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hansard import __version__
from hansard.api import (
    answers,
    ask,
    catalogue,
    description,
    direct,
    downloads,
    events,
    health,
    jobs,
    live,
    meeting_export,
    meeting_findings,
    meeting_segments,
    meetings,
    metrics,
    openai,
    performance,
    profiles,
    search,
    statistics,
    transcriptions,
    uploads,
    usage,
    webhooks,
)
from hansard.api.auth import Doorkeeper
from hansard.api.desk import Desk, desk
from hansard.api.envelope import Envelope
from hansard.api.exposition import Meter
from hansard.api.journal import Journal
from hansard.api.live_lobby import Lobby
from hansard.api.portions import limiter
from hansard.api.profiles import Profiling
from hansard.errors import HansardError
from hansard.perf.profile_crew import taking_part
from hansard.wiring import House

Life = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]

# Routes are matched in this order: those that are asked for most come first.
_RESOURCES = (
    health,
    jobs,
    transcriptions,
    downloads,
    events,
    direct,  # before uploads: there, "direct" would be an id
    uploads,
    catalogue,
    usage,
    statistics,
    profiles,
    webhooks,
    performance,
    search,
    ask,
    live,
    meeting_export,  # before meetings: there, "export" would be an id
    meetings,
    meeting_segments,
    meeting_findings,
    openai,
)

_SENT = (
    "Authorization",
    "X-API-Key",
    "X-Request-ID",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Defer-Length",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
)
_SHOWN = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-Request-ID",
)


def routes() -> list[BaseRoute]:
    """Every route, as it is described."""
    found: list[BaseRoute] = []
    for resource in _RESOURCES:
        # As they are: a router that is included is matched twice, and slowly, for each request.
        assert resource.router.prefix, f"{resource.__name__}: APIRouter(prefix=...)"
        found += resource.router.routes
    return found


@cache
def page() -> dict[str, Any]:
    """The OpenAPI page; routes are the same for as long as the process lives."""
    return description.describe(routes())


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(page())


def create(house: House) -> FastAPI:
    """The API over an open house. Whoever calls this keeps and closes the house."""
    serve = house.settings.serve
    journal = Journal() if serve.access_log else None
    meter = Meter()

    app = FastAPI(
        title="Hansard",
        version=__version__,
        openapi_url=None,  # its own below: complete, and made by the quicker encoder
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_life(house, journal),
    )
    app.router.routes.extend(map(_with_head, routes()))
    app.openapi = page  # type: ignore[method-assign]  # as FastAPI says
    app.state.meter = meter
    app.add_route("/metrics", metrics.scrape, include_in_schema=False)
    app.add_route("/api/v1/openapi.json", _openapi, include_in_schema=False)
    app.add_exception_handler(HansardError, answers.refused)  # type: ignore[arg-type]  # WebSockets
    app.add_exception_handler(RequestValidationError, answers.malformed)
    app.add_exception_handler(HTTPException, answers.lost)
    # The last one added is the outermost.
    app.add_middleware(Doorkeeper, serve=serve)
    if serve.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=serve.cors,
            allow_methods=("GET", "HEAD", "POST", "PATCH", "DELETE"),
            allow_headers=_SENT,
            expose_headers=_SHOWN,
            max_age=3600,
        )
    app.add_middleware(Envelope, serve=serve, journal=journal, meter=meter)
    return app


def _life(house: House, journal: Journal | None) -> Life:
    """What begins with the server and ends with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        own = app.state.desk = Desk(house)
        watch = app.state.health = health.Watch(own)
        lobby = app.state.live = Lobby(own)
        limits = app.state.limiter = limiter(house.database)
        profiling = app.state.profiling = Profiling(own)
        if journal is not None:
            journal.start()
        try:
            await limits.start()
            await watch.start()
            await lobby.start()
            with taking_part(house.settings.data, "api", asyncio.get_running_loop()):
                yield {"serve": house.settings.serve}  # where api.connection finds it
        finally:
            await own.work(profiling.close)
            await lobby.close()
            await watch.close()
            await limits.close()
            if own.shared is not None:
                await own.shared.close()
            own.close()
            if journal is not None:
                journal.close()

    return lifespan


def _with_head(route: BaseRoute) -> BaseRoute:
    """What can be got can be asked about: HEAD wherever GET is, but where it would not end."""
    if (
        not isinstance(route, APIRoute)
        or route.methods != {"GET"}
        or route.path.endswith("/events")
    ):
        return route
    twin = copy(route)
    twin.methods = {"GET", "HEAD"}
    return twin


async def _openapi(request: Request) -> Response:
    return answers.encoded(await desk(request).work(_encoded))
