"""What the requests of the tus protocol say, and what all answers say back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from hansard.api.answers import refused
from hansard.errors import (
    BadRequest,
    HansardError,
    TooLarge,
    WrongContent,
    WrongMethod,
    WrongVersion,
)

VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation,creation-defer-length,creation-with-upload,checksum,termination,expiration"
)
ALGORITHMS: Final = ("sha256", "sha1", "md5")
CONTENT: Final = "application/offset+octet-stream"

_LONGEST_METADATA: Final = 4096
"""Characters of the header Upload-Metadata."""
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class TusRoute(APIRoute):
    """What all these routes share: the version is checked, and said in every answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler, wrapped."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            response: Response | None
            try:
                if method(request) != "OPTIONS":
                    _see_version(request)
                response = await handle(request)
            except ClientDisconnect:
                return Response(status_code=499)  # for the log alone
            except HansardError as error:
                response = await refused(request, error)
            assert response is not None, "only a WebSocket gets no answer"
            response.headers["tus-version"] = VERSION
            response.headers["tus-resumable"] = VERSION
            return response

        return handled


def header(name: str, about: str, *, required: bool = False) -> dict[str, Any]:
    """A header of a request, as OpenAPI describes it."""
    schema = {"type": "string"}
    said = {"name": name, "in": "header", "description": about, "schema": schema}
    return {**said, "required": required}


VERSION_HEADER: Final = {
    **header("Tus-Resumable", "Version of the protocol.", required=True),
    "schema": {"type": "string", "enum": [VERSION]},
}
OVERRIDE: Final = header("X-HTTP-Method-Override", "The method meant, where POST is all one has.")
LENGTH: Final = header("Upload-Length", "Bytes in all.")
CHECKSUM: Final = header("Upload-Checksum", "`<sha1|sha256|md5> <base64>` of the body.")
BODY: Final = {"content": {CONTENT: {"schema": {"type": "string", "format": "binary"}}}}
SAID: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "A header is missing or makes no sense."},
    404: {"description": "There is no such upload, or it has expired."},
    412: {"description": "Another version of the protocol."},
}


# ── what a request says ──────────────────────────────────────────────────────────────────────


def parsed_metadata(header: str) -> dict[str, str]:
    """``Upload-Metadata``: pairs of a key and a base64 value, or a key alone.

    Raises:
        BadRequest: it is not that.
    """
    if len(header) > _LONGEST_METADATA:
        raise BadRequest(f"Upload-Metadata is longer than {_LONGEST_METADATA} characters.")
    found: dict[str, str] = {}
    for pair in header.split(",") if header else ():
        key, _, value = pair.strip().partition(" ")
        try:
            text = base64.b64decode(value, validate=True).decode(errors="replace")
        except (binascii.Error, ValueError):
            key = ""
            text = ""
        if not key or not key.isascii() or key in found:
            raise BadRequest(
                "Upload-Metadata cannot be read.",
                hint="It is a list of `key base64value`, with commas between, each key once.",
            )
        found[key] = text
    return found


def method(request: Request) -> str:
    """The method meant."""
    return request.headers.get("x-http-method-override", request.method).upper()


async def overridden(
    request: Request, kinds: dict[str, Callable[[Request], Awaitable[Response]]]
) -> Response:
    """Answer as the method that is meant would.

    Raises:
        WrongMethod: it is none of ``kinds``.
    """
    kind = kinds.get(method(request))
    if kind is None:
        raise WrongMethod(
            "This address does not take this method.",
            hint="HEAD, PATCH and DELETE go to an upload; POST and OPTIONS to /uploads.",
        )
    return await kind(request)


def _see_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise WrongVersion(
            f"This is tus {VERSION}; the request speaks another version or none.",
            hint=f"Send the header Tus-Resumable: {VERSION}.",
        )


def see_content(request: Request) -> None:
    """Refuse a body that does not say that it is bytes of an upload."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT:
        raise WrongContent(
            "The body of this request has the wrong type.", hint=f"Send Content-Type: {CONTENT}."
        )


def has_body(request: Request) -> bool:
    """Whether bytes come with the request."""
    return "transfer-encoding" in request.headers or request.headers.get(
        "content-length", "0"
    ) not in ("", "0")


def number(request: Request, name: str) -> int | None:
    """A header that counts bytes; ``None`` where it is missing."""
    given = request.headers.get(name)
    if given is None:
        return None
    if not _NUMBER.fullmatch(given):
        raise BadRequest(f"The header {name.title()} is not a number of bytes.")
    return int(given)


def length_said(request: Request, largest: int) -> int | None:
    """``Upload-Length``, which may be ``largest``.

    Raises:
        BadRequest, TooLarge: it makes no sense, or is more than that.
    """
    length = number(request, "upload-length")
    if length is not None and "upload-defer-length" in request.headers:
        raise BadRequest("Upload-Length and Upload-Defer-Length exclude each other.")
    if length is not None and length > largest:
        raise TooLarge(
            f"An upload of {length} bytes is too large; the limit is {largest}.",
            hint="Compress or split the recording, or raise the setting limits.bytes.",
        )
    return length


def checksum_said(request: Request) -> tuple[str, bytes] | None:
    """Name and digest of the header ``Upload-Checksum``."""
    given = request.headers.get("upload-checksum")
    if given is None:
        return None
    name, _, value = given.strip().partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if name not in ALGORITHMS or len(digest) != hashlib.new(name).digest_size:
        raise BadRequest(
            "The header Upload-Checksum cannot be read.",
            hint=f"It is one of {', '.join(ALGORITHMS)}, a space, and the digest in base64.",
        )
    return name, digest
