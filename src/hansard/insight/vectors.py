"""Sentences as TF-IDF vectors of length 1, sparse. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tf_idf(stems: Sequence[Sequence[str]]) -> Any:
    """One row a sentence (``scipy.sparse.csr_array``, float32), one column a stem.

    Terms count by their logarithm, and by the logarithm of the share of sentences that lack them
    (Salton & Buckley 1988). A sentence without stems is a row of zeros.
    """
    from scipy.sparse import csr_array

    columns: dict[str, int] = {}
    counts = [Counter(sentence) for sentence in stems]
    spread = Counter(stem for count in counts for stem in count)
    data: list[float] = []
    places: list[int] = []
    ends = [0]
    for count in counts:
        weights = [
            (columns.setdefault(stem, len(columns)),
             (1 + math.log(times)) * math.log((1 + len(counts)) / spread[stem]))
            for stem, times in count.items()
        ]  # fmt: skip
        norm = math.sqrt(sum(weight * weight for _, weight in weights)) or 1.0
        places += [column for column, _ in weights]
        data += [weight / norm for _, weight in weights]
        ends.append(len(places))
    shape = (len(counts), max(len(columns), 1))
    return csr_array(
        (np.asarray(data, np.float32), np.asarray(places, np.int32), np.asarray(ends, np.int32)),
        shape=shape,
    )


def central(
    likeness: Any, prior: NDArray[np.float64], *, threshold: float, damping: float
) -> NDArray[np.float64]:
    """How central each sentence is: the stationary distribution of a walk over similar ones.

    LexRank (Erkan & Radev 2004, JAIR 22) with a biased restart (Otterbacher, Erkan & Radev 2005).

    Args:
        likeness: cosines, n by n, sparse.
        prior: where the walk begins anew, by sentence; positive.
        threshold: cosines below it are no likeness.
        damping: the chance to walk on instead of beginning anew.

    Returns:
        Scores that sum to 1.
    """
    from scipy.sparse import csr_array

    pairs = likeness.tocoo()
    rows, columns = pairs.coords
    kept = (pairs.data >= threshold) & (rows != columns)
    links = csr_array((pairs.data[kept], (rows[kept], columns[kept])), shape=likeness.shape)
    out = np.asarray(links.sum(axis=1), np.float64).ravel()
    start = prior / prior.sum()
    scores = start.copy()
    steps = np.divide(1.0, out, out=np.zeros_like(out, dtype=np.float64), where=out > 0)
    walk = links.T.tocsr()
    for _ in range(100):
        lost = float(scores[out == 0].sum())  # a sentence like no other leads back to the start
        after = damping * (walk @ (scores * steps) + lost * start) + (1 - damping) * start
        if float(np.abs(after - scores).sum()) < 1e-6:
            return np.asarray(after)
        scores = after
    return np.asarray(scores)
