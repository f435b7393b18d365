"""Where anybody speaks, to a hundredth of a second: Silero, and what this recording sounds like.

Two things make speech in a large room, metres from the microphone, hard for Silero alone:

* Its recurrent state grows deaf after louder sounds (paper, a cup): on far-field meetings clear
  speech gets a probability of 0.02. Heard in pieces of two seconds with a fresh state, each after
  a second of what went before, the same speech stands out.
* How sure it is differs between rooms by far more than between speech and noise in one room. So two
  Gaussian mixtures are fitted to the recording itself, one to frames it is sure are speech, one to
  those it is sure are not, and their log-likelihood ratio is added to Silero's log odds. It has
  ten times the resolution in time, too.

The sum is smoothed by the best path through two states (A. Viterbi, 1967). State while streaming:
three seconds of audio; kept: one number for each 32 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hansard.audio.vad import FRAME as VAD_FRAME
from hansard.audio.vad import Probabilities
from hansard.model import SAMPLE_RATE
from hansard.speakers import features, mixtures
from hansard.speakers.features import Frames

Bounds = tuple[int, int]
"""First frame of a stretch and the one after its last."""

_PIECE = 2 * SAMPLE_RATE // VAD_FRAME * VAD_FRAME
"""Samples heard with one state …"""
_WARM = SAMPLE_RATE // VAD_FRAME * VAD_FRAME
"""… after so many before them, whose probabilities are not used."""

_SURELY = (0.5, 0.3, 0.2)
"""Probabilities from which a frame shows what speech sounds like; the first that enough reach."""
_HARDLY = 0.05
"""Probability up to which a frame shows what is no speech."""
_ENOUGH = 100
"""Frames of each without which there is nothing to fit, and Silero is believed alone."""
_MOST = 20_000
"""Frames of each that a mixture is fitted to."""
_COMPONENTS = 4
_TRUST = 0.6
"""Weight of the mixtures' log-likelihood ratio, which counts neighbours that hardly differ."""
_LOUDEST = 10.0
"""Most that a frame's ratio counts for, either way."""
_LEANING = 2.6
"""Added to the sum: with nothing else to go by, speech begins at a probability of 0.07."""
_CHANGE = 8.0
"""What a change between speech and silence costs."""
_BRIDGED = round(0.3 * features.RATE)
"""Pauses shorter than 0.3 s belong to the speech around them, as in NIST's evaluations."""
_SHORTEST = round(0.1 * features.RATE)

_AT_ONCE = 1 << 16
"""Frames that are looked at together."""

SPECTRAL = 13
"""Cepstra that the mixtures see, the level and its slope among them."""


class Ear:
    """Silero's log odds of a stream of samples, one for each 32 ms."""

    def __init__(self) -> None:
        self._kept = np.empty(0, np.int16)
        self._before = 0  # samples at the head of what is kept that only warm the state
        self._odds: list[NDArray[np.float32]] = []

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take samples, shape ``(n,)``."""
        self._kept = np.concatenate([self._kept, samples])
        while len(self._kept) >= self._before + _PIECE:
            self._hear(self._before + _PIECE)

    def finish(self) -> NDArray[np.float32]:
        """All log odds, shape ``(n,)``. The ear is spent."""
        if len(self._kept) > self._before:
            self._hear(len(self._kept))
        return np.concatenate(self._odds) if self._odds else np.empty(0, np.float32)

    def _hear(self, end: int) -> None:
        fresh = Probabilities()
        heard = [*fresh.feed(self._kept[:end]), fresh.finish()]
        chance = np.concatenate(heard)[self._before // VAD_FRAME :]
        self._odds.append(_odds(chance))
        self._kept = self._kept[max(0, end - _WARM) :]
        self._before = min(_WARM, end)


def _odds(chance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log odds of probabilities, kept from being endless."""
    small = np.float32(1e-3)
    return np.asarray(np.log((chance + small) / (1 - chance + small)), np.float32)


def shape(frames: Frames) -> Frames:
    """What the mixtures see of frames: their first cepstra and the slope of the level."""
    return np.hstack([frames[:, :SPECTRAL], features.deltas(frames[:, :1])])


def spoken(odds: NDArray[np.float32], blocks: Callable[[], Iterator[Frames]]) -> list[Bounds]:
    """The stretches of speech of a recording, in frames, in order.

    Args:
        odds: from :class:`Ear`.
        blocks: gives the recording's cepstra from the start, in blocks; called three times.
    """
    total = sum(len(block) for block in blocks())
    if not len(odds) or not total:
        return []
    by_frame = _by_frame(odds, total)
    reached = (by_frame > level for level in _odds(np.array(_SURELY, np.float32)))
    sure = next((frames for frames in reached if frames.sum() >= _ENOUGH), None)
    hardly = by_frame < _odds(np.array([_HARDLY], np.float32))
    if sure is None or hardly.sum() < _ENOUGH:
        score = by_frame
    else:
        speech, silence = (_fitted(blocks, chosen) for chosen in (sure, hardly))
        at = 0
        score = by_frame + _LEANING
        for block in blocks():
            seen = shape(block)
            ratio = mixtures.density(speech, seen) - mixtures.density(silence, seen)
            score[at : at + len(block)] += _TRUST * np.clip(ratio, -_LOUDEST, _LOUDEST)
            at += len(block)
    return bridged(_bounds(_smoothed(score)))


def _by_frame(odds: NDArray[np.float32], total: int) -> NDArray[np.float32]:
    """Silero's log odds at the middle of each frame, between those that it gives."""
    found = np.empty(total, np.float32)
    heard = np.arange(len(odds))
    for at in range(0, total, _AT_ONCE):
        frames = np.arange(at, min(total, at + _AT_ONCE))
        middles = (frames * features.HOP + features.FRAME / 2) / VAD_FRAME - 0.5
        found[at : at + _AT_ONCE] = np.interp(middles, heard, odds)
    return found


def _fitted(blocks: Callable[[], Iterator[Frames]], chosen: NDArray[np.bool_]) -> mixtures.Mixture:
    """A mixture of evenly spread frames among the chosen."""
    every = -(-int(chosen.sum()) // _MOST)
    keep = chosen & ((np.cumsum(chosen, dtype=np.int32) - 1) % every == 0)
    parts, at = [], 0
    for block in blocks():
        parts.append(shape(block)[keep[at : at + len(block)]])
        at += len(block)
    return mixtures.fitted(np.concatenate(parts), _COMPONENTS)


def _smoothed(score: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The best path through two states, of which one earns ``score`` in each frame."""
    came = np.zeros((len(score), 2), np.bool_)  # from the other state?
    silent, speaking = 0.0, -_CHANGE
    for at in range(0, len(score), _AT_ONCE):
        into_silence, into_speech = [], []
        for gain in score[at : at + _AT_ONCE].tolist():
            ends, begins = speaking - _CHANGE > silent, silent - _CHANGE > speaking
            silent, speaking = (
                speaking - _CHANGE if ends else silent,
                (silent - _CHANGE if begins else speaking) + gain,
            )
            into_silence.append(ends)
            into_speech.append(begins)
        came[at : at + len(into_silence), 0] = into_silence
        came[at : at + len(into_speech), 1] = into_speech
    path = np.zeros(len(score), np.bool_)
    state = int(speaking > silent)
    end = len(score)
    # From change to change, not from frame to frame.
    changes = [np.flatnonzero(came[:, 0]), np.flatnonzero(came[:, 1])]
    while end > 0:
        own = changes[state]
        before = int(np.searchsorted(own, end)) - 1
        first = int(own[before]) if before >= 0 else 0
        path[first:end] = bool(state)
        end, state = first, 1 - state
        if before < 0:
            break
    return path


def _bounds(path: NDArray[np.bool_]) -> list[Bounds]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], path.astype(np.int8), [0]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def bridged(stretches: list[Bounds]) -> list[Bounds]:
    """Stretches with the pauses between them closed that are too short to count."""
    joined: list[Bounds] = []
    for first, last in stretches:
        if joined and first - joined[-1][1] < _BRIDGED:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return [(first, last) for first, last in joined if last - first >= _SHORTEST]
