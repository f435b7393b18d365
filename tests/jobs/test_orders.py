"""What people ask for: cancel, retry, delete, each for their own; and the history of it all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from tests.jobs.conftest import (
    LEVELS,
    OPTIONS,
    Clock,
    answers,
    complete,
    listen,
    planned,
    prepare,
    recording,
    state,
    submit,
)

from hansard.errors import EngineBusy, EngineUnreachable, LeaseLost, UnknownJob
from hansard.jobs import progress
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.unit import work_once
from hansard.model import Client, Job, Options, Prepared
from hansard.store import tables
from hansard.store.database import Database


def preparing(queue: Queue) -> Unit:
    unit = queue.claim_step()
    assert unit is not None
    return unit


def listening(queue: Queue) -> Unit:
    prepare(queue, 2)
    unit = listen(queue, batch=1)
    assert unit is not None
    return unit


def finishing(queue: Queue) -> Unit:
    prepare(queue, 1)
    unit = listen(queue)
    assert unit is not None
    queue.record(unit, answers(unit))
    last = queue.claim_step()
    assert last is not None
    assert last.step == "finish"
    return last


def waiting(queue: Queue) -> None:
    queue.fail(listening(queue), EngineBusy("later", retry_after=60.0))


STAGES = [lambda _: None, preparing, listening, finishing, waiting]


def nothing_is_written(queue: Queue, unit: Unit) -> None:
    """Everything that a worker may do with a unit is refused."""
    with pytest.raises(LeaseLost):
        queue.add_windows(unit, planned(9), position=1)
    with pytest.raises(LeaseLost):
        queue.end_prepare(unit, Prepared(1, 1, LEVELS))
    with pytest.raises(LeaseLost):
        queue.listen_again(unit, planned(1))
    with pytest.raises(LeaseLost):
        queue.complete(unit, lambda _: None)
    with pytest.raises(LeaseLost):
        queue.record(unit, answers(unit))
    queue.fail(unit, EngineUnreachable("too late to matter"))


@pytest.mark.parametrize("stage", STAGES)
def test_cancelled_at_any_stage_and_retried(queue: Queue, stage) -> None:
    job = submit(queue)
    unit = stage(queue)
    assert queue.cancel(job.id).state == "cancelled"
    if unit is not None:
        assert not queue.holds(unit)
        nothing_is_written(queue, unit)
    assert queue.claim_step() is None
    assert listen(queue) is None
    assert queue.retry(job.id).state == "queued"
    complete(queue, count=2)
    assert state(queue, job).state == "completed"


@pytest.mark.parametrize("stage", STAGES)
def test_deleted_at_any_stage(queue: Queue, stage) -> None:
    job = submit(queue)
    unit = stage(queue)
    gone: list[str] = []
    assert queue.delete(None, job.id, forget=gone.append)
    assert gone == [job.recording]
    if unit is not None:
        nothing_is_written(queue, unit)
    with queue.database.read() as connection:
        for table in (tables.jobs, tables.windows, tables.attempts, tables.recordings):
            assert connection.execute(sa.select(table)).all() == []
    with pytest.raises(UnknownJob):
        queue.get(job.id)
    assert submit(queue).id != job.id


def test_an_error_in_work_that_was_deleted_is_no_trouble(queue: Queue) -> None:
    job = submit(queue)
    unit = listening(queue)

    def handler(_: Unit) -> None:
        queue.delete(None, job.id)
        raise FileNotFoundError(job.id)

    assert work_once(queue, unit, handler)


def test_a_recording_stays_for_its_other_jobs(queue: Queue) -> None:
    mine, theirs = submit(queue, tenant="a"), submit(queue, tenant="b")
    gone: list[str] = []
    assert not queue.delete("a", mine.id, forget=gone.append)
    assert gone == []
    assert queue.delete("b", theirs.id, forget=gone.append)
    assert gone == [theirs.recording]


def test_another_tenants_job_is_as_if_it_were_not_there(queue: Queue) -> None:
    job = submit(queue, tenant="a")
    database = queue.database
    asks: list[Callable[[str], object]] = [
        lambda name: queue.get(name, tenant="b"),
        lambda name: queue.cancel(name, tenant="b"),
        lambda name: queue.retry(name, tenant="b"),
        lambda name: queue.delete("b", name),
        lambda name: progress.progress(database, name, tenant="b"),
        lambda name: progress.history(database, name, tenant="b"),
    ]
    said = set()
    for ask in asks:
        for name in (job.id, "nobody"):
            with pytest.raises(UnknownJob) as refused:
                ask(name)
            said.add((refused.value.message.replace(name, "…"), refused.value.hint))
    assert len(said) == 1, "not even the words tell"
    with pytest.raises(UnknownJob):
        progress.find(database, job.id, tenant="b")
    assert progress.listing(database, tenant="b") == []
    assert queue.get(job.id, tenant="a") == job
    assert progress.find(database, job.id, tenant="a") == job
    assert progress.listing(database, tenant="a") == [job]
    assert queue.find(job.recording, OPTIONS, Client("b")) is None


def test_a_retry_keeps_all_that_was_asked_for_and_the_history(queue: Queue, clock: Clock) -> None:
    job, _ = queue.submit(
        recording(),
        OPTIONS,
        LEVELS,
        priority=8,
        client=Client("a", "key1"),
        seconds=12.0,
        webhook="https://example.org/hook",
    )
    for _ in range(queue.attempts):
        unit = queue.claim_step()
        assert unit is not None
        queue.fail(unit, EngineUnreachable("nobody there"))
        clock.now += 1000
    again = queue.retry(job.id, tenant="a", by="key2")

    def asked(one: Job) -> tuple[object, ...]:
        who = (one.tenant, one.key, one.name, one.webhook)
        return (*who, one.priority, one.lane, one.seconds, one.options, one.created, one.identity)

    assert asked(again) == asked(job)
    tried = progress.history(queue.database, job.id)
    assert [one.step for one in tried] == ["prepare"] * queue.attempts + ["retry"]
    assert (tried[-1].owner, tried[-1].ended) == ("key2", clock.now)
    unit = queue.claim_step()
    assert unit is not None
    queue.fail(unit, EngineUnreachable("nobody there"))
    assert state(queue, job).state == "retrying", "it has all its tries again"
    assert len(progress.history(queue.database, job.id)) == queue.attempts + 2


def test_a_model_that_does_not_load_has_all_its_tries_again_after_a_retry(
    queue: Queue, clock: Clock
) -> None:
    job = submit(queue)
    for _ in range(queue.attempts):
        queue.fail_model("sphinx", "en-us", EngineUnreachable("nobody there"))
        clock.now += 1000
    assert state(queue, job).state == "failed"
    queue.retry(job.id)
    queue.fail_model("sphinx", "en-us", EngineUnreachable("nobody there"))
    assert state(queue, job).state == "retrying"


def test_wanted_models_are_told_once_each_and_the_most_urgent_first(
    queue: Queue, clock: Clock
) -> None:
    assert queue.waiting_models() == []
    for model, priority in (("low", 3), ("first", 5), ("top", 8), ("first", 4), ("second", 5)):
        clock.now += 1
        options = Options("sphinx", model, language="en")
        submit(queue, f"{model} {priority}", options, priority=priority)
    order = [("sphinx", model) for model in ("top", "first", "second", "low")]
    assert queue.waiting_models() == order
    queue.fail_model("sphinx", "top", EngineUnreachable("nobody there"))
    assert queue.waiting_models() == order[1:], "what waits for better wants nothing now"
    clock.now += 1000
    assert queue.waiting_models() == order


def test_asking_for_failed_work_again_is_in_the_history(queue: Queue) -> None:
    job, _ = queue.submit(recording(), OPTIONS, LEVELS, client=Client("a", "key1"))
    queue.cancel(job.id)
    queue.submit(recording(), OPTIONS, LEVELS, client=Client("a", "key1"))
    (asked,) = progress.history(queue.database, job.id)
    assert (asked.step, asked.owner) == ("retry", "key1")


def test_a_worker_that_dies_is_in_the_history(database: Database, queue: Queue) -> None:
    job = submit(queue)
    first, second = Queue(database, "first"), Queue(database, "second")
    assert first.claim_step() is not None
    queue.free(["first"])
    prepare(queue, 2)
    assert listen(second, batch=2) is not None
    queue.free(["second"])
    tried = [(one.step, one.owner, one.failure.code) for one in progress.history(database, job.id)]
    assert tried == [("prepare", "first", "engine_died"), ("listen", "second", "engine_died")]
    third = Queue(database, "third")
    assert listen(third) is not None
    third.give_back()
    assert len(progress.history(database, job.id)) == 2, "who gives back has not failed"


def test_a_lease_that_ran_out_is_in_the_history(
    database: Database, queue: Queue, clock: Clock
) -> None:
    job = submit(queue)
    silent = Queue(database, "silent", clock=clock)
    assert silent.claim_step() is not None
    clock.now += queue.lease_seconds + 1
    prepare(queue, 1)
    assert listen(silent) is not None
    clock.now += queue.lease_seconds + 1
    assert listen(queue) is not None
    tried = [(one.step, one.owner) for one in progress.history(database, job.id)]
    assert tried == [("prepare", "silent"), ("listen", "silent")]
