"""Meetings that are made up: of a subject each, and put into a store."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.store.test_views import row

from hansard.model import Segment, Transcript
from hansard.store import transcripts
from hansard.store.database import Database
from hansard.store.tables import jobs, meetings, recordings

SUBJECTS = {
    "roof": "roof tiles rain leak gutter builder scaffold repair beam attic slate chimney",
    "money": "budget invoice payment tax account bank loan interest audit revenue cost grant",
    "school": "teacher pupil lesson classroom exam homework curriculum reading library holiday",
    "road": "traffic bus lane cycle parking junction signal pedestrian bridge tram crossing",
    "garden": "flower hedge soil compost seed harvest orchard apple bee pond lawn shrub",
}
COMMON = "people today important maybe next year question idea problem time work city"


def talk(subject: str, seed: int, count: int = 40, words: int = 18) -> list[Segment]:
    """Segments of a few seconds about a subject, by two speakers."""
    chance = random.Random(f"{subject} {seed}")
    own = SUBJECTS[subject].split()
    segments = []
    for number in range(count):
        said = [
            chance.choice(own if chance.random() < 0.5 else COMMON.split()) for _ in range(words)
        ]
        speaker = f"S{1 + number // 5 % 2}"
        segments.append(
            Segment(
                number * 6.0, number * 6 + 5.0, " ".join(said).capitalize() + ".", (), 0, speaker
            )
        )
    return segments


def begin(database: Database) -> None:
    """What every meeting's rows need."""
    with database.write() as connection:
        connection.execute(
            recordings.insert().values(id="r", name="r", size=1, media="{}", created=1.0)
        )


def add(
    database: Database,
    number: int,
    segments: Sequence[Segment],
    *,
    tenant: str = "local",
    language: str | None = "en",
) -> str:
    """A meeting with these words; its job's id, which sorts by ``number``."""
    made = row(number, answers=None, tenant=tenant)
    job = str(made["id"])
    with database.write() as connection:
        connection.execute(jobs.insert(), [made])
        connection.execute(
            meetings.insert().values(
                job=job,
                tenant=tenant,
                title=f"Meeting {number}",
                kind="meeting",
                held=1.0,
                language=language,
                seconds=600.0,
                created=1.0,
                changed=1.0,
            )
        )
        transcripts.save(
            connection,
            job,
            segments,
            lambda: Transcript("t", "r", "r.wav", 600.0, "sphinx", "en-us"),
        )
    return job
