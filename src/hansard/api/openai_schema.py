"""How the OpenAPI page describes the OpenAI-compatible routes."""

from __future__ import annotations

from typing import Any

from hansard.api.answers import described
from hansard.api.openai_error import Said
from hansard.model import Task, Value


class Usage(Value, frozen=True):
    """Whole seconds of audio, rounded up."""

    type: str
    seconds: float


class OpenAITranscription(Value, frozen=True):
    """``response_format=json``; the other forms are named in docs/openai.md."""

    text: str
    usage: Usage | None = None


class OpenAIModel(Value, frozen=True):
    """A name that ``model`` may have."""

    id: str
    created: int
    object: str
    owned_by: str


class OpenAIModels(Value, frozen=True):
    """All of them."""

    object: str
    data: tuple[OpenAIModel, ...]


class OpenAIError(Value, frozen=True):
    """Every refusal below /v1."""

    error: Said


_TEXTS = {"type": "array", "items": {"type": "string"}}
_FIELDS: dict[str, dict[str, Any]] = {
    "file": {"type": "string", "format": "binary", "description": "The recording."},
    "model": {"type": "string", "description": "A name from GET /v1/models.", "maxLength": 200},
    "prompt": {"type": "string", "description": "Text that shows names and style."},
    "response_format": {
        "type": "string",
        "enum": ["json", "text", "srt", "verbose_json", "vtt"],
        "default": "json",
    },
    "temperature": {"type": "number", "minimum": 0, "maximum": 1, "description": "Not used."},
}
_MORE: dict[str, dict[str, Any]] = {
    "response_format": {
        "type": "string",
        "enum": ["json", "text", "srt", "verbose_json", "vtt", "diarized_json"],
        "default": "json",
    },
    "language": {"type": "string", "description": "Code of ISO 639-1; found where not given."},
    "timestamp_granularities[]": {
        "type": "array",
        "items": {"type": "string", "enum": ["word", "segment"]},
        "description": "Only with verbose_json.",
    },
    "include[]": {"type": "array", "items": {"type": "string", "enum": ["logprobs"]}},
    "stream": {"type": "boolean", "default": False},
    "chunking_strategy": {"type": "string", "description": "auto, or JSON of a server_vad."},
    "keywords[]": {**_TEXTS, "description": "Words that may occur."},
    "known_speaker_names[]": {**_TEXTS, "maxItems": 4, "description": "Not used yet."},
    "known_speaker_references[]": {**_TEXTS, "maxItems": 4, "description": "Not used yet."},
}


def form(task: Task) -> dict[str, Any]:
    """The body of a request, for ``openapi_extra``."""
    fields = {**_FIELDS, **_MORE} if task == "transcribe" else _FIELDS
    schema = {"type": "object", "required": ["file", "model"], "properties": fields}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def answers(*refusals: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that takes recordings, for ``responses=``."""
    example = OpenAITranscription("Good morning.", Usage("duration", 2))
    whole = described(OpenAITranscription, "The transcript.", example)
    plain = {"schema": {"type": "string"}}
    for kind in ("text/plain", "text/event-stream"):
        whole["content"][kind] = plain
    return {200: whole, **errors(*refusals)}


_MEANINGS = {
    400: "A field or the recording cannot be used.",
    401: "The key is missing or opens nothing.",
    403: "The key is not enough for this.",
    404: "There is no such model.",
    409: "The transcription was cancelled.",
    413: "The recording is larger or longer than allowed.",
    429: "Too much at a time: `Retry-After` says when to come again.",
    503: "Not now: `Retry-After` says when to come again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals for ``responses=``."""
    said = Said("There is no such model.", "invalid_request_error", "model", "model_not_found")
    return {
        status: described(OpenAIError, _MEANINGS[status], OpenAIError(said))
        for status in sorted({401, *statuses})
    }
