"""Does the service grow? Its processes' memory, descriptors and threads while it is under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hansard.errors import NobodyServes
from hansard.model import Value
from hansard.perf.loadtest_figures import CONFIDENCE, Growth

What = Literal["memory", "descriptors", "threads"]

ALLOWED_MEMORY = 0.02
"""Growth an hour that is called steady, as a share of what there was once it had settled …"""

ALLOWED_PIECES = 5.0
"""… and of descriptors and threads, in pieces."""

_SETTLING = 0.2
"""Share of a soak in which caches fill and models are loaded: it does not count."""

_BLOCKS = 40
"""Averages that a slope is drawn through: samples a second apart are nearly the same sample."""

_FEWEST = 8
"""With fewer blocks nothing is said."""

_SHORTEST = 600.0
"""Seconds below which nothing is called steady: what leaks once in a while was not seen."""

_HOUR = 3600.0


class Sample(Value, frozen=True):
    """The processes of a service at one moment."""

    at: float
    """Seconds from the start of the watch."""
    memory: int
    """Bytes that they hold for themselves (unique set size)."""
    descriptors: int
    threads: int
    processes: frozenset[int]


def look(root: int, at: float) -> Sample:
    """A process and all below it, now.

    Raises:
        NobodyServes: it has ended, or belongs to somebody else.
    """
    import psutil

    memory = descriptors = threads = 0
    seen = set()
    try:
        first = psutil.Process(root)
        family = [first, *first.children(recursive=True)]
    except psutil.Error as error:
        raise NobodyServes(f"There is no process {root}.", hint="Look at --pid.") from error
    for one in family:
        try:
            with one.oneshot():
                memory += one.memory_full_info().uss
                descriptors += one.num_fds()
                threads += one.num_threads()
        except psutil.NoSuchProcess:
            continue  # it ended between the two looks
        except psutil.AccessDenied as error:
            raise NobodyServes(
                f"Process {one.pid} of the service is not yours to look into.",
                hint="Run the soak as the user who runs the service.",
            ) from error
        seen.add(one.pid)
    if root not in seen:
        raise NobodyServes(f"There is no process {root}.", hint="Look at --pid.")
    return Sample(at, memory, descriptors, threads, frozenset(seen))


class Watch:
    """Samples of a service's processes, every so many seconds, taken by a thread."""

    def __init__(self, root: int, every: float) -> None:
        self.samples: list[Sample] = [look(root, 0.0)]
        self.ended: NobodyServes | None = None
        """Why there is nothing more to see, if the service went away."""
        self._root, self._every = root, every
        self._over = threading.Event()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            try:
                self.samples.append(look(self._root, time.monotonic() - self._begun))
            except NobodyServes as error:
                self.ended = error
                return

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()


@contextmanager
def watching(root: int, every: float) -> Iterator[Watch]:
    """Watch a process and all below it for as long as the context lasts."""
    watch = Watch(root, every)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def growths(samples: Sequence[Sample]) -> tuple[Growth, ...]:
    """Whether memory, descriptors and threads grow."""
    if len(samples) < 2:
        return ()
    settled = next(one for one in samples if one.at >= _settled(samples[0].at, samples[-1].at))
    allowed: Mapping[What, float] = {
        "memory": ALLOWED_MEMORY * settled.memory,
        "descriptors": ALLOWED_PIECES,
        "threads": ALLOWED_PIECES,
    }
    return tuple(
        growth(what, [(one.at, float(getattr(one, what))) for one in samples], limit)
        for what, limit in allowed.items()
    )


def _settled(begun: float, ended: float) -> float:
    return begun + _SETTLING * (ended - begun)


def growth(what: What, samples: Sequence[tuple[float, float]], allowed: float) -> Growth:
    """The slope of a figure over time, and whether it is more than ``allowed`` an hour.

    The median of the slopes of all pairs, with the interval that follows from Kendall's test
    (Theil 1950; Sen, J. Amer. Stat. Assoc. 63, 1968): a single leap does not tilt it, as it tilts
    least squares. It is drawn through averages of blocks, after the time in which things settle;
    where neighbouring blocks still go together, the interval is as much wider as fewer independent
    ones would make it (Santer et al., J. Geophys. Res. 105, 2000).

    Args:
        what: the figure.
        samples: seconds, and the figure.
        allowed: an hour.
    """
    times, values = (np.array(column) for column in zip(*samples, strict=True))
    kept = times >= _settled(times[0], times[-1])
    slope, low, high = _slope(times[kept], values[kept])
    verdict: Literal["steady", "grows", "not told"] = "not told"
    if low is not None and low > allowed:
        verdict = "grows"
    elif high is not None and high <= allowed and times[-1] - times[0] >= _SHORTEST:
        verdict = "steady"
    return Growth(
        what,
        start=float(values[kept][0]),
        end=float(values[-1]),
        an_hour=slope,
        low=low,
        high=high,
        allowed=allowed,
        verdict=verdict,
        samples=tuple(_thinned(samples)),
    )


def _slope(
    times: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[float, float | None, float | None]:
    """Slope an hour and its interval; none where there are too few blocks to tell."""
    from scipy.stats import theilslopes

    blocks = min(_BLOCKS, len(times))
    if blocks < _FEWEST:
        return 0.0, None, None
    hours = np.array([part.mean() for part in np.array_split(times, blocks)]) / _HOUR
    means = np.array([part.mean() for part in np.array_split(values, blocks)])
    slope, intercept, low, high = theilslopes(means, hours, CONFIDENCE)
    rest = means - intercept - slope * hours
    rest = rest - rest.mean()
    power = float(rest @ rest)
    alike = max(0.0, float(rest[1:] @ rest[:-1]) / power) if power > 0 else 0.0
    wider = np.sqrt((1 + alike) / max(1e-9, 1 - alike))
    return float(slope), float(slope - (slope - low) * wider), float(slope + (high - slope) * wider)


def _thinned(samples: Sequence[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    step = -(-len(samples) // most)
    return [(round(at, 2), value) for at, value in samples[::step]]
