"""Requests that were answered with a job, by the key their sender gave them.

A sender that heard no answer asks again with the same key, and gets the job of the first time.
The row goes with its job, and after a day: then the key is free.
"""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

from hansard.errors import IdempotencyConflict
from hansard.store.database import Database
from hansard.store.dialects import inserts
from hansard.store.tables import idempotency, jobs

_ADD = {dialect: fresh.on_conflict_do_nothing() for dialect, fresh in inserts(idempotency).items()}

KEPT: Final = 86_400.0
"""Seconds that a key is remembered."""


def known(database: Database, tenant: str, key: str) -> bool:
    """Whether a request with this key was answered: then this one takes no new place."""
    with database.read() as connection:
        return connection.execute(_of(tenant, key)).first() is not None


def find(database: Database, tenant: str, key: str, fingerprint: str) -> str | None:
    """The job that the same request was answered with; ``None`` where the key is new.

    Raises:
        IdempotencyConflict: the key came with another request.
    """
    with database.read() as connection:
        row = connection.execute(_of(tenant, key)).first()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyConflict(
            "This Idempotency-Key came with another request already.",
            hint="Take a new key for each transcription, and the same only to ask again.",
        )
    return str(row.job)


def remember(database: Database, tenant: str, key: str, fingerprint: str, job: str) -> None:
    """Note what a request was answered with; the first to say so wins."""
    now = time.time()
    with database.write() as connection:
        connection.execute(idempotency.delete().where(idempotency.c.created < now - KEPT))
        # Whoever removes the job waits until this is there, and removes it with it.
        its = sa.select(jobs.c.id).where(jobs.c.id == job)
        there = connection.execute(its.with_for_update(read=True, key_share=True)).first()
        if there is not None:
            connection.execute(
                _ADD[connection.dialect.name],
                {
                    "tenant": tenant,
                    "key": key,
                    "fingerprint": fingerprint,
                    "job": job,
                    "created": now,
                },
            )


def _of(tenant: str, key: str) -> sa.Select[tuple[str, str]]:
    return sa.select(idempotency.c.fingerprint, idempotency.c.job).where(
        idempotency.c.tenant == tenant,
        idempotency.c.key == key,
        idempotency.c.created >= time.time() - KEPT,
    )
