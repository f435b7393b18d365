"""Meetings in bulk: as JSON lines or as a ZIP, made while it is sent.

Nothing is held but a page of ids and a piece of one transcript, however many meetings there are.
The ZIP is written without ever going back (its entries have their sizes behind them), so it can be
sent down a line. What is in the archive is named, and left where it is.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from hansard.errors import Archived, UnknownMeeting
from hansard.formats import wording
from hansard.formats.layout import Segments
from hansard.formats.registry import Format
from hansard.meetings import reading
from hansard.store import meeting_views, meetings, transcripts
from hansard.store.database import Database
from hansard.store.meeting_views import Filter

PIECE = 256 * 1024
"""Bytes that are given at once."""

_encode = msgspec.json.Encoder().encode

_SHORT = 1000
"""Segments up to which a transcript is held while it is written in all formats: 5 MB."""


def lines(database: Database, tenant: str, wanted: Filter) -> Iterator[bytes]:
    """A line of JSON for each meeting: what it is, who spoke, what was found, corrected and said.

    Segments are as they are stored: they name speakers by labels, which ``speakers`` explains. In
    pieces: a line ends with a newline, a piece anywhere.
    """
    return _gathered(_lines(database, tenant, wanted))


def _lines(database: Database, tenant: str, wanted: Filter) -> Iterator[bytes]:
    for job in meeting_views.walk(database, tenant, wanted):
        about = _about(database, tenant, job)
        if about is None:
            continue  # removed meanwhile
        yield about[:-1]
        try:
            head = transcripts.head(database, job)
        except Archived:
            yield b',"archived":true}\n'
            continue
        if head is not None:
            yield b',"transcript":' + _encode(head)[:-1] + b',"segments":['
            yield from meeting_views.bodies(database, job)
            yield b"]}"
        yield b"}\n"


def _about(database: Database, tenant: str, job: str) -> bytes | None:
    """Everything about a meeting but its words, as a JSON object."""
    made = meeting_views.one(database, tenant, job)
    if made is None:
        return None
    with database.read() as connection:
        speakers = meetings.speakers_of(connection, job)
        corrections = meetings.corrections_of(connection, job)
        try:
            found = reading.every(connection, job, corrections)
        except UnknownMeeting:
            return None
    return _encode(
        {
            "meeting": msgspec.Raw(made),
            "speakers": speakers,
            "findings": found,
            "corrections": corrections,
        }
    )


def packed(
    database: Database, tenant: str, wanted: Filter, formats: Sequence[Format]
) -> Iterator[bytes]:
    """A ZIP with a folder for each meeting: ``meeting.json``, and its transcript in each format.

    At its end ``index.jsonl`` says what is in there, and what is not, and why.
    """
    return _gathered(_packed(database, tenant, wanted, formats))


class _Line(io.RawIOBase):
    """Somewhere to write that cannot be sought in; what was written is taken from it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """All since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _packed(
    database: Database, tenant: str, wanted: Filter, formats: Sequence[Format]
) -> Iterator[bytes]:
    line = _Line()
    index: list[bytes] = []
    with zipfile.ZipFile(line, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for job in meeting_views.walk(database, tenant, wanted):
            about = _about(database, tenant, job)
            if about is None:
                continue
            named = msgspec.json.decode(about, type=_Named).meeting
            folder = (
                f"{datetime.fromtimestamp(named.held, UTC):%Y-%m-%d} {_plain(named.title)} {job}"
            )
            with archive.open(_entry(f"{folder}/meeting.json"), "w") as out:
                out.write(about)
            yield line.taken()
            said: dict[str, Any] = {"id": job, "folder": folder}
            try:
                head = transcripts.head(database, job)
            except Archived:
                head, said["archived"] = None, True
            if head is not None:
                segments = _walks(database, job, named.segments)
                for chosen in formats:
                    entry = _entry(f"{folder}/transcript{chosen.extension}")
                    # Formats write words; packing each by itself would cost more than making it.
                    with archive.open(entry, "w") as out, io.BufferedWriter(out, PIECE) as held:
                        chosen.write(head, segments, held)
                    yield line.taken()
                said["formats"] = [chosen.name for chosen in formats]
            index.append(_encode(said))
        with archive.open(_entry("index.jsonl"), "w") as out:
            out.write(b"\n".join([*index, b""]))
    yield line.taken()


def _walks(database: Database, job: str, count: int) -> Segments:
    """Walks over a transcript, for several formats: of a short one it is read once."""
    if count > _SHORT:
        return partial(transcripts.stream, database, job)
    held = tuple(transcripts.stream(database, job))
    return lambda: iter(held)


class _Title(msgspec.Struct):
    title: str
    held: float
    segments: int


class _Named(msgspec.Struct):
    meeting: _Title


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.gmtime()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _plain(title: str) -> str:
    """A title as part of a file's name, on any system."""
    kept = (letter if letter.isalnum() or letter in " -_.," else " " for letter in title)
    return " ".join(wording.clean("".join(kept)).split())[:80].strip(". ") or "meeting"


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces together, so that few are sent."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
