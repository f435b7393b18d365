"""Webhooks: who is told that a job has ended. Noted with the end itself, so nothing is left out.

:func:`note_end` runs inside the transaction that ends a job: either both are there or neither.
``jobs.deliveries`` sends what was noted until it arrives or is given up; the log of that is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from hansard import telemetry
from hansard.errors import TooMuch, UnknownDelivery
from hansard.jobs import rows
from hansard.model import SAMPLE_RATE, Failure, Prepared, Value
from hansard.store import locks
from hansard.store.tables import deliveries, delivery_tries, jobs, receivers

HOUSE = ""
"""The tenant of deliveries to the address in the settings, which is told of everybody's jobs."""

_EVERY_JOB = ""

MOST = 15
"""Addresses that are told of one job besides its own and the house's."""

EVENTS = {"completed": "job.completed", "failed": "job.failed", "cancelled": "job.cancelled"}
"""The event of each state that a job ends in."""


State = Literal["waiting", "delivered", "abandoned"]


class Try(Value, frozen=True, omit_defaults=False):
    """One time that a delivery was sent."""

    number: int
    at: float
    """Seconds since the epoch."""
    seconds: float
    """That it took."""
    status: int | None = None
    """Of the receiver's answer, where there was one."""
    error: str | None = None


class Delivery(Value, frozen=True, omit_defaults=False):
    """An event on its way to one receiver. Times are seconds since the epoch."""

    id: str
    """The event's: the same in each try, and in the header ``webhook-id``."""
    event: str
    job: str
    url: str
    state: State
    created: float
    attempts: int
    """Since it was noted, or replayed."""
    next_try: float | None = None
    finished: float | None = None
    tries: tuple[Try, ...] = ()
    body: msgspec.Raw | None = None


def tell_of_every_job(connection: sa.Connection, url: str | None) -> None:
    """From now on this address is told of every job that ends, whichever process ends it."""
    locks.alone(connection, "receivers of every job")
    known = connection.scalars(sa.select(receivers.c.url).where(receivers.c.job == _EVERY_JOB))
    if set(known) == ({url} if url else set()):
        return
    connection.execute(receivers.delete().where(receivers.c.job == _EVERY_JOB))
    if url:
        connection.execute(receivers.insert().values(job=_EVERY_JOB, url=url))


def also_tell(connection: sa.Connection, job: str, url: str | None, *, now: float) -> None:
    """Somebody asked for work that was asked for before: he is told of its end as well.

    Raises:
        TooMuch: :data:`MOST` others are told of it already.
    """
    row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one()
    if not url:
        return
    if row.state in EVENTS:
        _note(connection, row, url, row.tenant, now)
    elif url != row.webhook:
        known = set(connection.scalars(sa.select(receivers.c.url).where(receivers.c.job == job)))
        if url in known:
            return
        if len(known) >= MOST:  # one job must not become a volley of calls to strangers
            raise TooMuch(
                f"{MOST + 1} addresses are told of this job already.",
                hint="Wait for its end, or follow its events.",
            )
        connection.execute(receivers.insert().values(job=job, url=url))


def note_end(connection: sa.Connection, row: sa.Row[Any], *, now: float) -> None:
    """Note for everybody who is to be told that a job has ended; its row says how."""
    note_ends(connection, [row], now=now)


def note_ends(connection: sa.Connection, ended: Sequence[sa.Row[Any]], *, now: float) -> None:
    """Like :func:`note_end`, for several jobs."""
    asked = [_EVERY_JOB, *(row.id for row in ended)]
    wanted = connection.execute(_WANTED, {"of": asked}).all()
    for row in ended:
        if row.webhook:
            _note(connection, row, row.webhook, row.tenant, now)
        mine = [one for one in wanted if one.job in (_EVERY_JOB, row.id)]
        for one in mine:
            _note(connection, row, one.url, row.tenant if one.job else HOUSE, now)
        if any(one.job for one in mine):
            connection.execute(receivers.delete().where(receivers.c.job == row.id))


_WANTED = sa.select(receivers).where(receivers.c.job.in_(sa.bindparam("of", expanding=True)))


def forget(connection: sa.Connection, job: str) -> None:
    """A job is removed: what was sent about it goes too. What still waits is sent."""
    connection.execute(
        deliveries.delete().where(deliveries.c.job == job, deliveries.c.finished.is_not(None))
    )


# ── the log ──────────────────────────────────────────────────────────────────────────────────


def listing(
    connection: sa.Connection,
    tenant: str | None,
    *,
    job: str | None = None,
    state: State | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """Deliveries, newest first; ``before`` is the last id of a page.

    ``tenant`` ``None`` is the owner of the machine, who sees everybody's.
    """
    chosen = sa.select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
    if tenant is not None:
        chosen = chosen.where(deliveries.c.tenant == tenant)
    if job is not None:
        chosen = chosen.where(deliveries.c.job == job)
    if state is not None:
        chosen = chosen.where(deliveries.c.state == state)
    if before is not None:
        chosen = chosen.where(deliveries.c.id < before)
    return [_delivery(row) for row in connection.execute(chosen)]


def find(connection: sa.Connection, tenant: str | None, number: str) -> Delivery:
    """One delivery with everything that was tried for it.

    Raises:
        UnknownDelivery: there is none, or it is another tenant's.
    """
    chosen = sa.select(deliveries).where(deliveries.c.id == number)
    if tenant is not None:
        chosen = chosen.where(deliveries.c.tenant == tenant)
    row = connection.execute(chosen).first()
    if row is None:
        raise UnknownDelivery(
            f"There is no delivery {number[:40]}.",
            hint="GET /api/v1/webhooks/deliveries lists them.",
        )
    tried = connection.execute(
        sa.select(delivery_tries)
        .where(delivery_tries.c.delivery == number)
        .order_by(delivery_tries.c.number)
    )
    tries = tuple(Try(one.number, one.at, one.seconds, one.status, one.error) for one in tried)
    return replace(_delivery(row), tries=tries, body=msgspec.Raw(row.body.encode()))


def replay(connection: sa.Connection, tenant: str | None, number: str, *, now: float) -> Delivery:
    """Send once more, at once: the same event, under the same id, for as long as the first time.

    Raises:
        UnknownDelivery: see :func:`find`.
    """
    find(connection, tenant, number)
    connection.execute(
        deliveries.update()
        .where(deliveries.c.id == number)
        .values(
            state="waiting",
            attempt=0,
            not_before=now,
            since=now,
            finished=None,
            token=None,
            lease_until=None,
        )
    )
    return find(connection, tenant, number)


def _delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        event=row.event,
        job=row.job,
        url=row.url,
        state=row.state,
        created=row.created,
        attempts=row.attempt,
        next_try=row.not_before if row.state == "waiting" else None,
        finished=row.finished,
    )


# ── inside a transaction ─────────────────────────────────────────────────────────────────────


def note(
    connection: sa.Connection,
    event: str,
    data: dict[str, Any],
    *,
    url: str,
    tenant: str,
    job: str,
    now: float,
    trace: str | None = None,
) -> None:
    """Note one event for one address; ``data`` is what there is to say.

    ``trace`` is the ``traceparent`` it belongs to, if not that of whoever notes it.
    """
    number = rows.new_id(now)
    said = {"id": number, "type": event, "created": round(now, 3), "data": data}
    connection.execute(
        deliveries.insert().values(
            id=number,
            tenant=tenant,
            job=job,
            event=event,
            url=url,
            host=_host(url),
            body=msgspec.json.encode(said).decode(),
            state="waiting",
            not_before=now,
            created=now,
            since=now,
            trace=trace or telemetry.traceparent(),
        )
    )


def _note(connection: sa.Connection, row: sa.Row[Any], url: str, tenant: str, now: float) -> None:
    event = EVENTS[row.state]
    said = {"url": url, "tenant": tenant, "job": row.id, "trace": row.trace}
    note(connection, event, _ended(row), now=now, **said)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # sending it will say so; the job must end all the same
        return ""


def _ended(row: sa.Row[Any]) -> dict[str, Any]:
    seconds = row.seconds
    if row.prepared:
        seconds = msgspec.json.decode(row.prepared, type=Prepared).samples / SAMPLE_RATE
    failure = msgspec.json.decode(row.failure, type=Failure) if row.failure else None
    error = None
    if failure is not None:
        error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    return {
        "job": {
            "id": row.id,
            "kind": row.kind,
            "name": row.name,
            "state": row.state,
            "seconds": None if seconds is None else round(seconds, 3),
            "error": error,
        },
        "link": f"/api/v1/transcriptions/{row.id}",
    }
