"""The whole service under fire: SIGKILL at named points and at random moments, of every process."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from tests.flow.running import Service
from tests.waiting import until

IN_HAND = 4
"""Windows in the hands of one worker at the most: two lanes, two windows each."""

POINTS = [
    ("api", 1, "hansard.store.files:Draft.keep:before"),
    ("api", 1, "hansard.store.files:Draft.keep:after"),
    ("api", 1, "hansard.jobs.queue:Queue.submit:before"),
    ("api", 2, "hansard.jobs.queue:Queue.submit:after"),
    ("worker", 2, "hansard.jobs.queue:Queue.claim_steps:after"),
    ("worker", 1, "hansard.jobs.queue:Queue.add_windows:after"),
    ("worker", 2, "hansard.jobs.queue:Queue.end_prepare:before"),
    ("worker", 1, "hansard.jobs.queue:Queue.end_prepare:after"),
    ("worker", 3, "hansard.jobs.queue:Queue.claim_windows:after"),
    ("worker", 2, "hansard.jobs.queue:Queue.record:before"),
    ("worker", 3, "hansard.jobs.queue:Queue.record:after"),
    ("worker", 1, "hansard.jobs.queue:Queue.complete:before"),
    ("worker", 1, "hansard.jobs.queue:Queue.complete:after"),
]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, batch: list[Path]) -> Service:
    """A service that nobody disturbed, ended, with the whole batch done."""
    service = Service(tmp_path_factory.mktemp("calm"))
    service.start()
    jobs = [service.submit(recording) for recording in batch]
    until(lambda: set(service.states().values()) == {"completed"}, "all is done")
    assert service.stop() == 0
    assert len(set(jobs)) == len(batch)
    assert set(service.heard().values()) == {1}
    return service


def as_undisturbed(service: Service, calm: Service, kills: int) -> None:
    """Nothing lost, nothing twice, nothing heard again that was not in hand at a kill."""
    assert service.transcripts() == calm.transcripts()
    heard, once = service.heard(), calm.heard()
    assert set(heard) == set(once)
    assert heard.total() - once.total() <= IN_HAND * kills
    left = [p for name in ("tmp", "pcm", "workers") for p in (service.data / name).glob("*")]
    assert left == []
    assert set(service.states().values()) == {"completed"}
    assert len(service.states()) == len(calm.states())


def test_killed_at_every_point(tmp_path: Path, batch: list[Path], calm: Service) -> None:
    points = tmp_path / "points"
    points.mkdir()
    for role, nth, point in POINTS:
        (points / f"{role} {nth} {point}").touch()
    # A unit whose worker dies time and again is given up; these deaths are not the unit's fault.
    service = Service(tmp_path / "run", HANSARD_ATTEMPTS="30", HANSARD_TEST_POINTS=str(points))
    service.start()
    for recording in batch:
        service.submit(recording)
    until(lambda: set(service.states().values()) == {"completed"}, "all is done")
    until(lambda: not list(points.glob("worker*")), "every point was reached")
    assert service.stop() == 0
    assert list(points.iterdir()) == []
    as_undisturbed(service, calm, len(POINTS))


def test_killed_at_random_moments(tmp_path: Path, batch: list[Path], calm: Service) -> None:
    service = Service(tmp_path / "run", HANSARD_ATTEMPTS="30", HANSARD_TEST_SLOW="0.1")
    chance = random.Random(5)
    waiting = list(batch)
    service.start()
    kills = 0
    while kills < 16:
        if waiting:
            service.submit(waiting.pop())
        time.sleep(chance.uniform(0.0, 0.6))
        role = chance.choice(["worker", "worker", "worker", "api", "all", "supervisor"])
        kills += service.kill(role)
        if role in ("all", "supervisor"):
            service.start(wait=chance.random() < 0.8)
    for recording in waiting:
        service.submit(recording)
    until(lambda: set(service.states().values()) == {"completed"}, "all is done")
    until(service.is_up, "it is up again")
    assert service.stop() == 0
    as_undisturbed(service, calm, kills)
