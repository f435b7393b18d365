"""Transcripts: a head and its segments, written together, read in bounded pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec
import sqlalchemy as sa

from hansard.model import Segment, Transcript
from hansard.store import archived, index
from hansard.store.database import Database
from hansard.store.stored import as_json
from hansard.store.tables import segments, transcripts

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
    indexing = index.Indexing(connection, job)
    position = 0
    rest = iter(stream)
    while piece := list(islice(rest, _PIECE)):
        connection.execute(
            segments.insert(),
            [
                {
                    "job": job,
                    "position": position + offset,
                    "start": segment.start,
                    "end": segment.end,
                    "channel": segment.channel,
                    "speaker": segment.speaker,
                    "text": segment.text,
                    "body": as_json(segment),
                    "terms": indexing.terms(segment.text, segment.language),
                }
                for offset, segment in enumerate(piece)
            ],
        )
        position += len(piece)
    connection.execute(
        transcripts.update()
        .where(transcripts.c.job == job)
        .values(head=as_json(head()), segments=position)
    )
    indexing.end()


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


def stream(database: Database, job: str) -> Iterator[Segment]:
    """The segments in order, never more than a piece of them in memory.

    A piece comes as one row: see ``store.views``.
    """
    decoder = msgspec.json.Decoder(list[Segment])
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
            yield from decoder.decode(f"[{row.bodies}]")
        if row.found < _PIECE:
            return
        last = row.last
