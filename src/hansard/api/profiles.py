"""Profiles of the running service: what its processes spend their time and memory on."""

from __future__ import annotations

import logging
import threading
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import multipart
from hansard.api.answers import answer, described, errors
from hansard.api.auth import demand
from hansard.api.desk import Desk, desk
from hansard.api.ranges import disposition
from hansard.errors import HansardError, InvalidField, MissingPart, ProfileBusy, UnknownProfile
from hansard.model import Failure, Value
from hansard.perf import profile_run
from hansard.perf.profile_crew import LONGEST, Asking
from hansard.store import profiles
from hansard.store.profiles import Kind, Profile

router = APIRouter(prefix="/api/v1/performance/profiles", tags=["performance"])

_log = logging.getLogger("hansard.perf")

_EXAMPLE = {
    "id": "1jbx4s8k7qz0ab",
    "kind": "cpu",
    "subject": "service",
    "state": "running",
    "seconds": 10.0,
    "created": 1763655901.2,
    "failure": None,
    "files": [],
    "summary": None,
}
_FILES = [{"name": "flamegraph", "sha256": "9f86d081…", "size": 48_211}]


class Wanted(Value, frozen=True, forbid_unknown_fields=True):
    """What is to be profiled, and for how long."""

    seconds: Annotated[float, Meta(ge=0.1, le=LONGEST)] = 10.0
    """For so long."""
    kind: Kind = "cpu"
    """``cpu`` by sampling, with stalls of the event loop; ``memory`` by memray."""


class Profiles(Value, frozen=True, omit_defaults=False):
    """Profiles without their summaries, newest first."""

    items: tuple[Profile, ...]


class Profiling:
    """The one profile that is being made by this process, if one is."""

    def __init__(self, desk: Desk) -> None:
        self._house = desk.house
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, wanted: Wanted) -> Profile:
        """Ask every process of this machine to take part; what they find is kept.

        Raises:
            ProfileBusy: something is being profiled here already.
            MissingPart: memray is not installed.
        """
        asking = Asking(self._house.settings.data, wanted.kind, wanted.seconds)
        try:
            row = profile_run.begun(self._house.database, wanted.kind, "service", wanted.seconds)
        except BaseException:
            asking.close()
            raise
        self._thread = threading.Thread(
            target=self._make, args=(asking, row), name="hansard-profiles", daemon=True
        )
        self._thread.start()
        return row

    def _make(self, asking: Asking, row: Profile) -> None:
        try:
            profile_run.of_service(
                self._house.database, self._house.files, asking, row, self._over.is_set
            )
        except HansardError as error:
            _log.warning("profile %s: %s", row.id, error.message)
        except Exception as error:  # noqa: BLE001 nobody waits for it: the row must say so
            _log.exception("profile %s came to nothing", row.id)
            failure = Failure(HansardError.code, f"It could not be put together: {error}")
            profiles.fail(self._house.database, row.id, failure)

    def close(self) -> None:
        """End what is under way; what was found until then is kept."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()


@router.post(
    "",
    status_code=202,
    summary="Profile the service",
    responses={
        202: described(Profile, "It is being made.", _EXAMPLE),
        **errors(InvalidField, ProfileBusy, MissingPart),
    },
    openapi_extra={
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {
                    "schema": msgspec.json.schema(Wanted)["$defs"]["Wanted"],
                    "example": {"seconds": 10, "kind": "cpu"},
                }
            },
        }
    },
)
async def begin(request: Request) -> Response:
    """Look into the API and all workers of this data directory on this machine, for so long.

    One at a time. Ask for the profile until it is no longer `running`. Needs the scope admin.
    """
    demand(request, "admin")
    at = desk(request)
    body = await multipart.small(request)
    try:
        wanted = msgspec.json.decode(body, type=Wanted) if body.strip() else Wanted()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidField(
            f"The body is not what it must be: {error}.",
            hint='Send JSON: {"seconds": 10, "kind": "cpu"}',
        ) from None
    making: Profiling = request.app.state.profiling
    row = await at.write(making.begin, wanted)
    return answer(row, 202, {"location": f"{router.prefix}/{row.id}"})


@router.get(
    "",
    summary="List profiles",
    responses={200: described(Profiles, "Newest first.", {"items": [_EXAMPLE]})},
)
async def every(request: Request) -> Response:
    """Of commands and of the service, without their summaries. Needs the scope admin."""
    demand(request, "admin")
    at = desk(request)
    return answer(Profiles(tuple(await at.read(profiles.listing, at.reader))))


@router.get(
    "/{profile}",
    summary="Get a profile",
    responses={
        200: described(
            Profile,
            "With its summary once it is made.",
            {**_EXAMPLE, "state": "completed", "files": _FILES},
        ),
        **errors(UnknownProfile),
    },
)
async def one(request: Request, profile: str) -> Response:
    """Shares of components, stages and rooms; hot functions; stalls. Needs the scope admin."""
    demand(request, "admin")
    at = desk(request)
    return answer(await at.read(profiles.find, at.reader, profile))


@router.get(
    "/{profile}/{file}",
    summary="Get a file of a profile",
    response_class=Response,
    responses={
        200: {
            "description": "A flame graph (HTML), speedscope's JSON, or the samples.",
            "content": {
                "text/html": {"example": "<!doctype html>"},
                "application/json": {"schema": {"type": "object"}, "example": {"profiles": []}},
            },
        },
        **errors(UnknownProfile),
    },
)
async def file(request: Request, profile: str, file: str) -> Response:
    """`flamegraph`, `speedscope` or `samples`. Needs the scope admin."""
    demand(request, "admin")
    at = desk(request)
    found = await at.read(profiles.find, at.reader, profile)
    chosen = profiles.file_of(found, file)
    ending, kind = profile_run.FILES[chosen.name]
    body = await at.work(profiles.read, at.house.files, chosen)
    headers: dict[str, Any] = {
        "content-disposition": disposition(f"{found.id}.{ending}"),
        "etag": f'"{chosen.sha256}"',
    }
    return Response(body, headers=headers, media_type=kind)


@router.delete(
    "/{profile}",
    status_code=204,
    summary="Delete a profile",
    responses={204: {"description": "It is gone."}, **errors(UnknownProfile)},
)
async def delete(request: Request, profile: str) -> Response:
    """The row and its files. Needs the scope admin."""
    demand(request, "admin")
    at = desk(request)
    await at.write(profiles.remove, at.house.database, at.house.files, profile)
    return Response(status_code=204)
