"""What was heard, word by word, in recording time: the one currency of joining.

Engines answer in utterances of window time; some time their words, some do not, some put a space
before each, some write a script that has none. Here all become :class:`Heard`, which knows when
it was said and carries its text exactly as the engine spaced it. An utterance without word times
is spread over its length by the number of its letters: packed windows hold speech and little
else, so letters measure time well enough to cut and to order by, but such times are not shown as
words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hansard.audio.windows import piece_at
from hansard.model import SAMPLE_RATE, Utterance, Window, WindowResult, Word
from hansard.speech.guards import SPACELESS_SIGNS

_TOKEN = re.compile(rf"\s*(?:[{SPACELESS_SIGNS}][^\w\s]*|(?:(?![{SPACELESS_SIGNS}])\S)+)")
_UNSPACED = re.compile(rf"[{SPACELESS_SIGNS}\u3000-\u303f\uff00-\uff65]")
"""A sign beside which no space is put: those scripts and their full-width punctuation."""
_CLOSING = re.compile(
    r"[^\w\s(\[{\u00a1\u00ab\u00bf\u2018\u201c\u3008\u300a\u300c\u300e\u3010\uff08]+"
)
"""Punctuation that belongs to the word it follows: all but what opens a bracket or a quotation."""
_ALPHANUMERIC = re.compile(r"\w")


class Heard(NamedTuple):
    """A word, or what an engine treats as one. ``start`` and ``end`` are recording time."""

    start: float
    end: float
    text: str
    """As the engine spaced it, with any space before it and its punctuation."""
    first: bool
    """Whether its utterance begins with it."""
    timed: bool
    """Whether the engine said when it was spoken."""
    confidence: float | None
    utterance: Utterance
    language: str | None

    @property
    def middle(self) -> float:
        """The instant that says to which piece, window or side of a cut it belongs."""
        return (self.start + self.end) / 2


def heard(window: Window, result: WindowResult) -> list[Heard]:
    """All that was heard in a window, in the engine's order, each inside one piece."""
    found: list[Heard] = []
    for utterance in result.utterances:
        for first, (start, end, text, confidence) in enumerate(_tokens(utterance)):
            began, ended = _in_one_piece(window, start, max(start, end))
            found.append(
                Heard(
                    began,
                    ended,
                    text,
                    first == 0,
                    bool(utterance.words),
                    confidence,
                    utterance,
                    result.language,
                )
            )
    return found


def written(parts: Sequence[Heard]) -> str:
    """Their text in a row; a space between utterances where the script has spaces."""
    text = ""
    for part in parts:
        if (
            text
            and part.first
            and part.text
            and not text[-1].isspace()
            and not part.text[0].isspace()
            and not (_UNSPACED.match(text[-1]) and _UNSPACED.match(part.text[0]))
        ):
            text += " "
        text += part.text
    return re.sub(r"[\t\r\n]+ *", " ", text).strip()


def _tokens(utterance: Utterance) -> Iterator[tuple[float, float, str, float | None]]:
    """Start, end (window time), text as spaced, confidence: of each word, said or reckoned."""
    if utterance.words:
        texts = spaced(utterance.text, utterance.words)
        for word, text in zip(utterance.words, texts, strict=True):
            if text.strip():
                yield word.start, word.end, text, word.confidence
        return
    tokens = _TOKEN.findall(utterance.text)
    letters = sum(len(token.strip()) for token in tokens)
    length = max(0.0, utterance.end - utterance.start)
    done = 0
    for token in tokens:
        start = utterance.start + length * done / letters
        done += len(token.strip())
        yield start, utterance.start + length * done / letters, token, None


def spaced(text: str, words: Sequence[Word]) -> list[str]:
    """The text cut up after each of its words: joined with nothing between, it is the text again.

    Text that is in no word goes with the word after it, or the last. Where the words are not those
    of the text, their own spaces count; where they have none either, words are parted by a space
    in scripts that have it.
    """
    cut: list[str] = []
    at = 0
    for word in words:
        bare = word.text.strip()
        found = text.find(bare, at)
        if found < 0 or _ALPHANUMERIC.search(text, at, found):
            whole = re.compile(rf"(?<!\w){re.escape(bare)}(?!\w)").search(text, at)
            if whole is None:
                break
            found = whole.start()
        closing = _CLOSING.match(text, at, found) if cut else None
        if closing:
            cut[-1] += closing[0]
            at = closing.end()
        cut.append(text[at : found + len(bare)])
        at = found + len(bare)
    if cut and len(cut) == len(words):
        cut[-1] += text[at:].rstrip()
        return cut
    if any(word.text[:1].isspace() or word.text[-1:].isspace() for word in words):
        return [word.text for word in words]
    own: list[str] = []
    for word in words:
        glued = own and _UNSPACED.match(own[-1][-1:]) and _UNSPACED.match(word.text)
        own.append(word.text if glued or not own else f" {word.text}")
    return own


def _in_one_piece(window: Window, start: float, end: float) -> tuple[float, float]:
    """Recording time of a stretch of window time, clipped to the piece that holds its middle."""
    index = piece_at(window, (start + end) / 2, "start")
    piece = window.pieces[index]
    packed = sum(earlier.length for earlier in window.pieces[:index])

    def recorded(seconds: float) -> float:
        within = min(max(seconds * SAMPLE_RATE - packed, 0.0), float(piece.length))
        return (piece.start + within) / SAMPLE_RATE

    return recorded(start), recorded(end)
