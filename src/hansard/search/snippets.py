"""What is shown of a hit: a piece of text, and which of its characters are marked.

What people said is somebody else's text: it is shown as text, or escaped. The only markup in
``html`` is Hansard's own ``<mark>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from hansard.model import Value
from hansard.search.query import Unit
from hansard.store import terms

LONGEST = 240
"""Characters that are shown."""
_BEFORE = 60
"""Of them before the first mark, where there are more than can be shown."""
_CUT = "…"
_BOTH = (None, "x")
"""Languages: as stems, and as they are."""


class Snippet(Value, frozen=True, omit_defaults=False):
    """A piece of text. ``marks`` count its characters (Unicode code points) from 0."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()
    """From and up to which character."""
    html: str = ""
    """The same, escaped, with ``<mark>``."""


class Marker:
    """Marks what was searched for, in one text after the other."""

    def __init__(self, units: Iterable[Unit]) -> None:
        """``units`` are what is marked."""
        ways = {way for unit in units for way in unit.ways}
        single = {way[0] for way in ways if len(way) == 1}
        self._words = frozenset(term for term in single if not term.endswith("*"))
        self._beginnings = tuple(term[:-1] for term in single if term.endswith("*"))
        self._phrases = [way for way in ways if len(way) > 1]

    def snippet(self, text: str, known: str | None = None, longest: int = LONGEST) -> Snippet:
        """The part of a text that shows most of what was searched for.

        Args:
            text: what was said.
            known: its terms as they are in the index.
            longest: so many characters at most, and two that say where it was cut.
        """
        either = [known] if known is not None else [" ".join(terms.terms(text, of)) for of in _BOTH]
        found = [mark for one in either for mark in self._found(terms.placed(text, one))]
        shown, marks = _piece(text, _merged(sorted(found)), longest)
        return Snippet(shown, tuple(marks), _html(shown, marks))

    def _found(self, spans: Sequence[terms.Term]) -> list[tuple[int, int]]:
        words, beginnings = self._words, self._beginnings
        found = [
            (start, end)
            for start, end, term in spans
            if term in words or (beginnings and term.startswith(beginnings))
        ]
        for way in self._phrases:
            last = len(way) - 1
            found += [
                (spans[at][0], spans[at + last][1])
                for at in range(len(spans) - last)
                if all(_is(spans[at + place][2], term) for place, term in enumerate(way))
            ]
        return found


def _is(said: str, wanted: str) -> bool:
    return said.startswith(wanted[:-1]) if wanted.endswith("*") else said == wanted


def _merged(marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in marks:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _piece(
    text: str, marks: list[tuple[int, int]], longest: int
) -> tuple[str, list[tuple[int, int]]]:
    if len(text) <= longest:
        return text, marks
    start = 0 if not marks else max(0, min(marks[0][0] - _BEFORE, len(text) - longest))
    if start:
        gap = text.find(" ", start, marks[0][0] if marks else None)
        start = gap + 1 if gap >= 0 else start
    end = min(len(text), start + longest)
    if end < len(text):
        gap = text.rfind(" ", start, end)
        end = gap if gap > start else end
    before, behind = _CUT * (start > 0), _CUT * (end < len(text))
    moved = len(before) - start
    kept = [(a + moved, min(b, end) + moved) for a, b in marks if a >= start and a < end]
    return before + text[start:end] + behind, kept


def _html(text: str, marks: Sequence[tuple[int, int]]) -> str:
    parts, last = [], 0
    for start, end in marks:
        parts += [escape(text[last:start]), "<mark>", escape(text[start:end]), "</mark>"]
        last = end
    return "".join([*parts, escape(text[last:])])
