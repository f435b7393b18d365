"""Jobs that follow another: who spoke, and what it meant. Inside the caller's transaction.

A follow-up is about the transcript of its *parent*, belongs to the same tenant and is removed with
it. It is added by the transaction that makes it necessary: the one that completes the parent, ends
the follow-up before it, or changes the words. It takes no place in the queue from a recording, is
in nobody's quota and tells no webhook. Of each kind at most one waits for each parent: what is
asked for while it waits is asked of that one.

Whoever calls :func:`add` holds the row of the parent (``states.lock``): so the same follow-up is
found and not added twice, and the parent, with the recording that both name, does not go meanwhile.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.jobs import rows, shares
from hansard.model import POOLS, Job, Value
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, jobs

_SAME = (
    "priority", "recording", "options", "batch_key", "engine", "model", "language", "levels",
    "tenant", "key", "name", "lane", "seconds", "trace",
)  # fmt: skip
"""Columns that a follow-up has from its parent."""

_OF = sa.select(jobs.c.id).where(jobs.c.parent == sa.bindparam("of")).order_by(jobs.c.id)
_WAITING = (
    sa.select(jobs)
    .where(
        jobs.c.parent == sa.bindparam("of"),
        jobs.c.kind == sa.bindparam("sort"),
        IS_OPEN,
        jobs.c.token.is_(None),
    )
    .order_by(jobs.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)  # of those whose parent is not ours: see go_on
)
_ANSWERING = sa.select(jobs).where(jobs.c.answers == sa.bindparam("same"))


class Next(Value, frozen=True):
    """What a request may say of what comes after it. Its other fields are its kind's own."""

    then: str | None = None
    """The kind of follow-up that begins when this one has ended, well or not."""
    otherwise: str | None = None
    """The kind that begins when this one failed or was cancelled, where ``then`` says none; what
    comes then has the same."""
    after: str | None = None
    """The follow-up whose end began this one."""
    instead: bool = False
    """It was begun by ``otherwise``: what would have come with a good end is to be made up for."""


def of(connection: sa.Connection, parent: str) -> list[str]:
    """Ids of everything that follows a job."""
    return list(connection.scalars(_OF, {"of": parent}))


def latest(database: Database, parent: str, kind: str) -> Job | None:
    """The last follow-up of a kind, whatever has become of it."""
    chosen = sa.select(jobs).where(jobs.c.parent == parent, jobs.c.kind == kind)
    with database.read() as connection:
        found = connection.execute(chosen.order_by(jobs.c.id.desc()).limit(1)).first()
    return None if found is None else rows.job(found)


def add(
    connection: sa.Connection,
    parent: sa.Row[Any],
    kind: str,
    request: Value,
    *,
    now: float,
    not_before: float = 0.0,
    again: bool = False,
) -> str:
    """Have something done about a transcript; the id of the job that does it.

    Args:
        connection: a transaction that holds the row of ``parent``.
        parent: the job whose transcript it is.
        kind: of the follow-up.
        request: what it is asked.
        now: seconds since the epoch.
        not_before: wait until then; what is asked again meanwhile waits anew.
        again: also where the very same was done before.
    """
    asked = rows.json(request)
    identity = rows.digest(kind, parent.id, asked)
    waiting = connection.execute(_WAITING, {"of": parent.id, "sort": kind}).first()
    same = connection.execute(_ANSWERING, {"same": identity}).first()
    if same is not None and (waiting is None or same.id == waiting.id):
        if same.finished is None or not (again or same.state in ("failed", "cancelled")):
            return str(same.id)
        _let_go(connection, same.id)
    elif same is not None and same.finished is not None:
        _let_go(connection, same.id)
    if waiting is not None:
        changed = {"request": asked, "identity": identity, "not_before": not_before}
        if same is None or same.finished is not None:
            changed["answers"] = identity
        mine = jobs.update().where(jobs.c.id == waiting.id)
        connection.execute(mine.values(changed))
        return str(waiting.id)
    fresh = {name: getattr(parent, name) for name in _SAME} | {
        "id": rows.new_id(now),
        "kind": kind,
        "pool": POOLS[kind],
        "state": "queued",
        "step": "run",
        "created": now,
        "not_before": not_before,
        "parent": parent.id,
        "request": asked,
        "identity": identity,
        "answers": identity,
    }
    connection.execute(jobs.insert().values(fresh))
    shares.arrive(connection, parent.tenant, parent.lane)
    return str(fresh["id"])


def go_on(connection: sa.Connection, ended: sa.Row[Any], *, now: float) -> None:
    """Begin what comes after a follow-up, however that has ended.

    Its parent need not be held: whoever removes that waits for the row that has ended here, and
    then looks again (``states.family``); and no other end asks for the very same.
    """
    said = msgspec.json.decode(ended.request or "{}", type=Next)
    then = said.then or (None if ended.state == "completed" else said.otherwise)
    if then is None:
        return
    parent = connection.execute(sa.select(jobs).where(jobs.c.id == ended.parent)).first()
    if parent is None:
        return
    instead = said.then is None
    asked = Next(after=ended.id, otherwise=None if instead else said.otherwise, instead=instead)
    if asked.instead and connection.execute(_WAITING, {"of": parent.id, "sort": then}).first():
        return  # one that waits does it all, and must not be asked for less
    add(connection, parent, then, asked, now=now)


def _let_go(connection: sa.Connection, job: str) -> None:
    """What ended does not answer for it any more."""
    connection.execute(jobs.update().where(jobs.c.id == job).values(answers=None))
