"""What was said: of each meeting that is shown, the passages that show best why it was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import sqlalchemy as sa

from hansard.model import Value
from hansard.search import fulltext
from hansard.search.fulltext import Ranked
from hansard.search.query import Query
from hansard.search.snippets import Marker, Snippet
from hansard.store import terms

SHOWN = 3
"""Passages of a meeting."""
_LOOKED_AT = 16
"""Segments of a meeting that the best are chosen from, where more than one word is asked for."""
_OF_SPEAKER = 400
"""Likewise where only one person's count."""
_LONGEST_NEAR = 40
"""Segments of a passage that was found by its meaning."""


class Passage(Value, frozen=True, omit_defaults=False):
    """A piece of what was said. Seconds from the start of the recording."""

    position: int
    """Of its first segment."""
    start: float
    end: float
    speaker: str | None
    """The name, where one is known, else the label."""
    snippet: Snippet
    link: str


class Shown(Value, frozen=True):
    """Passages by meeting, and how many segments have any of the words."""

    passages: dict[str, list[Passage]]
    matches: dict[str, int]


class _Near(Protocol):
    @property
    def job(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


def of(
    connection: sa.Connection,
    query: Query,
    page: Sequence[Ranked],
    rareness: Mapping[str, float],
) -> Shown:
    """The best passages of each meeting: with most that was searched for, rare words first."""
    if not query.clauses or not page:
        return Shown({}, {})
    units, marker = query.units, Marker(query.units)
    among = {one.number: one.job for one in page}
    only = [
        set(terms.terms(wish.value, "x"))
        for wish in query.filters.wishes
        if wish.field == "speaker" and not wish.without
    ]
    clauses = [[way for unit in clause for way in unit.ways] for clause in query.clauses]
    counts, rows = fulltext.sql(connection).places(
        connection, clauses, among, _OF_SPEAKER if only else _LOOKED_AT if len(units) > 1 else SHOWN
    )
    names = _names(connection, rows)
    if only:
        rows = [row for row in rows if _is_one_of(row, names, only)]
        counts = Counter(row.job for row in rows)
    scored: dict[str, list[tuple[float, int, sa.Row[Any]]]] = {}
    for row in rows:
        worth = sum(
            rareness.get(unit.shown, 1.0) for unit in units if fulltext.holds(unit, [row.terms])
        )
        scored.setdefault(row.job, []).append((-worth, row.position, row))
    return Shown(
        {
            job: [
                _passage(row.job, [row], marker, names)
                for *_, row in sorted(found, key=lambda one: one[:2])[:SHOWN]
            ]
            for job, found in scored.items()
        },
        dict(counts),
    )


def joined(connection: sa.Connection, shown: Shown, query: Query, near: Sequence[_Near]) -> Shown:
    """Passages that were found by meaning put first, where no word has shown them already.

    ``near`` has one of each meeting at most.
    """
    wanted = [
        one
        for one in near
        if not any(
            one.first <= known.position <= one.last for known in shown.passages.get(one.job, ())
        )
    ]
    if not wanted:
        return shown
    both = dict(shown.passages)
    marker = Marker(query.units)
    spans = [(one.job, one.first, min(one.last, one.first + _LONGEST_NEAR)) for one in wanted]
    rows = fulltext.sql(connection).spans(connection, spans)
    names = _names(connection, rows)
    for job, said in groupby(rows, lambda row: str(row.job)):
        made = _passage(job, list(said), marker, names)
        both[job] = [made, *both.get(job, ())][:SHOWN]
    return Shown(both, shown.matches)


def _passage(
    job: str, rows: Sequence[Any], marker: Marker, names: Mapping[tuple[str, str], str]
) -> Passage:
    first = rows[0]
    said = {row.speaker for row in rows}
    text = " ".join(row.text for row in rows)
    known = " ".join(row.terms or "" for row in rows)
    speaker = first.speaker if len(said) == 1 else None
    return Passage(
        first.position,
        first.start,
        rows[-1].end,
        None if speaker is None else names.get((job, speaker), speaker),
        marker.snippet(text, known),
        f"/api/v1/meetings/{job}?t={first.start:g}",
    )


def _names(connection: sa.Connection, rows: Iterable[sa.Row[Any]]) -> dict[tuple[str, str], str]:
    """By job and label; nobody is asked where nobody is told apart."""
    jobs = {row.job for row in rows if row.speaker is not None}
    if not jobs:
        return {}
    asks = fulltext.sql(connection)
    chosen = f"SELECT job, label, name FROM speakers AS m WHERE {asks.AMONG} AND name IS NOT NULL"  # noqa: S608 constants
    found = connection.execute(sa.text(chosen), {"jobs": asks.listed(list(jobs))})
    return {(job, label): name for job, label, name in found}


def _is_one_of(
    row: sa.Row[Any], names: Mapping[tuple[str, str], str], wanted: Sequence[set[str]]
) -> bool:
    if row.speaker is None:
        return False
    called = f"{row.speaker} {names.get((row.job, row.speaker), '')}"
    there = set(terms.terms(called, "x"))
    return any(one <= there for one in wanted)
