"""The care of a store: its schema brought to a revision, its room given back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hansard.errors import StoreBusy, UsageError
from hansard.model import Value
from hansard.store import schema
from hansard.store.sqlite import Sqlite, sqlite_module
from hansard.store.tables import metadata

if TYPE_CHECKING:
    from hansard.store.database import Database
    from hansard.store.postgres import Postgres

_ARCHIVED_SINCE = "0003"
"""Earlier schemas do not know of the archive."""


class Went(Value, frozen=True):
    """A schema's way. ``None``: there was nothing."""

    place: str
    before: str | None
    now: str


class Won(Value, frozen=True):
    """Bytes on the disk."""

    place: str
    before: int
    now: int
    dead: int
    """Rows that were gone and still took room, as far as the database knows that."""


# ── the schema ───────────────────────────────────────────────────────────────────────────────


def bring(data: Path, address: str | None, wanted: str | None = None) -> Went:
    """Bring the store to a revision of its schema, the newest where none is wanted.

    Raises:
        UsageError: there is no such revision, or what would be lost is needed.
        StoreBroken: it was made by a newer Hansard.
    """
    if wanted is not None and wanted not in schema.known():
        raise UsageError(
            f"There is no schema {wanted}.", hint=f"There are {', '.join(schema.known())}."
        )
    wanted = wanted or schema.SCHEMA
    database: Sqlite | Postgres
    if address is None:
        before = _of_file(data / "hansard.db")
        database = Sqlite(data / "hansard.db")  # which brings it to the newest
    else:
        from hansard.store.postgres import Postgres

        database = Postgres(address, outdated=True)
        with database.read() as connection:
            before = schema.revision(connection)
    try:
        if wanted < _ARCHIVED_SINCE:
            _see_that_nothing_is_archived(database)
        if address is not None or wanted != schema.SCHEMA:
            database.go_to(wanted)
        return Went(database.place, before, wanted)
    finally:
        database.close()


def _of_file(path: Path) -> str | None:
    """The revision of an SQLite file, without changing it."""
    if not path.exists():
        return None
    module = sqlite_module()
    connection = module.connect(path)
    try:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except module.DatabaseError:
        return None  # opening it says what is wrong
    finally:
        connection.close()
    return None if found is None else str(found[0])


def _see_that_nothing_is_archived(database: Database) -> None:
    with database.read() as connection:
        if sa.inspect(connection).has_table("archives"):
            count = connection.scalar(sa.text("SELECT count(*) FROM archives"))
            if count:
                raise UsageError(
                    f"{count} meetings are archived, which an older Hansard knows nothing of.",
                    hint="`hansard archive restore` brings them back first.",
                )


# ── room ─────────────────────────────────────────────────────────────────────────────────────


def vacuum(database: Database) -> Won:
    """Give room back and refresh what the planner knows.

    Raises:
        StoreBusy: somebody else uses it; nothing was done.
        StoreGone: it cannot be reached.
    """
    return _of_sqlite(database) if isinstance(database, Sqlite) else _of_postgres(database)


def _of_sqlite(database: Sqlite) -> Won:
    """The file written anew. It needs as much room again while that goes on."""
    module = sqlite_module()
    before = _bytes(database.path)
    connection = module.connect(database.path, isolation_level=None, timeout=30.0)
    try:
        pages = connection.execute("PRAGMA freelist_count").fetchone()[0]
        connection.execute("VACUUM")
        connection.execute("PRAGMA optimize")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except module.OperationalError as error:
        raise StoreBusy(
            f"The store {database.place} cannot be written anew: {error}.",
            hint="Stop the service, see that there is as much room again, then try again.",
        ) from error
    finally:
        connection.close()
    return Won(database.place, before, _bytes(database.path), int(pages))


def _bytes(path: Path) -> int:
    beside = (path, path.with_name(f"{path.name}-wal"))
    return sum(one.stat().st_size for one in beside if one.exists())


def _of_postgres(database: Database) -> Won:
    """Room is given back to the tables, not to the disk: that would lock them."""
    import psycopg

    from hansard.errors import StoreGone
    from hansard.store.postgres import Postgres

    assert isinstance(database, Postgres)
    try:
        with database.connect() as connection:
            asked = (
                "SELECT pg_database_size(current_database()), "
                "(SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables)"
            )
            before, dead = connection.execute(asked).fetchone() or (0, 0)
            connection.execute("SET statement_timeout = 0")
            for table in metadata.sorted_tables:
                connection.execute(f'VACUUM (ANALYZE) "{table.name}"')
            connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY statistics")
            now, _ = connection.execute(asked).fetchone() or (0, 0)
    except psycopg.OperationalError as error:
        raise StoreGone(
            f"The store {database.place} cannot be reached: {str(error).strip()}.",
            hint="Is the server running?",
        ) from error
    return Won(database.place, int(before), int(now), int(dead))
