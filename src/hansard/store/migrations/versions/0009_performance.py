"""Performance: figures of all processes, incidents of service levels, and traces of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hansard.store.migrations import where

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    for table in ("jobs", "deliveries"):
        op.add_column(table, sa.Column("trace", sa.String(length=55), nullable=True))
    op.create_table(
        "performance",
        sa.Column("grain", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(length=160), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("own", sa.Double(), nullable=False),
        sa.Column("longest", sa.Double(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("grain", "start", "stage", name=op.f("pk_performance")),
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("rule", sa.String(length=16), nullable=False),
        sa.Column("opened", sa.Double(), nullable=False),
        sa.Column("closed", sa.Double(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
    )
    op.create_index(
        "ix_incidents_open", "incidents", ["level"], unique=True, **where(sa.text("closed IS NULL"))
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("incidents")
    op.drop_table("performance")
    for table in ("deliveries", "jobs"):
        op.drop_column(table, "trace")
