"""Profiles with their files, and the history of benchmarks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "profiles",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profiles")),
    )
    op.create_index("ix_profiles_created", "profiles", ["created", "id"])
    op.create_table(
        "profile_files",
        sa.Column("profile", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile"],
            ["profiles.id"],
            name=op.f("fk_profile_files_profile"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("profile", "name", name=op.f("pk_profile_files")),
    )
    op.create_index("ix_profile_files_sha256", "profile_files", ["sha256"])
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("component", sa.String(length=16), nullable=False),
        sa.Column("build", sa.Text(), nullable=False),
        sa.Column("machine", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benchmarks")),
    )
    op.create_index("ix_benchmarks_component", "benchmarks", ["component", "created", "id"])


def downgrade() -> None:
    """Go back. The files of profiles are found to be nobody's, and removed, in time."""
    op.drop_table("benchmarks")
    op.drop_table("profile_files")
    op.drop_table("profiles")
