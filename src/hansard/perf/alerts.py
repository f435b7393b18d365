"""Telling that a service level burns, once for each incident, and that it is over.

Any process may look; about once a minute one of all does. What it finds and what it tells are one
transaction, so that nothing is told twice, and nothing is forgotten.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.config import Settings
from hansard.errors import HansardError
from hansard.jobs import webhooks
from hansard.model import Value
from hansard.perf import levels
from hansard.perf.levels import Burning, Burns
from hansard.store import buckets, locks
from hansard.store.database import Database
from hansard.store.ids import new_id
from hansard.store.stored import as_json
from hansard.store.tables import incidents

_log = logging.getLogger("hansard.performance")

BURNING, RECOVERED = "level.burning", "level.recovered"
"""Events of webhooks."""

_EVERY = 60.0
"""Seconds between two looks, over all processes."""

_KEPT = 400 * 86_400.0


class Incident(Value, frozen=True, omit_defaults=False):
    """A level that burnt. Times are seconds since the epoch."""

    id: str
    level: str
    rule: str
    opened: float
    closed: float | None
    found: Burning
    """When it was opened."""


_OPEN = sa.select(incidents).where(incidents.c.closed.is_(None)).order_by(incidents.c.id)


def open_ones(database: Database) -> list[Incident]:
    """Incidents that are not over."""
    with database.read() as connection:
        return [_incident(row) for row in connection.execute(_OPEN)]


def look(database: Database, settings: Settings, *, now: float) -> list[Incident]:
    """Open incidents of what burns and close those that are over; all that changed.

    Raises:
        HansardError: the store does not answer; the next look finds the same.
    """
    found = levels.burns(database, settings.levels, now=now)
    burning = levels.burning(found)
    if not burning and not open_ones(database):
        return []
    changed = []
    with database.write() as connection:
        locks.alone(connection, "incidents")
        known = {row.level: _incident(row) for row in connection.execute(_OPEN)}
        for name, one in burning.items():
            if name not in known:
                changed.append(_opened(connection, one, now))
        for name, incident in known.items():
            if name not in burning and levels.is_over(found, name, incident.rule):
                changed.append(_closed(connection, incident, now))
        for incident in changed:
            _tell(connection, settings, incident, found, now)
        old = sa.and_(incidents.c.closed.is_not(None), incidents.c.closed < now - _KEPT)
        connection.execute(incidents.delete().where(old))
    for incident in changed:
        level = incident.found.level
        over = incident.closed is not None
        what = ("%s is within its level again", "%s burns: %d of %d broke %g s")[not over]
        told = (level.name,) if over else (level.name, level.broken, level.count, level.bound)
        _log.warning(what, *told)
    return changed


def _opened(connection: sa.Connection, found: Burning, now: float) -> Incident:
    made = Incident(new_id(now), found.level.name, found.rule, now, None, found)
    row = {"id": made.id, "level": made.level, "rule": made.rule, "opened": now}
    connection.execute(incidents.insert().values(**row, body=as_json(found)))
    return made


def _closed(connection: sa.Connection, incident: Incident, now: float) -> Incident:
    mine = incidents.c.id == incident.id
    connection.execute(incidents.update().where(mine).values(closed=now))
    return msgspec.structs.replace(incident, closed=now)


def _tell(
    connection: sa.Connection, settings: Settings, incident: Incident, found: Burns, now: float
) -> None:
    url = settings.webhooks.url
    if not url:
        return
    event = BURNING if incident.closed is None else RECOVERED
    rates: Mapping[str, float] = {
        f"{window}s": round(of[incident.level].burn, 3)
        for window, of in found.items()
        if incident.level in of
    }
    said: dict[str, Any] = {
        "incident": msgspec.to_builtins(incident),
        "burn": rates,
        "link": "/api/v1/performance/insights",
    }
    webhooks.note(connection, event, said, url=url, tenant=webhooks.HOUSE, job="", now=now)


def _incident(row: sa.Row[Any]) -> Incident:
    found = msgspec.json.decode(row.body, type=Burning)
    return Incident(row.id, row.level, row.rule, row.opened, row.closed, found)


class Watch:
    """Looks at the levels from a thread of its own, for as long as a process serves or works."""

    def __init__(
        self, database: Database, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hansard-levels", daemon=True)

    def begin(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY / 4):
            try:
                draw = buckets.take(self._database, "levels", 1, rate=1 / _EVERY, burst=1)
                if not draw.wait:
                    look(self._database, self._settings, now=self._clock())
            except HansardError as error:  # whoever works with the store says it louder
                _log.info("levels are not looked at: %s", error.message)
