"""The service: tenants, keys, fair shares, uploads, deliveries, live recordings; sums with jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hansard.store.migrations import where

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_deliveries_due",
            ["not_before"],
            unique=False,
            **where(sa.text("state = 'waiting'")),
        )
        batch_op.create_index("ix_deliveries_tenant", ["tenant", "id"], unique=False)
        batch_op.create_index("ix_deliveries_job", ["job"], unique=False)

    op.create_table(
        "receivers",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "url", name=op.f("pk_receivers")),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("burst", sa.Integer(), nullable=True),
        sa.Column("quota", sa.Double(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.Column("revoked", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
    )
    op.create_table(
        "shares",
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("served", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "lane", name=op.f("pk_shares")),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.create_index("ix_uploads_expires", ["expires"], unique=False)

    op.create_table(
        "usage",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("engine", sa.String(length=32), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "tenant", "key", "engine", name=op.f("pk_usage")),
    )
    op.create_table(
        "delivery_tries",
        sa.Column("delivery", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery"],
            ["deliveries.id"],
            name=op.f("fk_delivery_tries_delivery"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery", "number", name=op.f("pk_delivery_tries")),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_idempotency_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_idempotency")),
    )
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.create_index("ix_idempotency_created", ["created"], unique=False)

    op.create_table(
        "lives",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("codec", sa.String(length=16), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("touched", sa.Double(), nullable=False),
        sa.Column("closed", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_lives_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_lives")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("tenant", sa.String(length=32), server_default="local", nullable=False)
        )
        batch_op.add_column(sa.Column("key", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("name", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(
            sa.Column("pool", sa.String(length=16), server_default="speech", nullable=False)
        )
        batch_op.add_column(
            sa.Column("lane", sa.String(length=8), server_default="long", nullable=False)
        )
        batch_op.add_column(sa.Column("seconds", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("deadline", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("webhook", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("charged", sa.Double(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("planned", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("heard", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(
            sa.Column("planned_samples", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.add_column(
            sa.Column("heard_samples", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.drop_index("ix_jobs_open")
        batch_op.create_index(
            "ix_jobs_open",
            [
                *("pool", "priority", "tenant", "lane", "created", "id", "step", "engine", "model"),
                *("not_before", "lease_until", "state", "kind"),
                *("planned_samples", "heard_samples", "finished"),
            ],
            unique=False,
            **where(sa.text("finished IS NULL")),
        )
        batch_op.create_index(
            "ix_jobs_deadline", ["deadline"], unique=False, **where(sa.text("finished IS NULL"))
        )
        batch_op.create_index(
            "ix_jobs_finished",
            ["finished"],
            unique=False,
            **where(sa.text("finished IS NOT NULL")),
        )
        batch_op.create_index("ix_jobs_recording", ["recording"], unique=False)
        batch_op.create_index("ix_jobs_tenant", ["tenant", "id"], unique=False)
        batch_op.create_index("ix_jobs_tenant_state", ["tenant", "state", "id"], unique=False)

    with op.batch_alter_table("windows", schema=None) as batch_op:
        batch_op.add_column(sa.Column("heard", sa.Integer(), nullable=True))
        batch_op.create_index(
            "ix_windows_heard",
            ["job", "heard"],
            unique=False,
            **where(sa.text("heard IS NOT NULL")),
        )

    op.execute(
        "UPDATE jobs SET "
        "name = (SELECT name FROM recordings WHERE recordings.id = jobs.recording), "
        "planned = (SELECT count(*) FROM windows WHERE job = jobs.id), "
        "heard = (SELECT count(*) FROM windows WHERE job = jobs.id AND state = 'done'), "
        "planned_samples = "
        "(SELECT coalesce(sum(samples), 0) FROM windows WHERE job = jobs.id), "
        "heard_samples = (SELECT coalesce(sum(samples), 0) FROM windows "
        "WHERE job = jobs.id AND state = 'done')"
    )
    op.execute(
        "UPDATE windows SET heard = (SELECT count(*) FROM windows AS other "
        "WHERE other.job = windows.job AND other.state = 'done' "
        "AND (other.done, other.id) <= (windows.done, windows.id)) WHERE state = 'done'"
    )


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("windows", schema=None) as batch_op:
        batch_op.drop_index("ix_windows_heard", **where(sa.text("heard IS NOT NULL")))
        batch_op.drop_column("heard")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_tenant_state")
        batch_op.drop_index("ix_jobs_tenant")
        batch_op.drop_index("ix_jobs_recording")
        batch_op.drop_index("ix_jobs_finished", **where(sa.text("finished IS NOT NULL")))
        batch_op.drop_index("ix_jobs_deadline", **where(sa.text("finished IS NULL")))
        batch_op.drop_index("ix_jobs_open", **where(sa.text("finished IS NULL")))
        batch_op.create_index(
            "ix_jobs_open",
            ["priority", "created"],
            unique=False,
            **where(sa.text("finished IS NULL")),
        )
        batch_op.drop_column("heard_samples")
        batch_op.drop_column("planned_samples")
        batch_op.drop_column("heard")
        batch_op.drop_column("planned")
        batch_op.drop_column("charged")
        batch_op.drop_column("webhook")
        batch_op.drop_column("deadline")
        batch_op.drop_column("seconds")
        batch_op.drop_column("lane")
        batch_op.drop_column("pool")
        batch_op.drop_column("name")
        batch_op.drop_column("key")
        batch_op.drop_column("tenant")

    op.drop_table("lives")
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.drop_index("ix_idempotency_created")

    op.drop_table("idempotency")
    op.drop_table("delivery_tries")
    op.drop_table("usage")
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_index("ix_uploads_expires")

    op.drop_table("uploads")
    op.drop_table("shares")
    op.drop_table("keys")
    op.drop_table("receivers")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index("ix_deliveries_job")
        batch_op.drop_index("ix_deliveries_tenant")
        batch_op.drop_index("ix_deliveries_due", **where(sa.text("state = 'waiting'")))

    op.drop_table("deliveries")
