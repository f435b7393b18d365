"""The months that PostgreSQL keeps segments in: a table each, made before it begins.

Ids of jobs sort by time, so a month is a range of them: what is asked of one job touches one month,
and the indexes that are written to stay small however many years there are. What no month was
made for lies in ``segments_rest``, and moves when its month is made.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from hansard.errors import StoreBusy
from hansard.model import Value
from hansard.store.database import Database
from hansard.store.ids import first_id
from hansard.store.locks import alone

_log = logging.getLogger("hansard.store")

_AHEAD = 2
"""Months after this one that are made already."""
_EVERY = 3600.0
"""Seconds between two looks."""
_SOON = 60.0
"""Seconds until the next try where somebody was in the way."""


_PATIENCE = "2s"
"""How long writers of transcripts are waited for, while others wait behind us."""


class Month(Value, frozen=True):
    """A month of UTC."""

    year: int
    month: int

    @property
    def table(self) -> str:
        """Where its segments are."""
        return f"segments_{self.year:04}_{self.month:02}"

    @property
    def bounds(self) -> tuple[str, str]:
        """The first id that a job of this month may have, and the first of the next."""
        return _first(self), _first(self.after(1))

    def after(self, months: int) -> Month:
        """The month so many months later."""
        years, month = divmod(self.month - 1 + months, 12)
        return Month(self.year + years, month + 1)


def month_of(moment: float) -> Month:
    """The month of a moment, in seconds since the epoch."""
    when = datetime.fromtimestamp(moment, UTC)
    return Month(when.year, when.month)


def _first(month: Month) -> str:
    return first_id(datetime(month.year, month.month, 1, tzinfo=UTC).timestamp())


class Months:
    """Keeps the months of a store ahead of the time. Cheap to ask often."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._next = 0.0

    def keep_up(self) -> None:
        """Make what will be needed, if it is time to look."""
        now = self._clock()
        if now < self._next:
            return
        this = month_of(now)
        try:
            for ahead in range(_AHEAD + 1):
                make(self._database, this.after(ahead))
        except StoreBusy as error:
            _log.info("the next months of segments are made later: %s", error.message)
            self._next = now + _SOON
        else:
            self._next = now + _EVERY


def make(database: Database, month: Month) -> bool:
    """Give a month its table, unless it has one; however many ask at once, it is made once.

    Returns:
        Whether it was made now. Never in SQLite, which has one table for all.

    Raises:
        StoreBusy: somebody writes transcripts for longer than others should wait for this.
    """
    if database.dialect != "postgresql":
        return False
    with database.read() as connection:
        if _is_there(connection, month):
            return False
    with database.write(unseen=True) as connection:
        alone(connection, "months of segments")
        if _is_there(connection, month):
            return False
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
        # In the order in which a transcript is written, or each would wait for the other.
        for table, mode in (
            ("transcripts", "SHARE ROW EXCLUSIVE"),
            ("segments", "SHARE UPDATE EXCLUSIVE"),
            ("segments_rest", "ACCESS EXCLUSIVE"),
        ):
            connection.execute(sa.text(f"LOCK TABLE ONLY {table} IN {mode} MODE"))
        moved = _make(connection, month)
    _log.info("%s is ready, with %d segments that were there already", month.table, moved)
    return True


def _is_there(connection: sa.Connection, month: Month) -> bool:
    return connection.scalar(sa.select(sa.func.to_regclass(month.table))) is not None


def _make(connection: sa.Connection, month: Month) -> int:
    """A table beside the others first, filled, then one of them: readers are not held up."""
    low, high = month.bounds
    table = month.table
    connection.execute(sa.text(f"CREATE TABLE {table} (LIKE segments INCLUDING DEFAULTS)"))
    moved = connection.execute(
        sa.text(
            f"WITH gone AS (DELETE FROM segments_rest WHERE job >= '{low}' AND job < '{high}' "  # noqa: S608 our own ids
            f"RETURNING *) INSERT INTO {table} SELECT * FROM gone"
        )
    )
    # Its key, and what it hangs on, come with this.
    connection.execute(
        sa.text(
            f"ALTER TABLE segments ATTACH PARTITION {table} FOR VALUES FROM ('{low}') TO ('{high}')"
        )
    )
    return int(moved.rowcount)
