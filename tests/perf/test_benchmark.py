"""The harness on real work, its history in either store, and what became slower, by name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace

from hansard import telemetry
from hansard.config import load
from hansard.errors import NotComparable, NotInThisBuild, NotSupported, UnknownBenchmark
from hansard.perf import benchmark, benchmark_compare, benchmark_pages, benchmark_run
from hansard.perf.benchmark import Component, Result, Trial
from hansard.perf.benchmark_material import Material, material, sample, scratch
from hansard.perf.benchmark_parts import BUILT, ready
from hansard.perf.benchmark_run import Runner, Wanted
from hansard.perf.machine import machine
from hansard.perf.profile_cpu import children_cpu
from hansard.store.database import Database

WORK: dict[Component, int] = {
    "decode": 26_000,
    "vad": 70,
    "diarize": 420,
    "insight": 150_000,
    "search": 19_000,
    "store": 6_600,
    "queue": 21_000,
}
"""Calls of Hansard's functions that one run may take: a fifth above what it took when this was
written. Whoever needs more says so here."""


@pytest.fixture(scope="module")
def heard() -> Iterator[Material]:
    with material(seconds=8) as made:
        yield made


@pytest.mark.parametrize("component", WORK)
def test_no_part_does_more_work_than_it_did(component: Component, heard: Material) -> None:
    with scratch(load()) as own, ready(component, own, heard) as bench:
        bench.run()
        first, second = (benchmark.counted(bench.run) for _ in range(2))
    assert 0 < second <= WORK[component]
    # Counted, not timed: the same each time, but for what is done now and then, like a new bucket.
    assert abs(first - second) <= 10 + 0.02 * first


def made(seconds: list[float], **given: Any) -> Result:
    values: dict[str, Any] = {
        "id": f"r{len(seconds)}{seconds[0]:.6f}",
        "component": "vad",
        "build": "1.0",
        "machine": machine(),
        "created": 1.0,
        "subject": "s",
        "name": "sample",
        "amount": 10.0,
        "unit": "audio",
    }
    found = tuple(Trial(one, one, {"prepare.vad": one * 0.9}) for one in seconds)
    return Result(**{**values, "trials": found, **given})


STEADY = [1.0 + n / 1000 for n in range(10)]


def test_a_stage_slowed_on_purpose_is_named_by_the_comparison() -> None:
    def work(pause: float) -> None:
        with telemetry.span("prepare.vad"):
            time.sleep(0.004 + pause)
        with telemetry.span("engine"):
            time.sleep(0.004)

    sides = benchmark.side_by_side(
        {"before": lambda: work(0.0), "after": lambda: work(0.02)}, rounds=8
    )
    before = made(STEADY)
    found = benchmark_compare.compared(
        replace(before, trials=tuple(sides["before"])),
        replace(before, id="after", trials=tuple(sides["after"])),
        paired=True,
    )
    assert found.slower[:2] == ("whole", "prepare.vad")
    assert found.stages[0].name == "prepare.vad"
    assert "stage prepare.vad: slower" in benchmark_pages.compared([found])


def test_verdicts_go_by_the_numbers() -> None:
    before = made(STEADY)
    slower = benchmark_compare.compared(before, made([s * 1.2 for s in STEADY], id="b"))
    assert slower.slower == ("whole", "prepare.vad")
    faster = benchmark_compare.compared(before, made([s * 0.8 for s in STEADY], id="b"))
    assert faster.seconds.verdict == "faster"
    assert not faster.slower
    same = benchmark_compare.compared(before, made([s + 1e-4 for s in STEADY], id="b"))
    assert "no difference" in benchmark_pages.compared([same])
    few = benchmark_compare.compared(made([1.0]), made([9.0], id="b"))
    assert "too few runs" in benchmark_pages.compared([few])
    for other in ({"subject": "t"}, {"model": "m"}, {"component": "stt"}, {"store": "postgresql"}):
        with pytest.raises(NotComparable):
            benchmark_compare.compared(before, made(STEADY, id="b", **other))
    elsewhere = replace(machine(), cpu="another")
    with pytest.raises(NotComparable, match="machine"):
        benchmark_compare.compared(before, made(STEADY, id="b", machine=elsewhere))


def test_history_finds_what_to_compare_with(database: Database) -> None:
    old, again = made(STEADY, id="a1", build="1.0+aaaa"), made(STEADY, id="a2", build="1.0+aaaa")
    new = made(STEADY, id="b1", build="1.1+bbbb")
    for place, one in enumerate((old, again, new)):
        benchmark_run.keep(database, [replace(one, created=float(place))])
    newest_first = benchmark_run.history(database)
    assert [one.id for one in newest_first] == ["b1", "a2", "a1"]
    assert [(b.id, a.id) for b, a in benchmark_compare.pairs(newest_first)] == [("a2", "b1")]
    chosen = benchmark_run.named(database, "aaaa")
    assert [one.id for one in chosen] == ["a2", "a1"]
    assert benchmark_run.named(database, "a1")[0] == replace(old, created=0.0)
    assert benchmark_compare.pairs(newest_first, chosen[1:])[0][0].id == "a1"
    # One build alone: with the run before.
    assert benchmark_compare.pairs(newest_first[1:])[0][0].id == "a1"
    with pytest.raises(UnknownBenchmark):
        benchmark_compare.pairs([new])


def test_results_are_written_for_people_and_tools() -> None:
    results = [made(STEADY, wer=0.25), made(STEADY, id="b", component="queue", unit="jobs")]
    assert benchmark_pages.from_json(benchmark_pages.as_json(results)) == results
    lines = benchmark_pages.as_csv(results).decode().splitlines()
    assert len(lines) == 1 + 2 * len(STEADY)
    page = benchmark_pages.as_markdown(results).decode()
    assert "RTF 0.1" in page
    assert "25.0%" in page
    drawn = ET.fromstring(benchmark_pages.trend([*results, made(STEADY, id="c")]))
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) == 3


@pytest.mark.parametrize("component", ["tts", "video"])
def test_a_part_that_is_not_built_is_no_stub(component: Component, heard: Material) -> None:
    with scratch(load()) as own, pytest.raises(NotInThisBuild, match=component):
        ready(component, own, heard)
    assert component not in BUILT


def test_a_language_model_is_only_measured_where_there_is_one(heard: Material) -> None:
    with scratch(load()) as own, pytest.raises(NotSupported), ready("llm", own, heard):
        pass


def test_the_sample_is_cut_between_sentences() -> None:
    with material(seconds=8) as short:
        assert short.reference == "Good morning everyone, and thank you for coming."
        assert short.seconds < 8
    with material(sample(), seconds=1) as own:
        assert own.seconds == 1
        assert own.reference is None


# ── two processes ────────────────────────────────────────────────────────────────────────────


def test_a_runner_that_cannot_says_why() -> None:
    here = dict(os.environ)
    with pytest.raises(NotInThisBuild):
        Runner(sys.executable, "video", Wanted(seconds=4), here)
    with pytest.raises(NotComparable, match="it ended"):
        Runner("/bin/false", "vad", Wanted(), here)


def test_the_processes_it_starts_count() -> None:
    def run() -> None:
        subprocess.run([sys.executable, "-c", "sum(range(2_000_000))"], check=True)

    before = children_cpu()
    one = benchmark.trial(run)
    assert one.cpu >= children_cpu() - before > 0
