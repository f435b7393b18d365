"""The database goes away in the middle of work: nothing is lost, nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from tests.jobs.conftest import LEVELS, OPTIONS, Clock, answers, planned, recording
from tests.jobs.line import Line, Point
from tests.jobs.test_many import claim, made_ready, see_that_sums_agree
from tests.jobs.test_worker import Works, working
from tests.waiting import until

from hansard.errors import EngineBusy, LeaseLost, StoreGone
from hansard.jobs import progress
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.model import Job, Prepared
from hansard.store.postgres import Postgres
from hansard.store.tables import deliveries, windows


@pytest.fixture
def line(postgres: str) -> Iterator[Line]:
    opened = Line(postgres)
    yield opened
    opened.close()


@pytest.fixture
def far(line: Line) -> Iterator[Queue]:
    """A worker whose line to the database breaks."""
    database = Postgres(line.address)
    yield Queue(database, "far", lease_seconds=30.0)
    database.close()


@pytest.fixture
def near(postgres: str) -> Iterator[Queue]:
    """One whose line does not."""
    database = Postgres(postgres)
    yield Queue(database, "near", lease_seconds=30.0)
    database.close()


def submitted(queue: Queue, name: str = "a") -> Unit:
    queue.submit(recording(name), OPTIONS, LEVELS, seconds=60.0)
    unit = queue.claim_step()
    assert unit is not None
    return unit


def ended(queue: Queue) -> Unit:
    """A job that only has to be finished."""
    made_ready(queue, 2)
    heard = claim(queue, batch=2)
    assert heard is not None
    queue.record(heard, answers(heard))
    unit = queue.claim_step()
    assert unit is not None
    assert unit.step == "finish"
    return unit


# ── cut at a commit ──────────────────────────────────────────────────────────────────────────

POINTS: tuple[Point, ...] = ("before", "after")


@pytest.mark.parametrize("point", POINTS)
def test_what_was_planned_is_planned_once(far: Queue, line: Line, point: Point) -> None:
    unit = submitted(far)
    line.arm(point, "INSERT INTO windows")
    far.add_windows(unit, planned(3), position=3000)
    assert line.cuts == 1
    line.arm(point, "UPDATE jobs SET")
    far.end_prepare(unit, Prepared(3000, 1, LEVELS))
    assert line.cuts == 2
    job = far.get(unit.job.id)
    assert (job.step, job.planned) == ("listen", 3)
    see_that_sums_agree(far.database)


@pytest.mark.parametrize("point", POINTS)
def test_what_was_heard_is_written_once(far: Queue, line: Line, point: Point) -> None:
    job = made_ready(far, 2)
    unit = claim(far, batch=2)
    assert unit is not None
    line.arm(point, "UPDATE windows SET")
    far.record(unit, answers(unit))
    assert line.cuts == 1
    assert (far.get(job.id).heard, far.get(job.id).step) == (2, "finish")
    see_that_sums_agree(far.database)


@pytest.mark.parametrize("point", POINTS)
def test_a_second_look_is_asked_for_once(far: Queue, line: Line, point: Point) -> None:
    unit = ended(far)
    line.arm(point, "INSERT INTO windows")
    far.listen_again(unit, planned(1))
    assert line.cuts == 1
    job = far.get(unit.job.id)
    assert (job.step, job.planned, job.heard) == ("listen", 3, 2)
    see_that_sums_agree(far.database)


@pytest.mark.parametrize("point", POINTS)
def test_a_job_ends_once(far: Queue, line: Line, point: Point) -> None:
    unit = ended(far)
    with far.database.write() as connection:
        connection.execute(sa.text("UPDATE jobs SET webhook = 'http://example.org/'"))
    written: list[int] = []
    line.arm(point, "UPDATE jobs SET")
    far.complete(unit, lambda _: written.append(1))
    assert line.cuts == 1
    assert len(written) == (2 if point == "before" else 1)
    assert far.get(unit.job.id).state == "completed"
    with far.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(deliveries)) == 1
    see_that_sums_agree(far.database)


@pytest.mark.parametrize("point", POINTS)
def test_a_failure_is_noted_once(far: Queue, line: Line, point: Point) -> None:
    made_ready(far, 2)
    unit = claim(far, batch=2)
    assert unit is not None
    line.arm(point, "INSERT INTO attempts")
    far.fail(unit, EngineBusy("Slowly."))
    assert line.cuts == 1
    assert len(progress.history(far.database, unit.job.id)) == 1
    assert far.get(unit.job.id).state == "retrying"
    see_that_sums_agree(far.database)


@pytest.mark.parametrize("point", POINTS)
def test_a_claim_that_nobody_heard_of_is_made_again(far: Queue, line: Line, point: Point) -> None:
    made_ready(far, 2)
    line.arm(point, "UPDATE windows SET")
    with pytest.raises(StoreGone):
        claim(far, batch=2)
    unit = claim(far, batch=2)
    assert unit is not None
    assert len(unit.parts) == 2
    far.record(unit, answers(unit))
    assert progress.history(far.database, unit.job.id) == []
    see_that_sums_agree(far.database)


# ── cut off ──────────────────────────────────────────────────────────────────────────────────


def in_thread(act: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    went_wrong: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 it is looked at by the test
            went_wrong.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, went_wrong


def test_who_is_cut_off_for_a_lease_is_replaced_and_writes_nothing(
    line: Line, near: Queue, clock: Clock
) -> None:
    database = Postgres(line.address)
    far = Queue(database, "far", lease_seconds=30.0, clock=clock)
    other = Queue(near.database, "other", lease_seconds=30.0, clock=clock)
    job = made_ready(far, 3)
    held = claim(far, batch=2)
    assert held is not None
    line.break_()
    thread, refused = in_thread(lambda: far.record(held, answers(held)))
    first = claim(other, batch=2)
    assert first is not None  # what is not in hand goes on meanwhile
    assert {part.id for part in first.parts}.isdisjoint(part.id for part in held.parts)
    other.record(first, answers(first))
    assert claim(other) is None
    clock.now += 31
    second = claim(other, batch=2)
    assert second is not None
    assert [part.id for part in second.parts] == [part.id for part in held.parts]
    other.record(second, answers(second))
    line.mend()
    thread.join()
    assert [type(error) for error in refused] == [LeaseLost]
    last = other.claim_step()
    assert last is not None
    other.complete(last, lambda _: None)
    assert other.get(job.id).heard == 3
    with other.database.read() as connection:
        tokens = set(connection.scalars(sa.select(windows.c.token)))
    assert tokens == {first.token, second.token}
    see_that_sums_agree(other.database)
    database.close()


def test_what_was_heard_waits_for_the_database(line: Line, far: Queue, near: Queue) -> None:
    job = made_ready(near, 2)
    unit = claim(far, batch=2)
    assert unit is not None
    line.break_()
    thread, refused = in_thread(lambda: far.record(unit, answers(unit)))
    assert near.get(job.id).heard == 0
    line.mend()
    thread.join()
    assert refused == []
    assert near.get(job.id).heard == 2


def test_nobody_is_asked_for_ever(line: Line, near: Queue) -> None:
    database = Postgres(line.address)
    far = Queue(database, "far", lease_seconds=0.2)
    made_ready(near, 1)
    unit = claim(far)
    assert unit is not None
    line.break_()
    with pytest.raises(LeaseLost):
        far.record(unit, answers(unit))
    database.close()


def test_a_crew_outlives_its_database(line: Line, far: Queue, near: Queue) -> None:
    """Cut while it prepares, hears and finishes, and for a while altogether: all is done once."""
    with working(Works(far)) as works:
        works.go.set()
        jobs: list[Job] = []
        for number in range(6):
            job, _ = near.submit(recording(f"{number}"), OPTIONS, LEVELS, seconds=90.0)
            jobs.append(job)
            line.cut()
            if number == 3:
                line.break_()
                started = len(works.crew._threads)
                line.mend()
                assert len(works.crew._threads) >= started
        for job in jobs:
            until(lambda job=job: near.get(job.id).state == "completed", "done")  # type: ignore[misc]
    for job in jobs:
        assert near.get(job.id).heard == near.get(job.id).planned == 3
    see_that_sums_agree(near.database)
