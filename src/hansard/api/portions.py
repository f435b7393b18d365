"""Requests over all API processes that share a store: tokens are taken from it in portions.

Asking the store about each request would cost more than most requests do. So a process takes some
tokens of a key in advance, as many as the key used of late and at most a second's worth, and gives
back what nobody wanted within a second. Tokens come out of the one bucket only. Hence over all
processes, with ``n`` of them, and ``p`` the largest portion:

- since a bucket was first used, never more than ``burst + rate * t`` requests were let through;
- within any stretch of ``t`` seconds never more than ``burst + rate * t + n * p``, since what lies
  in the processes may be used while the bucket fills up again;
- a request may be refused while up to ``(n - 1) * p`` tokens lie with the others.

While the store does not answer each process counts for itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from hansard.api.limits import Allowance, Buckets
from hansard.errors import HansardError
from hansard.store import buckets

if TYPE_CHECKING:
    from hansard.store.database import Database

_log = logging.getLogger("hansard.api")

_KEPT = 1.0
"""Seconds that tokens lie here unused before they go back."""

_SHARE = 8
"""A portion is at most this part of a full bucket, so that one process does not empty it."""

_PATIENCE = 1.0
"""Seconds that the store has to answer."""

_ALONE = 5.0
"""Seconds that a process counts for itself before it asks a store again that did not answer."""

_KNOWN = 10_000
"""Names that are remembered."""

_SWEEP = 3600.0
"""Seconds between two looks for buckets that nobody uses any more."""

P = ParamSpec("P")
T = TypeVar("T")


class Limiter(Protocol):
    """How many requests a name has. For one event loop."""

    async def take(self, name: str, rate: float, burst: int) -> Allowance:
        """Take one token from a bucket that gains ``rate`` tokens a second up to ``burst``."""
        ...

    async def start(self) -> None:
        """Begin to look after it."""
        ...

    async def close(self) -> None:
        """Give back what is not used."""
        ...


def limiter(database: Database) -> Limiter:
    """In memory where this process is the only one that serves a store, else by portions.

    Only one service has a data directory, so none shares its SQLite file.
    """
    return Alone() if database.dialect == "sqlite" else Portions(database)


class Alone:
    """Buckets in the memory of this process."""

    def __init__(self) -> None:
        self._buckets = Buckets()

    async def take(self, name: str, rate: float, burst: int) -> Allowance:
        """Never waits."""
        return self._buckets.take(name, rate, burst)

    async def start(self) -> None:
        """Nothing is to be looked after."""

    async def close(self) -> None:
        """Nothing is held."""


class _Stock:
    """The tokens of one name that lie here, and what is known of its bucket."""

    __slots__ = ("burst", "drawn", "filling", "left", "rate", "shut", "size", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self.drawn = -math.inf
        """When some were last taken, or asked for."""
        self.left = 0.0
        """Tokens in the store at that moment."""
        self.shut = -math.inf
        """There is none before this."""
        self.size = 0
        """Of the last portion."""
        self.rate, self.burst = 1.0, 1
        self.filling: asyncio.Task[None] | None = None

    def in_store(self, now: float) -> float:
        """Tokens that the store has by now, as far as this process knows."""
        since = 0.0 if self.drawn == -math.inf else now - self.drawn
        return min(self.burst, self.left + since * self.rate)


class Portions:
    """Tokens of buckets in the store, taken in portions. For one event loop."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._stocks: OrderedDict[str, _Stock] = OrderedDict()
        self._alone = Buckets(clock=clock)
        self._alone_until = -math.inf
        self._thread = ThreadPoolExecutor(1, "hansard-limits")
        self._task: asyncio.Task[None] | None = None
        self._swept = clock()
        self._troubled = False

    async def take(self, name: str, rate: float, burst: int) -> Allowance:
        """Waits for the store only where nothing lies here, and nobody knows that there is none."""
        stock = self._stocks.get(name)
        if stock is None:
            stock = self._stocks[name] = _Stock()
        else:
            self._stocks.move_to_end(name)
        stock.rate, stock.burst = rate, burst
        while stock.tokens < 1:
            now = self._clock()
            if now < self._alone_until:
                return self._alone.take(name, rate, burst)
            if now < stock.shut:
                left = stock.in_store(now)
                return Allowance(burst, math.floor(left), (burst - left) / rate, stock.shut - now)
            await asyncio.shield(self._fill(name, stock))
        stock.tokens -= 1
        now = self._clock()
        if stock.size >= 4 and stock.tokens <= stock.size // 4 and now >= stock.shut:
            self._fill(name, stock)  # so that the next ones need not wait for it
        left = min(float(burst), stock.tokens + stock.in_store(now))
        return Allowance(burst, math.floor(left), (burst - left) / rate, 0.0)

    # ── taking and giving back ───────────────────────────────────────────────────────────────

    def _fill(self, name: str, stock: _Stock) -> asyncio.Task[None]:
        """Take a portion; however many want one, one is taken."""
        if stock.filling is None:
            stock.filling = asyncio.create_task(self._draw(name, stock))
        return stock.filling

    async def _draw(self, name: str, stock: _Stock) -> None:
        rate, burst = stock.rate, stock.burst
        begun = self._clock()
        most = max(1, min(math.floor(rate * _KEPT), burst // _SHARE))
        busy = begun - stock.drawn < _KEPT
        wanted = min(most, 2 * stock.size) if busy and stock.size else 1
        if busy and wanted > 1:
            wanted = max(1, min(wanted, math.floor(stock.in_store(begun))))
        try:
            drawn = await self._ask(
                buckets.take, self._database, name, wanted, rate=rate, burst=burst
            )
            if drawn.wait and wanted > 1 and drawn.left >= 1:
                wanted = math.floor(drawn.left)
                drawn = await self._ask(
                    buckets.take, self._database, name, wanted, rate=rate, burst=burst
                )
        except (HansardError, TimeoutError) as error:
            self._go_alone(error)
            return
        finally:
            stock.filling = None
        now = self._clock()
        stock.drawn, stock.left = now, drawn.left
        if drawn.wait:
            # Somebody else may have been quicker with what was left, so for one more at the least.
            stock.shut = now + max((1.0 - drawn.left) / rate, 1e-3)
        else:
            stock.size = wanted
            stock.tokens += wanted

    async def _ask(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function on the thread that is kept for this."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_PATIENCE):
            found = await loop.run_in_executor(self._thread, partial(ask, *args, **kwargs))
        if self._troubled:
            self._troubled = False
            _log.warning("the store counts requests again")
        return found

    def _go_alone(self, error: Exception) -> None:
        self._alone_until = self._clock() + _ALONE
        if not self._troubled:
            self._troubled = True
            said = error.message if isinstance(error, HansardError) else "it does not answer"
            _log.warning("requests are counted by this process alone: %s", said)

    async def start(self) -> None:
        """Begin to give back what nobody uses."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_KEPT)
            now = self._clock()
            await self._give_back(now - _KEPT)
            if now - self._swept > _SWEEP:
                self._swept = now
                with suppress(HansardError, TimeoutError):  # the next one does it
                    await self._ask(buckets.sweep, self._database)

    async def _give_back(self, before: float) -> None:
        """Give back what was taken before a moment."""
        for name, stock in list(self._stocks.items()):
            tokens = stock.tokens
            if not tokens or stock.drawn > before:
                continue
            stock.tokens, stock.size = 0, 0
            try:
                await self._ask(buckets.give_back, self._database, name, tokens, burst=stock.burst)
            except (HansardError, TimeoutError) as error:
                self._go_alone(error)  # they are lost, and flow in again
                return
            stock.left = min(stock.burst, stock.left + tokens)
        while len(self._stocks) > _KNOWN:
            self._stocks.popitem(last=False)

    async def close(self) -> None:
        """Give back everything."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._give_back(math.inf)
        self._thread.shutdown(wait=True, cancel_futures=True)
