"""One connection to the store, its transactions, and the bell that rings when work was committed.

SQLite lets go of the GIL at every row, so several threads reading at once are slower than one
(measured: four threads, four times slower). Hence one connection a process behind one lock;
transactions are short and nothing slow happens inside one.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from filelock import FileLock
from sqlalchemy.pool import StaticPool

from hansard.errors import DiskFull, HansardError, StoreBroken, StoreBusy

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

SCHEMA = "0002"
"""The newest migration; a test holds it against the scripts."""

SAFE_SQLITE = (3, 51, 3)
"""Older versions can corrupt a WAL database when two connections reset the log at once."""

_LOOK = 0.02
"""Seconds between looks for what other processes have committed."""

_log = logging.getLogger("hansard.store")


def sqlite_module() -> ModuleType:
    """The newest SQLite at hand: the one in the ``pysqlite3`` wheel, else Python's own."""
    try:
        return importlib.import_module("pysqlite3")
    except ImportError:
        return importlib.import_module("sqlite3")


class Database:
    """The store's tables. Thread-safe; a transaction holds the connection for its duration."""

    def __init__(self, path: Path) -> None:
        """Open the SQLite file at ``path``, creating or migrating it first where needed.

        Raises:
            StoreBroken: not a database, or one made by a newer Hansard.
            StoreBusy: another process held it too long.
            DiskFull: no room for it.
        """
        self.path = path
        self._lock = threading.RLock()
        self._begin = "BEGIN"
        self._bell = threading.Condition()
        self._rings = 0
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreBroken(
                f"The data directory {path.parent} cannot be made: {error.strerror}.",
                hint="Choose another with --data or HANSARD_DATA.",
            ) from error
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            module=sqlite_module(),
            poolclass=StaticPool,
            connect_args={"check_same_thread": False, "timeout": 30.0},
        )
        sa.event.listen(self._engine, "connect", _configure)
        sa.event.listen(self._engine, "begin", self._emit_begin)
        # One at a time: switching a new file to WAL fails, whatever the timeout, when two do it.
        with FileLock(f"{path}.opening"), _explained(path):
            self._connection = self._engine.connect()
            self._migrate()

    def _emit_begin(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(self._begin)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: one consistent view."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self, *, lasting: bool = True, silent: bool = False) -> Iterator[sa.Connection]:
        """A transaction that writes: whole or not at all. Rings the bell if it changed a row.

        A claim that found nothing must not ring: it would wake the next one to look, for ever.

        ``lasting``: it survives a power cut. What would only be done again after one (a claim, a
        plan) does not wait for the disk. It survives the end of any process all the same, and is
        on the disk with the next transaction that lasts.

        ``silent``: it only takes work, and gives nobody any; who is asleep may sleep on.
        """
        # IMMEDIATE: take the write lock now. A deferred transaction that reads first and writes
        # later can fail in its middle when another process wrote in between.
        with self._transaction("BEGIN IMMEDIATE", lasting=lasting) as connection:
            before = self._changes()
            yield connection
            changed = self._changes() != before
        if changed and not silent:
            self.ring()

    @contextmanager
    def _transaction(self, begin: str, *, lasting: bool = True) -> Iterator[sa.Connection]:
        with self._lock, _explained(self.path):
            if self._connection.in_transaction():
                # A read inside a write: one transaction, whole or not at all.
                assert begin == "BEGIN", "a transaction that writes cannot begin inside another"
                yield self._connection
                return
            self._begin = begin
            if not lasting:
                self._synchronous("NORMAL")
            try:
                with self._connection.begin():
                    yield self._connection
            finally:
                if not lasting:
                    self._synchronous("FULL")

    def _synchronous(self, mode: str) -> None:
        """Whether commits wait for the disk (FULL). SQLite takes it between transactions only."""
        driver: Any = self._connection.connection.driver_connection
        driver.execute(f"PRAGMA synchronous = {mode}").close()

    def _changes(self) -> int:
        """Rows changed through this connection since it was opened."""
        driver: Any = self._connection.connection.driver_connection
        return int(driver.total_changes)

    def ring(self) -> None:
        """Wake everybody in this process who waits for a change."""
        with self._bell:
            self._rings += 1
            self._bell.notify_all()

    def rings(self) -> int:
        """How often the bell rang: take it before looking, pass it to :meth:`wait`."""
        with self._bell:
            return self._rings

    def wait(self, seen: int, seconds: float) -> None:
        """Sleep until the bell rang after ``seen``, or for ``seconds``."""
        with self._bell:
            self._bell.wait_for(lambda: self._rings != seen, seconds)

    def watch(self) -> None:
        """From now on, ring when another process has committed something, too."""
        with self._lock:
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._look, name="hansard-bell", daemon=True
                )
                self._watcher.start()

    def _look(self) -> None:
        # The version is asked of the one connection there is: SQLite changes it when any other
        # connection has written, and not for its own commits, which have rung already. A second
        # connection would see both, and wake every thread twice. Fifty looks a second took 1 % of
        # a core (measured: 7 µs each to ask, the rest to wake up for it).
        version = self._version()
        while not self._closing.wait(_LOOK):
            now = self._version()
            if now != version:
                version = now
                self.ring()

    def _version(self) -> int | None:
        """Changes when another connection has written; ``None`` where it cannot be read."""
        with self._lock:
            if self._closing.is_set():
                return None
            driver: Any = self._connection.connection.driver_connection
            try:
                return int(driver.execute("PRAGMA data_version").fetchone()[0])
            except sqlite_module().Error as error:
                # Whoever works with the store next meets the same trouble and says it.
                _log.debug("the store's version cannot be read: %s", error)
                return None

    def version(self) -> str:
        """The version of the SQLite library in use."""
        with self.read() as connection:
            return str(connection.scalar(sa.text("SELECT sqlite_version()")))

    def close(self) -> None:
        """Close the connection."""
        self._closing.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            self._connection.close()
            self._engine.dispose()

    def _revision(self) -> str | None:
        known = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
        with self._connection.begin():
            if self._connection.scalar(sa.text(known)) is None:
                return None
            found = self._connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return None if found is None else str(found)

    def _migrate(self) -> None:
        # Alembic takes most of a second to import: not on the way of every command.
        found = self._revision()
        if found == SCHEMA:
            return
        if found is not None and found > SCHEMA:
            raise StoreBroken(
                f"The store {self.path} was made by a newer Hansard (schema {found}, "
                f"this one knows {SCHEMA}).",
                hint="Update Hansard, or choose another directory with --data.",
            )
        upgrade(self._connection)


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Bring the database behind ``connection`` to a revision; all of it or none."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "hansard.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with connection.begin():
        command.upgrade(config, revision)


def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # SQLAlchemy's own begin event says BEGIN; the driver must not guess one of its own.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # a transcript that was reported done survives a power cut
        "foreign_keys = ON",
        "busy_timeout = 30000",
        "cache_size = -8192",  # KiB: a ten-hour job must not look different from a short one
        "temp_store = MEMORY",
        "wal_autocheckpoint = 512",
    ):
        connection.cursor().execute(f"PRAGMA {pragma}").close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Database errors in Hansard's words."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translated(error, path) from error


def _translated(error: sa.exc.DBAPIError, path: Path) -> HansardError:
    said = str(error.orig).lower()
    if "full" in said:
        return DiskFull(
            f"There is no room left for the store {path}.",
            hint="Free some space, or choose another directory with --data.",
        )
    if "locked" in said or "busy" in said:
        return StoreBusy(
            f"The store {path} is held by another process.", hint="Try again in a moment."
        )
    return StoreBroken(
        f"The store {path} cannot be used: {error.orig}.",
        hint="`hansard doctor` says more; --data chooses another directory.",
    )
