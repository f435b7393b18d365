"""Jobs through PostgreSQL and a broker: ours beside plain Celery, in turn.

    python bench/delivery.py [--jobs 600] [--rounds 3] [--processes 2] [--broker amqp://…]

Every alternative has so many worker processes, one process that submits, the same broker and the
same PostgreSQL; the work is nothing.

* **ours**: a job of one step, from ``Queue.submit`` to the end of the job, as `hansard worker` does
  it: a crew that pulls, permits by Celery, rounds.
* **celery_rows**: plain Celery as its guide has it for work that must not be lost (prefork, quorum
  queue, late acknowledgement, publisher confirms), with a PostgreSQL row for each job: written and
  committed before the message, and marked done and committed by the task. No claims, no leases, no
  tenants, no history, no way to find what a lost message was about.
* **celery_bare**: the same without rows: what is lost with the broker is lost.

``whole`` is from the first submission to the last end; ``drain`` is working off what was submitted
before any worker ran. ``start`` is from the return of a submission to the start of its work, one
job at a time, for ours both with a bell in the database (LISTEN) and with permits alone.
``cpu_ms`` is what a job of ``whole`` cost each side: the process that submits, the workers, the
server of the database, and RabbitMQ. On two cores their sum says more than the clock.
``stream_ms`` is from the begin of a submission to the start of its work while others follow, in
``whole``: at full load, where both have their processors in use.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import cluster
import psutil
import psycopg
import rig
from crowd import LEVELS, OPTIONS, ROOMY, spread

from hansard.config import Settings, load
from hansard.jobs import attendance
from hansard.jobs.attendance import Attendance
from hansard.jobs.delivery import Post, made
from hansard.jobs.permits import Permits
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.steps import Write
from hansard.jobs.worker import Crew
from hansard.model import POOLS, Media, Pool, Recording
from hansard.store.postgres import Postgres

POOLS["noop"] = "maintenance"
MAINTENANCE: tuple[Pool, ...] = ("maintenance",)

ROWS = """
CREATE TABLE IF NOT EXISTS rows (id text PRIMARY KEY, state text NOT NULL, body text NOT NULL,
    created double precision NOT NULL, started double precision, finished double precision)
"""
BODY = "x" * 400
PATIENCE = 300.0


def settings() -> Settings:
    """From the environment: the broker, and names that nobody else has."""
    return load()


# ── ours ─────────────────────────────────────────────────────────────────────────────────────


def our_worker(address: str, *, deaf: bool) -> None:
    """A `hansard worker` whose work is nothing. It ends when its standard input does."""
    configured, database = settings(), Postgres(address)
    if deaf:
        database.watch = lambda: None  # type: ignore[method-assign] # as where LISTEN cannot be had
    queue = Queue(database, secrets.token_hex(8), settings=ROOMY, pools=MAINTENANCE)

    def work(_: Unit) -> Write:
        return lambda _: None

    crew = Crew(queue, {"noop": {"run": work}}, _no_models, hands=configured.delivery.concurrency)
    seconds = configured.delivery.round_seconds
    told = Permits(database, partial(Post, configured), seconds)
    crew.start()
    attendance = Attendance(configured, queue.owner, crew, told, lambda: None)
    print("ready", flush=True)
    sys.stdin.read()
    attendance.end()
    crew.stop(10)
    attendance.close()
    told.close()
    database.close()


def _no_models(engine: str, model: str) -> Any:
    raise AssertionError((engine, model))


class Ours:
    """What submits, and asks whether all is done."""

    def __init__(self, address: str, *, deaf: bool = False) -> None:
        self.address = address
        self.words = ("ours", address, "deaf" if deaf else "hearing")
        self.database = Postgres(address)
        told = attendance.opened(settings(), self.database, rounds=False)
        assert told is not None
        self.permits = told
        self.queue = told.queue(self.database, "bench", settings=ROOMY)
        self._numbers = iter(range(10_000_000))

    def submit(self) -> str:
        name = f"{next(self._numbers)}-{secrets.token_hex(8)}"
        media = Recording(name, f"{name}.wav", Media("wav", 1.0, 100, ()), time.time())
        job, _ = self.queue.submit(media, OPTIONS, LEVELS, seconds=1.0, kind="noop")
        return job.id

    def left(self, connection: psycopg.Connection[Any]) -> int:
        row = connection.execute("SELECT count(*) FROM jobs WHERE finished IS NULL").fetchone()
        return int(row[0]) if row else 0

    def started(self, connection: psycopg.Connection[Any], job: str) -> float | None:
        row = connection.execute("SELECT started FROM jobs WHERE id = %s", (job,)).fetchone()
        return row[0] if row else None

    def stream(self, connection: psycopg.Connection[Any], since: float) -> list[float]:
        query = "SELECT started - created FROM jobs WHERE created >= %s"
        return [row[0] for row in connection.execute(query, (since,)).fetchall()]

    def close(self) -> None:
        self.permits.close()
        self.database.close()
        app = made(settings())
        with app.connection_for_write() as connection:
            for name in app.amqp.queues:
                connection.default_channel.queue_delete(name)


# ── plain Celery ─────────────────────────────────────────────────────────────────────────────


def plain(address: str, prefix: str, *, rows: bool) -> Any:
    """Plain Celery, set up for durable work as its guide says."""
    from celery import Celery
    from kombu import entity

    configured = settings()
    app = Celery("plain", broker=configured.broker)
    kinds = {"x-queue-type": "quorum"} if str(configured.broker).startswith("amqp") else None
    queue: Any = entity
    exchange = queue.Exchange(prefix, type="topic")
    app.conf.update(
        task_queues=[queue.Queue(prefix, exchange, routing_key=prefix, queue_arguments=kinds)],
        task_default_queue=prefix,
        task_default_exchange=prefix,
        task_default_routing_key=prefix,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        broker_transport_options={"confirm_publish": True} if kinds else {},
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
    )
    held: dict[int, psycopg.Connection[Any]] = {}

    @app.task(name="plain.work")  # type: ignore[untyped-decorator] # celery has no types
    def work(name: str) -> None:
        if rows:
            begun = time.time()
            mine = held.get(os.getpid())
            if mine is None:
                mine = held[os.getpid()] = psycopg.connect(address, autocommit=True)
            mine.execute(
                "UPDATE rows SET state = 'done', started = %s, finished = %s WHERE id = %s",
                (begun, time.time(), name),
            )

    return app


def plain_worker(address: str, prefix: str, processes: int, *, rows: bool) -> None:
    app = plain(address, prefix, rows=rows)
    name = f"{prefix}@%h"
    words = ["worker", "-P", "prefork", "-c", str(processes), "-l", "ERROR", "-n", name]
    app.worker_main([*words, "--without-mingle", "--without-gossip"])


class Plain:
    """What submits, and asks whether all is done."""

    def __init__(self, address: str, prefix: str, processes: int, *, rows: bool) -> None:
        self.words = ("rows" if rows else "bare", address, f"{prefix}:{processes}")
        self._rows = rows
        self._app = plain(address, prefix, rows=rows)
        self._connection = self._app.connection_for_write()
        self._producer = self._app.amqp.Producer(self._connection)
        self._store = psycopg.connect(address, autocommit=True)
        self._store.execute(ROWS)
        self._prefix = prefix
        self._queue = self._app.amqp.queues[prefix](self._connection.default_channel)
        self._queue.declare()

    def submit(self) -> str:
        name = secrets.token_hex(8)
        if self._rows:
            self._store.execute(
                "INSERT INTO rows (id, state, body, created) VALUES (%s, 'queued', %s, %s)",
                (name, BODY, time.time()),
            )
        self._app.send_task("plain.work", (name,), producer=self._producer)
        return name

    def left(self, connection: psycopg.Connection[Any]) -> int:
        if self._rows:
            query = "SELECT count(*) FROM rows WHERE finished IS NULL"
            row = connection.execute(query).fetchone()
            return int(row[0]) if row else 0
        return int(self._queue.queue_declare(passive=True).message_count)

    def started(self, connection: psycopg.Connection[Any], job: str) -> float | None:
        query = "SELECT started FROM rows WHERE id = %s"
        row = connection.execute(query, (job,)).fetchone()
        return row[0] if row else None

    def stream(self, connection: psycopg.Connection[Any], since: float) -> list[float]:
        query = "SELECT started - created FROM rows WHERE created >= %s"
        return [row[0] for row in connection.execute(query, (since,)).fetchall()]

    def close(self) -> None:
        self._queue.delete()
        self._connection.close()
        self._store.close()


# ── measuring ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def workers(words: tuple[str, ...], count: int) -> Iterator[None]:
    """Worker processes, ready; ended afterwards."""
    made = [
        subprocess.Popen(
            [sys.executable, __file__, "--role", *words],
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCH_LOUD") else subprocess.DEVNULL,
        )
        for _ in range(count)
    ]
    try:
        for one in made:
            if words[0] == "ours":
                assert one.stdout is not None
                assert one.stdout.readline() == b"ready\n"
        yield
    finally:
        for one in made:
            assert one.stdin is not None
            one.stdin.close()
            if words[0] != "ours":
                one.terminate()
        for one in made:
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(one.pid, signal.SIGKILL)  # with its children
                one.wait()


SIDES = ("submitter", "workers", "database", "broker")


def spent() -> dict[str, float]:
    """Processor seconds so far: of this process, its workers, the databases, the brokers."""
    mine, found = os.getpid(), dict.fromkeys(SIDES, 0.0)
    for one in psutil.process_iter(["pid", "name", "cmdline", "cpu_times"]):
        name, words, times = one.info["name"], one.info["cmdline"], one.info["cpu_times"]
        if one.info["pid"] == mine:
            side = "submitter"
        elif "--role" in (words or ()):
            side = "workers"
        elif name == "postgres":
            side = "database"
        elif name == "beam.smp":
            side = "broker"
        else:
            continue
        found[side] += times.user + times.system
    return found


def all_done(left: Callable[[], int]) -> None:
    rig.until(lambda: not left(), "all jobs are done", PATIENCE)


def measured(what: Any, server: psycopg.Connection[Any], jobs: int, count: int) -> dict[str, float]:
    """Jobs a second: of all from submission to end, and of working off what lies ready."""
    with workers(what.words, count):
        for _ in range(20):  # until every process has its connections
            what.submit()
        all_done(lambda: what.left(server))
        before, since, begun = spent(), time.time(), time.perf_counter()
        for _ in range(jobs):
            what.submit()
        submitted = time.perf_counter() - begun
        all_done(lambda: what.left(server))
        whole = jobs / (time.perf_counter() - begun)
        after = spent()
    cost = {f"cpu_ms_{side}": 1000 * (after[side] - before[side]) / jobs for side in SIDES}
    cost["submit_ms"] = 1000 * submitted / jobs
    cost |= {f"stream_ms_{key}": value for key, value in spread(what.stream(server, since)).items()}
    ready = 2 * jobs
    for _ in range(ready):
        what.submit()
    begun = time.perf_counter()
    with workers(what.words, count):
        while what.left(server) > ready * 0.95:  # they are up
            time.sleep(0.002)
        first, begun = what.left(server), time.perf_counter()
        all_done(lambda: what.left(server))
        return {"whole": whole, "drain": first / (time.perf_counter() - begun)} | cost


def starts(what: Any, server: psycopg.Connection[Any], count: int, tries: int) -> list[float]:
    """Seconds from the return of a submission to the start of its work."""
    found = []
    with workers(what.words, count):
        for number in range(tries + 10):
            job = what.submit()
            returned = time.time()
            while (begun := what.started(server, job)) is None:
                time.sleep(0.001)
            all_done(lambda: what.left(server))
            if number >= 10:
                found.append(max(0.0, begun - returned))
            time.sleep(0.02)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--starts", type=int, default=150)
    parser.add_argument("--broker", default="amqp://guest:guest@127.0.0.1:5672//")
    parser.add_argument("--role", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role is not None:
        kind, address, more = given.role
        if kind == "ours":
            our_worker(address, deaf=more == "deaf")
        else:
            prefix, _, processes = more.partition(":")
            plain_worker(address, prefix, int(processes), rows=kind == "rows")
        return
    prefix = f"bench_{secrets.token_hex(4)}"
    os.environ["HANSARD_BROKER"] = given.broker
    os.environ["HANSARD_DELIVERY__PREFIX"] = prefix
    with ExitStack() as stack:
        server = stack.enter_context(cluster.server())
        address = server.address(server.database())
        made: dict[str, tuple[Any, int]] = {
            "ours": (Ours(address), given.processes),
            "ours_deaf": (Ours(address, deaf=True), given.processes),
            "celery_rows": (Plain(address, f"{prefix}_rows", given.processes, rows=True), 1),
            "celery_bare": (Plain(address, f"{prefix}_bare", given.processes, rows=False), 1),
        }
        for what, _ in made.values():
            stack.callback(what.close)
        look = stack.enter_context(psycopg.connect(address, autocommit=True))
        _compare(made, look, given)


def _compare(
    made: dict[str, tuple[Any, int]], look: psycopg.Connection[Any], given: argparse.Namespace
) -> None:
    rates: dict[str, list[dict[str, float]]] = {}
    rated = {name: one for name, one in made.items() if name != "ours_deaf"}
    for turn in range(given.rounds):
        for name, (what, count) in rated.items():
            rates.setdefault(name, []).append(measured(what, look, given.jobs, count))
            said = {key: round(value, 2) for key, value in rates[name][-1].items()}
            print(f"  round {turn + 1}  {name:<12} {said}", flush=True)
    figures: dict[str, Any] = {}
    for key in (
        "submit_ms",
        *(f"cpu_ms_{side}" for side in SIDES),
        "stream_ms_p50",
        "stream_ms_p95",
    ):
        for name, found in rates.items():
            figures[f"{key}_{name}"] = round(statistics.median(one[key] for one in found), 2)
    for key in ("whole", "drain"):
        ours = [one[key] for one in rates["ours"]]
        for name, found in rates.items():
            figures[f"{key}_{name}"] = round(statistics.median(one[key] for one in found))
            if name != "ours":
                ratios = [mine / theirs[key] for mine, theirs in zip(ours, found, strict=True)]
                figures[f"{key}_ratio_{name}"] = round(statistics.median(ratios), 2)
    for name in ("ours", "ours_deaf", "celery_rows"):
        what, count = made[name]
        figures[f"start_ms_{name}"] = spread(starts(what, look, count, given.starts))
        print(f"  start  {name:<12} {figures[f'start_ms_{name}']}", flush=True)
    rig.report("delivery", figures)


if __name__ == "__main__":
    main()
