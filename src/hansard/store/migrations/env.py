"""Alembic's entry: runs the scripts on the connection that ``store.database`` hands over."""

from __future__ import annotations

from alembic import context

from hansard.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot change a column; a table is made anew there, and only there.
    render_as_batch=context.config.attributes["connection"].dialect.name == "sqlite",
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
