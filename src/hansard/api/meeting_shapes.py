"""What meetings look like in requests and answers, with examples."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from hansard.api import multipart
from hansard.api.answers import SCHEMAS
from hansard.errors import BadRequest, Changed
from hansard.insight.findings import ItemKind, Kind, Person
from hansard.meetings.requests import Count
from hansard.model import Segment, Value
from hansard.store.meetings import Correction, Speaker, Status
from hansard.store.voices import Voice

T = TypeVar("T", bound=msgspec.Struct)

Title = Annotated[str, Meta(min_length=1, max_length=500)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
Sentence = Annotated[str, Meta(min_length=1, max_length=2_000)]
Label = Annotated[str, Meta(pattern="^S[0-9]{1,4}$")]


# ── answers ──────────────────────────────────────────────────────────────────────────────────


class MeetingLinks(Value, frozen=True):
    """Where to go from here."""

    self: str
    segments: str
    summary: str
    actions: str
    chapters: str
    sentiment: str
    speakers: str
    statistics: str
    transcription: str


class Meeting(Value, frozen=True):
    """A meeting. Times are seconds since the epoch, lengths seconds."""

    id: str
    title: str
    kind: str
    """A template's name."""
    status: Status
    held: float
    """When it began."""
    language: str | None
    seconds: float
    words: int
    segments: int
    mood: float | None
    """-1 to 1; `null` until sentiment is known."""
    people: tuple[Person, ...]
    tags: tuple[str, ...]
    created: float
    changed: float
    revision: int
    """Grows with every change; it is the `ETag`, too."""
    wording: int
    """Grows when words or speakers change: findings of an older one are stale."""
    archived: float | None
    """When its words went to the archive: until they are back, it is found by its title only."""
    links: MeetingLinks


class MeetingPage(Value, frozen=True):
    """A page, the last held first."""

    items: tuple[Meeting, ...]
    next: str | None
    """Give it as ``cursor`` for the next page; ``null`` on the last."""


class SegmentLine(Segment, frozen=True, kw_only=True):
    """A segment with its place; `speaker` is a label, which `speakers` of the page may name."""

    position: int


class SegmentPage(Value, frozen=True, omit_defaults=False):
    """Segments in order."""

    items: tuple[SegmentLine, ...]
    speakers: dict[str, str]
    """Names by label, of speakers who have one."""
    next: int | None
    """Give it as ``after`` for the next page; ``null`` on the last."""


class SpeakerList(Value, frozen=True, omit_defaults=False):
    """Who speaks."""

    items: tuple[Speaker, ...]


class VoiceList(Value, frozen=True):
    """Remembered voices."""

    items: tuple[Voice, ...]


class CorrectionPage(Value, frozen=True, omit_defaults=False):
    """What people changed, the first first."""

    items: tuple[Correction, ...]
    next: str | None
    """Give it as ``after`` for the next page; ``null`` on the last."""


class FollowUp(Value, frozen=True):
    """A job that was asked for."""

    job: str
    links: dict[str, str]


class BulkResult(Value, frozen=True, omit_defaults=False):
    """What became of each meeting of a bulk change."""

    changed: tuple[str, ...]
    failed: dict[str, str]
    """Code of the error by id; the others are changed all the same."""


# ── requests ─────────────────────────────────────────────────────────────────────────────────


class MeetingChange(Value, frozen=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays."""

    title: Title | msgspec.UnsetType = msgspec.UNSET
    kind: Annotated[str, Meta(min_length=1, max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET
    held: Annotated[float, Meta(ge=-1e11, le=1e11)] | msgspec.UnsetType = msgspec.UNSET
    people: Annotated[tuple[Person, ...], Meta(max_length=500)] | msgspec.UnsetType = msgspec.UNSET
    tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] | msgspec.UnsetType = msgspec.UNSET


class SegmentChange(Value, frozen=True, forbid_unknown_fields=True):
    """Another text, another speaker, or both."""

    text: Annotated[str, Meta(min_length=1, max_length=20_000)] | None = None
    speaker: Label | None = None


class SpeakerChange(Value, frozen=True, forbid_unknown_fields=True):
    """Who a speaker is."""

    name: Name | msgspec.UnsetType | None = msgspec.UNSET
    """`null` takes the name away."""
    remember: bool = False
    """Know the voice by this name in later meetings."""
    merge_into: Label | None = None
    """It is the same person as this speaker, who stays."""


class SpeakersAsked(Value, frozen=True, forbid_unknown_fields=True):
    """How many speak, as far as that is known."""

    min_speakers: Count | None = None
    max_speakers: Count | None = None


class InsightAsked(Value, frozen=True, forbid_unknown_fields=True):
    """What is to be found out; all that the settings say where nothing is named."""

    kinds: tuple[Kind, ...] = ()


class ItemChange(Value, frozen=True, forbid_unknown_fields=True):
    """An item as somebody wants it."""

    kind: ItemKind
    text: Sentence
    owner: Name | None = None
    due: Annotated[str, Meta(max_length=40)] | None = None
    value: Annotated[str, Meta(max_length=200)] | None = None


class NewItem(ItemChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item that nobody found."""

    start: Annotated[float, Meta(ge=0, le=1e7)]
    """The second of the meeting at which it was said."""


class SummaryChange(Value, frozen=True, forbid_unknown_fields=True):
    """Sentences, in their order."""

    short: Annotated[tuple[Sentence, ...], Meta(min_length=1, max_length=100)] | None = None
    long: Annotated[tuple[Sentence, ...], Meta(min_length=1, max_length=100)] | None = None


class ChapterChange(Value, frozen=True, forbid_unknown_fields=True):
    """What a chapter is called."""

    title: Sentence


class Bulk(Value, frozen=True, forbid_unknown_fields=True):
    """The same change for up to 50 meetings."""

    ids: Annotated[
        tuple[Annotated[str, Meta(max_length=64)], ...], Meta(min_length=1, max_length=50)
    ]
    status: Status | None = None
    add_tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    remove_tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()


def body(kind: type[msgspec.Struct], example: Any) -> dict[str, Any]:
    """A JSON body for ``openapi_extra=``."""
    SCHEMAS[kind.__name__] = kind
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": True, "content": content}


IF_MATCH: dict[str, Any] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 100},
    "description": "The `ETag` of the meeting that is to be changed: 412 where it is another now.",
}


def changing(kind: type[msgspec.Struct], example: Any) -> dict[str, Any]:
    """``openapi_extra=`` of a route that changes a meeting."""
    return {"requestBody": body(kind, example), "parameters": [IF_MATCH]}


async def read(request: Request, kind: type[T], *, empty: bool = False) -> T:
    """The JSON body of a request; ``empty``: none at all is an empty object.

    Raises:
        BadRequest: it is not JSON, or not of this kind.
    """
    raw = await multipart.small(request)
    if empty and not raw.strip():
        raw = b"{}"
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(
            f"The body does not make sense: {error}.",
            hint="/api/v1/openapi.json describes every field.",
        ) from None


def etag(revision: int, *, archived: bool = False) -> str:
    """The version of a meeting, as ``ETag`` has it; in the archive it is another."""
    return f"r{revision}a" if archived else f"r{revision}"


def wanted_revision(request: Request) -> int | None:
    """The revision that ``If-Match`` names; a weak one will do, since it is a meeting's own.

    Raises:
        Changed: it names none that ever was.
    """
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    plain = given.strip().removeprefix("W/").strip('"').removesuffix("a")
    if not (plain.startswith("r") and plain[1:].isdecimal() and plain.isascii()):
        raise Changed(
            "If-Match names no version of a meeting.", hint="Send the ETag that it came with."
        )
    return int(plain[1:])


PLACE = "/api/v1/meetings/1m7wkb3n3a9jd3"

EXAMPLE: dict[str, Any] = {
    "id": "1m7wkb3n3a9jd3",
    "title": "Budget 2027",
    "kind": "meeting",
    "status": "new",
    "held": 1763655873.139,
    "language": "en",
    "seconds": 3605.2,
    "words": 8412,
    "segments": 512,
    "mood": 0.12,
    "people": [{"name": "Anna", "label": "S1"}],
    "tags": ["budget"],
    "created": 1763656210.77,
    "changed": 1763656290.12,
    "revision": 7,
    "wording": 1,
    "archived": None,
    "links": {
        "self": PLACE,
        **{
            name: f"{PLACE}/{name}"
            for name in (
                "segments", "summary", "actions", "chapters", "sentiment", "speakers", "statistics",
            )
        },
        "transcription": "/api/v1/transcriptions/1m7wkb3n3a9jd3",
    },
}  # fmt: skip

LINE: dict[str, Any] = {
    "position": 12,
    "start": 34.5,
    "end": 37.2,
    "text": "Anna sends the numbers by Friday.",
    "speaker": "S2",
}

SPEAKER: dict[str, Any] = {
    "label": "S1",
    "name": "Anna",
    "proposed": None,
    "confidence": None,
    "seconds": 1204.5,
    "voice": None,
}

CORRECTION: dict[str, Any] = {
    "id": "1m7wkb9q0c2e4g",
    "target": "text",
    "place": "34.500 37.200",
    "before": {"text": "Anna sends the members by Friday."},
    "after": {"text": "Anna sends the numbers by Friday."},
    "by": "local",
    "at": 1763656290.12,
}


def finding(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    """An example of a finding."""
    return {
        "kind": kind,
        "version": 1,
        "wording": 1,
        "stale": False,
        "corrected": False,
        "source": {"by": "embedded", "name": "lexrank-1"},
        "created": 1763656251.9,
        "value": value,
        "times": {"12": 34.5},
        "keys": [],
        **more,
    }
