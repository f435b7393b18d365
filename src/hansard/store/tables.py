"""The one schema, for SQLite and PostgreSQL alike.

Values of ``hansard.model`` that are never searched by field are stored as JSON text: they are
read and written whole, and msgspec checks them on the way in. Times are seconds since the epoch
(REAL): they sort, compare and survive both dialects without a time zone.

A migration must bring a database to exactly these tables (``tests/store/test_database.py``).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

recordings = Table(
    "recordings",
    metadata,
    Column("id", String(64), primary_key=True, comment="SHA-256 of the bytes"),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("media", Text, nullable=False, comment="JSON of model.Media"),
    Column("created", Double, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("step", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("recording", ForeignKey("recordings.id"), nullable=False),
    Column("options", Text, nullable=False, comment="JSON of model.Options"),
    Column("identity", String(64), nullable=False),
    # The identity while this job answers for it; NULL once it failed or was superseded.
    Column("answers", String(64), unique=True),
    # Windows of jobs with equal keys may share a batch: engine, model and speech options.
    Column("batch_key", String(64), nullable=False),
    Column("engine", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("language", String(16)),
    Column("levels", Text, nullable=False, comment="JSON of model.Levels, from preflight"),
    Column("position", BigInteger, nullable=False, server_default="0", comment="samples prepared"),
    Column("prepared", Text, comment="JSON of model.Prepared, once preparing is done"),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("not_before", Double, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("token", String(32)),
    Column("lease_until", Double),
    Column("failure", Text, comment="JSON of model.Failure"),
    Index("ix_jobs_open", "priority", "created", sqlite_where=text("finished IS NULL")),
    Index("ix_jobs_created", "created"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("step", String(16), nullable=False),
    Column("owner", Text, nullable=False),
    Column("ended", Double, nullable=False),
    Column("failure", Text, nullable=False, comment="JSON of model.Failure"),
    PrimaryKeyConstraint("job", "number"),
)

windows = Table(
    "windows",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("pass", Integer, nullable=False, comment="0 first hearing, 1 second look"),
    Column("channel", Integer, nullable=False),
    Column("position", Integer, nullable=False, comment="Window.index"),
    Column("window", Text, nullable=False, comment="JSON of model.Window"),
    Column("samples", BigInteger, nullable=False),
    Column("state", String(16), nullable=False, server_default="waiting"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("token", String(32)),
    Column("lease_until", Double),
    Column("done", Double),
    Column("result", Text, comment="JSON of model.WindowResult"),
    UniqueConstraint("job", "pass", "channel", "position"),
    # Only windows that still need somebody: the claim never walks over finished ones.
    Index("ix_windows_open", "job", "id", sqlite_where=text("state <> 'done'")),
)

transcripts = Table(
    "transcripts",
    metadata,
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("head", Text, nullable=False, comment="JSON of model.Transcript without segments"),
    Column("segments", Integer, nullable=False),
)

segments = Table(
    "segments",
    metadata,
    Column("job", ForeignKey("transcripts.job", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("start", Double, nullable=False),
    Column("end", Double, nullable=False),
    Column("channel", Integer, nullable=False),
    Column("speaker", Text),
    Column("text", Text, nullable=False),
    Column("body", Text, nullable=False, comment="JSON of model.Segment"),
    PrimaryKeyConstraint("job", "position"),
)

IS_OPEN = jobs.c.finished.is_(None)
"""A job with work to do. Written as the partial index has it, or the index is not used."""

IS_LEFT = windows.c.state != literal_column("'done'")
"""A window that nobody has heard yet; likewise, hence a literal and not a parameter."""
