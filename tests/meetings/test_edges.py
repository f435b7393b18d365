"""Meetings at the edges of what a meeting is: from their words to findings, minutes and search."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.meetings.conftest import Parts, hold, said, work

from hansard.config import MeetingSettings
from hansard.insight.citations import faults
from hansard.insight.findings import KINDS
from hansard.jobs.queue import Queue
from hansard.meetings import reading
from hansard.model import Segment
from hansard.store import meetings

HOURS = tuple(
    said(60.0 * minute, f"Point {minute} of the hearing is about harbour number {minute % 7}.")
    for minute in range(20 * 60)
)
EDGES: dict[str, tuple[Sequence[Segment], str]] = {
    "no speech": ((), "en"),
    "no words": ((Segment(0.0, 1.0, ""), Segment(2.0, 3.0, " … ")), "en"),
    "one word": ((said(0.0, "Hello."),), "en"),
    "one speaker": (
        tuple(said(4.0 * at, text) for at, text in enumerate((
            "I opened the shop in May.", "It sold nothing for a year.", "Then the road was closed.",
            "So I will close the shop by Friday.",
        ))),
        "en",
    ),
    "a language nobody knows": (
        (said(0.0, "Zzyx qarn bol tuvvik."), said(5.0, "Tuvvik dal, oru qarn?")), "x-none"
    ),
    "twenty hours": (HOURS, "en"),
}  # fmt: skip


@pytest.mark.parametrize("edge", EDGES)
def test_it_is_a_meeting_all_the_same(parts: Parts, queue: Queue, edge: str) -> None:
    segments, language = EDGES[edge]
    follows = MeetingSettings(follow_up=True, pause=0.0, diarize="off")
    parts.settings = parts.settings.model_copy(update={"meetings": follows})
    job = hold(queue, segments, name=edge, settings=follows, language=language)
    assert work(parts) == ["insight"]
    for kind in KINDS:
        found = reading.shown(queue.database, "local", job, kind)
        if found.value is None:
            assert kind == "sentiment"
            assert found.source.notes, "it says why there is none"
        else:
            assert faults(found.value, segments) == ()
    with queue.database.read() as connection:
        assert meetings.row(connection, job).segments == len(segments)
