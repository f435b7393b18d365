"""A meeting that may match, as both databases give it."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """What is needed of a meeting to rank it. Seconds since the epoch."""

    number: int
    job: str
    segments: int
    held: float
