"""Which tables a database has, and how it comes to have those that this Hansard needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hansard.errors import StoreBroken

if TYPE_CHECKING:
    from alembic.config import Config

SCHEMA = "0009"
"""The newest migration; a test holds it against the scripts."""

_LOCK = 0x48_61_6E_73
"""PostgreSQL's advisory lock under which tables are made or changed."""


def revision(connection: sa.Connection) -> str | None:
    """The migration that a database is at; ``None`` where it is empty. In a transaction."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def is_declared(name: str | None, kind: str) -> bool:
    """Whether a table or an index is one that ``store.tables`` speaks of, to compare by.

    Months of segments come and go; indexes over words each database has in its own way.
    """
    beside = ("segments_", "segment_index", "meeting_index") if kind == "table" else ("gin_",)
    return not (name or "").startswith(beside)


def see_that_it_is_not_newer(found: str | None, place: str) -> None:
    """Refuse a store that this Hansard does not know.

    Raises:
        StoreBroken: it was made by a newer Hansard.
    """
    if found is not None and found > SCHEMA:
        raise StoreBroken(
            f"The store {place} was made by a newer Hansard (schema {found}, "
            f"this one knows {SCHEMA}).",
            hint="Update Hansard, or choose another with --data or HANSARD_DATABASE.",
        )


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Bring the database behind ``connection`` to a revision; all of it or none.

    Whoever comes while another does it waits, and finds it done.
    """
    with _alembic(connection) as (command, config):
        command.upgrade(config, revision)


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Go back to an earlier revision; all of it or none."""
    with _alembic(connection) as (command, config):
        command.downgrade(config, revision)


def go_to(connection: sa.Connection, wanted: str) -> None:
    """Bring the database to a revision, forward or back; all of it or none."""
    with connection.begin():
        found = revision(connection)
    if found is not None and wanted < found:
        downgrade(connection, wanted)
    else:
        upgrade(connection, wanted)


def known() -> list[str]:
    """Every revision there is, the oldest first."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "hansard.store:migrations")
    config.set_main_option("path_separator", "os")
    return sorted(
        script.revision for script in ScriptDirectory.from_config(config).walk_revisions()
    )


@contextmanager
def _alembic(connection: sa.Connection) -> Iterator[tuple[ModuleType, Config]]:
    # Alembic takes most of a second to import: not on the way of every command.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "hansard.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield command, config
