"""What may be asked for with a recording, as forms, addresses and JSON say it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from hansard.errors import BadRequest, UsageError
from hansard.meetings.requests import Count, Speakers
from hansard.model import Channels, Enhance, Prefer, Task, Value
from hansard.outbound import see_that_it_may_be_called
from hansard.transcription import Request

if TYPE_CHECKING:
    from hansard.config import Settings

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Note = Annotated[str, Meta(max_length=10_000)]
Address = Annotated[str, Meta(min_length=1, max_length=2048)]


class Fields(Value, frozen=True, forbid_unknown_fields=True):
    """The fields of ``POST /transcriptions``, beside ``file``. Defaults are the service's."""

    url: Address | None = None
    """Fetch the recording from this http or https address."""
    upload: Annotated[str, Meta(max_length=64)] | None = None
    """Id of a resumable upload that is complete."""
    name: Name | None = None
    """What to call the recording; else the file's own name."""
    language: Annotated[str, Meta(max_length=64)] | None = None
    """A code or an English name; found out where it is not given."""
    model: Name | None = None
    """A name of ``GET /models``."""
    prefer: Prefer | None = None
    """What the choice of a model leans to."""
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    """9 goes first."""
    channels: Channels = "mix"
    """``separate`` transcribes each channel by itself."""
    diarize: bool | None = None
    """Tell speakers apart, in a job that follows; as the service is set up where it is not said."""
    min_speakers: Count | None = None
    """At least so many speak."""
    max_speakers: Count | None = None
    """At most so many speak."""
    prompt: Note | None = None
    """Text that the recording continues."""
    hotwords: Note | None = None
    """Names and rare words to listen for."""
    formats: tuple[str, ...] = ()
    """Formats whose downloads are to be linked; all can be downloaded."""
    webhook_url: Address | None = None
    """Is told when the job ends."""
    sync: bool = False
    """Wait for the transcript."""
    words: bool = False
    """With ``sync``: give each segment its words."""
    task: Task = "transcribe"
    track: Annotated[int, Meta(ge=0, le=999)] = 0
    """Audio track of the file, from 0."""
    enhance: Enhance = "auto"
    """Make quiet and noisy audio clearer."""
    word_times: bool = True
    language_per_window: bool = False
    """Find the language out again and again, for recordings in several."""
    max_cost: Annotated[float, Meta(ge=0)] | None = None
    """Refuse what would cost more."""
    again: bool = False
    """Do the work even where the answer is known."""

    def request(self, settings: Settings) -> Request:
        """The same as the main flow takes it.

        Raises:
            BadRequest, AddressRefused: the address to be told leads nowhere that may be called.
        """
        if self.webhook_url is not None:
            see_that_it_may_be_called(self.webhook_url, settings)
        return Request(
            model=self.model or settings.model,
            prefer=self.prefer or settings.prefer,
            language=self.language,
            task=self.task,
            channels=self.channels,
            track=self.track,
            enhance=self.enhance,
            prompt=self.prompt,
            hotwords=self.hotwords,
            word_times=self.word_times,
            language_per_window=self.language_per_window,
            max_cost=self.max_cost,
            priority=self.priority,
            again=self.again,
            webhook=self.webhook_url,
            speakers=self.speakers,
        )

    @property
    def speakers(self) -> Speakers:
        """What is wanted of who speaks. How many there are is only said where it is wanted.

        Raises:
            BadRequest: at least more than at most.
        """
        least, most = self.min_speakers, self.max_speakers
        if least is not None and most is not None and least > most:
            raise BadRequest(
                f"There cannot be at least {least} speakers and at most {most}.",
                hint="Give min_speakers and max_speakers, or neither.",
            )
        counted = least is not None or most is not None
        return Speakers(self.diarize or (True if counted else self.diarize), least, most)


NAMES: Final = Fields.__struct_fields__
_LISTS: Final = ("formats",)
_EMPTY: Final = ("", "null")


def of_texts(given: Iterable[tuple[str, str]]) -> Fields:
    """Fields of a form or of an address. An empty text is a field that was not filled in.

    Raises:
        BadRequest: there is no such field, it comes twice, or its text makes no sense.
        UnknownFormat: see ``formats.get``.
    """
    found: dict[str, Any] = {}
    for raw, text in given:
        name = raw.removesuffix("[]")
        _see_that_it_exists(name)
        if name in _LISTS:
            found.setdefault(name, []).extend(filter(None, map(str.strip, text.split(","))))
        elif name in found:
            raise BadRequest(f"The field {name} comes twice.", hint="Send it once.")
        elif text not in _EMPTY:
            found[name] = text
    return _converted(found, strict=False)


def of_json(body: bytes) -> Fields:
    """Fields of a JSON object.

    Raises:
        BadRequest, UnknownFormat: as :func:`of_texts`.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}.", hint=_HINT) from None
    if not isinstance(found, dict):
        raise BadRequest("The body is not a JSON object.", hint=_HINT)
    for name in found:
        _see_that_it_exists(name)
    return _converted({name: value for name, value in found.items() if value is not None})


_HINT = 'Send fields like {"url": "https://example.org/meeting.mp3", "language": "en"}.'


def _see_that_it_exists(name: str) -> None:
    if name in NAMES:
        return
    if name == "file":
        raise BadRequest(
            "A file cannot come this way.", hint="Send it as multipart/form-data, the field file."
        )
    near = difflib.get_close_matches(name[:80], [*NAMES, "file"], n=1)
    raise BadRequest(
        f"There is no field {name[:80]!r}.",
        hint=f"Did you mean {near[0]}?" if near else f"Fields: file, {', '.join(NAMES)}.",
    )


def _converted(found: Mapping[str, Any], *, strict: bool = True) -> Fields:
    from hansard import formats

    try:
        fields = msgspec.convert(dict(found), Fields, strict=strict)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None
    for text in (fields.name, fields.prompt, fields.hotwords, fields.language):
        if text and "\0" in text:
            raise BadRequest("A field has a NUL character in it.", hint="Send plain text.")
    names = tuple(formats.get(name).name for name in fields.formats[:64])
    return msgspec.structs.replace(fields, formats=names)


def _wrong(said: str) -> UsageError:
    """A complaint of msgspec (``Expected `int` <= 9 - at `$.priority```) as a sentence."""
    what, _, where = said.partition(" - at `$.")
    name = where.removesuffix("`") or "one of the fields"
    plain = what.replace("`", "")
    return BadRequest(
        f"The field {name} does not make sense: {plain[:1].lower()}{plain[1:]}.",
        hint="/api/v1/openapi.json describes every field.",
    )
