"""How fast the API answers under load, next to a bare FastAPI route in the same run.

    python bench/api.py [--rounds 3] [--seconds 5] [--jobs 10000]

A hundred connections ask as fast as they are answered (wrk, one thread), first the bare route, then
each of ours, round after round; a ratio is the median of the rounds' ratios of the 95th
percentiles. Both servers are up all the time, each is one uvicorn process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx
from rig import report
from served import Load, fill, hello, serving, wrk

PEER, OURS = 8611, 8612
API = f"http://127.0.0.1:{OURS}/api/v1"


def pages(count: int) -> dict[str, str]:
    """Addresses of the first, the middle and the last page of the list."""
    first = f"{API}/transcriptions?limit=50"
    address, found = first, [first]
    with httpx.Client(trust_env=False) as http:
        while len(found) < count / 50:
            page = http.get(address).raise_for_status().json()
            if not page.get("next"):
                break
            address = str(httpx.URL(first).copy_merge_params({"cursor": page["next"]}))
            found.append(address)
    return {"first page": found[0], "middle page": found[len(found) // 2], "last page": found[-1]}


def measure(addresses: Mapping[str, str], folder: Path, options: argparse.Namespace) -> None:
    loads: dict[str, list[Load]] = {name: [] for name in addresses}
    for turn in range(options.rounds):
        for name, address in addresses.items():
            load = wrk(address, folder=folder, seconds=options.seconds)
            loads[name].append(load)
            print(
                f"  round {turn + 1}  {name:<22} p50 {load.p50:7.1f} ms  p95 {load.p95:7.1f} ms  "
                f"{load.per_second:8.0f}/s  failed {load.failed}",
                flush=True,
            )
    figures = {}
    for name, seen in loads.items():
        ratios = [ours.p95 / bare.p95 for ours, bare in zip(seen, loads["hello"], strict=True)]
        figures[name] = {
            "p50_ms": round(statistics.median(one.p50 for one in seen), 2),
            "p95_ms": round(statistics.median(one.p95 for one in seen), 2),
            "per_second": round(statistics.median(one.per_second for one in seen)),
            "failed": sum(one.failed for one in seen),
            "p95_ratio_to_hello": round(statistics.median(ratios), 2),
        }
        print(f"{name:<22} {figures[name]}")
    report("api", {"connections": 100, "jobs": options.jobs, "routes": figures})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = folder / "data"
        job = fill(data, options.jobs)
        with hello(folder, PEER), serving(data, OURS, "--no-worker"):
            addresses = {
                "hello": f"http://127.0.0.1:{PEER}/",
                "health": f"{API}/health",
                "job status": f"{API}/jobs/{job}",
                "transcript, 1 h": f"{API}/transcriptions/{job}",
                **pages(options.jobs),
            }
            measure(addresses, folder, options)


if __name__ == "__main__":
    main()
