"""Bare words with times → sentences that people can read. Pure.

PocketSphinx writes ``i'm sure mr smith agrees`` without an end. Here a pause ends a sentence, a
sentence begins with a capital, and words that always have one get it. The words stay what was
heard: only the case of letters and a mark at the end of a sentence are added, never a comma
(nothing in the sound says where one goes) and never a number in digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from hansard.model import Word

PAUSE = 0.3
"""Seconds without a word that end a sentence. Read and spoken English pauses for 0.1 to 0.25 s
at commas and for 0.35 s and more at full stops; on the sample meeting 0.28 to 0.34 all give
the same sentences."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CAPITAL = _words(
    # March and May are left out: they are more often a walk and a possibility.
    "monday tuesday wednesday thursday friday saturday sunday january february april june july "
    "august september october november december christmas easter english british american europe "
    "european america britain england"
)
_TITLES = frozenset(("mr", "mrs", "ms", "messrs"))
"""Titles, without the stop that would look like the end of a sentence. The name after one gets
its capital."""

_SUBJECTS = _words(
    "i you he she it we they there anyone anybody everyone everybody someone somebody"
)
_SUBJECTS_OR_NAMED = _SUBJECTS | _words("the this that these those your our my his her")
_DO = _words("do does did can could will would don't doesn't didn't can't couldn't won't")
_BE = _words("is are am was has have isn't aren't wasn't haven't hasn't")
_AFTER_WH = _DO | _BE | {"were", "should", "had"}
_WH = _words("what where why when who whom which how")
_AMOUNT = _words("many much long often far old")
_SHORTEST_QUESTION = 3


def sentences(words: Sequence[Word], *, pause: float = PAUSE) -> list[tuple[Word, ...]]:
    """Cut words at pauses and write them as sentences.

    Args:
        words: in order of time, as the engine heard them; times in seconds.
        pause: seconds without a word that end a sentence.

    Returns:
        The same words with the same times in the same order, none left out. The words of a
        sentence joined by single spaces are its text.
    """
    return [tuple(_written(stretch)) for stretch in _stretches(words, pause)]


def _stretches(words: Sequence[Word], pause: float) -> Iterator[list[Word]]:
    stretch: list[Word] = []
    for word in words:
        if stretch and word.start - stretch[-1].end >= pause:
            yield stretch
            stretch = []
        stretch.append(word)
    if stretch:
        yield stretch


def _written(stretch: list[Word]) -> Iterator[Word]:
    bare = [word.text for word in stretch]
    mark = "?" if is_question(bare) else "."
    for index, word in enumerate(stretch):
        before = bare[index - 1] if index else None
        text = _cased(word.text, first=before is None, named=before in _TITLES)
        if index == len(stretch) - 1 and text[-1:] not in {".", "?", "!"}:
            text += mark
        yield word if text == word.text else msgspec.structs.replace(word, text=text)


def _cased(text: str, *, first: bool, named: bool) -> str:
    stem = text.partition("'")[0]
    initial = len(text) == 2 and text[0].isalpha() and text[1] == "."  # "u." of "u. s."
    if first or named or initial or stem == "i" or stem in _CAPITAL or stem in _TITLES:
        return _capital(text)
    return text


def _capital(text: str) -> str:
    """The first letter large, also behind an apostrophe: ``'til`` → ``'Til``."""
    for index, letter in enumerate(text):
        if letter.isalpha():
            large = letter.upper()
            # A letter that grows into two (ß) stays: capitals must not change the words.
            return text[:index] + large + text[index + 1 :] if len(large) == 1 else text
    return text


def is_question(words: Sequence[str]) -> bool:
    """Whether lower-case words are surely a question by their order alone.

    Rather a question missed than a statement questioned: ``had he known …``, ``what we need
    is …`` and ``is the …`` (so often the rest of a sentence after a pause) are statements here.
    """
    if len(words) < _SHORTEST_QUESTION:
        return False
    first, second, third = words[0], words[1], words[2]
    if first in _DO:
        return second in _SUBJECTS_OR_NAMED
    if first in _BE:
        return second in _SUBJECTS
    if first == "how" and second in _AMOUNT:
        # "how much do you need", "how many people will come"; not "how much there is".
        return third in _AFTER_WH or (
            len(words) > 3 and third not in _SUBJECTS_OR_NAMED and words[3] in _AFTER_WH
        )
    return first in _WH and second in _AFTER_WH and third in _SUBJECTS_OR_NAMED
