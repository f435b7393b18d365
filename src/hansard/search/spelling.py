"""Words that nobody said: what they may have been meant to be, and what begins like them.

Both look into the words of the tenant's own meetings, and believe only what the index still has.
"""

from __future__ import annotations

import sqlalchemy as sa
from msgspec.structs import replace
from rapidfuzz import process
from rapidfuzz.distance import DamerauLevenshtein

from hansard.search import fulltext
from hansard.search.query import Query, Unit, unit
from hansard.store import terms

_SHORTEST = 3
"""Letters of a word that is corrected."""
_LONG = 6
"""Letters from which on two slips are forgiven, and not one."""
_CONSIDERED = 20_000
_WEIGHED = 8
"""Equally near words of which it is looked up how often they were said."""
_BEGINNINGS = 200
"""Words that a prefix is read as, where stemming has taken off what was typed."""


def whole(connection: sa.Connection, tenant: str, query: Query) -> Query:
    """Prefixes may be longer than stems: ``organiza*`` is looked for as ``organ``, too."""

    def grown(one: Unit) -> Unit:
        extra = [
            way
            for prefix in one.ways
            if len(prefix) == 1 and prefix[0].endswith("*")
            for way in _begun(connection, tenant, prefix[0][:-1])
        ]
        return replace(one, ways=tuple(dict.fromkeys([*one.ways, *extra])))

    return replace(
        query,
        clauses=tuple(tuple(map(grown, clause)) for clause in query.clauses),
        without=tuple(map(grown, query.without)),
    )


def _begun(connection: sa.Connection, tenant: str, beginning: str) -> list[tuple[str, ...]]:
    words = fulltext.sql(connection).vocabulary(
        connection, tenant, (beginning, _behind(beginning)), range(1, 65), _BEGINNINGS
    )
    stems = {tuple(terms.terms(word)) for word in words}
    return sorted(
        stem for stem in stems if len(stem) == 1 and stem[0] and not stem[0].startswith(beginning)
    )


def _behind(beginning: str) -> str:
    return beginning + "\U0010ffff"


def corrected(connection: sa.Connection, tenant: str, query: Query) -> tuple[Query, dict[str, str]]:
    """The query with words that no meeting has replaced by near ones that some have.

    For when nothing matches. What was typed comes back with what it was taken for.
    """
    known: dict[str, str] = {}

    def repaired(one: Unit) -> Unit:
        if any(term.endswith("*") for way in one.ways for term in way):
            return one
        quoted = one.shown.startswith('"')
        words = one.shown.strip('"').split() if quoted else [one.shown]
        better = []
        for word in words:
            right = _meant(connection, tenant, word)
            if right is not None:
                known[word] = right
            better.append(right or word)
        if better == words:
            return one
        return unit(" ".join(better), quoted=quoted) or one

    clauses = tuple(tuple(map(repaired, clause)) for clause in query.clauses)
    return replace(query, clauses=clauses), known


def _meant(connection: sa.Connection, tenant: str, word: str) -> str | None:
    """The nearest word that was said; ``None`` where this one was, or none is near."""
    made = unit(word)
    folded = "".join(terms.plain(terms.words(word)))
    if (
        made is None
        or len(terms.words(word)) > 1
        or len(folded) < _SHORTEST
        or folded[0].isdecimal()
    ):
        return None
    if fulltext.numbers_with(connection, tenant, made.ways):
        return None
    allowed = 1 if len(folded) < _LONG else 2
    near: list[tuple[int, str]] = []
    for shelf in _shelves(folded):
        lengths = range(max(1, len(folded) - allowed), len(folded) + allowed + 1)
        words = fulltext.sql(connection).vocabulary(connection, tenant, shelf, lengths, _CONSIDERED)
        close = process.extract(
            folded,
            words,
            scorer=DamerauLevenshtein.distance,
            processor=None,
            score_cutoff=allowed,
            limit=None,
        )
        near = [(int(distance), one) for one, distance, _ in close if distance]
        if near:
            break
    best: tuple[int, int, str] | None = None
    for distance, one in sorted(near)[:_WEIGHED]:
        heard = unit(one)
        said = 0 if heard is None else len(fulltext.numbers_with(connection, tenant, heard.ways))
        if said and (best is None or (distance, -said, one) < best):
            best = (distance, -said, one)
    return best[2] if best else None


def _shelves(word: str) -> list[tuple[str, str]]:
    """Ranges of words, the likeliest first: people rarely mistype the first letter."""
    return [
        (word[0], _behind(word[0])),
        (word[1], _behind(word[1])),
        ("", "\U0010ffff"),
    ]
