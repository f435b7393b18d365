"""Fair shares: who is served next, where several tenants and lanes want the same.

Each tenant has a clock of its own, which counts the seconds of audio that were taken for it (and a
part of them for what is done at a stroke, where others want the same hands); the
one whose clock is furthest behind goes first. Inside a tenant, the short lane and the long lane
share in the same way. So a ten-hour hearing and a voice note take turns, whosever they are.

Two rules keep it fair over time. Who comes back from idleness starts where those now active are:
idle time is not saved up. And nobody is kept waiting for more than :data:`DEBT` for what was
taken earlier, when it was nobody else's turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from hansard.jobs.groups import open_groups
from hansard.model import Lane
from hansard.store.dialects import Insert, inserts
from hansard.store.tables import IS_OPEN, jobs, shares

DEBT = 3600.0
"""Seconds of audio that a tenant or lane may be ahead of the one that is served."""

STROKE = 0.05
"""What is done at a stroke counts as this part of its audio, and as a second at the least: it takes
far less than hearing it."""

BOTH = ""
"""The lane of the row that counts for a tenant as a whole."""

Clocks = Mapping[tuple[str, str], float]
"""Tenant and lane → seconds of audio served."""


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that are alike to a claim: among them, first come is first served."""

    pool: str
    priority: int
    tenant: str
    lane: str
    since: float
    """When the oldest of them was submitted."""


def ranked(groups: Iterable[Group], clocks: Clocks) -> list[Group]:
    """Groups in the order in which they are to be served.

    Priority decides; then the tenant that was served least; then its lane that was. Where two
    are even, a short recording goes first, and then what came first.
    """
    every = list(groups)
    eldest: dict[tuple[int, str], tuple[bool, float]] = {}
    for group in every:
        whose = (group.priority, group.tenant)
        mine = (group.lane == "long", group.since)
        eldest[whose] = min(eldest.get(whose, mine), mine)
    return sorted(
        every,
        key=lambda group: (
            -group.priority,
            clocks.get((group.tenant, BOTH), 0.0),
            eldest[group.priority, group.tenant],
            group.tenant,
            clocks.get((group.tenant, group.lane), 0.0),
            group.lane == "long",
            group.since,
        ),
    )


def advanced(
    clocks: Clocks, tenant: str, lane: str, seconds: float
) -> dict[tuple[str, str], float]:
    """The clocks that change when ``seconds`` of audio are taken for a tenant and lane."""
    fresh: dict[tuple[str, str], float] = {}
    for whose in ((tenant, BOTH), (tenant, lane)):
        now = clocks.get(whose, 0.0)
        fresh[whose] = now + seconds
        for other, ahead in clocks.items():
            rivals = other[1] == BOTH if whose[1] == BOTH else other[0] == tenant and other[1]
            if rivals and other != whose and ahead > now + DEBT:
                fresh[other] = now + DEBT
    return fresh


def of_stroke(seconds: float | None) -> float:
    """What a job that is done at a stroke counts, by its seconds of audio, as far as it has any."""
    return max(1.0, STROKE * (seconds or 0.0))


def started(
    clocks: Clocks, active: Iterable[tuple[str, str]], tenant: str, lane: str
) -> dict[tuple[str, str], float]:
    """The clocks that change when a tenant gets work in a lane, while ``active`` have some."""
    busy = set(active)
    fresh: dict[tuple[str, str], float] = {}
    if not any(other == tenant for other, _ in busy):
        rivals = [(other, BOTH) for other, _ in busy]
        everybody = [whose for whose in clocks if whose[1] == BOTH]
        fresh[tenant, BOTH] = _not_behind(clocks, (tenant, BOTH), rivals, everybody)
    if (tenant, lane) not in busy:
        rivals = [whose for whose in busy if whose[0] == tenant]
        everybody = [whose for whose in clocks if whose[0] == tenant and whose[1] != BOTH]
        fresh[tenant, lane] = _not_behind(clocks, (tenant, lane), rivals, everybody)
    return {whose: now for whose, now in fresh.items() if clocks.get(whose) != now}


def _not_behind(
    clocks: Clocks,
    whose: tuple[str, str],
    rivals: list[tuple[str, str]],
    everybody: list[tuple[str, str]],
) -> float:
    """A clock set to the slowest of the rivals; where all are idle, to the latest there is."""
    mine = clocks.get(whose, 0.0)
    if rivals:
        return max(mine, min(clocks.get(rival, 0.0) for rival in rivals))
    return max([mine, *(clocks[other] for other in everybody)])


# ── in the store, inside the caller's transaction ────────────────────────────────────────────


_OPEN = open_groups()
_ACTIVE = sa.select(_OPEN.c.tenant, _OPEN.c.lane).distinct()
_IS_ACTIVE = (
    sa.select(jobs.c.id)
    .where(
        IS_OPEN,
        jobs.c.tenant == sa.bindparam("of_tenant"),
        jobs.c.lane == sa.bindparam("of_lane"),
    )
    .limit(1)
)
_CLOCKS = sa.select(shares.c.tenant, shares.c.lane, shares.c.served)

_ADD, _SET = (
    {
        dialect: fresh.on_conflict_do_update(
            index_elements=[shares.c.tenant, shares.c.lane], set_={"served": served(fresh)}
        )
        for dialect, fresh in inserts(shares).items()
    }
    for served in (
        lambda fresh: shares.c.served + fresh.excluded.served,
        # Clocks are set forward only: of two who set one at once, both are content.
        lambda fresh: sa.case(
            (shares.c.served < fresh.excluded.served, fresh.excluded.served),
            else_=shares.c.served,
        ),
    )
)
"""Built once: building a statement costs more than running it."""

_AHEAD = (
    sa.select(shares.c.tenant, shares.c.lane)
    .where(shares.c.tenant == sa.bindparam("of_tenant"), shares.c.lane == sa.bindparam("of_lane"))
    .with_for_update(skip_locked=True)
    .cte("ahead")
)
_HOLD_BACK = (
    shares.update()
    .where(
        sa.tuple_(shares.c.tenant, shares.c.lane).in_(sa.select(_AHEAD.c.tenant, _AHEAD.c.lane)),
        shares.c.served > sa.bindparam("limit"),
    )
    .values(served=sa.bindparam("limit"))
)
"""Of a clock that somebody else has locked: the next claim does it."""


def clocks(connection: sa.Connection) -> dict[tuple[str, str], float]:
    """All clocks: three rows for each tenant there ever was."""
    found = connection.execute(_CLOCKS)
    return {(row.tenant, row.lane): row.served for row in found}


def arrive(connection: sa.Connection, tenant: str, lane: Lane) -> None:
    """Call before a tenant gets an open job: nobody has saved up idle time."""
    if connection.execute(_IS_ACTIVE, {"of_tenant": tenant, "of_lane": lane}).first() is None:
        # Only whoever begins anew looks who else is there.
        pairs = [(row.tenant, row.lane) for row in connection.execute(_ACTIVE)]
        _write(connection, _SET, started(clocks(connection), pairs, tenant, lane))


def charge(connection: sa.Connection, taken: Mapping[tuple[str, str], float]) -> None:
    """Count seconds of audio that were taken, by tenant and lane."""
    before = clocks(connection)
    fresh: dict[tuple[str, str], float] = {}
    added: dict[tuple[str, str], float] = {}
    for (tenant, lane), seconds in taken.items():
        fresh |= advanced(before | fresh, tenant, lane, seconds)
        for whose in ((tenant, BOTH), (tenant, lane)):
            added[whose] = added.get(whose, 0.0) + seconds
    # Others count at the same time: added to what is there, and not set to what was read.
    _write(connection, _ADD, added)
    for (tenant, lane), limit in sorted(fresh.items()):
        if (tenant, lane) not in added:
            whose_ = {"of_tenant": tenant, "of_lane": lane, "limit": limit}
            connection.execute(_HOLD_BACK, whose_)


def _write(connection: sa.Connection, statements: Mapping[str, Insert], given: Clocks) -> None:
    """In the order of their names: nobody then waits for anybody who waits for him."""
    rows = [
        {"tenant": tenant, "lane": lane, "served": served}
        for (tenant, lane), served in sorted(given.items())
    ]
    if rows:
        connection.execute(statements[connection.dialect.name], rows)
