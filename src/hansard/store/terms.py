"""Words as they are searched for: cut, folded and stemmed here, alike for both databases.

Neither database's own cutting and stemming is used: they differ (Porter and Snowball, other words
left out, other ideas of what a letter is), and so would what is found. What comes out are letters
and digits with single spaces between, which both take as they are.

English is stemmed by Snowball's algorithm (Porter 2, https://snowballstem.org); so are words whose
language nobody knows. Other languages are folded only: case, accents and widths (Unicode TR 15
and TR 21). Scripts without spaces between words are cut into single characters, and a word of
theirs is searched for as a phrase.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache

LONGEST = 64
"""Characters of a term; what is longer is cut."""

LEVELS = 6
"""A meeting with a word in 2, 4, … 64 segments has it at level 1, 2, … 6: see :func:`composed`."""

# In no text: private characters are no letters. So nobody can write what they mean.
OF_TITLE = "\ue000"
OF_TENANT = "\ue001"
OF_SPEAKER = "\ue002"
_OF_LEVEL = 0xE010

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana and Han."""

# Vowel signs and accents are no letters to `\w`, but part of a word. The underline is one to it,
# and is taken for a space before: a class without exceptions is found twice as fast.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u109f\u1780-\u17d3"
_LETTER = rf"[\w{_MARKS}]"
_WORD = re.compile(rf"{_LETTER}+(?:['\u2019]{_LETTER}+)*")
_PIECE = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}]){_LETTER})+")
_DROPPED = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f]")
_NO_PART = re.compile(rf"(?:[\W_](?<![{_MARKS}]))+")

_REMEMBERED = 100_000
"""Words whose terms are kept at hand: stemming one takes 40 µs, finding it again none."""

Term = tuple[int, int, str]
"""From and to which character of the word, and what is searched for."""


def is_stemmed(language: str | None) -> bool:
    """Whether words of a language are brought to their stems."""
    return language is None or language.partition("-")[0] in ("", "en", "und")


def words(text: str) -> list[str]:
    """The words of a text as they are written, in order."""
    return _WORD.findall(text.replace("_", " "))


def terms(text: str, language: str | None = None) -> list[str]:
    """The terms of a text, in order."""
    return of_words(words(text), language)


def of_words(found: Iterable[str], language: str | None = None) -> list[str]:
    """The terms of words."""
    known = _said(stemmed=is_stemmed(language))
    made: list[str] = []
    for word in found:
        made += known[word]
    return made


def spans(text: str, language: str | None = None) -> list[Term]:
    """The same with their places in the text."""
    cut = _stemmed if is_stemmed(language) else _cut
    return [
        (word.start() + start, word.start() + end, term)
        for word in _WORD.finditer(text.replace("_", " "))
        for start, end, term in cut(word[0])
    ]


def placed(text: str, known: str) -> list[Term]:
    """The terms that an index has of a text, with their places in it.

    Found without stemming anything where words and terms are as many, which they nearly always
    are: of a word that was not seen before that would be most of the work.
    """
    said = known.split(" ") if known else []
    whole = [word.span() for word in _WORD.finditer(text.replace("_", " "))]
    if len(whole) == len(said):
        return [(start, end, term) for (start, end), term in zip(whole, said, strict=True)]
    cut = spans(text, "x")
    if [term for *_, term in cut] == said:
        return cut
    return spans(text)


def plain(found: Iterable[str]) -> set[str]:
    """Words as people write them, folded: what a typo is held against."""
    return {_folded(word) for word in found}


def levelled(term: str, level: int) -> str:
    """The term that a meeting has besides, where so many of its segments have it."""
    return chr(_OF_LEVEL + level) + term if level else term


def composed(
    counts: Mapping[str, int],
    *,
    title: Iterable[str],
    tenant: str,
    speakers: Iterable[str],
    before: str = "",
) -> str:
    """All that a meeting is found by, in one text.

    How often a word is there is written into the words: an index that knows only which meetings
    have a term then gives the order as well, and gives it alike in both databases. It is the
    quantized impact of Anh and Moffat (2002), with the logarithm of the count for the impact.

    Args:
        counts: in how many segments each term is.
        title: the terms of the title.
        tenant: whose it is.
        speakers: the terms of the names of who speaks.
        before: the text as it was; terms of segments that ``counts`` does not know stay.
    """
    of_title = set(title)
    found = {word for word in before.split() if word[0] not in _ABOUT and _bare(word) not in counts}
    found |= {*of_title, OF_TENANT + tenant}
    found |= {OF_TITLE + term for term in of_title}
    found |= {OF_SPEAKER + term for term in speakers}
    for term, count in counts.items():
        if count:
            found.add(term)
        for level in range(1, min(LEVELS, count.bit_length() - 1) + 1):
            found.add(levelled(term, level))
    return " ".join(sorted(found))


def titled(composed_: str) -> set[str]:
    """The terms of the title in what :func:`composed` has given."""
    return {word[1:] for word in composed_.split() if word[0] == OF_TITLE}


_ABOUT = (OF_TITLE, OF_TENANT, OF_SPEAKER)
"""What begins so is about the meeting, and not in its segments."""


def _bare(word: str) -> str:
    return word[1:] if _OF_LEVEL < ord(word[0]) <= _OF_LEVEL + LEVELS else word


# ── one word ─────────────────────────────────────────────────────────────────────────────────


class _Said(dict[str, tuple[str, ...]]):
    """The terms of each word that was seen; of others they are found when they are asked for."""

    def __init__(self, cut: Callable[[str], tuple[Term, ...]]) -> None:
        super().__init__()
        self._cut = cut

    def __missing__(self, word: str) -> tuple[str, ...]:
        made = tuple(term for _, _, term in self._cut(word))
        if len(self) >= _REMEMBERED:
            self.clear()
        if len(word) <= LONGEST:
            self[word] = made
        return made


@cache
def _said(*, stemmed: bool) -> _Said:
    return _Said(_stemmed if stemmed else _cut)


def _stemmed(word: str) -> tuple[Term, ...]:
    if word.isascii():
        stem = _stem()(word.lower()).replace("'", "")[:LONGEST]
        return ((0, len(word), stem),) if stem else ()
    straight = word.replace("\u2019", "'")
    if straight.isascii():
        return _stemmed(straight)
    stem_of = _stem()
    return tuple(
        (start, end, stem_of(term) if term.isascii() else term) for start, end, term in _cut(word)
    )


_CHANGES = re.compile(r"(?:[siey]|ed|ing|al|ful|ll|er|or|ion|ism|ic|ant|ent)\Z|'")
"""What the algorithm changes ends so. Half of all words do not, and are their own stems."""


@cache
def _stem() -> Callable[[str], str]:
    import snowballstemmer

    whole: Callable[[str], str] = snowballstemmer.stemmer("english").stemWord
    return lambda word: whole(word) if _CHANGES.search(word) else word


def _cut(word: str) -> tuple[Term, ...]:
    """The parts of a word that stand for themselves: at apostrophes, and between ideographs."""
    if word.isascii() and word.isalnum():
        return ((0, len(word), word.lower()[:LONGEST]),)
    pieces = ((piece.start(), piece.end(), _folded(piece[0])) for piece in _PIECE.finditer(word))
    return tuple(piece for piece in pieces if piece[2])


def _folded(word: str) -> str:
    if word.isascii():
        return word.lower().replace("'", "")[:LONGEST]
    wide = unicodedata.normalize("NFKD", word.casefold())
    whole = unicodedata.normalize("NFKC", _DROPPED.sub("", wide))
    return _NO_PART.sub("", whole)[:LONGEST]
