"""Which rows a worker should take next: the one place where SQL decides about urgency.

First the groups of jobs that want something are found, by one walk through ``ix_jobs_open``;
``shares`` ranks them; then the first row of the best group is sought. Nothing is taken here: the
queue does that, in a transaction that takes only what is still free.

Statements are built once: building one costs several times what SQLite needs to run it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from hansard.jobs import shares
from hansard.jobs.limits import UNKNOWN
from hansard.jobs.shares import BOTH, Group
from hansard.model import SAMPLE_RATE, Pool
from hansard.store.tables import IS_LEFT, IS_OPEN, jobs, windows
from hansard.store.tables import shares as clocks

RUN_AHEAD = 7200.0
"""Seconds of audio that may lie ready in a tenant's lane before its next job is prepared: 230 MB.
More urgent jobs do not wait for less urgent ones."""

LOOK_AHEAD = 4
"""Batches among which windows of like length are sought."""

_LEADS = 4
"""Jobs of a group that are tried for a batch: for the first it may be better to wait."""

_NOW = sa.bindparam("now", type_=sa.Double)

_MINE = sa.and_(IS_OPEN, jobs.c.pool.in_(sa.bindparam("pools", expanding=True)))

_LEFT = (jobs.c.planned_samples - jobs.c.heard_samples) / float(SAMPLE_RATE)

_HEARABLE = sa.or_(jobs.c.planned_samples > jobs.c.heard_samples, jobs.c.kind == "live")
"""May have windows to hear. Provisional ones, which only live jobs have, are in no sum."""

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

_GROUP = (jobs.c.priority, jobs.c.tenant, jobs.c.lane)

_IN_GROUP = sa.and_(*(column == sa.bindparam(f"of_{column.name}") for column in _GROUP))


def _with_clocks(groups: sa.Select[Any]) -> sa.Select[Any]:
    """Groups, each with what its tenant and its lane were served."""
    found = groups.group_by(*_GROUP).subquery()
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


def _names(group: Group) -> dict[str, Any]:
    return {"of_priority": group.priority, "of_tenant": group.tenant, "of_lane": group.lane}


# ── steps ────────────────────────────────────────────────────────────────────────────────────


_BEGINNING = sa.and_(
    IS_FREE_STEP,
    jobs.c.step.in_(("prepare", "run")),
    sa.or_(jobs.c.lane == "short", sa.not_(sa.bindparam("quick", type_=sa.Boolean))),
)
_ENDING = sa.and_(IS_FREE_STEP, jobs.c.step == "finish")

_STEP_GROUPS = _with_clocks(
    sa.select(
        *_GROUP,
        sa.func.sum(_LEFT).label("left"),
        sa.func.min(sa.case((_BEGINNING, jobs.c.created))).label("beginning"),
        sa.func.min(sa.case((_ENDING, jobs.c.created))).label("ending"),
    ).where(_MINE)
)
_FIRST_TO_BEGIN, _FIRST_TO_END = (
    sa.select(jobs).where(_MINE, _IN_GROUP, wanted).order_by(jobs.c.created, jobs.c.id).limit(1)
    for wanted in (_BEGINNING, _ENDING)
)


def step(
    connection: sa.Connection, now: float, pools: Collection[Pool], *, quick: bool = False
) -> sa.Row[Any] | None:
    """The job most in need of preparing, finishing, or all of its one step.

    Args:
        connection: a transaction.
        now: the time.
        pools: kinds of work that the caller does.
        quick: only what is over soon: short recordings, and finishing.
    """
    asked = {"now": now, "pools": list(pools), "quick": quick}
    found = connection.execute(_STEP_GROUPS, asked).all()
    if not found:
        return None
    served = _served(found)
    last = _best(
        [
            Group(row.priority, row.tenant, row.lane, row.ending)
            for row in found
            if row.ending is not None
        ],
        served,
    )
    first = _best(_not_crowded(found), _with_what_lies_ready(served, found))
    # What only has to be finished goes first: it is quick, and somebody waits for it.
    if last is not None and (first is None or last.priority >= first.priority):
        return connection.execute(_FIRST_TO_END, asked | _names(last)).first()
    if first is not None:
        return connection.execute(_FIRST_TO_BEGIN, asked | _names(first)).first()
    return None


def _best(groups: list[Group], served: shares.Clocks) -> Group | None:
    return next(iter(shares.ranked(groups, served)), None)


def _not_crowded(found: Sequence[sa.Row[Any]]) -> list[Group]:
    """Groups with a job to begin, in whose lane there is not enough ready already."""
    ready: defaultdict[tuple[str, str], float] = defaultdict(float)
    free = []
    for row in sorted(found, key=lambda row: -row.priority):
        ready[row.tenant, row.lane] += row.left  # and all that is more urgent
        if row.beginning is not None and ready[row.tenant, row.lane] < RUN_AHEAD:
            free.append(Group(row.priority, row.tenant, row.lane, row.beginning))
    return free


def _with_what_lies_ready(served: shares.Clocks, found: Sequence[sa.Row[Any]]) -> shares.Clocks:
    """Clocks as they will be when all that is prepared was heard.

    So tenants take turns at preparing, too, while the engine has not come to any of it yet.
    """
    ahead = dict(served)
    for row in found:
        for whose in ((row.tenant, BOTH), (row.tenant, row.lane)):
            ahead[whose] = ahead.get(whose, 0.0) + row.left
    return ahead


# ── windows ──────────────────────────────────────────────────────────────────────────────────


_HEARD_HERE = sa.and_(
    _MINE,
    jobs.c.engine == sa.bindparam("engine"),
    jobs.c.model == sa.bindparam("model"),
    jobs.c.not_before <= _NOW,
    _HEARABLE,
)
_HAS_FREE = sa.exists().where(windows.c.job == jobs.c.id, IS_FREE_WINDOW)

_WINDOW_GROUPS = _with_clocks(
    sa.select(*_GROUP, sa.func.min(jobs.c.created).label("since")).where(_HEARD_HERE)
)
_LEADING = (
    sa.select(jobs.c.id, jobs.c.kind, jobs.c.language, jobs.c.batch_key, jobs.c.prepared)
    .where(_HEARD_HERE, _IN_GROUP, _HAS_FREE)
    .order_by(jobs.c.created, jobs.c.id)
    .limit(_LEADS)
)
_ALIKE = (
    sa.select(jobs.c.id)
    .where(
        _HEARD_HERE,
        jobs.c.batch_key == sa.bindparam("batch_key"),
        jobs.c.language == sa.bindparam("language"),
        jobs.c.id != sa.bindparam("lead"),
        _HAS_FREE,
    )
    .order_by(jobs.c.priority.desc(), jobs.c.created, jobs.c.id)
    .limit(sa.bindparam("room"))
)
_FREE_OF = (
    sa.select(windows)
    .where(windows.c.job == sa.bindparam("of"), IS_FREE_WINDOW)
    .order_by(windows.c.id)
    .limit(sa.bindparam("most"))
)
_TAKEN_OF = (
    sa.select(windows.c.id)
    .where(windows.c.job == sa.bindparam("of"), IS_LEFT, windows.c.state == "taken")
    .limit(1)
)


def batch(
    connection: sa.Connection,
    engine: str,
    model: str,
    *,
    batch: int,
    lanes: int,
    now: float,
    pools: Collection[Pool],
) -> list[sa.Row[Any]]:
    """Windows of one model that are best decoded together; empty where it is better to wait.

    The earliest window of the most urgent job comes first, so that words appear in the order
    they were spoken; it is joined by those nearest to it in length.
    """
    asked = {"engine": engine, "model": model, "now": now, "pools": list(pools)}
    found = connection.execute(_WINDOW_GROUPS, asked).all()
    groups = [Group(row.priority, row.tenant, row.lane, row.since) for row in found]
    for group in shares.ranked(groups, _served(found)):
        for lead in connection.execute(_LEADING, asked | _names(group)).all():
            chosen = _led_by(connection, lead, asked, batch=batch, lanes=lanes)
            if chosen:
                return chosen
    return []


def _led_by(
    connection: sa.Connection,
    lead: sa.Row[*tuple[Any, ...]],
    asked: dict[str, Any],
    *,
    batch: int,
    lanes: int,
) -> list[sa.Row[Any]]:
    """The batch that begins with the first window of a job, if its time has come."""
    most = batch * max(LOOK_AHEAD, lanes)
    ahead = list(
        connection.execute(_FREE_OF, {"now": asked["now"], "of": lead.id, "most": most}).all()
    )
    patient = lead.prepared is None and lead.kind != "live"
    if patient and len(ahead) < batch and connection.execute(_TAKEN_OF, {"of": lead.id}).first():
        return []
    # Near the end each lane takes its share, so that none is left with a whole batch alone.
    wanted = min(batch, max(1, -(-len(ahead) // lanes))) if lead.prepared else batch
    first = ahead[0]
    ahead.sort(key=lambda row: (abs(row.samples - first.samples), row.id))
    chosen = ahead[:wanted]
    if lead.language is not None and len(chosen) < batch and len(ahead) <= wanted:
        chosen += _of_other_jobs(connection, lead, asked, batch - len(chosen))
    return chosen


def _of_other_jobs(
    connection: sa.Connection, lead: sa.Row[*tuple[Any, ...]], asked: dict[str, Any], room: int
) -> list[sa.Row[Any]]:
    """Windows of other jobs that decode the same way: engine, model, options and language."""
    alike = {"batch_key": lead.batch_key, "language": lead.language, "lead": lead.id, "room": room}
    chosen: list[sa.Row[Any]] = []
    for other in connection.scalars(_ALIKE, asked | alike).all():
        most = room - len(chosen)
        of = {"now": asked["now"], "of": other, "most": most}
        chosen += connection.execute(_FREE_OF, of)
        if len(chosen) == room:
            break
    return chosen


# ── what waits ───────────────────────────────────────────────────────────────────────────────


_MODELS = (
    sa.select(jobs.c.engine, jobs.c.model)
    .where(_MINE, jobs.c.step.in_(("record", "prepare", "listen")), jobs.c.not_before <= _NOW)
    .group_by(jobs.c.engine, jobs.c.model)
    .order_by(sa.func.max(jobs.c.priority).desc(), sa.func.min(jobs.c.created))
)
_WAITING = (
    sa.select(sa.func.count())
    .select_from(jobs)
    .where(IS_OPEN, jobs.c.state.in_(("queued", "retrying")))
)


def models(connection: sa.Connection, now: float, pools: Collection[Pool]) -> list[tuple[str, str]]:
    """Engine and model of jobs that have or will have windows to hear, urgent ones first."""
    found = connection.execute(_MODELS, {"now": now, "pools": list(pools)})
    return [(row.engine, row.model) for row in found]


def waiting(connection: sa.Connection) -> int:
    """Jobs that nobody works on yet, or that wait to be tried again."""
    return int(connection.scalar(_WAITING) or 0)


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
    .where(
        jobs.c.id == sa.bindparam("job"),
        jobs.c.step == sa.bindparam("was_step"),
        jobs.c.attempt == sa.bindparam("was_attempt"),
        IS_FREE_STEP,
    )
    .values(_UNDER_WAY | _HELD | {"attempt": jobs.c.attempt + 1})
    .returning(jobs)
)
"""Takes a job whose step is to be done, if it is as it was; gives its row."""

TAKE_WINDOWS = (
    windows.update()
    .where(
        windows.c.id.in_(sa.bindparam("windows", expanding=True)),
        IS_FREE_WINDOW,
        sa.exists().where(jobs.c.id == windows.c.job, IS_OPEN),
    )
    .values(_HELD | {"state": "taken", "attempt": windows.c.attempt + 1})
    .returning(windows.c.id)
)
"""Takes those windows that are still free; gives their names."""

BEGIN = (
    jobs.update()
    .where(jobs.c.id.in_(sa.bindparam("jobs", expanding=True)))
    .values(_UNDER_WAY)
    .returning(jobs)
)
"""Marks jobs as under way; gives their rows."""
