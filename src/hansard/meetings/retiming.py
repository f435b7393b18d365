"""A corrected text gets its words' times from the text as it was heard."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from msgspec.structs import replace

from hansard.model import Segment, Word

_WORD = re.compile(r"\S+")


def retimed(segment: Segment, text: str) -> Segment:
    """The segment with another text: words that stay keep their times, others share the gaps.

    Words are aligned by what they say, whatever their case and punctuation (Ratcliff and
    Obershelp, as ``difflib`` has it). What stands in the place of other words takes their time;
    what was added takes the pause that it was added in, divided by length of the words.
    """
    text = " ".join(text.split())
    fresh = _WORD.findall(text)
    if not segment.words:
        return replace(segment, text=text, tokens=())
    before = segment.words
    matcher = difflib.SequenceMatcher(
        None, [_plain(word.text) for word in before], [_plain(word) for word in fresh], False
    )
    words: list[Word] = []
    for what, a, b, c, d in matcher.get_opcodes():
        if what == "equal":
            pairs = zip(before[a:b], fresh[c:d], strict=True)
            words += [replace(word, text=said) for word, said in pairs]
        elif d > c:
            start = before[a].start if b > a else (before[a - 1].end if a else segment.start)
            end = (
                before[b - 1].end
                if b > a
                else (before[b].start if b < len(before) else segment.end)
            )
            words += _spread(fresh[c:d], start, max(start, end))
    return replace(segment, text=text, words=tuple(words), tokens=())


def _spread(texts: Sequence[str], start: float, end: float) -> list[Word]:
    """Words one after the other in a stretch, each as long as it is written."""
    whole = sum(map(len, texts))
    words = []
    at = start
    for text in texts:
        until = at + (end - start) * len(text) / whole
        words.append(Word(round(at, 3), round(until, 3), text))
        at = until
    return words


def _plain(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum()) or word.strip()
