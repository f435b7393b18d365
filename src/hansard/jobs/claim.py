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
from typing import Any

import sqlalchemy as sa

from hansard.jobs import shares
from hansard.jobs.groups import KEYS, open_groups
from hansard.jobs.limits import UNKNOWN
from hansard.jobs.shares import BOTH, Group
from hansard.model import SAMPLE_RATE, TRANSCRIBING
from hansard.store.tables import IS_ENDING, IS_HEARABLE, IS_LEFT, IS_OPEN, jobs, windows
from hansard.store.tables import shares as clocks

RUN_AHEAD = 7200.0
"""Seconds of audio that may lie ready in a tenant's lane before its next job is prepared: 230 MB.
More urgent jobs do not wait for less urgent ones."""

NOW = sa.bindparam("now", type_=sa.Double)

_MINE = sa.and_(IS_OPEN, jobs.c.pool.in_(sa.bindparam("pools", expanding=True)))

WITHIN_REACH = jobs.c.id.not_in(sa.bindparam("elsewhere", expanding=True))
"""Its files are here: see ``jobs.reach``. Finishing needs none."""

_LEFT = (jobs.c.planned_samples - jobs.c.heard_samples) / float(SAMPLE_RATE)

IS_FREE_STEP = sa.and_(
    IS_OPEN,
    jobs.c.not_before <= NOW,
    sa.or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < NOW),
)
"""Nobody has the job in hand. Takes the parameter ``now``."""

IS_FREE_WINDOW = sa.and_(IS_LEFT, sa.or_(windows.c.state == "waiting", windows.c.lease_until < NOW))
"""Nobody has the window in hand. Takes the parameter ``now``."""

_GROUP = tuple(jobs.c[key] for key in KEYS)

_IN_GROUP = sa.and_(*(column == sa.bindparam(f"of_{column.name}") for column in _GROUP))


def with_clocks(groups: sa.Select[Any] | sa.CompoundSelect[Any]) -> sa.Select[Any]:
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


def clocks_of(found: Sequence[sa.Row[Any]]) -> dict[tuple[str, str], float]:
    """The clocks that came with some groups: see :func:`with_clocks`."""
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
    jobs.c.lease_until >= NOW,
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
    names = ("eldest", "since", "step", "token", "attempt", "left")
    kinds: tuple[sa.types.TypeEngine[Any], ...] = (
        sa.Text(),
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


_STEP_GROUPS = with_clocks(
    # The eldest of each group that is to be begun: no walk past those behind it.
    sa.union_all(
        sa.select(
            *(_OPEN.c[column.name] for column in _GROUP),
            *_seen(
                "beginning",
                *(_AT.c.id.label("eldest"), _AT.c.created.label("since"), _AT.c.step),
                *(_AT.c.token, _AT.c.attempt),
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
    eldest: str | None = None
    """That job."""


def steps(connection: sa.Connection, asked: dict[str, Any]) -> list[Turn]:
    """Groups with a job that is to be prepared, finished, or done at a stroke; in their order.

    ``asked`` has ``now``, ``pools``, ``elsewhere``, and ``quick``: only what is over soon, which is
    short recordings, and finishing.
    """
    found = connection.execute(_STEP_GROUPS, asked).all()
    beginning = [row for row in found if row.what == "beginning"]
    ready = [row for row in found if row.what == "ready"]
    served = clocks_of(found)
    last = shares.ranked((group_of(row) for row in found if row.what == "ending"), served)
    free = _not_crowded(beginning, ready)
    ahead = [*ready, *(row for row in found if row.what == "preparing")]
    first = shares.ranked(map(group_of, free), _with_what_is_ahead(served, ahead))
    strokes = {group_of(row): row.eldest for row in free if row.step == "run" and not row.attempt}
    turns = []
    while first or last:
        # What only has to be finished goes first: it is quick, and somebody waits for it.
        ends = bool(last) and (not first or last[0].priority >= first[0].priority)
        group = (last if ends else first).pop(0)
        eldest = None if ends else strokes.get(group)
        turns.append(Turn(group, ends, eldest is not None, eldest))
    return turns


def group_of(row: sa.Row[Any]) -> Group:
    """The group that a row tells of."""
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
        sa.or_(jobs.c.deadline.is_(None), jobs.c.deadline < NOW),
        NOW
        + sa.bindparam("soft_seconds", type_=sa.Double)
        + sa.bindparam("soft_factor", type_=sa.Double) * sa.func.coalesce(jobs.c.seconds, UNKNOWN),
    ),
    else_=jobs.c.deadline,
)
"""A job that waited past its deadline for its turn gets its time anew: see ``Ledger.expire``."""

_UNDER_WAY = {
    "state": "running",
    "started": sa.func.coalesce(jobs.c.started, NOW),
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

_UNTRIED = sa.and_(_BEGINNING, jobs.c.step == "run", jobs.c.token.is_(None), jobs.c.attempt == 0)
TAKE_STROKES, TAKE_ELDEST = (
    jobs.update()
    .where(
        jobs.c.id.in_(
            sa.select(
                sa.select(jobs.c.id)
                .where(IS_OPEN, _UNTRIED, *among)
                .order_by(jobs.c.created, jobs.c.id)
                .limit(sa.bindparam("wanted"))
                .with_for_update(skip_locked=True)
                .cte("at_a_stroke")
                .c.id
            )
        )
    )
    .values(_UNDER_WAY | _HELD | {"attempt": 1})
    .returning(jobs)
    for among in (
        (_IN_GROUP, _NOT_TOO_LONG),
        (jobs.c.id.in_(sa.bindparam("eldest", expanding=True)),),
    )
)
"""Take up to ``wanted`` jobs that are done at a stroke and that nobody has tried yet: of a turn, or
of some that are the ``eldest`` of theirs."""

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
