"""What an OpenAI client asks for, read from the fields of its form.

Field by field as ``openai.types.audio`` has them. Clients differ in how they write the same thing:
arrays come as ``name[]``, ``name[0]``, a repeated ``name``, a JSON list or words with commas;
objects as ``name[key]`` or a JSON string; all are taken. A field that has no effect here is not
refused, since many clients send fields of other servers, but it is told: see ``Asked.ignored``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Literal, get_args

from hansard.api.submission import see_that_model_is_known
from hansard.config import Settings
from hansard.errors import InvalidField, UnknownModel
from hansard.meetings.requests import Speakers
from hansard.model import Detection, Task, Value
from hansard.speech import wire
from hansard.transcription import Request

Form = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
"""What ``response_format`` may be."""

STAND_INS = (
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize",
)
"""OpenAI's own models, whose names are written into clients: here they mean the default model."""

UNUSED = frozenset(("known_speaker_references",))
"""Fields that may be long, and are not used: seconds of audio as data addresses."""

PRIORITY = 7
"""Of 0 to 9: somebody waits for the answer."""

_NAME = re.compile(r"([^\[\]]+)(?:\[([^\[\]]*)\])?")
_SPOKEN = re.compile(r"[\w.\[\]-]{1,64}", re.ASCII)
_SINGLE = frozenset(
    ("model", "language", "prompt", "response_format", "temperature", "stream", "hotwords")
)
_LISTS = frozenset(
    (
        "timestamp_granularities",
        "include",
        "keywords",
        "languages",
        "known_speaker_names",
        "known_speaker_references",
    )
)
_MOST_SPEAKERS = 4
_MOST_IGNORED = 20
"""Names of ignored fields that are told: an answer's head has its limits."""
_LONGEST_MS = 60_000
_TRUE, _FALSE = frozenset(("true", "1", "yes", "on")), frozenset(("false", "0", "no", "off"))


class Asked(Value, frozen=True):
    """A request to be served. ``words`` and ``segments`` are the lists wanted in verbose JSON."""

    model: str
    """As the client calls it."""
    request: Request
    form: Form = "json"
    words: bool = False
    segments: bool = True
    logprobs: bool = False
    stream: bool = False
    ignored: tuple[str, ...] = ()
    """Fields that came and have no effect."""


def read(fields: Iterable[tuple[str, str]], task: Task, settings: Settings) -> Asked:
    """The fields of a form, without its file, as something that can be served.

    Raises:
        InvalidField: a field is missing or does not make sense.
        UnknownModel: there is no such model.
    """
    form = _Fields(fields)
    answer = _answer_form(form.one("response_format"), task)
    streamed = _flag("stream", form.one("stream"))
    if streamed and answer not in ("json", "text", "diarized_json"):
        raise wrong(
            "stream",
            f"An answer in {answer} cannot be streamed.",
            hint="Ask for json, text or diarized_json, or leave stream out.",
        )
    words, segments = _granularities(form.many("timestamp_granularities"), answer)
    return Asked(
        model=form.one("model") or "",
        request=Request(
            model=resolve(form.one("model"), settings),
            prefer=settings.prefer,
            language=_language(form),
            task=task,
            prompt=form.one("prompt"),
            hotwords=_hotwords(form),
            priority=PRIORITY,
            detection=_detection(form, settings),
            speakers=Speakers(True if answer == "diarized_json" else None),
        ),
        form=answer,
        words=words,
        segments=segments,
        logprobs=_logprobs(form.many("include"), answer),
        stream=streamed,
        ignored=_ignored(form),
    )


def resolve(name: str | None, settings: Settings) -> str:
    """The model that a client's name means, as the catalogue calls it.

    Raises:
        InvalidField: no name was given.
        UnknownModel: it is none of OpenAI's, nor in the catalogue. Directories of this machine
            have no name here.
    """
    if name is None:
        raise wrong("model", "No model is named.", hint="model=whisper-1 is the default model.")
    if name in STAND_INS:
        return settings.model
    try:
        see_that_model_is_known(name, settings)
    except UnknownModel:
        raise UnknownModel(
            f"The model {name[:100]!r} does not exist.", hint="GET /v1/models lists them."
        ) from None
    return name


def wrong(field: str, message: str, *, hint: str | None = None) -> InvalidField:
    """The refusal of one field."""
    error = InvalidField(message, hint=hint)
    error.field = field
    return error


# ── the fields, however they are written ─────────────────────────────────────────────────────


class _Fields:
    """The fields of a form by name; empty ones count as not there."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self.values: dict[str, list[str]] = {}
        self.objects: dict[str, dict[str, str]] = {}
        self.unknown: list[str] = []
        for name, value in fields:
            if value.strip():
                self._add(name, value.strip())

    def _add(self, name: str, value: str) -> None:
        found = _NAME.fullmatch(name)
        plain, inside = (found[1], found[2]) if found else (name, None)
        if plain in _LISTS and (inside is None or not inside or inside.isdigit()):
            self.values.setdefault(plain, []).extend(_listed(plain, value, inside))
        elif plain == "chunking_strategy" and inside:
            self.objects.setdefault(plain, {})[inside] = value
        elif (plain in _SINGLE or plain == "chunking_strategy") and inside is None:
            if plain in self.values:
                raise wrong(plain, f"The field {plain} came twice.")
            self.values[plain] = [value]
        else:
            self.unknown.append(name)

    def one(self, name: str) -> str | None:
        return self.values[name][0] if name in self.values else None

    def many(self, name: str) -> list[str]:
        return self.values.get(name, [])


def _listed(name: str, value: str, inside: str | None) -> list[str]:
    """The items of one field of a list; ``inside`` is ``None`` where the name has no brackets."""
    if value.startswith("["):
        items = _json(name, value)
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise wrong(name, f"The field {name} is no list of texts.")
        return [item.strip() for item in items if item.strip()]
    if inside is None and name in ("timestamp_granularities", "include"):
        return [item.strip() for item in value.split(",") if item.strip()]
    return [value]


def _json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise wrong(name, f"The field {name} is not valid JSON.") from None


# ── what they mean ───────────────────────────────────────────────────────────────────────────


def _answer_form(value: str | None, task: Task) -> Form:
    known = [form for form in get_args(Form) if task == "transcribe" or form != "diarized_json"]
    if value is not None and value not in known:
        raise wrong(
            "response_format",
            f"There is no response_format {value[:50]!r}.",
            hint=f"Formats: {', '.join(known)}.",
        )
    return next((form for form in known if form == value), "json")


def _flag(name: str, value: str | None) -> bool:
    plain = (value or "false").lower()
    if plain not in _TRUE | _FALSE:
        raise wrong(name, f"The field {name} is neither true nor false.")
    return plain in _TRUE


def _granularities(values: list[str], form: Form) -> tuple[bool, bool]:
    """Whether verbose JSON lists words, and whether it lists segments."""
    field = "timestamp_granularities"
    if not values:
        return False, True
    odd = [value for value in values if value not in ("word", "segment")]
    if odd:
        raise wrong(
            field, f"There is no granularity {odd[0][:50]!r}.", hint="There are word and segment."
        )
    if form != "verbose_json":
        raise wrong(
            field,
            f"Times are only in verbose_json, and {form} was asked for.",
            hint="Set response_format=verbose_json.",
        )
    return "word" in values, "segment" in values


def _logprobs(values: list[str], form: Form) -> bool:
    odd = [value for value in values if value != "logprobs"]
    if odd:
        raise wrong(
            "include",
            f"There is nothing named {odd[0][:50]!r} to include.",
            hint="There is logprobs.",
        )
    if values and form != "json":
        raise wrong(
            "include",
            f"Probabilities are only in json, and {form} was asked for.",
            hint="Set response_format=json.",
        )
    return bool(values)


def _language(form: _Fields) -> str | None:
    """A code; ``None`` where the language is to be found, or may be one of several."""
    value, several = form.one("language"), form.many("languages")
    field = "language"
    if value is None and len(several) == 1:
        value, field = several[0], "languages"
    if value is None or value.lower() == "auto":
        return None
    code = wire.language_code(value)
    if code is None:
        raise wrong(
            field,
            f"There is no language {value[:50]!r}.",
            hint="Use a code of ISO 639-1, such as en, de or ja.",
        )
    return code


def _hotwords(form: _Fields) -> str | None:
    """``keywords`` are OpenAI's; ``hotwords`` is what faster-whisper's servers call them."""
    return ", ".join([*form.many("keywords"), *form.values.get("hotwords", [])]) or None


def _detection(form: _Fields, settings: Settings) -> Detection | None:
    """How speech is told from the rest, where ``chunking_strategy`` says."""
    field = "chunking_strategy"
    given: dict[str, Any] = dict(form.objects.get(field, {}))
    plain = form.one(field)
    if plain is not None and plain.startswith("{"):
        found = _json(field, plain)
        given |= found if isinstance(found, dict) else {}
    elif plain is not None:
        given["type"] = plain
    if not given or given.get("type") == "auto":
        return None
    if given.get("type") != "server_vad":
        raise wrong(
            field,
            "The chunking_strategy is neither auto nor server_vad.",
            hint='Send auto, or an object like {"type": "server_vad", "threshold": 0.5}.',
        )
    usual = settings.vad
    return Detection(
        threshold=_number(
            f"{field}.threshold", given.get("threshold"), usual.threshold, 0.01, 0.99
        ),
        min_silence=_seconds(field, "silence_duration_ms", given, usual.min_silence, 1),
        min_speech=usual.min_speech,
        pad=_seconds(field, "prefix_padding_ms", given, usual.pad, 0),
    )


def _seconds(field: str, name: str, given: dict[str, Any], usual: float, least: int) -> float:
    said = _number(f"{field}.{name}", given.get(name), usual * 1000, least, _LONGEST_MS)
    return said / 1000


def _number(field: str, value: Any, usual: float, least: float, most: float) -> float:
    if value is None:
        return usual
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:  # NaN is neither
        raise wrong(field, f"The field {field} is no number between {least:g} and {most:g}.")
    return number


def _ignored(form: _Fields) -> tuple[str, ...]:
    """Names of the fields that came and change nothing; the values were looked at all the same."""
    found = [name for name in form.unknown if _SPOKEN.fullmatch(name)]
    if _number("temperature", form.one("temperature"), 0.0, 0.0, 1.0) > 0:
        found.append("temperature")
    if len(form.many("languages")) > 1 or (form.many("languages") and form.one("language")):
        found.append("languages")
    names, samples = form.many("known_speaker_names"), form.many("known_speaker_references")
    if len(names) > _MOST_SPEAKERS or len(names) != len(samples):
        raise wrong(
            "known_speaker_names",
            f"There are {len(names)} names and {len(samples)} samples of known speakers.",
            hint=f"Send a sample for each name, and at most {_MOST_SPEAKERS}.",
        )
    if names:
        found += ["known_speaker_names", "known_speaker_references"]
    return tuple(dict.fromkeys(found))[:_MOST_IGNORED]
