"""A segment's text in the smallest pieces that a line may be broken into, each with its time.

Pieces are words where the script has spaces. Chinese and Japanese have none: there a line may be
broken between the engine's words where they are known, else between characters, but never before
a closing mark or after an opening one (the core of JIS X 4051's *kinsoku*). A single word that
is wider than a line is the only one that is ever cut.

Times come from the words where the engine gave them and they spell the text; otherwise each
character gets its share of the segment, by width.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from hansard.formats.wording import clean
from hansard.model import Segment, Value, Word

_TOKEN = re.compile(r"[^ ]+")
_NOT_AT_START = frozenset("ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々ゝゞヽヾ")
"""Besides closing marks and other punctuation, which Unicode's categories name."""
_FIRST_IDEOGRAPHIC = "\u2e80"
_IDEOGRAPHIC = (
    (0x2E80, 0x312F),  # radicals, kana, Bopomofo, CJK punctuation
    (0x3190, 0x4DBF),
    (0x4E00, 0xA4CF),
    (0xF900, 0xFAFF),
    (0xFE30, 0xFE4F),
    (0xFF01, 0xFF9F),
    (0x1B000, 0x1B2FF),
    (0x20000, 0x3FFFD),
)


class Piece(Value, frozen=True):
    """An unbreakable piece of text. ``start`` and ``end`` are seconds of the recording.

    ``width`` is columns; ``spaced``: a space stands before it when it is not first in a line.
    """

    text: str
    width: int
    spaced: bool
    start: float
    end: float


@lru_cache(maxsize=4096)
def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width(text: str) -> int:
    """Columns that the text takes: two for East Asian wide, none for marks without width."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def split(segment: Segment, max_width: int) -> list[Piece]:
    """The segment's cleaned text in pieces of at most ``max_width`` columns, in order.

    Times never run backwards and stay inside the segment.
    """
    text = clean(segment.text)
    if segment.words and (paired := _paired(text, segment, max_width)):
        return paired
    times: _Times = _times_from_words(text, segment) or _ByWidth(text, segment)
    pieces = []
    for token in _TOKEN.finditer(text):
        for a, b in _breakable(text, token.start(), token.end(), times, max_width):
            start, end = times.between(a, b)
            pieces.append(
                Piece(text[a:b], width(text[a:b]), a == token.start() and a > 0, start, end)
            )
    return pieces


def words(segment: Segment) -> Iterator[Word]:
    """The segment's words with times: the engine's own, else shares of the segment.

    Words hold no white space; an engine's word that does is given as its parts. Times never run
    backwards and stay inside the segment.
    """
    if not segment.words:
        for piece in split(Segment(segment.start, segment.end, segment.text), 10_000):
            yield Word(piece.start, piece.end, piece.text)
        return
    for word, start, end in _tidy_times(segment):
        parts = clean(word.text).split()
        letters = sum(map(len, parts))
        now, done = start, 0
        for part in parts:
            done += len(part)
            then = end if done == letters else start + (end - start) * done / letters
            yield Word(now, then, part, word.confidence)
            now = then


def _paired(text: str, segment: Segment, max_width: int) -> list[Piece] | None:
    """The pieces where each word of the text is one of the engine's and none need be cut.

    So it nearly always is, and no letter need be looked at by itself. ``None`` where it is not.
    """
    tokens = text.split()
    if len(tokens) != len(segment.words):
        return None
    pieces: list[Piece] = []
    for token, (word, start, end) in zip(tokens, _tidy_times(segment), strict=True):
        wide = width(token)
        if (
            wide > max_width
            or (token != word.text and _letters(token) != _letters(word.text))
            or not (token.isalnum() or _letters(token))
            or not (token.isascii() or _plain(token))
        ):
            return None
        pieces.append(Piece(token, wide, bool(pieces), start, end))
    return pieces


def _plain(token: str) -> bool:
    """Whether no letter is spelt with two others, and no line may end in it."""
    return len(token.casefold()) == len(token) and max(token) < _FIRST_IDEOGRAPHIC


def _letters(text: str) -> str:
    return "".join(letter for letter, _ in _spelling(text))


class _Times(Protocol):
    """When each character that is heard is heard."""

    def between(self, a: int, b: int) -> tuple[float, float]:
        """Times of ``text[a:b]``, in which there is no space."""

    def same_word(self, a: int) -> bool:
        """Whether the characters either side of position ``a`` belong to one known word."""


@dataclass(frozen=True, slots=True)
class _OfWords:
    """As the engine has it: parallel lists, sorted by ``at``."""

    at: list[int]
    starts: list[float]
    ends: list[float]
    owners: list[int]

    def between(self, a: int, b: int) -> tuple[float, float]:
        """Text that is not heard lies where the text before it ends."""
        first, after = bisect_left(self.at, a), bisect_left(self.at, b)
        if first < after:
            return self.starts[first], self.ends[after - 1]
        moment = self.ends[first - 1] if first else self.starts[0]
        return moment, moment

    def same_word(self, a: int) -> bool:
        """Whether one word holds both."""
        i = bisect_left(self.at, a)
        return 0 < i < len(self.at) and self.owners[i - 1] == self.owners[i]


def _spelling(text: str) -> Iterator[tuple[str, int]]:
    """Letters and digits without case, each with its position: what words and text share."""
    for at, character in enumerate(text):
        for letter in character.casefold():
            if letter.isalnum():
                yield letter, at


def _tidy_times(segment: Segment) -> Iterator[tuple[Word, float, float]]:
    now, last = segment.start, max(segment.end, segment.start)
    for word in segment.words:
        start = min(max(word.start, now), last)
        now = min(max(word.end, start), last)
        yield word, start, now


def _times_from_words(text: str, segment: Segment) -> _OfWords | None:
    """Times from the words, if these spell the text but for case, spaces and punctuation."""
    of_text = list(_spelling(text))
    at: list[int] = []
    starts: list[float] = []
    ends: list[float] = []
    owners: list[int] = []
    taken = 0
    for number, (word, start, end) in enumerate(_tidy_times(segment)):
        letters = [letter for letter, _ in _spelling(word.text)]
        mine = of_text[taken : taken + len(letters)]
        if [letter for letter, _ in mine] != letters:
            return None
        step = (end - start) / len(letters) if letters else 0.0
        for i, (_, position) in enumerate(mine):
            if at and at[-1] == position:  # ß is spelt with two letters
                ends[-1] = start + step * (i + 1)
                continue
            at.append(position)
            starts.append(start + step * i)
            ends.append(start + step * (i + 1) if i + 1 < len(letters) else end)
            owners.append(number)
        taken += len(letters)
    return _OfWords(at, starts, ends, owners) if at and taken == len(of_text) else None


class _ByWidth:
    """Each character's share of the segment, by its width."""

    def __init__(self, text: str, segment: Segment) -> None:
        self._upto = [0, *accumulate(map(_columns, text))]
        self._start = segment.start
        self._length = max(0.0, segment.end - segment.start)

    def between(self, a: int, b: int) -> tuple[float, float]:
        """The end of one is the start of the next."""
        return self._moment(a), self._moment(b)

    def _moment(self, at: int) -> float:
        return self._start + self._length * (self._upto[at] / (self._upto[-1] or 1))

    def same_word(self, a: int) -> bool:
        """No word is known."""
        del a
        return False


def _ideographic(character: str) -> bool:
    code = ord(character)
    return any(low <= code <= high for low, high in _IDEOGRAPHIC)


def _breakable(
    text: str, begin: int, end: int, times: _Times, max_width: int
) -> Iterator[tuple[int, int]]:
    """Cut a token without spaces where a line may end in it."""
    a = begin
    if not text[begin:end].isascii():
        for i in range(begin + 1, end):
            before, after = text[i - 1], text[i]
            if (
                (_ideographic(before) or _ideographic(after))
                and after not in _NOT_AT_START
                and unicodedata.category(after) not in ("Pe", "Pf", "Po", "Mn", "Mc", "Me")
                and unicodedata.category(before) not in ("Ps", "Pi", "Sc")
                and not times.same_word(i)
            ):
                yield from _cut(text, a, i, max_width)
                a = i
    yield from _cut(text, a, end, max_width)


def _cut(text: str, a: int, b: int, max_width: int) -> Iterator[tuple[int, int]]:
    """Cut a word that is wider than a line; marks stay with the letter they belong to."""
    if width(text[a:b]) <= max_width:
        yield a, b
        return
    columns = 0
    for i in range(a, b):
        step = _columns(text[i])
        if columns + step > max_width:
            yield a, i
            a, columns = i, 0
        columns += step
    yield a, b
