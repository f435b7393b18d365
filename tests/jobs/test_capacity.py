"""The arithmetic of ``hansard plan``, and what it reads off a store."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.jobs.conftest import Clock, answers, listen, prepare, submit

from hansard.jobs.capacity import Bases, Basis, Demand, Plan, plan
from hansard.jobs.past import covered, past
from hansard.jobs.queue import Queue

BASES = Bases(
    rtf=Basis(0.5, "given"),
    bytes_per_second=Basis(16_000, "assumed"),
    database_bytes_per_second=Basis(1_000, "assumed"),
    connections=Basis(800, "setting"),
    lives=Basis(20, "setting"),
    pool=Basis(16, "setting"),
)

hours = st.floats(0, 1e5)
demands = st.builds(
    Demand,
    hours,
    busy_hours=st.floats(0.1, 24),
    deadline=st.floats(0.01, 100),
    longest=st.floats(0, 50),
    people=st.integers(0, 100_000),
    live=st.integers(0, 10_000),
    spare=st.integers(0, 5),
)


def values(made: Plan) -> dict[str, float]:
    return {one.name: one.value for one in made.figures}


def test_a_day_by_hand() -> None:
    """100 hours at rtf 0.5 in 8 + 1 hours at 80 %: 50 / 7.2 = 6.9, so 7 workers and 1 spare."""
    made = plan(Demand(100.0), BASES)
    assert made["workers_speech"] == 8
    assert made["api_processes"] == 2
    assert made["postgres_connections"] == (8 + 2) * 34 + 10
    assert made["recordings_a_month"] == 100 * 3600 * 16_000 * 30
    assert made["network_in"] == 100 / 8 * 16_000 * 8
    assert made.assumed == ["bytes_per_second", "database_bytes_per_second"]


def test_one_long_recording_may_need_more_than_the_day() -> None:
    """Ten hours that must be done in one, at rtf 0.5, take five workers, however few there are."""
    assert plan(Demand(10.0, longest=10.0, spare=0), BASES)["workers_speech"] == 5


@given(demands)
def test_nothing_is_less_than_one_or_endless(demand: Demand) -> None:
    made = plan(demand, BASES)
    assert all(math.isfinite(value) and value >= 0 for value in values(made).values())
    assert made["workers_speech"] >= 1 + demand.spare
    assert made["api_processes"] >= 2
    assert made["postgres_connections"] >= 2


@given(demands, hours)
def test_more_audio_never_takes_less(demand: Demand, more: float) -> None:
    grown = msgspec.structs.replace(demand, hours_per_day=demand.hours_per_day + more)
    before, after = values(plan(demand, BASES)), values(plan(grown, BASES))
    assert all(after[name] >= before[name] for name in before)


@given(demands, st.floats(1, 100))
def test_a_slower_worker_never_means_fewer(demand: Demand, factor: float) -> None:
    slower = msgspec.structs.replace(BASES, rtf=Basis(0.5 * factor, "given"))
    assert plan(demand, slower)["workers_speech"] >= plan(demand, BASES)["workers_speech"]


@given(demands, st.floats(1, 100))
def test_more_time_never_takes_more_workers(demand: Demand, factor: float) -> None:
    patient = msgspec.structs.replace(demand, deadline=demand.deadline * factor)
    assert plan(patient, BASES)["workers_speech"] <= plan(demand, BASES)["workers_speech"]


@given(demands)
def test_the_planned_workers_are_done_in_time(demand: Demand) -> None:
    """What they can hear between the first recording and the last deadline is all there is."""
    workers = plan(demand, BASES)["workers_speech"] - demand.spare
    room = workers * min(24.0, demand.busy_hours + demand.deadline) * 0.8 / 0.5
    assert room >= demand.hours_per_day * (1 - 1e-9)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10))))
def test_time_that_overlaps_counts_once(given_spans: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in given_spans]
    seconds = {second for start, end in spans for second in range(start, end)}
    assert covered(spans) == len(seconds)


def test_what_the_stores_own_jobs_took(queue: Queue, clock: Clock) -> None:
    assert (nothing := past(queue.database)).jobs == 0
    assert nothing.audio == nothing.busy == nothing.stored == 0
    for name, seconds, took in (("a", 60.0, 30.0), ("b", 40.0, 10.0)):
        submit(queue, name, seconds=seconds)
        clock.now += 1000  # waiting is not working
        prepare(queue, 1)
        clock.now += took
        unit = listen(queue)
        assert unit is not None
        queue.record(unit, answers(unit))
        last = queue.claim_step()
        assert last is not None
        queue.complete(last, lambda _: None)
    submit(queue, "c", seconds=1e6)  # still open
    found = past(queue.database)
    assert (found.jobs, found.audio, found.stored) == (2, 100.0, 100.0)
    assert found.busy == 40.0
    assert found.bytes == 200
    assert found.database > 0
