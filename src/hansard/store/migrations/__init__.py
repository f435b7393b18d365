"""How a store of an earlier Hansard becomes one of this: Alembic's scripts."""
