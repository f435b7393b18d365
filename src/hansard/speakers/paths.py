"""Who speaks in each twentieth of a second: the best path through the speakers' models.

Each speaker is a mixture of Gaussians fitted to what is taken for their speech; a path earns what
the frames are worth under the models along it and pays for each change of speaker (A. Viterbi,
1967); models and path are made from each other a few times, as in M. Ben, M. Betser, F. Bimbot and
G. Gravier, *Speaker diarization using bottom-up clustering based on a parameter-derived distance
between adapted GMMs*, ICSLP 2004, and all who came after.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hansard.speakers import mixtures

STEP = 5
"""Frames that share one decision: 50 ms."""

_CHANGE = 60.0
"""Nats that a change of speaker costs. Speakers differ by 2 to 10 nats a frame where they differ
clearly, so a change pays off after 0.1 to 0.3 s of it."""
_COMPONENTS = 8
_EACH = 200
"""Frames for each component of a model."""
_FLICKER = 20.0
"""Steps: a second. Measured: 0.5 to 0.8 s for clusters of sounds, 1.9 s and more for people."""
MOST = 8_000
"""Frames that a model is fitted to, evenly spread over all that are the speaker's."""


def model(frames: NDArray[np.float32]) -> mixtures.Mixture:
    """A speaker's mixture; ``frames`` ``(n, d)``, at least one."""
    sparse = frames[:: -(-len(frames) // MOST)]
    return mixtures.fitted(sparse, max(1, min(_COMPONENTS, len(sparse) // _EACH)))


def worth(model: mixtures.Mixture, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log likelihood of each step, ``(ceil(n / STEP),)``; the last one may be of fewer frames."""
    by_frame = mixtures.density(model, frames)
    starts = np.arange(0, len(by_frame), STEP)
    return np.asarray(np.add.reduceat(by_frame, starts), np.float32)


def best(worths: NDArray[np.float32], change: float = _CHANGE) -> NDArray[np.intp]:
    """The states of the best path; ``worths`` is ``(steps, states)``."""
    steps, states = worths.shape
    came = np.empty((steps, states), np.int16)
    own = np.arange(states)
    score = worths[0].astype(np.float64)
    for step in range(1, steps):
        leader = int(score.argmax())
        stays = score >= score[leader] - change
        came[step] = np.where(stays, own, leader)
        score = np.where(stays, score, score[leader] - change) + worths[step]
    path = np.empty(steps, np.intp)
    path[-1] = int(score.argmax())
    for step in range(steps - 1, 0, -1):
        path[step - 1] = came[step, path[step]]
    return path


def settled(path: Sequence[NDArray[np.intp]], *, fewest: int = 1) -> list[NDArray[np.intp]]:
    """The path without speakers who are only another way of speaking of somebody else.

    Clusters of sounds (all the vowels, what is said with a high pitch) flicker: they take turns
    with the rest of the same voice in the middle of what it says, half a second at a time. People
    take turns of seconds. A speaker whose stretches last under :data:`_FLICKER` on average, and who
    has most of its changes inside unbroken speech with one and the same other, is that other.

    Args:
        path: the speaker of each step of each stretch of unbroken speech.
        fewest: so many speakers are left at least.
    """
    own = [part.copy() for part in path]
    while True:
        stretches, changes, left = _habits(own)
        if left <= fewest:
            return own
        worst: tuple[float, int, int] | None = None
        for speaker, lengths in sorted(stretches.items()):
            mean = sum(lengths) / len(lengths)
            beside = {other: n for (one, other), n in changes.items() if one == speaker}
            if mean >= _FLICKER or not beside:
                continue
            other = max(beside, key=lambda name: (beside[name], -name))
            if 2 * beside[other] > sum(beside.values()) and beside[other] >= len(lengths) / 2:
                worst = min(worst or (mean, speaker, other), (mean, speaker, other))
        if worst is None:
            return own
        for part in own:
            part[part == worst[1]] = worst[2]


def _habits(
    path: Sequence[NDArray[np.intp]],
) -> tuple[dict[int, list[int]], dict[tuple[int, int], int], int]:
    """Lengths in steps of each one's stretches, changes by pair, and how many there are."""
    lengths: dict[int, list[int]] = {}
    changes: dict[tuple[int, int], int] = {}
    for part in path:
        cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
        for start, end in pairwise(cuts):
            who = int(part[start])
            lengths.setdefault(who, []).append(end - start)
            if start:
                before = int(part[start - 1])
                for pair in ((before, who), (who, before)):
                    changes[pair] = changes.get(pair, 0) + 1
    return lengths, changes, len(lengths)
