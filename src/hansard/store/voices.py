"""Remembered voices: a tenant's own, by name."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hansard.errors import UnknownVoice
from hansard.model import Value
from hansard.store import ids
from hansard.store.tables import voices


class Voice(Value, frozen=True, omit_defaults=False):
    """A voice that is remembered. Times are seconds since the epoch."""

    id: str
    name: str
    method: str
    """How its vector was made: vectors of other methods are not comparable."""
    seconds: float
    """Of speech that it was learnt from."""
    created: float
    changed: float


class Remembered(Value, frozen=True):
    """A voice with its vector: float32, little-endian."""

    id: str
    name: str
    vector: bytes
    method: str
    seconds: float


def listing(connection: sa.Connection, tenant: str) -> list[Voice]:
    """A tenant's voices by name."""
    chosen = sa.select(voices).where(voices.c.tenant == tenant).order_by(voices.c.name, voices.c.id)
    return [_fitting(Voice, row) for row in connection.execute(chosen)]


def remembered(connection: sa.Connection, tenant: str, method: str) -> list[Remembered]:
    """A tenant's voices that can be compared with vectors of a method."""
    chosen = sa.select(voices).where(voices.c.tenant == tenant, voices.c.method == method)
    return [_fitting(Remembered, row) for row in connection.execute(chosen.order_by(voices.c.id))]


def named(connection: sa.Connection, tenant: str, name: str) -> Remembered | None:
    """A tenant's voice of this name."""
    chosen = sa.select(voices).where(voices.c.tenant == tenant, voices.c.name == name)
    row = connection.execute(chosen).first()
    return None if row is None else _fitting(Remembered, row)


def keep(
    connection: sa.Connection,
    tenant: str,
    name: str,
    *,
    vector: bytes,
    method: str,
    seconds: float,
    now: float,
) -> str:
    """Remember a voice, or what it is now; its id."""
    known = named(connection, tenant, name)
    values = {"vector": vector, "method": method, "seconds": seconds, "changed": now}
    if known is not None:
        connection.execute(voices.update().where(voices.c.id == known.id).values(values))
        return known.id
    number = ids.new_id(now)
    fresh = {"id": number, "tenant": tenant, "name": name, "created": now}
    connection.execute(voices.insert().values(fresh | values))
    return number


def forget(connection: sa.Connection, tenant: str, voice: str) -> None:
    """Remove a voice. Names that it was the source of stay where people agreed to them.

    Raises:
        UnknownVoice: there is none, or it is another's.
    """
    mine = voices.delete().where(voices.c.tenant == tenant, voices.c.id == voice)
    if not connection.execute(mine).rowcount:
        raise UnknownVoice(
            f"There is no voice {voice[:40]}.", hint="GET /api/v1/voices lists them."
        )


def _fitting(kind: Any, row: sa.Row[Any]) -> Any:
    return kind(**{name: getattr(row, name) for name in kind.__struct_fields__})
