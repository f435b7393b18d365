"""A service on several hosts under fire; the long form is ``bench/cluster_chaos.py``."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import stores
from tests.flow.hosts import Cluster
from tests.waiting import until

IN_HAND = 4
"""Windows in the hands of one worker at the most: two lanes, two windows each."""

LEASE = 2.0

POINTS = [
    (1, "hansard.jobs.queue:Queue.record:after"),
    (1, "hansard.jobs.queue:Queue.complete:before"),
]


@pytest.fixture(scope="module")
def few(batch: list[Path]) -> list[Path]:
    return batch[:4]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, few: list[Path]) -> Iterator[Cluster]:
    """Two hosts that nobody disturbed, ended, with the whole batch done."""
    folder = tmp_path_factory.mktemp("calm")
    with stores.fresh_postgres() as address:
        one = Cluster(folder, address, HANSARD_TEST_SLOW="0.05")
        try:
            one.start()
            for recording in few:
                one.front.submit(recording)
            until(lambda: done(one, len(few)), "all is done")
            until(one.is_up, "it is up")
            assert one.stop() == 0
            yield one
        finally:
            one.close()


def done(one: Cluster, count: int) -> bool:
    one.see()
    states = one.front.states()
    return len(states) == count and set(states.values()) == {"completed"}


def reached(one: Cluster, points: Path) -> bool:
    one.see()
    return not list(points.iterdir())


def tries(one: Cluster) -> tuple[int, int]:
    """How many windows there are, and how often they were taken in all."""
    ((windows, taken),) = one.front.ask("SELECT count(*), sum(attempt) FROM windows")
    return int(windows), int(taken)


def test_hosts_take_nothing_from_each_other(calm: Cluster) -> None:
    windows, taken = tries(calm)
    assert calm.heard().total() == windows == taken, "a window was taken from a living worker"
    for worker in calm.workers:
        assert "is gone" not in worker.said(), "a host cannot see who is dead on another one"
    assert calm.left_over() == []


def test_killed_cut_off_and_reset(tmp_path: Path, few: list[Path], calm: Cluster) -> None:
    points = tmp_path / "points"
    points.mkdir()
    for nth, point in POINTS:
        (points / f"worker {nth} {point}").touch()
    chance = random.Random(5)
    with stores.fresh_postgres() as address:
        one = Cluster(
            tmp_path / "run",
            address,
            HANSARD_TEST_SLOW="0.1",
            HANSARD_TEST_POINTS=str(points),
            HANSARD_LEASE_SECONDS=str(LEASE),
            HANSARD_ATTEMPTS="30",
        )
        try:
            one.start()
            waiting = list(few)
            one.front.submit(waiting.pop())
            until(lambda: reached(one, points), "every point was reached")
            struck = 0
            for what in ("hold", "reset"):
                one.front.submit(waiting.pop())
                time.sleep(chance.uniform(0.0, 0.5))
                strike(one, what, chance)
                struck += 1
            for recording in waiting:
                one.front.submit(recording)
            until(lambda: done(one, len(few)), "all is done")
            until(one.is_up, "it is up again")
            assert one.stop() == 0
            assert one.front.transcripts() == calm.front.transcripts()
            again = one.heard().total() - calm.heard().total()
            assert again <= IN_HAND * (struck + sum(worker.deaths for worker in one.workers))
            assert until(lambda: not one.left_over(), "nothing is left")
        finally:
            one.close()


def strike(one: Cluster, what: str, chance: random.Random) -> None:
    worker = chance.choice(one.workers)
    wire = one.wires[1 + one.workers.index(worker)]
    if what == "hold":
        wire.hold()
        time.sleep(LEASE * 1.5)  # others take over meanwhile; what was on its way arrives late
        wire.let_go()
    else:
        wire.cut()
