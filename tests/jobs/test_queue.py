from __future__ import annotations

import threading
from pathlib import Path

import pytest
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

from hansard.errors import (
    BadInput,
    EngineBusy,
    EngineUnreachable,
    InvalidState,
    LeaseLost,
    UnknownJob,
)
from hansard.jobs import progress
from hansard.jobs.presence import Presence
from hansard.jobs.queue import Queue
from hansard.model import Options, Prepared, Span, Utterance, Window, WindowResult
from hansard.store import windows as heard_windows
from hansard.store.database import Database
from hansard.store.sqlite import Sqlite


def test_a_job_walks_through_its_steps(queue: Queue) -> None:
    job = submit(queue)
    assert (job.state, job.step) == ("queued", "prepare")
    prepare(queue, 3)
    while (unit := listen(queue, batch=2)) is not None:
        queue.record(unit, answers(unit))
    last = queue.claim_step()
    assert last is not None
    assert last.step == "finish"
    queue.complete(last, lambda _: None)
    assert state(queue, job).state == "completed"
    assert queue.claim_step() is None
    found = heard_windows.heard(queue.database, job.id, 0, 0)
    assert [r.utterances[0].text for _, r in found] == ["window 0", "window 1", "window 2"]


def test_the_same_work_is_the_same_job(queue: Queue) -> None:
    first = submit(queue)
    second, left = queue.submit(recording(), OPTIONS, LEVELS)
    assert second.id == first.id
    assert left
    assert submit(queue, options=Options("sphinx", "en-us")).id != first.id
    assert submit(queue, "b").id != first.id


def test_completed_work_is_not_done_again_unless_asked(queue: Queue) -> None:
    job = submit(queue)
    complete(queue)
    assert queue.submit(recording(), OPTIONS, LEVELS) == (state(queue, job), False)
    again, left = queue.submit(recording(), OPTIONS, LEVELS, again=True)
    assert again.id != job.id
    assert left
    with pytest.raises(InvalidState):
        queue.retry(job.id)


def test_asking_for_open_work_again_does_not_double_it(queue: Queue) -> None:
    job = submit(queue)
    again, _ = queue.submit(recording(), OPTIONS, LEVELS, again=True)
    assert again.id == job.id


def test_windows_that_are_done_stay_done_through_failure_and_retry(queue: Queue) -> None:
    job = submit(queue)
    prepare(queue, 3)
    unit = listen(queue, batch=1)
    assert unit is not None
    queue.record(unit, answers(unit))
    bad = listen(queue, batch=1)
    assert bad is not None
    queue.fail(bad, BadInput("broken"))
    assert state(queue, job).state == "failed"
    assert listen(queue) is None
    again, left = queue.submit(recording(), OPTIONS, LEVELS)
    assert (again.id, again.state, left) == (job.id, "queued", True)
    step = queue.claim_step()
    assert step is not None
    queue.add_windows(step, planned(3), position=3000)  # preparing again plans the same windows
    queue.end_prepare(step, Prepared(3000, 1, LEVELS))
    rest = listen(queue, batch=8)
    assert rest is not None
    assert [part.window.index for part in rest.parts] == [1, 2]


def test_a_stale_token_may_write_nothing(queue: Queue, clock: Clock) -> None:
    job = submit(queue)
    prepare(queue, 1)
    slow = listen(queue)
    assert slow is not None
    clock.now += queue.lease_seconds + 1
    other = Queue(queue.database, "other", clock=clock)
    quick = listen(other)
    assert quick is not None
    other.record(quick, [WindowResult((Utterance(0.0, 1.0, "quick"),))])
    with pytest.raises(LeaseLost):
        queue.record(slow, [WindowResult((Utterance(0.0, 1.0, "slow"),))])
    ((_, result),) = heard_windows.heard(queue.database, job.id, 0, 0)
    assert result.utterances[0].text == "quick"


def test_a_stale_preparer_may_plan_and_end_nothing(queue: Queue, clock: Clock) -> None:
    submit(queue)
    slow = queue.claim_step()
    assert slow is not None
    clock.now += queue.lease_seconds + 1
    assert Queue(queue.database, "other", clock=clock).claim_step() is not None
    with pytest.raises(LeaseLost):
        queue.add_windows(slow, planned(1), position=1)
    with pytest.raises(LeaseLost):
        queue.end_prepare(slow, Prepared(1, 1, LEVELS))
    with pytest.raises(LeaseLost):
        queue.complete(slow, lambda _: None)


def test_renewing_keeps_a_lease(queue: Queue, clock: Clock) -> None:
    submit(queue)
    prepare(queue, 1)
    unit = listen(queue)
    assert unit is not None
    for _ in range(5):
        clock.now += queue.lease_seconds * 0.9
        queue.renew([unit])
        assert listen(queue) is None


def test_transient_trouble_waits_and_tries_again(queue: Queue, clock: Clock) -> None:
    job = submit(queue)
    prepare(queue, 1)
    unit = listen(queue)
    assert unit is not None
    queue.fail(unit, EngineBusy("slow down", retry_after=42.0))
    assert state(queue, job).state == "retrying"
    assert listen(queue) is None
    clock.now += 41
    assert listen(queue) is None
    clock.now += 2
    unit = listen(queue)
    assert unit is not None
    assert state(queue, job).state == "running"
    queue.record(unit, answers(unit))
    (tried,) = progress.history(queue.database, job.id)
    assert (tried.failure.code, tried.step, tried.owner) == ("engine_busy", "listen", "me")


def test_trying_again_has_an_end(queue: Queue, clock: Clock) -> None:
    job = submit(queue)
    prepare(queue, 1)
    for _ in range(queue.attempts):
        unit = listen(queue)
        assert unit is not None
        queue.fail(unit, EngineUnreachable("nobody there"))
        clock.now += 1000
    failed = state(queue, job)
    assert failed.state == "failed"
    assert failed.failure is not None
    assert failed.failure.code == "engine_unreachable"
    assert len(progress.history(queue.database, job.id)) == queue.attempts


def test_a_window_that_kills_its_worker_every_time_fails_the_job(queue: Queue) -> None:
    job = submit(queue)
    prepare(queue, 1)
    for number in range(queue.attempts):
        victim = Queue(queue.database, f"victim {number}")
        assert listen(victim) is not None
        queue.free([f"victim {number}"])
    assert listen(queue) is None
    failed = state(queue, job)
    assert failed.failure is not None
    assert (failed.state, failed.failure.code) == ("failed", "engine_died")


def test_giving_back_is_not_an_attempt(queue: Queue) -> None:
    submit(queue)
    prepare(queue, 1)
    for _ in range(queue.attempts * 2):
        assert listen(queue) is not None
        queue.give_back()
    assert listen(queue) is not None


def test_cancelling_stops_everything_and_keeps_what_is_done(queue: Queue) -> None:
    job = submit(queue)
    prepare(queue, 2)
    done = listen(queue, batch=1)
    assert done is not None
    queue.record(done, answers(done))
    in_hand = listen(queue, batch=1)
    assert in_hand is not None
    assert queue.cancel(job.id).state == "cancelled"
    with pytest.raises(LeaseLost):
        queue.record(in_hand, answers(in_hand))
    assert listen(queue) is None
    with pytest.raises(InvalidState):
        queue.cancel(job.id)
    assert queue.retry(job.id).state == "queued"
    assert progress.progress(queue.database, job.id).windows_done == 1


def test_unknown_and_ambiguous_names(queue: Queue) -> None:
    first, second = submit(queue), submit(queue, "b")
    assert progress.find(queue.database, first.id[-6:]).id == first.id
    with pytest.raises(UnknownJob, match="several"):
        progress.find(queue.database, "")
    with pytest.raises(UnknownJob, match="no job"):
        progress.find(queue.database, "%")
    with pytest.raises(UnknownJob):
        queue.cancel("nobody")
    assert {job.id for job in progress.listing(queue.database)} == {first.id, second.id}


def test_urgent_jobs_go_first(queue: Queue, clock: Clock) -> None:
    submit(queue, "a", priority=1)
    clock.now += 1
    submit(queue, "b", priority=9)
    clock.now += 1
    submit(queue, "c", priority=5)
    order = []
    while (unit := queue.claim_step()) is not None:
        order.append(unit.job.priority)
    assert order == [9, 5, 1]


def test_a_batch_is_like_in_length_and_begins_with_the_earliest(queue: Queue) -> None:
    submit(queue)
    unit = queue.claim_step()
    assert unit is not None
    lengths = [900, 100, 880, 120, 910, 90]
    windows = [
        Window(i, 0, (Span(i * 1000, i * 1000 + length),)) for i, length in enumerate(lengths)
    ]
    queue.add_windows(unit, windows, position=6000)
    queue.end_prepare(unit, Prepared(6000, 1, LEVELS))
    batch = listen(queue, batch=3)
    assert batch is not None
    assert sorted(part.window.index for part in batch.parts) == [0, 2, 4]


def test_batches_are_filled_across_jobs_that_decode_alike(queue: Queue, clock: Clock) -> None:
    for name in "abc":
        submit(queue, name)
        prepare(queue, 1)
    clock.now += 1
    other = submit(queue, "d", options=Options("sphinx", "en-us", language="en", prompt="other"))
    prepare(queue, 1)
    batch = listen(queue, batch=8)
    assert batch is not None
    assert len(batch.parts) == 3
    assert other.id not in {part.job.id for part in batch.parts}


def test_while_preparing_a_busy_job_waits_for_full_batches(queue: Queue) -> None:
    submit(queue)
    unit = queue.claim_step()
    assert unit is not None
    queue.add_windows(unit, planned(1), position=1000)
    assert listen(queue) is not None  # nobody is busy with it: first words soon
    queue.add_windows(unit, planned(3, start=1), position=4000)
    assert listen(queue) is None
    queue.add_windows(unit, planned(1, start=4), position=5000)
    batch = listen(queue)
    assert batch is not None
    assert len(batch.parts) == 4


def test_near_the_end_lanes_share_what_is_left(queue: Queue) -> None:
    submit(queue)
    prepare(queue, 3)
    unit = queue.claim_windows("sphinx", "en-us", batch=4, lanes=2)
    assert unit is not None
    assert len(unit.parts) == 2


def test_a_language_is_decided_once(queue: Queue) -> None:
    job = submit(queue, options=Options("whisper", "small"))
    assert queue.set_language(job.id, "de") == "de"
    assert queue.set_language(job.id, "nl") == "de"


def test_twenty_threads_and_two_connections_share_without_doubling(
    database: Database, tmp_path: Path
) -> None:
    queue = Queue(database, "first")
    submit(queue)
    prepare(queue, 200)
    second = Sqlite(tmp_path / "hansard.db")
    taken: list[int] = []

    def work(mine: Queue) -> None:
        while (unit := mine.claim_windows("sphinx", "en-us", batch=3, lanes=20)) is not None:
            mine.record(unit, answers(unit))
            taken.extend(part.id for part in unit.parts)

    threads = [
        threading.Thread(target=work, args=(Queue(store, f"{number}"),))
        for number in range(10)
        for store in (database, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()
    assert len(taken) == len(set(taken)) == 200
    last = queue.claim_step()
    assert last is not None
    assert last.step == "finish"


def test_presence_notices_the_dead_and_not_the_living(tmp_path: Path) -> None:
    living, dying = Presence(tmp_path), Presence(tmp_path)
    assert living.gone([living.worker, dying.worker]) == []
    dying._lock.release()  # what the kernel does when a process dies
    assert living.gone([living.worker, dying.worker, "never seen"]) == [dying.worker, "never seen"]
    living.close()
    assert Presence(tmp_path).gone([living.worker]) == [living.worker]


def test_looking_for_work_in_vain_wakes_nobody(queue: Queue) -> None:
    job = submit(queue)
    prepare(queue, 1)
    unit = listen(queue)
    assert unit is not None
    seen = queue.database.rings()
    assert queue.claim_step() is None
    assert listen(queue) is None
    assert queue.waiting_models() == [("sphinx", "en-us")]
    queue.free(["nobody"])
    assert queue.database.rings() == seen
    assert state(queue, job).state == "running"
