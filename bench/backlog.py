"""The queue beside the work: a thousand waiting jobs, and what one costs from submit to done.

    python bench/backlog.py [--jobs 1000] [--picks 60] [--rounds 3]

Submitting: seconds for each of so many jobs into a queue that fills up. Picking up: from the
submit in one process until a worker that is free in another one has claimed it, while the others
wait. Cost: no-op jobs of one window through prepare, listen and finish by the working crew,
against the same calls without a queue. Targets: submit < 10 ms, pick-up p95 < 50 ms, cost < 5 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import rig

from hansard.config import QueueSettings
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.worker import Crew, Kinds, Listener, Listeners
from hansard.model import (
    SAMPLE_RATE,
    Client,
    Levels,
    Media,
    Options,
    Prepared,
    Recording,
    Span,
    Window,
    WindowResult,
)
from hansard.store.sqlite import Sqlite

LEVELS = Levels(10.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
OPTIONS = Options("sphinx", "en-us", language="en")
SECONDS = 20.0
WINDOW = Window(0, 0, (Span(0, int(SECONDS * SAMPLE_RATE)),))
PREPARED = Prepared(WINDOW.samples, 1, LEVELS)
ROOMY = QueueSettings(capacity=1_000_000)


def submit(queue: Queue, number: int, *, tenant: str = "local", priority: int = 5) -> str:
    name = f"{number:064x}"
    media = Media("wav", SECONDS, 100, ())
    recording = Recording(name, f"{number}.wav", media, time.time())
    client = Client(tenant)
    job, _ = queue.submit(
        recording, OPTIONS, LEVELS, priority=priority, client=client, seconds=SECONDS
    )
    return job.id


def submitting(path: Path, count: int) -> list[float]:
    """Seconds of each submit, of fifty tenants in turn."""
    queue = Queue(Sqlite(path), "bench", settings=ROOMY)
    taken = []
    for number in range(count):
        begun = time.perf_counter()
        submit(queue, number, tenant=f"t{number % 50}")
        taken.append(time.perf_counter() - begun)
    queue.database.close()
    return taken


def pick_up(path: Path, pipe: Connection) -> None:
    """Another process: say when a job was claimed, until told to stop."""
    queue = Queue(Sqlite(path), "worker", settings=ROOMY)

    def prepare(unit: Unit) -> None:
        pipe.send((unit.job.id, time.monotonic()))
        queue.cancel(unit.job.id)

    crew = Crew(queue, {"transcribe": {"prepare": prepare}}, listening(1, lambda _: None))
    crew.start()
    pipe.send(("ready", time.monotonic()))
    pipe.recv()
    crew.stop()


def listening(batch: int, hear: Callable[[Unit], None]) -> Listeners:
    """One lane of an engine that needs no loading."""

    @contextlib.contextmanager
    def listeners(*_: str) -> Iterator[Listener]:
        yield Listener(1, batch, hear)

    return listeners


def picking(path: Path, count: int) -> list[float]:
    """Seconds from before the submit until another process has it, each after a pause.

    The waiting jobs are held back, so that the worker is free; a claim still has to pass them.
    """
    queue = Queue(Sqlite(path), "bench", settings=ROOMY)
    with queue.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET not_before = 9e9 WHERE finished IS NULL", ())
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=pick_up, args=(path, theirs))
    worker.start()
    ours.recv()
    taken = []
    for number in range(count):
        time.sleep(0.1 + 0.0037 * (number % 10))  # not in step with the worker's looks
        begun = time.monotonic()
        job = submit(queue, 10**9 + number)
        claimed, moment = ours.recv()
        assert claimed == job
        taken.append(moment - begun)
    ours.send("stop")
    worker.join()
    with queue.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET not_before = 0 WHERE finished IS NULL", ())
    queue.database.close()
    return taken


def prepare(queue: Queue, unit: Unit) -> None:
    queue.add_windows(unit, [WINDOW], position=WINDOW.samples)
    queue.end_prepare(unit, PREPARED)


def hear(queue: Queue, unit: Unit) -> None:
    queue.record(unit, [WindowResult() for _ in unit.parts])


def finish(queue: Queue, unit: Unit) -> None:
    queue.complete(unit, lambda _: None)


def through_the_queue(path: Path) -> int:
    """Work on all that waits; how many jobs that were."""
    queue = Queue(Sqlite(path), "bench", settings=ROOMY)
    steps: Kinds = {
        "transcribe": {"prepare": partial(prepare, queue), "finish": partial(finish, queue)}
    }

    def left(state: str = "finished IS NULL") -> int:
        with queue.database.read() as connection:
            sql = f"SELECT count(*) FROM jobs WHERE {state}"
            return int(connection.exec_driver_sql(sql).scalar() or 0)

    count = left()
    crew = Crew(queue, steps, listening(8, partial(hear, queue)))
    crew.start()
    while left():
        time.sleep(0.05)
    crew.stop()
    queue.database.close()
    return count


def without_a_queue(count: int) -> None:
    """The calls that the work consists of, one after the other."""
    calls: list[Callable[[], object]] = [lambda: PREPARED, lambda: [WindowResult()], lambda: None]
    for _ in range(count):
        for call in calls:
            call()


def ms(seconds: list[float], share: float) -> float:
    """A quantile, in milliseconds."""
    return round(1000 * sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))], 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--picks", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    submits, picks, costs = [], [], []
    for turn in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "hansard.db"
            submits += submitting(path, given.jobs)
            picks += picking(path, given.picks)
            begun = time.perf_counter()
            count = through_the_queue(path)
            queued = time.perf_counter() - begun
        begun = time.perf_counter()
        without_a_queue(count)
        bare = time.perf_counter() - begun
        costs.append((queued - bare) / count)
        print(
            f"  round {turn + 1}  submit p95 {ms(submits, 0.95)} ms  "
            f"pick-up p95 {ms(picks, 0.95)} ms  cost {1000 * costs[-1]:.2f} ms",
            flush=True,
        )
    rig.report(
        "backlog",
        {
            "jobs": given.jobs,
            "submit_ms": {"p50": ms(submits, 0.5), "p95": ms(submits, 0.95), "max": ms(submits, 1)},
            "pick_up_ms": {"p50": ms(picks, 0.5), "p95": ms(picks, 0.95), "max": ms(picks, 1)},
            "cost_ms_a_job": round(1000 * statistics.median(costs), 2),
        },
    )


if __name__ == "__main__":
    main()
