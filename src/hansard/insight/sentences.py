"""Segments → sentences that know which segments they stand in. Pure.

A sentence may run over several segments, and a segment may hold several sentences. Where the engine
wrote no marks (PocketSphinx), a segment is a sentence: it ended at a pause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from hansard.insight import languages
from hansard.model import Segment, Value

MOST_WORDS = 80
"""A sentence that is longer is cut: nobody reads it, and rules look at one clause of it anyway."""

JOIN_GAP = 2.0
"""Seconds of pause after which a sentence does not go on in the next segment."""

BREATH = 0.6
"""Seconds of pause between a name that somebody calls and what they want: one sentence."""

FEW_WORDS = 100
"""Words that may well have no comma among them."""

_END = re.compile(r"[.!?…。！？।][\"'”’»)\]]*$")  # noqa: RUF001  (as other scripts write them)
_BREAK = re.compile(
    r"(?<=[.!?…])[\"'”’»)\]]*\s+(?=[\"'“‘«(\[¿¡]*[^\W_])|(?<=[。！？।])"  # noqa: RUF001  (likewise)
)
_SHORT = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|jr|sr|nr|vs|etc|approx|e\.g|i\.e|z\.b|d\.h|bzw|ca|usw|mme|m|"
    r"sra?|dra?|[a-z])|\b\d{1,2})\.$",
    re.IGNORECASE,
)
"""Ends with a stop that ends no sentence: a title, an initial, ``z. B.``, a German ordinal."""


class Sentence(Value, frozen=True):
    """A sentence as it was said. Times are seconds from the start of the recording."""

    text: str
    segments: tuple[int, ...]
    """Positions of the segments that it stands in, ascending."""
    words: tuple[str, ...]
    """Its words in lower case, without marks."""
    speaker: str | None
    start: float
    end: float

    @property
    def asked(self) -> bool:
        """Whether it ends with a question mark."""
        return self.text.rstrip("\"'”’»)] ").endswith(("?", "？"))  # noqa: RUF001  (Chinese)


def split(segments: Sequence[Segment]) -> list[Sentence]:
    """All sentences, in order; segments without any word are left out."""
    marked = is_marked(segments)
    return list(_cut(_joined(segments, marked=marked)))


def is_marked(segments: Sequence[Segment]) -> bool:
    """Whether the transcript has marks at all: most of what was said ends with one."""
    said = [segment.text.strip() for segment in segments if segment.text.strip()]
    return sum(bool(_END.search(text)) for text in said) * 2 > len(said)


def is_punctuated(segments: Sequence[Segment]) -> bool:
    """Whether its marks mean something: whoever writes a question mark always writes commas too.

    What PocketSphinx heard gets a stop at every pause, and a question mark only where it is sure.
    """
    words = commas = 0
    for segment in segments:
        words += segment.text.count(" ") + 1
        commas += any(mark in segment.text for mark in ",;、，،")  # noqa: RUF001  (Chinese)
    return is_marked(segments) and (commas > 0 or words < FEW_WORDS)


def language_of(sentences: Sequence[Sentence], language: str | None) -> tuple[str | None, bool]:
    """The language, and whether it is a guess from the words."""
    known = languages.plain(language)
    if known:
        return known, False
    return languages.guess(word for sentence in sentences for word in sentence.words), True


_Piece = tuple[str, int]
"""Some text, and the position of the segment that it is in."""


def _joined(segments: Sequence[Segment], *, marked: bool) -> Iterator[list[tuple[_Piece, Segment]]]:
    """Pieces of segments, those of one sentence together."""
    open_: list[tuple[_Piece, Segment]] = []
    count = 0
    for position, segment in enumerate(segments):
        text = " ".join(segment.text.split())
        if not text:
            continue
        if open_ and not _goes_on(open_[-1][1], segment, count, marked=marked):
            yield open_
            open_, count = [], 0
        parts = parted(text)
        for number, part in enumerate(parts):
            if number:
                yield open_
                open_, count = [], 0
            open_.append(((part, position), segment))
            count += part.count(" ") + 1
        if marked and _END.search(text) and not _SHORT.search(text):
            yield open_
            open_, count = [], 0
    if open_:
        yield open_


def _goes_on(before: Segment, after: Segment, count: int, *, marked: bool) -> bool:
    if before.speaker != after.speaker or before.channel != after.channel:
        return False
    gap = after.start - before.end
    if marked:
        first = after.text.lstrip()[:1]
        return gap < JOIN_GAP and count < MOST_WORDS and not first.isupper()
    return gap < BREATH and count <= 2


def parted(text: str) -> list[str]:
    """The sentences of a text, without white space around them."""
    parts: list[str] = []
    breaks = [0, *(found.end() for found in _BREAK.finditer(text)), len(text)]
    for part in (text[a:b].strip() for a, b in pairwise(breaks)):
        if parts and _SHORT.search(parts[-1]):
            parts[-1] += f" {part}"
        elif part:
            parts.append(part)
    return parts


def _cut(joined: Iterator[list[tuple[_Piece, Segment]]]) -> Iterator[Sentence]:
    for pieces in joined:
        for run in _bounded(pieces):
            text = " ".join(part for (part, _), _ in run)
            words = languages.words(text)
            if words:
                yield Sentence(
                    text=text,
                    segments=tuple(dict.fromkeys(position for (_, position), _ in run)),
                    words=words,
                    speaker=run[0][1].speaker,
                    start=run[0][1].start,
                    end=max(segment.end for _, segment in run),
                )


def _bounded(
    pieces: list[tuple[_Piece, Segment]],
) -> Iterator[list[tuple[_Piece, Segment]]]:
    """A sentence without an end is cut at ``MOST_WORDS``."""
    run: list[tuple[_Piece, Segment]] = []
    count = 0
    for (text, position), segment in pieces:
        words = text.split(" ")
        for at in range(0, len(words), MOST_WORDS):
            part = words[at : at + MOST_WORDS]
            if run and count + len(part) > MOST_WORDS:
                yield run
                run, count = [], 0
            run.append(((" ".join(part), position), segment))
            count += len(part)
    if run:
        yield run
