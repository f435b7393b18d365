"""Whether one result is faster than another, or slower, or neither, and which stage made it so."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from hansard.errors import NotComparable, UnknownBenchmark
from hansard.model import Value
from hansard.perf.benchmark import Component, Result
from hansard.perf.intervals import Contrast, Interval, contrast, holm

ALPHA = 0.01
"""Of a component as a whole."""
STAGES = 0.05
"""Of all its stages together, after Holm."""
LEAST = 0.03
"""A change of less than this share is none."""
LARGE = 0.02
"""Share of a run from which on a stage is looked at by itself."""


class Stage(Value, frozen=True, omit_defaults=False):
    """One stage in both. Median seconds of a run."""

    name: str
    before: float
    after: float
    contrast: Contrast


class Comparison(Value, frozen=True, omit_defaults=False):
    """Two results of one component."""

    component: Component
    before: Result
    after: Result
    paired: bool
    seconds: Contrast
    cpu: Contrast
    stages: tuple[Stage, ...]
    """The one that grew most is first."""

    @property
    def slower(self) -> tuple[str, ...]:
        """What has become slower: ``whole``, and names of stages."""
        whole = ("whole",) if self.seconds.verdict == "slower" else ()
        return (*whole, *(s.name for s in self.stages if s.contrast.verdict == "slower"))


def compared(before: Result, after: Result, *, paired: bool = False) -> Comparison:
    """Compare two results.

    Args:
        before: the baseline.
        after: what may have become slower.
        paired: they were measured in turn, run beside run.

    Raises:
        NotComparable: they are of different work, or of different machines.
    """
    _see_that_they_compare(before, after)
    seconds = contrast(
        [one.seconds for one in before.trials],
        [one.seconds for one in after.trials],
        paired=paired,
        alpha=ALPHA,
        least=LEAST,
    )
    cpu = contrast(
        [max(one.cpu, 1e-9) for one in before.trials],
        [max(one.cpu, 1e-9) for one in after.trials],
        paired=paired,
        alpha=ALPHA,
        least=LEAST,
    )
    stages = _stages(before, after, paired=paired)
    return Comparison(after.component, before, after, paired, seconds, cpu, stages)


def _stages(before: Result, after: Result, *, paired: bool) -> tuple[Stage, ...]:
    whole = max(_median(one.seconds) for one in (before, after))
    found = []
    for name in sorted({*before.stages, *after.stages}):
        sides = [[max(s, 1e-9) for s in one.stage(name)] for one in (before, after)]
        first, second = (sorted(side)[len(side) // 2] for side in sides)
        if max(first, second) >= LARGE * whole:
            found.append(
                Stage(
                    *(name, first, second),
                    contrast(*sides, paired=paired, alpha=STAGES, least=LEAST),
                )
            )
    stand = holm([one.contrast.p for one in found], STAGES)
    settled = [
        one
        if sure or one.contrast.verdict == "unknown"
        else replace(one, contrast=replace(one.contrast, verdict="same"))
        for one, sure in zip(found, stand, strict=True)
    ]
    return tuple(sorted(settled, key=lambda one: one.before - one.after))


def _median(found: Interval) -> float:
    return found.median


def _see_that_they_compare(before: Result, after: Result) -> None:
    for what, first, second in (
        ("component", before.component, after.component),
        ("machine", before.machine.fingerprint, after.machine.fingerprint),
        ("recording", before.subject, after.subject),
        ("model", before.model, after.model),
        ("store", before.store, after.store),
    ):
        if first != second:
            raise NotComparable(
                f"{before.id} and {after.id} are of another {what}: {first}, {second}.",
                hint="Measure both on one machine, on the same recording with the same model.",
            )


def pairs(
    results: Sequence[Result], baselines: Sequence[Result] | None = None
) -> list[tuple[Result, Result]]:
    """For each component its newest result, and what it is to be compared with.

    Args:
        results: the history, the newest first.
        baselines: chosen ones; where there are none, the newest of another build, else the one
            before.

    Raises:
        UnknownBenchmark: there is nothing to compare.
    """
    newest: dict[tuple[str | None, ...], Result] = {}
    earlier: dict[tuple[str | None, ...], list[Result]] = {}
    for one in results:
        earlier.setdefault(_work(one), []).append(one)
        newest.setdefault(_work(one), one)
    found = []
    for work, one in newest.items():
        before = [b for b in (earlier[work] if baselines is None else baselines) if _fits(b, one)]
        other = [b for b in before if b.build != one.build]
        if before:
            found.append(((other or before)[0], one))
    if not found:
        raise UnknownBenchmark(
            "There are no two results of the same work on this machine.",
            hint="Run `hansard benchmark` twice: now, and after a change.",
        )
    return found


def _fits(baseline: Result, one: Result) -> bool:
    return baseline.id != one.id and _work(baseline) == _work(one)


def _work(one: Result) -> tuple[str | None, ...]:
    return (one.component, one.machine.fingerprint, one.subject, one.model, one.store)
