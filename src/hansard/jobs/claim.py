"""Which rows a worker should take next: the one place where SQL decides about urgency.

First the groups of jobs that want something are found, by leaps through ``ix_jobs_open``
(``groups``); ``shares`` ranks them; then the first rows of the best group are sought. Nothing is
taken here: the queue does that, in a transaction that takes only what is still free. Any number of
workers may have chosen the same: each takes what no other has locked, and none waits for another.
Statements are built once: building one costs several times what SQLite needs to run it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from hansard.jobs import shares
from hansard.jobs.groups import KEYS, hearable_groups, open_groups
from hansard.jobs.limits import UNKNOWN
from hansard.jobs.shares import BOTH, Group
from hansard.model import SAMPLE_RATE, TRANSCRIBING
from hansard.store.tables import IS_ENDING, IS_HEARABLE, IS_LEFT, IS_OPEN, jobs, windows
from hansard.store.tables import shares as clocks

RUN_AHEAD = 7200.0
"""Seconds of audio that may lie ready in a tenant's lane before its next job is prepared: 230 MB.
More urgent jobs do not wait for less urgent ones."""

LOOK_AHEAD = 4
"""Batches among which windows of like length are sought."""

_NOW = sa.bindparam("now", type_=sa.Double)

_MINE = sa.and_(IS_OPEN, jobs.c.pool.in_(sa.bindparam("pools", expanding=True)))

WITHIN_REACH = jobs.c.id.not_in(sa.bindparam("elsewhere", expanding=True))
"""Its files are here: see ``jobs.reach``. Finishing needs none."""

_LEFT = (jobs.c.planned_samples - jobs.c.heard_samples) / float(SAMPLE_RATE)

IS_FREE_STEP = sa.and_(
    IS_OPEN,
    jobs.c.not_before <= _NOW,
    sa.or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < _NOW),
)
"""Nobody has the job in hand. Takes the parameter ``now``."""

IS_FREE_WINDOW = sa.and_(
    IS_LEFT, sa.or_(windows.c.state == "waiting", windows.c.lease_until < _NOW)
)
"""Nobody has the window in hand. Takes the parameter ``now``."""

_GROUP = tuple(jobs.c[key] for key in KEYS)

_IN_GROUP = sa.and_(*(column == sa.bindparam(f"of_{column.name}") for column in _GROUP))


def _with_clocks(groups: sa.Select[Any] | sa.CompoundSelect[Any]) -> sa.Select[Any]:
    """Groups, each with what its tenant and its lane were served."""
    found = groups.subquery()
    whole, lane = clocks.alias(), clocks.alias()
    return sa.select(
        found,
        sa.func.coalesce(whole.c.served, 0.0).label("tenant_served"),
        sa.func.coalesce(lane.c.served, 0.0).label("lane_served"),
    ).select_from(
        found.outerjoin(
            whole, sa.and_(whole.c.tenant == found.c.tenant, whole.c.lane == BOTH)
        ).outerjoin(lane, sa.and_(lane.c.tenant == found.c.tenant, lane.c.lane == found.c.lane))
    )


def _served(found: Sequence[sa.Row[Any]]) -> dict[tuple[str, str], float]:
    served = {(row.tenant, row.lane): row.lane_served for row in found}
    return served | {(row.tenant, BOTH): row.tenant_served for row in found}


def of(group: Group) -> dict[str, Any]:
    """The parameters that name a group."""
    return {f"of_{key}": getattr(group, key) for key in KEYS}


# ── steps ────────────────────────────────────────────────────────────────────────────────────


_NOT_TOO_LONG = sa.or_(jobs.c.lane == "short", sa.not_(sa.bindparam("quick", type_=sa.Boolean)))
_BEGINNING = sa.and_(IS_FREE_STEP, WITHIN_REACH, jobs.c.step.in_(("prepare", "run")))
_ENDING = sa.and_(IS_FREE_STEP, IS_ENDING)
_PREPARING = sa.and_(
    jobs.c.token.is_not(None),
    jobs.c.step == "prepare",
    jobs.c.lease_until >= _NOW,
)
_COMING = sa.func.coalesce(jobs.c.seconds, UNKNOWN) - jobs.c.planned_samples / float(SAMPLE_RATE)
"""Seconds of a job that is being prepared whose windows are not written yet, about."""

_OPEN = open_groups()
_ELDEST = (
    sa.select(jobs.c.id)
    .where(_BEGINNING, *(jobs.c[key] == _OPEN.c[key] for key in KEYS))
    .order_by(jobs.c.created, jobs.c.id)
    .limit(1)
    .correlate(_OPEN)
    .scalar_subquery()
)
_AT = jobs.alias("eldest")
_IN_TIME = sa.or_(_OPEN.c.lane == "short", sa.not_(sa.bindparam("quick", type_=sa.Boolean)))


def _seen(what: str, *columns: sa.ColumnElement[Any]) -> list[sa.ColumnElement[Any]]:
    """Columns of what a claim sees of a group, alike in every part of a union."""
    names = ("since", "step", "token", "attempt", "left")
    kinds: tuple[sa.types.TypeEngine[Any], ...] = (
        sa.Double(),
        sa.Text(),
        sa.Text(),
        sa.Integer(),
        sa.Double(),
    )
    absent = [sa.cast(sa.null(), kind) for kind in kinds]
    given: dict[str, sa.ColumnElement[Any]] = dict(zip(names, absent, strict=True))
    given |= {one.key or "": one for one in columns}
    return [sa.literal_column(f"'{what}'").label("what"), *(given[n].label(n) for n in names)]


_STEP_GROUPS = _with_clocks(
    # The eldest of each group that is to be begun: no walk past those behind it.
    sa.union_all(
        sa.select(
            *(_OPEN.c[column.name] for column in _GROUP),
            *_seen(
                "beginning",
                *(_AT.c.created.label("since"), _AT.c.step, _AT.c.token, _AT.c.attempt),
            ),
        )
        .join_from(_OPEN, _AT, _AT.c.id == sa.case((_IN_TIME, _ELDEST)))
        .where(_OPEN.c.pool.in_(sa.bindparam("pools", expanding=True))),
        sa.select(*_GROUP, *_seen("ending", sa.func.min(jobs.c.created).label("since")))
        .where(_MINE, _ENDING)
        .group_by(*_GROUP),
        sa.select(*_GROUP, *_seen("ready", sa.func.sum(_LEFT).label("left")))
        .where(_MINE, IS_HEARABLE)
        .group_by(*_GROUP),
        sa.select(*_GROUP, *_seen("preparing", sa.func.sum(_COMING).label("left")))
        .where(_MINE, _PREPARING)
        .group_by(*_GROUP),
    )
)
_FIRST_TO_BEGIN, _FIRST_TO_END = (
    sa.select(jobs)
    .where(IS_OPEN, _IN_GROUP, *wanted)
    .order_by(jobs.c.created, jobs.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
    for wanted in ((_BEGINNING, _NOT_TOO_LONG), (_ENDING,))
)


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is: a group of jobs, of which one is to be begun, or ended."""

    group: Group
    ends: bool
    stroke: bool = False
    """Its eldest job is done at a stroke, and nobody has tried it yet."""


def steps(connection: sa.Connection, asked: dict[str, Any]) -> list[Turn]:
    """Groups with a job that is to be prepared, finished, or done at a stroke; in their order.

    ``asked`` has ``now``, ``pools``, ``elsewhere``, and ``quick``: only what is over soon, which is
    short recordings, and finishing.
    """
    found = connection.execute(_STEP_GROUPS, asked).all()
    beginning = [row for row in found if row.what == "beginning"]
    ready = [row for row in found if row.what == "ready"]
    served = _served(found)
    last = shares.ranked((_group(row) for row in found if row.what == "ending"), served)
    free = _not_crowded(beginning, ready)
    ahead = [*ready, *(row for row in found if row.what == "preparing")]
    first = shares.ranked(map(_group, free), _with_what_is_ahead(served, ahead))
    strokes = {_group(row) for row in free if row.step == "run" and not row.attempt}
    turns = []
    while first or last:
        # What only has to be finished goes first: it is quick, and somebody waits for it.
        ends = bool(last) and (not first or last[0].priority >= first[0].priority)
        group = (last if ends else first).pop(0)
        turns.append(Turn(group, ends, not ends and group in strokes))
    return turns


def _group(row: sa.Row[Any]) -> Group:
    return Group(row.pool, row.priority, row.tenant, row.lane, row.since)


def step(connection: sa.Connection, asked: dict[str, Any], turn: Turn) -> sa.Row[Any] | None:
    """The first job of a turn that nobody else has locked; locked from now on."""
    first = _FIRST_TO_END if turn.ends else _FIRST_TO_BEGIN
    return connection.execute(first, asked | of(turn.group)).first()


def _not_crowded(
    beginning: Sequence[sa.Row[Any]], ready: Sequence[sa.Row[Any]]
) -> list[sa.Row[Any]]:
    """Groups with a job to begin, in whose lane there is not enough ready already."""
    lanes: defaultdict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for one in ready:
        lanes[one.tenant, one.lane].append((one.priority, float(one.left)))

    def lies_ready(row: sa.Row[Any]) -> float:  # with all that is more urgent
        lane = lanes[row.tenant, row.lane]
        return sum(left for priority, left in lane if priority >= row.priority)

    return [row for row in beginning if lies_ready(row) < RUN_AHEAD]


def _with_what_is_ahead(served: shares.Clocks, ahead: Sequence[sa.Row[Any]]) -> shares.Clocks:
    """Clocks as they will be when all that is prepared, or in hand to be prepared, was heard.

    So tenants take turns at preparing, too, while the engine has not come to any of it yet. What
    somebody begins to prepare counts from the moment that he has it in hand: many who look while
    he does will not all begin the same tenant's. It is not written down, so that a worker that
    dies with it leaves no trace.
    """
    clocks = dict(served)
    for row in ahead:
        for whose in ((row.tenant, BOTH), (row.tenant, row.lane)):
            clocks[whose] = clocks.get(whose, 0.0) + max(0.0, float(row.left))
    return clocks


# ── windows ──────────────────────────────────────────────────────────────────────────────────


_HEARD_HERE = sa.and_(
    IS_OPEN,
    WITHIN_REACH,
    jobs.c.engine == sa.bindparam("engine"),
    jobs.c.model == sa.bindparam("model"),
    jobs.c.not_before <= _NOW,
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
_LEADING = _with_clocks(
    sa.select(
        *(_READY.c[column.name] for column in _GROUP),
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


def batch(
    connection: sa.Connection, asked: dict[str, Any], *, batch: int, lanes: int, ahead: int
) -> Batch | None:
    """Windows of one model that are best decoded together; ``None`` where it is better to wait.

    The earliest window of the most urgent job comes first, so that words appear in the order
    they were spoken; it is joined by those nearest to it in length. ``asked`` has ``now``,
    ``pools``, ``elsewhere``, ``engine`` and ``model``; of a job ``ahead`` windows are looked at.
    """
    found = connection.execute(_LEADING, asked | {"enough": batch - 1}).all()
    leads = {_group(row): row for row in found}
    turns = [leads[group] for group in shares.ranked(leads, _served(found))]
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

    Of those whose turn is next; only where they are too few, of whatever else there is: that is a
    walk past all that lies ready.
    """
    lead = turns[0]
    alike = {"batch_key": lead.batch_key, "language": lead.language}
    same = [turn for turn in turns[1:] if turn.batch_key == lead.batch_key]
    next_ = [turn.id for turn in same if turn.language == lead.language][:room]
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
    return list(found)[:room]


# ── what waits ───────────────────────────────────────────────────────────────────────────────


_WAITING = sa.select(sa.func.count()).select_from(
    sa.select(jobs.c.id)
    .where(IS_OPEN, jobs.c.state.in_(("queued", "retrying")), jobs.c.kind.in_(TRANSCRIBING))
    .limit(sa.bindparam("most", type_=sa.Integer))
    .subquery()
)


def waiting(connection: sa.Connection, most: int) -> int:
    """Jobs that nobody works on yet, or that wait to be tried again; no more than ``most``.

    What follows them is not counted: it takes no place from a recording, and there is at most one
    of each kind waiting for each transcript.
    """
    return int(connection.scalar(_WAITING, {"most": most}) or 0)


# ── taking ───────────────────────────────────────────────────────────────────────────────────

_DEADLINE = sa.case(
    (jobs.c.step == "record", None),
    (
        sa.or_(jobs.c.deadline.is_(None), jobs.c.deadline < _NOW),
        _NOW
        + sa.bindparam("soft_seconds", type_=sa.Double)
        + sa.bindparam("soft_factor", type_=sa.Double) * sa.func.coalesce(jobs.c.seconds, UNKNOWN),
    ),
    else_=jobs.c.deadline,
)
"""A job that waited past its deadline for its turn gets its time anew: see ``Ledger.expire``."""

_UNDER_WAY = {
    "state": "running",
    "started": sa.func.coalesce(jobs.c.started, _NOW),
    "deadline": _DEADLINE,
}
# Named unlike the columns: SQLAlchemy sets a column to any parameter that has its name.
_HELD: dict[str, Any] = {
    "owner": sa.bindparam("by"),
    "token": sa.bindparam("mark"),
    "lease_until": sa.bindparam("until"),
}

TAKE_STEP = (
    jobs.update()
    .where(jobs.c.id == sa.bindparam("job"))
    .values(_UNDER_WAY | _HELD | {"attempt": jobs.c.attempt + 1})
    .returning(jobs)
)
"""Takes a job that :func:`step` gave; gives its row."""

_AT_A_STROKE = (
    sa.select(jobs.c.id)
    .where(
        *(_IN_GROUP, _BEGINNING, _NOT_TOO_LONG),
        jobs.c.step == "run",
        jobs.c.token.is_(None),
        jobs.c.attempt == 0,
    )
    .order_by(jobs.c.created, jobs.c.id)
    .limit(sa.bindparam("wanted"))
    .with_for_update(skip_locked=True)
    .cte("at_a_stroke")
)
TAKE_STROKES = (
    jobs.update()
    .where(jobs.c.id.in_(sa.select(_AT_A_STROKE.c.id)))
    .values(_UNDER_WAY | _HELD | {"attempt": 1})
    .returning(jobs)
)
"""Takes up to ``wanted`` jobs of a turn that are done at a stroke and that nobody has tried yet."""

_BEST = (
    sa.select(windows.c.id)
    .where(
        windows.c.id.in_(sa.bindparam("windows", expanding=True)),
        windows.c.job.in_(sa.bindparam("jobs", expanding=True)),
        IS_FREE_WINDOW,
    )
    .order_by(
        windows.c.job != sa.bindparam("lead"),
        sa.func.abs(windows.c.samples - sa.bindparam("about", type_=sa.BigInteger)),
        windows.c.id,
    )
    .limit(sa.bindparam("wanted"))
    .with_for_update(skip_locked=True)
    # Apart, and not a subquery: that could be run, and lock rows, more than once.
    .cte("best")
)
TAKE_WINDOWS = (
    windows.update()
    .where(windows.c.id.in_(sa.select(_BEST.c.id)))
    .values(_HELD | {"state": "taken", "attempt": windows.c.attempt + 1})
    .returning(windows.c.id)
)
"""Takes the best of some windows that are still free and that nobody has locked; their names."""

BEGIN = (
    jobs.update()
    .where(jobs.c.id.in_(sa.bindparam("begun", expanding=True)))
    .values(_UNDER_WAY)
    .returning(jobs)
)
"""Marks jobs ``begun`` as under way; gives their rows."""


def is_under_way(job: sa.Row[Any], now: float) -> bool:
    """Whether :data:`BEGIN` would change nothing."""
    in_time = job.step == "record" or (job.deadline is not None and job.deadline >= now)
    return job.state == "running" and job.started is not None and in_time


def _renewal(table: sa.Table) -> sa.Update:
    mine = (
        sa.select(table.c.id)
        .where(
            table.c.id.in_(sa.bindparam("ids", expanding=True)),
            table.c.token.in_(sa.bindparam("tokens", expanding=True)),
            table.c.state != sa.literal_column("'done'"),
        )
        .with_for_update(key_share=True, skip_locked=True)
        .cte("mine")
    )
    return (
        table.update()
        .where(table.c.id.in_(sa.select(mine.c.id)))
        .values(lease_until=sa.bindparam("until"))
    )


RENEW_JOBS, RENEW_WINDOWS = _renewal(jobs), _renewal(windows)
"""Move the deadlines of rows ``ids`` that are held by ``tokens`` and that nobody has locked."""
