"""Every service level beside what was measured: writes docs/levels.md.

    python bench/levels.py [--users 10] [--duration 60s] [--clip 20] [--benchmark FILE]

One run of `hansard loadtest --scenario mixed` and one of `live`, on `hansard serve` with the
embedded engine and a store of its own, users on the same machine. ``--benchmark`` adds the figures
of `hansard benchmark --format json`: they stand beside the levels that no request shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from rig import ROOT, commit, machine, report
from served import serving

from hansard.perf.loadtest_figures import Result, Verdict
from hansard.perf.loadtest_page import allowed, readable

PORT = 8616
PAGE = ROOT / "docs" / "levels.md"
_EXPLAINED = (
    "`findings` is sentiment and summary together, from the end of a transcription to the end of "
    "what follows it. Beyond it: the share of requests above the limit, with its interval at a "
    "confidence of 95 %."
)
_LIVE = (
    "Live, two at a time (`live final`: from the end of speech to its words; `live done`: from the "
    "end of the session to the whole transcript):"
)
NOTICE = "<!-- Written by bench/levels.py from one run. Measure again, do not edit. -->"


def loadtest(scenario: str, *words: str) -> Result:
    """One load test, by the command that users have."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hansard", "loadtest", "--scenario", scenario, "--json"),
            *("--url", f"http://127.0.0.1:{PORT}", *words),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])},
    )
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    return msgspec.json.decode(done.stdout, type=Result)


def levels(result: Result) -> list[str]:
    lines = ["| operation | level | measured | requests | beyond it | |", "| --- " * 6 + "|"]
    for one in result.verdicts:
        held = "held" if one.holds else "**missed**"
        sure = "" if one.sure else ", too few to be sure"
        lines.append(
            f"| {one.operation} | {allowed(one)} | {readable(one.measured, one.unit)} "
            f"| {one.requests} | {100 * one.over:.2f} % ({100 * one.low:.2f} to "
            f"{100 * one.high:.2f}) | {held}{sure} |"
        )
    return lines


def others(result: Result, names: tuple[str, ...]) -> list[str]:
    lines = ["| operation | requests | failed | p50 | p95 | longest |", "| --- " * 6 + "|"]
    for one in result.operations:
        if one.name in names:
            times = " | ".join(readable(x, "s") for x in (one.p50, one.p95, one.longest))
            lines.append(f"| {one.name} | {one.requests} | {one.failed} | {times} |")
    return lines


def benchmarked(path: Path) -> list[str]:
    """The rows of a benchmark: name, median, interval."""
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    fields = list(dict.fromkeys(name for row in found for name in row))
    lines = [f"| {' | '.join(fields)} |", "| --- " * len(fields) + "|"]
    return [*lines, *(f"| {' | '.join(str(r.get(f, '')) for f in fields)} |" for r in found)]


def written(mixed: Result, live: Result, options: argparse.Namespace) -> str:
    where = machine()
    how = (
        f"`python bench/levels.py --users {options.users} --duration {options.duration} "
        f"--clip {options.clip}` at commit {commit()}: `hansard serve` as it comes (SQLite, the "
        f"embedded engine, one worker), the rate limit off. {where['cpu']}, {where['cores']} "
        f"cores, Python {where['python']}; users and service on the same machine. "
        f"{options.users} users, {mixed.order.think:g} s of thinking, recordings of "
        f"{options.clip} s; {mixed.seconds:.0f} s measured."
    )
    parts = [NOTICE, "# Service levels, measured", how, mixed.measured]
    parts += ["\n".join(levels(mixed)), _EXPLAINED]
    parts += ["Without a level:", "\n".join(others(mixed, ("list", "transcript")))]
    parts += [_LIVE, "\n".join(others(live, ("live start", "live final", "live done")))]
    parts += [f"Note: {note}" for note in (*mixed.notes, *live.notes)]
    if options.benchmark:
        parts += ["## Benchmarks", "\n".join(benchmarked(options.benchmark))]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--duration", default="60s")
    parser.add_argument("--clip", type=int, default=20)
    parser.add_argument("--benchmark", type=Path)
    options = parser.parse_args()
    words = ("--model", "sphinx", "--clip", str(options.clip))
    with tempfile.TemporaryDirectory() as place, serving(Path(place), PORT):
        lasting = ("--users", str(options.users), "--duration", options.duration)
        mixed = loadtest("mixed", *words, *lasting)
        live = loadtest("live", *words, "--users", "2", "--requests", "4")
    PAGE.write_text(written(mixed, live, options), "utf-8")
    report("levels", {"levels": {one.operation: _short(one) for one in mixed.verdicts}})


def _short(verdict: Verdict) -> dict[str, Any]:
    return {
        "measured": round(verdict.measured, 4),
        "limit": verdict.limit,
        "requests": verdict.requests,
        "holds": verdict.holds,
        "sure": verdict.sure,
    }


if __name__ == "__main__":
    main()
