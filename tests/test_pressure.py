"""What is done before memory runs out: the steps, their numbers, and a real control group."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard import headroom, telemetry
from hansard.errors import ShortOfMemory, StoreBusy
from hansard.headroom import Bound, Headroom
from hansard.machine import MemorySettings
from hansard.pressure import AGAIN, EVERY, Pressure, Stage, State, reserves, step

HOLD = 10.0
looks = st.tuples(st.floats(0, 8), st.floats(0, 100), st.floats(0.5, 30))


# ── the steps ────────────────────────────────────────────────────────────────────────────────


def walk(looks: list[tuple[float, float, float]]) -> Iterator[tuple[float, float, State, State]]:
    """Time, reserves left, the state before and after, for each look."""
    state, now = State(), 0.0
    for left, stall, later in looks:
        now += later
        after = step(state, left, stall, now, HOLD)
        yield now, left, state, after
        state = after


@given(st.lists(looks, max_size=40))
def test_stages_come_at_once_and_go_one_by_one_with_time(
    looks: list[tuple[float, float, float]],
) -> None:
    changed = -HOLD
    for now, left, before, after in walk(looks):
        if after.stage < before.stage:
            assert after.stage == before.stage - 1
            assert now - changed >= HOLD, "taken back before it could show what it did"
        if left < 1.0:
            assert after.stage == Stage.REFUSE, "never below the reserve with work being taken"
        if left >= 4.0 * 1.25:
            assert after.stage <= max(before.stage, Stage.BATCHES), "stalls alone refuse nothing"
        if after.stage != before.stage:
            changed = now


@given(st.floats(0, 8), st.floats(0, 8), st.floats(0, 100))
def test_less_memory_is_never_a_lower_stage(a: float, b: float, stall: float) -> None:
    low, high = sorted((a, b))
    assert step(State(), low, stall, 0.0, HOLD).stage >= step(State(), high, stall, 0.0, HOLD).stage


@given(st.lists(st.floats(1.0, 1.249), min_size=1, max_size=50))
def test_around_a_border_nothing_swings(lefts: list[float]) -> None:
    state = step(State(), 0.99, 0.0, 0.0, HOLD)
    for number, left in enumerate(lefts):
        state = step(state, left, 0.0, 60.0 * (number + 1), HOLD)
        assert state.stage == Stage.REFUSE


def test_reserves_are_a_share_of_little_and_a_number_of_bytes_of_much() -> None:
    settings = MemorySettings(share=0.05, reserve=500)
    small, large = Bound("group", 1_000, 100), Bound("system", 1_000_000, 5_000)
    assert reserves(settings, Headroom((small,))) == 2.0
    assert reserves(settings, Headroom((large,))) == 10.0
    assert reserves(settings, Headroom((large, small))) == 2.0, "the tightest counts"


# ── one process ──────────────────────────────────────────────────────────────────────────────


class Machine:
    """Memory in percent of 100 GB, and a clock, as a test wants them."""

    def __init__(self) -> None:
        self.left, self.now, self.reads = 50.0, 0.0, 0

    def read(self) -> Headroom:
        self.reads += 1
        return Headroom((Bound("system", 10_000, int(self.left * 100)),))

    def pressure(self) -> Pressure:
        made = MemorySettings(share=0.05, reserve=10**9, hold=HOLD)
        return Pressure(made, read=self.read, clock=lambda: self.now)

    def goes(self, pressure: Pressure, left: float, seconds: float = EVERY) -> Stage:
        self.left, self.now = left, self.now + seconds
        return pressure.look()


def test_each_stage_is_done_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    machine, done = Machine(), []
    pressure = machine.pressure()
    for stage in (Stage.MODELS, Stage.CACHES):
        pressure.on(stage, lambda stage=stage: done.append(stage))  # type: ignore[misc]
    telemetry.reset()
    with caplog.at_level(logging.WARNING):
        assert machine.goes(pressure, 18.0) == Stage.CACHES
        assert done == [Stage.CACHES]
        assert machine.goes(pressure, 18.0) == Stage.CACHES
        assert done == [Stage.CACHES], "not at each look"
        assert machine.goes(pressure, 3.0) == Stage.REFUSE
        assert done == [Stage.CACHES, Stage.CACHES, Stage.MODELS], "in order, each on the way"
        assert machine.goes(pressure, 3.0, AGAIN) == Stage.REFUSE
        assert done[3:] == [Stage.CACHES, Stage.MODELS], "models become idle later"
    counted = telemetry.snapshot().counters
    assert {name: counted[f"memory.{name}"] for name in ("caches", "models", "batches")} == {
        "caches": 1,
        "models": 1,
        "batches": 1,
    }
    assert [r.message.rpartition(": ")[2] for r in caplog.records] == [
        "Nothing is kept ready.",
        "Idle models are unloaded.",
        "Batches are smaller.",
        "No new work is taken.",
    ]
    assert "No new work is taken." in pressure.sentence()


def test_work_is_refused_and_taken_again() -> None:
    machine = Machine()
    pressure = machine.pressure()
    pressure.see_that_there_is_room()
    assert pressure.batch(8) == 8
    machine.goes(pressure, 9.0)
    assert (pressure.batch(8), pressure.batch(1)) == (4, 1)
    machine.goes(pressure, 1.0)
    assert pressure.batch(8) == 1
    with pytest.raises(ShortOfMemory) as refused:
        pressure.see_that_there_is_room()
    assert (refused.value.status, refused.value.code) == (503, "short_of_memory")
    assert refused.value.retry_after
    stages = [machine.goes(pressure, 90.0, HOLD) for _ in range(9)]
    assert stages[-1] == Stage.CALM
    assert sorted(stages, reverse=True) == stages
    pressure.see_that_there_is_room()


def test_it_reads_once_a_second_however_many_ask() -> None:
    machine = Machine()
    pressure = machine.pressure()
    for _ in range(10):
        machine.goes(pressure, 50.0, EVERY / 10)
    assert machine.reads <= 2


def test_a_relief_that_fails_keeps_none_from_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    machine, done = Machine(), []

    def fails() -> None:
        raise StoreBusy("The store is held.")

    pressure = machine.pressure()
    pressure.on(Stage.CACHES, fails)
    pressure.on(Stage.CACHES, lambda: done.append(1))
    machine.goes(pressure, 18.0)
    assert done == [1]
    assert "The store is held." in caplog.text


def test_it_can_be_turned_off() -> None:
    machine = Machine()
    pressure = Pressure(MemorySettings(watch=False), read=machine.read, clock=lambda: machine.now)
    assert machine.goes(pressure, 0.0) == Stage.CALM
    assert not machine.reads


# ── the numbers ──────────────────────────────────────────────────────────────────────────────

Files = Callable[[dict[str, str]], Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    def write(contents: dict[str, str]) -> Path:
        for name, text in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


SYSTEM = {"proc/meminfo": "MemTotal:       1000 kB\nMemAvailable:    600 kB\n"}
TOP = "sys/fs/cgroup"


def test_a_machine_without_groups(files: Files) -> None:
    seen = headroom.read(files(SYSTEM))
    assert (seen.limit, seen.available, seen.stall) == (1_024_000, 614_400, 0.0)


def test_version_2_with_a_group_above(files: Files) -> None:
    seen = headroom.read(
        files(
            SYSTEM
            | {
                "proc/self/cgroup": "0::/above/own\n",
                f"{TOP}/above/own/memory.max": "max\n",
                f"{TOP}/above/own/memory.high": "500000\n",
                f"{TOP}/above/own/memory.current": "300000\n",
                f"{TOP}/above/own/memory.stat": "anon 1\ninactive_file 50000\n",
                f"{TOP}/above/own/memory.pressure": (
                    "some avg10=40.00 avg60=0.00 avg300=0.00 total=1\n"
                    "full avg10=12.50 avg60=0.00 avg300=0.00 total=1\n"
                ),
                f"{TOP}/above/memory.max": "400000\n",
                f"{TOP}/above/memory.current": "390000\n",
            }
        )
    )
    assert [(one.limit, one.available) for one in seen.bounds[1:]] == [
        (500_000, 250_000),
        (400_000, 10_000),
    ]
    assert (seen.limit, seen.available, seen.stall) == (400_000, 10_000, 12.5)


def test_inside_a_container_only_its_own_group_is_there(files: Files) -> None:
    seen = headroom.read(
        files(
            SYSTEM
            | {
                "proc/self/cgroup": "4:cpu,memory:/docker/0123\n",
                f"{TOP}/memory/memory.limit_in_bytes": "200000\n",
                f"{TOP}/memory/memory.usage_in_bytes": "150000\n",
                f"{TOP}/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 20000\n",
            }
        )
    )
    assert (seen.limit, seen.available) == (200_000, 70_000)


def test_version_1_without_a_limit(files: Files) -> None:
    root = files(
        SYSTEM
        | {
            "proc/self/cgroup": "4:memory:/\n",
            f"{TOP}/memory/memory.limit_in_bytes": "9223372036854771712\n",
            f"{TOP}/memory/memory.usage_in_bytes": "150000\n",
        }
    )
    assert len(headroom.read(root).bounds) == 1


@pytest.mark.parametrize(
    ("contents", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", f"{TOP}/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "2:cpu,cpuacct:/\n",
                f"{TOP}/cpu/cpu.cfs_quota_us": "25000\n",
                f"{TOP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.25,
        ),
        ({"proc/self/cgroup": "0::/\n", f"{TOP}/cpu.max": "max 100000\n"}, None),
    ],
)
def test_processors_are_those_of_the_quota(
    files: Files, contents: dict[str, str], cores: float | None
) -> None:
    whole = len(os.sched_getaffinity(0))
    assert headroom.cores(files(contents)) == (whole if cores is None else cores)


# ── a real control group ─────────────────────────────────────────────────────────────────────

LIMIT = 256 * 2**20

EATER = """
import sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
from hansard.machine import MemorySettings
from hansard.pressure import Pressure, Stage
kept, dropped, clock = [], [], iter(range(10**6))
idle = [bytearray(b"x" * 2**20) for _ in range(40)]
pressure = Pressure(MemorySettings(hold=100.0), clock=lambda: float(next(clock)))
pressure.on(Stage.MODELS, lambda: (dropped.append(len(idle)), idle.clear()))
seen = [pressure.look()]
while not pressure.refuses and len(kept) < 1000:
    kept.append(bytearray(b"x" * 2**20))
    if pressure.look() != seen[-1]:
        seen.append(pressure.stage)
full = len(kept)
kept.clear()
while pressure.look() != Stage.CALM:
    if pressure.stage != seen[-1]:
        seen.append(pressure.stage)
print(full, dropped[0], *(stage.name for stage in seen))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of either version with a limit; skips where none can be made."""
    name = f"hansard-test-{uuid.uuid4().hex[:8]}"
    for top, limit in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        place = top / name
        try:
            place.mkdir()
        except OSError:
            continue
        if not (place / limit).exists():  # not a control group, or without this controller
            place.rmdir()
            continue
        (place / limit).write_text(str(LIMIT))
        try:
            yield place
        finally:
            place.rmdir()
        return
    pytest.skip("no control group can be made here")


def test_nothing_is_killed_in_a_real_group(group: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EATER, str(group)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != -signal.SIGKILL, "it was killed for its memory"
    assert done.returncode == 0, done.stderr
    full, dropped, *stages = done.stdout.split()
    up = ["CALM", "CACHES", "MODELS", "BATCHES", "REFUSE"]
    assert stages == [*up, "BATCHES", "MODELS", "CACHES"]
    assert int(dropped) == 40
    assert 100 <= int(full) <= LIMIT >> 20
