"""Segments as they were before several speakers were found in them, and pieces of them again."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec.structs import replace

from hansard.model import Segment


def whole(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Glue what an earlier run has split: pieces of one sentence become one segment again."""
    for _, run in groupby(enumerate(segments), key=lambda pair: _of(*pair)):
        pieces = [segment for _, segment in run]
        first = pieces[0]
        if len(pieces) == 1:
            yield replace(first, sentence=None, speaker=None)
            continue
        text = first.text
        for piece in pieces[1:]:
            text += _between(text, piece.text) + piece.text
        yield replace(
            first,
            end=max(piece.end for piece in pieces),
            text=text,
            words=tuple(word for piece in pieces for word in piece.words),
            sentence=None,
            speaker=None,
        )


def _of(position: int, segment: Segment) -> tuple[int, int, int]:
    """Equal for pieces of one sentence."""
    if segment.sentence is None:
        return -1, position, segment.channel
    return segment.sentence, -1, segment.channel


def numbered(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Each with its number, so that pieces of it can be told from other segments."""
    for number, segment in enumerate(segments):
        yield replace(segment, sentence=number)


def settled(segments: Iterable[Segment]) -> Iterator[Segment]:
    """The number is kept only where a sentence is in several pieces."""
    for _, run in groupby(segments, key=lambda segment: (segment.sentence, segment.channel)):
        pieces = list(run)
        if len(pieces) == 1:
            yield replace(pieces[0], sentence=None)
        else:
            yield from pieces


def _between(left: str, right: str) -> str:
    """A space, but not in scripts that write words without any."""
    if not left or not right or left[-1].isspace() or right[0].isspace():
        return ""
    wide = all(unicodedata.east_asian_width(letter) in "WF" for letter in (left[-1], right[0]))
    return "" if wide else " "
