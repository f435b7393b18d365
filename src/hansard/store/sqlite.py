"""The store as one SQLite file: one connection, and looks for what other processes committed.

SQLite lets go of the GIL at every row, so several threads reading at once are slower than one
(measured: four threads, four times slower). Hence one connection a process behind one lock;
transactions are short and nothing slow happens inside one.
"""

from __future__ import annotations

import importlib
import itertools
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
from hansard.machine import SqliteSettings
from hansard.store.database import Database
from hansard.store.schema import SCHEMA, go_to, see_that_it_is_not_newer, upgrade

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

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


class Sqlite(Database):
    """One SQLite file. A transaction holds the one connection for its duration."""

    dialect = "sqlite"
    readers = 1

    def __init__(self, path: Path, settings: SqliteSettings | None = None) -> None:
        """Open the SQLite file at ``path``, creating or migrating it first where needed.

        Raises:
            StoreBroken: not a database, or one made by a newer Hansard.
            StoreBusy: another process held it too long.
            DiskFull: no room for it.
        """
        super().__init__(str(path))
        self.path = path
        self._settings = settings or SqliteSettings()
        self._lock = threading.RLock()
        self._begin = "BEGIN"
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
        sa.event.listen(self._engine, "connect", self._configure)
        sa.event.listen(self._engine, "begin", self._emit_begin)
        # One at a time: switching a new file to WAL fails, whatever the timeout, when two do it.
        with FileLock(f"{path}.opening"), _explained(path):
            self._connection = self._engine.connect()
            self._migrate()

    def _configure(self, connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        # SQLAlchemy's own begin event says BEGIN; the driver must not guess one of its own.
        connection.isolation_level = None
        settings = self._settings
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # a transcript that was reported done survives a power cut
            "foreign_keys = ON",
            "busy_timeout = 30000",
            # In KiB. A ten-hour job must not look different from a short one.
            f"cache_size = -{settings.cache // 1024}",
            f"mmap_size = {settings.mmap}",
            "temp_store = MEMORY",
            f"wal_autocheckpoint = {settings.checkpoint}",
        ):
            connection.cursor().execute(f"PRAGMA {pragma}").close()

    def _emit_begin(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(self._begin)

    @contextmanager
    def read(self, *, single: bool = False) -> Iterator[sa.Connection]:
        """A transaction that only reads: one consistent view, also where less would do."""
        del single
        with self._transaction("BEGIN") as connection:
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
        """One writer at a time, over all processes; see :meth:`Database.write`."""
        del single  # there is no way to save
        # IMMEDIATE: take the write lock now. A deferred transaction that reads first and writes
        # later can fail in its middle when another process wrote in between.
        with self._transaction("BEGIN IMMEDIATE", lasting=lasting) as connection:
            before = self._changes()
            yield connection
            changed = self._changes() != before
        if changed and not (silent or unseen):
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

    def watch(self) -> None:
        """From now on, ring when another process has committed something, too."""
        with self._lock:
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._look, name="hansard-bell", daemon=True
                )
                self._watcher.start()

    @property
    def hears(self) -> bool:
        """Whether the file is looked at for what others write."""
        return self._watcher is not None

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
            return f"SQLite {connection.scalar(sa.text('SELECT sqlite_version()'))}"

    def mark(self, connection: sa.Connection) -> int:
        """SQLite's ``data_version``: changes when another connection has committed."""
        return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())

    def pulse(self) -> DataVersion:
        """A connection of its own, for an event loop."""
        return DataVersion(self.path)

    def tend(self, what: str) -> None:
        """Processes that share a file say nothing to each other."""

    def tended(self, what: str) -> float:
        """So nothing is left to another."""
        del what
        return 0.0

    def reader(self) -> Sqlite:
        """A connection of its own to the same file."""
        return Sqlite(self.path, self._settings)

    def close(self) -> None:
        """Close the connection."""
        self._closing.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            self._connection.close()
            self._engine.dispose()

    def go_to(self, wanted: str = SCHEMA) -> None:
        """Bring the schema to a revision. Whoever opens the store next brings it up to date."""
        with self._lock, FileLock(f"{self.path}.opening"), _explained(self.path):
            go_to(self._connection, wanted)

    def _migrate(self) -> None:
        with self._connection.begin():
            found = self._revision()
        if found != SCHEMA:
            see_that_it_is_not_newer(found, self.place)
            upgrade(self._connection)

    def _revision(self) -> str | None:
        # Asked of the file's own table: SQLAlchemy's inspector takes ten times as long, and every
        # command comes past here.
        known = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
        if self._connection.scalar(sa.text(known)) is None:
            return None
        found = self._connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return None if found is None else str(found)


class DataVersion:
    """A connection of its own that reads nothing but SQLite's ``data_version``.

    That is a look into memory shared with all who have the store open: no lock is waited for, no
    row is read, no disk is touched. Hence an event loop may ask it, and need not hop to the thread
    that reads the store where nothing has changed. For one thread.
    """

    def __init__(self, path: Path) -> None:
        """``path`` is a store that exists."""
        self._connection = sqlite_module().connect(path, isolation_level=None, timeout=0)
        self._unknown = itertools.count(-1, -1)

    def beat(self) -> int:
        """The same number as before only if nobody has committed anything meanwhile."""
        try:
            found = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite_module().Error:
            # Never the same: nothing that is kept is used, and whoever reads the store itself
            # meets the trouble and says it.
            return next(self._unknown)
        return int(found[0])

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


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
