"""Gaussian mixtures with diagonal covariances, fitted the same way every time.

Expectation maximisation (A. Dempster, N. Laird and D. Rubin, 1977), begun from one Gaussian that
is split in two along its widest spread until there are enough, as HTK does it; nothing is random.
Adaptation of the means towards data is D. Reynolds, T. Quatieri and R. Dunn, *Speaker verification
using adapted Gaussian mixture models*, Digital Signal Processing 10, 2000.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

_ROUNDS = 4
_LEAST = 1e-3
_AT_ONCE = 1 << 15


class Mixture(NamedTuple):
    """Weights ``(m,)``, means and variances ``(m, d)``."""

    weights: Matrix
    means: Matrix
    variances: Matrix


def likelihoods(mixture: Mixture, frames: Matrix) -> Matrix:
    """Log density of each frame under each component, weights included; ``(n, m)``."""
    precise = 1 / mixture.variances
    constant = (
        np.log(mixture.weights)
        - 0.5 * np.sum(np.log(2 * np.pi * mixture.variances), axis=1)
        - 0.5 * np.sum(mixture.means**2 * precise, axis=1)
    )
    return np.asarray(
        constant + frames @ (mixture.means * precise).T - 0.5 * (frames**2) @ precise.T, np.float32
    )


def summed(parts: Matrix) -> Matrix:
    """Log of the sum of exponentials along the last axis."""
    top = parts.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(parts - top).sum(axis=-1)), np.float32)


def density(mixture: Mixture, frames: Matrix) -> Matrix:
    """Log density of each frame, ``(n,)``."""
    return np.concatenate(
        [
            summed(likelihoods(mixture, frames[at : at + _AT_ONCE]))
            for at in range(0, len(frames), _AT_ONCE)
        ]
        or [np.empty(0, np.float32)]
    )


def fitted(frames: Matrix, components: int, *, rounds: int = _ROUNDS) -> Mixture:
    """A mixture of at most ``components``, fewer where there are fewer than 20 frames for each.

    Args:
        frames: shape ``(n, d)``, at least one.
        components: a power of two is reached exactly.
        rounds: of expectation maximisation after each split.
    """
    floor = np.maximum(frames.var(axis=0, dtype=np.float64) * 0.01, _LEAST)
    mean, spread = frames.mean(axis=0, dtype=np.float64), frames.var(axis=0, dtype=np.float64)
    mixture = Mixture(
        np.ones(1, np.float32),
        mean[None].astype(np.float32),
        np.maximum(spread, floor)[None].astype(np.float32),
    )
    most = min(components, max(1, len(frames) // 20))
    while len(mixture.weights) < most:
        mixture = _split(mixture, most)
        for _ in range(rounds):
            mixture = _step(mixture, frames, floor)
    return mixture


def _split(mixture: Mixture, most: int) -> Mixture:
    """The heaviest components in two, as many as there is room for."""
    count = len(mixture.weights)
    chosen = np.argsort(-mixture.weights, kind="stable")[: min(count, most - count)]
    step = np.zeros_like(mixture.means)
    step[chosen] = 0.2 * np.sqrt(mixture.variances[chosen])
    weights = mixture.weights.copy()
    weights[chosen] /= 2
    return Mixture(
        np.concatenate([weights, weights[chosen]]),
        np.concatenate([mixture.means + step, mixture.means[chosen] - step[chosen]]),
        np.concatenate([mixture.variances, mixture.variances[chosen]]),
    )


def statistics(
    mixture: Mixture, frames: Matrix
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Occupancy ``(m,)``, sums and sums of squares ``(m, d)`` of frames by component."""
    shape = mixture.means.shape
    zeroth, first, second = np.zeros(shape[0]), np.zeros(shape), np.zeros(shape)
    for at in range(0, len(frames), _AT_ONCE):
        part = frames[at : at + _AT_ONCE]
        shares = likelihoods(mixture, part)
        shares = np.exp(shares - summed(shares)[:, None])
        zeroth += shares.sum(axis=0, dtype=np.float64)
        first += shares.T @ part
        second += shares.T @ part**2
    return zeroth, first, second


def _step(mixture: Mixture, frames: Matrix, floor: NDArray[np.float64]) -> Mixture:
    zeroth, first, second = statistics(mixture, frames)
    held = np.maximum(zeroth, 1e-3)[:, None]
    means = first / held
    variances = np.maximum(second / held - means**2, floor)
    weights = np.maximum(zeroth, 1.0)
    return Mixture(
        (weights / weights.sum()).astype(np.float32),
        means.astype(np.float32),
        variances.astype(np.float32),
    )


def adapted(mixture: Mixture, frames: Matrix, relevance: float = 16.0) -> Mixture:
    """The mixture with its means moved towards frames, each as far as it has seen of them."""
    zeroth, first, _ = statistics(mixture, frames)
    means = (first + relevance * mixture.means) / (zeroth + relevance)[:, None]
    return mixture._replace(means=means.astype(np.float32))
