"""Sums of usage in several rows, that none may wait for another's; an index of what is in hand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


_INDEXES = {
    "ix_jobs_held": (
        (
            *("pool", "priority", "tenant", "lane", "step", "lease_until", "seconds"),
            *("planned_samples", "owner", "token", "finished"),
        ),
        "finished IS NULL AND token IS NOT NULL",
    ),
    "ix_jobs_model": (
        ("pool", "engine", "model", "priority", "created", "id"),
        "finished IS NULL",
    ),
}


def upgrade() -> None:
    """Go forward."""
    op.add_column("jobs", sa.Column("missed", sa.Double(), nullable=True))
    lacks = sa.Column("lacks", sa.Text(), nullable=False, server_default="{}")
    op.add_column("workers", lacks)
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "jobs", list(columns), sqlite_where=where, postgresql_where=where)
    part = sa.Column("part", sa.Integer(), nullable=False)
    _make_anew([part], "day, tenant, key, engine, 0, calls, seconds, cost")


def downgrade() -> None:
    """Go back."""
    op.drop_column("workers", "lacks")
    op.drop_column("jobs", "missed")
    for name in reversed(_INDEXES):
        op.drop_index(name, "jobs")
    sums = "day, tenant, key, engine, sum(calls), sum(seconds), sum(cost)"
    _make_anew([], f"{sums}", "GROUP BY day, tenant, key, engine")


def _make_anew(parts: list[sa.Column[int]], taken: str, how: str = "") -> None:
    # SQLite cannot change a primary key.
    op.rename_table("usage", "usage_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE usage_before RENAME CONSTRAINT pk_usage TO pk_usage_before")
    op.create_table(
        "usage",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("engine", sa.String(length=32), nullable=False),
        *parts,
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            *("day", "tenant", "key", "engine", *(one.name for one in parts)),
            name=op.f("pk_usage"),
        ),
    )
    op.execute(f"INSERT INTO usage SELECT {taken} FROM usage_before {how}")  # noqa: S608 ours
    op.drop_table("usage_before")
