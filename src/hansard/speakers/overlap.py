"""Where two speak at once, and who the second one is: heard against voices added up.

What two voices sound like together is known from what each sounds like alone: the powers of their
spectra add up. So loud frames of the one are added to loud frames of the other, a mixture of
Gaussians is fitted to the sums, and a stretch is both of theirs where it is worth clearly more than
any single voice is (parallel model combination: M. Gales and S. Young, *Robust continuous speech
recognition using parallel model combination*, IEEE Trans. SAP 4(5), 1996, here by samples). The
level is seen, too. Nothing is learnt from other recordings.

Precision before recall: a change of mind costs more than a word or two of doubtful overlap earns.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hansard.speakers import features, mixtures, paths
from hansard.speakers.features import Frames

NOBODY = -1
"""No second speaker."""

MOST_VOICES = 12
"""Speakers, those who speak most, among whom overlap is looked for: 66 pairs."""

_COMPONENTS = 32
"""Of each mixture: with the path's own eight, two voices are not told from one (measured)."""
_SUMS = 6_000
"""Frames of the one that are added to as many of the other."""
_QUIET = 0.2
"""Share of a voice's frames, the quietest, that are pauses: added up they change nothing."""
_CHANGE = 35.0
"""Nats that it costs to begin or to end an overlap."""
_MOST = 20.0
"""Nats that one step earns at most: two good steps alone make no overlap."""


class Models(NamedTuple):
    """What each voice sounds like alone, and two of them together; pairs in ascending order."""

    alone: dict[int, mixtures.Mixture]
    both: dict[tuple[int, int], mixtures.Mixture]


def models(voices: Mapping[int, Frames], pairs: Iterable[tuple[int, int]]) -> Models:
    """Fit what is needed.

    Args:
        voices: cepstra of each speaker, ``(n, 20)``, level included.
        pairs: those who may speak at once, the lower number first.
    """
    return Models(
        {name: mixtures.fitted(frames, _COMPONENTS) for name, frames in voices.items()},
        {
            (one, other): mixtures.fitted(_added(voices[one], voices[other]), _COMPONENTS)
            for one, other in pairs
        },
    )


def second(known: Models, frames: Frames, own: NDArray[np.intp]) -> NDArray[np.intp]:
    """Who else speaks in each step of a stretch, or :data:`NOBODY`.

    Args:
        known: from :func:`models`.
        frames: cepstra of the stretch, ``(n, 20)``.
        own: the speaker of each step by ``paths``, ``(ceil(n / paths.STEP),)``.
    """
    found = np.full(len(own), NOBODY, np.intp)
    here = set(np.unique(own).tolist())
    pairs = [pair for pair in known.both if here & set(pair)]
    if not pairs:
        return found
    single = np.max([paths.worth(model, frames) for model in known.alone.values()], axis=0)
    gains = np.zeros((len(own), 1 + len(pairs)), np.float32)
    for state, pair in enumerate(pairs, 1):
        gain = np.clip(paths.worth(known.both[pair], frames) - single, -_MOST, _MOST)
        gains[:, state] = np.where(np.isin(own, pair), gain, -np.inf)
    states = paths.best(gains, _CHANGE)
    for state, (one, other) in enumerate(pairs, 1):
        mine = states == state
        found[mine] = np.where(own[mine] == one, other, one)
    return found


@functools.cache
def _spectra() -> Frames:
    """From cepstra back to the logarithms of the filters, smoothed; ``(20, filters)``."""
    return np.asarray(np.linalg.pinv(features.cosines().astype(np.float64)), np.float32)


def _added(one: Frames, other: Frames) -> Frames:
    """Cepstra of both voices at once, ``(_SUMS, 20)``: frames met by chance, the same each time."""
    chance = np.random.default_rng(0)
    spectra = []
    for frames in (one, other):
        loud = frames[frames[:, 0] >= np.quantile(frames[:, 0], _QUIET)]
        spectra.append(loud[chance.integers(0, len(loud), _SUMS)] @ _spectra())
    return np.asarray(np.logaddexp(*spectra) @ features.cosines(), np.float32)
