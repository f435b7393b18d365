"""Finished transcripts as OpenAI's clients read them: ``openai.types.audio``, form by form.

Everything is written from segments that are walked, never held: a ten-hour hearing as verbose JSON
takes no more memory than a note. ``text`` is the same, word for word, in every form that has it
and in the stream: the segments' texts, a space between them.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import msgspec
from msgspec.structs import replace
from starlette.responses import Response, StreamingResponse

from hansard.api.desk import Desk
from hansard.api.openai_request import Asked
from hansard.api.ranges import Rendered, rendered
from hansard.errors import UnknownJob
from hansard.formats import registry
from hansard.formats.layout import Layout, Segments
from hansard.formats.wording import encodable
from hansard.model import Job, Options, Segment, Transcript, Word
from hansard.speech.heard import spaced
from hansard.store import transcripts

_PIECE = 256 * 1024
_LEAST = 1e-10
"""No probability is taken for less: its logarithm must be a number."""


async def answer(
    desk: Desk, job: Job, asked: Asked, ignored: tuple[str, ...], unknown: str | None = None
) -> Response:
    """A completed job, in the form that was asked for.

    ``unknown`` is why its speakers are not known: all is then given to one, and a header says so.

    Raises:
        UnknownJob: it was removed meanwhile.
        DiskFull: no room for a long answer.
    """
    made = await desk.work(rendered, partial(_write, desk, job, asked), _scratch(desk))
    if asked.logprobs and not await desk.work(_sure, desk, job):
        ignored = (*ignored, "include")
    kind, headers = _kind(asked), told(job, ignored)
    if unknown is not None:
        headers["x-hansard-speakers"] = f"unknown: {unknown}"
    if made.at_hand:
        return Response(made.read(0, made.size), 200, headers, kind)
    headers["content-length"] = str(made.size)
    return StreamingResponse(_pieces(desk, made), 200, headers, kind)


async def empty(desk: Desk, asked: Asked, seconds: float) -> Response:
    """The answer to a recording without any sound, of which no job was made."""
    head, segments = silence(seconds)
    scratch = _scratch(desk)
    made = await desk.work(rendered, lambda out: write(head, segments, asked, out), scratch)
    return Response(made.read(0, made.size), 200, media_type=_kind(asked))


def silence(seconds: float, job: Job | None = None) -> tuple[Transcript, Segments]:
    """The transcript of a recording in which nobody speaks: OpenAI's answer is an empty one."""
    language = job.language if job else None
    head = Transcript("", "", "", seconds, engine="", model="", language=language)
    return head, lambda: iter(())


def told(job: Job, ignored: tuple[str, ...]) -> dict[str, str]:
    """Headers that say what OpenAI's bodies have no place for."""
    headers = {"x-hansard-job": job.id, "x-hansard-model": named(job.options)}
    if ignored:
        headers["x-hansard-ignored"] = ", ".join(ignored)
    return headers


def named(options: Options) -> str:
    """Engine and model, without telling where on our disk it lies."""
    model = options.model
    shown = PurePath(model).name if PurePath(model).is_absolute() else model
    return encodable(f"{options.engine}/{shown}").encode("ascii", "replace").decode()


def _sure(desk: Desk, job: Job) -> bool:
    """Whether the engine said how sure it was of its words."""
    _, segments = found(desk, job)
    return next(logprobs(segments()), None) is not None


def _kind(asked: Asked) -> str:
    return "application/json" if asked.form.endswith("json") else "text/plain; charset=utf-8"


def _scratch(desk: Desk) -> Path:
    return desk.house.files.scratch


async def _pieces(desk: Desk, made: Rendered) -> AsyncIterator[bytes]:
    for at in range(0, made.size, _PIECE):
        yield await desk.work(made.read, at, _PIECE)


# ── bodies ───────────────────────────────────────────────────────────────────────────────────


def _write(desk: Desk, job: Job, asked: Asked, out: BinaryIO) -> None:
    head, segments = found(desk, job)
    write(head, segments, asked, out)


def found(desk: Desk, job: Job) -> tuple[Transcript, Segments]:
    """A transcript's head, and its segments as often as they are asked for.

    Raises:
        UnknownJob: there is none.
    """
    if job.failure is not None:  # of silence: whoever called this has looked
        return silence(job.seconds or 0.0, job)
    head = transcripts.head(desk.reader, job.id)
    if head is None:
        raise UnknownJob("The transcription was removed.", hint="Send the recording again.")
    return head, partial(transcripts.stream, desk.reader, job.id)


def write(head: Transcript, segments: Segments, asked: Asked, out: BinaryIO) -> None:
    """A transcript in the form that was asked for."""
    if asked.request.task == "translate":
        head = replace(head, language="en")  # of what is answered, not of what was said
    if asked.form == "json":
        _json(head, segments, asked, out)
    elif asked.form == "text":
        out.writelines(piece.encode() for piece in texts(segments()))
        out.write(b"\n")
    elif asked.form == "diarized_json":
        _diarized_json(head, segments, out)
    else:
        layout = Layout(words=asked.words, segments=asked.segments)
        registry.get(asked.form).write(head, segments, out, layout)


def _json(head: Transcript, segments: Segments, asked: Asked, out: BinaryIO) -> None:
    out.write(b'{"text":"')
    out.writelines(quoted(piece) for piece in texts(segments()))
    out.write(b'"')
    if asked.logprobs:
        out.write(b',"logprobs":')
        _listed(out, logprobs(segments()))
    if asked.request.task == "transcribe":  # a translation has no usage
        out.write(b',"usage":' + msgspec.json.encode(usage(head.seconds)))
    out.write(b"}")


def _diarized_json(head: Transcript, segments: Segments, out: BinaryIO) -> None:
    out.write(b'{"task":"transcribe","duration":' + msgspec.json.encode(float(head.seconds)))
    out.write(b',"text":"')
    out.writelines(quoted(piece) for piece in texts(segments()))
    out.write(b'","segments":')
    speakers = Speakers()
    _listed(out, (speakers.turn(number, one) for number, one in enumerate(segments())))
    out.write(b',"usage":' + msgspec.json.encode(usage(head.seconds)) + b"}")


def usage(seconds: float) -> dict[str, Any]:
    """What was used, as OpenAI bills it: whole seconds of audio, rounded up."""
    return {"type": "duration", "seconds": math.ceil(seconds)}


def _listed(out: BinaryIO, items: Iterator[dict[str, Any]]) -> None:
    out.write(b"[")
    for number, item in enumerate(items):
        out.write(b",\n" if number else b"")
        out.write(msgspec.json.encode(item))
    out.write(b"]")


# ── pieces of bodies and of streams ──────────────────────────────────────────────────────────


def texts(segments: Iterator[Segment]) -> Iterator[str]:
    """The text in pieces: joined with nothing between, they are it."""
    for number, segment in enumerate(segments):
        yield text(number, segment)


def text(number: int, segment: Segment) -> str:
    """What the segment of this number adds to the text."""
    plain = encodable(segment.text.strip())
    return f" {plain}" if number else plain


def quoted(piece: str) -> bytes:
    """The inside of a JSON string."""
    return msgspec.json.encode(piece)[1:-1]


class Speakers:
    """Letters for speakers, in the order in which they first speak; one where none is known."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def turn(self, number: int, segment: Segment) -> dict[str, Any]:
        """``openai.types.audio.TranscriptionDiarizedSegment``."""
        who = segment.speaker or f"channel {segment.channel}"
        letter = self._letters.setdefault(who, _letter(len(self._letters)))
        return {
            "type": "transcript.text.segment",
            "id": f"seg_{number:03d}",
            "start": float(segment.start),
            "end": float(segment.end),
            "text": encodable(segment.text.strip()),
            "speaker": letter,
        }


def _letter(number: int) -> str:
    """A, B and so on to Z, then AA, AB."""
    name = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        name = chr(ord("A") + letter) + name
    return name


def logprobs(segments: Iterator[Segment]) -> Iterator[dict[str, Any]]:
    """A token a word, where the engine said how sure it was of each; else nothing."""
    for number, segment in enumerate(segments):
        yield from logprobs_of(number, segment)


def logprobs_of(number: int, segment: Segment) -> Iterator[dict[str, Any]]:
    """The same for one segment. Joined, the tokens are its text."""
    if any(word.confidence is None for word in segment.words):
        return
    for first, (word, token) in enumerate(_tokens(segment)):
        plain = encodable(token)
        plain = f" {plain.lstrip()}" if number and not first else plain
        sure = max(_LEAST, word.confidence or 0.0)
        yield {"token": plain, "logprob": min(0.0, math.log(sure)), "bytes": list(plain.encode())}


def _tokens(segment: Segment) -> Iterator[tuple[Word, str]]:
    return zip(segment.words, spaced(segment.text.strip(), segment.words), strict=True)
