"""Lists of meetings and of what was said, as both databases make them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.meetings.conftest import FOLLOWED, TALK, Makers, Parts, editor, hold, work

from hansard.errors import UnknownMeeting
from hansard.insight.findings import Person
from hansard.jobs.queue import Queue
from hansard.meetings import editing
from hansard.meetings.editing import Change
from hansard.model import JobState
from hansard.store import meeting_views, meetings, views
from hansard.store.meeting_views import Filter, Place
from hansard.store.tables import archives, segments, transcripts


@pytest.fixture
def library(parts: Parts, queue: Queue) -> list[str]:
    """Four meetings of one tenant, held one after the other, and one of another."""
    jobs = [hold(queue, name=name) for name in ("alpha", "Beta [1]", "ÄRGER", "delta")]
    who = editor(parts)
    for at, job in enumerate(jobs):
        editing.change(who, job, Change(held=1000.0 * at))
    editing.change(who, jobs[0], Change(tags=("old", "money"), status="done"))
    editing.change(who, jobs[1], Change(tags=("money",), kind="lecture"))
    editing.change(who, jobs[2], Change(people=(Person("Zoë", "S1"),)))
    hold(queue, name="others", tenant="another")
    return jobs


def found(queue: Queue, **wanted: Any) -> list[str]:
    page = meeting_views.page(queue.database, "local", Filter(**wanted))
    return [one["id"] for one in json.loads(page.items)]


def test_pages_go_by_when_meetings_were_held(library: list[str], queue: Queue) -> None:
    seen: list[str] = []
    after: Place | None = None
    for _ in range(4):
        page = meeting_views.page(queue.database, "local", Filter(), after=after, limit=1)
        seen += [one["id"] for one in json.loads(page.items)]
        after = page.last
    assert seen == library[::-1]
    assert after is None
    assert list(meeting_views.walk(queue.database, "local", Filter(), piece=2)) == seen


@pytest.mark.usefixtures("library")
def test_meetings_of_the_same_moment_are_all_there(parts: Parts, queue: Queue) -> None:
    for job in found(queue):
        editing.change(editor(parts), job, Change(held=5.0))
    whole = sorted(found(queue), reverse=True)
    assert list(meeting_views.walk(queue.database, "local", Filter(), piece=3)) == whole


def test_filters_name_meetings(library: list[str], queue: Queue) -> None:
    assert found(queue, status="done") == [library[0]]
    assert found(queue, tag="money") == [library[1], library[0]]
    assert found(queue, tag="money", status="new") == [library[1]]
    assert found(queue, kind="lecture") == [library[1]]
    assert found(queue, since=1000.0, until=3000.0) == [library[2], library[1]]
    assert found(queue, text="a") == [library[3], library[1], library[0]]
    assert found(queue, text="[1]") == [library[1]]
    assert found(queue, text="ärg") == [library[2]]
    assert found(queue, language="en") == library[::-1]
    assert found(queue, language="de") == []


def test_one_meeting_is_the_same_json_in_both(library: list[str], queue: Queue) -> None:
    made = meeting_views.one(queue.database, "local", library[2])
    assert made is not None
    meeting = json.loads(made)
    times = {name: meeting.pop(name) for name in ("created", "changed")}
    assert times["changed"] >= times["created"] > 0
    links = meeting.pop("links")
    assert links["self"] == f"/api/v1/meetings/{library[2]}"
    assert meeting == {
        "id": library[2],
        "title": "ÄRGER",
        "kind": "meeting",
        "status": "new",
        "held": 2000.0,
        "language": "en",
        "seconds": 20.0,
        "words": 22,
        "segments": 4,
        "mood": None,
        "people": [{"name": "Zoë", "label": "S1"}],
        "tags": [],
        "revision": 2,
        "wording": 0,
        "archived": None,
    }
    assert meeting_views.one(queue.database, "another", library[2]) is None


def test_a_meeting_is_found_by_enough_of_its_id(library: list[str], queue: Queue) -> None:
    with queue.database.read() as connection:
        assert meetings.find(connection, library[0][-8:]).job == library[0]
        for name in ("nothing", library[0][:2]):
            with pytest.raises(UnknownMeeting):
                meetings.find(connection, name)


def test_segments_are_read_by_time(library: list[str], queue: Queue) -> None:
    def texts(**where: Any) -> list[int]:
        return [one.position for one in meeting_views.lines(queue.database, library[0], **where)]

    assert texts() == [0, 1, 2, 3]
    assert texts(limit=2) == [0, 1]
    assert texts(after=1, limit=1) == [2]
    assert texts(since=TALK[1].end) == [2, 3]
    assert texts(until=TALK[1].start + 0.1) == [0, 1]
    assert texts(since=1.0, until=1.2) == [0]
    assert [line.segment for line in meeting_views.every_line(queue.database, library[0])] == [
        *TALK
    ]


def test_what_follows_is_in_the_list_of_jobs_alone(
    library: list[str], parts: Parts, queue: Queue
) -> None:
    child = editing.find_out(editor(parts), library[0])
    states: tuple[JobState, ...] = ("completed", "queued")
    for wanted in (views.Filter(), views.Filter(states=states)):
        page = views.page(queue.database, "local", wanted)
        assert json.loads(page.items)[0]["id"] == child
        whole = views.page(queue.database, "local", views.Filter(states=wanted.states, whole=True))
        assert [one["id"] for one in json.loads(whole.items)] == library[::-1]
    made = json.loads(views.statuses(queue.database, "local", [child])[child])
    assert made["parent"] == library[0]
    assert made["links"]["self"] == f"/api/v1/jobs/{child}"
    assert made["links"]["audio"] == f"/api/v1/transcriptions/{library[0]}/audio"
    with queue.database.read() as connection:
        revision = meetings.row(connection, library[0]).revision
    status = json.loads(views.statuses(queue.database, "local", library[:1])[library[0]])
    assert status["revision"] == revision


def test_a_transcript_says_who_its_speakers_are(parts: Parts, queue: Queue, made: Makers) -> None:
    job = hold(queue, settings=FOLLOWED)
    work(parts)

    def whole() -> dict[str, Any]:
        body = views.transcript(queue.database, "local", job, words=False)
        return dict(json.loads(body or b"null"))

    assert "speakers" not in whole()
    editing.rename(editor(parts), job, "S2", 'Ben "B"')
    assert whole()["speakers"] == {"S2": 'Ben "B"'}
    assert whole()["segments"][2]["speaker"] == "S2"
    assert made.asked


def test_what_is_in_the_archive_is_found_by_its_title(library: list[str], queue: Queue) -> None:
    gone = {"job": library[1], "place": "p", "sha256": "s", "size": 1, "segments": 5}
    with queue.database.write() as connection:
        for table in (segments, transcripts):
            connection.execute(table.delete().where(table.c.job == library[1]))
        connection.execute(archives.insert().values({**gone, "archived": 7.0}))
    page = meeting_views.page(queue.database, "local", Filter(text="beta"))
    (one,) = json.loads(page.items)
    assert (one["id"], one["title"], one["held"]) == (library[1], "Beta [1]", 1000.0)
    assert one["archived"] == 7.0
    assert json.loads(meeting_views.one(queue.database, "local", library[1]) or b"") == one
    (other,) = json.loads(meeting_views.page(queue.database, "local", Filter(text="delta")).items)
    assert other["archived"] is None
