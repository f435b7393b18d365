"""A service on several hosts, in peace and under fire; longer: ``bench/cluster_chaos.py``."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import stores
from tests.flow.hosts import Cluster
from tests.flow.killable import use_quick_engine
from tests.waiting import until

from hansard import transcription
from hansard.config import load
from hansard.store import views
from hansard.wiring import House

IN_HAND = 4
"""Windows in the hands of one worker at the most: two lanes, two windows each."""

LEASE = 2.0

POINTS = [
    (1, "hansard.jobs.queue:Queue.record:after"),
    (1, "hansard.jobs.queue:Queue.complete:before"),
]


@pytest.fixture
def few(batch: list[Path]) -> list[Path]:
    return batch[:5]


@pytest.fixture
def points(tmp_path: Path) -> Path:
    folder = tmp_path / "points"
    folder.mkdir()
    return folder


@pytest.fixture
def one(tmp_path: Path, points: Path) -> Iterator[Cluster]:
    with stores.fresh_postgres() as address:
        cluster = Cluster(
            tmp_path / "run",
            address,
            HANSARD_TEST_SLOW="0.1",
            HANSARD_TEST_POINTS=str(points),
            HANSARD_LEASE_SECONDS=str(LEASE),
            HANSARD_ATTEMPTS="30",
        )
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()


def alone(folder: Path, few: list[Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The words of each recording, from this process by itself."""
    monkeypatch.setattr(House, "_listener", House._listener)  # put back afterwards
    use_quick_engine(str(folder / "alone"))
    words = {}
    with House(load(data=folder / "alone-data")) as house:
        house.start()
        for recording in few:
            request = transcription.Request(model="sphinx")
            job = house.submit(recording.name, [recording.read_bytes()], request).job
            house.wait(job.id)
            found = views.transcript(house.database, "local", job.id, words=True)
            assert found is not None
            words[recording.name] = found.decode()
    return words


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


def test_hosts_share_the_work_and_survive(
    tmp_path: Path,
    few: list[Path],
    points: Path,
    one: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed, rest = few[:2], few[2:]
    for recording in undisturbed:
        one.front.submit(recording)
    until(lambda: done(one, len(undisturbed)), "all is done")
    windows, taken = tries(one)
    assert one.heard().total() == windows == taken, "a window was taken from a living worker"
    for worker in one.workers:
        assert "is gone" not in worker.said(), "one that lives on another host was buried"

    for nth, point in POINTS:
        (points / f"worker {nth} {point}").touch()
    for worker in one.workers:
        worker.kill()
        worker.start()
    one.front.submit(rest.pop())
    until(lambda: reached(one, points), "every point was reached")
    chance = random.Random(5)
    for what in ("hold", "reset"):
        one.front.submit(rest.pop())
        time.sleep(chance.uniform(0.0, 0.5))
        strike(one, what, chance)
    until(lambda: done(one, len(few)), "all is done")
    until(one.is_up, "it is up again")

    assert one.stop() == 0
    struck = len(one.workers) + 2 + sum(worker.deaths for worker in one.workers)
    windows, _ = tries(one)
    assert windows <= one.heard().total() <= windows + IN_HAND * struck
    assert until(lambda: not one.left_over(), "nothing is left")
    expected = alone(tmp_path, few, monkeypatch)
    assert words(one) == expected


def words(one: Cluster) -> dict[str, str]:
    with House(load(data=one.front.data, database=one.address)) as house:
        found = {}
        for name, job in one.front.ask("SELECT name, id FROM jobs"):
            answer = views.transcript(house.database, "local", job, words=True)
            assert answer is not None
            found[name] = answer.decode()
    return found


def strike(one: Cluster, what: str, chance: random.Random) -> None:
    wire = one.wires[1 + chance.randrange(len(one.workers))]
    if what == "hold":
        wire.hold()
        time.sleep(LEASE * 1.5)  # others take over meanwhile; what was on its way arrives late
        wire.let_go()
    else:
        wire.cut()
