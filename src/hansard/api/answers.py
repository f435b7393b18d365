"""What goes back: JSON made by msgspec, and errors in the same words everywhere."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket, WebSocketState

from hansard.api import openai_error
from hansard.errors import (
    BadRequest,
    HansardError,
    RequestTooLarge,
    UnknownAddress,
    WrongMethod,
)

_log = logging.getLogger("hansard.api")
_JSON = msgspec.json.Encoder()

_SEE = "/api/v1/openapi.json describes every address."


def answer(
    value: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    version: str | None = None,
) -> Response:
    """Any value that msgspec knows, as JSON.

    ``version`` names what the bytes were made from: it becomes the ETag, so it must change
    whenever they do. Without one, the ETag is a hash of the bytes (``api.envelope``).
    """
    return encoded(_JSON.encode(value), status, headers, version=version)


def encoded(
    body: bytes,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    version: str | None = None,
) -> Response:
    """The same for bytes that are JSON already."""
    if version is not None:
        headers = {"etag": f'"{version}"', **(headers or {})}
    return Response(body, status, headers, "application/json")


def unchanged(request: Request, version: str) -> Response | None:
    """304 where the client has this very version: ask before doing any work for an answer."""
    known = request.headers.get("if-none-match")
    if known is None or not matches(known, f'"{version}"'):
        return None
    return Response(status_code=304, headers={"etag": f'"{version}"'})


def matches(known: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names this ETag, compared weakly (RFC 9110, section 13.1.2)."""
    if known == "*":
        return True
    wanted = etag.removeprefix("W/")
    return any(one.strip().removeprefix("W/") == wanted for one in known.split(","))


# ── refusals ─────────────────────────────────────────────────────────────────────────────────


def refusal(error: HansardError) -> Response:
    """An error: ``{"error": {"code", "message", "hint"}}`` with the status of its class."""
    said = {"code": error.code, "message": error.message, "hint": error.hint}
    return answer({"error": said}, error.status, _headers(error))


def openai_refusal(error: HansardError, param: str | None = None) -> Response:
    """The same as OpenAI's clients read it; ``param`` is the field that is wrong."""
    said = openai_error.said(error, param)
    headers = {**_headers(error), **openai_error.headers(error)}
    return answer({"error": said}, openai_error.status(error), headers)


def _headers(error: HansardError) -> dict[str, str]:
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="hansard"'
    return headers


def refusal_at(path: str, error: HansardError, param: str | None = None) -> Response:
    """An error as the clients of this address read it: below ``/v1`` they are OpenAI's."""
    return openai_refusal(error, param) if path.startswith("/v1/") else refusal(error)


async def refused(connection: HTTPConnection, error: Exception) -> Response | None:
    """The exception handler of all routes, WebSockets included."""
    assert isinstance(error, HansardError)
    if error.status >= 500:
        connection.scope["state"]["failed"] = error.code
        path = connection.scope["path"]
        _log.warning("%s: %s [%s]", path, error.message, error.code, exc_info=error.__cause__)
    if isinstance(connection, WebSocket):
        await _turn_away(connection, error)
        return None
    return refusal_at(connection.scope["path"], error)


async def _turn_away(socket: WebSocket, error: HansardError) -> None:
    begun = socket.application_state is not WebSocketState.CONNECTING
    if not begun and "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(refusal(error))
    elif socket.application_state is not WebSocketState.DISCONNECTED:
        await socket.close(1008 if error.status < 500 else 1011, error.code)


async def malformed(request: Request, error: Exception) -> Response:
    """What FastAPI could not read: the field is named."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    kind, *place = (str(step) for step in problem["loc"])
    if problem["type"] == "json_invalid":
        said = f"The body is not JSON: {problem['ctx']['error']} at character {place[0]}."
        return refusal_at(request.scope["path"], BadRequest(said, hint=_SEE))
    name = ".".join(place)
    what = f"{name} ({kind})" if name else f"the {kind}"
    said = problem["msg"].removeprefix("Value error, ").rstrip(".")
    wrong = BadRequest(f"The request cannot be read: {what}: {said}.", hint=_SEE)
    return refusal_at(request.scope["path"], wrong, name or None)


async def lost(request: Request, error: Exception) -> Response:
    """What the router or Starlette itself says no to: no such address, no such method."""
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"], request.scope["method"]
    if isinstance(error.__cause__, HansardError):  # FastAPI hides what stopped the body's reading
        return refusal_at(path, error.__cause__)
    said: HansardError
    if error.status_code == 404:
        said = UnknownAddress(f"There is nothing at {_shown(path)}.", hint=_SEE)
    elif error.status_code == 405:
        said = WrongMethod(f"{_shown(path)} does not take {method}.", hint=_SEE)
    elif error.status_code == 413:
        said = RequestTooLarge("The request is larger than it may be.", hint=_SEE)
    else:
        said = BadRequest(f"{str(error.detail).rstrip('.')}.", hint=_SEE)
    response = refusal_at(path, said)
    if said.status == BadRequest.status and 400 < error.status_code < 600:
        response.status_code = error.status_code
    response.headers.update(error.headers or {})
    if said.status == 405:
        response.headers["allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """All that an address takes: the router names only those of the first route that fits."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"]):
            found |= route.methods or set()
    return sorted(found)


def _shown(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:100]}…"


# ── what the API says of its answers ─────────────────────────────────────────────────────────

SCHEMAS: dict[str, Any] = {}
"""Every type that :func:`described` was told of, by name: the components of the OpenAPI page."""


def described(kind: Any, what: str, example: Any = None) -> dict[str, Any]:
    """An answer for ``responses=``: JSON of a msgspec type, ``what`` it is, and an example.

    ``example`` is a value of the type, or what its JSON holds.
    """
    SCHEMAS[kind.__name__] = kind
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}
    if example is not None:
        content["example"] = msgspec.to_builtins(example)
    return {"description": what, "content": {"application/json": content}}


def errors(*kinds: type[HansardError]) -> dict[int | str, dict[str, Any]]:
    """The refusals of one route for ``responses=``; those of all routes need not be named."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = found.setdefault(kind.status, {"description": "", "x-codes": []})
        entry["x-codes"].append(kind.code)
        entry["description"] = " ".join(filter(None, [entry["description"], _meaning(kind)]))
    return found


def _meaning(kind: type[HansardError]) -> str:
    return f"`{kind.code}`: {(kind.__doc__ or '').strip().splitlines()[0]}"
