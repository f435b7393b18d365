"""Taking part in the delivery: what a process does at the broker, from its settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from hansard.config import Settings
from hansard.jobs.delivery import Post, Reception, see_that_it_fits
from hansard.jobs.permits import Permits, Shifts
from hansard.jobs.worker import HANDS, Crew
from hansard.store.database import Database


def opened(settings: Settings, database: Database, *, rounds: bool) -> Permits | None:
    """The permits of a process, if the settings name a broker. ``rounds``: it makes them, too.

    Raises:
        BadSettings, MissingPart: there is no such broker.
    """
    if settings.broker is None:
        return None
    see_that_it_fits(settings)
    found = Permits(database, partial(Post, settings), settings.delivery.round_seconds)
    if rounds:
        found.keep_round()
    return found


class Attendance:
    """What a worker does at the broker: it receives permits, holds them, and makes rounds."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        crew: Crew,
        permits: Permits,
        ended: Callable[[], None],
    ) -> None:
        """Begin. ``name`` is the worker's; ``ended`` is called where the broker's tools end it."""
        self._crew = crew
        self._permits = permits
        hands = settings.delivery.concurrency or HANDS
        self._reception = Reception(
            settings,
            name,
            pools=crew.pools,
            at_once=hands * len(crew.pools) + (os.cpu_count() or 1),  # and lanes
            work=Shifts(crew, permits).work,
            look=permits.look,
            ended=ended,
        )
        self._reception.start()
        permits.keep_round()

    def end(self) -> None:
        """Receive no more; returns at once. The crew is to be stopped next."""
        self._reception.stop_receiving()

    def close(self) -> None:
        """The crew has stopped: tell others of what is left, and leave."""
        self._reception.stop()
        for pool in self._crew.pools:
            self._permits.pass_on(pool)
