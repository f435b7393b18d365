"""Measuring components: in this process, or in processes of two builds that take turns.

A *runner* is a process that has made a component ready and does it once for each line ``run`` on
its standard input; its answers are lines of JSON. Two runners of two builds alternate, ABBA, so
that whatever the machine does meanwhile is done to both.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec
from msgspec.structs import replace

from hansard.errors import HansardError, NotComparable, from_failure
from hansard.model import Failure, Value
from hansard.perf import benchmark
from hansard.perf.benchmark import Bench, Component, Result, Trial
from hansard.perf.benchmark_material import Material, material, scratch
from hansard.perf.benchmark_parts import ready
from hansard.perf.machine import build, machine
from hansard.store import benchmarks
from hansard.store.ids import new_id
from hansard.store.stored import as_json

if TYPE_CHECKING:
    from hansard.config import Settings
    from hansard.store.database import Database


class Wanted(Value, frozen=True):
    """What is measured, and on what."""

    audio: str | None = None
    """Path of a recording; the sample where there is none."""
    reference: str | None = None
    seconds: float | None = None
    model: str | None = None

    def words(self) -> list[str]:
        """The same as options of ``hansard benchmark``."""
        named = {
            "--audio": self.audio,
            "--reference": self.reference,
            "--seconds": self.seconds,
            "--model": self.model,
        }
        return [word for name, v in named.items() if v is not None for word in (name, str(v))]

    def material(self) -> Any:
        """The recording, decoded: a context manager."""
        return material(
            None if self.audio is None else Path(self.audio),
            reference=None if self.reference is None else Path(self.reference),
            seconds=self.seconds,
        )


Say = Callable[[Component, int, Trial], None]


def measure(
    settings: Settings,
    components: Sequence[Component],
    wanted: Wanted,
    *,
    iterations: int,
    say: Say = lambda _component, _n, _trial: None,
) -> list[Result]:
    """Measure components one after the other.

    Raises:
        NotInThisBuild, NotSupported: one of them cannot be measured here.
        BadInput: the recording cannot be read.
    """
    found = []
    with wanted.material() as heard:
        for component in components:
            with (
                scratch(settings) as own,
                ready(component, own, heard, wanted.model) as bench,
            ):
                tried = benchmark.trials(
                    bench.run, iterations=iterations, say=partial(say, component)
                )
                described = _described(component, settings, heard, bench)
                found.append(replace(described, trials=tried))
    return found


def _described(component: Component, settings: Settings, heard: Material, bench: Bench) -> Result:
    """All that is known of a result but its trials. Runs the work twice, not timed."""
    now = time.time()
    memory = benchmark.peak_memory(bench.run)
    calls = benchmark.counted(bench.run)
    return Result(
        id=new_id(now),
        component=component,
        build=build(),
        machine=machine(),
        created=now,
        subject=heard.subject,
        name=f"{heard.name}, {heard.seconds:.0f} s",
        amount=bench.amount,
        unit=bench.unit,
        trials=(),
        memory=memory,
        calls=calls,
        model=bench.model,
        wer=bench.wer(),
        store="sqlite" if settings.database is None else "postgresql",
    )


# ── history ──────────────────────────────────────────────────────────────────────────────────


def keep(database: Database, results: Sequence[Result]) -> None:
    """Put results into the history of a store."""
    for one in results:
        benchmarks.add(
            database,
            name=one.id,
            component=one.component,
            build=one.build,
            machine=one.machine.fingerprint,
            subject=one.subject,
            created=one.created,
            body=as_json(one),
        )


def history(
    database: Database, component: Component | None = None, *, here: bool = True, limit: int = 1000
) -> list[Result]:
    """What was measured, the newest first; ``here``: only on a machine like this one."""
    only = machine().fingerprint if here else None
    bodies = benchmarks.listing(database, component=component, machine=only, limit=limit)
    return [msgspec.json.decode(body, type=Result) for body in bodies]


def named(database: Database, name: str) -> list[Result]:
    """Results by the beginning of an id, or by a build or its commit; the newest first."""
    return [msgspec.json.decode(body, type=Result) for body in benchmarks.named(database, name)]


# ── two builds ───────────────────────────────────────────────────────────────────────────────


class Answer(Value, frozen=True):
    """A line of a runner: one of these."""

    ready: Result | None = None
    trial: Trial | None = None
    failure: Failure | None = None


def serve_runs(
    settings: Settings, component: Component, wanted: Wanted, orders: IO[str], out: IO[str]
) -> None:
    """Be a runner until the orders end."""

    def say(answer: Answer) -> None:
        out.write(msgspec.json.encode(answer).decode() + "\n")
        out.flush()

    try:
        with (
            wanted.material() as heard,
            scratch(settings) as own,
            ready(component, own, heard, wanted.model) as bench,
        ):
            bench.run()
            say(Answer(ready=_described(component, settings, heard, bench)))
            for _ in orders:
                say(Answer(trial=benchmark.trial(bench.run)))
    except HansardError as error:
        say(Answer(failure=error.failure()))


class Runner:
    """The other end of :func:`serve_runs`, in a process of its own."""

    def __init__(
        self,
        python: str,
        component: Component,
        wanted: Wanted,
        environment: Mapping[str, str],
    ) -> None:
        """``python`` is the interpreter whose Hansard is measured.

        Raises:
            NotComparable: that build has no benchmark.
            HansardError: the component cannot be measured there.
        """
        self._process = subprocess.Popen(  # noqa: S603 our own command
            [python, "-m", "hansard", "benchmark", "runner", component, *wanted.words()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(environment),
        )
        try:
            answer = self._answer()
        except BaseException:
            self.close()
            raise
        assert answer.ready is not None
        self.described: Result = answer.ready

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def trial(self) -> Trial:
        """Have it done once.

        Raises:
            HansardError: it failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert answer.trial is not None
        return answer.trial

    def _answer(self) -> Answer:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._process.stderr.read().strip().splitlines()
            raise NotComparable(
                "One of the two builds cannot be measured: " + (said[-1] if said else "it ended."),
                hint="Builds before `hansard benchmark` was there have no such command.",
            )
        answer = msgspec.json.decode(line, type=Answer)
        if answer.failure is not None:
            raise from_failure(answer.failure)
        return answer

    def close(self) -> None:
        """End it. Calling it twice is harmless."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def alternate(
    first: Runner,
    second: Runner,
    *,
    iterations: int,
    say: Say = lambda _component, _n, _trial: None,
) -> tuple[Result, Result]:
    """Let two runners take turns, ABBA: what each of them took, pair by pair."""
    sides: tuple[list[Trial], list[Trial]] = ([], [])
    for number in range(iterations):
        order = ((0, first), (1, second)) if number % 2 == 0 else ((1, second), (0, first))
        for side, runner in order:
            one = runner.trial()
            sides[side].append(one)
            say(runner.described.component, number + 1, one)
    return (
        replace(first.described, trials=tuple(sides[0])),
        replace(second.described, trials=tuple(sides[1])),
    )
