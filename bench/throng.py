"""Two hundred workers at one PostgreSQL without two hundred threads: what a claim takes.

    python bench/throng.py [--workers 200] [--jobs 100000] [--processes 2] [--seconds 480]
                           [--scale 20] [--recordings 0.2] [--speech 0.7]

All jobs wait when it begins: half of them one tenant's, the rest of 49 others, all equally urgent.
``recordings`` of them are transcriptions, which walk through preparing, hearing and finishing; the
others are done at a stroke, as what follows a transcript is, and taken by the armful. ``speech`` of
the workers work on the former, the rest on the latter. It ends when all jobs have, or after
``seconds``.

Each process has one thread and so many simulated workers, each with a queue and an owner of its
own, who take and end their work by the very calls of a crew. Their work is a moment on a clock that
runs ``scale`` times as fast, in which the process serves the others. What is measured apart:

* **ms**: calls from call to return, in a process that does nothing else meanwhile: the claim path
  in Python, the ways there and back, and the server. No call waits for Python's lock or for another
  worker of the rig. As many calls meet in the database as there are processes;
* **late_ms**: how late the rig came to a worker whose moment was over. That is the rig's own queue,
  two cores doing what two hundred machines would do, and nothing of a claim;
* **server_ms**: inside the server, for each job (pg_stat_statements).

Starving: while every tenant has something waiting, the clocks (``jobs.shares``) of tenants may
differ by what is in hand; ``behind`` is the most that any was short of the middle one in seconds of
audio, and ``gap_s`` the longest that a tenant with waiting recordings saw none of them begun.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import cluster
import psycopg
import rig
from claims import FILL
from crowd import BATCH, ROOMY, TENANTS, finish, hear, prepare, spread, submit

from hansard.errors import LeaseLost
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.model import POOLS, Pool
from hansard.store.database import FEW
from hansard.store.postgres import Postgres

KIND = "noop"
POOLS[KIND] = "insight"
ARMFUL = 16

SKEW = """
UPDATE jobs SET priority = 5, lane = 'short', tenant = CASE WHEN random() < 0.5 THEN 'big' ELSE
    't' || floor(random() * %(others)s) END WHERE finished IS NULL
"""
STROKES = """
UPDATE jobs SET kind = %(kind)s, pool = 'insight', step = 'run' WHERE random() >= %(share)s
"""
CLOCKS = """
SELECT coalesce(min(served), 0), coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY served), 0),
    coalesce(max(served), 0), (SELECT count(DISTINCT tenant) FROM jobs WHERE finished IS NULL
    AND pool = 'speech' AND started IS NULL), (SELECT count(*) FROM jobs WHERE finished IS NULL)
FROM shares WHERE lane = ''
"""
GAPS = """
SELECT tenant, max(gap) FROM (SELECT tenant, started - lag(started, 1, %(begun)s) OVER
    (PARTITION BY tenant ORDER BY started) AS gap FROM jobs WHERE pool = 'speech'
    AND started <= %(until)s) AS each_ GROUP BY tenant
"""


def fill(address: str, count: int, share: float) -> None:
    """So many jobs that wait."""
    database = Postgres(address)
    like = submit(Queue(database, "bench", settings=ROOMY), 0, tenant="big")
    database.close()
    span = {"first": 1, "last": count - 1, "ended": None, "like": like}
    how = {"state": "queued", "step": "prepare", "mark": "w", "heard": 0}
    with psycopg.connect(address, autocommit=True) as raw:
        raw.execute("SET synchronous_commit = off")
        raw.execute("SELECT setseed(0.5)")
        raw.execute(FILL, span | how | {"created": time.time() - 2e5})
        raw.execute(SKEW, {"others": TENANTS - 1})
        raw.execute(STROKES, {"kind": KIND, "share": share})
        for table in ("jobs", "windows", "shares"):
            raw.execute(f"VACUUM (FULL, ANALYZE) {table}")
        raw.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        raw.execute("SELECT pg_stat_statements_reset()")


class Worker:
    """Takes windows where there are some, else a step; what it holds is due later."""

    def __init__(self, queue: Queue, chance: random.Random, nap: float) -> None:
        self.queue = queue
        self.chance = chance
        self.nap = nap
        self.held: list[Unit] = []

    def turn(self, told: dict[str, list[float]], scale: float) -> float:
        """Do what is due; seconds until the next turn."""
        if self.held:
            units, self.held = self.held, []
            self._end(units, told)
        claims: dict[str, Callable[[], list[Unit]]]
        if "insight" in self.queue.pools:
            claims = {"armful": partial(self.queue.claim_steps, most=ARMFUL)}
        else:
            claims = {"windows": self._windows, "step": self.queue.claim_steps}
        for name, claim in claims.items():
            begun = time.perf_counter()
            self.held = claim()
            seconds = time.perf_counter() - begun
            told[name if self.held else f"{name}, nothing"].append(seconds)
            if self.held:
                audio = sum(part.window.seconds for unit in self.held for part in unit.parts) or 1.0
                return (0.5 + audio / 10) / scale * self.chance.uniform(0.7, 1.3)
        return self.nap / scale * self.chance.uniform(0.7, 1.3)

    def _windows(self) -> list[Unit]:
        unit = self.queue.claim_windows("sphinx", "en-us", batch=BATCH, lanes=2)
        return [] if unit is None else [unit]

    def _end(self, units: list[Unit], told: dict[str, list[float]]) -> None:
        step = units[0].step
        begun = time.perf_counter()
        try:
            if step == "run":
                for _ in self.queue.complete_all([(unit, lambda _: None) for unit in units]):
                    told["lease lost"].append(0.0)
            else:
                {"prepare": prepare, "finish": finish, "listen": hear}[step](self.queue, units[0])
        except LeaseLost:
            told["lease lost"].append(0.0)
        told["end of an armful" if step == "run" else step].append(time.perf_counter() - begun)


def process(
    address: str, who: tuple[int, list[Pool]], given: argparse.Namespace, over: Any, out: Any
) -> None:
    """So many workers in one thread, each when it is due."""
    number, pools = who
    database = Postgres(address, connections=2)
    database.crowd = given.workers
    told: defaultdict[str, list[float]] = defaultdict(list)
    chance = random.Random(number)
    due: list[tuple[float, int, Worker]] = []
    begun = time.perf_counter()
    nap = 0.5 * max(1.0, given.workers / FEW)
    for place, pool in enumerate(pools):
        owner = f"worker-{number}-{place}"
        queue = Queue(database, owner, lease_seconds=3600, settings=ROOMY, pools=[pool])
        heapq.heappush(due, (begun + chance.uniform(0, 2), place, Worker(queue, chance, nap)))
    while not over.is_set():
        now = time.perf_counter()
        when, place, worker = due[0]
        if when > now:
            time.sleep(min(0.05, when - now))
            continue
        told["late"].append(now - when)
        pause = worker.turn(told, given.scale)
        heapq.heapreplace(due, (time.perf_counter() + pause, place, worker))
    out.put(dict(told))
    database.close()


def watched(address: str, given: argparse.Namespace, over: Any) -> dict[str, Any]:
    """Look on until all jobs have ended or the time is over: how evenly tenants are served."""
    begun, shown = time.time(), 0.0
    behind = ahead = 0.0
    everybody, left = begun, given.jobs
    with psycopg.connect(address, autocommit=True) as raw:
        while left and time.time() - begun < given.seconds:
            time.sleep(2)
            least, middle, most, waiting, left = raw.execute(CLOCKS).fetchone() or (0,) * 5
            spent = time.time() - begun
            if waiting == TENANTS:
                behind, ahead = max(behind, middle - least), max(ahead, most - middle)
                everybody = time.time()
            if spent - shown >= 20:
                shown = spent
                print(f"  {spent:5.0f} s: {given.jobs - left} ended, {waiting} tenants wait")
        spent = time.time() - begun
        over.set()
        gaps = raw.execute(GAPS, {"begun": begun, "until": everybody}).fetchall()
        inside = raw.execute(
            "SELECT sum(total_exec_time + total_plan_time) FROM pg_stat_statements s "
            "JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database()"
        ).fetchone()
    longest = sorted(float(gap) for _, gap in gaps)
    return {
        "seconds": round(spent, 1),
        "all_waited_for_s": round(everybody - begun, 1),
        "clocks_while_all_wait_s": {"behind": round(behind, 1), "ahead": round(ahead, 1)},
        "gap_s": {
            "middle_tenant": round(statistics.median(longest), 2) if longest else None,
            "worst_tenant": round(longest[-1], 2) if longest else None,
        },
        "server_ms": round(float(inside[0] or 0) / max(1, given.jobs - left), 2) if inside else 0,
    }


def seen(address: str, jobs: int) -> dict[str, Any]:
    """What has become of the jobs."""
    with psycopg.connect(address, autocommit=True) as raw:

        def all_of(query: str) -> list[Any]:
            return raw.execute(query).fetchall()

        ((there, ended),) = all_of("SELECT count(*), count(finished) FROM jobs")
        ((wrong,),) = all_of(
            "SELECT count(*) FROM jobs WHERE finished IS NOT NULL AND state <> 'completed'"
        )
        ((twice,),) = all_of("SELECT count(*) FROM windows WHERE attempt > 1")
        ((tries,),) = all_of("SELECT count(*) FROM attempts")
        ((served,),) = all_of("SELECT count(DISTINCT tenant) FROM jobs WHERE started IS NOT NULL")
        ((deadlocks,),) = all_of(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    return {
        "jobs": there,
        "none_lost": there == jobs,
        "ended": ended,
        "ended_badly": wrong,
        "windows_taken_twice": twice,
        "tries_that_went_wrong": tries,
        "deadlocks": deadlocks,
        "tenants_served": served,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--recordings", type=float, default=0.2)
    parser.add_argument("--speech", type=float, default=0.7)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    told: defaultdict[str, list[float]] = defaultdict(list)
    with cluster.server() as server:
        address = server.address(server.database())
        fill(address, given.jobs, given.recordings)
        out, over = context.Queue(), context.Event()
        speaking = round(given.workers * given.speech)
        pools: list[Pool] = ["speech" if n < speaking else "insight" for n in range(given.workers)]
        made = [
            context.Process(
                target=process, args=(address, (n, pools[n :: given.processes]), given, over, out)
            )
            for n in range(given.processes)
        ]
        for one in made:
            one.start()
        figures = watched(address, given, over)
        for _ in made:
            for name, seconds in out.get().items():
                told[name] += seconds
        for one in made:
            one.join()
        figures |= seen(address, given.jobs)
    late = spread(told.pop("late", []))
    calls = {name: spread(seconds) for name, seconds in sorted(told.items())}
    rig.report("throng", {"workers": given.workers, **figures, "ms": calls, "late_ms": late})
    if figures["ended"] != given.jobs:
        raise SystemExit("not all jobs have ended in the time there was")


if __name__ == "__main__":
    main()
