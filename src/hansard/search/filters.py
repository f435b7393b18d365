"""Filters as conditions on the table of meetings, written alike for both databases."""

from __future__ import annotations

from typing import Any

from hansard.errors import BadQuery
from hansard.search.query import Filters, Wish
from hansard.store import terms

_ANY_OF = ("kind", "status", "language")


def conditions(filters: Filters) -> tuple[str, dict[str, Any]]:
    """What a meeting ``m`` must be, each condition behind an AND, and their parameters."""
    parts: list[str] = []
    asked: dict[str, Any] = {}
    for field in _ANY_OF:
        for without in (False, True):
            wanted = [w.value for w in filters.wishes if (w.field, w.without) == (field, without)]
            if wanted:
                parts.append(_one_of(field, wanted, asked, without=without))
    for number, wish in enumerate(filters.wishes):
        if wish.field == "tag":
            parts.append(_tag(number, wish, asked))
    for name, condition, value in (
        ("after", "m.held >= :after", filters.after),
        ("before", "m.held < :before", filters.before),
        ("calmest", "m.mood >= :calmest", filters.calmest),
        ("brightest", "m.mood <= :brightest", filters.brightest),
    ):
        if value is not None:
            parts.append(condition)
            asked[name] = value
    return "".join(f" AND {part}" for part in parts), asked


def speakers(filters: Filters, *, without: bool) -> list[tuple[str, ...]]:
    """The terms that a meeting has where somebody of that name speaks.

    Raises:
        BadQuery: a name has none: no letters, no digits.
    """
    found = []
    for wish in filters.wishes:
        if wish.field == "speaker" and wish.without == without:
            name = tuple(terms.OF_SPEAKER + term for term in terms.terms(wish.value, "x"))
            if not name:
                raise BadQuery("The speaker's name has no letters.", hint="Write speaker:anna.")
            found.append(name)
    return found


def _one_of(field: str, wanted: list[str], asked: dict[str, Any], *, without: bool) -> str:
    either = []
    for number, value in enumerate(wanted):
        key = f"{field}_{int(without)}_{number}"
        asked[key] = value.lower()
        either.append(f"lower(m.{field}) = :{key}")
        if field == "language":  # `en` is `en-GB` as well
            asked[f"{key}_of"] = f"{value.lower()}-"
            either.append(f"substr(lower(m.{field}), 1, {len(value) + 1}) = :{key}_of")
    said = f"({' OR '.join(either)})"
    return f"NOT coalesce({said}, FALSE)" if without else said


def _tag(number: int, wish: Wish, asked: dict[str, Any]) -> str:
    asked[f"tag_{number}"] = wish.value
    asked[f"tag_{number}_low"] = wish.value.lower()
    there = (
        f"EXISTS (SELECT 1 FROM meeting_tags AS t WHERE t.job = m.job "  # noqa: S608 constants
        f"AND (t.tag = :tag_{number} OR lower(t.tag) = :tag_{number}_low))"
    )
    return f"NOT {there}" if wish.without else there
