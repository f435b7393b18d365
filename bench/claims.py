"""Two hundred workers at one PostgreSQL: what a claim costs, and whether anybody starves.

    python bench/claims.py [--sizes 1000,10000,100000,1000000] [--backlogs 1000,…,1000000]
                           [--readies 300,14000] [--workers 200] [--jobs 10000] [--scale 1]
                           [--crews 1,4,16]

Five measures, each on a PostgreSQL of its own with Debian's defaults:

* **sizes**: what is claimed lies in a table with ever more rows of ended jobs and heard windows;
  a thousand jobs wait. The peer is the textbook's queue with as many rows: ``UPDATE … WHERE id =
  (SELECT … FOR UPDATE SKIP LOCKED LIMIT 1)`` on an indexed table, in the same run, in turn;
* **backlogs**: ever more jobs wait (``queue.capacity`` allows a thousand by default);
* **readies**: ever more jobs have been prepared, of one window each and fifty tenants; looks that
  find something, and then, when all windows are in hand, looks that find none;
* **crowd**: so many workers, threads with owners of their own in a few processes, work off so many
  jobs of fifty tenants. The work is a sleep on a clock that runs ``scale`` times as fast: every
  worker claims every few seconds. One tenant has most of the work and all long recordings; how
  long the others' short ones wait is compared. Capacity is as configured: who finds the queue full
  comes again;
* **crews**: whole working crews as they are, with no-op work: transactions of the server for each
  job, by the number of crews that listen to the same bell.

``server_ms`` is time inside PostgreSQL (pg_stat_statements) for the whole walk of a job; the
rest is Python, on a machine that is shared.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cluster
import psycopg
import rig
from crowd import (
    BATCH,
    LEVELS,
    ROOMY,
    TENANTS,
    WORDS,
    crews,
    crowd,
    finish,
    hear,
    prepare,
    spread,
    submit,
)

from hansard.jobs import rows
from hansard.jobs.queue import Queue
from hansard.model import Prepared
from hansard.store.postgres import Postgres

FILL = """
INSERT INTO jobs (id, kind, state, step, priority, recording, options, identity, answers,
    batch_key, engine, model, language, levels, position, prepared, created, started, finished,
    tenant, name, lane, seconds, planned, heard, planned_samples, heard_samples)
SELECT '01' || lpad(n::text, 12, '0'), kind, %(state)s, %(step)s, 3 + n %% 5, recording, options,
    md5(n::text), %(mark)s || n, batch_key, engine, model, language, levels, 400000, NULL,
    %(created)s + n * 0.001, %(ended)s, %(ended)s, 't' || n %% 50, 'meeting ' || n,
    CASE WHEN n %% 4 = 0 THEN 'long' ELSE 'short' END, 25,
    %(heard)s, %(heard)s, 400000 * %(heard)s, 400000 * %(heard)s
FROM jobs, generate_series(%(first)s::bigint, %(last)s::bigint) n WHERE id = %(like)s
"""

FILL_WINDOWS = """
INSERT INTO windows (job, pass, channel, position, "window", samples, state, attempt, done, result,
    heard)
SELECT '01' || lpad(n::text, 12, '0'), 0, 0, 0, %(window)s, 400000, 'done', 1, %(ended)s,
    %(result)s, 1
FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
"""

READY = """
UPDATE jobs SET planned_samples = 400000, planned = 1, prepared = %s, priority = 5, lane = 'short'
WHERE step = 'listen'
"""
READY_WINDOWS = """
INSERT INTO windows (job, pass, channel, position, "window", samples, state, attempt)
SELECT id, 0, 0, 0, %s, 400000, 'waiting', 0 FROM jobs WHERE step = 'listen'
"""
IN_HAND = """
UPDATE windows SET state = 'taken', token = 'x', owner = 'x', lease_until = %s
WHERE state = 'waiting'
"""

TEXTBOOK = """
CREATE TABLE textbook (id bigserial PRIMARY KEY, priority int NOT NULL, state text NOT NULL,
    owner text, lease_until double precision, body text NOT NULL);
CREATE INDEX ON textbook (priority DESC, id) WHERE state = 'waiting';
"""
TEXTBOOK_FILL = """
INSERT INTO textbook (priority, state, body)
SELECT 3 + n %% 5, %s, repeat('x', 400) FROM generate_series(1, %s) n
"""
TEXTBOOK_CLAIM = """
UPDATE textbook SET state = 'taken', owner = %s, lease_until = %s WHERE id = (
    SELECT id FROM textbook WHERE state = 'waiting' ORDER BY priority DESC, id
    FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id
"""


# ── a store that has seen much ───────────────────────────────────────────────────────────────


class Filled:
    """A database with so many ended jobs, and as many that wait as are asked for."""

    def __init__(self, server: cluster.Server) -> None:
        self.address = server.address(server.database())
        self.database = Postgres(self.address)
        self.queue = Queue(self.database, "bench", settings=ROOMY, lease_seconds=3600)
        self.raw = psycopg.connect(self.address, autocommit=True)
        self.raw.execute("SET synchronous_commit = off")
        self.raw.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self.raw.execute(TEXTBOOK)
        self.like = submit(self.queue, 0, tenant="t0")
        self.rows = 0
        self.waiting = 0
        self.textbook = 0

    def ended(self, count: int) -> None:
        """Bring the number of ended jobs, and of heard windows, up to ``count``."""
        span = {"first": self.rows + 1, "last": count, "ended": time.time() - 86_400}
        how = {"state": "completed", "step": "finish", "mark": "e", "heard": 1, "like": self.like}
        self.raw.execute(FILL, span | how | {"created": time.time() - 1e6})
        said = {
            "window": '{"index":0,"channel":0,"pieces":[[0,400000]]}',
            "result": '{"utterances":[[0.0,25.0,"' + WORDS * 6 + '"]]}',
        }
        self.raw.execute(FILL_WINDOWS, span | said)
        self.raw.execute(TEXTBOOK_FILL, ("done", count - self.rows))
        self.rows = count
        self._settle()

    def wait(self, count: int) -> None:
        """Bring the number of waiting jobs up to ``count``."""
        if count <= self.waiting:
            return
        first = 100_000_000 + self.waiting
        span = {"first": first, "last": 100_000_000 + count - 1, "ended": None}
        how = {"state": "queued", "step": "prepare", "mark": "w", "heard": 0, "like": self.like}
        self.raw.execute(FILL, span | how | {"created": time.time() - 2e5})
        self.raw.execute(TEXTBOOK_FILL, ("waiting", count - self.textbook))
        self.waiting = self.textbook = count
        self._settle()

    def _settle(self) -> None:
        for table in ("jobs", "windows", "textbook", "shares"):
            self.raw.execute(f"VACUUM (ANALYZE) {table}")
        self.raw.execute("CHECKPOINT")

    def close(self) -> None:
        self.raw.close()
        self.database.close()


def claims(filled: Filled, rounds: int) -> dict[str, Any]:
    """What taking and giving back costs, ours and the textbook's in turn."""
    queue, raw = filled.queue, filled.raw
    taken: defaultdict[str, list[float]] = defaultdict(list)
    numbers = itertools.count(filled.rows * 1000 + filled.waiting + 1)
    peer = psycopg.connect(filled.address, autocommit=True)
    peer.execute("SET synchronous_commit = off")

    def timed(name: str, call: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        answer = call()
        taken[name].append(time.perf_counter() - begun)
        return answer

    for turn in range(rounds + 5):
        if turn == 5:
            taken.clear()
            raw.execute("SELECT pg_stat_statements_reset()")
        number = next(numbers)
        timed("submit", partial(submit, queue, number, tenant=f"t{number % TENANTS}"))
        unit = timed("step", queue.claim_step)
        timed("prepare", partial(prepare, queue, unit))
        unit = timed(
            "windows",
            partial(queue.claim_windows, "sphinx", "en-us", batch=BATCH, lanes=1),
        )
        timed("record", partial(hear, queue, unit))
        unit = timed("step", queue.claim_step)
        timed("finish", partial(finish, queue, unit))
        asked = ("bench", time.time() + 60)
        peer.execute("INSERT INTO textbook (priority, state, body) VALUES (5, 'waiting', 'x')")
        timed("textbook", partial(textbook, peer, asked))
    peer.close()
    figures: dict[str, Any] = {name: spread(seconds) for name, seconds in taken.items()}
    figures["server_ms"] = server_side(raw, rounds)
    figures["ratio_to_textbook"] = round(
        figures["step"]["p50"] / max(0.001, figures["textbook"]["p50"]), 2
    )
    return figures


KINDS = {"textbook": "%UPDATE textbook%", "ours": "%jobs%"}


def textbook(peer: psycopg.Connection[Any], asked: tuple[str, float]) -> None:
    assert peer.execute(TEXTBOOK_CLAIM, asked).fetchone() is not None


def server_side(raw: psycopg.Connection[Any], rounds: int) -> dict[str, float]:
    """Milliseconds inside the server for a whole walk of a job, and for the textbook's claim."""
    found = {}
    for name, like in KINDS.items():
        total = raw.execute(
            "SELECT coalesce(sum(total_exec_time + total_plan_time), 0) FROM pg_stat_statements s "
            "JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() "
            "AND query LIKE %s",
            (like,),
        ).fetchone()
        found[name] = round(float(total[0] if total else 0) / rounds, 3)
    return found


def slowest(raw: psycopg.Connection[Any]) -> list[str]:
    """The statements that took most of the server's time, with how often and how long."""
    rows = raw.execute(
        "SELECT calls, mean_exec_time, regexp_replace(query, '\\s+', ' ', 'g') "
        "FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
        "WHERE d.datname = current_database() ORDER BY total_exec_time DESC LIMIT 6"
    ).fetchall()
    return [f"{calls} x {mean:.3f} ms  {query[:220]}" for calls, mean, query in rows]


EXPLAINED = """
EXPLAIN (ANALYZE, BUFFERS)
SELECT priority, tenant, lane, sum(planned_samples - heard_samples), min(created)
FROM jobs WHERE finished IS NULL AND pool IN ('speech') GROUP BY priority, tenant, lane
"""


def by_rows(server: cluster.Server, sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    filled, figures = Filled(server), {}
    try:
        for size in sizes:
            filled.ended(size)
            filled.wait(1000)
            figures[str(size)] = claims(filled, rounds)
            show(f"{size:>9} ended, 1000 waiting", figures[str(size)])
        flat = steady(figures, sizes)
        if max(flat.values()) > 1.5:
            for line in slowest(filled.raw):
                print(f"    {line}")
            for (line,) in filled.raw.execute(EXPLAINED).fetchall():
                print(f"    {line}")
    finally:
        filled.close()
    return {"by_rows": figures, "largest_to_smallest": flat}


def by_backlog(server: cluster.Server, backlogs: Sequence[int], rounds: int) -> dict[str, Any]:
    filled, figures = Filled(server), {}
    try:
        filled.ended(1000)
        for count in backlogs:
            filled.wait(count)
            figures[str(count)] = claims(filled, max(20, rounds if count < 50_000 else rounds // 4))
            show(f"{count:>9} waiting", figures[str(count)])
        flat = steady(figures, backlogs)
        for line in slowest(filled.raw):
            print(f"    {line}")
    finally:
        filled.close()
    return {"by_backlog": figures, "most_waiting_to_fewest": flat}


def by_ready(server: cluster.Server, readies: Sequence[int], rounds: int) -> dict[str, Any]:
    """What looks cost where so many jobs lie ready; then where all of that is in hand."""
    figures: dict[str, Any] = {}
    for count in readies:
        filled = Filled(server)
        queue, raw = filled.queue, filled.raw
        filled.wait(1000)
        span = {"first": 1, "last": count, "ended": None, "like": filled.like}
        how = {"state": "running", "step": "listen", "mark": "r", "heard": 0}
        raw.execute(FILL, span | how | {"created": time.time() - 1e6})
        raw.execute(READY, (rows.json(Prepared(400_000, 1, LEVELS, speech=400_000)),))
        raw.execute(READY_WINDOWS, ('{"index":0,"channel":0,"pieces":[[0,400000]]}',))
        raw.execute("VACUUM (FULL, ANALYZE) jobs")
        raw.execute("VACUUM (ANALYZE) windows")
        windows = partial(queue.claim_windows, "sphinx", "en-us", batch=BATCH, lanes=1)
        figures[str(count)] = {
            "windows": looks(filled, windows, rounds),
            "step": looks(filled, queue.claim_step, rounds),
        }
        raw.execute(IN_HAND, (time.time() + 3600,))
        raw.execute("VACUUM (ANALYZE) windows")
        figures[str(count)]["windows, all in hand"] = looks(filled, windows, rounds)
        filled.close()
        print(f"  {count:>9} ready: ms: {figures[str(count)]}", flush=True)
    return {"by_ready": figures}


def looks(filled: Filled, claim: Callable[[], Any], rounds: int) -> dict[str, float]:
    """From call to return, and inside the server; the first few are not counted."""
    for _ in range(6):
        claim()
    filled.raw.execute("SELECT pg_stat_statements_reset()")
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        claim()
        seconds.append(time.perf_counter() - begun)
    return spread(seconds) | {"server_ms": server_side(filled.raw, rounds)["ours"]}


def steady(figures: dict[str, Any], counts: Sequence[int]) -> dict[str, float]:
    """What each call takes with most rows, in multiples of what it takes with fewest."""
    first, last = figures[str(counts[0])], figures[str(counts[-1])]
    flat = {
        name: round(last[name]["p50"] / max(0.001, first[name]["p50"]), 2)
        for name in ("step", "windows", "record", "submit", "finish", "textbook")
    }
    print(f"  largest to smallest: {flat}", flush=True)
    return flat


def show(name: str, figures: dict[str, Any]) -> None:
    said = "  ".join(
        f"{key} {figures[key]['p50']}/{figures[key]['p95']}"
        for key in ("submit", "step", "windows", "record", "finish", "textbook")
    )
    print(f"  {name}: ms p50/p95: {said}; server {figures['server_ms']}", flush=True)


def numbers(given: str) -> list[int]:
    return [int(one) for one in given.split(",") if one]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=numbers, default="1000,10000,100000,1000000")
    parser.add_argument("--backlogs", type=numbers, default="1000,10000,100000,1000000")
    parser.add_argument("--readies", type=numbers, default="300,14000")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=7200.0, help="most, for the crowd")
    parser.add_argument("--crews", type=numbers, default="1,4,16")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with cluster.server() as server:
        if given.sizes:
            figures |= by_rows(server, given.sizes, given.rounds)
        if given.backlogs:
            figures |= by_backlog(server, given.backlogs, given.rounds)
        if given.readies:
            figures |= by_ready(server, given.readies, max(15, given.rounds // 10))
        if given.crews:
            figures |= crews(server, given.crews, 40)
        if given.jobs and given.workers:
            figures |= crowd(server, given)
            print(f"  crowd: {figures['crowd']}", flush=True)
    rig.report("claims", figures)
    crowded = figures.get("crowd")
    if crowded is not None and crowded["completed"] != given.jobs:
        sys.exit(1)


if __name__ == "__main__":
    main()
