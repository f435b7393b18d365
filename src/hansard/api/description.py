"""The OpenAPI page: what the routes say, and what is true of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from hansard import __version__
from hansard.api import openai_error
from hansard.api.answers import SCHEMAS, errors
from hansard.api.openai_schema import OpenAIError
from hansard.errors import (
    BadRequest,
    CrossSite,
    HansardError,
    KeyInvalid,
    KeyMissing,
    NotAllowed,
    RateLimited,
    RequestTooLarge,
    StoreBusy,
    StoreGone,
    TooSlow,
    UnknownAddress,
    UsageError,
    WrongHost,
)

ABOUT = """\
Send a recording to `POST /api/v1/transcriptions`, follow its events, and take the transcript in
any format. Clients of OpenAI's audio API find it below `/v1`.

Errors are `{"error": {"code", "message", "hint"}}` on every address (below `/v1` they are
OpenAI's): the code never changes, the message says what is wrong and the hint what to do.
"""

TAGS = {
    "transcriptions": "Recordings in; words, files and audio out.",
    "events": "A job as it goes: server-sent events.",
    "uploads": "Large files in pieces, resumable, by the tus protocol 1.0.",
    "meetings": "Transcripts as meetings: who spoke, what it meant, corrected by people.",
    "search": "Meetings found by what was said in them, and saved searches.",
    "jobs": "What is queued, running and done.",
    "catalogue": "Models and languages.",
    "performance": "What was measured, what changed, service levels, where time and memory go.",
    "health": "Whether the service is well.",
    "usage": "How much was transcribed, by key, day and engine.",
    "webhooks": "Deliveries of webhooks: what was sent, and sending it again.",
    "live": "Audio in over a WebSocket as it is spoken, words out as they are heard.",
    "openai": "What OpenAI's audio clients speak.",
}

_EVERYWHERE: tuple[type[HansardError], ...] = (BadRequest, WrongHost)
_GUARDED = (KeyMissing, KeyInvalid, NotAllowed, RateLimited, StoreBusy, StoreGone)
_CHANGING = (CrossSite, RequestTooLarge, TooSlow)
_ASKED = (UsageError,)
_PLACED = (UnknownAddress,)

_NOTHING: dict[str, Any] = {"application/json": {"schema": {}}}
"""What FastAPI says of an answer that it knows nothing about."""

_OPEN = ("/api/v1/health", "/api/v1/openapi.json")
_LOOKING = ("get", "head", "options")


class ErrorBody(msgspec.Struct, frozen=True):
    """What was wrong, and what to do."""

    code: str
    """Stable: never renamed, never used again."""
    message: str
    hint: str | None


class Error(msgspec.Struct, frozen=True):
    """Every refusal."""

    error: ErrorBody


def describe(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The whole page."""
    page = get_openapi(
        title="Hansard",
        version=__version__,
        openapi_version="3.1.0",
        summary="Recordings in, verbatim and searchable records out.",
        description=ABOUT,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        tags=[{"name": name, "description": said} for name, said in TAGS.items()],
        routes=routes,
    )
    parts = page.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)  # errors have one shape here, and it is not FastAPI's
    types = [Error, OpenAIError, *SCHEMAS.values()]
    _, ours = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas.update(ours)
    parts["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer hsd_…`; `hansard keys create` makes a key. On "
            "loopback none is needed.",
        },
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for route in routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            _restore(route, page["paths"][route.path_format])
    for path, operations in page["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    return page


def _restore(route: APIRoute, operations: dict[str, Any]) -> None:
    """Answers as the route says them: FastAPI leaves every null out of their examples."""
    for method in route.methods or ():
        answers = operations[method.lower()]["responses"]
        for status, entry in route.responses.items():
            if "content" in entry:
                answers[str(status)]["content"] = deepcopy(entry["content"])


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add to one operation what is true of all of its kind."""
    kinds = [*_EVERYWHERE]
    if not path.startswith(_OPEN):
        kinds += _GUARDED
        operation["security"] = [{"bearer": []}, {"header": []}, {}]
    if method not in _LOOKING:
        kinds += _CHANGING
    if "{" in path:
        kinds += _PLACED
    if "parameters" in operation or "requestBody" in operation:
        kinds += _ASKED
    answers = operation["responses"]
    answers.pop("422", None) if _is_fastapis(answers.get("422")) else None
    for status, entry in errors(*kinds).items():
        known = answers.setdefault(str(status), {"description": ""})
        if "content" in known:
            continue  # a route that says more about this status says enough
        known["x-codes"] = [*known.get("x-codes", []), *entry["x-codes"]]
        known["description"] = f"{known['description']} {entry['description']}".strip()
    name = "OpenAIError" if path.startswith("/v1/") else "Error"
    for status, entry in answers.items():
        if entry.get("content") == _NOTHING:
            del entry["content"]
        said = entry.get("content", {}).get("application/json", {})
        if status.isdigit() and int(status) >= 400 and not {"example", "examples"} & set(said):
            entry["content"] = {"application/json": _example(name, status, entry)}
    operation["responses"] = dict(sorted(answers.items()))


def _is_fastapis(entry: dict[str, Any] | None) -> bool:
    return entry is not None and "HTTPValidationError" in str(entry)


def _example(name: str, status: str, entry: dict[str, Any]) -> dict[str, Any]:
    shown = {}
    every = _kinds(HansardError)
    own = [kind for kind in every if kind.code in entry.get("x-codes", ())]
    for kind in own or [kind for kind in every if str(kind.status) == status][:1]:
        code = kind.code
        message = (kind.__doc__ or "").strip().splitlines()[0]
        body: Any = {"code": code, "message": message, "hint": "What to do about it."}
        if name == "OpenAIError":
            body = openai_error.said(kind(message), None)
        shown[code] = {"value": {"error": body}}
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"schema": schema, "examples": shown} if shown else {"schema": schema}


def _kinds(root: type[HansardError]) -> list[type[HansardError]]:
    found = [root]
    for kind in root.__subclasses__():
        found += _kinds(kind)
    return found
