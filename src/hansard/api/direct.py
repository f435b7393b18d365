"""Uploads past the service: a client sends a file to the object storage, and says that it did."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hansard.api import multipart
from hansard.api.answers import answer, described, errors
from hansard.api.desk import client, desk
from hansard.errors import BadRequest, NotSupported, TooLarge, TooManyUploads, UnknownUpload
from hansard.model import Value
from hansard.store import direct

router = APIRouter(prefix="/api/v1", tags=["uploads"])


class Announced(Value, frozen=True, forbid_unknown_fields=True):
    """The file that will be sent: its name, its bytes, and their SHA-256 where it is known."""

    name: str
    size: int
    sha256: str | None = None


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["name", "size"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 255},
                    "size": {"type": "integer", "minimum": 1, "description": "Bytes."},
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
            },
            "example": {"name": "meeting.ogg", "size": 31_457_280},
        }
    },
}
_GIVEN = direct.Direct(
    "direct0f8c", 1_763_659_501.0, (direct.Place("https://storage.example/…", 0, 31_457_280),)
)


@router.post(
    "/uploads/direct",
    status_code=201,
    summary="Begin an upload to the object storage",
    responses={
        201: described(
            direct.Direct,
            "PUT the bytes `[start, end)` of the file to each address, any number at once; then "
            "`POST /transcriptions` with the id as `upload`.",
            _GIVEN,
        ),
        **errors(BadRequest, NotSupported, TooLarge, TooManyUploads),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create(request: Request) -> Response:
    """Addresses that take the file, where the service keeps its files in object storage."""
    at, who = desk(request), client(request)
    asked = _announced(await multipart.small(request))
    limit = at.settings.limits.bytes
    if asked.size > limit:
        raise TooLarge(
            f"{asked.name[:80]} has {asked.size} bytes; {limit} are allowed.",
            hint="Its owner can raise limits.bytes.",
        )
    made = await at.work(
        direct.begin,
        at.house.database,
        at.house.files,
        who,
        name=asked.name,
        size=asked.size,
        sha256=asked.sha256,
    )
    return answer(made, 201, {"cache-control": "no-store"})


@router.delete(
    "/uploads/direct/{upload}",
    status_code=204,
    summary="Remove an upload to the object storage",
    responses={204: {"description": "It is gone."}, **errors(UnknownUpload, NotSupported)},
)
async def remove(request: Request, upload: str) -> Response:
    """Whatever has come of it."""
    at = desk(request)
    await at.work(direct.remove, at.house.database, at.house.files, upload, client(request))
    return Response(status_code=204)


def _announced(body: bytes) -> Announced:
    try:
        asked = msgspec.json.decode(body, type=Announced)
    except msgspec.DecodeError as error:
        raise BadRequest(
            f"The body is not what it must be: {error}.", hint='{"name": "a.ogg", "size": 1000}'
        ) from error
    hexadecimal = asked.sha256 is None or (
        len(asked.sha256) == 64 and not set(asked.sha256) - set("0123456789abcdef")
    )
    if asked.size < 1 or not 0 < len(asked.name) < 256 or not hexadecimal:
        raise BadRequest(
            "A file has a name of 1 to 255 characters and one byte at least; a SHA-256 has 64 "
            "small hexadecimal digits.",
            hint='{"name": "a.ogg", "size": 1000}',
        )
    return asked
