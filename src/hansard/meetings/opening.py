"""A transcript becomes a meeting: in the very transaction that writes it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import msgspec
import sqlalchemy as sa

from hansard.config import MeetingSettings
from hansard.jobs import follow_ups, states
from hansard.jobs.queue import Queue
from hansard.meetings.requests import INSIGHT, SPEAKERS, Insight, Speakers
from hansard.model import Job, Recording, Segment
from hansard.search import saved
from hansard.store import index, meetings, recordings, terms, transcripts


class Tally:
    """Counts segments and words on their way."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._segments = segments
        self.segments = 0
        self.words = 0

    def __iter__(self) -> Iterator[Segment]:
        for segment in self._segments:
            self.segments += 1
            self.words += len(segment.words) or len(segment.text.split())
            yield segment


def begin(connection: sa.Connection, job: Job, tally: Tally, settings: MeetingSettings) -> None:
    """Open the meeting of a transcript that was just written, and have it looked into.

    Args:
        connection: the transaction that ends the job, whose row it holds.
        job: whose transcript it is.
        tally: what was written.
        settings: what follows.
    """
    now = time.time()
    recording = recordings.get(connection, job.recording)
    title = _title(job, recording)
    head = transcripts.head_in(connection, job.id)
    meetings.open_one(
        connection,
        {
            "job": job.id,
            "tenant": job.tenant,
            "title": title,
            "kind": "meeting",
            "held": job.created if job.kind == "live" else recording.created,
            "language": head.language,
            "seconds": head.seconds,
            "words": tally.words,
            "segments": tally.segments,
            "created": now,
            "changed": now,
        },
    )
    # It was indexed on its way, under the recording's name and before its language was known.
    if terms.is_stemmed(head.language) != terms.is_stemmed(job.language):
        index.keep(connection, job.id)
    elif title != index.title_of(job.name):
        index.renew(connection, job.id)
    wanted = msgspec.json.decode(job.request or "{}", type=Speakers)
    if not follow(connection, job.id, settings, wanted, now=now):
        saved.note_matches(connection, job.id, now=now)


def _title(job: Job, recording: Recording) -> str:
    title = (recording.media.title or "").strip() or index.title_of(job.name) or "Recording"
    return title.replace("\0", "\ufffd")


def look_again(queue: Queue, job: str, settings: MeetingSettings, wanted: Speakers) -> None:
    """Have speakers found in a transcript that was there before anybody asked for them."""
    with queue.database.write() as connection:
        states.lock(connection, [job])
        follow(connection, job, settings, wanted, now=time.time())


def follow(
    connection: sa.Connection,
    job: str,
    settings: MeetingSettings,
    wanted: Speakers,
    *,
    now: float,
) -> bool:
    """Have speakers found, as far as that is wanted, and then what it all meant.

    Returns:
        Whether anything follows.
    """
    parent = states.row(connection, job)
    apart = settings.diarize != "off" if wanted.diarize is None else wanted.diarize
    if not (settings.follow_up or wanted.diarize):
        return False
    then = INSIGHT if settings.follow_up and settings.findings else None
    # Whatever fails for good, somebody is still to be told: see follow_up.insight.
    if apart:
        asked = msgspec.structs.replace(wanted, then=then, otherwise=INSIGHT)
        follow_ups.add(connection, parent, SPEAKERS, asked, now=now)
    elif then is not None:
        follow_ups.add(connection, parent, INSIGHT, Insight(otherwise=INSIGHT), now=now)
    return apart or then is not None
