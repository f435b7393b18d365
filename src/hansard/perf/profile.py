"""What a profile holds: stacks that were seen and how much was spent in each, added up.

A :class:`Capture` is what one process brings home (``profile_cpu``, ``profile_memory``,
``profile_native``); a :class:`Summary` is what several of them come to: shares of components,
stages and rooms, and the functions that are hot. Pages and differences are made of either.

An *amount* is, of processor profiles, seconds that a thread was active: on a processor, or inside
a stage of ``telemetry`` and waiting for something. Its *part* is what of it was on a processor. Of
memory, the amount is bytes at the peak and the part bytes that were not freed by the end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from hansard.model import Value
from hansard.perf.components import component_of
from hansard.store.profiles import Kind

SPOTS = 60
"""Functions that a summary names."""
STALLS = 50
"""Stalls that a capture keeps: the longest."""
STACKS = 20_000
"""Stacks that differ in a capture; the rest of them is one, ``(other)``."""
NO_STAGE = "(no stage)"
OTHER = "(other)"


class Stack(Value, frozen=True, array_like=True):
    """One call stack of one thread in one stage, and all that was spent in it."""

    thread: str
    stage: str
    """Empty outside of all."""
    frames: tuple[str, ...]
    """``name (file:line)``, the outermost first."""
    samples: int
    """Looks that found it; of memory, allocations."""
    amount: float
    part: float = 0.0


class Stall(Value, frozen=True):
    """An event loop that answered nobody for a while, and the stack it was seen in most."""

    process: str
    at: float
    """Seconds after the profile began."""
    seconds: float
    frames: tuple[str, ...]


class Capture(Value, frozen=True):
    """What one process brings home. Seconds and bytes."""

    kind: Kind
    process: str
    """Its role and its number, like ``worker 4711``."""
    seconds: float
    stacks: tuple[Stack, ...] = ()
    stalls: tuple[Stall, ...] = ()
    looks: int = 0
    cpu: float = 0.0
    """Seconds on a processor, of all its threads."""
    native: float = 0.0
    """Of these, in threads that run no Python: inference and codecs start such."""
    children: float = 0.0
    """Seconds on a processor of the processes it started: they are not looked into."""
    peak: float = 0.0
    """Bytes that were allocated, at most, since the profile began."""
    failure: str | None = None
    """Why it brings nothing."""


class Share(Value, frozen=True):
    """How much of all was spent under one name."""

    name: str
    amount: float
    share: float
    """Of all amounts, 0 to 1."""
    part: float = 0.0


class Spot(Value, frozen=True):
    """A function: what was spent in itself, and in all that it called too."""

    function: str
    own: float
    total: float
    share: float
    """Of its own amount among all, 0 to 1."""
    samples: int
    stage: str
    """The stage in which most of it was spent."""


class Process(Value, frozen=True):
    """A :class:`Capture` without its stacks."""

    name: str
    seconds: float
    looks: int
    cpu: float
    native: float
    children: float
    peak: float
    failure: str | None = None


class Summary(Value, frozen=True, omit_defaults=False):
    """What a profile says at a glance; the largest first."""

    kind: Kind
    unit: str
    """``seconds`` or ``bytes``."""
    total: float
    """All amounts."""
    processes: tuple[Process, ...]
    components: tuple[Share, ...]
    stages: tuple[Share, ...]
    rooms: tuple[Share, ...]
    spots: tuple[Spot, ...]
    stalls: tuple[Stall, ...]


def summary(captures: Sequence[Capture]) -> Summary:
    """What captures of one kind come to."""
    stacks = [stack for capture in captures for stack in capture.stacks]
    total = sum(stack.amount for stack in stacks)
    stalls = sorted((s for c in captures for s in c.stalls), key=lambda s: -s.seconds)
    kind = captures[0].kind if captures else "cpu"
    return Summary(
        kind=kind,
        unit="bytes" if kind == "memory" else "seconds",
        total=total,
        processes=tuple(
            Process(
                *(one.process, one.seconds, one.looks, one.cpu, one.native, one.children),
                *(one.peak, one.failure),
            )
            for one in captures
        ),
        components=_shares(((component(stack), stack) for stack in stacks), total),
        stages=_shares(((stack.stage or NO_STAGE, stack) for stack in stacks), total),
        rooms=_shares(((room(stack), stack) for stack in stacks), total),
        spots=_spots(stacks, total),
        stalls=tuple(stalls[:STALLS]),
    )


_OF_ROOMS = {
    "audio": "decode",
    "speech": "stt",
    "speakers": "diarize",
    "jobs": "queue",
    "insight": "insight",
    "search": "search",
    "store": "store",
    "api": "api",
    "live": "capture",
}


def component(stack: Stack) -> str:
    """The component that a stack belongs to: that of its stage, else of the room it is in."""
    return component_of(stack.stage) if stack.stage else _OF_ROOMS.get(room(stack), "pipeline")


def room(stack: Stack) -> str:
    """The room of Hansard whose code is innermost in a stack; ``outside`` where there is none."""
    for frame in reversed(stack.frames):
        _, found, rest = frame.rpartition("(hansard/")
        if found:
            return rest.partition("/")[0].partition(".py")[0]
    return "outside"


def function_of(frame: str) -> str:
    """A frame without its line, which another build has elsewhere."""
    head, colon, _ = frame.rpartition(":")
    return f"{head})" if colon else frame


def compacted(stacks: Iterable[Stack]) -> tuple[Stack, ...]:
    """The largest :data:`STACKS`, and one for the rest."""
    ranked = sorted(stacks, key=lambda one: (-one.amount, -one.part))
    rest = ranked[STACKS:]
    if not rest:
        return tuple(ranked)
    left = Stack(
        *("", "", (OTHER,), sum(one.samples for one in rest)),
        *(sum(one.amount for one in rest), sum(one.part for one in rest)),
    )
    return (*ranked[:STACKS], left)


def _shares(named: Iterable[tuple[str, Stack]], total: float) -> tuple[Share, ...]:
    amounts: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for name, stack in named:
        amounts[name] += stack.amount  # type: ignore[assignment]  # a Counter adds floats as well
        parts[name] += stack.part  # type: ignore[assignment]
    return tuple(
        Share(name, float(amount), amount / total if total else 0.0, float(parts[name]))
        for name, amount in amounts.most_common()
    )


def _spots(stacks: Sequence[Stack], total: float) -> tuple[Spot, ...]:
    own: defaultdict[str, float] = defaultdict(float)
    under: defaultdict[str, float] = defaultdict(float)
    looks: defaultdict[str, int] = defaultdict(int)
    stages: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for stack in stacks:
        if not stack.frames:
            continue
        leaf = stack.frames[-1]
        own[leaf] += stack.amount
        looks[leaf] += stack.samples
        stages[leaf][stack.stage] += stack.amount  # type: ignore[assignment]  # as above
        for frame in set(stack.frames):  # a function that calls itself is not there twice
            under[frame] += stack.amount
    ranked = sorted(own, key=lambda frame: -own[frame])[:SPOTS]
    return tuple(
        Spot(
            *(frame, own[frame], under[frame], own[frame] / total if total else 0.0),
            *(looks[frame], stages[frame].most_common(1)[0][0] or NO_STAGE),
        )
        for frame in ranked
    )
