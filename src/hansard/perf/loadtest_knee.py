"""The knee: how many users a service bears before it misses a level."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from hansard.perf.loadtest_figures import (
    SENT,
    Knee,
    Level,
    Moment,
    Operation,
    Order,
    Result,
    Step,
    Verdict,
    operations,
    verdicts,
)

_CLOSE = 0.1
"""The search ends when the two sides of the knee are within this share of each other."""

_TRIES = 3
"""A step that cannot be told apart from its level goes on this many times, each as long as all
before it."""

Try = Callable[[int], Step]
"""Lets so many users loose, and says whether the levels held."""


def knee(attempt: Try, most: int, on_step: Callable[[Step], None] = lambda _: None) -> Knee:
    """Find the most users at which the levels hold: doubling until they do not, then halving.

    Assumes that what is missed with some users is missed with more. Ends when the knee is known
    to within a tenth, or to one user.
    """
    steps: list[Step] = []

    def holds(users: int) -> bool:
        step = attempt(users)
        steps.append(step)
        on_step(step)
        return step.holds

    low, high = 0, 1
    while holds(high):
        low, high = high, min(most, 2 * high)
        if low == most:
            return _found(steps, most, None)
    while high - low > max(1, int(_CLOSE * low)):
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return _found(steps, low, high)


def _found(steps: list[Step], low: int, high: int | None) -> Knee:
    by_users = {step.users: step for step in steps}
    edges = [by_users[users] for users in (low, high) if users]
    rate = by_users[low].per_second if low else 0.0
    return Knee(low, high, all(step.sure for step in edges), rate, tuple(steps))


def attempted(
    users: int,
    order: Order,
    run: Callable[[Order], Result],
    levels: tuple[Level, ...],
) -> tuple[Step, Result]:
    """One step: as long as ``order`` says, and longer while it cannot be told how it ends.

    Returns:
        the step, and the last result with the figures of the whole step.
    """
    moments: list[Moment] = []
    seconds = order.duration or 0.0
    number = 0
    while True:
        number += 1
        seed = order.seed + 1000 * users + number  # recordings that were not heard before
        result = run(replace(order, users=users, duration=seconds, seed=seed))
        moments += result.moments
        found = operations(moments)
        told = verdicts(moments, found, levels)
        holds = bool(found) and all(one.holds for one in told)
        sure = _sure(told, holds=holds)
        seconds = sum(one.seconds for one in moments if not one.warm)
        if sure or number == _TRIES:
            step = _step(users, seconds, found, told, sure=sure, holds=holds)
            return step, replace(result, seconds=seconds, operations=found, verdicts=told)


def _step(
    users: int,
    seconds: float,
    found: tuple[Operation, ...],
    told: tuple[Verdict, ...],
    *,
    sure: bool,
    holds: bool,
) -> Step:
    worst = max(told, key=_load, default=None)
    requests = sum(one.requests for one in found if not one.name.endswith(SENT))
    return Step(
        users=users,
        seconds=seconds,
        requests=requests,
        per_second=requests / seconds if seconds else 0.0,
        holds=holds,
        sure=sure,
        worst=worst.operation if worst else "nothing was measured",
        load=_load(worst) if worst else 0.0,
    )


def _sure(told: tuple[Verdict, ...], *, holds: bool) -> bool:
    """Whether more of the same would end the same way: one level missed for sure is enough."""
    if holds:
        return all(one.sure for one in told)
    return any(one.sure and not one.holds for one in told)


def _load(verdict: Verdict) -> float:
    return verdict.measured / verdict.limit
