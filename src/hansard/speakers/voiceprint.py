"""A voice as numbers that can be compared across recordings.

The logarithm of the covariance matrix of cepstra 1 to 19 over a speaker's louder frames, and a
tenth of their mean. The covariance says how a voice's sounds differ from each other: what a
microphone, a room or a telephone line adds to all of them alike is not in it (F. Bimbot and L.
Mathan, *Text-free speaker recognition using an arithmetic-harmonic sphericity measure*, Eurospeech
1993, compare speakers by it). Its logarithm makes distances between matrices those between vectors
(V. Arsigny, P. Fillard, X. Pennec and N. Ayache, *Log-Euclidean metrics*, 2006). Louder frames,
because noise fills the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KIND = "embedded-1"
"""Name of this way of making vectors; others cannot be compared with them."""

_QUIET = 0.4
"""Share of frames, the quietest, that are left out."""
_MEAN = 0.1
"""Weight of the mean: a tenth, because rooms and microphones move it."""
_FLOOR = 1e-3


def of(frames: NDArray[np.float32]) -> tuple[float, ...]:
    """The vector of a speaker, 209 numbers; nothing for fewer than two frames.

    Args:
        frames: cepstra 0 to 19 of what the speaker says, shape ``(n, 20)``.
    """
    if len(frames) < 2:
        return ()
    wide = frames.astype(np.float64)
    loud = wide[wide[:, 0] >= np.quantile(wide[:, 0], _QUIET), 1:]
    width = loud.shape[1]
    spread = np.cov(loud.T, bias=True) + _FLOOR * np.eye(width)
    values, directions = np.linalg.eigh(spread)
    logarithm = (directions * np.log(np.maximum(values, _FLOOR))) @ directions.T
    rows, columns = np.triu_indices(width)
    # Off the diagonal each number stands for two of the matrix.
    flat = logarithm[rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))
    return tuple(np.round(np.concatenate([flat, _MEAN * loud.mean(axis=0)]), 4).tolist())
