"""Formats for programs: Hansard's own JSON, OpenAI's verbose JSON, TSV and CSV.

Hansard's JSON is the only format that holds a whole transcript; ``read_json`` gives back what
was written. Its schema is published as ``docs/transcript.schema.json`` and is made by ``schema``.
"""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

import msgspec

from hansard.errors import BadInput
from hansard.formats import wording
from hansard.formats.languages import english_name
from hansard.formats.layout import STANDARD, Layout, Segments
from hansard.formats.wording import milliseconds
from hansard.model import Segment, Transcript

VERSION = 1
"""Of the JSON format. A field more does not change it; anything a reader could trip over does."""

_SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


class Document(Transcript, frozen=True, kw_only=True, tag_field="format", tag="hansard.transcript"):
    """The JSON format: a transcript, and in front of it ``format`` and ``version``.

    Fields that have their default are left out. Times are seconds from the start of the
    recording; ``created`` is seconds since the epoch.
    """

    version: Literal[1]


class _Envelope(msgspec.Struct):
    format: str = ""
    version: int = 0


def _encode(value: Any) -> bytes:
    """JSON in UTF-8, fields in the order of their type; lone surrogates become U+FFFD.

    Names of files that are not UTF-8 hold such surrogates, and JSON cannot.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(value)))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return wording.encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def _listed(out: BinaryIO, items: Iterator[bytes]) -> None:
    """A JSON array, an item a line."""
    out.write(b"[")
    for number, item in enumerate(items):
        out.write(b",\n" if number else b"\n")
        out.write(item)
    out.write(b"\n]")


def json(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """Hansard's own JSON, a segment a line: everything that is known. One walk.

    Text is kept as it was heard: JSON needs no cleaning, and nothing may be lost here.
    """
    del layout
    opening = _encode(msgspec.structs.replace(head, segments=()))
    out.write(f'{{"format":"hansard.transcript","version":{VERSION},'.encode())
    out.write(opening[1:-1])
    out.write(b',"segments":')
    _listed(out, (_encode(segment) for segment in segments()))
    out.write(b"}\n")


def read_json(data: bytes) -> Transcript:
    """What ``json`` wrote, as a value.

    Raises:
        BadInput: not JSON, not a transcript, or of a version this Hansard does not know.
    """
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        if envelope.format == "hansard.transcript" and envelope.version > VERSION:
            raise BadInput(
                f"This transcript is of version {envelope.version}; "
                f"this Hansard reads up to version {VERSION}.",
                hint="Update Hansard, or write the transcript again with this one.",
            )
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            f"This is not a transcript in Hansard's JSON: {error}",
            hint="Give a file made with --format json; docs/formats.md describes it.",
        ) from error
    fields = {name: getattr(document, name) for name in Transcript.__struct_fields__}
    return Transcript(**fields)


def schema() -> bytes:
    """The JSON Schema (draft 2020-12) of the JSON format, as it is published."""
    (root,), definitions = msgspec.json.schema_components([Document], ref_template="#/$defs/{name}")
    described = {
        "$schema": _SCHEMA_ID,
        "title": f"Hansard transcript, version {VERSION}",
        **root,
        "$defs": definitions,
    }
    return (
        msgspec.json.format(msgspec.json.encode(described, order="deterministic"), indent=2) + b"\n"
    )


def verbose_json(
    head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD
) -> None:
    """OpenAI's ``verbose_json``, as ``openai.types.audio.TranscriptionVerbose`` reads it.

    Its type wants figures that not every engine gives. ``compression_ratio`` is then computed
    as Whisper does; ``temperature``, ``avg_logprob`` and ``no_speech_prob`` are 0.0. ``seek`` is
    the segment's start in hundredths of a second, Whisper's frames. A segment's text begins with
    a space, as Whisper's does, so that joined segments are the whole text. Three walks.
    """
    out.write(b'{"task":' + _encode(head.task) + b',"language":')
    out.write(_encode(english_name(head.language)) + b',"duration":')
    out.write(_encode(float(head.seconds)) + b',"text":"')
    for number, segment in enumerate(segments()):
        text = segment.text.strip()
        out.write(_encode(f" {text}" if number else text)[1:-1])
    out.write(b'"')
    if layout.segments:
        out.write(b',"segments":')
        _listed(out, (_encode(_verbose(i, segment)) for i, segment in enumerate(segments())))
    if layout.words:
        out.write(b',"words":')
        _listed(
            out,
            (
                _encode({"word": word.text.strip(), "start": word.start, "end": word.end})
                for segment in segments()
                for word in segment.words
            ),
        )
    usage = {"type": "duration", "seconds": math.ceil(head.seconds)}
    out.write(b',"usage":' + _encode(usage) + b"}\n")


def _verbose(number: int, segment: Segment) -> dict[str, Any]:
    text = segment.text.strip()
    ratio = segment.compression_ratio
    if ratio is None:
        encoded = wording.encodable(text).encode()
        ratio = round(len(encoded) / len(zlib.compress(encoded)), 6)
    return {
        "id": number,
        "seek": round(segment.start * 100),
        "start": float(segment.start),
        "end": float(segment.end),
        "text": f" {text}",
        "tokens": segment.tokens,
        "temperature": _figure(segment.temperature),
        "avg_logprob": _figure(segment.avg_logprob),
        "compression_ratio": ratio,
        "no_speech_prob": _figure(segment.no_speech_prob),
    }


def _figure(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def tsv(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """Whisper's TSV: ``start`` and ``end`` in whole milliseconds, ``text``. One walk."""
    del head, layout
    out.write(b"start\tend\ttext\n")
    for segment in segments():
        text = wording.clean(segment.text)
        out.write(f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{text}\n".encode())


_COLUMNS = (
    "segment",
    "start",
    "end",
    "channel",
    "speaker",
    "paragraph",
    "language",
    "confidence",
    "text",
)


def csv_table(
    head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD
) -> None:
    """CSV for spreadsheets (RFC 4180, CRLF), a segment a row. One walk.

    UTF-8 with a byte order mark, without which Excel takes it for something else (read it with
    ``utf-8-sig``). Cells that would be computed as formulas begin with an apostrophe.
    ``confidence`` is the mean of the words', where the engine gives any.
    """
    del layout
    row = io.StringIO(newline="")
    writer = csv.writer(row)
    out.write(b"\xef\xbb\xbf")

    def write(values: tuple[object, ...]) -> None:
        writer.writerow(values)
        out.write(row.getvalue().encode())
        row.seek(0)
        row.truncate()

    write(_COLUMNS)
    for number, segment in enumerate(segments()):
        sure = [w.confidence for w in segment.words if w.confidence is not None]
        write(
            (
                number,
                f"{segment.start:.3f}",
                f"{segment.end:.3f}",
                segment.channel,
                wording.cell(segment.speaker or ""),
                segment.paragraph,
                wording.cell(segment.language or head.language or ""),
                f"{sum(sure) / len(sure):.3f}" if sure else "",
                wording.cell(segment.text),
            )
        )
