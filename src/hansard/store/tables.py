"""The one schema, for SQLite and PostgreSQL alike.

Values of ``hansard.model`` that are never searched by field are stored as JSON text: they are
read and written whole, and msgspec checks them on the way in. Times are seconds since the epoch
(REAL): they sort, compare and survive both dialects without a time zone.

A migration must bring a database to exactly these tables (``tests/store/test_database.py``).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    literal_column,
    or_,
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


def _where(condition: TextClause) -> dict[str, Any]:
    """A partial index, in both dialects."""
    return {"sqlite_where": condition, "postgresql_where": condition}


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
    Column("tenant", String(32), nullable=False, server_default="local", comment="whose it is"),
    Column("key", String(16), comment="the API key it came with"),
    Column("name", Text, nullable=False, server_default="", comment="what its owner calls it"),
    Column("pool", String(16), nullable=False, server_default="speech"),
    # Short recordings and long ones queue apart: neither waits for all of the other.
    Column("lane", String(8), nullable=False, server_default="long"),
    Column("seconds", Double, comment="of audio, as preflight found it"),
    Column("deadline", Double, comment="running any longer is a failure"),
    Column("webhook", Text, comment="address to tell when it ends"),
    Column("charged", Double, nullable=False, server_default="0", comment="spend that usage has"),
    # Sums over its windows, kept in the same transactions: a status is one row.
    Column("planned", Integer, nullable=False, server_default="0", comment="windows"),
    Column("heard", Integer, nullable=False, server_default="0", comment="windows done"),
    Column("planned_samples", BigInteger, nullable=False, server_default="0"),
    Column("heard_samples", BigInteger, nullable=False, server_default="0"),
    # What hangs on another job (who spoke, what it meant) names it, and says what is wanted. No
    # foreign key: SQLite would have to make this table anew. Who deletes a job deletes these.
    Column("parent", String(32)),
    Column("request", Text, comment="JSON, of what a follow-up job is asked"),
    Column("missed", Double, comment="since when no host has had its files; see jobs.absence"),
    Column("trace", String(55), comment="traceparent of whoever asked for it"),
    # All that a claim looks at before it has chosen. It leaps from group to group through this
    # index (``jobs.groups``), and jobs that have ended are not in it.
    Index(
        "ix_jobs_open",
        *("pool", "priority", "tenant", "lane", "created", "id", "step", "engine", "model"),
        *("not_before", "lease_until", "state", "kind", "planned_samples", "heard_samples"),
        "finished",
        **_where(text("finished IS NULL")),
    ),
    # What may have windows to hear, what is to be finished, and whether a tenant waits at all:
    # each is few rows, however many jobs wait to be begun.
    Index(
        "ix_jobs_ready",
        *("pool", "priority", "tenant", "lane", "created", "id", "engine", "model"),
        *("not_before", "kind", "planned_samples", "heard_samples", "finished"),
        **_where(text("finished IS NULL AND (planned_samples > heard_samples OR kind = 'live')")),
    ),
    Index(
        "ix_jobs_ending",
        *("pool", "priority", "tenant", "lane", "created", "id"),
        *("not_before", "lease_until", "step", "finished"),
        **_where(text("finished IS NULL AND step = 'finish'")),
    ),
    # What is in hand: no more rows than there are hands.
    Index(
        "ix_jobs_held",
        *("pool", "priority", "tenant", "lane", "step", "lease_until", "seconds"),
        *("planned_samples", "owner", "token", "finished"),
        **_where(text("finished IS NULL AND token IS NOT NULL")),
    ),
    # Which models are wanted: leaps like those from group to group.
    Index(
        "ix_jobs_model",
        *("pool", "engine", "model", "priority", "created", "id"),
        **_where(text("finished IS NULL")),
    ),
    Index("ix_jobs_active", "tenant", "lane", **_where(text("finished IS NULL"))),
    Index("ix_jobs_deadline", "deadline", **_where(text("finished IS NULL"))),
    Index("ix_jobs_finished", "finished", **_where(text("finished IS NOT NULL"))),
    Index("ix_jobs_created", "created"),
    Index("ix_jobs_tenant", "tenant", "id"),
    Index("ix_jobs_tenant_state", "tenant", "state", "id"),
    Index("ix_jobs_recording", "recording"),
    Index("ix_jobs_parent", "parent", **_where(text("parent IS NOT NULL"))),
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
    Column(
        "id",
        Integer().with_variant(BigInteger, "postgresql"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("pass", Integer, nullable=False, comment="0 first, 1 second look, 2 provisional"),
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
    Column("heard", Integer, comment="the how-manieth of its job that was done, from 1"),
    UniqueConstraint("job", "pass", "channel", "position"),
    # Only windows that still need somebody: the claim never walks over finished ones.
    Index("ix_windows_open", "job", "id", **_where(text("state <> 'done'"))),
    Index("ix_windows_heard", "job", "heard", **_where(text("heard IS NOT NULL"))),
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
    Column("terms", Text, comment="of the text, see store.terms: what is searched for"),
    PrimaryKeyConstraint("job", "position"),
    # By month: ids of jobs begin with the time, see ``store.partitions``.
    postgresql_partition_by="RANGE (job)",
)

shares = Table(
    "shares",
    metadata,
    Column("tenant", String(32), nullable=False),
    Column("lane", String(8), nullable=False, comment="short, long, or empty for both together"),
    Column("served", Double, nullable=False, comment="virtual time: seconds of audio taken"),
    PrimaryKeyConstraint("tenant", "lane"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", String(32), nullable=False),
    Column("hash", String(64), nullable=False, comment="SHA-256 of the secret"),
    Column("scopes", Text, nullable=False, comment="words of: read write admin"),
    Column("rate", Double, comment="requests a minute; NULL is the setting"),
    Column("burst", Integer),
    Column("quota", Double, comment="seconds of audio a day; NULL is none"),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
)

usage = Table(
    "usage",
    metadata,
    Column("day", String(10), nullable=False, comment="UTC, like 2026-01-31"),
    Column("tenant", String(32), nullable=False),
    Column("key", String(16), nullable=False, comment="empty without a key"),
    Column("engine", String(32), nullable=False),
    Column("part", Integer, nullable=False, comment="of a sum in several rows; see store.usage"),
    Column("calls", Integer, nullable=False, comment="transcriptions asked for"),
    Column("seconds", Double, nullable=False, comment="of audio transcribed"),
    Column("cost", Double, nullable=False),
    PrimaryKeyConstraint("day", "tenant", "key", "engine", "part"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant", String(32), nullable=False),
    Column("key", String(255), nullable=False, comment="the header Idempotency-Key"),
    Column("fingerprint", String(64), nullable=False, comment="of the request"),
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("created", Double, nullable=False),
    PrimaryKeyConstraint("tenant", "key"),
    Index("ix_idempotency_created", "created"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("length", BigInteger, comment="NULL until it is known"),
    Column("position", BigInteger, nullable=False, server_default="0", comment="bytes on disk"),
    Column("metadata", Text, nullable=False, comment="the header Upload-Metadata"),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Index("ix_uploads_expires", "expires"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(32), primary_key=True, comment="the event's id, the same in each try"),
    Column("tenant", String(32), nullable=False),
    Column("job", String(32), nullable=False, comment="may be gone by now"),
    Column("event", String(32), nullable=False, comment="job.completed, job.failed, …"),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False, comment="of the url: one must not hold up the others"),
    Column("body", Text, nullable=False, comment="JSON, as it is sent"),
    Column("state", String(16), nullable=False, comment="waiting, delivered, abandoned"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("not_before", Double, nullable=False),
    Column("created", Double, nullable=False),
    Column("since", Double, nullable=False, comment="tried since then: created, or replayed"),
    Column("finished", Double),
    Column("token", String(32)),
    Column("lease_until", Double),
    Column("trace", String(55), comment="traceparent of what it tells of"),
    Index("ix_deliveries_due", "not_before", **_where(text("state = 'waiting'"))),
    Index("ix_deliveries_tenant", "tenant", "id"),
    Index("ix_deliveries_job", "job"),
)

receivers = Table(
    "receivers",
    metadata,
    Column("job", String(32), nullable=False, comment="empty: every job"),
    Column("url", Text, nullable=False, comment="told besides jobs.webhook"),
    PrimaryKeyConstraint("job", "url"),
)

delivery_tries = Table(
    "delivery_tries",
    metadata,
    Column("delivery", ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("status", Integer, comment="HTTP status, where there was an answer"),
    Column("error", Text),
    PrimaryKeyConstraint("delivery", "number"),
)

lives = Table(
    "lives",
    metadata,
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("codec", String(16), nullable=False, comment="pcm, opus, webm"),
    Column("rate", Integer, nullable=False, comment="Hz of what comes in"),
    Column("channels", Integer, nullable=False),
    Column("received", BigInteger, nullable=False, server_default="0", comment="bytes on disk"),
    Column("touched", Double, nullable=False, comment="when something last came"),
    Column("closed", Double, comment="when its owner said that this is all"),
)

buckets = Table(
    "buckets",
    metadata,
    Column("name", String(200), primary_key=True, comment="what is limited, for whom"),
    Column("tokens", Double, nullable=False, comment="as of `touched`"),
    Column("touched", Double, nullable=False),
    Column("closed_until", Double, nullable=False, server_default="0", comment="Retry-After"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(64), primary_key=True, comment="the owner in the rows it claims"),
    Column("host", Text, nullable=False),
    Column("pools", Text, nullable=False, comment="with commas; empty: it does no work"),
    Column("started", Double, nullable=False),
    Column("seen", Double, nullable=False, comment="its last sign of life"),
    Column(
        *("lacks", Text),
        nullable=False,
        server_default="{}",
        comment="JSON: models that it could not load, and when it tried",
    ),
)

archives = Table(
    "archives",
    metadata,
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Text, nullable=False, comment="where its file lies"),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("audio", Integer, nullable=False, server_default="0", comment="1: its media are there"),
    Column("archived", Double, nullable=False),
    Index("ix_archives_archived", "archived"),
)

meeting_words = Table(
    "meeting_words",
    metadata,
    # Small and never used again: what full-text rows of its segments are numbered from.
    Column(
        "number",
        Integer().with_variant(BigInteger, "postgresql"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("job", ForeignKey("transcripts.job", ondelete="CASCADE"), nullable=False, unique=True),
    Column("words", Text, nullable=False, comment="all it is found by, see store.terms.composed"),
    sqlite_autoincrement=True,
)

vocabulary = Table(
    "vocabulary",
    metadata,
    Column("term", String(64), nullable=False, comment="a word as people write it, folded"),
    Column("tenant", String(32), nullable=False),
    PrimaryKeyConstraint("term", "tenant"),
)

meetings = Table(
    "meetings",
    metadata,
    Column(
        "number",
        Integer().with_variant(BigInteger, "postgresql"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("tenant", String(32), nullable=False),
    Column("title", Text, nullable=False),
    Column("kind", String(64), nullable=False, comment="a template's name"),
    Column("status", String(16), nullable=False, server_default="new"),
    Column("held", Double, nullable=False, comment="when it began"),
    Column("language", String(16)),
    Column("seconds", Double, nullable=False),
    Column("words", Integer, nullable=False, server_default="0"),
    Column("segments", Integer, nullable=False, server_default="0"),
    Column("mood", Double, comment="-1 to 1, once sentiment is known"),
    Column("people", Text, nullable=False, server_default="[]", comment="JSON of findings.Person"),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),
    Column("revision", Integer, nullable=False, server_default="0", comment="grows with changes"),
    # Of the words and speakers alone: findings made of an older one are stale.
    Column("wording", Integer, nullable=False, server_default="0"),
    Index("ix_meetings_tenant", "tenant", "job"),
    Index("ix_meetings_held", "tenant", "held", "job"),
    Index("ix_meetings_status", "tenant", "status", "job"),
    sqlite_autoincrement=True,
)

meeting_tags = Table(
    "meeting_tags",
    metadata,
    Column("job", ForeignKey("meetings.job", ondelete="CASCADE"), nullable=False),
    Column("tag", String(64), nullable=False),
    PrimaryKeyConstraint("job", "tag"),
    Index("ix_meeting_tags_tag", "tag", "job"),
)

voices = Table(
    "voices",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("vector", LargeBinary, nullable=False, comment="float32, little-endian"),
    Column("method", String(64), nullable=False, comment="vectors of others are not comparable"),
    Column("seconds", Double, nullable=False, comment="of speech it was learnt from"),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),
    UniqueConstraint("tenant", "name"),
)

speakers = Table(
    "speakers",
    metadata,
    Column("job", ForeignKey("meetings.job", ondelete="CASCADE"), nullable=False),
    Column("label", String(32), nullable=False, comment="as segments have it: S1, S2, …"),
    Column("name", Text, comment="given or agreed to by a person"),
    Column("voice", ForeignKey("voices.id", ondelete="SET NULL")),
    Column("proposed", Text, comment="a name that the voice suggests"),
    Column("confidence", Double, comment="0 to 1, of the proposal"),
    Column("seconds", Double, nullable=False, server_default="0"),
    Column("vector", LargeBinary, comment="float32, little-endian"),
    Column("method", String(64)),
    PrimaryKeyConstraint("job", "label"),
)

findings = Table(
    "findings",
    metadata,
    Column("job", ForeignKey("meetings.job", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False, comment="findings.Kind, or turns"),
    Column("version", Integer, nullable=False, comment="from 1; the greatest is in force"),
    Column("wording", Integer, nullable=False, comment="of the meeting, when it was made"),
    Column("source", Text, nullable=False, comment="JSON of findings.Source"),
    Column("body", Text, nullable=False, comment="JSON of the value"),
    Column("created", Double, nullable=False),
    PrimaryKeyConstraint("job", "kind", "version"),
)

corrections = Table(
    "corrections",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job", ForeignKey("meetings.job", ondelete="CASCADE"), nullable=False),
    Column("target", String(16), nullable=False, comment="segment, speaker, summary, item, …"),
    # What is corrected is known by when it was said, since positions move when speakers do.
    Column("place", Text, nullable=False, comment="what of the target: seconds, a label, a key"),
    Column("before", Text, comment="JSON"),
    Column("after", Text, comment="JSON; NULL: removed"),
    Column("by", Text, nullable=False, comment="the key, or the tenant"),
    Column("at", Double, nullable=False),
    Index("ix_corrections_job", "job", "id"),
)

embedders = Table(
    "embedders",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("method", String(64), nullable=False, comment="like lsa-1, or a model's name"),
    Column("dimensions", Integer, nullable=False),
    Column("fitted", Integer, nullable=False, server_default="0", comment="passages it has seen"),
    Column("body", LargeBinary, comment="what was fitted; NULL where nothing is"),
    Column("created", Double, nullable=False),
    Index("ix_embedders_tenant", "tenant", "id"),
)

passages = Table(
    "passages",
    metadata,
    Column("job", ForeignKey("meetings.job", ondelete="CASCADE"), nullable=False),
    Column("embedder", ForeignKey("embedders.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("first", Integer, nullable=False, comment="position of its first segment"),
    Column("last", Integer, nullable=False),
    Column("start", Double, nullable=False, comment="seconds"),
    Column("end", Double, nullable=False),
    Column("vector", LargeBinary, nullable=False, comment="float32, little-endian, of length 1"),
    PrimaryKeyConstraint("job", "embedder", "position"),
    Index("ix_passages_embedder", "embedder", "job"),
)

# Which meetings have vectors of which embedder: also those in which nothing was said.
embedded = Table(
    "embedded",
    metadata,
    Column("job", ForeignKey("meetings.job", ondelete="CASCADE"), nullable=False),
    Column("embedder", ForeignKey("embedders.id", ondelete="CASCADE"), nullable=False),
    Column("version", String(32), nullable=False, comment="another one whenever they are made"),
    Column("wording", Integer, nullable=False, comment="of the meeting, when they were made"),
    Column("passages", Integer, nullable=False),
    PrimaryKeyConstraint("job", "embedder"),
    Index("ix_embedded_embedder", "embedder", "job"),
)

searches = Table(
    "searches",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(32), nullable=False),
    Column("key", String(16), comment="the API key that saved it"),
    Column("name", Text, nullable=False),
    Column("query", Text, nullable=False, comment="JSON of the search as it was asked"),
    Column("webhook", Text, comment="address to tell of new meetings that match"),
    Column("created", Double, nullable=False),
    Column("matched", Integer, nullable=False, server_default="0"),
    Column("last_match", Double),
    Index("ix_searches_tenant", "tenant", "id"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False, comment="cpu, memory"),
    Column("subject", Text, nullable=False, comment="what was looked into: a command, a service"),
    Column("state", String(16), nullable=False, comment="running, completed, failed"),
    Column("seconds", Double, nullable=False, comment="asked for; of a command, what it took"),
    Column("created", Double, nullable=False),
    Column("until", Double, nullable=False, comment="still running then: whoever made it died"),
    Column("summary", Text, comment="JSON of perf.profile.Summary"),
    Column("failure", Text, comment="JSON of model.Failure"),
    Index("ix_profiles_created", "created", "id"),
)

# Kept as recordings are, by their SHA-256: store.profiles.
profile_files = Table(
    "profile_files",
    metadata,
    Column("profile", ForeignKey("profiles.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(32), nullable=False, comment="flamegraph, speedscope, samples"),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    PrimaryKeyConstraint("profile", "name"),
    Index("ix_profile_files_sha256", "sha256"),
)

benchmarks = Table(
    "benchmarks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("component", String(16), nullable=False),
    Column("build", Text, nullable=False, comment="version and commit that were measured"),
    Column("machine", String(16), nullable=False, comment="fingerprint of where"),
    Column("subject", String(64), nullable=False, comment="of what: the SHA-256 of the audio"),
    Column("created", Double, nullable=False),
    Column("body", Text, nullable=False, comment="JSON of perf.benchmark.Result"),
    Index("ix_benchmarks_component", "component", "created", "id"),
)

moves = Table(
    "moves",
    metadata,
    Column("source", Text, nullable=False, comment="the library that rows are copied from"),
    Column("name", String(64), nullable=False, comment="table"),
    Column("last", Text, comment="JSON: the key of the last row that was copied"),
    Column("rows", BigInteger, nullable=False, server_default="0"),
    Column("finished", Double),
    PrimaryKeyConstraint("source", "name"),
)

# What was measured, added up over all processes: see ``store.rollup``.
performance = Table(
    "performance",
    metadata,
    Column("grain", Integer, nullable=False, comment="seconds: a minute, an hour or a day"),
    Column("start", BigInteger, nullable=False, comment="epoch seconds, a multiple of the grain"),
    Column("stage", String(160), nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("total", Double, nullable=False, comment="seconds"),
    Column("own", Double, nullable=False, comment="of these, in no stage within"),
    Column("longest", Double, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="msgpack of rollup.Rest"),
    PrimaryKeyConstraint("grain", "start", "stage"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("level", String(32), nullable=False, comment="of service"),
    Column("rule", String(16), nullable=False, comment="how fast its budget burns"),
    Column("opened", Double, nullable=False),
    Column("closed", Double),
    Column("body", Text, nullable=False, comment="JSON, of what was found when it was opened"),
    Index("ix_incidents_open", "level", unique=True, **_where(text("closed IS NULL"))),
)

IS_OPEN = jobs.c.finished.is_(None)
"""A job with work to do. Written as the partial index has it, or the index is not used."""


def is_hearable(of: FromClause) -> ColumnElement[bool]:
    """Whether a job, of the table under any name, may have windows to hear.

    Provisional ones, which only live jobs have, are in no sum. Together with :data:`IS_OPEN`
    written as ``ix_jobs_ready`` has it.
    """
    live = of.c.kind == literal_column("'live'")
    return or_(of.c.planned_samples > of.c.heard_samples, live)


IS_HEARABLE = is_hearable(jobs)

IS_ENDING = jobs.c.step == literal_column("'finish'")
"""Only to be finished: likewise, as ``ix_jobs_ending`` has it."""

IS_LEFT = windows.c.state != literal_column("'done'")
"""A window that nobody has heard yet; likewise, hence a literal and not a parameter."""
