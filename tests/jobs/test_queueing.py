"""The queue M/G/c by its formulas, against the same queue played through."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.jobs.queueing import Queue, enough, enough_for

queues = st.builds(Queue, st.floats(0.01, 500), st.floats(0.001, 2), st.floats(0, 10))
shares = st.floats(0.5, 0.999)


def lengths(queue: Queue, chance: random.Random) -> Callable[[], float]:
    """Service times with the mean and the variability of a queue."""
    if queue.variability == 0:
        return lambda: queue.service
    if queue.variability == 1:
        return lambda: chance.expovariate(1 / queue.service)
    sigma = math.sqrt(math.log(1 + queue.variability))
    return lambda: chance.lognormvariate(math.log(queue.service) - sigma**2 / 2, sigma)


def played(queue: Queue, workers: int, count: int, seed: int) -> list[float]:
    """How long each of so many recordings waits; who comes first is heard first."""
    chance = random.Random(seed)
    draw, now = lengths(queue, chance), 0.0
    free = [0.0] * workers
    waits = []
    for _ in range(count):
        now += chance.expovariate(queue.rate)
        begun = max(now, heapq.heappop(free))
        waits.append(begun - now)
        heapq.heappush(free, begun + draw())
    return waits[count // 10 :]


def day(queue: Queue, workers: int, hours: float, chance: random.Random) -> list[float]:
    """How long each recording of a day took, heard by all workers at once, the oldest first."""
    draw = lengths(queue, chance)
    now, ready, taken = chance.expovariate(queue.rate), 0.0, []
    while now < hours:
        ready = max(now, ready) + draw() / workers
        taken.append(ready - now)
        now += chance.expovariate(queue.rate)
    return taken


def test_one_worker_by_hand() -> None:
    """Pollaczek and Khinchine: at 80 %, exponential, four service times; all alike, two."""
    assert Queue(0.8, 1.0, 1.0).wait(1) == pytest.approx(4.0)
    assert Queue(0.8, 1.0, 0.0).wait(1) == pytest.approx(2.0)
    assert Queue(0.8, 1.0, 1.0).delayed(1) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("workers", "busy", "variability"),
    [(1, 0.8, 1.0), (4, 0.8, 0.0), (4, 0.8, 1.0), (16, 0.8, 1.0), (4, 0.8, 3.0)],
)
def test_the_wait_is_that_of_the_queue_played_through(
    workers: int, busy: float, variability: float
) -> None:
    queue = Queue(busy * workers, 1.0, variability)
    waits = played(queue, workers, 60_000, seed=7)
    assert queue.wait(workers) == pytest.approx(sum(waits) / len(waits), rel=0.2)
    if variability > 1:
        return  # the mean is right, and how waits are spread is not exponential
    for within in (0.5, 2.0, 5.0):
        seen = sum(wait <= within for wait in waits) / len(waits)
        assert queue.started(within, workers) == pytest.approx(seen, abs=0.05)


@pytest.mark.parametrize(
    ("deadline", "variability"), [(0.2, 1.0), (1.0, 0.0), (1.0, 1.0), (2.0, 3.0), (6.0, 1.0)]
)
def test_what_is_planned_keeps_the_deadline_of_a_day(deadline: float, variability: float) -> None:
    """Three hundred days of eight hours, 25 workers' worth of work coming in."""
    queue = Queue(100.0, 0.25, variability)
    asked = (queue, deadline, 0.95)
    workers = min(enough(*asked), enough_for(*asked, 8.0))
    chance = random.Random(11)
    taken = [one for _ in range(300) for one in day(queue, workers, 8.0, chance)]
    assert sum(one <= deadline for one in taken) / len(taken) >= 0.95


@given(queues, st.floats(0.001, 100), shares)
def test_the_fewest_are_enough_and_one_less_is_not(
    queue: Queue, within: float, share: float
) -> None:
    workers = enough(queue, within, share)
    assert queue.done(within, workers) >= share
    if workers > 1 and workers - 1 > queue.offered:
        assert queue.done(within, workers - 1) < share


@given(queues, st.floats(0.001, 100), shares, st.floats(1, 10), st.floats(0.1, 24))
def test_more_of_anything_never_makes_it_easier(
    queue: Queue, within: float, share: float, factor: float, lasting: float
) -> None:
    for harder, time in (
        (Queue(queue.rate * factor, queue.service, queue.variability), within),
        (Queue(queue.rate, queue.service * factor, queue.variability), within),
        (Queue(queue.rate, queue.service, queue.variability * factor), within),
        (queue, within / factor),
    ):
        assert enough(harder, time, share) >= enough(queue, within, share)
        assert enough_for(harder, time, share, lasting) >= enough_for(queue, within, share, lasting)


def test_too_few_workers_never_catch_up() -> None:
    queue = Queue(10.0, 1.0, 1.0)
    assert queue.wait(10) == math.inf
    assert queue.done(1e9, 10) == 0.0
