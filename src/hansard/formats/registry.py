"""The formats by name, and one way to call each of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from hansard import telemetry
from hansard.errors import UnknownFormat
from hansard.formats import data, documents, labels, subtitles
from hansard.formats.layout import STANDARD, Layout, Segments, Writer, view
from hansard.model import Transcript, Value


class Format(Value, frozen=True):
    """One output format. ``extension`` begins with a dot; ``binary`` is nothing for a terminal."""

    name: str
    extension: str
    media_type: str
    description: str
    writer: Writer
    binary: bool = False

    def write(
        self, head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD
    ) -> None:
        """Write a transcript: piece by piece, the same bytes for the same input.

        ``head.segments`` is not looked at. ``segments`` is called once for each walk.
        """
        with telemetry.span(f"format.{self.name}"):
            self.writer(head, segments, out, layout)


_FORMATS = (
    Format("txt", ".txt", "text/plain; charset=utf-8", "plain text in paragraphs", documents.txt),
    Format(
        "md",
        ".md",
        "text/markdown; charset=utf-8",
        "Markdown with times, speakers and gaps",
        documents.md,
    ),
    Format(
        "docx",
        ".docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "Word, as the Markdown",
        documents.docx,
        binary=True,
    ),
    Format(
        "json", ".json", "application/json", "everything that is known; can be read back", data.json
    ),
    Format(
        "verbose_json",
        ".verbose.json",
        "application/json",
        "OpenAI's verbose JSON",
        data.verbose_json,
    ),
    Format("srt", ".srt", "application/x-subrip", "SubRip subtitles", subtitles.srt),
    Format(
        "vtt",
        ".vtt",
        "text/vtt; charset=utf-8",
        "WebVTT subtitles with voices and cue settings",
        subtitles.vtt,
    ),
    Format(
        "ttml",
        ".ttml",
        "application/ttml+xml",
        "TTML2 subtitles, IMSC 1.1 text profile",
        subtitles.ttml,
    ),
    Format(
        "tsv",
        ".tsv",
        "text/tab-separated-values; charset=utf-8",
        "Whisper's table: milliseconds and text",
        data.tsv,
    ),
    Format("csv", ".csv", "text/csv; charset=utf-8", "a table for spreadsheets", data.csv_table),
    Format(
        "ctm",
        ".ctm",
        "text/plain; charset=utf-8",
        "NIST's words with times, for scoring",
        labels.ctm,
    ),
    Format(
        "rttm",
        ".rttm",
        "text/plain; charset=utf-8",
        "NIST's turns: who spoke when",
        labels.rttm,
    ),
    Format(
        "textgrid",
        ".TextGrid",
        "text/plain; charset=utf-8",
        "Praat's tiers of segments and words",
        labels.textgrid,
    ),
)
_BY_NAME = {known.name: known for known in _FORMATS}
ALIASES = {
    "text": "txt",
    "plain": "txt",
    "markdown": "md",
    "word": "docx",
    "verbose": "verbose_json",
    "subrip": "srt",
    "webvtt": "vtt",
    "imsc": "ttml",
    "praat": "textgrid",
}
"""Other names that ``get`` takes."""


def names() -> tuple[str, ...]:
    """The formats' names, in the order they are shown."""
    return tuple(_BY_NAME)


def get(name: str) -> Format:
    """The format of this name or alias, in any case, with or without a leading dot.

    Raises:
        UnknownFormat: the hint lists the names.
    """
    key = name.strip().lower().removeprefix(".")
    found = _BY_NAME.get(ALIASES.get(key, key))
    if found is None:
        raise UnknownFormat(
            f"There is no output format {name!r}.", hint=f"Formats: {', '.join(names())}."
        )
    return found


def of_path(path: Path) -> Format | None:
    """The format that a file's extension names; ``None`` where it names none."""
    ending = path.name.lower()
    # The longest first: .verbose.json also ends with .json.
    for known in sorted(_FORMATS, key=lambda f: -len(f.extension)):
        if ending.endswith(known.extension.lower()):
            return known
    return None


def render(transcript: Transcript, name: str, layout: Layout = STANDARD) -> bytes:
    """A transcript that is in memory, in a format, as bytes.

    Raises:
        UnknownFormat: as ``get``.
    """
    out = io.BytesIO()
    get(name).write(*view(transcript), out, layout)
    return out.getvalue()
