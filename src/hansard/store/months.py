"""Months of job ids: an id begins with the time, and PostgreSQL keeps segments by it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 14


def moment(job: str) -> float | None:
    """When a job was made (epoch seconds), by its id; ``None`` where that is none of ours."""
    if len(job) != _LENGTH or not set(job) <= set(_ALPHABET):
        return None
    number = 0
    for letter in job:
        number = number << 5 | _ALPHABET.index(letter)
    found = (number >> 25) / 1000
    return found if found < 32_503_680_000 else None  # the year 3000


def first_id(moment: float) -> str:
    """No job that was made from this moment on has an id before this one: see ``rows.new_id``."""
    number = max(0, int(moment * 1000)) << 25
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(65, -5, -5))


def bounds(moment: float) -> tuple[str, datetime, datetime]:
    """The month a moment is in: its name, its beginning and that of the next, UTC."""
    at = datetime.fromtimestamp(moment, UTC)
    begin = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return f"{at.year:04}_{at.month:02}", begin, end


def first_after(moment: float) -> str:
    """The first id of the next month."""
    return first_id(bounds(moment)[2].timestamp())


def make(connection: psycopg.Connection[Any], moments: Iterable[float]) -> None:
    """Make the partitions of segments for the months of some moments, where there are none."""
    for one in moments:
        name, begin, end = bounds(one)
        low, high = first_id(begin.timestamp()), first_id(end.timestamp())
        # The bounds are made of letters and digits alone, and DDL takes no parameters.
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS segments_{name} PARTITION OF segments "
            f"FOR VALUES FROM ('{low}') TO ('{high}')"
        )
