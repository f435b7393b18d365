"""A queue with a clock that is moved by hand, and the steps of a job without its work."""

from __future__ import annotations

import pytest

from hansard.jobs import progress
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.model import (
    SAMPLE_RATE,
    Client,
    Job,
    Levels,
    Media,
    Options,
    Prepared,
    Recording,
    Span,
    Utterance,
    Window,
    WindowResult,
)
from hansard.store.database import Database

LEVELS = Levels(10.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
OPTIONS = Options("sphinx", "en-us", language="en")


class Clock:
    """Time that stands still until it is told to move."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(database: Database, clock: Clock) -> Queue:
    return Queue(database, "me", clock=clock)


def recording(name: str = "a") -> Recording:
    return Recording(name, f"{name}.wav", Media("wav", 10.0, 100, ()), 1.0)


def planned(count: int, start: int = 0) -> list[Window]:
    return [Window(i, 0, (Span(i * 1000, i * 1000 + 900),)) for i in range(start, start + count)]


def submit(
    queue: Queue,
    name: str = "a",
    options: Options = OPTIONS,
    *,
    priority: int = 5,
    tenant: str = "local",
    seconds: float | None = None,
    kind: str = "transcribe",
) -> Job:
    return queue.submit(
        recording(name),
        options,
        LEVELS,
        priority=priority,
        client=Client(tenant),
        seconds=seconds,
        kind=kind,
    )[0]


def prepare(queue: Queue, count: int) -> Unit:
    unit = queue.claim_step()
    assert unit is not None
    assert unit.step == "prepare"
    queue.add_windows(unit, planned(count), position=count * 1000)
    queue.end_prepare(unit, Prepared(count * 1000, 1, LEVELS))
    return unit


def listen(queue: Queue, batch: int = 4) -> Unit | None:
    return queue.claim_windows("sphinx", "en-us", batch=batch, lanes=1)


def answers(unit: Unit) -> list[WindowResult]:
    return [
        WindowResult((Utterance(0.0, 1.0, f"window {part.window.index}"),)) for part in unit.parts
    ]


def state(queue: Queue, job: Job) -> Job:
    return progress.progress(queue.database, job.id).job


def spoken(seconds: float) -> list[Window]:
    """Windows of at most 30 s that hold so many seconds of speech."""
    whole, rest = divmod(int(seconds), 30)
    lengths = [30] * whole + ([rest] if rest else [])
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    return [
        Window(number, 0, (Span(start * SAMPLE_RATE, (start + length) * SAMPLE_RATE),))
        for number, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def ready(queue: Queue, unit: Unit) -> None:
    """Prepare the job of a claimed unit: all of its seconds are speech."""
    assert unit.step == "prepare"
    assert unit.job.seconds is not None
    samples = int(unit.job.seconds * SAMPLE_RATE)
    queue.add_windows(unit, spoken(unit.job.seconds), position=samples)
    queue.end_prepare(unit, Prepared(samples, 1, LEVELS))


def complete(queue: Queue, count: int = 1) -> None:
    prepare(queue, count)
    while (unit := listen(queue)) is not None:
        queue.record(unit, answers(unit))
    last = queue.claim_step()
    assert last is not None
    queue.complete(last, lambda _: None)
