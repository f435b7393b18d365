"""How much was transcribed, for whom: sums by day, key and engine, added to as it happens.

In PostgreSQL a sum lies in several rows, of which each addition takes one by chance. Whoever adds
to a row keeps it until his transaction is on the disk, and all who submit and end jobs of one
tenant add to the same sum: in one row they would wait for each other's disk.

Additions are made inside transactions that happen once: the one that accepts a job, and the one
that ends it. So a job is counted once, however often its last step was tried. Seconds are counted
when a job ends well; money whenever it ends, because what a job that failed has cost was spent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hansard.chance import CHANCE
from hansard.errors import QuotaUsedUp
from hansard.model import SAMPLE_RATE, Prepared, Value
from hansard.store.dialects import Insert, inserts, json_number
from hansard.store.tables import IS_OPEN, jobs, keys, usage, windows

Group = Literal["day", "key", "engine", "tenant"]

_DAY = 86_400.0

ROWS = 10_000
"""Most lines of one answer."""

PARTS = 16
"""Rows of a sum at the most, where several write at once."""


def _adding(fresh: Insert) -> Insert:
    """What is there already grows by what is new."""
    return fresh.on_conflict_do_update(
        index_elements=list(usage.primary_key),
        set_={
            "calls": usage.c.calls + fresh.excluded.calls,
            "seconds": usage.c.seconds + fresh.excluded.seconds,
            "cost": usage.c.cost + fresh.excluded.cost,
        },
    )


def added(amounts: sa.Select[Any]) -> sa.sql.dml.ReturningInsert[Any]:
    """A statement of PostgreSQL that adds rows, in the order of the table's columns."""
    fresh = postgresql.insert(usage).from_select([column.name for column in usage.c], amounts)
    adding = _adding(fresh)
    assert isinstance(adding, postgresql.Insert)
    return adding.returning(usage.c.day)


# Built once: they are run for every job, and building them costs more than running them.
_ADD = {dialect: _adding(fresh) for dialect, fresh in inserts(usage).items()}
_COST = sa.select(sa.func.sum(json_number(windows.c.result, "cost"))).where(
    windows.c.job == sa.bindparam("of"), windows.c.state == "done"
)


class Line(Value, frozen=True, omit_defaults=False):
    """A sum. Of ``day``, ``key``, ``engine`` and ``tenant`` those are set that were grouped by."""

    calls: int
    """Transcriptions asked for."""
    seconds: float
    """Of audio transcribed."""
    cost: float
    """Money, in the currency of the price table."""
    day: str | None = None
    key: str | None = None
    engine: str | None = None
    tenant: str | None = None


def day(moment: float) -> str:
    """The day in UTC, like ``2026-01-31``."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def any_part() -> int:
    """A part to add to, where others add at the same time."""
    return CHANCE.randrange(PARTS)


def add(
    connection: sa.Connection,
    moment: float,
    tenant: str,
    key: str | None,
    engine: str,
    *,
    calls: int = 0,
    seconds: float = 0.0,
    cost: float = 0.0,
) -> None:
    """Add to the sum of a day, in the caller's transaction."""
    connection.execute(
        _ADD[connection.dialect.name],
        {
            "day": day(moment),
            "tenant": tenant,
            "key": key or "",
            "engine": engine,
            "part": 0 if connection.dialect.name == "sqlite" else any_part(),
            "calls": calls,
            "seconds": seconds,
            "cost": cost,
        },
    )


def count_end(connection: sa.Connection, row: sa.Row[Any], moment: float) -> None:
    """Count a job that has ended, in the transaction that ended it; ``row`` is what it is now.

    What follows a transcription is not another one: nothing is counted for it here.
    """
    count_ends(connection, [row], moment)


def count_ends(connection: sa.Connection, ended: Sequence[sa.Row[Any]], moment: float) -> None:
    """Like :func:`count_end`, for several jobs; in the order of what they add to."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    for row in ended:
        if row.parent is not None:
            continue
        seconds, spent = _amounts(connection, row)
        if seconds or spent:
            mine = sums.setdefault((row.tenant, row.key or "", row.engine), [0.0, 0.0])
            mine[0] += seconds
            mine[1] += spent
    for (tenant, key, engine), (seconds, spent) in sorted(sums.items()):
        add(connection, moment, tenant, key, engine, seconds=seconds, cost=spent)


def _amounts(connection: sa.Connection, row: sa.Row[Any]) -> tuple[float, float]:
    """Seconds and money of a job that are not counted yet."""
    cost = 0.0
    if row.planned or row.kind == "live":  # others have no windows
        cost = float(connection.scalar(_COST, {"of": row.id}) or 0.0)
    seconds = 0.0
    if row.state == "completed":
        seconds = row.seconds or 0.0
        if row.prepared:
            seconds = msgspec.json.decode(row.prepared, type=Prepared).samples / SAMPLE_RATE
    if cost > row.charged:  # a job that failed and is retried keeps the windows it paid for
        connection.execute(jobs.update().where(jobs.c.id == row.id).values(charged=cost))
    return seconds, max(0.0, cost - row.charged)


def spent_today(connection: sa.Connection, key: str, moment: float) -> float:
    """Seconds of audio that a key has had transcribed today, and has waiting."""
    done = sa.select(sa.func.sum(usage.c.seconds)).where(
        usage.c.day == day(moment), usage.c.key == key
    )
    waiting = sa.select(sa.func.sum(jobs.c.seconds)).where(
        IS_OPEN, jobs.c.key == key, jobs.c.parent.is_(None)
    )
    # In one statement: a job that ends between two would be in neither.
    both = sa.select(done.scalar_subquery(), waiting.scalar_subquery())
    return sum(float(seconds or 0.0) for seconds in connection.execute(both).one())


def see_that_quota_is_left(
    connection: sa.Connection, key: str, seconds: float, moment: float, *, deciding: bool = False
) -> None:
    """Refuse audio that a key's day has no room for. What waits counts as much as what is done.

    ``deciding``: this transaction adds the audio. Then those of one key go one after the other.

    Raises:
        QuotaUsedUp: come again tomorrow (UTC).
    """
    asked = sa.select(keys.c.quota).where(keys.c.id == key)
    quota = connection.scalar(asked.with_for_update(key_share=True) if deciding else asked)
    if quota is None:
        return
    spent = spent_today(connection, key, moment)
    if spent >= quota or spent + seconds > quota:
        raise QuotaUsedUp(
            f"The key's audio for today is used up: {spent / 3600:.2f} of "
            f"{quota / 3600:.2f} hours, and this would be {seconds / 3600:.2f} more.",
            hint="The day ends at midnight UTC; `hansard keys create --quota-hours` sets more.",
            retry_after=_DAY - moment % _DAY,
        )


def sums(
    connection: sa.Connection, first: str, last: str, group: Sequence[Group], tenant: str | None
) -> list[Line]:
    """Sums between two days, both included; ``tenant`` ``None`` is everybody's.

    At most one more than :data:`ROWS`, so that its caller knows that there are too many.
    """
    columns: list[sa.Column[Any]] = [usage.c[name] for name in group]
    wanted = sa.select(
        *columns,
        sa.func.sum(usage.c.calls).label("calls"),
        sa.func.sum(usage.c.seconds).label("seconds"),
        sa.func.sum(usage.c.cost).label("cost"),
    ).where(usage.c.day >= first, usage.c.day <= last)
    if tenant is not None:
        wanted = wanted.where(usage.c.tenant == tenant)
    found = connection.execute(wanted.group_by(*columns).order_by(*columns).limit(ROWS + 1))
    return [
        Line(**row._mapping)  # noqa: SLF001 its public name
        for row in found
        if row.calls is not None
    ]
