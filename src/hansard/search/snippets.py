"""What is shown of a hit: a piece of text, and which of its characters are marked.

What people said is somebody else's text: it is shown as text, or escaped. The only markup in
``html`` is Hansard's own ``<mark>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hansard.model import Value
from hansard.search.query import Unit
from hansard.store import terms

LONGEST = 240
"""Characters that are shown."""
_BEFORE = 60
"""Of them before the first mark, where there are more than can be shown."""
_CUT = "…"


class Snippet(Value, frozen=True, omit_defaults=False):
    """A piece of text. ``marks`` count its characters (Unicode code points) from 0."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()
    """From and up to which character."""
    html: str = ""
    """The same, escaped, with ``<mark>``."""


def snippet(
    text: str, units: Sequence[Unit], known: str | None = None, longest: int = LONGEST
) -> Snippet:
    """The part of a text that shows most of what was searched for.

    Args:
        text: what was said.
        units: what is marked.
        known: its terms as they are in the index, which say whether they are stems.
        longest: so many characters at most, and two that say where it was cut.
    """
    marks = _marks(text, units, known)
    shown, marks = _piece(text, marks, longest)
    return Snippet(shown, tuple(marks), _html(shown, marks))


def _marks(text: str, units: Sequence[Unit], known: str | None) -> list[tuple[int, int]]:
    stemmed = terms.spans(text)
    if known is not None and " ".join(term for *_, term in stemmed) == known:
        readings = [stemmed]
    else:
        plain = terms.spans(text, "x")
        readings = [plain] if known is not None else [stemmed, plain]
    found: list[tuple[int, int]] = []
    for spans in readings:
        said = [term for *_, term in spans]
        for unit in units:
            for way in unit.ways:
                found += [
                    (spans[at][0], spans[at + len(way) - 1][1])
                    for at in range(len(said) - len(way) + 1)
                    if _fits(said[at : at + len(way)], way)
                ]
    return _merged(sorted(found))


def _fits(said: Sequence[str], way: Sequence[str]) -> bool:
    *whole, last = way
    if list(said[:-1]) != whole:
        return False
    return said[-1].startswith(last[:-1]) if last.endswith("*") else said[-1] == last


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
