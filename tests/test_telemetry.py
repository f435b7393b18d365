"""Timing, counting, tracing: what one process knows of itself."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import random
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard import logs, telemetry
from hansard.errors import NotFound
from hansard.perf import timed
from hansard.perf.components import COMPONENTS, component_of


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    telemetry.reset()
    yield
    telemetry.follow(None)
    telemetry.reset()


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_percentiles_are_right_to_one_percent(values: list[float], share: float) -> None:
    telemetry.reset()
    for value in values:
        telemetry.record("x", value)
    timing = telemetry.snapshot().timings["x"]
    ranked = sorted(values)
    truth = ranked[max(0, -int(-share * len(ranked) // 1) - 1)]
    assert timing.percentile(share) == pytest.approx(truth, rel=0.0101)
    assert timing.count == len(values)
    assert len(timing.buckets) <= 1300, "the range of floats has only so many"


@given(st.lists(st.tuples(st.booleans(), st.floats(1e-6, 1e3)), max_size=60))
def test_what_came_on_top_and_what_was_there_are_the_whole(
    given_: list[tuple[bool, float]],
) -> None:
    telemetry.reset()
    telemetry.record("x", 1.0)
    for _, seconds in filter(lambda one: not one[0], given_):
        telemetry.record("x", seconds)
    before = telemetry.snapshot().timings["x"]
    for _, seconds in filter(lambda one: one[0], given_):
        telemetry.record("x", seconds)
    whole = telemetry.snapshot().timings["x"]
    again = before.plus(whole.since(before))
    assert (again.count, again.buckets) == (whole.count, whole.buckets)
    assert again.total == pytest.approx(whole.total)
    assert again.longest == pytest.approx(whole.longest)


def test_own_times_add_up_to_the_whole_in_threads_and_coroutines() -> None:
    with telemetry.span("a"), telemetry.span("b"):
        with telemetry.span("c"):
            pass
        with telemetry.span("c"):
            pass
    found = telemetry.snapshot().timings
    assert sum(found[name].own for name in "abc") == pytest.approx(found["a"].total)

    async def slow(name: str) -> None:
        with telemetry.span(name):
            await asyncio.sleep(0.002)

    async def both() -> None:
        with telemetry.span("all"):
            await asyncio.gather(slow("one"), slow("two"))

    asyncio.run(both())
    found = telemetry.snapshot().timings
    assert found["one"].own == pytest.approx(found["one"].total)
    assert 0 <= found["all"].own < found["all"].total


def test_failures_have_a_class_and_names_have_an_end() -> None:
    for error in (NotFound("x"), ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), telemetry.span("stt"):
            raise error
    found = telemetry.snapshot()
    assert found.failures == {"stt": {"not_found": 1, "unexpected": 1, "interrupted": 1}}
    assert found.counters["stt.failed"] == 3
    for number in range(3000):
        telemetry.record(f"stage{number}", 1.0)
        telemetry.count(f"name{number}")
        telemetry.failed(f"stage{number}", "x")
    found = telemetry.snapshot()
    assert len(found.timings) <= 1001
    assert len(found.counters) <= 1002
    assert sum(t.count for name, t in found.timings.items() if name != "stt") == 3000
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=telemetry.Snapshot)
    telemetry.merge(sent)
    assert telemetry.snapshot().failures["stt"]["not_found"] == 2


def test_the_slowest_are_kept_with_their_trace_and_only_these() -> None:
    times = [0.001 * n for n in range(1, 200)]
    random.Random(1).shuffle(times)
    for seconds in times:
        with telemetry.tracing(telemetry.begin(f"job{seconds:.3f}")):
            telemetry.record("stt", seconds)
    found = sorted(telemetry.slowest()["stt"], key=lambda one: -one.seconds)
    assert [one.about for one in found] == ["job0.199", "job0.198", "job0.197"]
    assert all(len(one.trace or "") == 32 for one in found)
    assert telemetry.slowest() == {}


def test_spans_of_a_trace_know_what_they_are_within() -> None:
    told: list[telemetry.Ended] = []
    telemetry.follow(told.append)
    header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    came = telemetry.parsed(header)
    assert came is not None
    assert came.header == header
    with telemetry.tracing(came), telemetry.span("outer"):
        with pytest.raises(NotFound), telemetry.span("inner", also=[telemetry.begin()]):
            raise NotFound("x")
        assert telemetry.traceparent().startswith(f"00-{came.id}-")
    inner, also, outer = told
    assert (outer.parent, inner.parent) == (came.span, outer.trace.span)
    assert inner.trace.id == outer.trace.id == came.id != also.trace.id
    assert (inner.code, outer.code) == ("not_found", None)
    for wrong in (
        None,
        "",
        "00-0-0-01",
        f"00-{'0' * 32}-{'1' * 16}-01",
        header.upper(),
        f"{header}0",
    ):
        assert telemetry.parsed(wrong) is None
    telemetry.follow(told.append, share=0.25)
    sampled = sum(telemetry.begin().sampled for _ in range(400))
    assert 40 < sampled < 160, "about a quarter"


def test_logs_say_which_trace_they_belong_to(capsys: pytest.CaptureFixture[str]) -> None:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    try:
        logs.as_json("worker")
        with telemetry.tracing(telemetry.begin("job1")):
            trace = telemetry.current()
            logging.getLogger("hansard.x").warning("inside")
        logging.getLogger("hansard.x").warning("outside")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    inside, outside = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert trace is not None
    assert (inside["trace"], inside["about"]) == (trace.id, "job1")
    assert "trace" not in outside


def test_other_peoples_code_is_a_stage_among_ours() -> None:
    @timed("insight.topics")
    def plain(number: int) -> int:
        return number + 1

    @timed("insight.topics")
    async def slowly(number: int) -> int:
        await asyncio.sleep(0)
        if number < 0:
            raise NotFound("x")
        return number + 1

    assert plain(1) == asyncio.run(slowly(1)) == 2
    assert (plain.__name__, slowly.__name__) == ("plain", "slowly")
    with pytest.raises(NotFound):
        asyncio.run(slowly(-1))
    with timed("stt"):
        pass
    threads = [threading.Thread(target=plain, args=(1,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = telemetry.snapshot()
    assert {name: timing.count for name, timing in found.timings.items()} == {
        "insight.topics": 7,
        "stt": 1,
    }
    assert found.failures == {"insight.topics": {"not_found": 1}}


def test_every_stage_has_a_component() -> None:
    wanted = {
        "prepare.decode": "decode",
        "prepare.vad": "vad",
        "engine.features": "features",
        "engine.decode": "stt",
        "join": "join",
        "speakers.hear": "diarize",
        "insight.summary": "insight",
        "language_model.call": "llm",
        "embeddings.meeting": "search",
        "api.GET /api/v1/jobs": "api",
        "claim": "queue",
        "unit.listen": "pipeline",
        "no.such.thing": "pipeline",
        **{name: name for name in COMPONENTS},
    }
    assert {stage: component_of(stage) for stage in wanted} == wanted


def test_a_stage_is_slow_on_purpose_where_a_test_says_so() -> None:
    probe = (
        "from hansard import telemetry as t\n"
        "for name in ('a.b', 'c'):\n"
        "  with t.span(name): pass\n"
        "found = t.snapshot().timings\n"
        "print(found['a.b'].total >= 0.02, found['c'].count)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={"HANSARD_TEST_SLOW": "a.b:0.02,x:1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "1"]


def test_who_samples_is_told_what_each_thread_is_in() -> None:
    here = threading.get_ident()
    seen: list[str | None] = []

    def elsewhere() -> None:
        mine = threading.get_ident()
        with telemetry.span("store.put"):  # its context knows of the span around: not its thread
            seen.append(telemetry.stage_of(mine))
        seen.append(telemetry.stage_of(mine))

    with telemetry.span("api.outer"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(elsewhere,))
        thread.start()
        thread.join()
        assert seen == ["store.put", None]
        with telemetry.span("join"):
            assert telemetry.stage_of(here) == "join"
        assert telemetry.stage_of(here) == "api.outer"
    assert telemetry.stage_of(here) is None


def test_coroutines_that_overlap_leave_nothing_behind() -> None:
    async def one(number: int) -> None:
        with telemetry.span(f"api.{number}"):
            await asyncio.sleep(0.0001 * (number % 3))

    async def many() -> None:
        running: list[asyncio.Task[None]] = []
        for number in range(50):
            running.append(asyncio.create_task(one(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*running)

    asyncio.run(many())
    assert telemetry.stage_of(threading.get_ident()) is None
