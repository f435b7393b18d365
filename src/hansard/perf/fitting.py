"""What follows from how much memory there is, and from what the store holds: no race needed.

A cache that is larger is never slower, and a model that stays loaded is never slower to use; what
limits both is memory. So these are not searched for but reckoned, and each says from what.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hansard import headroom
from hansard.config import Settings
from hansard.model import Value
from hansard.speech import catalog
from hansard.store.database import Database
from hansard.store.tables import embedded, embedders, transcripts

_CACHES = 0.02
"""Share of the memory that transcripts, and as much again that formats, may take."""
_VECTORS = 0.1
_SEGMENT = 240
"""Bytes of a segment as it is sent: a sentence of 80 characters, and what is said about it."""
_STAYS, _GOES = 3600.0, 60.0
"""Seconds a model stays unused where all fit, and where one alone is much."""
_SLOW = 1.0
"""Seconds of loading below which nobody minds another."""
_MB = 2**20


class Fit(Value, frozen=True):
    """Settings that follow, and from what."""

    values: dict[str, Any]
    why: str


def fit(settings: Settings, database: Database, loading: float) -> list[Fit]:
    """What should be other than it is built in, here and for this store.

    Args:
        settings: as they are without a profile.
        database: the user's store; it is asked how much there is, and nothing else.
        loading: seconds that the model in use takes to load.
    """
    limit = headroom.read().limit
    found = (_caches(limit, database), _vectors(limit, database))
    return [one for one in (*found, _residency(limit, settings, loading)) if one is not None]


def _caches(limit: int, database: Database) -> Fit | None:
    """Transcripts that are sent: room for all of them, or for what memory has."""
    with database.read() as connection:
        count = connection.scalar(sa.select(sa.func.sum(transcripts.c.segments)))
    wanted = int(count or 0) * _SEGMENT
    usual = _usual("caches", "transcripts")
    most = int(limit * _CACHES)
    size = min(max(wanted, usual), most) // _MB * _MB
    if size >= usual and size < 1.25 * usual:
        return None
    return Fit(
        {"caches.transcripts": size, "caches.rendered": min(4 * size, most) // _MB * _MB},
        f"transcripts take {wanted / 1e6:,.0f} MB as they are sent, and {_CACHES:.0%} of the "
        f"memory is {most / 1e6:,.0f} MB",
    )


def _vectors(limit: int, database: Database) -> Fit | None:
    with database.read() as connection:
        numbers = sa.func.sum(embedded.c.passages * embedders.c.dimensions)
        wanted = 4 * int(
            connection.scalar(sa.select(numbers).select_from(embedded.join(embedders))) or 0
        )
    usual, most = _usual("caches", "vectors"), int(limit * _VECTORS)
    size = min(max(wanted, usual), most) // _MB * _MB
    if size >= usual and size < 1.25 * usual:
        return None
    return Fit(
        {"caches.vectors": size},
        f"vectors take {wanted / 1e6:,.0f} MB in memory, and {_VECTORS:.0%} of it is "
        f"{most / 1e6:,.0f} MB",
    )


def _residency(limit: int, settings: Settings, loading: float) -> Fit | None:
    """How long an unused model stays, by how much of the memory the models here take."""
    if loading < _SLOW:
        return None
    models = catalog.installed(settings)
    needs = [one.memory for one in models if one.memory is not None and not one.problem]
    together, largest = sum(needs), max(needs, default=0)
    if together <= limit / 2:
        stays = _STAYS
        why = (
            f"loading takes {loading:.1f} s, and all {len(needs)} models together "
            f"{together / limit:.0%} of the memory"
        )
    elif largest > 0.6 * limit:
        stays = _GOES
        why = f"the largest model alone takes {largest / limit:.0%} of the memory"
    else:
        return None
    return Fit({"model_idle": stays}, why)


def _usual(section: str, name: str) -> int:
    """What is built in."""
    owner = Settings.model_fields[section].get_default(call_default_factory=True)
    return int(getattr(owner, name))
