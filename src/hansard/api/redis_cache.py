"""The second cache: a Redis that all API processes share, for what is dear to make.

What is here may vanish at any time, and nothing stale or foreign can be read from it. A key names
all that an answer was made from: this version of Hansard and its tables, the store, the tenant, the
job and its version, the format. So nothing is ever overwritten with something else, and what was
made from an older version is not asked for any more; it goes with its time.

A Redis that is down or slow is as good as none: that is said once, and for a while nobody asks it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import socket
import time
import zlib
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from hansard import __version__, telemetry
from hansard.api.cache import LARGEST, Sized
from hansard.errors import BadSettings, HansardError, MissingPart
from hansard.store.schema import SCHEMA

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hansard.store.database import Database

_log = logging.getLogger("hansard.api")

FORM = 1
"""Of what is written. Count it up with any change to how answers are made or packed."""

KEPT = 3600
"""Seconds that answers about a job are kept after the last one was added."""

PAGE_KEPT = 10
"""Seconds that a list is kept: it is good for one moment of the store only."""

_LARGEST_PACKED = 4 * 2**20
_FIELDS = 64
"""Answers of one job: formats, each with any layout, and versions."""

_PACKED_FROM = 4096
"""Bytes. Shorter answers are kept as they are."""

_AT_ONCE = 32 * 1024
"""Bytes that are packed on the event loop; more is left to a thread."""

_PATIENCE = 0.1
"""Seconds that Redis has for an answer."""

_FIRST, _LONGEST = 1.0, 30.0
"""Seconds that nobody asks a Redis that did not answer; doubled each time."""

_MAKING = 10.0
"""Seconds after which whoever said that he makes an answer is taken for dead."""

_WAIT, _LOOK = 3.0, 0.02
"""Seconds that others wait for what is being made elsewhere, and between two looks."""

_CONNECTIONS = 32

_PUT = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then redis.call('UNLINK', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0
"""

V = TypeVar("V", bound=Sized)

Work = Callable[..., Awaitable[Any]]


class RedisCache:
    """Bytes by job and by moment. For one event loop."""

    def __init__(
        self,
        address: str,
        database: Database,
        work: Work,
        *,
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``work`` calls a function where it may take its time.

        Raises:
            MissingPart: the package redis is not installed.
            BadSettings: the address is none.
        """
        self._redis = _client(address, patience)
        self._work = work
        self._patience = patience
        self._clock = clock
        self._root = f"hansard:{FORM}:{__version__}:{SCHEMA}:{_identity(database)}"
        self._pause = 0.0
        self._shut_until = 0.0
        self._trying = False

    @property
    def answers(self) -> bool:
        """Whether it did when it was last asked."""
        return not self._pause

    # ── answers about a job ──────────────────────────────────────────────────────────────────

    async def get(
        self, tenant: str, job: str, what: Hashable, make: Callable[[], Awaitable[bytes | None]]
    ) -> bytes | None:
        """An answer; ``make`` is called where there is none, by one of all who ask anywhere.

        ``what`` names everything else that it was made from, the same way in every process. What
        ``make`` gives ``None`` for is not kept.
        """
        name, field = self._job(tenant, job), _digest(what)
        found = await self._read(name, field)
        telemetry.count("cache.misses" if found is None else "cache.hits")
        if found is not None:
            return found
        lock, token = f"{name}:{field}", secrets.token_hex(8)
        mine = await self._ask(
            lambda redis: redis.set(lock, token, nx=True, px=int(_MAKING * 1000)), default=True
        )
        if not mine:
            found = await self._await(name, field, lock)
            if found is not None:
                return found
        try:
            made = await make()
            if made is not None:
                await self._write(tenant, job, field, made)
        finally:
            if mine:
                await self._ask(lambda redis: redis.eval(_RELEASE, 1, lock, token))
        return made

    async def forget(self, tenant: str, job: str) -> None:
        """Remove all that there is about a job; what somebody makes just now is not kept."""

        async def remove(redis: Redis) -> None:
            pipe = redis.pipeline()
            pipe.set(self._gone(tenant, job), b"1", ex=KEPT)
            pipe.unlink(self._job(tenant, job))
            await pipe.execute()

        await self._ask(remove)

    async def _await(self, name: str, field: str, lock: str) -> bytes | None:
        """What another process is making; ``None`` where it gave up or takes too long."""
        until = self._clock() + _WAIT
        while self._clock() < until:
            await asyncio.sleep(_LOOK)
            # In this order: whoever makes it lets go of the lock after he has written.
            held = await self._ask(lambda redis: redis.exists(lock))
            found = await self._read(name, field)
            if found is not None or not held:
                return found
        return None

    async def _read(self, name: str, field: str) -> bytes | None:
        packed = await self._ask(lambda redis: redis.hget(name, field))
        return None if packed is None else await self._unpacked(packed)

    async def _write(self, tenant: str, job: str, field: str, made: bytes) -> None:
        packed = await self._packed(made)
        if packed is None:
            return
        name, gone = self._job(tenant, job), self._gone(tenant, job)
        await self._ask(lambda redis: redis.eval(_PUT, 2, name, gone, field, packed, KEPT, _FIELDS))

    # ── lists ────────────────────────────────────────────────────────────────────────────────

    async def page(self, tenant: str, what: Hashable, moment: str) -> bytes | None:
        """A list as the store has it at a moment."""
        name = self._page(tenant, what, moment)
        packed = await self._ask(lambda redis: redis.get(name))
        return None if packed is None else await self._unpacked(packed)

    async def keep_page(self, tenant: str, what: Hashable, moment: str, made: bytes) -> None:
        """Keep a list that was made from one moment of the store."""
        packed = await self._packed(made)
        if packed is not None:
            name = self._page(tenant, what, moment)
            await self._ask(lambda redis: redis.set(name, packed, ex=PAGE_KEPT))

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def _job(self, tenant: str, job: str) -> str:
        return f"{self._root}:job:{_safe(tenant)}:{_safe(job)}"

    def _gone(self, tenant: str, job: str) -> str:
        return f"{self._root}:gone:{_safe(tenant)}:{_safe(job)}"

    def _page(self, tenant: str, what: Hashable, moment: str) -> str:
        return f"{self._root}:page:{_safe(tenant)}:{_digest((what, moment))}"

    # ── packing ──────────────────────────────────────────────────────────────────────────────

    async def _packed(self, made: bytes) -> bytes | None:
        """As it is kept; ``None`` where it is too large."""
        if len(made) > LARGEST:
            return None
        if len(made) < _PACKED_FROM:
            return b"r" + made
        packed: bytes = (
            zlib.compress(made, 1)
            if len(made) <= _AT_ONCE
            else await self._work(zlib.compress, made, 1)
        )
        return b"z" + packed if len(packed) <= _LARGEST_PACKED else None

    async def _unpacked(self, packed: bytes) -> bytes | None:
        kind, body = packed[:1], packed[1:]
        if kind == b"r":
            return body
        try:
            if len(body) <= _AT_ONCE // 8:
                return _inflated(body)
            found: bytes = await self._work(_inflated, body)
        except zlib.error:
            return None  # not ours: made again
        return found

    # ── Redis itself ─────────────────────────────────────────────────────────────────────────

    async def _ask(self, ask: Callable[[Redis], Awaitable[Any]], *, default: Any = None) -> Any:
        """What Redis says; ``default`` where it does not, or did not a moment ago."""
        from redis.exceptions import RedisError

        if self._clock() < self._shut_until or (self._pause and self._trying):
            return default
        self._trying = True
        try:
            async with asyncio.timeout(self._patience):
                said = await ask(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._shut(error)
            return default
        finally:
            self._trying = False
        if self._pause:
            self._pause = 0.0
            _log.warning("the cache answers again")
        return said

    def _shut(self, error: Exception) -> None:
        now = self._clock()
        if now < self._shut_until:
            return  # of a crowd that asked at once the first has said it
        if not self._pause:
            said = str(error) or f"no answer within {self._patience * 1000:.0f} ms"
            _log.warning("going on without the cache: %s", said)
        self._pause = min(_LONGEST, self._pause * 2) if self._pause else _FIRST
        self._shut_until = now + self._pause

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()


class OfJobs(Generic[V]):
    """The second cache of a shelf whose keys begin with a tenant and a job."""

    def __init__(
        self,
        cache: RedisCache,
        pack: Callable[[V], Awaitable[bytes | None]],
        unpack: Callable[[bytes], Awaitable[V]],
    ) -> None:
        """``pack`` makes bytes of an answer, or ``None`` where it is too large."""
        self._cache = cache
        self._pack = pack
        self._unpack = unpack

    async def get(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        """The answer for a key; made by one of all processes that look for it."""
        assert isinstance(key, tuple)
        tenant, job, *what = key
        made: list[V] = []

        async def packed() -> bytes | None:
            made.append(await make())
            return await self._pack(made[0])

        found = await self._cache.get(tenant, job, tuple(what), packed)
        if made:
            return made[0]
        assert found is not None
        return await self._unpack(found)


def _client(address: str, patience: float) -> Redis:
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ModuleNotFoundError as error:
        raise MissingPart(
            "A shared cache needs the package redis, which is not installed.",
            hint="pip install 'hansard[scale]'",
        ) from error
    try:
        pool = BlockingConnectionPool.from_url(
            address,
            max_connections=_CONNECTIONS,
            timeout=patience,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise BadSettings(
            "The setting cache is not the address of a Redis.",
            hint="For example redis://127.0.0.1:6379/0.",
        ) from error
    return Redis.from_pool(pool)


def _identity(database: Database) -> str:
    """The same for all who open the same store, by whatever name; another for any other store."""
    named = f"{socket.gethostname()} {database.place}"
    if database.dialect == "postgresql":
        named = database.place
        try:
            with database.read() as connection:
                row = connection.execute(_WHICH).one()
                named = f"{row[0]} {row[1]}"
        except HansardError as error:
            _log.warning("the store does not say which one it is: %s", error.message)
    return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()


_WHICH = sa.text(
    "SELECT (SELECT system_identifier FROM pg_control_system()), oid "
    "FROM pg_database WHERE datname = current_database()"
)


def _digest(what: Hashable) -> str:
    return hashlib.blake2b(repr(what).encode(), digest_size=16).hexdigest()


def _safe(name: str) -> str:
    return quote(name, safe="")


def _inflated(body: bytes) -> bytes:
    """At most as much as was put in, whoever wrote it."""
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(body, LARGEST)
    if not unpacking.eof:
        raise zlib.error("more than may be")
    return found
