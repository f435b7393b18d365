"""The store in PostgreSQL, which any number of machines share.

Commits do not notify by themselves: a transaction with NOTIFY in it takes a lock of the whole
server at its end, and then only one at a time can be brought to the disk. So a thread tells the
others a moment later, once for however many commits there were. Should that message be lost with
its sender, others find out by looking: within a second, and nothing that is decided rests on it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hansard.chance import CHANCE
from hansard.errors import (
    HansardError,
    MissingPart,
    StoreBroken,
    StoreOutdated,
)
from hansard.store import ids
from hansard.store.address import parsed
from hansard.store.database import FEW, TENDED, Connections, Database, Pulse
from hansard.store.postgres_failures import READ_ONLY, explained
from hansard.store.schema import SCHEMA, go_to, revision, see_that_it_is_not_newer, upgrade

if TYPE_CHECKING:
    import psycopg

    from hansard.store.notices import Ears, Mouth

_log = logging.getLogger("hansard.store")

_IDLE = 5.0
"""Seconds after which a connection is asked whether it still lives before it is used."""


class Postgres(Database):
    """A PostgreSQL database. Each thread has a connection for as long as its transaction lasts."""

    dialect = "postgresql"
    readers = 4

    def __init__(self, address: str, *, connections: int = 16, outdated: bool = False) -> None:
        """Open the database at ``address``; an empty one is given its tables.

        Args:
            address: ``postgresql://user:password@host:port/name``; see ``store.address``.
            connections: at most so many of each kind, those that wait for the disk and others.
            outdated: take it as it is, to upgrade it.

        Raises:
            MissingPart: psycopg is not installed.
            StoreBroken: no such database, no way in, or one made by a newer Hansard.
            StoreOutdated: made by an older Hansard.
            StoreGone: it cannot be reached.
        """
        with _needed():
            self._address = parsed(address)
        super().__init__(self._address.place)
        self._local = threading.local()
        self._counting = threading.Lock()
        self._beats = 0
        self._tending: dict[str, float] = {}
        """What this process said it would look at again, and when, by the monotonic clock …"""
        self._others_tend: dict[str, float] = {}
        """… and another."""
        self._closing = threading.Event()
        self._ears: Ears | None = None
        self._mouth: Mouth | None = None
        self._most = connections
        self._lasting = self._engine("on", connections)
        self._hasty = self._engine("off", connections)
        self._at_once = self._lasting.execution_options(isolation_level="AUTOCOMMIT")
        self._glancing = self._hasty.execution_options(isolation_level="AUTOCOMMIT")
        self._seeing = self._hasty.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        try:
            self._see_schema(outdated=outdated)
        except HansardError:
            self.close()
            raise
        _open.add(self)

    def _engine(self, commit: str, connections: int) -> sa.Engine:
        settings = f"-c synchronous_commit={commit}"
        with _needed():
            engine = sa.create_engine(
                "postgresql+psycopg://",
                pool_size=min(4, connections),
                max_overflow=max(0, connections - 4),
                pool_use_lifo=True,
                pool_timeout=30,
                connect_args=self._address.arguments(settings),
            )
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(
            engine, "connect", lambda connection, _: self._address.settle(connection, settings)
        )
        sa.event.listen(engine, "after_cursor_execute", _count)
        sa.event.listen(engine, "checkin", _leave)
        sa.event.listen(engine, "checkout", _see_that_it_lives)
        sa.event.listen(engine, "handle_error", _judge)
        return engine

    def _see_schema(self, *, outdated: bool) -> None:
        with explained(self.place), self._lasting.connect() as connection:
            with connection.begin():
                found = revision(connection)
                if found is None:
                    _see_that_it_is_fit(connection, self.place)
            if found is None:
                upgrade(connection)  # one at a time: whoever comes second finds it done
                found = SCHEMA
        see_that_it_is_not_newer(found, self.place)
        if found != SCHEMA and not outdated:
            raise StoreOutdated(
                f"The store {self.place} was made by an older Hansard (schema {found}, "
                f"this one needs {SCHEMA}).",
                hint="Stop the others, then `hansard database upgrade`.",
            )

    def go_to(self, wanted: str = SCHEMA) -> None:
        """Bring the schema to a revision; one at a time, however many ask."""
        with explained(self.place), self._lasting.connect() as connection:
            go_to(connection, wanted)

    def connections(self) -> Connections:
        """Both kinds together."""
        pools: list[Any] = [self._lasting.pool, self._hasty.pool]
        used = sum(pool.checkedout() for pool in pools)
        idle = sum(pool.checkedin() for pool in pools)
        return Connections(used, idle, self._most * len(pools))

    # ── transactions ─────────────────────────────────────────────────────────────────────────

    @contextmanager
    def read(self, *, single: bool = False) -> Iterator[sa.Connection]:
        """One snapshot for all that is read in it, or one for each statement."""
        current: sa.Connection | None = getattr(self._local, "connection", None)
        if current is not None:
            yield current
            return
        with self._transaction(self._glancing if single else self._seeing) as connection:
            yield connection

    @contextmanager
    def write(
        self,
        *,
        lasting: bool = True,
        silent: bool = False,
        unseen: bool = False,
        single: bool = False,
    ) -> Iterator[sa.Connection]:
        """Others may write at the same time; see :meth:`Database.write`."""
        assert getattr(self._local, "connection", None) is None, (
            "a transaction that writes cannot begin inside another"
        )
        engine = self._lasting if lasting else self._hasty
        with self._transaction(self._at_once if single else engine) as connection:
            connection.info["changes"] = 0
            yield connection
            changed = connection.info["changes"]
        if changed and not unseen:
            self._tell(silent=silent)

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with explained(self.place), engine.connect() as connection, connection.begin():
            self._local.connection = connection
            try:
                yield connection
            finally:
                self._local.connection = None
                if self._closing.is_set():
                    connection.detach()  # its pool is gone: it is closed, and not given back

    # ── the bell ─────────────────────────────────────────────────────────────────────────────

    def _tell(self, *, silent: bool) -> None:
        """Something of ours was committed: those in this process first, then the others."""
        from hansard.store import notices

        self.beaten()
        if not silent:
            self.ring()
        self._say(notices.HUSH if silent else notices.RING)

    def _say(self, word: str) -> None:
        from hansard.store import notices

        with self._counting:
            if self._mouth is None and not self._closing.is_set():
                self._mouth = notices.Mouth(self._address)
            mouth = self._mouth
        if mouth is not None:
            mouth.say(word)

    def beaten(self) -> None:
        """Something was committed, or may have been."""
        with self._counting:
            self._beats += 1

    def watch(self) -> None:
        """Listen to what the others say."""
        self._listen()

    @property
    def hears(self) -> bool:
        """Whether the server can be listened to just now."""
        return self._ears is not None and not self._ears.deaf

    def _listen(self) -> Ears | None:
        """Who hears what others say; nobody once this is closed."""
        from hansard.store import notices

        with self._counting:
            if self._ears is None and not self._closing.is_set():
                self._ears = notices.Ears(self._address, self)
            return self._ears

    def rung(self) -> None:
        """Others committed something. Of a crowd some look, by chance; the rest when they wake.

        If every worker looked at every commit, their looks would grow with the square of the crowd.
        """
        if CHANCE.random() * self.crowd < FEW:
            self.ring()

    def tend(self, what: str) -> None:
        """See :meth:`Database.tend`."""
        from hansard.store import notices

        self._tending[what] = time.monotonic()
        self._say(f"{notices.TEND}{what}")

    def left_to(self, name: str, what: str) -> None:
        """Another process tends something. Of two who do, the one with the lesser name goes on."""
        now, mine = time.monotonic(), self.told_by()
        tending = now - self._tending.get(what, -TENDED) < TENDED
        if not (tending and mine is not None and mine < name):
            self._others_tend[what] = now

    def tended(self, what: str) -> float:
        """See :meth:`Database.tended`."""
        since = self._others_tend.get(what)
        return 0.0 if since is None else max(0.0, since + TENDED - time.monotonic())

    def told_by(self) -> str | None:
        """What this process tells others under: its own messages are no news."""
        mouth = self._mouth
        return None if mouth is None else mouth.name

    def beat(self) -> int:
        """See :meth:`Pulse.beat`. Never the same while nobody can be heard."""
        ears = self._listen()
        if ears is None or ears.deaf:
            self.beaten()
        with self._counting:
            return self._beats

    def pulse(self) -> Pulse:
        """This one: it needs no connection of its own."""
        self._listen()
        return _Beats(self)

    def mark(self, connection: sa.Connection) -> int:
        """How many commits were heard of. The snapshot is taken after that, never before it."""
        number = self.beat()
        connection.exec_driver_sql("SELECT 1")
        return number

    # ── the rest ─────────────────────────────────────────────────────────────────────────────

    def reader(self) -> Database:
        """This one: nobody who reads waits for anybody who writes."""
        return self

    def version(self) -> str:
        """The server's name and version."""
        with self.read() as connection:
            return f"PostgreSQL {connection.scalar(sa.text('SHOW server_version'))}"

    def connect(self) -> psycopg.Connection[Any]:
        """A connection outside of the pools, each statement a transaction of its own.

        Raises:
            psycopg.OperationalError: the server cannot be reached.
        """
        from hansard.store import notices

        return notices.connect(self._address)

    def close(self) -> None:
        """Say what is still to be said, and let go."""
        self._closing.set()
        _open.discard(self)
        with self._counting:
            mouth, ears = self._mouth, self._ears
        if mouth is not None:
            mouth.close()
        if ears is not None:
            ears.close()
        for engine in (self._lasting, self._hasty):
            engine.dispose()

    def begin_anew(self) -> None:
        """In a child process: leave the parent's connections and threads to the parent."""
        self._local = threading.local()
        self._counting = threading.Lock()
        self._bell = threading.Condition()
        self._beats += 1
        self._ears, self._mouth = None, None
        for engine in (self._lasting, self._hasty):
            engine.dispose(close=False)


_open: weakref.WeakSet[Postgres] = weakref.WeakSet()


def _forked() -> None:
    for database in list(_open):
        database.begin_anew()


os.register_at_fork(after_in_child=_forked)


class _Beats:
    """A :class:`Pulse` that counts what is heard."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    def beat(self) -> int:
        return self._database.beat()

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def _needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPart(
            "PostgreSQL needs the package psycopg, which is not installed.",
            hint="pip install 'hansard[scale]'",
        ) from error


_FIT = sa.text("""
    SELECT current_setting('server_encoding') AS encoding,
           array_agg(a || b ORDER BY a || b)
           = array_agg(a || b ORDER BY (a || b) COLLATE "C") AS ordered
    FROM unnest(string_to_array(:letters, NULL)) AS a, unnest(string_to_array(:letters, NULL)) AS b
""")


def _see_that_it_is_fit(connection: sa.Connection, place: str) -> None:
    """Refuse a new database that cannot hold every text, or has ids in another order than time.

    Danish, for one, has ``aa`` behind ``z``.
    """
    found = connection.execute(_FIT, {"letters": ids.ALPHABET}).one()
    if found.encoding != "UTF8" or not found.ordered:
        what = "sorts letters as we do not" if found.encoding == "UTF8" else found.encoding
        raise StoreBroken(
            f"The store {place} was created for one language or script only ({what}).",
            hint="CREATE DATABASE … ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0.",
        )


# ── on every connection ──────────────────────────────────────────────────────────────────────

_CHANGING = ("INSERT", "UPDATE", "DELETE", "COPY")


def _prepare(connection: Any, _record: Any) -> None:
    from hansard.store import notices

    connection.adapters.register_dumper(str, notices.Text)


def _count(
    connection: sa.Connection, cursor: Any, _statement: str, _given: Any, context: Any, _many: bool
) -> None:
    """Note how many rows a statement changed.

    PostgreSQL calls it a SELECT what inserts in a WITH and selects what it did: such a statement
    has the execution option ``changes``.
    """
    changes = context is not None and context.execution_options.get("changes", False)
    says = (cursor.statusmessage or "").startswith(_CHANGING)
    if (changes or says) and cursor.rowcount > 0:
        connection.info["changes"] = connection.info.get("changes", 0) + cursor.rowcount


def _leave(_connection: Any, record: Any) -> None:
    record.info["left"] = time.monotonic()


def _see_that_it_lives(connection: Any, record: Any, _proxy: Any) -> None:
    """A connection that lay idle may be broken: then all that are idle are made anew."""
    if time.monotonic() - record.info.get("left", time.monotonic()) < _IDLE:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise sa.exc.InvalidatePoolError from error


def _judge(context: sa.ExceptionContext) -> None:
    """A server that became another's copy takes no writes: look for the one that does."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True
