"""Jobs that are done at a stroke: taken several at a time, each a unit like any other."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
import sqlalchemy as sa
from tests.jobs.conftest import Clock, state, submit
from tests.waiting import until

from hansard.errors import LeaseLost, NotMedia
from hansard.jobs import claim, progress
from hansard.jobs.armful import AIM, LINGER, MOST, Armful, Looks, Pace
from hansard.jobs.groups import open_groups
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.steps import Write
from hansard.jobs.unit import StepHandler
from hansard.jobs.worker import Crew, Listener
from hansard.model import POOLS, Job, Pool
from hansard.store.database import Database
from hansard.store.tables import IS_OPEN, jobs, usage

INSIGHT: tuple[Pool, ...] = ("insight",)


@pytest.fixture(autouse=True)
def _summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POOLS, "summary", "insight")


def waiting(queue: Queue, count: int, **more: Any) -> list[Job]:
    tenant = more.get("tenant", "local")
    names = [f"{tenant}-{number}" for number in range(count)]
    made = [submit(queue, name, kind="summary", seconds=20.0, **more) for name in names]
    return sorted(made, key=lambda job: job.id)  # they came at the same moment


def nothing(_: sa.Connection) -> None:
    """What most write in these tests."""


def test_several_are_taken_in_their_order_and_ended_together(queue: Queue) -> None:
    made = waiting(queue, 5)
    first = queue.claim_steps(INSIGHT, most=3)
    assert [unit.job.id for unit in first] == [job.id for job in made[:3]]
    assert {(unit.step, unit.job.state, unit.job.attempt) for unit in first} == {
        ("run", "running", 1)
    }
    rest = queue.claim_steps(INSIGHT, most=3)
    assert [unit.job.id for unit in rest] == [job.id for job in made[3:]]
    assert queue.claim_steps(INSIGHT, most=3) == []
    assert queue.complete_all([(unit, nothing) for unit in (*first, *rest)]) == []
    assert {state(queue, job).state for job in made} == {"completed"}
    with queue.database.read() as connection:
        sums = (sa.func.sum(usage.c.calls), sa.func.sum(usage.c.seconds))
        line = connection.execute(sa.select(*sums)).one()
    assert tuple(line) == (5, 100.0)


def test_who_finds_little_lingers_and_who_leaves_some_does_not(queue: Queue) -> None:
    looks = Looks()
    assert looks.pause(5.0) == 0.0, "the first ring after a quiet while is heard at once"
    waiting(queue, 5)
    full = queue.claim_steps(INSIGHT, most=3)
    assert not looks.saw(10.0, full, 3)
    assert looks.pause(10.0) == 0.0
    rest = queue.claim_steps(INSIGHT, most=3)
    assert looks.saw(20.0, rest, 3)
    assert looks.pause(20.0) == pytest.approx(LINGER)
    assert looks.pause(20.0 + LINGER) == 0.0
    assert not looks.saw(30.0, [], 3), "nothing in hand is nothing to come back from"
    assert looks.pause(30.0) == pytest.approx(LINGER)


def test_who_takes_what_is_long_does_not_linger(queue: Queue) -> None:
    submit(queue, "recording")
    looks = Looks()
    assert not looks.saw(10.0, queue.claim_steps(), 3)
    assert looks.pause(10.0) == 0.0


def test_each_tenant_has_its_share_of_an_armful(queue: Queue) -> None:
    for tenant in ("many", "few", "one"):
        waiting(queue, {"many": 20, "few": 5, "one": 1}[tenant], tenant=tenant)
    taken = queue.claim_steps(INSIGHT, most=9)
    assert Counter(unit.job.tenant for unit in taken) == {"many": 3, "few": 3, "one": 1}
    assert all(unit.job.priority == 5 for unit in taken)


def test_what_is_more_urgent_is_not_mixed_with_what_is_less(queue: Queue) -> None:
    waiting(queue, 3, tenant="late", priority=3)
    urgent = waiting(queue, 2, tenant="now", priority=8)
    taken = queue.claim_steps(INSIGHT, most=10)
    assert [unit.job.id for unit in taken] == [job.id for job in urgent]


def test_recordings_are_taken_one_by_one(queue: Queue) -> None:
    for name in "ab":
        submit(queue, name)
    assert len(queue.claim_steps(most=10)) == 1


def test_what_was_cancelled_meanwhile_is_lost_and_the_others_are_ended(queue: Queue) -> None:
    made = waiting(queue, 3)
    units = queue.claim_steps(INSIGHT, most=3)
    queue.cancel(made[1].id)
    written: list[str] = []

    def writing(unit: Unit) -> Write:
        return lambda _: written.append(unit.job.id)

    lost = queue.complete_all([(unit, writing(unit)) for unit in units])
    assert [unit.job.id for unit in lost] == [made[1].id]
    assert written == [made[0].id, made[2].id]
    assert [state(queue, job).state for job in made] == ["completed", "cancelled", "completed"]


def test_what_is_given_back_was_never_tried(queue: Queue) -> None:
    made = waiting(queue, 3)
    first, *others = queue.claim_steps(INSIGHT, most=3)
    queue.release(others)
    assert [state(queue, job).attempt for job in made] == [1, 0, 0]
    again = queue.claim_steps(INSIGHT, most=3)
    assert [unit.job.id for unit in again] == [job.id for job in made[1:]]
    with pytest.raises(LeaseLost):
        queue.complete(others[0], nothing)
    queue.complete(first, nothing)


def test_one_that_went_wrong_does_not_touch_the_others(queue: Queue, clock: Clock) -> None:
    made = waiting(queue, 3)
    units = queue.claim_steps(INSIGHT, most=3)
    queue.fail(units[0], NotMedia("It is broken."))
    assert queue.complete_all([(unit, nothing) for unit in units[1:]]) == []
    assert [state(queue, job).state for job in made] == ["failed", "completed", "completed"]
    clock.now += 1e6
    assert queue.claim_steps(INSIGHT, most=3) == []


def test_what_a_dead_worker_held_is_taken_alone_and_noted(queue: Queue, clock: Clock) -> None:
    made = waiting(queue, 3)
    queue.claim_steps(INSIGHT, most=2)
    clock.now += 10 * queue.lease_seconds
    again = queue.claim_steps(INSIGHT, most=3)
    assert [(unit.job.id, unit.job.attempt) for unit in again] == [(made[0].id, 2)]
    assert [one.step for one in progress.history(queue.database, made[0].id)] == ["run"]


def test_groups_are_those_that_a_walk_finds(queue: Queue) -> None:
    for number in range(40):
        kind = "summary" if number % 3 else "transcribe"
        seconds = 20.0 if number % 4 else 7200.0
        whose = {"tenant": f"t{number % 5}", "priority": number % 7}
        submit(queue, str(number), kind=kind, seconds=seconds, **whose)  # type: ignore[arg-type]
    queue.cancel(submit(queue, "gone", tenant="nobody").id)
    found = open_groups()
    keys = [jobs.c[column.name] for column in found.c]
    with queue.database.read() as connection:
        leapt = connection.execute(sa.select(found)).all()
        walked = connection.execute(sa.select(*keys).where(IS_OPEN).distinct()).all()
        some = {"now": 2e6, "pools": ["speech"], "elsewhere": []}
        every = claim.steps(connection, some | {"quick": False})
        quick = claim.steps(connection, some | {"quick": True})
    assert leapt == sorted(walked, key=tuple)
    assert {turn.group.lane for turn in every} == {"short", "long"}
    assert {turn.group.lane for turn in quick} == {"short"}


# ── in hand ──────────────────────────────────────────────────────────────────────────────────


def test_so_many_are_taken_as_fill_a_moment() -> None:
    pace = Pace()
    pace.took(1, AIM / 100)
    assert pace.most == 2
    for _ in range(10):
        pace.took(pace.most, pace.most * AIM / 100)
    assert pace.most == MOST
    pace.took(MOST, MOST * AIM)
    assert pace.most == 1


def test_nobody_waits_long_behind_another(queue: Queue) -> None:
    waiting(queue, 4)
    armful = Armful(queue.claim_steps(INSIGHT, most=4))
    first = armful.next(100.0)
    assert first is not None
    armful.ended(first, nothing)
    assert armful.next(100.0) is not None
    assert armful.stuck(100.1) == ([], [])
    left, ends = armful.stuck(101.0)
    assert (len(left), ends) == (2, [(first, nothing)])
    assert armful.stuck(102.0) == ([], [])
    assert armful.next(102.0) is None
    assert armful.ends() == []
    assert armful.rest() == []


class Works:
    """A crew whose work is what a test says, one hand for all."""

    def __init__(self, queue: Queue, work: StepHandler) -> None:
        self.queue = queue
        self.crew = Crew(queue, {"summary": {"run": work}}, self._models, hands=1)

    @contextmanager
    def _models(self, engine: str, model: str) -> Iterator[Listener]:
        raise AssertionError((engine, model))
        yield

    def __enter__(self) -> Self:
        self.crew.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.crew.stop(60)

    def until_ended(self, made: list[Job]) -> list[str]:
        def states() -> list[str]:
            return [self.queue.get(job.id).state for job in made]

        until(lambda: not {"queued", "running", "retrying"} & set(states()), "all have ended")
        return states()


def test_a_crew_ends_what_its_handlers_leave_to_it(database: Database) -> None:
    queue = Queue(database, "me", pools=INSIGHT)
    made = waiting(queue, 60)
    done: Counter[str] = Counter()

    def work(unit: Unit) -> Write:
        done[unit.job.id] += 1
        return nothing

    with Works(queue, work) as works:
        assert set(works.until_ended(made)) == {"completed"}
    assert done == dict.fromkeys((job.id for job in made), 1)


def test_one_end_that_cannot_be_written_fails_alone(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(database, "me", pools=INSIGHT)
    made = waiting(queue, 40)
    bad = made[-3].id

    def broken(_: sa.Connection) -> None:
        raise KeyError("a bug")

    def work(unit: Unit) -> Write:
        return broken if unit.job.id == bad else nothing

    with Works(queue, work) as works:
        states = works.until_ended(made)
    assert [job.id for job, how in zip(made, states, strict=True) if how != "completed"] == [bad]
    assert "KeyError" in (queue.get(bad).failure or made[0]).message  # type: ignore[union-attr]
    assert "unexpected error" in caplog.text


def test_what_waits_behind_a_long_one_is_done_by_others(database: Database) -> None:
    queue = Queue(database, "me", pools=INSIGHT)
    made = waiting(queue, 60)
    slow, go, stuck = made[40].id, threading.Event(), threading.Event()

    def work(unit: Unit) -> Write:
        if unit.job.id == slow:
            stuck.set()
            assert go.wait(60)
        return nothing

    with Works(queue, work) as works:
        assert stuck.wait(60)
        with Works(Queue(database, "another", pools=INSIGHT), work) as others:
            others.until_ended([job for job in made if job.id != slow])
            assert queue.get(slow).state == "running"
            go.set()
            assert works.until_ended(made) == ["completed"] * len(made)
