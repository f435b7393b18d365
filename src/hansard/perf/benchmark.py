"""The harness: one piece of work, done again and again, and what each time took.

A *trial* is one run: its seconds, its processor time with that of the processes it has started,
and the seconds of each stage of ``telemetry``. What costs time itself is looked at in runs of
their own that are not timed: the peak of memory, and how many functions of Hansard are called,
which is the same on every machine and at any load.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import msgspec

from hansard import telemetry
from hansard.model import Value
from hansard.perf.intervals import Interval, interval
from hansard.perf.machine import Machine
from hansard.perf.profile_cpu import children_cpu

Component = Literal[
    "pipeline",
    "decode",
    "vad",
    "stt",
    "diarize",
    "insight",
    "llm",
    "search",
    "store",
    "queue",
    "api",
    "tts",
    "video",
]

_OURS = str(Path(__file__).resolve().parents[1])
_PEEK = 0.02
"""Seconds between two looks at the memory."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A piece of work that is ready to be measured."""

    run: Callable[[], None]
    """Does the whole of it once."""
    amount: float = 1.0
    unit: str = "run"
    """What is done in one run: so many seconds of ``audio``, ``jobs``, ``searches``."""
    model: str | None = None
    wer: Callable[[], float | None] = lambda: None
    """The word error rate of the last run, where a reference is known."""


class Trial(Value, frozen=True):
    """One run. Seconds."""

    seconds: float
    cpu: float
    stages: dict[str, float] = msgspec.field(default_factory=dict)


class Result(Value, frozen=True):
    """A component on a machine, measured."""

    id: str
    component: Component
    build: str
    machine: Machine
    created: float
    subject: str
    """What it was done to: the SHA-256 of the audio, and how much of it."""
    name: str
    """The same for people."""
    amount: float
    unit: str
    trials: tuple[Trial, ...]
    memory: int = 0
    """Bytes at the peak, of this process and those it had started."""
    calls: int = 0
    """Functions of Hansard called in one run, in this process."""
    model: str | None = None
    wer: float | None = None
    store: str = "sqlite"

    @property
    def seconds(self) -> Interval:
        """Of one run."""
        return interval([one.seconds for one in self.trials])

    @property
    def cpu(self) -> Interval:
        """Seconds on a processor of one run."""
        return interval([one.cpu for one in self.trials])

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of audio."""
        return self.seconds.median / self.amount if self.unit == "audio" else None

    def stage(self, name: str) -> list[float]:
        """Seconds of one stage, run by run."""
        return [one.stages.get(name, 0.0) for one in self.trials]

    @property
    def stages(self) -> list[str]:
        """Every stage there was, the one with the most time first."""
        names = {name for one in self.trials for name in one.stages}
        return sorted(names, key=lambda name: (-sum(self.stage(name)), name))


def trial(work: Callable[[], None]) -> Trial:
    """Do it once and say what it took."""
    gc.collect()
    before = _totals()
    cpu = time.process_time() + children_cpu()
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    spent = time.process_time() + children_cpu() - cpu
    after = _totals()
    stages = {
        name: total - before.get(name, 0.0)
        for name, total in after.items()
        if total > before.get(name, 0.0)
    }
    return Trial(seconds, max(0.0, spent), stages)


def trials(
    work: Callable[[], None],
    *,
    iterations: int,
    warmup: int = 1,
    say: Callable[[int, Trial], None] = lambda _n, _trial: None,
) -> tuple[Trial, ...]:
    """Do it ``warmup`` times for nothing, then ``iterations`` times that count."""
    for _ in range(warmup):
        work()
    found = []
    for number in range(iterations):
        found.append(trial(work))
        say(number + 1, found[-1])
    return tuple(found)


def side_by_side(
    alternatives: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warmup: int = 1,
    say: Callable[[int, str, Trial], None] = lambda _n, _name, _trial: None,
) -> dict[str, list[Trial]]:
    """Runs of several alternatives, interleaved, so that what drifts drifts under all of them.

    The order turns round with every round: who comes first is sometimes at a disadvantage.
    """
    found: dict[str, list[Trial]] = {name: [] for name in alternatives}
    for number in range(warmup + rounds):
        order = list(alternatives.items())
        for name, work in order if number % 2 == 0 else reversed(order):
            one = trial(partial(_once, work))
            say(number - warmup + 1, name, one)
            if number >= warmup:
                found[name].append(one)
    return found


def peak_memory(work: Callable[[], None]) -> int:
    """Bytes at the peak while it is done once, of this process and those below it."""
    import psutil

    over = threading.Event()
    found = [0]
    process = psutil.Process()

    def look() -> None:
        while True:
            held = process.memory_info().rss
            for child in process.children(recursive=True):
                with suppress(psutil.Error):
                    held += child.memory_info().rss
            found[0] = max(found[0], held)
            if over.wait(_PEEK):
                return

    thread = threading.Thread(target=look, name="hansard-memory", daemon=True)
    thread.start()
    try:
        work()
    finally:
        over.set()
        thread.join()
    return found[0]


def counted(work: Callable[[], None]) -> int:
    """Calls of Hansard's own functions while it is done once, in threads it starts as well.

    Generators count each time they are resumed. Libraries do not: their versions differ.
    """
    lock = threading.Lock()
    found = [0]

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_OURS):
            with lock:
                found[0] += 1

    before = sys.getprofile()
    threading.setprofile(see)
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return found[0]


def _once(work: Callable[[], Any]) -> None:
    work()


def _totals() -> dict[str, float]:
    return {stage: timing.total for stage, timing in telemetry.snapshot().timings.items()}
