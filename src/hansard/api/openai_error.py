"""Errors as OpenAI's clients read them: ``{"error": {"message", "type", "param", "code"}}``.

Their exception classes go by the status, in which everything that is wrong with a request is 400.
They try 409, 429 and 5xx again by themselves, unless ``x-should-retry`` says not to.
"""

from __future__ import annotations

from hansard.errors import (
    BadInput,
    HansardError,
    InvalidField,
    KeyInvalid,
    KeyMissing,
    ModelMissing,
    QuotaUsedUp,
    RateLimited,
    UnknownModel,
)
from hansard.model import Value

_CODES: tuple[tuple[type[HansardError], str], ...] = (
    (KeyMissing, "invalid_api_key"),
    (KeyInvalid, "invalid_api_key"),
    (UnknownModel, "model_not_found"),
    (ModelMissing, "model_not_found"),
    (RateLimited, "rate_limit_exceeded"),
    (QuotaUsedUp, "insufficient_quota"),
)
"""Codes that clients look for; the others are Hansard's own."""

_AS_BAD_REQUEST = frozenset((402, 410, 415, 422, 460))


class Said(Value, frozen=True, omit_defaults=False):
    """What is in ``error``. ``param`` is the field that is wrong, where it is one."""

    message: str
    type: str
    param: str | None
    code: str


def said(error: HansardError, param: str | None = None) -> Said:
    """An error in OpenAI's words; the hint is part of the message."""
    return Said(
        f"{error.message} {error.hint}" if error.hint else error.message,
        _type(error),
        param or _param(error),
        next((code for kind, code in _CODES if isinstance(error, kind)), error.code),
    )


def status(error: HansardError) -> int:
    """The HTTP status that makes the client raise the fitting exception."""
    if isinstance(error, ModelMissing):
        return 404
    return 400 if error.status in _AS_BAD_REQUEST else error.status


def headers(error: HansardError) -> dict[str, str]:
    """What keeps a client from asking for the same again where that cannot help."""
    tries_again = error.status == 409 or error.status >= 500
    return {"x-should-retry": "false"} if tries_again and error.trouble == "permanent" else {}


def _type(error: HansardError) -> str:
    if isinstance(error, QuotaUsedUp):
        return "insufficient_quota"
    at = status(error)
    if at >= 500:
        return "server_error"
    return {403: "permission_error", 429: "rate_limit_error"}.get(at, "invalid_request_error")


def _param(error: HansardError) -> str | None:
    if isinstance(error, InvalidField):
        return error.field
    if isinstance(error, UnknownModel | ModelMissing):
        return "model"
    return "file" if isinstance(error, BadInput) else None
