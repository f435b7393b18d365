"""A hundred users at once, mixed, while the service transcribes: errors, and how long reads take.

    python bench/mixed.py [--users 100] [--minutes 5] [--model sphinx]

The users are those of `hansard loadtest --scenario mixed`: they upload recordings of two seconds,
poll their jobs, read, search and walk the list of a store with two thousand transcriptions. Reads
are everything but uploads. The load and the service share this machine's cores, which makes the
figures worse than a client elsewhere sees.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from rig import report
from served import fill, loadtest, serving

from hansard.perf.loadtest_figures import Result
from hansard.telemetry import Timing

PORT = 8614
READS = ("health", "status", "transcript", "meeting", "list", "search")


def figures(found: Result) -> dict[str, Any]:
    reads = Timing(0, 0.0, 0.0, {}, 0.0)
    for moment in found.moments:
        for name, timing in moment.timings.items():
            if name in READS and not moment.warm:
                reads = reads.plus(timing)
    return {
        "reads_p50_ms": round(1000 * reads.percentile(0.5), 1),
        "reads_p95_ms": round(1000 * reads.percentile(0.95), 1),
        "reads": reads.count,
        "failed": sum(one.failed for one in found.operations),
        "by_kind": {
            one.name: {
                "requests": one.requests,
                "failed": dict(one.failures),
                "p50_ms": round(1000 * one.p50, 1),
                "p95_ms": round(1000 * one.p95, 1),
            }
            for one in found.operations
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--model", default="sphinx")
    parser.add_argument("--jobs", type=int, default=2_000)
    options = parser.parse_args()
    words = ("--model", options.model, "--clip", "2", "--users", str(options.users))
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place), options.jobs)
        # Nobody waits for these: the queue takes what comes, as it would with a slow engine.
        roomy = {"HANSARD_QUEUE__CAPACITY": "1000000", "HANSARD_SERVE__UPLOADS": "100"}
        with serving(Path(place), PORT, **roomy):
            found = loadtest(PORT, "mixed", *words, "--duration", f"{60 * options.minutes:.0f}s")
    report("mixed", {"users": options.users, "minutes": options.minutes, **figures(found)})


if __name__ == "__main__":
    main()
