from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa
from tests.meetings.conftest import (
    AFTER,
    FOLLOWED,
    TALK,
    Makers,
    Parts,
    editor,
    hold,
    segments_of,
    work,
)

from hansard.config import MeetingSettings
from hansard.errors import Archived, BadRequest, Changed, UnknownMeeting, UnknownPlace
from hansard.insight.findings import Item, Person
from hansard.jobs.queue import Queue
from hansard.meetings import amending, editing, reading
from hansard.meetings.editing import Change, Editor
from hansard.meetings.requests import Speakers
from hansard.model import Client
from hansard.store import meetings
from hansard.store.tables import archives, jobs, segments, transcripts


def revision(queue: Queue, job: str) -> tuple[int, int]:
    with queue.database.read() as connection:
        row = meetings.row(connection, job)
    return row.revision, row.wording


def corrections(queue: Queue, job: str) -> list[tuple[str, str, object, object]]:
    def plain(raw: msgspec.Raw | None) -> object:
        return None if raw is None else msgspec.json.decode(raw)

    with queue.database.read() as connection:
        return [
            (one.target, one.place, plain(one.before), plain(one.after))
            for one in meetings.corrections_of(connection, job)
        ]


def test_every_change_is_kept_and_is_another_revision(parts: Parts, queue: Queue) -> None:
    job = hold(queue)
    who = editor(parts)
    editing.change(who, job, Change(title="Budget", tags=("b", "a", "b"), status="done"))
    assert revision(queue, job) == (2, 0), "the title is written by itself, for the index"
    editing.change(who, job, Change(people=(Person("Cleo"),)))
    editing.correct(who, job, 0, text="Good evening everybody.")
    assert revision(queue, job) == (4, 1)
    assert corrections(queue, job) == [
        ("meeting", "tags", [], ["a", "b"]),
        ("meeting", "title", "a", "Budget"),
        ("meeting", "status", "new", "done"),
        ("meeting", "people", [], [{"name": "Cleo"}]),
        ("text", "0.000 1.400", {"text": TALK[0].text}, {"text": "Good evening everybody."}),
    ]
    with queue.database.read() as connection:
        assert {one.by for one in meetings.corrections_of(connection, job)} == {"somebody"}


def test_what_changes_nothing_is_no_change(parts: Parts, queue: Queue) -> None:
    job = hold(queue)
    who = editor(parts)
    editing.change(who, job, Change(title="a", tags=()))
    editing.correct(who, job, 0, text=TALK[0].text)
    assert revision(queue, job) == (0, 0)
    assert corrections(queue, job) == []


def test_words_and_their_speaker_are_corrected_together_or_not_at_all(
    parts: Parts, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hold(queue)
    who = editor(parts)

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as broken, pytest.raises(RuntimeError):
        broken.setattr(editing, "_spoke", fail)
        editing.correct(who, job, 0, text="Good evening.", speaker="S2")
    assert revision(queue, job) == (0, 0)
    assert corrections(queue, job) == []
    made = editing.correct(who, job, 0, text="Good evening.", speaker="S2")
    assert (made.text, made.speaker) == ("Good evening.", "S2")
    assert revision(queue, job) == (1, 1), "one change, not two"
    assert [target for target, *_ in corrections(queue, job)] == ["text", "speaker"]


def test_whoever_is_late_is_refused(parts: Parts, queue: Queue) -> None:
    job = hold(queue)
    who = editor(parts)
    editing.correct(who, job, 0, text="One.", revision=0)
    with pytest.raises(Changed):
        editing.correct(who, job, 0, text="Two.", revision=0)
    assert segments_of(queue, job)[0].text == "One."


def test_another_tenants_meeting_is_not_there(parts: Parts, queue: Queue) -> None:
    job = hold(queue)
    other = editor(parts, "another")
    for act in (
        lambda: editing.change(other, job, Change(title="x")),
        lambda: editing.correct(other, job, 0, text="x"),
        lambda: editing.correct(other, job, 0, speaker="S1"),
        lambda: editing.rename(other, job, "S1", "x"),
        lambda: editing.merge(other, job, "S1", "S2"),
        lambda: editing.find_speakers(other, job, Speakers()),
        lambda: editing.find_out(other, job),
        lambda: amending.add_item(other, job, Item("action", "x", ()), 0.0),
        lambda: editing.change_many(other, job, "done", (), ()),
    ):
        with pytest.raises(UnknownMeeting):
            act()
    assert revision(queue, job) == (0, 0)


def test_what_makes_no_sense_is_refused(parts: Parts, queue: Queue) -> None:
    job = hold(queue)
    who = editor(parts)
    for wanted in (
        Change(title=" "), Change(title="x" * 501), Change(kind="a\0b"), Change(tags=("x" * 65,)),
        Change(tags=tuple(map(str, range(51)))), Change(people=(Person(""),)),
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            editing.change(who, job, wanted)
    with pytest.raises(BadRequest):
        editing.correct(who, job, 0, text="  ")
    with pytest.raises(BadRequest):
        editing.correct(who, job, 0, speaker="Anna")
    for position in (-1, 4):
        with pytest.raises(UnknownPlace):
            editing.correct(who, job, position, text="x")
    with pytest.raises(UnknownPlace):
        editing.rename(who, job, "S9", "x")
    assert revision(queue, job) == (0, 0)


def test_many_changes_of_words_are_looked_into_once(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    job = hold(queue, settings=FOLLOWED)
    work(parts)
    waits = MeetingSettings(follow_up=True, pause=3600.0)
    who = Editor(queue, waits, Client())
    before = len(made.asked)
    for text in ("One.", "Two.", "Three."):
        editing.correct(who, job, 0, text=text)
    shown = reading.shown(queue.database, "local", job, "summary")
    assert shown.stale
    with queue.database.read() as connection:
        waiting = connection.execute(
            sa.select(jobs.c.id, jobs.c.not_before, jobs.c.created).where(
                jobs.c.parent == job, jobs.c.finished.is_(None)
            )
        ).all()
    assert len(waiting) == 1
    assert waiting[0].not_before > waiting[0].created + 3000
    assert queue.claim_step(AFTER) is None
    assert len(made.asked) == before


def test_a_meeting_in_the_archive_keeps_what_was_found(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    job = hold(queue, settings=FOLLOWED)
    work(parts)
    with queue.database.write() as connection:
        for table in (segments, transcripts):
            connection.execute(table.delete().where(table.c.job == job))
        gone = {"job": job, "place": "p", "sha256": "s", "size": 1, "segments": 5, "archived": 1.0}
        connection.execute(archives.insert().values(gone))
    assert reading.shown(queue.database, "local", job, "summary").value.short
    editing.change(editor(parts), job, Change(title="Old"))
    editing.rename(editor(parts), job, "S1", "Anna")
    with pytest.raises(Archived):
        editing.correct(editor(parts), job, 0, text="x")
    with pytest.raises(Archived):
        editing.merge(editor(parts), job, "S1", "S2")
    editing.find_speakers(editor(parts), job, Speakers())
    work(parts)
    assert made.asked.count("speakers None-None") == 2
    with queue.database.read() as connection:
        states = connection.scalars(
            sa.select(jobs.c.state).where(jobs.c.parent == job).order_by(jobs.c.id)
        ).all()
    assert list(states) == ["completed", "completed", "failed", "failed"]
