"""What has grown from one profile to another: stages, rooms and functions.

Profiles of a command are compared in what the whole of it took; those of a service, which may have
lasted for any time, in what was spent for each second that they lasted. Looks are counted events:
given the sum of both counts, that of the second is binomial, and the chance of one so large or
larger where nothing has grown is the p-value (Przyborowski and Wilenski, 1940). Neighbouring looks
are not independent, so the bar is high: one in a thousand after Holm's correction, and at least
one hundredth of all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from hansard.errors import NotComparable
from hansard.model import Value
from hansard.perf.profile import NO_STAGE, Capture, Stack, component, function_of, room

What = Literal["component", "stage", "room", "function", "with callees"]
SURE = 0.001
LEAST = 0.01
ROWS = 40


class Change(Value, frozen=True, omit_defaults=False):
    """One name in both profiles. Amounts as :class:`Difference` says."""

    what: What
    name: str
    before: float
    after: float
    p: float | None
    """``None`` of memory: bytes are no events that could be counted."""
    verdict: Literal["grew", "shrank", "same"]


class Difference(Value, frozen=True, omit_defaults=False):
    """All that was compared; what grew the most is first."""

    unit: str
    before: float
    after: float
    changes: tuple[Change, ...]

    @property
    def grown(self) -> tuple[Change, ...]:
        """What surely grew."""
        return tuple(one for one in self.changes if one.verdict == "grew")


class _Side:
    """One profile: name → amount and looks."""

    def __init__(self, captures: Sequence[Capture], *, whole: bool) -> None:
        self.seconds = 1.0 if whole else sum(one.seconds for one in captures) or 1.0
        self.stacks = [stack for one in captures for stack in one.stacks]
        self.total = sum(stack.amount for stack in self.stacks) / self.seconds

    def by(self, names: Callable[[Stack], Iterable[str]]) -> dict[str, tuple[float, int]]:
        amounts: defaultdict[str, float] = defaultdict(float)
        looks: defaultdict[str, int] = defaultdict(int)
        for stack in self.stacks:
            for name in names(stack):
                amounts[name] += stack.amount
                looks[name] += stack.samples
        return {name: (amounts[name] / self.seconds, looks[name]) for name in amounts}


_WAYS: dict[What, Callable[[Stack], Iterable[str]]] = {
    "component": lambda stack: (component(stack),),
    "stage": lambda stack: (stack.stage or NO_STAGE,),
    "room": lambda stack: (room(stack),),
    "function": lambda stack: (function_of(stack.frames[-1]),) if stack.frames else (),
    "with callees": lambda stack: {function_of(frame) for frame in stack.frames},
}


def difference(
    before: Sequence[Capture], after: Sequence[Capture], *, whole: bool = True
) -> Difference:
    """Compare two profiles.

    Args:
        before: what it is compared with.
        after: what may have grown.
        whole: both are of whole commands; otherwise of so many seconds of something that goes on.

    Raises:
        NotComparable: one is of memory and the other is not, or there is nothing in one.
    """
    kinds = {one.kind for one in (*before, *after)}
    if len(kinds) != 1:
        raise NotComparable(
            "A profile of memory and one of time have nothing in common.",
            hint="`hansard profile list` shows what each is of.",
        )
    memory = kinds == {"memory"}
    sides = _Side(before, whole=whole or memory), _Side(after, whole=whole or memory)
    found = [change for what in _WAYS for change in _compared(what, *sides, memory=memory)]
    ranked = sorted(found, key=lambda one: (one.verdict != "grew", one.before - one.after))
    unit = "bytes" if memory else "seconds" if whole else "seconds in a second"
    return Difference(unit, sides[0].total, sides[1].total, tuple(ranked))


def _compared(what: What, before: _Side, after: _Side, *, memory: bool) -> list[Change]:
    first, second = before.by(_WAYS[what]), after.by(_WAYS[what])
    names = sorted({*first, *second})
    none = (0.0, 0)
    share = after.seconds / (before.seconds + after.seconds)
    pairs = [(first.get(name, none), second.get(name, none)) for name in names]
    chances = [None if memory else _chance(a[1], b[1], share) for a, b in pairs]
    sure = _holm(chances)
    floor = LEAST * max(before.total, after.total)
    made = []
    for name, (a, b), p, certain in zip(names, pairs, chances, sure, strict=True):
        large = abs(b[0] - a[0]) >= floor and b[0] != a[0]
        verdict: Literal["grew", "shrank", "same"] = "same"
        if large and (memory or certain):
            verdict = "grew" if b[0] > a[0] else "shrank"
        made.append(Change(what, name, a[0], b[0], p, verdict))
    made.sort(key=lambda one: -abs(one.after - one.before))
    return made[:ROWS]


def _chance(before: int, after: int, share: float) -> float:
    """How likely counts that differ so are where both come at the same rate; two-sided."""
    from scipy.stats import binomtest

    if not before + after:
        return 1.0
    return float(binomtest(after, before + after, share).pvalue)


def _holm(chances: Sequence[float | None]) -> list[bool]:
    """Which are below :data:`SURE` where so many are looked at (Holm, 1979)."""
    known = sorted((p, place) for place, p in enumerate(chances) if p is not None)
    sure = [False] * len(chances)
    for rank, (p, place) in enumerate(known):
        if p > SURE / (len(known) - rank):
            break
        sure[place] = True
    return sure


def table(found: Difference, rows: int = 12) -> str:
    """A difference as text: what grew, then what shrank."""
    scale, unit = (1e6, "MB") if found.unit == "bytes" else (1.0, "s")
    lines = [
        f"before {found.before / scale:.3f}, after {found.after / scale:.3f} {unit}"
        + (" for each second profiled" if found.unit == "seconds in a second" else "")
    ]
    for verdict in ("grew", "shrank"):
        for what in _WAYS:
            chosen = [one for one in found.changes if (one.what, one.verdict) == (what, verdict)]
            chosen.sort(key=lambda one: -abs(one.after - one.before))
            lines += [
                f"{verdict:<7} {one.before / scale:>10.3f} → {one.after / scale:>10.3f} {unit}"
                f"  {what} {one.name}"
                for one in chosen[:rows]
            ]
    if len(lines) == 1:
        lines.append("Nothing has surely grown or shrunk.")
    return "\n".join(lines) + "\n"
