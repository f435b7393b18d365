"""Recordings: the rows beside the files."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.model import Media, Recording
from hansard.store.dialects import inserts
from hansard.store.stored import as_json
from hansard.store.tables import recordings

_ADD = {dialect: fresh.on_conflict_do_nothing() for dialect, fresh in inserts(recordings).items()}
"""Built once: building a statement costs more than running it."""


def columns(recording: Recording) -> dict[str, Any]:
    """The row of a recording."""
    return {
        "id": recording.id,
        "name": recording.name,
        "size": recording.media.size,
        "media": as_json(recording.media),
        "created": recording.created,
    }


def add(connection: sa.Connection, recording: Recording) -> None:
    """Insert a recording; one with the same bytes that is already there is left as it is.

    Its caller holds ``locks.recording``: nobody adds the same or removes it meanwhile.
    """
    connection.execute(_ADD[connection.dialect.name], columns(recording))


def known(connection: sa.Connection, recording_id: str) -> bool:
    """Whether a row names this recording."""
    found = sa.select(recordings.c.id).where(recordings.c.id == recording_id)
    return connection.scalar(found) is not None


def get(connection: sa.Connection, recording_id: str) -> Recording:
    """The recording with this id, which is known to exist."""
    row = connection.execute(sa.select(recordings).where(recordings.c.id == recording_id)).one()
    return Recording(row.id, row.name, msgspec.json.decode(row.media, type=Media), row.created)
