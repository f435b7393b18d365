"""What is said over a live connection: JSON, one message in each text frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from hansard.audio.growing import Codec, Sound
from hansard.errors import BadRequest, HansardError
from hansard.jobs.sessions import Heard
from hansard.model import SAMPLE_RATE, Prefer, Value
from hansard.speech.heard import heard, written
from hansard.transcription import Request

_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_HINT = "See docs/live.md for the messages there are."


# ── what comes in ────────────────────────────────────────────────────────────────────────────


class Start(Value, frozen=True, forbid_unknown_fields=True, tag="start"):
    """The first message: a session begins, or goes on."""

    format: Codec = "pcm_s16le"
    rate: Annotated[int, msgspec.Meta(ge=8000, le=48_000)] = SAMPLE_RATE
    """Hz, of bare samples."""
    channels: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    language: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    model: Annotated[str, msgspec.Meta(max_length=200)] = "auto"
    prefer: Prefer = "balanced"
    prompt: _Text | None = None
    hotwords: _Text | None = None
    name: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    """What to call the recording."""
    partials: bool = True
    resume: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    """The session to go on with."""
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The number of the last final message that is known."""

    @property
    def sound(self) -> Sound:
        """What will come in."""
        return Sound(self.format, self.rate, self.channels)

    @property
    def request(self) -> Request:
        """What is to be done with it. It cannot be known yet whether it is too quiet."""
        return Request(
            model=self.model,
            prefer=self.prefer,
            language=self.language,
            prompt=self.prompt,
            hotwords=self.hotwords,
            enhance="off",
        )


class End(Value, frozen=True, tag="end"):
    """This is all."""


class Ping(Value, frozen=True, tag="ping"):
    """Nothing to say, but still there."""


Incoming = Start | End | Ping

_incoming: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(Incoming)


def read(text: str) -> Incoming:
    """A message from the other side.

    Raises:
        BadRequest: it is none; what does not fit is named.
    """
    try:
        return _incoming.decode(text)
    except msgspec.MsgspecError as error:
        raise BadRequest(f"This message cannot be read: {error}.", hint=_HINT) from error


def start_of(query: Mapping[str, str]) -> Start | None:
    """The first message, where the address holds it; ``None`` where it is still to come.

    Raises:
        BadRequest: it does not fit.
    """
    if not {"format", "resume"} & query.keys():
        return None
    try:
        return msgspec.convert({"type": "start", **query}, Start, strict=False)
    except msgspec.MsgspecError as error:
        raise BadRequest(f"The address cannot be read: {error}.", hint=_HINT) from error


# ── what goes out ────────────────────────────────────────────────────────────────────────────

_encoder = msgspec.json.Encoder()


def said(kind: str, **fields: Any) -> str:
    """A message to the other side."""
    return _encoder.encode({"type": kind, **fields}).decode()


def error_of(error: HansardError, job: str | None = None) -> str:
    """What went wrong; the last message of a connection."""
    words = {"code": error.code, "message": error.message, "hint": error.hint}
    return said("error", error=words, **({} if job is None else {"id": job}))


def words_of(kind: Literal["partial", "final"], done: Heard) -> str:
    """What was heard in a window, in recording time (seconds).

    Of speech that was heard twice, where it was cut without a pause, the earlier window has the
    first half; the transcript looks more closely.

    Returns:
        Nothing for a guess in which there are no words yet: nobody could show it.
    """
    window = done.window
    start, end = window.pieces[0].start, window.pieces[-1].end
    found = heard(window, done.result)
    if window.overlap:
        cut = (start + window.overlap) / SAMPLE_RATE
        found = [word for word in found if word.middle >= cut]
        start += window.overlap
    text = written(found)
    if kind == "partial" and not text:
        return ""
    fields: dict[str, Any] = {
        "number": done.number,
        "start": round(start / SAMPLE_RATE, 3),
        "end": round(end / SAMPLE_RATE, 3),
        "text": text,
    }
    if kind == "final":
        fields["words"] = [
            {
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "text": word.text.strip(),
                **({} if word.confidence is None else {"confidence": word.confidence}),
            }
            for word in found
            if word.timed
        ]
        if done.result.language is not None:
            fields["language"] = done.result.language
    return said(kind, **fields)
