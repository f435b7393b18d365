"""Two hundred workers at one PostgreSQL without two hundred threads: what a claim takes.

    python bench/throng.py [--workers 200] [--jobs 100000] [--processes 2] [--seconds 300]
                           [--scale 20]

All jobs wait when it begins: half of them one tenant's, the rest of 49 others, all equally urgent.
Each process has one thread and so many simulated workers, each with a queue and an owner of its
own, who take steps and windows by the very calls of a crew. Their work is a moment on a clock that
runs ``scale`` times as fast, in which the process serves the others. So calls of different
processes meet in the database, and no call waits for Python's lock: ``claims`` are timed from call
to return, and how late the process came to a worker is told apart as ``late``.

Starving: the virtual time (``jobs.shares``) of each tenant when the time is over. Where all are
served by turns they differ by no more than a batch and what is in hand; ``behind`` is the
seconds of audio that the tenant furthest behind is short of the middle one.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import random
import statistics
import time
from collections import defaultdict
from typing import Any

import cluster
import psycopg
import rig
from claims import FILL
from crowd import BATCH, ROOMY, TENANTS, finish, hear, prepare, spread, submit

from hansard.errors import LeaseLost
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.store.postgres import Postgres

SKEW = """
UPDATE jobs SET priority = 5, lane = 'short', tenant = CASE WHEN random() < 0.5 THEN 'big' ELSE
    't' || floor(random() * %s) END WHERE finished IS NULL
"""


def fill(address: str, count: int) -> None:
    """So many jobs that wait."""
    database = Postgres(address)
    like = submit(Queue(database, "bench", settings=ROOMY), 0, tenant="big")
    database.close()
    span = {"first": 1, "last": count - 1, "ended": None, "like": like}
    how = {"state": "queued", "step": "prepare", "mark": "w", "heard": 0}
    with psycopg.connect(address, autocommit=True) as raw:
        raw.execute(FILL, span | how | {"created": time.time() - 2e5})
        raw.execute(SKEW, (TENANTS - 1,))
        for table in ("jobs", "windows", "shares"):
            raw.execute(f"VACUUM (ANALYZE) {table}")


class Worker:
    """Takes windows where there are some, else a step; what it holds is due later."""

    def __init__(self, queue: Queue, chance: random.Random) -> None:
        self.queue = queue
        self.chance = chance
        self.held: Unit | None = None

    def turn(self, told: dict[str, list[float]], scale: float) -> float:
        """Do what is due; seconds until the next turn."""
        if self.held is not None:
            unit, self.held = self.held, None
            do = {"prepare": prepare, "finish": finish, "listen": hear}[unit.step]
            begun = time.perf_counter()
            try:
                do(self.queue, unit)
            except LeaseLost:
                told["lease lost"].append(0.0)
            told[unit.step].append(time.perf_counter() - begun)
        for name in ("windows", "step"):
            begun = time.perf_counter()
            if name == "windows":
                unit_ = self.queue.claim_windows("sphinx", "en-us", batch=BATCH, lanes=2)
            else:
                unit_ = self.queue.claim_step()
            seconds = time.perf_counter() - begun
            told[name if unit_ else f"{name}, nothing"].append(seconds)
            if unit_ is not None:
                self.held = unit_
                audio = sum(part.window.seconds for part in unit_.parts) or 1.0
                return (0.5 + audio / 10) / scale * self.chance.uniform(0.7, 1.3)
        return 0.5 / scale


def process(address: str, number: int, workers: int, given: argparse.Namespace, out: Any) -> None:
    """So many workers in one thread, each when it is due."""
    database = Postgres(address, connections=2)
    told: defaultdict[str, list[float]] = defaultdict(list)
    chance = random.Random(number)
    due: list[tuple[float, int, Worker]] = []
    begun = time.perf_counter()
    for place in range(workers):
        queue = Queue(database, f"worker-{number}-{place}", lease_seconds=3600, settings=ROOMY)
        heapq.heappush(due, (begun + chance.uniform(0, 2), place, Worker(queue, chance)))
    while (now := time.perf_counter()) < begun + given.seconds:
        when, place, worker = due[0]
        if when > now:
            time.sleep(min(0.05, when - now))
            continue
        told["late"].append(now - when)
        pause = worker.turn(told, given.scale)
        heapq.heapreplace(due, (time.perf_counter() + pause, place, worker))
    out.put(dict(told))
    database.close()


def seen(address: str, jobs: int) -> dict[str, Any]:
    """What has become of the jobs, and how evenly tenants were served."""
    with psycopg.connect(address, autocommit=True) as raw:

        def all_of(query: str) -> list[Any]:
            return raw.execute(query).fetchall()

        ((there, ended),) = all_of("SELECT count(*), count(finished) FROM jobs")
        ((twice,),) = all_of("SELECT count(*) FROM windows WHERE attempt > 1")
        ((tries,),) = all_of("SELECT count(*) FROM attempts")
        served = [row[0] for row in all_of("SELECT served FROM shares WHERE lane = ''")]
        ((deadlocks,),) = all_of(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    middle = statistics.median(served)
    return {
        "jobs": there,
        "none_lost": there == jobs,
        "ended": ended,
        "windows_taken_twice": twice,
        "tries_that_went_wrong": tries,
        "deadlocks": deadlocks,
        "tenants_served": sum(one > 0 for one in served),
        "virtual_seconds": {
            "middle": round(middle, 1),
            "behind": round(middle - min(served), 1),
            "ahead": round(max(served) - middle, 1),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--scale", type=float, default=20.0)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    told: defaultdict[str, list[float]] = defaultdict(list)
    with cluster.server() as server:
        address = server.address(server.database())
        fill(address, given.jobs)
        out = context.Queue()
        each = given.workers // given.processes
        made = [
            context.Process(target=process, args=(address, number, each, given, out))
            for number in range(given.processes)
        ]
        for one in made:
            one.start()
        for _ in made:
            for name, seconds in out.get().items():
                told[name] += seconds
        for one in made:
            one.join()
        figures = seen(address, given.jobs)
    calls = {name: spread(seconds) for name, seconds in sorted(told.items())}
    rig.report("throng", {"workers": given.workers, **figures, "ms": calls})


if __name__ == "__main__":
    main()
