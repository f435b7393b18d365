"""Which store there is: an SQLite file in the data directory, or a PostgreSQL that many share."""

from __future__ import annotations

from pathlib import Path

from hansard.store.database import Database


def opened(data: Path, address: str | None = None) -> Database:
    """The store of a data directory, or the PostgreSQL at ``address``, which many share.

    A new one is made ready. An SQLite file of an older Hansard is migrated; a PostgreSQL is not,
    since other machines may be using it: ``hansard database upgrade`` does.

    Raises:
        StoreBroken: it cannot be used, or was made by a newer Hansard.
        StoreOutdated: it must be upgraded first.
        StoreBusy, StoreGone: it cannot be reached now.
    """
    if address is None:
        from hansard.store.sqlite import Sqlite

        return Sqlite(data / "hansard.db")
    from hansard.store.postgres import Postgres

    return Postgres(address)
