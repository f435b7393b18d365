"""What it costs to count requests in the store: the same service without a rate, and with one.

    python bench/buckets.py [--rounds 5] [--seconds 3] [--server postgresql://…]

Three services, each a process of its own: two over one PostgreSQL, of which one counts requests
over all processes that share the database and the other none, and one over SQLite that counts in
memory. A hundred connections ask each in turn. The rate is higher than what is reached, so nothing
is refused. Also printed: how long the store takes to give one portion, to one who asks and to eight
threads that want the same bucket.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa
from rig import report
from served import Load, serving, wrk

from hansard.api.portions import Alone, Limiter, Portions
from hansard.store import buckets
from hansard.store.postgres import Postgres

PORTS = {"uncounted": 8631, "in the store": 8632, "in memory": 8633}
ROUTES = {"languages": "/api/v1/languages", "list of jobs": "/api/v1/jobs"}
DRAWS = 1000
BATCH = 200


@contextmanager
def fresh(server: str) -> Iterator[str]:
    """The address of a database of its own."""
    name = f"hansard_bench_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def draws(address: str) -> dict[str, float]:
    """Milliseconds of taking from a bucket: alone, and with seven others at the same one."""
    database = Postgres(address)

    def draw(_: int) -> float:
        begun = time.perf_counter()
        buckets.take(database, "bench", 1, rate=1e6, burst=1e6)
        return time.perf_counter() - begun

    draw(0)
    alone = [draw(number) for number in range(DRAWS)]
    with ThreadPoolExecutor(8) as crowd:
        together = list(crowd.map(draw, range(DRAWS)))
    database.close()
    return {
        "alone_ms": round(statistics.median(alone) * 1000, 2),
        "of_eight_ms": round(statistics.median(together) * 1000, 2),
    }


def decisions(address: str) -> dict[str, float]:
    """Microseconds of one decision on the event loop, medians of batches taken in turn."""
    database = Postgres(address)

    async def measure() -> dict[str, float]:
        ways: dict[str, Limiter] = {"in memory": Alone(), "in the store": Portions(database)}
        batches: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(50):
            for name, way in ways.items():
                begun = time.perf_counter()
                for _ in range(BATCH):
                    await way.take("bench", 20_000.0, 40_000)
                batches[name].append((time.perf_counter() - begun) / BATCH * 1e6)
        for way in ways.values():
            await way.close()
        return {name: round(statistics.median(each), 2) for name, each in batches.items()}

    found = asyncio.run(measure())
    database.close()
    return found


def figures(seen: list[dict[str, Load]]) -> dict[str, float]:
    """Medians over rounds; ratios are of runs that stood next to each other."""
    found: dict[str, float] = {
        name: round(statistics.median(turn[name].per_second for turn in seen)) for name in PORTS
    }
    for other in ("uncounted", "in memory"):
        for what in ("per_second", "p50", "p95"):
            ratio = (
                getattr(turn["in the store"], what) / getattr(turn[other], what) for turn in seen
            )
            found[f"{what}_to_{other}"] = round(statistics.median(ratio), 3)
    return found | {"failed": sum(load.failed for turn in seen for load in turn.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--server", default="postgresql://postgres@127.0.0.1:5432/postgres")
    options = parser.parse_args()
    seen: dict[str, list[dict[str, Load]]] = {name: [] for name in ROUTES}
    with tempfile.TemporaryDirectory() as place, fresh(options.server) as address:
        folder = Path(place)
        Postgres(address).close()
        store = {"HANSARD_DATABASE": address}
        rate = {"HANSARD_SERVE__RATE": "1200000", "HANSARD_SERVE__BURST": "40000"}
        none = dict.fromkeys(rate, "")
        variables = {"uncounted": store | none, "in the store": store | rate, "in memory": rate}
        with ExitStack() as stack:
            for name, port in PORTS.items():
                stack.enter_context(serving(folder / name, port, "--no-worker", **variables[name]))
            for turn in range(options.rounds):
                for what, route in ROUTES.items():
                    loads = {
                        name: wrk(
                            f"http://127.0.0.1:{port}{route}",
                            folder=folder,
                            seconds=options.seconds,
                        )
                        for name, port in PORTS.items()
                    }
                    seen[what].append(loads)
                    said = {name: round(load.per_second) for name, load in loads.items()}
                    print(f"  round {turn + 1}  {what:<14} {said}", flush=True)
        report(
            "buckets",
            {
                "connections": 100,
                "routes": {name: figures(loads) for name, loads in seen.items()},
                "decision_us": decisions(address),
                "draw": draws(address),
            },
        )


if __name__ == "__main__":
    main()
