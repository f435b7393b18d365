"""The language of searches: what somebody typed, as a value that either database can be asked.

    budget review        both words, stemmed, anywhere in a meeting
    "budget review"      one behind the other
    budg*                whatever begins so
    budget OR costs      one of them
    -draft               meetings without it
    kind:hearing speaker:anna status:new tag:urgent language:en
    after:2026-01 before:2026-02-15 mood:negative mood:>0.3 mood:-0.2..0.1

Any text either becomes a :class:`Query` or a ``BadQuery`` that says where it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from rapidfuzz.distance import DamerauLevenshtein

from hansard.errors import BadQuery
from hansard.model import Value
from hansard.store import terms

LONGEST: Final = 1000
"""Characters of a query."""
MOST: Final = 32
"""Words, phrases and filters in it."""
_IN_PHRASE = 32
"""Words in one phrase."""
_IN_PREFIX = 2
"""Letters that a prefix has at least: one letter begins a tenth of all words."""

Field = Literal["kind", "status", "tag", "language", "speaker"]
FIELDS: Final[tuple[str, ...]] = (*get_args(Field), "before", "after", "mood")

_AT_ODDS = 0.05
"""Sentiment beyond this is a mood, as the authors of VADER have it (Hutto and Gilbert, 2014)."""


class Unit(Value, frozen=True):
    """A word, a phrase or a prefix. One of its ways is enough."""

    shown: str
    """As it was typed."""
    ways: tuple[tuple[str, ...], ...]
    """Terms that follow each other: stemmed, and as they are where that is something else. A term
    that ends with ``*``, which no other does, is the beginning of one."""

    @property
    def is_phrase(self) -> bool:
        """Whether it matters what stands beside what."""
        return any(len(way) > 1 for way in self.ways)


class Wish(Value, frozen=True):
    """What a field must hold, or with ``without`` must not."""

    field: Field
    value: str
    without: bool = False


class Filters(Value, frozen=True):
    """Which meetings are looked at. Times are seconds since the epoch.

    Of several tags and speakers a meeting must have all, of several kinds, states and languages
    it has one.
    """

    wishes: tuple[Wish, ...] = ()
    after: float | None = None
    """Held at this moment or later."""
    before: float | None = None
    calmest: float | None = None
    """The mood is at least this, -1 to 1."""
    brightest: float | None = None
    """The mood is at most this."""


class Query(Value, frozen=True):
    """What is searched for."""

    text: str = ""
    """As it was typed."""
    clauses: tuple[tuple[Unit, ...], ...] = ()
    """Of each, one unit must be there."""
    without: tuple[Unit, ...] = ()
    filters: Filters = Filters()

    @property
    def units(self) -> tuple[Unit, ...]:
        """All that is searched for, whatever else must not be there."""
        return tuple(unit for clause in self.clauses for unit in clause)

    @property
    def said(self) -> str:
        """The words alone: what is searched by meaning."""
        return " ".join(unit.shown for unit in self.units)


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        BadQuery: it cannot be read; the message says where, the hint what to do.
    """
    if len(text) > LONGEST:
        raise BadQuery(
            f"The search is {len(text)} characters long; {LONGEST} are the most.",
            hint="Search for the words that matter.",
        )
    reading = _Reading()
    for count, token in enumerate(_tokens(text)):
        if count >= MOST:
            raise _bad(f"There are more than {MOST} words and filters", token.at, "Leave some out.")
        reading.take(token)
    return reading.query(text)


class _Reading:
    """What has been read so far."""

    def __init__(self) -> None:
        self._clauses: list[list[Unit]] = []
        self._without: list[Unit] = []
        self._filters: list[Filters] = []
        self._or: int | None = None
        """Where an OR stands that still wants its other side."""

    def take(self, token: _Token) -> None:
        """The next word, phrase or filter."""
        if token.word == "OR" and not token.quoted and token.field is None:
            if not self._clauses or self._or is not None:
                raise _lonely_or(token.at)
            self._or = token.at
            return
        field = _field(token)
        if field is not None:
            if self._or is not None:
                raise _bad("OR joins words, not filters", self._or, "Filters narrow all of it.")
            self._filters.append(_wish(field, token))
            return
        found = _unit(token)
        if found is not None:  # else it is nothing but punctuation
            self._add(found, without=token.without)

    def _add(self, found: Unit, *, without: bool) -> None:
        if without and self._or is not None:
            hint = "Write what is left out behind everything else."
            raise _bad("OR cannot be followed by what is left out", self._or, hint)
        if without:
            self._without.append(found)
        elif self._or is not None:
            self._clauses[-1].append(found)
            self._or = None
        else:
            self._clauses.append([found])

    def query(self, text: str) -> Query:
        """All of it."""
        if self._or is not None:
            raise _lonely_or(self._or)
        return Query(
            text,
            tuple(map(tuple, self._clauses)),
            tuple(self._without),
            narrowed(*self._filters),
        )


def _lonely_or(at: int) -> BadQuery:
    return _bad("OR stands between two words", at, 'Quote it to search for "or".')


def narrowed(*filters: Filters) -> Filters:
    """Several filters as one: all must fit."""
    after = [one.after for one in filters if one.after is not None]
    before = [one.before for one in filters if one.before is not None]
    calmest = [one.calmest for one in filters if one.calmest is not None]
    brightest = [one.brightest for one in filters if one.brightest is not None]
    wishes = dict.fromkeys(wish for one in filters for wish in one.wishes)
    return Filters(
        tuple(wishes),
        max(after, default=None),
        min(before, default=None),
        max(calmest, default=None),
        min(brightest, default=None),
    )


def moment(text: str) -> float | None:
    """A year, month, day or time of ISO 8601 in UTC, as seconds since the epoch."""
    padded = f"{text}-01-01"[:10] if re.fullmatch(r"\d{4}(-\d\d)?", text, re.ASCII) else text
    try:
        when = datetime.fromisoformat(padded)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# ── reading ──────────────────────────────────────────────────────────────────────────────────


class _Token(Value, frozen=True):
    word: str
    at: int
    without: bool = False
    quoted: bool = False
    prefix: bool = False
    field: str | None = None


_LEXEME = re.compile(
    r"""\s*(?P<without>-(?=[^\s-]))?(?:(?P<field>[^\W\d_]+):(?=[^\s/]))?"""
    r"""(?:"(?P<phrase>[^"]*)(?P<closed>")?|(?P<word>[^\s"]+))"""
)


def _tokens(text: str) -> Iterator[_Token]:
    text = text.translate(_QUOTES)
    place = 0
    while (found := _LEXEME.match(text, place)) is not None:
        place = found.end()
        at = found.start() + len(found[0]) - len(found[0].lstrip())
        without, field = found["without"] is not None, found["field"]
        if found["word"] is None:
            if found["closed"] is None:
                start = found.start("phrase")
                raise _bad("The quote is not closed", start, 'Put a " where the phrase ends.')
            yield _Token(found["phrase"], at, without, quoted=True, field=field)
        else:
            word = found["word"]
            yield _Token(word.rstrip("*"), at, without, prefix=word.endswith("*"), field=field)


_QUOTES = str.maketrans("\u201c\u201d\u201e\u00ab\u00bb\0", '""""" ')
"""What word processors make of quotes."""


def _field(token: _Token) -> str | None:
    """The field that a token is a filter of."""
    if token.field is None:
        field, colon, rest = token.word.lower().partition(":")
        if colon and not rest and not token.quoted and field in FIELDS:
            raise _needs_value(field, token)
        return None
    field = token.field.lower()
    if field in FIELDS:
        return field
    near = min(FIELDS, key=lambda one: DamerauLevenshtein.distance(one, field))
    meant = DamerauLevenshtein.distance(near, field) <= 2  # two slips of the hand
    hint = f"Did you mean {near}:? " if meant else ""
    raise _bad(
        f"There is no filter {field[:40]}:",
        token.at,
        f'{hint}There are {", ".join(FIELDS)}; quote words with a colon: "{field[:40]}: …".',
    )


def unit(word: str, *, quoted: bool = False, prefix: bool = False) -> Unit | None:
    """A unit of a word or some; ``None`` where there is no letter or digit in it."""
    shown = f'"{word}"' if quoted else word + "*" * prefix
    stemmed, plain = terms.terms(word), terms.terms(word, "x")
    if prefix:
        stemmed = []  # the beginning of a word is no word: it has no stem
    ways = tuple(dict.fromkeys(tuple(way) for way in (stemmed, plain) if way))
    if prefix:
        ways = tuple((*way[:-1], f"{way[-1]}*") for way in ways)
    return Unit(shown, ways) if ways else None


def _unit(token: _Token) -> Unit | None:
    made = unit(token.word, quoted=token.quoted, prefix=token.prefix)
    if made is None:
        return None
    ways = made.ways
    if max(map(len, ways)) > _IN_PHRASE:
        raise _bad(f"The phrase has more than {_IN_PHRASE} words", token.at, "Shorten it.")
    if token.prefix and len(ways[0]) == 1 and len(ways[0][0]) <= _IN_PREFIX:
        raise _bad(
            "The beginning of a word is too short",
            token.at,
            f"Give {_IN_PREFIX} letters or more before the *.",
        )
    return made


def _wish(field: str, token: _Token) -> Filters:
    value = token.word.strip()
    if not value or token.prefix:
        raise _needs_value(field, token)
    if field in ("before", "after", "mood"):
        if token.without:
            raise _bad(f"{field}: cannot be left out", token.at, "Give the other end of the range.")
        return _mood(value, token) if field == "mood" else _date(field, value, token)
    if field == "speaker" and not terms.terms(value, "x"):
        raise _bad("The speaker's name has no letters", token.at, "Write speaker:anna.")
    return Filters((Wish(_NAMES[field], value[:64], token.without),))


def _needs_value(field: str, token: _Token) -> BadQuery:
    return _bad(f"The filter {field}: needs a value", token.at, f"Write {field}:{_LIKE[field]}.")


_NAMES: dict[str, Field] = {name: name for name in get_args(Field)}

_LIKE = {
    "kind": "hearing",
    "status": "new",
    "tag": "urgent",
    "language": "en",
    "speaker": "anna",
    "before": "2026-02",
    "after": "2026-01-31",
    "mood": "negative, mood:>0.3 or mood:-0.2..0.1",
}


def _date(field: str, value: str, token: _Token) -> Filters:
    when = moment(value)
    if when is None:
        raise _bad(
            f"{value[:40]} is no date", token.at, f"Write {field}:2026, 2026-01 or 2026-01-31."
        )
    return Filters(before=when) if field == "before" else Filters(after=when)


_RANGE = re.compile(r"(?P<from>-?\d*\.?\d+)\.\.(?P<to>-?\d*\.?\d+)", re.ASCII)
_BOUND = re.compile(r"(?P<way>[<>])=?(?P<at>-?\d*\.?\d+)", re.ASCII)


def _mood(value: str, token: _Token) -> Filters:
    named = {
        "positive": Filters(calmest=_AT_ODDS),
        "negative": Filters(brightest=-_AT_ODDS),
        "neutral": Filters(calmest=-_AT_ODDS, brightest=_AT_ODDS),
    }
    if value.lower() in named:
        return named[value.lower()]
    if (found := _RANGE.fullmatch(value)) is not None:
        return Filters(calmest=float(found["from"]), brightest=float(found["to"]))
    if (found := _BOUND.fullmatch(value)) is not None:
        at = float(found["at"])
        return Filters(calmest=at) if found["way"] == ">" else Filters(brightest=at)
    raise _bad(f"{value[:40]} is no mood", token.at, f"Write mood:{_LIKE['mood']}.")


def _bad(what: str, at: int, hint: str) -> BadQuery:
    return BadQuery(f"{what} (at character {at + 1} of the search).", hint=hint)
