"""The API's lists, states and transcripts over PostgreSQL and over SQLite, in turn.

    python bench/postgres_levels.py [--rounds 3] [--seconds 4] [--jobs 10000] [--segments 100]

Both stores hold the same: so many jobs of so many segments each, one of an hour. Two services and
a bare FastAPI route are up all the time, each one uvicorn process; a hundred connections ask as
fast as they are answered (wrk, one thread), route after route, round after round. Ratios are the
medians of the rounds' ratios of 95th percentiles: to the bare route, and PostgreSQL to SQLite.

``store`` is the same questions put to the store itself, in one thread, without the answers that an
API process keeps: what the first asker waits for. The server is the bench's own, as Debian sets it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cluster
import httpx
import sqlalchemy as sa
from rig import report
from served import Load, fill, hello, serving, wrk

from hansard.store import views
from hansard.store.database import Database
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite

PEER, PORTS = 8621, {"sqlite": 8622, "postgresql": 8623}

MORE = """
INSERT INTO segments (job, position, start, "end", channel, speaker, text, body)
SELECT j.job, s.position, s.start, s."end", s.channel, s.speaker, s.text, s.body
FROM segments s CROSS JOIN transcripts j
WHERE s.job = :longest AND s.position BETWEEN 1 AND :most AND j.job <> :longest
"""
COUNT = "UPDATE transcripts SET segments = :most + 1 WHERE job <> :longest"


def filled(database: Database, given: argparse.Namespace) -> str:
    """As many jobs and segments as asked for; the id of the longest."""
    begun = time.perf_counter()
    longest = fill(database, given.jobs, seconds=6.0)
    asked = {"longest": longest, "most": given.segments - 1}
    with database.write(lasting=False) as connection:
        if database.dialect == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text(MORE), asked)
        connection.execute(sa.text(COUNT), asked)
    with database.read() as connection:
        rows = connection.scalar(sa.text("SELECT count(*) FROM segments"))
    taken = time.perf_counter() - begun
    print(f"  {database.dialect}: {rows:,} segments in {taken:.0f} s", flush=True)
    return longest


def settled(database: Database) -> None:
    if isinstance(database, Postgres):
        connection = database.connect()
        connection.execute("SET statement_timeout = 0")
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
        connection.close()


def pages(api: str, count: int) -> dict[str, str]:
    """Addresses of the first, the middle and the last page of the list."""
    first = f"{api}/transcriptions?limit=50"
    address, found = first, [first]
    with httpx.Client(trust_env=False, timeout=30) as http:
        while len(found) < count / 50:
            page = http.get(address).raise_for_status().json()
            if not page.get("next"):
                break
            address = str(httpx.URL(first).copy_merge_params({"cursor": page["next"]}))
            found.append(address)
    return {"first page": found[0], "middle page": found[len(found) // 2], "last page": found[-1]}


def ids(database: Database) -> list[str]:
    with database.read() as connection:
        return [
            str(row[0]) for row in connection.execute(sa.text("SELECT id FROM jobs ORDER BY 1"))
        ]


def store(databases: dict[str, Database], longest: dict[str, str], rounds: int) -> dict[str, Any]:
    """Milliseconds of each question to the store itself, both in turn."""
    taken: dict[str, dict[str, list[float]]] = {}
    names = {kind: ids(database) for kind, database in databases.items()}
    for turn in range(rounds):
        for kind, database in databases.items():
            every = names[kind]
            one = every[(turn * 7919) % len(every)]
            ask: dict[str, Callable[[], Any]] = {
                "status": partial(views.statuses, database, "local", [one]),
                "first page": partial(views.page, database, "local", views.Filter()),
                "middle page": partial(
                    views.page, database, "local", views.Filter(), after=every[len(every) // 2]
                ),
                "last page": partial(
                    views.page, database, "local", views.Filter(), after=every[50]
                ),
                "one state": partial(
                    views.page, database, "local", views.Filter(states=("completed",))
                ),
                "transcript": partial(views.transcript, database, "local", one, words=True),
                "transcript, 1 h": partial(
                    views.transcript, database, "local", longest[kind], words=True
                ),
            }
            for what, call in ask.items():
                begun = time.perf_counter()
                assert call()
                seconds = time.perf_counter() - begun
                taken.setdefault(what, {}).setdefault(kind, []).append(1000 * seconds)
    figures = {
        what: {
            kind: {
                "p50": round(statistics.median(seen), 2),
                "p95": round(sorted(seen)[int(0.95 * len(seen))], 2),
            }
            for kind, seen in by_kind.items()
        }
        for what, by_kind in taken.items()
    }
    for what, each in figures.items():
        print(f"  store  {what:<18} {each}", flush=True)
    return figures


def levels(addresses: dict[str, dict[str, str]], folder: Path, given: argparse.Namespace) -> Any:
    """What wrk sees of each route, of each store, and of the bare route beside them."""
    loads: dict[str, dict[str, list[Load]]] = {}
    for turn in range(given.rounds):
        for name, by_kind in addresses.items():
            for kind, address in by_kind.items():
                load = wrk(address, folder=folder, seconds=given.seconds)
                loads.setdefault(name, {}).setdefault(kind, []).append(load)
                print(
                    f"  round {turn + 1}  {name:<18} {kind:<11} p50 {load.p50:7.1f} ms  "
                    f"p95 {load.p95:7.1f} ms  {load.per_second:8.0f}/s  failed {load.failed}",
                    flush=True,
                )
    bare = loads["hello"]["bare"]
    figures: dict[str, Any] = {}
    for name, each in loads.items():
        figures[name] = {}
        for kind, seen in each.items():
            to_hello = [one.p95 / other.p95 for one, other in zip(seen, bare, strict=True)]
            figures[name][kind] = {
                "p50_ms": round(statistics.median(one.p50 for one in seen), 2),
                "p95_ms": round(statistics.median(one.p95 for one in seen), 2),
                "per_second": round(statistics.median(one.per_second for one in seen)),
                "failed": sum(one.failed for one in seen),
                "p95_ratio_to_hello": round(statistics.median(to_hello), 2),
            }
        if len(each) == 2:
            pairs = zip(each["postgresql"], each["sqlite"], strict=True)
            figures[name]["postgresql_to_sqlite"] = round(
                statistics.median(one.p95 / other.p95 for one, other in pairs), 2
            )
        print(f"{name:<18} {figures[name]}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--segments", type=int, default=100, help="of each job")
    parser.add_argument("--asks", type=int, default=100, help="questions to the store itself")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(cluster.server())
        address = server.address(server.database())
        data = {kind: folder / kind for kind in PORTS}
        for place in data.values():
            place.mkdir()
        databases: dict[str, Database] = {
            "sqlite": Sqlite(data["sqlite"] / "hansard.db"),
            "postgresql": Postgres(address),
        }
        longest = {kind: filled(database, given) for kind, database in databases.items()}
        settled(databases["postgresql"])
        asked = store(databases, longest, given.asks)
        for database in databases.values():
            database.close()
        stack.enter_context(hello(folder, PEER))
        for kind, port in PORTS.items():
            more = {"HANSARD_DATABASE": address} if kind == "postgresql" else {}
            stack.enter_context(serving(data[kind], port, "--no-worker", **more))
        addresses = {"hello": {"bare": f"http://127.0.0.1:{PEER}/"}}
        for kind, port in PORTS.items():
            api = f"http://127.0.0.1:{port}/api/v1"
            routes = {
                "health": f"{api}/health",
                "job status": f"{api}/jobs/{longest[kind]}",
                "transcript, 1 h": f"{api}/transcriptions/{longest[kind]}",
                **pages(api, given.jobs),
            }
            for name, route in routes.items():
                addresses.setdefault(name, {})[kind] = route
        figures = levels(addresses, folder, given)
        total = given.jobs * given.segments
        report(
            "postgres_levels",
            {"jobs": given.jobs, "segments": total, "routes": figures, "store_ms": asked},
        )


if __name__ == "__main__":
    main()
