"""The store in PostgreSQL, which any number of machines share.

Commits do not notify by themselves: a transaction with NOTIFY in it takes a lock of the whole
server at its end, and then only one at a time can be brought to the disk. So a thread tells the
others a moment later, once for however many commits there were. Should that message be lost with
its sender, others find out by looking: within a second, and nothing that is decided rests on it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hansard.errors import (
    DiskFull,
    HansardError,
    MissingPart,
    StoreBroken,
    StoreBusy,
    StoreGone,
    StoreOutdated,
)
from hansard.store.database import Database, Pulse
from hansard.store.schema import SCHEMA, revision, see_that_it_is_not_newer, upgrade

if TYPE_CHECKING:
    import psycopg

    from hansard.store.notices import Ears, Mouth

_log = logging.getLogger("hansard.store")

_IDLE = 5.0
"""Seconds after which a connection is asked whether it still lives before it is used."""

_OPENING = 0x48_61_6E_73
"""The advisory lock under which a schema is made or changed."""

_SETTINGS = (
    "-c timezone=UTC -c jit=off -c lock_timeout=30s -c statement_timeout=120s "
    # A machine that vanished must not hold rows: its transaction ends, its lease runs out.
    "-c idle_in_transaction_session_timeout=30s -c client_connection_check_interval=5s"
)


class Postgres(Database):
    """A PostgreSQL database. Each thread has a connection for as long as its transaction lasts."""

    dialect = "postgresql"
    readers = 4

    def __init__(self, address: str, *, connections: int = 16, outdated: bool = False) -> None:
        """Open the database at ``address``; an empty one is given its tables.

        Args:
            address: ``postgresql://user:password@host:port/name``, with any parameters of libpq.
            connections: at most so many of each kind, those that wait for the disk and others.
            outdated: take it as it is, to upgrade it.

        Raises:
            MissingPart: psycopg is not installed.
            StoreBroken: no such database, no way in, or one made by a newer Hansard.
            StoreOutdated: made by an older Hansard.
            StoreGone: it cannot be reached.
        """
        self._url = _url(address)
        super().__init__(self._url.render_as_string(hide_password=True))
        self._local = threading.local()
        self._counting = threading.Lock()
        self._beats = 0
        self._closing = threading.Event()
        self._ears: Ears | None = None
        self._mouth: Mouth | None = None
        self._lasting = self._engine("on", connections)
        self._hasty = self._engine("off", connections)
        self._seeing = self._hasty.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        try:
            self._see_schema(outdated=outdated)
        except HansardError:
            self.close()
            raise

    def _engine(self, commit: str, connections: int) -> sa.Engine:
        try:
            from hansard.store import notices

            engine = sa.create_engine(
                self._url,
                pool_size=min(4, connections),
                max_overflow=max(0, connections - 4),
                pool_use_lifo=True,
                pool_timeout=30,
                connect_args={
                    **notices.ALIVE,
                    "options": f"{_SETTINGS} -c synchronous_commit={commit}",
                    "application_name": "hansard",
                },
            )
        except ModuleNotFoundError as error:
            raise MissingPart(
                "PostgreSQL needs the package psycopg, which is not installed.",
                hint="pip install 'hansard[scale]'",
            ) from error
        sa.event.listen(engine, "after_cursor_execute", _count)
        sa.event.listen(engine, "checkin", _leave)
        sa.event.listen(engine, "checkout", _see_that_it_lives)
        return engine

    def _see_schema(self, *, outdated: bool) -> None:
        with _explained(self.place), self._lasting.connect() as connection:
            with connection.begin():
                found = revision(connection)
            if found is None:
                connection.exec_driver_sql(f"SELECT pg_advisory_lock({_OPENING})")
                connection.commit()
                try:
                    with connection.begin():
                        found = revision(connection)
                    if found is None:
                        upgrade(connection)
                        found = SCHEMA
                finally:
                    with suppress(sa.exc.DBAPIError):
                        connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_OPENING})")
                        connection.commit()
        see_that_it_is_not_newer(found, self.place)
        if found != SCHEMA and not outdated:
            raise StoreOutdated(
                f"The store {self.place} was made by an older Hansard (schema {found}, "
                f"this one needs {SCHEMA}).",
                hint="Stop the others, then `hansard database upgrade`.",
            )

    def upgrade(self) -> None:
        """Bring the schema up to date; one at a time, however many ask."""
        with _explained(self.place), self._lasting.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_OPENING})")
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.commit()
            try:
                upgrade(connection)
            finally:
                with suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_OPENING})")
                    connection.commit()
                    connection.invalidate()  # with the setting above

    # ── transactions ─────────────────────────────────────────────────────────────────────────

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One snapshot for all that is read in it."""
        current: sa.Connection | None = getattr(self._local, "connection", None)
        if current is not None:
            yield current
            return
        with self._transaction(self._seeing) as connection:
            yield connection

    @contextmanager
    def write(
        self, *, lasting: bool = True, silent: bool = False, unseen: bool = False
    ) -> Iterator[sa.Connection]:
        """Others may write at the same time; see :meth:`Database.write`."""
        assert getattr(self._local, "connection", None) is None, (
            "a transaction that writes cannot begin inside another"
        )
        with self._transaction(self._lasting if lasting else self._hasty) as connection:
            connection.info["changes"] = 0
            yield connection
            changed = connection.info["changes"]
        if changed and not unseen:
            self._tell(silent=silent)

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with _explained(self.place), engine.connect() as connection, connection.begin():
            self._local.connection = connection
            try:
                yield connection
            finally:
                self._local.connection = None

    # ── the bell ─────────────────────────────────────────────────────────────────────────────

    def _tell(self, *, silent: bool) -> None:
        """Something of ours was committed: those in this process first, then the others."""
        from hansard.store import notices

        self.beaten()
        if not silent:
            self.ring()
        with self._counting:
            if self._mouth is None and not self._closing.is_set():
                self._mouth = notices.Mouth(self._url)
            mouth = self._mouth
        if mouth is not None:
            mouth.say(notices.HUSH if silent else notices.RING)

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

    def _listen(self) -> Ears:
        from hansard.store import notices

        with self._counting:
            if self._ears is None:
                self._ears = notices.Ears(self._url, self)
            return self._ears

    def told_by(self) -> str | None:
        """What this process tells others under: its own messages are no news."""
        mouth = self._mouth
        return None if mouth is None else mouth.name

    def beat(self) -> int:
        """See :meth:`Pulse.beat`. Never the same while nobody can be heard."""
        ears = self._listen()
        if ears.deaf:
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

        return notices.connect(self._url)

    def close(self) -> None:
        """Say what is still to be said, and let go."""
        self._closing.set()
        if self._mouth is not None:
            self._mouth.close()
        if self._ears is not None:
            self._ears.close()
        for engine in (self._lasting, self._hasty):
            engine.dispose()


class _Beats:
    """A :class:`Pulse` that counts what is heard."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    def beat(self) -> int:
        return self._database.beat()

    def close(self) -> None:
        """Nothing is held."""


def _url(address: str) -> sa.URL:
    try:
        url = sa.make_url(address)
    except sa.exc.ArgumentError as error:
        raise StoreBroken(
            "The address of the database cannot be read.",
            hint="HANSARD_DATABASE looks like postgresql://user:password@host:5432/hansard.",
        ) from error
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise StoreBroken(
            f"There is no database of the kind {url.drivername}.",
            hint="HANSARD_DATABASE looks like postgresql://user:password@host:5432/hansard; "
            "without it the store is an SQLite file in the data directory.",
        )
    return url.set(drivername="postgresql+psycopg")


# ── on every connection ──────────────────────────────────────────────────────────────────────

_CHANGING = ("INSERT", "UPDATE", "DELETE")


def _count(connection: sa.Connection, cursor: Any, *_: Any) -> None:
    """Note how many rows a statement changed."""
    if (cursor.statusmessage or "").startswith(_CHANGING) and cursor.rowcount > 0:
        connection.info["changes"] = connection.info.get("changes", 0) + cursor.rowcount


def _leave(_connection: Any, record: Any) -> None:
    record.info["left"] = time.monotonic()


def _see_that_it_lives(connection: Any, record: Any, _proxy: Any) -> None:
    """A connection that lay idle may be broken: then all that did are made anew."""
    if time.monotonic() - record.info.get("left", time.monotonic()) < _IDLE:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise sa.exc.DisconnectionError from error


# ── errors ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Database errors in Hansard's words."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translated(error, place) from error
    except sa.exc.TimeoutError as error:
        raise StoreBusy(
            f"All connections to the store {place} are in use.", hint="Try again in a moment."
        ) from error


_BUSY = ("40001", "40P01", "55P03", "57014", "53300", "23505")
"""Serialization failure, deadlock, lock and statement timeout, too many connections; and two that
added the same thing at once: whoever tries again finds it there."""

_GONE = ("08", "57P", "25P03", "25P02")
_REFUSED = ("28", "3D000", "42501")
_FULL = ("53100", "53200")


def _translated(error: sa.exc.DBAPIError, place: str) -> HansardError:
    code = getattr(error.orig, "sqlstate", None) or ""
    said = str(error.orig).strip().partition("\n")[0]
    if code.startswith(_FULL):
        return DiskFull(
            f"There is no room left for the store {place}: {said}.",
            hint="Free some space on the database server.",
        )
    if code in _BUSY:
        return StoreBusy(f"The store {place} is busy: {said}.", hint="Try again in a moment.")
    if code.startswith(_REFUSED) or (not code and _is_refusal(said)):
        return StoreBroken(
            f"The store {place} does not let us in: {said}.",
            hint="Is HANSARD_DATABASE right, is the database there, and may the user use it?",
        )
    if error.connection_invalidated or code.startswith(_GONE) or _is_broken(error):
        return StoreGone(
            f"The store {place} cannot be reached: {said}.",
            hint="It is tried again; is the server running?",
        )
    return StoreBroken(
        f"The store {place} cannot be used: {said}.", hint="`hansard doctor` says more."
    )


def _is_refusal(said: str) -> bool:
    """While connecting libpq gives no code, only words."""
    return "authentication failed" in said or ("database" in said and "does not exist" in said)


def _is_broken(error: sa.exc.DBAPIError) -> bool:
    code = getattr(error.orig, "sqlstate", None)
    return isinstance(error, sa.exc.OperationalError) and code is None
