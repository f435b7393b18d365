"""Windows and what was heard in them, read in the order of the recording."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from hansard.model import Window, WindowResult
from hansard.store.database import Database
from hansard.store.dialects import json_number
from hansard.store.tables import windows

_PIECE = 50
"""Windows in memory at once: a quarter of an hour or more, a few hundred KB with all tokens."""


def first(database: Database, job: str) -> Window:
    """The first window of a job that has one: what its language is detected from."""
    with database.read() as connection:
        found = connection.scalars(
            sa.select(windows.c.window)
            .where(windows.c.job == job, windows.c["pass"] == 0)
            .order_by(windows.c.position, windows.c.channel)
            .limit(1)
        ).one()
    return msgspec.json.decode(found, type=Window)


def heard(
    database: Database, job: str, channel: int, hearing: int, *, after: int = -1
) -> Iterator[tuple[Window, WindowResult]]:
    """Finished windows of one channel and hearing, in order, a bounded piece at a time.

    ``after`` is the index of the last one that is known already.
    """
    window = msgspec.json.Decoder(Window)
    result = msgspec.json.Decoder(WindowResult)
    last = after
    while True:
        with database.read() as connection:
            rows = connection.execute(
                sa.select(windows.c.position, windows.c.window, windows.c.result)
                .where(
                    windows.c.job == job,
                    windows.c.channel == channel,
                    windows.c["pass"] == hearing,
                    windows.c.position > last,
                    windows.c.state == "done",
                )
                .order_by(windows.c.position)
                .limit(_PIECE)
            ).all()
        for row in rows:
            yield window.decode(row.window), result.decode(row.result)
        if len(rows) < _PIECE:
            return
        last = rows[-1].position


def language(database: Database, job: str) -> str | None:
    """The language that the first window was heard in, where its engine said so."""
    for _, result in heard(database, job, 0, 0):
        return result.language
    return None


def any_second(database: Database, job: str) -> bool:
    """Whether a second look was planned already."""
    with database.read() as connection:
        found = sa.select(windows.c.id).where(windows.c.job == job, windows.c["pass"] == 1)
        return connection.execute(found.limit(1)).first() is not None


def spent(database: Database, job: str) -> float:
    """What the windows of a job have cost so far, in the currency of the price table."""
    with database.read() as connection:
        found = connection.scalar(
            sa.select(sa.func.sum(json_number(windows.c.result, "cost"))).where(
                windows.c.job == job, windows.c.state == "done"
            )
        )
    return float(found or 0.0)
