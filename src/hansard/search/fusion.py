"""Several orders as one: reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence

K = 60
"""How little the first place counts more than the next ones; the authors' own figure."""


def fused(orders: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """All that are in any of the orders with their scores, the best first.

    Where scores are equal, whoever is first in an earlier order is first here.
    """
    scores: dict[str, float] = {}
    for order in orders:
        for place, one in enumerate(dict.fromkeys(order), 1):
            scores[one] = scores.get(one, 0.0) + 1 / (K + place)
    return sorted(((one, round(score, 9)) for one, score in scores.items()), key=_score)


def _score(pair: tuple[str, float]) -> float:
    return -pair[1]
