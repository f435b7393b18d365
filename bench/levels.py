"""Every service level beside what was measured: writes docs/levels.md.

    python bench/levels.py [--users 10] [--duration 60s] [--clip 20] [--iterations 5]
                           [--soak]

One run of `hansard loadtest --scenario mixed` and one of `live`, on `hansard serve` with the
embedded engine and a store of its own, users on the same machine; what that service has measured of
itself meanwhile, which is how levels are watched that no request shows; and one run of
`hansard benchmark`, part by part, with nothing beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rig import ROOT, commit, machine, report
from served import hansard, loadtest, serving

from hansard.config import LevelSettings
from hansard.perf.levels import measure
from hansard.perf.loadtest_figures import Result, Verdict, unit_of
from hansard.perf.loadtest_page import allowed, amount, readable
from hansard.store.rollup import HOUR
from hansard.store.sqlite import Sqlite

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
_GROWTH = "The service's processes meanwhile, all together (`--soak`):"
_OWN = (
    "The same run by the service's own measure, from the first byte of a request that was read to "
    "the last that was written, and of its jobs: what `hansard performance` watches, and what an "
    "alert is about."
)
_PARTS = "`hansard benchmark` with the embedded default, nothing else running."
NOTICE = "<!-- Written by bench/levels.py from one run. Measure again, do not edit. -->"


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


def grown(result: Result) -> list[str]:
    lines = ["| | once settled | at the end | an hour | allowed | |", "| --- " * 6 + "|"]
    for one in result.growth:
        figures = (one.start, one.end, one.an_hour, one.allowed)
        said = " | ".join(amount(one.what, figure) for figure in figures)
        lines.append(f"| {one.what} | {said} | {one.verdict} |")
    return lines


def watched(data: Path) -> list[str]:
    """Every level, as the service that kept its store here has measured it."""
    database = Sqlite(data / "hansard.db")
    found = measure(database, LevelSettings(), seconds=HOUR, now=time.time())
    database.close()
    lines = ["| level | | measured | of | beyond it | |", "| --- " * 6 + "|"]
    for one in found:
        unit = unit_of(one.name)
        held = "" if not one.count else "**missed**" if one.burn > 1.0 else "held"
        share = 100 * one.broken / one.count if one.count else 0.0
        lines.append(
            f"| {one.name} | p{100 * one.objective:.0f} < {readable(one.bound, unit)} "
            f"| {readable(one.attained, unit)} | {one.count} | {share:.2f} % | {held} |"
        )
    return lines


def benchmarked(iterations: int) -> str:
    """One run of `hansard benchmark`, as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.md"
        hansard(
            *("benchmark", "run", "--data", folder, "--iterations", str(iterations)),
            *("--format", "md", "--output", str(page)),
        )
        return page.read_text("utf-8").strip()


def written(mixed: Result, live: Result, own: list[str], options: argparse.Namespace) -> str:
    where = machine()
    how = (
        f"`python bench/levels.py {' '.join(sys.argv[1:])}` at commit {commit()}: "
        "`hansard serve` as it comes (SQLite, the embedded engine, one worker), the rate limit "
        f"off. {where['cpu']}, {where['cores']} "
        f"cores, Python {where['python']}; users and service on the same machine. "
        f"{options.users} users, {mixed.order.think:g} s of thinking, recordings of "
        f"{options.clip} s; {mixed.seconds:.0f} s measured."
    )
    parts = [NOTICE, "# Service levels, measured", how, mixed.measured]
    parts += ["\n".join(levels(mixed)), _EXPLAINED]
    parts += ["Without a level:", "\n".join(others(mixed, ("list", "transcript")))]
    if mixed.growth:
        parts += [_GROWTH, "\n".join(grown(mixed))]
    parts += [_LIVE, "\n".join(others(live, ("live start", "live final", "live done")))]
    parts += [f"Note: {note}" for note in (*mixed.notes, *live.notes)]
    parts += ["## As the service measured itself", _OWN, "\n".join(own)]
    if options.iterations:
        parts += ["## Part by part", _PARTS, benchmarked(options.iterations)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--duration", default="60s")
    parser.add_argument("--clip", type=int, default=20)
    parser.add_argument("--soak", action="store_true", help="watch for growth, too")
    parser.add_argument("--iterations", type=int, default=5, help="of the benchmark; 0: none")
    options = parser.parse_args()
    words = ("--model", "sphinx", "--clip", str(options.clip))
    with tempfile.TemporaryDirectory() as place:
        with serving(Path(place), PORT) as service:
            lasting = ["--users", str(options.users), "--duration", options.duration]
            lasting += ["--soak", "--pid", str(service.pid)] if options.soak else []
            mixed = loadtest(PORT, "mixed", *words, *lasting)
            live = loadtest(PORT, "live", *words, "--users", "2", "--requests", "4")
        own = watched(Path(place))
    PAGE.write_text(written(mixed, live, own, options), "utf-8")
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
