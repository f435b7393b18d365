"""Jobs, windows and transcripts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hansard.store.migrations import where

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "recordings",
        sa.Column("id", sa.String(length=64), nullable=False, comment="SHA-256 of the bytes"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media", sa.Text(), nullable=False, comment="JSON of model.Media"),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("recording", sa.String(length=64), nullable=False),
        sa.Column("options", sa.Text(), nullable=False, comment="JSON of model.Options"),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("answers", sa.String(length=64), nullable=True),
        sa.Column("batch_key", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(length=32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=16), nullable=True),
        sa.Column(
            "levels", sa.Text(), nullable=False, comment="JSON of model.Levels, from preflight"
        ),
        sa.Column(
            "position",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="samples prepared",
        ),
        sa.Column(
            "prepared",
            sa.Text(),
            nullable=True,
            comment="JSON of model.Prepared, once preparing is done",
        ),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True, comment="JSON of model.Failure"),
        sa.ForeignKeyConstraint(["recording"], ["recordings.id"], name=op.f("fk_jobs_recording")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("answers", name=op.f("uq_jobs_answers")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_created", ["created"], unique=False)
        batch_op.create_index(
            "ix_jobs_open",
            ["priority", "created"],
            unique=False,
            **where(sa.text("finished IS NULL")),
        )

    op.create_table(
        "attempts",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False, comment="JSON of model.Failure"),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_attempts_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "number", name=op.f("pk_attempts")),
    )
    op.create_table(
        "transcripts",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column(
            "head", sa.Text(), nullable=False, comment="JSON of model.Transcript without segments"
        ),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_transcripts_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_transcripts")),
    )
    op.create_table(
        "windows",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("pass", sa.Integer(), nullable=False, comment="0 first hearing, 1 second look"),
        sa.Column("channel", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="Window.index"),
        sa.Column("window", sa.Text(), nullable=False, comment="JSON of model.Window"),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="waiting", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("done", sa.Double(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True, comment="JSON of model.WindowResult"),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_windows_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_windows")),
        sa.UniqueConstraint(
            "job", "pass", "channel", "position", name=op.f("uq_windows_job_pass_channel_position")
        ),
    )
    with op.batch_alter_table("windows", schema=None) as batch_op:
        batch_op.create_index(
            "ix_windows_open", ["job", "id"], unique=False, **where(sa.text("state <> 'done'"))
        )

    op.create_table(
        "segments",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("end", sa.Double(), nullable=False),
        sa.Column("channel", sa.Integer(), nullable=False),
        sa.Column("speaker", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON of model.Segment"),
        sa.ForeignKeyConstraint(
            ["job"], ["transcripts.job"], name=op.f("fk_segments_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "position", name=op.f("pk_segments")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("segments")
    with op.batch_alter_table("windows", schema=None) as batch_op:
        batch_op.drop_index("ix_windows_open", **where(sa.text("state <> 'done'")))

    op.drop_table("windows")
    op.drop_table("transcripts")
    op.drop_table("attempts")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_open", **where(sa.text("finished IS NULL")))
        batch_op.drop_index("ix_jobs_created")

    op.drop_table("jobs")
    op.drop_table("recordings")
