"""A transcript as passages: stretches of some 60 to 120 words, what is embedded and cited.

A passage ends where a segment does, where somebody else begins to speak if that can be had; only a
segment of more than 200 words is taken apart. Cutting depends on the segments alone: done again it
gives the same passages, so their text need not be kept beside the transcript.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hansard.model import Segment, Value
from hansard.store import terms

FEWEST = 60
"""Words after which a passage ends at the next change of speaker."""

MOST = 120
"""Words of a passage; a segment of up to :data:`GIANT` may be a longer one by itself."""

GIANT = 200
"""Words of a segment beyond which it is taken apart."""

_UNSPACED = re.compile(f"[{terms.UNSPACED}]")
_PER_WORD = 2
"""Characters that stand for a word in scripts without spaces between words."""


class Passage(Value, frozen=True):
    """A stretch of a transcript. ``first`` and ``last`` are positions of segments."""

    position: int
    """The how-manieth of its transcript, from 0."""
    first: int
    last: int
    start: float
    """Seconds from the start of the recording."""
    end: float
    text: str


class _Piece(Value, frozen=True):
    """A segment, or a part of one."""

    number: int
    start: float
    end: float
    text: str
    speaker: str | None
    words: int


def cut(segments: Iterable[Segment]) -> Iterator[Passage]:
    """The passages of a transcript, in order. Segments without words are in none."""
    held: list[_Piece] = []
    words = count = 0
    for number, segment in enumerate(segments):
        for piece in _pieces(number, segment):
            turn = bool(held) and piece.speaker != held[-1].speaker
            if held and (words + piece.words > MOST or (words >= FEWEST and turn)):
                yield _passage(count, held)
                count += 1
                held, words = [], 0
            held.append(piece)
            words += piece.words
    if held:
        yield _passage(count, held)


def words_of(text: str) -> int:
    """How many words a text has; where there are no spaces, about as many as it would have."""
    unspaced = len(_UNSPACED.findall(text))
    return len(_UNSPACED.sub(" ", text).split()) + -(-unspaced // _PER_WORD)


def _passage(position: int, held: list[_Piece]) -> Passage:
    return Passage(
        position,
        held[0].number,
        held[-1].number,
        held[0].start,
        max(piece.end for piece in held),
        " ".join(piece.text for piece in held),
    )


def _pieces(number: int, segment: Segment) -> Iterator[_Piece]:
    text = " ".join(segment.text.split())
    words = words_of(text)
    if not any(character.isalnum() for character in text):
        return
    if words <= GIANT:
        yield _Piece(number, segment.start, segment.end, text, segment.speaker, words)
        return
    size = len(text)
    at = 0
    parts = -(-words // (MOST - FEWEST // 2))
    for part in range(1, parts + 1):
        to = size
        if part < parts:
            aim = max(at + 1, part * size // parts)
            blank = text.rfind(" ", at, aim)
            to = blank + 1 if blank > at else aim
        here = text[at:to].strip()
        if here:
            # Time within a segment goes with its letters: word times may be missing.
            span = segment.end - segment.start
            begun, ended = segment.start + span * at / size, segment.start + span * to / size
            yield _Piece(number, begun, ended, here, segment.speaker, words_of(here))
        at = to
