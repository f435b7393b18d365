"""A library of meetings as they are when they are done, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from tests.store.test_views import row

from hansard.model import Segment, Transcript
from hansard.search import lookup
from hansard.search.lookup import Answer, Asked
from hansard.store import index, transcripts
from hansard.store.database import Database
from hansard.store.ids import new_id
from hansard.store.tables import jobs, meeting_tags, meetings, recordings, speakers

BEGIN = 1_767_225_600.0
"""The first second of 2026, UTC."""
DAY = 86_400.0

_numbers = count()


def add(
    database: Database,
    title: str,
    said: Sequence[str],
    *,
    tenant: str = "local",
    kind: str = "meeting",
    status: str = "new",
    language: str | None = "en",
    held: float = BEGIN,
    mood: float | None = None,
    tags: Sequence[str] = (),
    people: Sequence[str] = (),
) -> str:
    """A meeting of these segments, five seconds each; with ``people``, they speak in turn."""
    number = next(_numbers)
    job = new_id(BEGIN + number)
    recording = f"{number:064}"
    labels = [f"S{place + 1}" for place in range(len(people))]
    with database.write() as connection:
        connection.execute(
            recordings.insert().values(id=recording, name="r", size=1, media="{}", created=held)
        )
        values = row(number, id=job, identity=job, recording=recording, tenant=tenant)
        connection.execute(jobs.insert().values({**values, "name": f"{title}.wav"}))
        segments = [
            Segment(
                place * 5.0,
                place * 5.0 + 5.0,
                text,
                speaker=labels[place % len(labels)] if labels else None,
            )
            for place, text in enumerate(said)
        ]
        head = Transcript(job, recording, title, 5.0 * len(said), "e", "m", language=language)
        connection.execute(
            meetings.insert().values(
                job=job,
                tenant=tenant,
                title=title,
                kind=kind,
                status=status,
                held=held,
                language=language,
                seconds=5.0 * len(said),
                segments=len(said),
                mood=mood,
                created=held,
                changed=held,
            )
        )
        for label, name in zip(labels, people, strict=True):
            connection.execute(speakers.insert().values(job=job, label=label, name=name))
        for tag in tags:
            connection.execute(meeting_tags.insert().values(job=job, tag=tag))
        transcripts.save(connection, job, segments, lambda: head)
        index.keep(connection, job)
    return job


def ask(database: Database, q: str, *, tenant: str = "local", limit: int = 50) -> Answer:
    """An answer by words alone."""
    return lookup.search(database, tenant, Asked(q, "text"), limit=limit)


def found(database: Database, q: str, *, tenant: str = "local") -> set[str]:
    """The titles of what is found, with no word taken for another."""
    answer = ask(database, q, tenant=tenant)
    assert answer.corrected == {}, answer.corrected
    return {one.title.text for one in answer.items}
