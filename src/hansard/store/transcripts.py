"""Transcripts: a head and its segments, written together, read in bounded pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from hansard.model import Segment, Transcript
from hansard.store import archived, index, meetings
from hansard.store.database import Database
from hansard.store.stored import as_json
from hansard.store.tables import meeting_words, segments, transcripts

_PIECE = 500
"""Segments in memory at once: a ten-hour transcript has some ten thousand."""


def save(
    connection: sa.Connection,
    job: str,
    stream: Iterable[Segment],
    head: Callable[[], Transcript],
) -> None:
    """Write a transcript and its index in the caller's transaction, replacing an earlier one.

    ``stream`` is consumed in pieces; ``head`` is asked when it has run dry, because coverage is
    only known then. The head's own segments are not looked at.
    """
    connection.execute(transcripts.delete().where(transcripts.c.job == job))
    connection.execute(transcripts.insert().values(job=job, head="", segments=0))
    count = _add(connection, job, stream)
    connection.execute(
        transcripts.update()
        .where(transcripts.c.job == job)
        .values(head=as_json(head()), segments=count)
    )


def rewrite(connection: sa.Connection, job: str, stream: Iterable[Segment]) -> None:
    """Put other segments in the place of all that a transcript has, in the caller's transaction.

    ``stream`` must not read from the store what is being replaced.

    Raises:
        Archived: the transcript is in the archive.
    """
    _see_that_it_is_here(connection, job)
    # In this order: with the row of a meeting's words SQLite takes all segments out of the index
    # at once, and otherwise one by one.
    connection.execute(meeting_words.delete().where(meeting_words.c.job == job))
    connection.execute(segments.delete().where(segments.c.job == job))
    count = _add(connection, job, stream)
    connection.execute(transcripts.update().where(transcripts.c.job == job).values(segments=count))


def put(connection: sa.Connection, job: str, position: int, segment: Segment) -> None:
    """Write one segment anew, in the caller's transaction; ``index.renew`` comes afterwards."""
    connection.execute(
        segments.update()
        .where(segments.c.job == job, segments.c.position == position)
        .values(_columns(segment))
    )


def at(connection: sa.Connection, job: str, position: int) -> Segment | None:
    """One segment; ``None`` where there is none at that place.

    Raises:
        Archived: the transcript is in the archive.
    """
    _see_that_it_is_here(connection, job)
    found = connection.scalar(
        sa.select(segments.c.body).where(segments.c.job == job, segments.c.position == position)
    )
    return None if found is None else msgspec.json.decode(found, type=Segment)


def _see_that_it_is_here(connection: sa.Connection, job: str) -> None:
    here = sa.select(transcripts.c.job).where(transcripts.c.job == job)
    if connection.scalar(here) is None:
        archived.see_that_it_is_here(connection, job)


def _add(connection: sa.Connection, job: str, stream: Iterable[Segment]) -> int:
    """Write segments and their index in pieces; how many there were."""
    indexing = index.Indexing(connection, job)
    count = 0
    rest = iter(stream)
    while piece := list(islice(rest, _PIECE)):
        connection.execute(
            segments.insert(),
            [
                {
                    "job": job,
                    "position": count + offset,
                    "terms": indexing.terms(segment.text, segment.language),
                    **_columns(segment),
                }
                for offset, segment in enumerate(piece)
            ],
        )
        count += len(piece)
    indexing.end()
    return count


def _columns(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.start,
        "end": segment.end,
        "channel": segment.channel,
        "speaker": segment.speaker,
        "text": segment.text,
        "body": as_json(segment),
    }


def head(database: Database, job: str) -> Transcript | None:
    """A transcript without its segments; ``None`` where the job has none yet.

    Raises:
        Archived: it is in the archive.
    """
    with database.read() as connection:
        found = connection.scalar(sa.select(transcripts.c.head).where(transcripts.c.job == job))
        if found is None:
            archived.see_that_it_is_here(connection, job)
    return None if found is None else msgspec.json.decode(found, type=Transcript)


def head_in(connection: sa.Connection, job: str) -> Transcript:
    """The same for a job that is known to have one, in the caller's transaction."""
    found = connection.scalar(sa.select(transcripts.c.head).where(transcripts.c.job == job))
    assert found is not None
    return msgspec.json.decode(found, type=Transcript)


def stream(database: Database, job: str) -> Iterator[Segment]:
    """The segments in order, never more than a piece of them in memory.

    A piece comes as one row: see ``store.views``. Speakers that have a name are called by it.
    """
    decoder = msgspec.json.Decoder(list[Segment])
    with database.read() as connection:
        names = meetings.names_of(connection, job)
    last = -1
    while True:
        piece = (
            sa.select(segments.c.position, segments.c.body)
            .where(segments.c.job == job, segments.c.position > last)
            .order_by(segments.c.position)
            .limit(_PIECE)
            .subquery()
        )
        with database.read() as connection:
            row = connection.execute(
                sa.select(
                    sa.func.max(piece.c.position).label("last"),
                    sa.func.count().label("found"),
                    sa.func.aggregate_strings(piece.c.body, ",").label("bodies"),
                )
            ).one()
        if row.found:
            piece_ = decoder.decode(f"[{row.bodies}]")
            yield from (_named(segment, names) for segment in piece_) if names else piece_
        if row.found < _PIECE:
            return
        last = row.last


def _named(segment: Segment, names: Mapping[str, str]) -> Segment:
    name = names.get(segment.speaker or "")
    return segment if name is None else replace(segment, speaker=name)
