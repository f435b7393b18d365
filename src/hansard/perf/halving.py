"""Finding the best of many ways to do the same work within a budget of time.

Successive halving (Jamieson & Talwalkar, *Non-stochastic best arm identification and
hyperparameter optimization*, AISTATS 2016): all candidates do a little of the work, the better
third goes on to three times as much, until few are left that do all of it. The budget is shared
equally by the rounds, so most of it is spent on those that may be the best.

Two things are added, since what is measured is time on a machine that others use too. The
incumbent runs in every pass beside the candidates, and a candidate's cost is its ratio to the
incumbent's in the same pass: what slows the machine down slows both. And whatever gives another
result than it should is out, however quick it was.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from hansard.model import Value

T = TypeVar("T")

ETA = 3
"""One of so many survives a round."""

LEAST_PAIRS, MOST_PAIRS = 8, 30
"""Runs of each side of a duel. With fewer than eight pairs no difference could be told from chance
at the level of one percent (2⁻⁷)."""

_PASSES = 3
"""Of a round at the most: candidates that do well meet again in the next one."""

Cost = Callable[[T, float], float | None]
"""A candidate and a share of the work → what it cost; ``None``: what came out is not acceptable."""

Clock = Callable[[], float]


class Standing(Value, Generic[T], frozen=True):
    """A candidate as a search left it."""

    candidate: Any
    ratio: float
    """Its cost over the incumbent's, on the largest share of the work that it came to."""
    rounds: int


class Found(Value, Generic[T], frozen=True):
    """What a search came to: the best first, those that went furthest before the others."""

    standings: tuple[Standing[T], ...]
    spoilt: int
    """Candidates that are out for what they gave."""
    runs: int


def shares(candidates: int, *, eta: int = ETA) -> list[float]:
    """How much of the work each round does: rising by ``eta``, the last one all of it."""
    rounds = max(1, math.ceil(math.log(max(candidates, 2), eta)))
    return [eta ** float(number - rounds + 1) for number in range(rounds)]


def search(
    incumbent: T,
    candidates: Sequence[T],
    cost: Cost[T],
    *,
    budget: float,
    clock: Clock,
    eta: int = ETA,
) -> Found[T]:
    """The candidates, ranked.

    Args:
        incumbent: what they are compared with.
        candidates: the others.
        cost: does a share of the work.
        budget: seconds of ``clock``. A pass that was begun is finished: the last may take longer.
        clock: seconds that never go back.
        eta: see :data:`ETA`.
    """
    left = list(candidates)
    ranked: list[Standing[T]] = []
    spoilt = runs = 0
    begun = clock()
    plan = shares(len(left), eta=eta)
    for number, share in enumerate(plan):
        ends = begun + budget * (number + 1) / len(plan)
        ratios: dict[int, list[float]] = {index: [] for index in range(len(left))}
        for turn in range(_PASSES):
            if not left or (turn and clock() >= ends):
                break
            against = cost(incumbent, share)
            runs += 1
            order = list(ratios)
            for index in order if turn % 2 == 0 else reversed(order):
                found = cost(left[index], share)
                runs += 1
                if found is None:
                    del ratios[index]
                elif against:
                    ratios[index].append(found / against)
        spoilt += len(left) - len(ratios)
        scores = sorted((statistics.median(seen), index) for index, seen in ratios.items() if seen)
        keep = math.ceil(len(scores) / eta)
        last = number == len(plan) - 1
        out = scores if last else scores[keep:]
        ranked = [Standing(left[index], score, number + 1) for score, index in out] + ranked
        left = [] if last else [left[index] for _, index in scores[:keep]]
        if not last and clock() >= begun + budget:
            best: list[Standing[T]] = [
                Standing(left[i], scores[i][0], number + 1) for i in range(len(left))
            ]
            return Found((*best, *ranked), spoilt, runs)
    return Found(tuple(ranked), spoilt, runs)


def duel(
    first: T, second: T, cost: Cost[T], *, budget: float, clock: Clock
) -> tuple[list[float], list[float]] | None:
    """Costs of runs of two candidates that stood next to each other, each first in turn.

    Fresh runs: those of the search chose the winner, and so flatter it. How many there are is
    settled after the first pair, before anything is compared. ``None``: one of them gives what is
    not acceptable.

    Args:
        first: one side.
        second: the other.
        cost: does a share of the work.
        budget: seconds; should eight pairs of all the work not fit, the pairs do less of it.
        clock: seconds that never go back.
    """
    begun = clock()
    for candidate in (first, second):  # and to warm up
        if cost(candidate, 1.0) is None:
            return None
    took = max(clock() - begun, 1e-9)
    fit = (budget - took) / took
    share = min(1.0, max(0.1, fit / LEAST_PAIRS))
    pairs = int(min(MOST_PAIRS, max(LEAST_PAIRS, fit / share)))
    sides: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            found = cost((first, second)[side], share)
            if found is None:
                return None
            sides[side].append(found)
    return sides
