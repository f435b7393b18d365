"""How long work waits for a free worker: the queue M/G/c, by approximation.

Recordings arrive at random (M), take as long as they take (G), and find ``c`` workers. There is no
closed formula for such a queue. The mean wait is that of M/M/c times half the sum of the squared
coefficients of variation of the gaps between arrivals and of the service times (Allen, Probability,
Statistics and Queueing Theory, 1978, after Cunneen); for M/M/c itself Sakasegawa's closed form is
taken (Ann. Inst. Statist. Math. 29, 1977):

    W = (1 + cs²) / 2 * u^(√(2(c + 1)) - 1) / (c (1 - u)) * S

It is exact for one worker (Pollaczek and Khinchine) and within some percent of M/M/c. How long the
unlucky wait is taken to be exponential, as it is in heavy traffic (Kingman 1962).
"""

from __future__ import annotations

import math

from hansard.model import Value

_MOST = 10_000_000
"""Workers; whoever needs more has mistyped."""


class Queue(Value, frozen=True):
    """Work that comes in at random. Any unit of time, the same everywhere."""

    rate: float
    """Recordings that arrive in a unit of time."""
    service: float
    """Time that one worker takes for a recording, on average …"""
    variability: float
    """… and its variance over the square of that: 0 all alike, 1 exponential."""

    @property
    def offered(self) -> float:
        """Workers that would be busy all the time."""
        return self.rate * self.service

    @property
    def _dispersion(self) -> float:
        return (1.0 + self.variability) / 2.0

    def delayed(self, workers: int) -> float:
        """Share of the recordings that find no worker free; 1 where there are too few workers."""
        busy = self.offered / workers
        return 1.0 if busy >= 1 else busy ** (math.sqrt(2.0 * (workers + 1)) - 1.0)

    def wait(self, workers: int) -> float:
        """Mean time that a recording waits; endless where there are too few workers."""
        busy = self.offered / workers
        if busy >= 1:
            return math.inf
        return self._dispersion * self.delayed(workers) * self.service / (workers * (1.0 - busy))

    def started(self, within: float, workers: int) -> float:
        """Share of the recordings that wait for no longer than ``within``."""
        if within < 0:
            return 0.0
        spare = workers - self.offered
        if spare <= 0:
            return 0.0
        mean = self._dispersion * self.service / spare  # of those who wait
        return 1.0 - self.delayed(workers) * math.exp(-within / mean)

    def done(self, within: float, workers: int) -> float:
        """Share of the recordings that are done ``within`` so long after they came.

        Two ways to share the work stand on either side of what workers do, and the worse of the two
        is taken: a recording is heard by one worker and those that are idle, or by all of them
        before the next one is begun, as a single worker so many times as fast would.
        """
        idle = max(1.0, workers - self.offered)
        apart = self.started(within - self.service / idle, workers)
        pooled = Queue(self.rate, self.service / workers, self.variability)
        return min(apart, pooled.started(within - pooled.service, 1))


def enough(queue: Queue, within: float, share: float) -> int:
    """The fewest workers that have ``share`` of the recordings done in time, as long as it goes on.

    Args:
        queue: what comes in.
        within: time from the arrival of a recording to its end.
        share: 0 to 1, less than 1.
    """
    low = int(queue.offered)  # as many are too few: they would be busy all the time
    high = low + 1
    while queue.done(within, high) < share and high < _MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if queue.done(within, middle) < share:
            low = middle
        else:
            high = middle
    return high


def enough_for(queue: Queue, within: float, share: float, lasting: float) -> int:
    """The same for a stretch of arrivals that ends: what waits then is worked off in the time left.

    The work that waits is taken to move like a Brownian motion that is reflected at nothing, with
    drift u c - c and variance λ E[S²], as queues do in heavy traffic; whoever comes last finds its
    highest point so far (Harrison, Brownian Motion and Stochastic Flow Systems, 1985, §1.8). With
    much time this needs fewer workers than a queue that never ends, which must not fall behind.
    """
    from scipy.special import log_ndtr

    variance = queue.rate * queue.service**2 * (1.0 + queue.variability)
    scale = math.sqrt(variance * lasting)

    def holds(workers: int) -> bool:
        left = within - queue.service / workers
        if left <= 0:
            return False
        drift, room = queue.offered - workers, workers * left
        late = math.exp(log_ndtr((drift * lasting - room) / scale)) + math.exp(
            min(0.0, 2 * drift * room / variance + log_ndtr((-drift * lasting - room) / scale))
        )
        return late <= 1.0 - share

    low, high = 0, 1
    while not holds(high) and high < _MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
