"""Which windows a worker should hear next: those that are best decoded together.

One statement leaps from group to group (``groups``) and gives the first job of each that has a
window nobody has in hand; ``shares`` ranks them. Nothing is taken here, as in ``claim``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from hansard.jobs import shares
from hansard.jobs.claim import IS_FREE_WINDOW, NOW, WITHIN_REACH, clocks_of, group_of, with_clocks
from hansard.jobs.groups import KEYS, hearable_groups
from hansard.store.tables import IS_HEARABLE, IS_LEFT, IS_OPEN, jobs, windows

LOOK_AHEAD = 4
"""Batches among which windows of like length are sought."""

_HEARD_HERE = sa.and_(
    IS_OPEN,
    WITHIN_REACH,
    jobs.c.engine == sa.bindparam("engine"),
    jobs.c.model == sa.bindparam("model"),
    jobs.c.not_before <= NOW,
    IS_HEARABLE,
)
_ENOUGH = sa.bindparam("enough", type_=sa.Integer)
"""A full batch, less one."""

# Subqueries and not EXISTS: those are made joins, by guesses of how many windows are free.
_HAS_FREE, _HAS_ENOUGH, _HAS_TAKEN = (
    sa.select(windows.c.id)
    .where(windows.c.job == jobs.c.id, *wanted)
    .order_by(windows.c.id)
    .limit(1)
    .offset(behind)
    .correlate(jobs)
    .scalar_subquery()
    .is_not(None)
    for wanted, behind in (
        ((IS_FREE_WINDOW,), None),
        ((IS_FREE_WINDOW,), _ENOUGH),
        ((IS_LEFT, windows.c.state == "taken"), None),
    )
)
_NOW_OR_LATER = sa.or_(
    jobs.c.prepared.is_not(None), jobs.c.kind == "live", sa.not_(_HAS_TAKEN), _HAS_ENOUGH
)
"""While a job is still being prepared and somebody is busy with it, a full batch is waited for."""

_READY = hearable_groups()
_FIRST_TO_HEAR = (
    sa.select(jobs.c.id)
    .where(_HEARD_HERE, *(jobs.c[key] == _READY.c[key] for key in KEYS), _HAS_FREE, _NOW_OR_LATER)
    .order_by(jobs.c.created, jobs.c.id)
    .limit(1)
    .correlate(_READY)
    .scalar_subquery()
)
_LEAD = jobs.alias("lead")

# The first of each group with a window that nobody has in hand: a walk past those that are all in
# hand, which are no more than there are hands. Who finds nothing has asked once.
_LEADING = with_clocks(
    sa.select(
        *(_READY.c[key] for key in KEYS),
        *(_LEAD.c.created.label("since"), _LEAD.c.id, _LEAD.c.kind, _LEAD.c.language),
        *(_LEAD.c.batch_key, _LEAD.c.prepared.is_not(None).label("whole")),
    )
    .join_from(_READY, _LEAD, _LEAD.c.id == _FIRST_TO_HEAR)
    .where(_READY.c.pool.in_(sa.bindparam("pools", expanding=True)))
)
_ALIKE = (
    sa.select(jobs.c.id)
    .where(
        *(_HEARD_HERE, jobs.c.pool.in_(sa.bindparam("pools", expanding=True))),
        jobs.c.batch_key == sa.bindparam("batch_key"),
        jobs.c.language == sa.bindparam("language"),
        jobs.c.id.not_in(sa.bindparam("besides", expanding=True)),
        _HAS_FREE,
    )
    .order_by(jobs.c.priority.desc(), jobs.c.created, jobs.c.id)
    .limit(sa.bindparam("room"))
)


def _free_of(place: int = 0) -> sa.Select[Any]:
    """The first free windows of a job; the parameters have ``place`` at the end of their names."""
    return (
        sa.select(windows)
        .where(windows.c.job == sa.bindparam(f"of_{place}"), IS_FREE_WINDOW)
        .order_by(windows.c.id)
        .limit(sa.bindparam("most"))
    )


_FREE_OF = _free_of()


@cache
def _free_of_each(count: int) -> sa.CompoundSelect[Any] | sa.Select[Any]:
    """The same of so many jobs, one after the other."""
    each = [_free_of(place).subquery() for place in range(count)]
    return sa.union_all(*(sa.select(one) for one in each))


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that are best decoded together: ``wanted`` of them, the best ones first."""

    lead: str
    """The job that they are chosen for."""
    samples: int
    """Of its first window: those nearest to that are best."""
    wanted: int
    rows: list[sa.Row[Any]]
    """More than are wanted, where there are more: others may be quicker."""

    @property
    def best(self) -> list[sa.Row[Any]]:
        """What is taken if nobody is quicker."""
        return self.rows[: self.wanted]


def chosen(
    connection: sa.Connection, asked: dict[str, Any], *, batch: int, lanes: int, ahead: int
) -> Batch | None:
    """Windows of one model that are best decoded together; ``None`` where it is better to wait.

    The earliest window of the most urgent job comes first, so that words appear in the order
    they were spoken; it is joined by those nearest to it in length. ``asked`` has ``now``,
    ``pools``, ``elsewhere``, ``engine`` and ``model``; of a job ``ahead`` windows are looked at.
    """
    found = connection.execute(_LEADING, asked | {"enough": batch - 1}).all()
    leads = {group_of(row): row for row in found}
    turns = [leads[group] for group in shares.ranked(leads, clocks_of(found))]
    for place, lead in enumerate(turns):
        free = {"now": asked["now"], "of_0": lead.id, "most": ahead}
        own = list(connection.execute(_FREE_OF, free).all())
        if not own:
            continue  # others were quicker
        # Near the end each lane takes its share, so that none is left with a whole batch alone.
        wanted = min(batch, max(1, -(-len(own) // lanes))) if lead.whole else batch
        samples = own[0].samples
        own.sort(key=lambda row: (abs(row.samples - samples), row.id))
        if lead.language is None or len(own) > wanted or len(own) >= batch:
            return Batch(lead.id, samples, min(wanted, len(own)), own)
        others = _of_other_jobs(connection, turns[place:], asked, batch - len(own))
        return Batch(lead.id, samples, len(own) + len(others), own + others)
    return None


def _of_other_jobs(
    connection: sa.Connection,
    turns: Sequence[sa.Row[Any]],
    asked: dict[str, Any],
    room: int,
) -> list[sa.Row[Any]]:
    """Windows of other jobs that decode the same way: engine, model, options and language.

    Of those whose turn is next, if they are as urgent; only where they are too few, of whatever
    else there is, urgent ones first: that is a walk past all that lies ready.
    """
    lead = turns[0]
    alike = {"batch_key": lead.batch_key, "language": lead.language}
    like = (lead.priority, lead.batch_key, lead.language)
    same = [turn for turn in turns[1:] if (turn.priority, turn.batch_key, turn.language) == like]
    next_ = [turn.id for turn in same[:room]]
    chosen = _first_free(connection, next_, asked, room)
    if len(chosen) == room:
        return chosen
    left = room - len(chosen)
    more = asked | alike | {"besides": [lead.id, *next_], "room": left}
    return chosen + _first_free(connection, connection.scalars(_ALIKE, more).all(), asked, left)


def _first_free(
    connection: sa.Connection, of: Sequence[str], asked: dict[str, Any], room: int
) -> list[sa.Row[Any]]:
    """So many free windows of some jobs, the first job's first."""
    if not of:
        return []
    each = {f"of_{place}": job for place, job in enumerate(of)}
    found = connection.execute(_free_of_each(len(of)), each | {"now": asked["now"], "most": room})
    return sorted(found, key=lambda row: (of.index(row.job), row.id))[:room]
