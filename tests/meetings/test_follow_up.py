from __future__ import annotations

import struct

import msgspec
import pytest
import sqlalchemy as sa
from tests.jobs.conftest import submit
from tests.meetings.conftest import (
    AFTER,
    FOLLOWED,
    TALK,
    Makers,
    Parts,
    editor,
    hold,
    said,
    segments_of,
    work,
)

from hansard.config import MeetingSettings
from hansard.errors import LeaseLost, MediaGone, NotMadeYet, UnknownJob, UnknownMeeting
from hansard.jobs import claim, progress
from hansard.jobs.queue import Queue
from hansard.meetings import editing, follow_up, makers, reading
from hansard.meetings.requests import Speakers
from hansard.meetings.turns import Turn
from hansard.search import saved
from hansard.store import index, meetings, voices
from hansard.store.tables import deliveries, jobs, usage


def follow_ups(queue: Queue, job: str) -> list[tuple[str, str]]:
    with queue.database.read() as connection:
        found = connection.execute(
            sa.select(jobs.c.kind, jobs.c.state).where(jobs.c.parent == job).order_by(jobs.c.id)
        )
        return [(kind, state) for kind, state in found]


def speakers(queue: Queue, job: str) -> list[tuple[str | None, str]]:
    return [(one.speaker, one.text) for one in segments_of(queue, job)]


def test_a_transcript_becomes_a_meeting(parts: Parts, queue: Queue) -> None:
    job = hold(queue)
    with queue.database.read() as connection:
        row = meetings.row(connection, job, "local")
        with pytest.raises(UnknownMeeting):
            meetings.row(connection, job, "somebody else")
    assert (row.title, row.kind, row.status, row.language) == ("a", "meeting", "new", "en")
    assert (row.segments, row.words, row.seconds) == (4, 22, 20.0)
    assert follow_ups(queue, job) == []
    assert work(parts) == []


def test_speakers_come_first_and_then_what_it_meant(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    job = hold(queue, settings=FOLLOWED)
    assert follow_ups(queue, job) == [("speakers", "queued")]
    assert work(parts) == ["speakers", "insight"]
    assert follow_ups(queue, job) == [("speakers", "completed"), ("insight", "completed")]
    assert speakers(queue, job) == [
        ("S1", "Good morning everybody."),
        ("S1", "We meet about the budget."),
        ("S2", "I agree to that."),
        ("S1", "Anna sends the numbers by Friday."),
        ("S1", "Is that all? Yes."),
    ]
    kinds = ["summary", "chapters", "items", "sentiment", "statistics"]
    assert made.asked == ["speakers None-None", *kinds]
    shown = reading.shown(queue.database, "local", job, "items")
    assert not shown.stale
    assert shown.value.items[0].segments == (3,)
    assert shown.times == {3: 8.0}
    with queue.database.read() as connection:
        row = meetings.row(connection, job)
        found = {one.label: one.seconds for one in meetings.speakers_of(connection, job)}
    assert row.mood == 0.25
    assert row.segments == 5
    assert found == {"S1": 17.5, "S2": 2.5}


def test_without_speakers_meaning_is_found_all_the_same(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    made.error = MediaGone("The media were removed.")
    job = hold(queue, settings=FOLLOWED)
    assert work(parts) == ["speakers", "insight"]
    assert follow_ups(queue, job) == [("speakers", "failed"), ("insight", "completed")]
    assert speakers(queue, job) == [(None, segment.text) for segment in TALK]
    assert reading.shown(queue.database, "local", job, "summary").value.short


@pytest.mark.parametrize(
    "settings",
    [
        FOLLOWED,
        MeetingSettings(follow_up=False),
        MeetingSettings(follow_up=True, diarize="on", findings=()),
    ],
    ids=["all", "nothing", "speakers"],
)
@pytest.mark.usefixtures("made")
def test_who_saved_a_search_is_told_once_all_is_known(
    parts: Parts, queue: Queue, settings: MeetingSettings
) -> None:
    for q in ("budget", '"no such words"'):
        with queue.database.write() as connection:
            url = "https://example.org/hook"
            saved.save(connection, "local", q, q, webhook=url, key=None, now=1.0)
    job = hold(queue, settings=settings)
    if settings.follow_up:
        assert told(queue) == []
    work(parts)
    assert told(queue) == [job]
    editing.correct(editor(parts), job, 0, text="Good evening about the budget.")
    editing.find_out(editor(parts), job)
    work(parts)
    assert told(queue) == [job], "nobody is told twice of one meeting"


def told(queue: Queue) -> list[str]:
    """Meetings of which somebody who saved a search is told."""
    with queue.database.read() as connection:
        chosen = sa.select(deliveries.c.body).where(deliveries.c.event == saved.EVENT)
        bodies = list(connection.scalars(chosen))
    return [msgspec.json.decode(body)["data"]["meeting"]["id"] for body in bodies]


def test_who_saved_a_search_is_told_also_where_speakers_fail_and_nothing_follows(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    made.error = MediaGone("The media were removed.")
    with queue.database.write() as connection:
        url = "https://example.org/hook"
        saved.save(connection, "local", "a", "budget", webhook=url, key=None, now=1.0)
    only = MeetingSettings(follow_up=True, diarize="on", findings=())
    parts.settings = parts.settings.model_copy(update={"meetings": only})
    job = hold(queue, settings=only)
    assert work(parts) == ["speakers", "insight"]
    assert made.asked == ["speakers None-None"], "nothing else is found out"
    assert told(queue) == [job]


@pytest.mark.parametrize(
    "settings",
    [FOLLOWED, MeetingSettings(follow_up=True, pause=0.0, diarize="off")],
    ids=["all", "findings"],
)
def test_who_saved_a_search_is_told_also_where_meaning_fails(
    parts: Parts, queue: Queue, made: Makers, settings: MeetingSettings
) -> None:
    made.lost = MediaGone("The media were removed.")
    with queue.database.write() as connection:
        url = "https://example.org/hook"
        saved.save(connection, "local", "a", "budget", webhook=url, key=None, now=1.0)
    parts.settings = parts.settings.model_copy(update={"meetings": settings})
    job = hold(queue, settings=settings)
    done = work(parts)
    assert done[-2:] == ["insight", "insight"]
    assert follow_ups(queue, job)[-2:] == [("insight", "failed"), ("insight", "completed")]
    assert sum(not asked.startswith("speakers") for asked in made.asked) == 1
    assert told(queue) == [job]


@pytest.mark.usefixtures("made")
def test_words_of_another_language_are_not_stemmed_as_english(queue: Queue) -> None:
    job = hold(queue, language="de")
    with queue.database.read() as connection:
        assert not index.stale(connection, job)


def test_finding_speakers_again_keeps_labels_names_and_what_people_said(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    job = hold(queue, settings=FOLLOWED)
    work(parts)
    who = editor(parts)
    editing.rename(who, job, "S2", "Ben")
    editing.correct(who, job, 4, speaker="S2")
    editing.correct(who, job, 3, text="Anna sends the figures by Friday.")
    # Found in another order, under other labels, and a little later.
    made.turns = (Turn(0.0, 5.5, "x"), Turn(5.5, 7.9, "y"), Turn(7.9, 20.0, "x"))
    asked = editing.find_speakers(who, job, Speakers(max_speakers=2))
    assert work(parts) == ["speakers", "insight"]
    assert made.asked[-6] == "speakers None-2"
    assert progress.find(queue.database, asked).parent == job
    assert speakers(queue, job) == [
        ("S1", "Good morning everybody."),
        ("S1", "We meet about the budget."),
        ("Ben", "I agree to that."),
        ("S1", "Anna sends the figures by Friday."),
        ("Ben", "Is that all? Yes."),
    ]


def test_merged_speakers_stay_merged(parts: Parts, queue: Queue, made: Makers) -> None:
    job = hold(queue, settings=FOLLOWED)
    work(parts)
    editing.merge(editor(parts), job, "S2", "S1")
    assert {label for label, _ in speakers(queue, job)} == {"S1"}
    editing.find_speakers(editor(parts), job, Speakers())
    work(parts)
    assert {label for label, _ in speakers(queue, job)} == {"S1"}
    with queue.database.read() as connection:
        assert [one.label for one in meetings.speakers_of(connection, job)] == ["S1"]
    assert made.asked.count("speakers None-None") == 2


def test_what_is_there_is_not_made_again(parts: Parts, queue: Queue, made: Makers) -> None:
    job = hold(queue, settings=FOLLOWED)
    work(parts)
    before = len(made.asked)
    editing.find_out(editor(parts), job, ["summary"])
    assert work(parts) == ["insight"]
    assert made.asked[before:] == ["summary"]
    shown = reading.shown(queue.database, "local", job, "summary")
    assert (shown.version, shown.stale) == (2, False)


def test_a_worker_that_dies_half_way_is_replaced_where_it_was(
    parts: Parts, queue: Queue, made: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hold(queue, settings=FOLLOWED)
    unit = queue.claim_step(AFTER)
    assert unit is not None
    follow_up.speakers(parts, unit)
    unit = queue.claim_step(AFTER)
    assert unit is not None
    find, count = made.find, 0

    class Died(BaseException):
        pass

    def dies(*given: object) -> object:
        nonlocal count
        count += 1
        if count == 3:
            raise Died
        return find(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(makers, "find", dies)
    with pytest.raises(Died):
        follow_up.insight(parts, unit)
    monkeypatch.setattr(makers, "find", find)
    queue.free(["me"])
    with pytest.raises(LeaseLost):
        queue.keep(unit, lambda _: None)
    assert work(parts) == ["insight"]
    assert [made.asked.count(kind) for kind in ("summary", "chapters", "items")] == [1, 1, 1]
    assert reading.shown(queue.database, "local", job, "items").version == 1


def test_channels_that_were_heard_apart_are_speakers(
    parts: Parts, queue: Queue, made: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_up, "_channels", lambda *_: 2)
    talk = (said(0.0, "Hello there."), said(1.0, "Hi.", channel=1), said(5.0, "Bye."))
    job = hold(queue, talk, settings=FOLLOWED)
    assert work(parts) == ["speakers", "insight"]
    assert [label for label, _ in speakers(queue, job)] == ["S1", "S2", "S1"]
    assert "speakers None-None" not in made.asked
    editing.correct(editor(parts), job, 2, speaker="S3")
    editing.find_speakers(editor(parts), job, Speakers())
    work(parts)
    assert [label for label, _ in speakers(queue, job)] == ["S1", "S2", "S3"]


def test_a_voice_that_is_remembered_is_proposed_to_its_tenant_alone(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    voice = struct.pack("<3f", 1.0, 2.0, 3.0)
    made.voices = {"a": voice}
    made.turns = (Turn(0.0, 8.0, "a"), Turn(8.0, 20.0, "b"))
    job = hold(queue, settings=FOLLOWED)
    work(parts)
    editing.rename(editor(parts), job, "S1", "Ben", remember=True)
    with queue.database.read() as connection:
        (known,) = voices.remembered(connection, "local", "embedded-1")
        assert voices.remembered(connection, "another", "embedded-1") == []
    assert (known.name, known.vector) == ("Ben", voice)

    made.voices = {"b": voice}  # in another meeting they come second
    later = hold(queue, name="b", settings=FOLLOWED)
    work(parts)
    others = hold(queue, name="b", tenant="another", settings=FOLLOWED)
    work(parts)
    with queue.database.read() as connection:
        found = {one.label: one for one in meetings.speakers_of(connection, later)}
        assert [one.proposed for one in meetings.speakers_of(connection, others)] == [None, None]
    assert (found["S1"].proposed, found["S1"].name) == (None, None)
    assert (found["S2"].proposed, found["S2"].name) == ("Ben", None), "proposed, not decided"
    assert (found["S2"].confidence or 0.0) > 0.9

    made.voices = {"a": struct.pack("<3f", 9.0, 9.0, 9.0)}
    strange = hold(queue, name="c", settings=FOLLOWED)
    work(parts)
    with queue.database.read() as connection:
        assert [one.proposed for one in meetings.speakers_of(connection, strange)] == [None, None]


# ── what follows is bounded, uncounted, and goes with its parent ─────────────────────────────


@pytest.mark.usefixtures("made")
def test_follow_ups_take_no_room_and_cost_no_quota(parts: Parts, queue: Queue) -> None:
    hold(queue, settings=FOLLOWED)
    with queue.database.read() as connection:
        assert claim.waiting(connection, 10) == 0
        before = connection.execute(sa.select(usage)).all()
        told = connection.scalar(sa.select(sa.func.count()).select_from(deliveries))
    work(parts)
    with queue.database.read() as connection:
        assert connection.execute(sa.select(usage)).all() == before
        assert connection.scalar(sa.select(sa.func.count()).select_from(deliveries)) == told


def test_what_is_asked_again_while_it_waits_waits_once(
    parts: Parts, queue: Queue, made: Makers
) -> None:
    job = hold(queue)
    first = editing.find_out(editor(parts), job)
    second = editing.find_out(editor(parts), job, ["items"])
    assert first == second
    assert work(parts) == ["insight"]
    assert made.asked == ["items"]


@pytest.mark.usefixtures("made")
def test_follow_ups_go_with_their_parent(parts: Parts, queue: Queue) -> None:
    job = hold(queue, settings=FOLLOWED)
    unit = queue.claim_step(AFTER)
    assert unit is not None
    forgotten: list[str] = []
    assert queue.delete("local", job, forget=forgotten.append)
    assert forgotten == ["a"]
    with pytest.raises(LeaseLost):
        follow_up.speakers(parts, unit)
    with pytest.raises(UnknownJob):
        queue.get(unit.job.id)
    with queue.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(jobs)) == 0


@pytest.mark.usefixtures("made")
def test_a_cancelled_follow_up_leaves_the_rest(parts: Parts, queue: Queue) -> None:
    job = hold(queue, settings=FOLLOWED)
    unit = queue.claim_step(AFTER)
    assert unit is not None
    queue.cancel(unit.job.id)
    assert work(parts) == ["insight"]
    assert follow_ups(queue, job) == [("speakers", "cancelled"), ("insight", "completed")]


@pytest.mark.usefixtures("made")
def test_what_was_not_made_says_so(parts: Parts, queue: Queue) -> None:
    job = hold(queue)
    with pytest.raises(NotMadeYet, match="was not made"):
        reading.shown(queue.database, "local", job, "summary")
    editing.find_out(editor(parts), job)
    with pytest.raises(NotMadeYet, match="on its way"):
        reading.shown(queue.database, "local", job, "summary")
    submit(queue, "b")
    with pytest.raises(UnknownMeeting):
        reading.shown(queue.database, "another", job, "summary")
