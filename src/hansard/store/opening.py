"""Which store there is, one of this machine or one that many share: rows and files."""

from __future__ import annotations

from pathlib import Path

from hansard.config import Settings
from hansard.machine import SqliteSettings
from hansard.store.database import Database
from hansard.store.files import Files


def opened(
    data: Path,
    address: str | None = None,
    *,
    connections: int = 16,
    sqlite: SqliteSettings | None = None,
) -> Database:
    """The store of a data directory, or the PostgreSQL at ``address``, which many share.

    A new one is made ready. An SQLite file of an older Hansard is migrated; a PostgreSQL is not,
    since other machines may be using it: ``hansard database upgrade`` does. ``connections`` is for
    it: at most so many of each kind; ``sqlite`` is for the file.

    Raises:
        StoreBroken: it cannot be used, or was made by a newer Hansard.
        StoreOutdated: it must be upgraded first.
        StoreBusy, StoreGone: it cannot be reached now.
    """
    if address is None:
        from hansard.store.sqlite import Sqlite

        return Sqlite(data / "hansard.db", sqlite)
    from hansard.store.postgres import Postgres

    return Postgres(address, connections=connections)


def files(settings: Settings, worker: str) -> Files:
    """The files of a store; ``worker`` names the scratch directory here.

    Raises:
        BadSettings: there can be no such place.
    """
    if settings.files is None:
        from hansard.store.disk import Disk

        return Disk(settings.data, worker)
    from hansard.store.objects import Objects

    return Objects(settings.data, worker, settings.files, settings.s3)
