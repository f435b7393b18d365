"""How sure a figure is, and whether two differ: medians, bootstrap intervals, rank and sign tests.

Timings have long tails and no distribution that could be named, so nothing here assumes one:
percentile bootstrap of the median (Efron, 1979); for two series that were measured at different
times the Mann-Whitney U test; for runs that stood next to each other, in turn, a permutation test
of the signs of their differences (Fisher, 1935), which no drift of the machine can fool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hansard.model import Value

CONFIDENCE = 0.95
RESAMPLES = 2000
EXACT = 14
"""Pairs up to which every combination of signs is counted; beyond, :data:`DRAWS` are drawn."""
DRAWS = 20_000

Verdict = Literal["slower", "faster", "same", "unknown"]

Numbers = NDArray[np.float64]


class Interval(Value, frozen=True):
    """A median and the bounds that hold it with 95 % confidence."""

    median: float
    low: float
    high: float


class Contrast(Value, frozen=True, omit_defaults=False):
    """How the second series compares with the first."""

    ratio: float
    """Second over first: of medians, or of pairs the median ratio."""
    low: float
    high: float
    p: float
    """The chance of a difference like this where there is none; two-sided."""
    verdict: Verdict
    """``unknown``: so few runs could not show any difference."""


def interval(values: Sequence[float]) -> Interval:
    """The median of a series and its 95 % percentile bootstrap interval."""
    series = np.asarray(values, np.float64)
    drawn = np.median(_resampled(series), axis=1)
    low, high = _bounds(drawn)
    return Interval(float(np.median(series)), low, high)


def contrast(
    first: Sequence[float],
    second: Sequence[float],
    *,
    paired: bool,
    alpha: float = 0.01,
    least: float = 0.03,
) -> Contrast:
    """Compare two series of seconds.

    Args:
        first: what is compared with.
        second: what may have become slower.
        paired: run ``n`` of one stood next to run ``n`` of the other.
        alpha: a difference is one where its chance is below this.
        least: and where it is at least this large, as a share.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if min(len(a), len(b)) == 0 or min(a.min(), b.min()) <= 0:
        return Contrast(1.0, 0.0, math.inf, 1.0, "unknown")
    if paired:
        logs = np.log(b / a)
        ratio = float(np.exp(np.median(logs)))
        low, high = _bounds(np.exp(np.median(_resampled(logs), axis=1)))
        p, best = _signs(logs), 2.0 ** (1 - len(logs))
    else:
        ratio = float(np.median(b) / np.median(a))
        halves = (np.median(_resampled(one, seed), axis=1) for seed, one in enumerate((a, b)))
        before, after = halves
        low, high = _bounds(after / before)
        p, best = _mann_whitney(a, b), 2.0 / math.comb(len(a) + len(b), len(a))
    return Contrast(ratio, low, high, p, _verdict(ratio, p, best, alpha, least))


def _verdict(ratio: float, p: float, best: float, alpha: float, least: float) -> Verdict:
    if best > alpha:
        return "unknown"
    if p > alpha or abs(ratio - 1.0) < least:
        return "same"
    return "slower" if ratio > 1 else "faster"


def holm(chances: Sequence[float], alpha: float) -> list[bool]:
    """Which of many differences stand where so many were looked for (Holm, 1979)."""
    stand = [False] * len(chances)
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[place] > alpha / (len(chances) - rank):
            break
        stand[place] = True
    return stand


def speedup(peer: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster ours is: the median of the ratios of neighbouring runs."""
    return float(np.median(np.asarray(peer, np.float64) / np.asarray(ours, np.float64)))


def _resampled(series: Numbers, seed: int = 0) -> Numbers:
    chance = np.random.default_rng(seed)
    return series[chance.integers(0, len(series), (RESAMPLES, len(series)))]


def _bounds(drawn: Numbers) -> tuple[float, float]:
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (edge, 1 - edge))
    return float(low), float(high)


def _signs(logs: Numbers) -> float:
    """Two-sided: how many ways to sign the differences give a mean as far from zero."""
    seen = abs(float(logs.mean()))
    count = len(logs)
    if count <= EXACT:
        numbers = np.arange(2**count)
        signs = 1.0 - 2.0 * ((numbers[:, None] >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs @ logs / count) >= seen * (1 - 1e-12)))
    chance = np.random.default_rng(0)
    signs = chance.choice((-1.0, 1.0), (DRAWS, count))
    hits = int(np.sum(np.abs(signs @ logs / count) >= seen * (1 - 1e-12)))
    return (hits + 1) / (DRAWS + 1)


def _mann_whitney(a: Numbers, b: Numbers) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(a, b, alternative="two-sided").pvalue)
