"""What is found in this process: threads, stages, stalls, allocations; and what has grown."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard import telemetry
from hansard.errors import (
    MissingPart,
    NotComparable,
    NothingToProfile,
    ProfileBusy,
    ProfileRefused,
)
from hansard.perf import profile_diff, profile_pages
from hansard.perf.profile import NO_STAGE, STACKS, Capture, Stack, compacted, room, summary
from hansard.perf.profile_cpu import Sampler
from hansard.perf.profile_crew import Asking, taking_part
from hansard.perf.profile_memory import Tracer
from hansard.perf.profile_native import look_into


def a_stage_that_waits(held: threading.Event) -> None:
    with telemetry.span("engine.decode"):
        held.wait()


def test_every_thread_is_seen_in_its_stage_also_while_it_waits() -> None:
    held = threading.Event()
    threads = [threading.Thread(target=a_stage_that_waits, args=(held,)) for _ in range(2)]
    idle = threading.Thread(target=held.wait, name="idle")
    with Sampler("test 1") as sampler:
        for thread in (*threads, idle):
            thread.start()
        while sampler._looks < 12:
            time.sleep(0.005)
        held.set()
        for thread in (*threads, idle):
            thread.join()
    assert sampler.capture is not None
    found = summary([sampler.capture])
    assert found.stages[0].name == "engine.decode"
    assert found.components[0].name == "stt"
    assert len({s.thread for s in sampler.capture.stacks if s.stage}) == 2
    if sys.platform == "linux":
        assert not [s for s in sampler.capture.stacks if s.thread == "idle" and s.samples > 2]
    inside = [stack for stack in sampler.capture.stacks if stack.stage]
    assert all(any("a_stage_that_waits" in frame for frame in s.frames) for s in inside)


def blocks_the_loop(until: threading.Event) -> None:
    until.wait()


def test_a_stalled_event_loop_is_told_with_its_stack() -> None:
    async def serve() -> Capture:
        freed = threading.Event()
        with Sampler("api 1", loop=asyncio.get_running_loop()) as sampler:
            await asyncio.sleep(0.03)
            assert sampler._beat is not None
            beat = sampler._beat

            def free() -> None:  # once it was seen several times
                while sum(beat._seen.values()) < 3:
                    time.sleep(0.005)
                freed.set()

            thread = threading.Thread(target=free)
            thread.start()
            blocks_the_loop(freed)
            thread.join()
            while not beat._found:  # noqa: ASYNC110 it is found by another thread
                await asyncio.sleep(0.005)
        assert sampler.capture is not None
        return sampler.capture

    stalls = asyncio.run(serve()).stalls
    assert stalls[0].seconds >= 0.05
    assert any("blocks_the_loop" in frame for frame in stalls[0].frames)
    said = profile_pages.table(summary([Capture("cpu", "api 1", 1.0, stalls=stalls)]))
    assert "blocks_the_loop" in said


def test_memory_is_told_by_line_with_what_was_not_freed() -> None:
    with Tracer("test 1") as tracer:
        kept = [bytearray(300_000) for _ in range(10)]
        gone = [bytearray(200_000) for _ in range(10)]
        del gone
        with pytest.raises(ProfileBusy), Tracer("test 2"):
            pass
    assert tracer.capture is not None
    assert tracer.capture.peak >= 5_000_000
    stacks = [s for s in tracer.capture.stacks if "test_profile.py" in s.frames[-1]]
    most, less = sorted(stacks, key=lambda one: -one.amount)[:2]
    assert most.amount >= sum(map(len, kept))
    assert most.part >= 3_000_000
    assert less.amount >= 2_000_000
    assert less.part == 0


def test_another_process_is_looked_into_from_outside() -> None:
    code = "def turns():\n while True: sum(range(1000))\nturns()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            found = look_into(process.pid, 1.0)
        except (MissingPart, ProfileRefused) as error:
            pytest.skip(f"py-spy: {error.message}")
        finally:
            process.kill()
    assert any("turns" in spot.function for spot in summary([found]).spots)
    with pytest.raises(NothingToProfile, match="no process"):
        look_into(process.pid, 1.0)


# ── several processes ────────────────────────────────────────────────────────────────────────


def test_who_takes_part_is_asked_and_one_asks_at_a_time(tmp_path: Path) -> None:
    with Asking(tmp_path, "cpu", 0.1) as first:
        with pytest.raises(ProfileBusy):
            Asking(tmp_path, "cpu", 0.1)
        with pytest.raises(NothingToProfile, match="took part"):
            first.gather()
    with taking_part(tmp_path, "worker"), Asking(tmp_path, "cpu", 0.2) as asking:
        (found,) = asking.gather()
    assert found.process.startswith("worker ")
    assert found.looks
    assert sorted(path.name for path in (tmp_path / "profiling").iterdir()) == ["lock"]


def test_a_process_that_dies_in_the_middle_is_told(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    with taking_part(tmp_path, "worker"), Asking(tmp_path, "cpu", 0.2) as asking:
        folder = tmp_path / "profiling"

        def dies() -> None:
            while not (asked := list(folder.glob("*.ask"))):
                time.sleep(0.005)
            (folder / f"{asked[0].stem}.api-{gone.pid}.begun").touch()

        thread = threading.Thread(target=dies)
        thread.start()
        found = asking.gather()
        thread.join()
    assert [one.failure is None for one in found] == [False, True]
    assert f"api {gone.pid}: It ended" in profile_pages.table(summary(found))


# ── values and pages ─────────────────────────────────────────────────────────────────────────

frames = st.lists(
    st.sampled_from(
        ["f (hansard/audio/vad.py:3)", "g (hansard/store/files.py:9)", "h (numpy/core.py:1)", "x"]
    ),
    max_size=5,
).map(tuple)
stacks = st.builds(
    Stack,
    st.sampled_from(["", "main"]),
    st.sampled_from(["", "engine", "prepare.vad"]),
    frames,
    st.integers(1, 50),
    st.floats(0.01, 10),
)


@given(st.lists(stacks, max_size=20))
def test_shares_and_pages_add_up(found: list[Stack]) -> None:
    capture = Capture("cpu", "worker 7", 3.0, tuple(found))
    said = summary([capture])
    total = sum(stack.amount for stack in found)
    for shares in (said.components, said.stages, said.rooms):
        assert sum(one.amount for one in shares) == pytest.approx(total)
        assert not shares or sum(one.share for one in shares) == pytest.approx(1)
    assert all(spot.own <= spot.total + 1e-9 for spot in said.spots)
    scope = msgspec.json.decode(profile_pages.speedscope([capture], "t"))
    names = scope["shared"]["frames"]
    assert sum(sum(p["weights"]) for p in scope["profiles"]) == pytest.approx(total)
    assert all(0 <= i < len(names) for p in scope["profiles"] for s in p["samples"] for i in s)
    assert profile_pages.table(said)


def test_a_flame_graph_loads_nothing_and_runs_nothing_of_strangers() -> None:
    evil = "</script><script>alert(1)</script> (x.py:1)"
    capture = Capture("cpu", "process 1", 1.0, (Stack("", "", (evil,), 1, 1.0),))
    page = profile_pages.flame_graph([capture], "a <b>title</b>").decode()
    assert page.count("</script>") == 1
    assert "http" not in page
    assert "/*DATA*/" not in page


def test_what_is_rare_is_one_stack() -> None:
    many = [Stack("", "", (f"f{n} (x.py:{n})",), 1, float(n)) for n in range(STACKS + 10)]
    kept = compacted(many)
    assert len(kept) == STACKS + 1
    assert sum(one.amount for one in kept) == sum(one.amount for one in many)
    assert kept[-1].samples == 10


def test_a_room_is_the_innermost_of_ours() -> None:
    stack = Stack(
        "", "", ("a (hansard/wiring.py:1)", "b (hansard/speech/x.py:2)", "c (n.py:3)"), 1, 1
    )
    assert room(stack) == "speech"
    assert room(Stack("", "", ("a (hansard/wiring.py:1)",), 1, 1)) == "wiring"
    assert room(Stack("", "", ("c (n.py:3)",), 1, 1)) == "outside"


# ── what has grown ───────────────────────────────────────────────────────────────────────────


def taken(seconds: float, **looks: int) -> Capture:
    made = (
        Stack("w", stage.replace("_", "."), (f"f (hansard/{stage}.py:{n})",), n, n * 0.01)
        for stage, n in looks.items()
    )
    return Capture("cpu", "command 1", seconds, tuple(made))


def test_what_grew_is_named_and_chance_is_not() -> None:
    found = profile_diff.difference(
        [taken(3, engine=200, prepare_vad=100)], [taken(4, engine=310, prepare_vad=104)]
    )
    assert {(one.what, one.name) for one in found.grown} >= {
        ("stage", "engine"),
        ("component", "stt"),
        ("function", "f (hansard/engine.py)"),
    }
    assert not any("vad" in one.name for one in found.grown)
    assert "engine" in profile_diff.table(found)
    again = profile_diff.difference([taken(3, engine=200)], [taken(3, engine=210)])
    assert not again.grown
    assert "Nothing has surely grown" in profile_diff.table(again)


def test_of_a_service_what_counts_is_time_in_time() -> None:
    short, long = [taken(10, engine=300)], [taken(20, engine=600)]
    assert not profile_diff.difference(short, long, whole=False).grown
    assert profile_diff.difference(short, long).grown


def test_time_and_memory_are_not_compared() -> None:
    with pytest.raises(NotComparable):
        profile_diff.difference([taken(1, engine=1)], [Capture("memory", "x", 1.0)])
    old = Capture("memory", "x", 1.0, (Stack("", "", ("f (x.py:1)",), 1, 1e6),))
    new = Capture("memory", "x", 1.0, (Stack("", "", ("f (x.py:9)",), 1, 3e6),))
    grown = profile_diff.difference([old], [new]).grown
    assert ("function", "f (x.py)") in {(one.what, one.name) for one in grown}
    assert {one.name for one in grown} >= {NO_STAGE}
