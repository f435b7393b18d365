"""Where the speaker may change: the places at which the second before sounds least like the next.

The distance of two neighbouring seconds is the symmetric Kullback-Leibler divergence of their
Gaussians with diagonal covariances (M. Siegler, U. Jain, B. Raj and R. Stern, *Automatic
segmentation, classification and clustering of broadcast news audio*, DARPA 1997); cuts are made at
its maxima. Rather too many than too few: clustering joins what belongs together.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hansard.speakers import features
from hansard.speakers.activity import Bounds

_BESIDE = features.RATE
"""Frames compared on each side."""
_HOP = 10
_APART = round(0.8 * features.RATE)
"""Shortest piece."""
_LONGEST = 2 * features.RATE
"""Longest piece: what goes on is cut evenly, so that a missed change spoils little."""


def pieces(frames: NDArray[np.float32], stretch: Bounds) -> list[Bounds]:
    """A stretch of speech, cut where the speaker may change.

    Args:
        frames: of this stretch alone, ``(n, d)``.
        stretch: where they stand in the recording, in frames.
    """
    first, last = stretch
    cuts = [0, *_maxima(frames), last - first]
    edges: list[int] = []
    for start, end in pairwise(cuts):
        parts = -(-(end - start) // _LONGEST)
        edges += [start + (end - start) * part // parts for part in range(parts)]
    edges.append(last - first)
    return [(first + a, first + b) for a, b in pairwise(edges)]


def _maxima(frames: NDArray[np.float32]) -> list[int]:
    """The frames before which both sides differ most, in order."""
    places = np.arange(_APART, len(frames) - _APART + 1, _HOP)
    if len(places) == 0:
        return []
    wide = frames.astype(np.float64)
    total = np.cumsum(np.vstack([np.zeros(wide.shape[1]), wide]), axis=0)
    square = np.cumsum(np.vstack([np.zeros(wide.shape[1]), wide**2]), axis=0)

    def side(start: NDArray[np.intp], end: NDArray[np.intp]) -> tuple[NDArray[np.float64], ...]:
        length = (end - start)[:, None]
        mean = (total[end] - total[start]) / length
        return mean, np.maximum((square[end] - square[start]) / length - mean**2, 1e-2)

    left_mean, left = side(np.maximum(0, places - _BESIDE), places)
    right_mean, right = side(places, np.minimum(len(frames), places + _BESIDE))
    apart = (left_mean - right_mean) ** 2 * (1 / left + 1 / right)
    distance = (left / right + right / left - 2 + apart).sum(axis=1)
    chosen: list[int] = []
    for index in np.argsort(-distance, kind="stable"):
        around = distance[max(0, index - 3) : index + 4]
        place = int(places[index])
        if distance[index] >= around.max() and all(abs(place - c) >= _APART for c in chosen):
            chosen.append(place)
    return sorted(chosen)
