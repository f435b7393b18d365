"""How wrong a transcript is: the word error rate against what was really said.

``(substitutions + deletions + insertions) / words of the reference`` over the shortest edit path
(Levenshtein over words, by rapidfuzz), the measure that every speech paper reports. Both sides
are first brought to one form, in which only the words count: lower case, no punctuation, hyphens
and dashes between words are spaces. Numbers stay as they are written: ``7`` is not ``seven``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from hansard.model import Value

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})


class Errors(Value, frozen=True):
    """What stands between a transcript and the truth, in words. Adds up over recordings."""

    reference: int
    """Words that were said."""
    substitutions: int
    deletions: int
    insertions: int

    @property
    def rate(self) -> float:
        """Word error rate; may pass 1. Nothing said: 0 where nothing was heard, else infinite."""
        wrong = self.substitutions + self.deletions + self.insertions
        if not self.reference:
            return float("inf") if wrong else 0.0
        return wrong / self.reference

    def __add__(self, other: Errors) -> Errors:
        """The errors of both, as if they were one recording."""
        return Errors(
            self.reference + other.reference,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def normalise(text: str) -> list[str]:
    """The words of a text in the form in which they are compared.

    Apostrophes inside a word stay (``it's`` is one word), marks between digits too (``3.5``,
    ``10:30``); every other character that is not a letter, a digit or a combining mark parts words.
    """
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).casefold()
    kept = []
    for index, letter in enumerate(text):
        before = text[index - 1] if index else " "
        after = text[index + 1] if index + 1 < len(text) else " "
        inside = (letter == "'" and before.isalnum() and after.isalnum()) or (
            letter in ".,:" and before.isdigit() and after.isdigit()
        )
        word = letter.isalnum() or unicodedata.category(letter).startswith("M")
        kept.append(letter if word or inside else " ")
    return "".join(kept).split()


def word_errors(reference: str | Iterable[str], heard: str | Iterable[str]) -> Errors:
    """Compare what was heard with what was said.

    Args:
        reference: what was said; text, or words that are already normalised.
        heard: the transcript, likewise.

    Returns:
        The counts along one shortest path of edits, and through them the rate.
    """
    from rapidfuzz.distance import Levenshtein

    truth = normalise(reference) if isinstance(reference, str) else list(reference)
    words = normalise(heard) if isinstance(heard, str) else list(heard)
    kinds = [operation.tag for operation in Levenshtein.editops(truth, words)]
    return Errors(len(truth), kinds.count("replace"), kinds.count("delete"), kinds.count("insert"))
