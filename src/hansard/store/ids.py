"""Names of jobs: fourteen characters that sort by the time they were made."""

from __future__ import annotations

import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letters that are taken for digits."""

_CHANCE = 25
"""Bits that tell those apart that were made in the same millisecond."""


_LENGTH = 14

_FAR = 253_402_300_800.0
"""The year 10000: no calendar goes on."""


def new_id(now: float) -> str:
    """A name: milliseconds since the epoch, then chance."""
    return _written(int(now * 1000) << _CHANCE | secrets.randbits(_CHANCE))


def first_id(moment: float) -> str:
    """Nothing that was made from this moment on (seconds) has an id before this one."""
    return _written(max(0, int(moment * 1000)) << _CHANCE)


def made(name: str) -> float | None:
    """When something was made (epoch seconds), by its name; ``None`` where that is none of ours."""
    if len(name) != _LENGTH or not set(name) <= set(ALPHABET):
        return None
    number = 0
    for letter in name:
        number = number << 5 | ALPHABET.index(letter)
    moment = (number >> _CHANCE) / 1000
    return moment if moment < _FAR else None


def _written(number: int) -> str:
    return "".join(ALPHABET[number >> shift & 31] for shift in range(65, -5, -5))
