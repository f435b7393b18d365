"""Clusters of speech as single Gaussians, and which of them are one voice.

A stretch is summed up by how many frames it has, their sum and the sum of their outer products:
enough for its likelihood under the Gaussian with its own mean and full covariance, and two
summaries are added to make that of both. How much likelihood is lost when two stretches share one
Gaussian is the generalised likelihood ratio; it is held against

* what the extra parameters are worth by the Bayesian information criterion (S. Chen and P.
  Gopalakrishnan, *Speaker, environment and channel change detection and clustering via the
  Bayesian information criterion*, DARPA 1998), times :data:`EVIDENCE`, and
* how far one voice strays from itself when it says other words, by frame: with minutes of speech
  any difference is significant, also that between a voice and itself.

Two clusters are one as long as the loss is below the sum of both. The second part is what keeps
the number of speakers from growing with the length of a recording.

What is said twice to the bit (a jingle, a loop) is no new evidence, and would make a voice of its
own out of a few words, as narrow as they are: see :func:`distinct`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EVIDENCE = 1.5
"""Times the criterion's own penalty. Neighbouring frames are far from independent, so the ratio
overstates the evidence; 1.0 to 1.4 is what one voice reaches against itself in half a minute."""

STRAYS = 1.4
"""Nats a frame (of the product of both lengths over their sum) that one voice strays from itself.
Measured: 0.0 to 1.6 within a voice, up to 1.8 for a part of it with sounds of its own; 2.1 to 14
between voices."""

_COPY = 0.002
"""Mean squared distance of two means, in variances of the recording, below which one stretch is
the other once more. Measured: 0.016 and more for other words, under 0.0005 for copies."""

_OWN = 20.0
"""Frames of the whole recording's covariance that are mixed into each, so that short stretches
have one at all."""


class Summaries(NamedTuple):
    """Of ``n`` stretches: counts ``(n,)``, sums ``(n, d)``, sums of products ``(n, d, d)``."""

    counts: Array
    sums: Array
    products: Array


def summaries(stretches: Iterable[NDArray[np.float32]]) -> Summaries:
    """Of stretches of frames ``(n, d)``, at least one."""
    wide = [frames.astype(np.float64) for frames in stretches]
    return Summaries(
        np.array([float(len(frames)) for frames in wide]),
        np.stack([frames.sum(axis=0) for frames in wide]),
        np.stack([frames.T @ frames for frames in wide]),
    )


def total(stretches: Iterable[NDArray[np.float32]]) -> Summaries:
    """Of all stretches together, one row; one stretch is in memory at a time."""
    rows = (summaries([frames]) for frames in stretches)
    return functools.reduce(
        lambda one, other: Summaries(*(a + b for a, b in zip(one, other, strict=True))), rows
    )


def added(parts: Summaries, labels: NDArray[np.intp]) -> Summaries:
    """One summary for each label from 0 up."""
    groups = [labels == label for label in range(int(labels.max()) + 1)]
    return Summaries(*(np.stack([field[own].sum(axis=0) for own in groups]) for field in parts))


def joined(several: Sequence[Summaries]) -> Summaries:
    """The rows of several, one after the other."""
    return Summaries(*(np.concatenate(fields) for fields in zip(*several, strict=True)))


def room(parts: Summaries) -> Array:
    """The covariance of all frames together, ``(d, d)``."""
    count = parts.counts.sum()
    mean = parts.sums.sum(axis=0) / count
    spread = parts.products.sum(axis=0) / count - np.outer(mean, mean)
    return np.asarray(spread + 1e-6 * np.eye(len(mean)))


def distinct(parts: Summaries, shared: Array) -> NDArray[np.intp]:
    """The first stretch that each is a copy of, which may be itself; ``(n,)``.

    Time and memory grow with the square of the number of stretches.
    """
    means = parts.sums / parts.counts[:, None] / np.sqrt(np.diag(shared))
    squares = np.sum(means**2, axis=1)
    apart = (squares[:, None] + squares - 2 * means @ means.T) / means.shape[1]
    np.fill_diagonal(apart, 0.0)
    return np.asarray(np.argmax(apart < _COPY, axis=1), np.intp)


def chosen(parts: Summaries, rows: NDArray[np.intp]) -> Summaries:
    """Some of them, in the order that is asked for."""
    return Summaries(*(field[rows] for field in parts))


def _volumes(parts: Summaries, shared: Array) -> Array:
    """Log determinant of the covariance of each, mixed with what is shared."""
    counts = parts.counts[:, None]
    mean = parts.sums / counts
    spread = parts.products / counts[..., None] - mean[:, :, None] * mean[:, None, :]
    mixed = (counts[..., None] * spread + _OWN * shared) / (counts[..., None] + _OWN)
    return np.asarray(np.linalg.slogdet(mixed)[1])


def grouped(
    parts: Summaries,
    shared: Array,
    *,
    evidence: float = EVIDENCE,
    strays: float = STRAYS,
    fewest: int = 1,
    most: int | None = None,
) -> NDArray[np.intp]:
    """Agglomerative clustering: which stretches are one voice.

    Time and memory grow with the square of the number of stretches.

    Args:
        parts: the stretches.
        shared: covariance of the whole recording (:func:`room`).
        evidence: times the Bayesian criterion's penalty.
        strays: nats a frame that one voice may stray from itself.
        fewest: stop when so many are left.
        most: go on until no more than so many are left.

    Returns:
        A label for each stretch, counted from 0 by first appearance.
    """
    merging = _Merging(parts, shared, evidence, strays)
    while merging.left > fewest and (
        merging.nearest() < 1 or (most is not None and merging.left > most)
    ):
        merging.merge()
    first = {int(label): index for index, label in enumerate(dict.fromkeys(merging.labels))}
    return np.array([first[int(label)] for label in merging.labels], np.intp)


class _Merging:
    """Clusters on their way to fewer; row ``i`` keeps its nearest neighbour among later rows."""

    def __init__(self, parts: Summaries, shared: Array, evidence: float, strays: float) -> None:
        count, width = parts.sums.shape
        self.parts = Summaries(*(field.copy() for field in parts))
        self.shared = shared
        self.strays = strays
        parameters = width + width * (width + 1) / 2
        self.penalty = evidence * 0.5 * parameters * np.log(max(parts.counts.sum(), 2.0))
        self.labels = np.arange(count)
        self.left = count
        self.alive = np.ones(count, np.bool_)
        self.volumes = _volumes(self.parts, shared)
        self.costs = np.full((count, count), np.inf)
        for row in range(count - 1):
            later = np.arange(row + 1, count)
            self.costs[row, later] = self._cost(row, later)
        self.closest = self.costs.min(axis=1)

    def nearest(self) -> float:
        """Cost of the cheapest merge; below 1 both are one voice."""
        return float(self.closest.min())

    def merge(self) -> None:
        """Make the two nearest clusters one."""
        kept = int(np.argmin(self.closest))
        gone = int(np.argmin(self.costs[kept]))
        for field in self.parts:
            field[kept] += field[gone]
        self.alive[gone] = False
        self.left -= 1
        self.labels[self.labels == gone] = kept
        self.costs[gone, :] = self.costs[:, gone] = np.inf
        self.volumes[kept] = _volumes(self._rows(np.array([kept])), self.shared)[0]
        others = np.flatnonzero(self.alive)
        others = others[others != kept]
        if len(others):
            fresh = self._cost(kept, others)
            before = others < kept
            self.costs[others[before], kept] = fresh[before]
            self.costs[kept, others[~before]] = fresh[~before]
        self.closest = self.costs.min(axis=1)

    def _rows(self, rows: NDArray[np.intp]) -> Summaries:
        return chosen(self.parts, rows)

    def _cost(self, row: int, others: NDArray[np.intp]) -> Array:
        """Likelihood lost by sharing one Gaussian, in parts of what may be lost."""
        theirs = self._rows(others)
        own = Summaries(*(field[row] for field in self.parts))
        both = Summaries(*(a + b for a, b in zip(theirs, own, strict=True)))
        lost = 0.5 * (
            both.counts * _volumes(both, self.shared)
            - own.counts * self.volumes[row]
            - theirs.counts * self.volumes[others]
        )
        harmonic = own.counts * theirs.counts / both.counts
        return np.asarray(lost / (self.penalty + self.strays * harmonic))
