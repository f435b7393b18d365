"""Locks on what has no row yet: only PostgreSQL needs them, where many write at once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

_ALONE = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))")

_BESIDE = sa.text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:what, 0))")


def alone(connection: sa.Connection, what: str) -> None:
    """Until the end of the transaction nobody else passes here with the same words.

    In SQLite nobody else writes anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_ALONE, {"what": what})


def beside(connection: sa.Connection, what: str) -> None:
    """Until the end of the transaction nobody is :func:`alone` with these words.

    Any number may be beside each other.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_BESIDE, {"what": what})


def recording(connection: sa.Connection, sha256: str) -> None:
    """Nobody else begins or ends to name a recording; taken before any row, see ``jobs.states``.

    Whoever adds a job for it, or removes it, holds this: so the same work is found and not added
    twice, and a recording is not removed under somebody who has just sent the same bytes.
    """
    alone(connection, of_recording(sha256))


def of_recording(sha256: str) -> str:
    """What :func:`recording` says."""
    return f"recording {sha256}"


def holding(what: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    """:func:`alone` as an expression of PostgreSQL: evaluating it takes the lock.

    The statement it stands in sees what was committed before it began, and not what whoever had
    the lock has done meanwhile.
    """
    return sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(what, sa.literal(0)))
