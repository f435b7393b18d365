"""Adding a job in one statement, where nothing speaks against it: PostgreSQL, most of the time.

``Queue.submit`` asks one thing after the other: is this work asked for already, is there room,
whose clock must be set. Over a network each question is a way there and back. Here all are
conditions of one statement, which adds the job with all that belongs to it, or nothing: then the
questions are asked one by one, and the answer to one of them is why.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hansard.jobs.shares import BOTH
from hansard.store import locks
from hansard.store.database import Database
from hansard.store.locks import holding
from hansard.store.tables import IS_OPEN, jobs, keys, recordings, shares
from hansard.store.usage import added, any_part

_RECORDING = {
    column.name: sa.bindparam(f"recording_{column.name}", type_=column.type)
    for column in recordings.c
}
_COLUMNS = (
    *(
        "id",
        "kind",
        "pool",
        "state",
        "step",
        "priority",
        "recording",
        "name",
        "identity",
        "answers",
    ),
    *("options", "batch_key", "engine", "model", "language", "levels", "created", "tenant", "key"),
    *("lane", "seconds", "webhook", "request", "trace"),
)
_JOB = {name: sa.bindparam(f"job_{name}", type_=jobs.c[name].type) for name in _COLUMNS}

_SAME = sa.exists().where(jobs.c.answers == _JOB["answers"])
_ROOM = (
    sa.select(sa.func.count())
    .select_from(
        sa.select(jobs.c.id)
        .where(IS_OPEN, jobs.c.state.in_(("queued", "retrying")))
        .limit(sa.bindparam("half", type_=sa.Integer))
        .subquery()
    )
    .scalar_subquery()
) < sa.bindparam("half", type_=sa.Integer)
_IS_ROOM = sa.or_(sa.bindparam("roomy", type_=sa.Boolean), _ROOM)
_HAS_QUOTA = sa.exists().where(keys.c.id == _JOB["key"], keys.c.quota.is_not(None))
_IS_ACTIVE = sa.exists().where(
    IS_OPEN, jobs.c.tenant == _JOB["tenant"], jobs.c.lane == _JOB["lane"]
)


def _served(lane: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    mine = sa.select(shares.c.served).where(
        shares.c.tenant == _JOB["tenant"], shares.c.lane == lane
    )
    return sa.func.coalesce(mine.scalar_subquery(), 0.0)


_other = shares.alias("other")
_IS_ALONE = sa.and_(
    ~sa.exists().where(IS_OPEN),
    # Whoever begins where nobody is active is set to the latest clock: his own already.
    ~sa.exists().where(_other.c.lane == BOTH, _other.c.served > _served(sa.literal(BOTH))),
    ~sa.exists().where(
        _other.c.tenant == _JOB["tenant"],
        _other.c.lane != BOTH,
        _other.c.served > _served(_JOB["lane"]),
    ),
)
_WELCOME = sa.and_(~_SAME, ~_HAS_QUOTA, sa.or_(_IS_ACTIVE, _IS_ALONE), _IS_ROOM)

# Everything is asked once, here: what is inserted comes from this row, if there is one.
_HELD = (
    sa.select(holding(sa.bindparam("held", type_=sa.Text)).label("held"))
    .where(_WELCOME)
    .cte("held")
)

_NAMED = (
    postgresql.insert(recordings)
    .from_select(list(_RECORDING), sa.select(*_RECORDING.values()).select_from(_HELD))
    .on_conflict_do_nothing()
    .returning(recordings.c.id)
    .cte("named")
)
_ADDED = (
    postgresql.insert(jobs)
    .from_select(list(_JOB), sa.select(*_JOB.values()).select_from(_HELD))
    .on_conflict_do_nothing(index_elements=[jobs.c.answers])  # since the statement began
    .returning(jobs.c.id, jobs.c.tenant, jobs.c.key, jobs.c.engine)
    .cte("added")
)
_COUNTED = added(
    sa.select(
        sa.bindparam("day", type_=sa.Text),
        _ADDED.c.tenant,
        sa.func.coalesce(_ADDED.c.key, ""),
        _ADDED.c.engine,
        sa.bindparam("part", type_=sa.Integer),
        sa.literal(1),
        sa.literal(0.0),
        sa.literal(0.0),
    )
).cte("counted")
_ARRIVE = sa.select(_ADDED.c.id).add_cte(_NAMED, _COUNTED).execution_options(changes=True)


def added_at_once(
    database: Database,
    recording: dict[str, Any],
    job: dict[str, Any],
    *,
    day: str,
    half: int,
    roomy: bool,
) -> bool:
    """Whether a new job was added. If not, nothing was, because something is to be decided.

    Args:
        database: where.
        recording: the columns of its recording, which may be there already.
        job: the columns of the job.
        day: under which it is counted.
        half: of the places in the queue: as long as no more are taken, nobody has to be asked.
        roomy: it is known that no more are.
    """
    if database.dialect != "postgresql":
        return False
    given = {f"recording_{name}": value for name, value in recording.items()}
    given |= {f"job_{name}": job[name] for name in _COLUMNS}
    given |= {
        "day": day,
        "part": any_part(),
        "half": half,
        "roomy": roomy,
        "held": locks.of_recording(job["recording"]),
    }
    with database.write(single=True) as connection:
        return connection.execute(_ARRIVE, given).first() is not None
