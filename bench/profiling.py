"""What it costs to be profiled, and what it costs that one could be.

    python bench/profiling.py [--rounds 10] [--times 5]

The work is all that insight finds in a meeting of 300 segments, so many times: pure Python on one
thread, which is what a sampler disturbs most. Beside the plain run stand: the same while this
process takes part (a thread that looks twice a second whether somebody asks), while it is sampled,
with memray, and under pyinstrument where it is installed. Printed are ratios of neighbouring runs
with 95 % intervals. Targets: taking part below 1.01, sampling below 1.05.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

from rig import report, side_by_side

from hansard.config import load
from hansard.perf import intervals
from hansard.perf.benchmark_material import material
from hansard.perf.benchmark_parts import ready
from hansard.perf.profile_cpu import Sampler
from hansard.perf.profile_crew import taking_part
from hansard.perf.profile_memory import Tracer


def under_pyinstrument(work: Callable[[], None]) -> Callable[[], None]:
    profiler = importlib.import_module("pyinstrument")

    def run() -> None:
        with profiler.Profiler(interval=0.01):
            work()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--times", type=int, default=5, help="the work, in one run")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        material(seconds=4) as heard,
        ready("insight", load(), heard) as bench,
    ):

        def plain() -> None:
            for _ in range(asked.times):
                bench.run()

        def part() -> None:
            with taking_part(Path(folder), "bench"):
                plain()

        def sampled() -> None:
            with Sampler("bench"):
                plain()

        def traced() -> None:
            with Tracer("bench"):
                plain()

        alternatives = {"plain": plain, "takes part": part, "sampled": sampled, "memray": traced}
        if importlib.util.find_spec("pyinstrument") is not None:
            alternatives["pyinstrument"] = under_pyinstrument(plain)
        seconds = side_by_side(alternatives, rounds=asked.rounds)
    ratios = {
        name: intervals.contrast(seconds["plain"], runs, paired=True)
        for name, runs in seconds.items()
        if name != "plain"
    }
    report(
        "profiling",
        {
            "rounds": asked.rounds,
            "median_seconds": round(intervals.interval(seconds["plain"]).median, 3),
            "ratio": {
                name: [round(one.ratio, 3), round(one.low, 3), round(one.high, 3)]
                for name, one in ratios.items()
            },
            "takes_part_within_1.01": ratios["takes part"].ratio < 1.01,
            "sampled_within_1.05": ratios["sampled"].ratio < 1.05,
        },
    )


if __name__ == "__main__":
    main()
