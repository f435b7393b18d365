"""Many machines: shared limits, workers of other hosts, the archive; segments by month."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "buckets",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("touched", sa.Double(), nullable=False),
        sa.Column("closed_until", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_buckets")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pools", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "archives",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("audio", sa.Integer(), server_default="0", nullable=False),
        sa.Column("archived", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_archives_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_archives")),
    )
    op.create_index("ix_archives_archived", "archives", ["archived"])
    op.create_table(
        "moves",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("last", sa.Text(), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("source", "name", name=op.f("pk_moves")),
    )
    if op.get_bind().dialect.name == "postgresql":
        _forward_on_postgres()


def _forward_on_postgres() -> None:
    op.alter_column("windows", "id", type_=sa.BigInteger(), existing_nullable=False)
    op.execute("ALTER SEQUENCE windows_id_seq AS bigint")
    op.rename_table("segments", "segments_before")
    op.execute("ALTER TABLE segments_before RENAME CONSTRAINT pk_segments TO pk_segments_before")
    op.execute(
        "ALTER TABLE segments_before RENAME CONSTRAINT fk_segments_job TO fk_segments_before_job"
    )
    op.execute(
        "CREATE TABLE segments (LIKE segments_before INCLUDING DEFAULTS, "
        "CONSTRAINT pk_segments PRIMARY KEY (job, position), "
        "CONSTRAINT fk_segments_job FOREIGN KEY (job) REFERENCES transcripts (job) "
        "ON DELETE CASCADE) PARTITION BY RANGE (job)"
    )
    # What no month was made for; store.partitions makes months before they begin.
    op.execute("CREATE TABLE segments_rest PARTITION OF segments DEFAULT")
    op.execute("INSERT INTO segments SELECT * FROM segments_before")
    op.drop_table("segments_before")
    op.execute(
        "CREATE MATERIALIZED VIEW statistics AS SELECT tenant, "
        "to_char(to_timestamp(floor(created)) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, "
        "engine, model, state, count(*) AS jobs, coalesce(sum(seconds), 0) AS seconds, "
        "coalesce(sum(finished - started), 0) AS busy "
        "FROM jobs WHERE finished IS NOT NULL GROUP BY 1, 2, 3, 4, 5"
    )
    # A view can be refreshed while it is read only where its rows can be told apart.
    op.execute(
        "CREATE UNIQUE INDEX uq_statistics ON statistics (tenant, day, engine, model, state)"
    )


def downgrade() -> None:
    """Go back."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP MATERIALIZED VIEW statistics")
        op.rename_table("segments", "segments_after")
        op.execute("ALTER TABLE segments_after RENAME CONSTRAINT pk_segments TO pk_segments_after")
        op.execute(
            "CREATE TABLE segments (LIKE segments_after INCLUDING DEFAULTS, "
            "CONSTRAINT pk_segments PRIMARY KEY (job, position), "
            "CONSTRAINT fk_segments_job FOREIGN KEY (job) REFERENCES transcripts (job) "
            "ON DELETE CASCADE)"
        )
        op.execute("INSERT INTO segments SELECT * FROM segments_after")
        op.drop_table("segments_after")
        op.alter_column("windows", "id", type_=sa.Integer(), existing_nullable=False)
    op.drop_table("moves")
    op.drop_index("ix_archives_archived", "archives")
    op.drop_table("archives")
    op.drop_table("workers")
    op.drop_table("buckets")
