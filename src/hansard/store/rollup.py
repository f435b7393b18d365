"""What all processes have measured, added up in the store: by the minute, the hour and the day.

Each process adds what it has measured since the last time to the rows of the current minute, one
row a stage, in one transaction. Minutes become hours, and hours days, once they are over: so a
window of any length is a few hundred rows a stage at the most. What is over is added up once more
with the next one, for whoever came late; it replaces what was there, so nothing counts twice.

A clean end adds the rest; a kill loses what an interval measured. Where the connection breaks
while the server commits, nobody can tell whether it has: the interval is added again, and may count
twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard import telemetry
from hansard.chance import CHANCE
from hansard.config import PerformanceSettings
from hansard.errors import HansardError
from hansard.model import Value
from hansard.store import buckets, locks
from hansard.store.database import Database
from hansard.store.dialects import Insert, inserts
from hansard.store.tables import performance
from hansard.telemetry import NOTHING, Example, Timing

_log = logging.getLogger("hansard.performance")

MINUTE, HOUR, DAY = 60, 3600, 86_400

_KEPT = {MINUTE: 6 * HOUR, HOUR: 9 * DAY}
"""Seconds that rows of a grain are kept; days as the settings say."""

_BY_MINUTES, _BY_HOURS = 2 * HOUR + MINUTE, 8 * DAY
"""How long ago a window may begin to be read by minutes, and by hours."""

_GRACE = 120
"""Seconds after the end of an hour or a day before it is added up."""

_LOOK = 60.0
"""Seconds between two looks whether anything is to be added up, over all processes."""

_EXAMPLES = 3
_CODES = 20
"""The slowest times, and the classes of failures, that are kept of a stage in a window."""


class Figures(Value, frozen=True):
    """What was measured of one stage in some time. Failures are among the records of ``timing``."""

    timing: Timing = NOTHING
    failures: Mapping[str, int] = {}
    """Code of the error → how often."""
    slowest: tuple[Example, ...] = ()

    @property
    def failed(self) -> int:
        """Failures, of all classes."""
        return sum(self.failures.values())

    def plus(self, other: Figures) -> Figures:
        """Both together."""
        failures = dict(self.failures)
        for code, times in other.failures.items():
            known = code if code in failures or len(failures) < _CODES else telemetry.OTHER
            failures[known] = failures.get(known, 0) + times
        ranked = sorted((*self.slowest, *other.slowest), key=lambda one: -one.seconds)
        return Figures(self.timing.plus(other.timing), failures, tuple(ranked[:_EXAMPLES]))


class Rest(Value, frozen=True, array_like=True):
    """What is not looked for by itself, packed."""

    buckets: dict[int, int]
    failures: dict[str, int]
    slowest: tuple[Example, ...]


_ROWS = (performance.c.grain, performance.c.start, performance.c.stage)


def _replacing(fresh: Insert) -> Insert:
    rest = {column.name: fresh.excluded[column.name] for column in performance.c}
    return fresh.on_conflict_do_update(
        index_elements=_ROWS, set_={name: rest[name] for name in rest if name not in _KEY}
    )


_KEY = {column.name for column in _ROWS}
_PUT = {dialect: _replacing(fresh) for dialect, fresh in inserts(performance).items()}
_THERE = sa.select(performance).where(
    performance.c.grain == sa.bindparam("of"),
    performance.c.start >= sa.bindparam("since"),
    performance.c.start < sa.bindparam("until"),
)
_LAST = sa.select(sa.func.max(performance.c.start)).where(performance.c.grain == sa.bindparam("of"))
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Rest).decode


def _figures(row: sa.Row[Any]) -> Figures:
    rest = _unpack(row.body)
    count = row._mapping["count"]  # noqa: SLF001 its public name; row.count is a tuple's
    timing = Timing(count, row.total, row.longest, rest.buckets, row.own)
    return Figures(timing, rest.failures, rest.slowest)


def _row(grain: int, start: int, stage: str, figures: Figures) -> dict[str, Any]:
    timing = figures.timing
    return {
        "grain": grain,
        "start": start,
        "stage": stage,
        "count": timing.count,
        "failed": figures.failed,
        "total": timing.total,
        "own": timing.own,
        "longest": timing.longest,
        "body": _pack(Rest(dict(timing.buckets), dict(figures.failures), figures.slowest)),
    }


# ── in ───────────────────────────────────────────────────────────────────────────────────────


def add(database: Database, measured: Mapping[str, Figures], now: float) -> None:
    """Add what one process has measured to the current minute.

    Raises:
        HansardError: the store cannot be written; nothing was added.
    """
    start = int(now) // MINUTE * MINUTE
    asked = {"of": MINUTE, "since": start, "until": start + MINUTE}
    # It rings for nobody, and what others keep ready stays good as far as the store can tell.
    with database.write(lasting=False, silent=True, unseen=True) as connection:
        locks.alone(connection, "performance")
        whole = dict(measured)
        for row in connection.execute(_THERE, asked):
            if row.stage in whole:
                whole[row.stage] = _figures(row).plus(whole[row.stage])
        rows = [_row(MINUTE, start, stage, figures) for stage, figures in sorted(whole.items())]
        connection.execute(_PUT[database.dialect], rows)


def roll(database: Database, now: float, days: float) -> None:
    """Make hours of minutes and days of hours, as far as they are over; remove what is old.

    Args:
        database: where.
        now: epoch seconds.
        days: that the figures of days are kept.
    """
    for grain, finer in ((HOUR, MINUTE), (DAY, HOUR)):
        over = int(now - _GRACE) // grain * grain
        with database.read() as connection:
            last = connection.scalar(_LAST, {"of": grain})
            if last is not None and last >= over - grain:
                continue  # the last one that is over is there
            asked = {"of": finer, "since": last or 0, "until": over}
            found = connection.execute(_THERE.order_by(performance.c.start), asked)
            parts = groupby(found, partial(_period, grain))
            rows = [
                _row(grain, start, stage, figures)
                for start, part in parts
                for stage, figures in summed(part).items()
            ]
        if rows:
            with database.write(lasting=False, silent=True, unseen=True) as connection:
                locks.alone(connection, "performance")
                connection.execute(_PUT[database.dialect], rows)
    with database.write(lasting=False, silent=True, unseen=True) as connection:
        for grain, kept in (_KEPT | {DAY: days * DAY}).items():
            old = sa.and_(performance.c.grain == grain, performance.c.start < now - kept)
            connection.execute(performance.delete().where(old))


def _period(grain: int, row: sa.Row[Any]) -> int:
    return int(row.start // grain * grain)


def summed(rows: Iterable[sa.Row[Any]]) -> dict[str, Figures]:
    """Rows added up by stage."""
    found: defaultdict[str, _Sum] = defaultdict(_Sum)
    for row in rows:
        found[row.stage].add(row)
    return {stage: one.figures() for stage, one in found.items()}


class _Sum:
    """Rows of one stage on their way: a long window is thousands, and must not be copied each."""

    def __init__(self) -> None:
        self._count, self._total, self._own, self._longest = 0, 0.0, 0.0, 0.0
        self._buckets: dict[int, int] = {}
        self._rest = Figures()

    def add(self, row: sa.Row[Any]) -> None:
        rest = _unpack(row.body)
        self._count += row._mapping["count"]  # noqa: SLF001 as above
        self._total += row.total
        self._own += row.own
        self._longest = max(self._longest, row.longest)
        if self._buckets:
            buckets = self._buckets
            for index, count in rest.buckets.items():
                buckets[index] = buckets.get(index, 0) + count
        else:
            self._buckets = rest.buckets
        if rest.failures or rest.slowest:
            self._rest = self._rest.plus(Figures(NOTHING, rest.failures, rest.slowest))

    def figures(self) -> Figures:
        timing = Timing(self._count, self._total, self._longest, self._buckets, self._own)
        return Figures(timing, self._rest.failures, self._rest.slowest)


# ── out ──────────────────────────────────────────────────────────────────────────────────────


def read(
    database: Database,
    since: float,
    until: float,
    *,
    now: float,
    stages: Collection[str] | None = None,
) -> dict[str, Figures]:
    """Figures by stage of a window, read from the coarsest rows that are fine enough.

    Args:
        database: where.
        since: epoch seconds. It is moved back to the beginning of its minute, hour (after two
            hours) or day (after eight days).
        until: likewise, if it is a minute ago or more: so neighbours never overlap.
        now: epoch seconds.
        stages: these alone.
    """
    if until <= now - MINUTE:
        until = int(until) // (past := _grains(now - until)[0]) * past - 1
    with database.read() as connection:
        rolled = {of: connection.scalar(_LAST, {"of": of}) for of in (HOUR, DAY)}
        ends = {of: 0 if last is None else int(last) + of for of, last in rolled.items()}
        parts = []
        begin = int(since)
        for grain in _grains(now - since):
            begin = begin // grain * grain
            end = int(until) + 1
            if grain != MINUTE:
                end = min(end, max(begin, ends[grain]))
            if end > begin:
                parts.append({"of": grain, "since": begin, "until": end})
                begin = -(-end // grain) * grain
        asked = _THERE if stages is None else _THERE.where(performance.c.stage.in_(list(stages)))
        rows = [row for part in parts for row in connection.execute(asked, part)]
    return summed(rows)  # which takes longest, and holds up nobody here


def _grains(age: float) -> tuple[int, ...]:
    if age <= _BY_MINUTES:
        return (MINUTE,)
    return (HOUR, MINUTE) if age <= _BY_HOURS else (DAY, HOUR, MINUTE)


class RollUp:
    """Adds what this process measures to the store, now and then. Its thread is its own."""

    def __init__(
        self,
        database: Database,
        settings: PerformanceSettings,
        *,
        begun: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``begun``: see :meth:`begin`."""
        self._database = database
        self._settings = settings
        self._clock = clock
        self._before = telemetry.snapshot()
        self._slowest: dict[str, list[Example]] = {}
        self._next = 0.0
        self._troubled = False
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if begun:
            self.begin()

    def begin(self) -> None:
        """From now on what is measured is added. Calling it twice is harmless."""
        if self._thread is None:
            telemetry.slowest()  # of what came before
            self._before = telemetry.snapshot()
            self._thread = threading.Thread(
                target=self._run, name="hansard-performance", daemon=True
            )
            self._thread.start()

    def end(self) -> None:
        """Add what is left, where it ever began."""
        if self._thread is not None and not self._stop.is_set():
            self._stop.set()
            self._thread.join(self._settings.interval)
            self._patiently(self.flush)

    def flush(self) -> bool:
        """Add what was measured since the last time; whether there was anything.

        Raises:
            HansardError: the store cannot be written: it is added the next time.
        """
        with self._turn:
            for stage, examples in telemetry.slowest().items():
                known = [*self._slowest.get(stage, ()), *examples]
                self._slowest[stage] = sorted(known, key=lambda one: -one.seconds)[:_EXAMPLES]
            now = telemetry.snapshot()
            measured = {stage: one for stage in _stages(now) if (one := self._new(stage, now))}
            if measured:
                add(self._database, measured, self._clock())
            self._before, self._slowest = now, {}
            return bool(measured)

    def _new(self, stage: str, now: telemetry.Snapshot) -> Figures | None:
        timing = now.timings.get(stage, NOTHING)
        before = self._before.timings.get(stage)
        # Another part of this process may have begun afresh.
        more = timing.since(before if before and before.count <= timing.count else None)
        past = self._before.failures.get(stage, {})
        failures = {
            code: times - past.get(code, 0)
            for code, times in now.failures.get(stage, {}).items()
            if times > past.get(code, 0)
        }
        if not more.count and not failures:
            return None
        return Figures(more, failures, tuple(self._slowest.get(stage, ())))

    def keep_up(self) -> None:
        """Make hours and days, if it is time and no other process has done so."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _LOOK
        drawn = buckets.take(self._database, "performance", 1, rate=1 / _LOOK, burst=1)
        if not drawn.wait:
            roll(self._database, now, self._settings.days)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.interval * CHANCE.uniform(0.8, 1.2)):
            self._patiently(self.flush)
            self._patiently(self.keep_up)

    def _patiently(self, act: Callable[[], Any]) -> None:
        """A store that is in trouble is asked again later; nothing is lost meanwhile."""
        try:
            act()
            self._troubled = False
        except HansardError as error:
            if not self._troubled:
                _log.warning("figures wait: %s %s", error.message, error.hint or "")
            self._troubled = True


def _stages(now: telemetry.Snapshot) -> set[str]:
    return {*now.timings, *now.failures}
