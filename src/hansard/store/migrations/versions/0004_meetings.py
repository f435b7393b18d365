"""Meetings: who spoke, what it meant, what was corrected, and what searching needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hansard.store.migrations import where

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PARENTS = sa.text("parent IS NOT NULL")


def upgrade() -> None:
    """Go forward."""
    _hang_jobs_on_others()
    op.create_table(
        "meetings",
        sa.Column(
            "number",
            sa.Integer().with_variant(sa.BigInteger(), "postgresql"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), server_default="new", nullable=False),
        sa.Column("held", sa.Double(), nullable=False),
        sa.Column("language", sa.String(length=16), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("words", sa.Integer(), server_default="0", nullable=False),
        sa.Column("segments", sa.Integer(), server_default="0", nullable=False),
        sa.Column("mood", sa.Double(), nullable=True),
        sa.Column("people", sa.Text(), server_default="[]", nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wording", sa.Integer(), server_default="0", nullable=False),
        _of("meetings", "jobs.id"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_meetings")),
        sa.UniqueConstraint("job", name=op.f("uq_meetings_job")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_meetings_tenant", "meetings", ["tenant", "job"])
    op.create_index("ix_meetings_held", "meetings", ["tenant", "held", "job"])
    op.create_index("ix_meetings_status", "meetings", ["tenant", "status", "job"])
    op.create_table(
        "meeting_tags",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        _of("meeting_tags"),
        sa.PrimaryKeyConstraint("job", "tag", name=op.f("pk_meeting_tags")),
    )
    op.create_index("ix_meeting_tags_tag", "meeting_tags", ["tag", "job"])
    _speakers()
    _findings()
    _searching()


def _hang_jobs_on_others() -> None:
    # No foreign key: SQLite would have to make the table anew, and all others refer to it.
    op.add_column("jobs", sa.Column("parent", sa.String(length=32), nullable=True))
    op.add_column("jobs", sa.Column("request", sa.Text(), nullable=True))
    op.create_index("ix_jobs_parent", "jobs", ["parent"], **where(_PARENTS))


def _of(table: str, whose: str = "meetings.job") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job"], [whose], name=f"fk_{table}_job", ondelete="CASCADE")


def _speakers() -> None:
    op.create_table(
        "voices",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voices")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_voices_tenant_name")),
    )
    op.create_table(
        "speakers",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("voice", sa.String(length=32), nullable=True),
        sa.Column("proposed", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.Column("method", sa.String(length=64), nullable=True),
        _of("speakers"),
        sa.ForeignKeyConstraint(
            ["voice"], ["voices.id"], name=op.f("fk_speakers_voice"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("job", "label", name=op.f("pk_speakers")),
    )


def _findings() -> None:
    op.create_table(
        "findings",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("wording", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        _of("findings"),
        sa.PrimaryKeyConstraint("job", "kind", "version", name=op.f("pk_findings")),
    )
    op.create_table(
        "corrections",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("target", sa.String(length=16), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        _of("corrections"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
    )
    op.create_index("ix_corrections_job", "corrections", ["job", "id"])


def _searching() -> None:
    op.create_table(
        "embedders",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("fitted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_embedders")),
    )
    op.create_index("ix_embedders_tenant", "embedders", ["tenant", "id"])
    op.create_table(
        "passages",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("embedder", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("end", sa.Double(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        _of("passages"),
        sa.ForeignKeyConstraint(
            ["embedder"], ["embedders.id"], name=op.f("fk_passages_embedder"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "embedder", "position", name=op.f("pk_passages")),
    )
    op.create_index("ix_passages_embedder", "passages", ["embedder", "job"])
    op.create_table(
        "embedded",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("embedder", sa.String(length=32), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("wording", sa.Integer(), nullable=False),
        sa.Column("passages", sa.Integer(), nullable=False),
        _of("embedded"),
        sa.ForeignKeyConstraint(
            ["embedder"], ["embedders.id"], name=op.f("fk_embedded_embedder"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "embedder", name=op.f("pk_embedded")),
    )
    op.create_index("ix_embedded_embedder", "embedded", ["embedder", "job"])
    op.create_table(
        "searches",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=16), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("matched", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_match", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searches")),
    )
    op.create_index("ix_searches_tenant", "searches", ["tenant", "id"])


def downgrade() -> None:
    """Go back."""
    for table in (
        "searches", "embedded", "passages", "embedders", "corrections", "findings", "speakers",
        "voices", "meeting_tags", "meetings",
    ):  # fmt: skip
        op.drop_table(table)
    op.execute("DELETE FROM jobs WHERE parent IS NOT NULL")
    op.drop_index("ix_jobs_parent", "jobs")
    op.drop_column("jobs", "request")
    op.drop_column("jobs", "parent")
