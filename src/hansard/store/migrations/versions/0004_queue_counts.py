"""What a claim and a submit look at, each in an index of its own: they walk past nobody."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_jobs_ready": (
        (
            *("pool", "priority", "tenant", "lane", "created", "id", "engine", "model"),
            *("not_before", "kind", "planned_samples", "heard_samples", "finished"),
        ),
        "finished IS NULL AND (planned_samples > heard_samples OR kind = 'live')",
    ),
    "ix_jobs_ending": (
        (
            *("pool", "priority", "tenant", "lane", "created", "id"),
            *("not_before", "lease_until", "step", "finished"),
        ),
        "finished IS NULL AND step = 'finish'",
    ),
    "ix_jobs_active": (("tenant", "lane"), "finished IS NULL"),
}


def upgrade() -> None:
    """Go forward."""
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "jobs", list(columns), sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Go back."""
    for name in reversed(_INDEXES):
        op.drop_index(name, "jobs")
