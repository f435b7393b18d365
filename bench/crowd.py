"""A crowd of workers whose work is a sleep, and whole crews, at one PostgreSQL: see ``claims``."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import cluster
import psycopg

from hansard.config import QueueSettings
from hansard.errors import HansardError, LeaseLost, QueueFull
from hansard.jobs.queue import Queue
from hansard.jobs.roll import Roll
from hansard.jobs.rows import Unit
from hansard.jobs.worker import Crew, Kinds, Listener
from hansard.model import (
    SAMPLE_RATE,
    Client,
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
from hansard.store.postgres import Postgres

LEVELS = Levels(10.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
OPTIONS = Options("sphinx", "en-us", language="en")
ROOMY = QueueSettings(capacity=10_000_000)
TENANTS = 50
BATCH = 4
WORDS = "the committee will now hear from the second witness about the budget "
ANSWER = WindowResult((Utterance(0.0, 25.0, WORDS * 6),), language="en")


def quantile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds."""
    if not seconds:
        return 0.0
    return round(1000 * sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))], 2)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": quantile(seconds, 0.5), "p95": quantile(seconds, 0.95), "n": len(seconds)}


# ── jobs without their work ──────────────────────────────────────────────────────────────────


def submit(queue: Queue, number: int, *, tenant: str, seconds: float = 25.0) -> str:
    name = f"{number:064x}"
    recording = Recording(name, f"{number}.wav", Media("wav", seconds, 100, ()), time.time())
    job, _ = queue.submit(
        *(recording, OPTIONS, LEVELS),
        priority=3 + number % 5,
        client=Client(tenant),
        seconds=seconds,
    )
    return job.id


def planned(seconds: float) -> list[Window]:
    count = max(1, round(seconds / 25))
    length = 25 * SAMPLE_RATE
    return [Window(i, 0, (Span(i * length, (i + 1) * length),)) for i in range(count)]


def prepare(queue: Queue, unit: Unit) -> None:
    wanted = planned(unit.job.seconds or 25.0)
    samples = sum(one.samples for one in wanted)
    queue.add_windows(unit, wanted, position=samples)
    queue.end_prepare(unit, Prepared(samples, 1, LEVELS, speech=samples))


def hear(queue: Queue, unit: Unit) -> None:
    queue.record(unit, [ANSWER for _ in unit.parts])


def finish(queue: Queue, unit: Unit) -> None:
    queue.complete(unit, lambda _: None)


# ── the crowd ────────────────────────────────────────────────────────────────────────────────


def crowd_worker(
    queue: Queue, scale: float, told: dict[str, list[float]], over: Any, chance: random.Random
) -> None:
    """One worker: steps and windows in turn, the work a sleep."""
    time.sleep(chance.uniform(0, 3))
    while not over.is_set():
        did = False
        for name in ("windows", "step"):
            begun = time.perf_counter()
            try:
                unit = (
                    queue.claim_step()
                    if name == "step"
                    else queue.claim_windows("sphinx", "en-us", batch=BATCH, lanes=2)
                )
            except HansardError as error:
                told[f"error {error.code}"].append(time.perf_counter() - begun)
                continue
            seconds = time.perf_counter() - begun
            told[name if unit else f"{name}, nothing"].append(seconds)
            if unit is None:
                continue
            did = True
            audio = sum(part.window.seconds for part in unit.parts) or (unit.job.seconds or 0) / 20
            time.sleep((0.5 + audio / 10) / scale * chance.uniform(0.7, 1.3))
            do = {"prepare": prepare, "finish": finish, "listen": hear}[unit.step]
            begun = time.perf_counter()
            try:
                do(queue, unit)
                told[unit.step].append(time.perf_counter() - begun)
            except LeaseLost:
                told["lease lost"].append(0.0)
            except HansardError as error:
                told[f"error {error.code}"].append(time.perf_counter() - begun)
        if not did:
            time.sleep(chance.uniform(0.3, 0.7))  # the bell would ring it, sooner


def crowd_process(address: str, who: tuple[int, int], scale: float, over: Any, out: Any) -> None:
    """So many workers, in threads; ``who`` is the number of the process, and of its workers."""
    number, workers = who
    database = Postgres(address, connections=20)
    told: defaultdict[str, list[float]] = defaultdict(list)
    threads = [
        threading.Thread(
            target=crowd_worker,
            args=(
                Queue(database, f"worker-{number}-{i}", lease_seconds=120, attempts=50),
                scale,
                told,
                over,
                random.Random(number * 1000 + i),
            ),
        )
        for i in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put(dict(told))
    database.close()


def lengths(count: int, chance: random.Random) -> Iterator[tuple[str, float]]:
    """Tenant and seconds: one tenant has most, and all that is long."""
    for _ in range(count):
        draw = chance.random()
        if draw < 0.004:
            yield "big", 3600.0
        elif draw < 0.03:
            yield "big", 250.0
        elif draw < 0.5:
            yield "big", 25.0
        else:
            yield f"t{chance.randrange(TENANTS - 1)}", 25.0


def feed(address: str, count: int, told: dict[str, list[float]]) -> None:
    """Submit as fast as the queue takes it."""
    database = Postgres(address)
    queue = Queue(database, "feeder")
    for number, (tenant, seconds) in enumerate(lengths(count, random.Random(3))):
        while True:
            begun = time.perf_counter()
            try:
                submit(queue, number, tenant=tenant, seconds=seconds)
            except QueueFull:
                told["refused"].append(time.perf_counter() - begun)
                time.sleep(0.25)
                continue
            except HansardError as error:
                told[f"error {error.code}"].append(time.perf_counter() - begun)
                continue
            told["submit"].append(time.perf_counter() - begun)
            break
    database.close()


def crowd(server: cluster.Server, given: argparse.Namespace) -> dict[str, Any]:
    address = server.address(server.database())
    Postgres(address).close()
    context = multiprocessing.get_context("spawn")
    over, out = context.Event(), context.Queue()
    shares = [given.workers // given.processes] * given.processes
    shares[0] += given.workers - sum(shares)
    fed: defaultdict[str, list[float]] = defaultdict(list)
    begun = time.time()
    crew = [
        context.Process(target=crowd_process, args=(address, (i, n), given.scale, over, out))
        for i, n in enumerate(shares)
    ]
    feeder = threading.Thread(target=feed, args=(address, given.jobs, fed))
    for one in crew:
        one.start()
    feeder.start()
    with psycopg.connect(address, autocommit=True) as raw:
        raw.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        while True:
            time.sleep(5)
            row = raw.execute(
                "SELECT count(*) FILTER (WHERE finished IS NOT NULL), count(*) FROM jobs"
            ).fetchone()
            assert row is not None
            spent = time.time() - begun
            if int(spent) % 60 < 5:
                print(f"    {spent:6.0f} s: {row[0]} of {row[1]} submitted", flush=True)
            if row[0] >= given.jobs or spent > given.seconds:
                break
        over.set()
        told: defaultdict[str, list[float]] = defaultdict(list)
        for _ in crew:
            for name, seconds in out.get().items():
                told[name] += seconds
        for one in crew:
            one.join()
        if feeder.is_alive():
            print("    not all was submitted in the time there was", flush=True)
        figures = served(raw)
        inside = raw.execute(
            "SELECT sum(total_exec_time + total_plan_time) FROM pg_stat_statements s "
            "JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database()"
        ).fetchone()
        activity = raw.execute(
            "SELECT xact_commit, xact_rollback, deadlocks FROM pg_stat_database "
            "WHERE datname = current_database()"
        ).fetchone()
    spent = time.time() - begun
    claimed = len(told["step"]) + len(told["windows"])
    return {
        "crowd": {
            "workers": given.workers,
            "processes": given.processes,
            "scale": given.scale,
            "seconds": round(spent, 1),
            "claims_a_second": round(claimed / spent, 1),
            "server_ms_a_job": round(float(inside[0] or 0) / max(1, figures["completed"]), 2)
            if inside
            else None,
            "calls": {name: spread(s) for name, s in sorted((told | fed).items())},
            "transactions": activity[0] if activity else None,
            "deadlocks": activity[2] if activity else None,
            **figures,
        }
    }


def served(raw: psycopg.Connection[Any]) -> dict[str, Any]:
    """Whether everybody was served, and how long the short jobs of the small tenants waited."""
    rows = raw.execute(
        "SELECT tenant, count(*), count(finished), max(started - created) "
        "FILTER (WHERE lane = 'short') FROM jobs GROUP BY tenant"
    ).fetchall()
    waits = [
        float(row[0])
        for row in raw.execute(
            "SELECT started - created FROM jobs WHERE lane = 'short' AND tenant <> 'big' "
            "AND started IS NOT NULL"
        ).fetchall()
    ]
    again = raw.execute("SELECT count(*) FROM windows WHERE attempt > 1").fetchone()
    unclaimed = raw.execute(
        "SELECT count(*) FROM jobs WHERE started IS NULL AND priority = 3"
    ).fetchone()
    longest = {tenant: longest for tenant, _, _, longest in rows if tenant != "big"}
    middle = statistics.median(waits) if waits else 0.0
    worst = max((x for x in longest.values() if x is not None), default=0.0)
    return {
        "jobs": sum(row[1] for row in rows),
        "completed": sum(row[2] for row in rows),
        "tenants": len(rows),
        "tenants_served": sum(row[2] > 0 for row in rows),
        "windows_taken_twice": again[0] if again else None,
        "least_urgent_never_started": unclaimed[0] if unclaimed else None,
        "wait_of_small_tenants_s": {
            "median": round(middle, 2),
            "p95": round(quantile(waits, 0.95) / 1000, 2),
            "longest": round(worst, 2),
            "longest_to_median": round(worst / middle, 2) if middle else None,
            "longest_of_best_tenant": round(
                min((x for x in longest.values() if x is not None), default=0.0), 2
            ),
        },
    }


# ── whole crews ──────────────────────────────────────────────────────────────────────────────


def crew_process(address: str, crews: int, ready: Any, over: Any) -> None:
    """Crews as a worker has them, each with its own connections and its own ears."""
    running = []
    for number in range(crews):
        database = Postgres(address)
        queue = Queue(database, f"crew-{time.time_ns()}-{number}", attempts=50)

        @contextlib.contextmanager
        def listeners(*_: str, queue: Queue = queue) -> Iterator[Listener]:
            yield Listener(2, BATCH, partial(hear, queue))

        steps: Kinds = {
            "transcribe": {"prepare": partial(prepare, queue), "finish": partial(finish, queue)}
        }
        crew = Crew(queue, steps, listeners, pools=["speech"])
        crew.start()
        roll = Roll(database, queue.owner, 8.0)
        roll.begin(["speech"])
        running.append((crew, roll, database))
    ready.wait()
    over.wait()
    for crew, roll, database in running:
        crew.stop()
        roll.leave()
        database.close()


def crews(server: cluster.Server, counts: Sequence[int], jobs: int) -> dict[str, Any]:
    figures = {}
    for count in counts:
        address = server.address(server.database())
        database = Postgres(address)
        queue = Queue(database, "bench")
        context = multiprocessing.get_context("spawn")
        halves = [count - count // 2, count // 2] if count > 1 else [1]
        ready, over = context.Barrier(len(halves) + 1), context.Event()
        processes = [
            context.Process(target=crew_process, args=(address, n, ready, over)) for n in halves
        ]
        for one in processes:
            one.start()
        ready.wait()
        with psycopg.connect(address, autocommit=True) as raw:
            time.sleep(3)
            before, held = _transactions(raw)
            idle_begun = time.time()
            time.sleep(5)
            after, held = _transactions(raw)
            idle = (after - before) / (time.time() - idle_begun)
            begun, before = time.time(), after
            for number in range(jobs):
                submit(queue, number, tenant=f"t{number % TENANTS}")
                time.sleep(0.2)  # one job after the other: each commit finds idle crews
            while raw.execute("SELECT 1 FROM jobs WHERE finished IS NULL LIMIT 1").fetchone():
                time.sleep(0.1)
            spent = time.time() - begun
            time.sleep(1.5)  # statistics come a moment later
            after, _ = _transactions(raw)
        figures[str(count)] = {
            "connections": held,
            "idle_transactions_a_second": round(idle, 1),
            "transactions_a_job": round((after - before - idle * spent) / jobs, 1),
            "seconds": round(spent, 1),
        }
        print(f"  {count:>3} crews: {figures[str(count)]}", flush=True)
        over.set()
        for one in processes:
            one.join()
        database.close()
    return {"crews": figures}


def _transactions(raw: psycopg.Connection[Any]) -> tuple[int, int]:
    row = raw.execute(
        "SELECT xact_commit + xact_rollback, numbackends FROM pg_stat_database "
        "WHERE datname = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])
