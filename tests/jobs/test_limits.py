"""How much waits, and how long work may take."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.jobs.conftest import (
    LEVELS,
    OPTIONS,
    Clock,
    answers,
    complete,
    listen,
    prepare,
    ready,
    recording,
    state,
    submit,
)

from hansard.config import QueueSettings
from hansard.errors import EngineBusy, QueueFull, QuotaUsedUp
from hansard.jobs import progress
from hansard.jobs.limits import UNKNOWN, unit_limit
from hansard.jobs.queue import Queue
from hansard.model import Client, Job
from hansard.store import keys, tables
from hansard.store.database import Database

TIMES = QueueSettings(soft_seconds=100.0, soft_factor=2.0, unit_seconds=10.0, unit_factor=3.0)


@pytest.fixture
def small(database: Database, clock: Clock) -> Queue:
    """A queue in which two jobs may wait."""
    return Queue(database, "me", settings=QueueSettings(capacity=2), clock=clock)


@pytest.fixture
def timed(database: Database, clock: Clock) -> Queue:
    """A queue with short limits of time."""
    return Queue(database, "me", settings=TIMES, clock=clock)


def rows(queue: Queue) -> dict[str, int]:
    """How many rows every table has."""
    with queue.database.read() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in tables.metadata.sorted_tables
        }


# ── capacity ─────────────────────────────────────────────────────────────────────────────────


def test_what_does_not_fit_is_refused_whole(small: Queue) -> None:
    submit(small, "a")
    small.see_that_there_is_room()
    submit(small, "b")
    before = rows(small)
    with pytest.raises(QueueFull, match="2 jobs are waiting") as refused:
        submit(small, "c")
    with pytest.raises(QueueFull):
        small.see_that_there_is_room()
    assert rows(small) == before
    assert refused.value.status == 429
    assert refused.value.retry_after == 60.0, "nothing ended lately: it is not known"


def test_only_what_waits_counts(small: Queue) -> None:
    submit(small, "a")
    prepare(small, 1)
    submit(small, "b")
    submit(small, "c")  # the first is running
    with pytest.raises(QueueFull):
        submit(small, "d")


def test_what_is_there_already_is_found_in_a_full_queue(small: Queue) -> None:
    first = submit(small, "a")
    complete(small)
    submit(small, "b")
    waiting = submit(small, "c")
    assert submit(small, "a").id == first.id
    assert submit(small, "c").id == waiting.id


def test_a_full_queue_takes_nothing_up_again_either(small: Queue) -> None:
    cancelled = submit(small, "a")
    small.cancel(cancelled.id)
    submit(small, "b")
    submit(small, "c")
    with pytest.raises(QueueFull):
        small.retry(cancelled.id)
    with pytest.raises(QueueFull):
        submit(small, "a")
    assert small.get(cancelled.id).state == "cancelled"


def test_the_time_to_wait_is_what_a_job_took_of_late(small: Queue, clock: Clock) -> None:
    for number in range(4):
        submit(small, f"{number}")
        complete(small)
    clock.now += 1
    submit(small, "a")
    submit(small, "b")
    with pytest.raises(QueueFull) as refused:
        submit(small, "c")
    assert refused.value.retry_after == 600 / 4
    clock.now += 600
    with pytest.raises(QueueFull) as refused:
        submit(small, "c")
    assert refused.value.retry_after == 60.0


# ── a job's time ─────────────────────────────────────────────────────────────────────────────


def test_the_deadline_grows_with_the_audio_and_begins_with_the_work(
    timed: Queue, clock: Clock
) -> None:
    short, long = submit(timed, "a", seconds=10), submit(timed, "b", seconds=1000)
    unknown = submit(timed, "c")
    assert short.deadline is None
    clock.now += 5000  # nobody had time yet
    assert timed.expire() == []
    begun = clock.now
    for _ in range(3):
        assert timed.claim_step() is not None
    assert state(timed, short).deadline == begun + 100 + 2 * 10
    assert state(timed, long).deadline == begun + 100 + 2 * 1000
    assert state(timed, unknown).deadline == begun + 100 + 2 * UNKNOWN


def test_a_job_that_takes_too_long_fails_and_says_so(timed: Queue, clock: Clock) -> None:
    job = submit(timed, seconds=30)
    unit = timed.claim_step()
    assert unit is not None
    for _ in range(3):
        clock.now += 50
        timed.renew([unit])
    assert timed.expire() == []
    clock.now += 11
    timed.renew([unit])
    assert timed.expire() == [job.id]
    failed = state(timed, job)
    assert failed.state == "failed"
    assert failed.failure is not None
    assert failed.failure.code == "timed_out"
    assert [one.failure.code for one in progress.history(timed.database, job.id)] == ["timed_out"]
    assert not timed.holds(unit)
    assert timed.expire() == []


def test_a_job_that_is_tried_again_and_again_fails_at_its_deadline(
    timed: Queue, clock: Clock
) -> None:
    job = submit(timed, seconds=30)
    unit = timed.claim_step()
    assert unit is not None
    timed.fail(unit, EngineBusy("later", retry_after=500.0))
    clock.now += 161
    assert timed.expire() == [job.id]


def test_waiting_for_a_turn_is_not_running(timed: Queue, clock: Clock) -> None:
    job = submit(timed, seconds=30)
    unit = timed.claim_step()
    assert unit is not None
    ready(timed, unit)
    clock.now += 10_000  # others had the engine
    assert timed.expire() == []
    heard = listen(timed)
    assert heard is not None
    assert state(timed, job).deadline == clock.now + 160
    timed.record(heard, answers(heard))


def test_another_try_has_its_time_anew(timed: Queue, clock: Clock) -> None:
    job = submit(timed, seconds=30)
    unit = timed.claim_step()
    assert unit is not None
    clock.now += 161
    timed.renew([unit])
    assert timed.expire() == [job.id]
    again = timed.retry(job.id)
    assert again.deadline is None
    assert timed.expire() == []
    assert timed.claim_step() is not None
    assert state(timed, job).deadline == clock.now + 160


# ── a unit's time ────────────────────────────────────────────────────────────────────────────


def test_a_units_time_grows_with_its_audio(timed: Queue) -> None:
    submit(timed, "a", seconds=90)
    unit = timed.claim_step()
    assert unit is not None
    assert unit_limit(TIMES, unit) == 10 + 3 * 90
    ready(timed, unit)
    heard = listen(timed, batch=2)
    assert heard is not None
    assert unit_limit(TIMES, heard) == 10 + 3 * 60


def test_priority_and_rest_are_what_they_were(small: Queue) -> None:
    job, _ = small.submit(recording(), OPTIONS, LEVELS, priority=7, seconds=3.5, webhook="http://x")
    assert (job.priority, job.seconds, job.webhook, job.lane) == (7, 3.5, "http://x", "short")


def test_a_key_s_day_is_asked_in_the_transaction_that_accepts(database: Database) -> None:
    queue = Queue(database, "me", clock=lambda: 1_000_000.0)
    with database.write() as connection:
        key, _ = keys.create(connection, "clerk", ["read", "write"], quota=3600.0, now=1_000_000.0)
    client = Client(key.tenant, key.id)

    def ask(name: str, seconds: float) -> Job:
        return queue.submit(recording(name), OPTIONS, LEVELS, client=client, seconds=seconds)[0]

    long = ask("a", 3000.0)
    before = rows(queue)
    with pytest.raises(QuotaUsedUp, match=r"0\.83 of 1\.00 hours") as refused:
        ask("b", 86_400.0)
    assert refused.value.retry_after == 86_400.0 - 1_000_000.0 % 86_400.0
    assert rows(queue) == before
    assert ask("c", 600.0).state == "queued", "what fits is taken"
    queue.cancel(long.id)
    other = ask("d", 2000.0)
    with pytest.raises(QuotaUsedUp):
        queue.retry(long.id)
    with pytest.raises(QuotaUsedUp):
        ask("a", 3000.0)
    assert {other.state, state(queue, long).state} == {"queued", "cancelled"}
