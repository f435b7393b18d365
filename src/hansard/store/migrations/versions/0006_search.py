"""Searching: the terms of what was said, an index over them, and what is there already, indexed.

What is indexed is text that ``store.terms`` has made, in two columns. SQLite indexes them with
FTS5, whose tables keep nothing of it twice (external content) and are kept in step by triggers:
whatever changes or removes a row, by whichever way, does so to the index as well. PostgreSQL
indexes them with GIN, as expressions.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa
from alembic import op

from hansard.store import terms

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_AT = "(number << 20) | "
"""Of a meeting, its number; behind it the position of the segment. Positions stay below 2^20."""

_SQLITE = (
    f"""
    CREATE VIEW segment_terms AS
    SELECT {_AT}position AS id, terms FROM segments JOIN meeting_words USING (job)
    """,  # noqa: S608 constants
    """
    CREATE VIRTUAL TABLE segment_index USING fts5(
        terms, content='segment_terms', content_rowid='id', columnsize=0, tokenize='ascii')
    """,
    # Which meetings have a term, and not where: `terms.composed` has put the rest into the terms.
    """
    CREATE VIRTUAL TABLE meeting_index USING fts5(
        words, content='meeting_words', content_rowid='number', detail='none', columnsize=0,
        tokenize='ascii')
    """,
    f"""
    CREATE TRIGGER segments_in AFTER INSERT ON segments BEGIN
        INSERT INTO segment_index (rowid, terms)
        SELECT {_AT}new.position, new.terms FROM meeting_words WHERE job = new.job;
    END
    """,  # noqa: S608
    f"""
    CREATE TRIGGER segments_out BEFORE DELETE ON segments BEGIN
        INSERT INTO segment_index (segment_index, rowid, terms)
        SELECT 'delete', {_AT}old.position, old.terms FROM meeting_words WHERE job = old.job;
    END
    """,  # noqa: S608
    f"""
    CREATE TRIGGER segments_changed AFTER UPDATE OF job, position, terms ON segments BEGIN
        INSERT INTO segment_index (segment_index, rowid, terms)
        SELECT 'delete', {_AT}old.position, old.terms FROM meeting_words WHERE job = old.job;
        INSERT INTO segment_index (rowid, terms)
        SELECT {_AT}new.position, new.terms FROM meeting_words WHERE job = new.job;
    END
    """,  # noqa: S608
    """
    CREATE TRIGGER meeting_words_in AFTER INSERT ON meeting_words BEGIN
        INSERT INTO meeting_index (rowid, words) VALUES (new.number, new.words);
        INSERT INTO segment_index (rowid, terms)
        SELECT (new.number << 20) | position, terms FROM segments WHERE job = new.job;
    END
    """,
    """
    CREATE TRIGGER meeting_words_out BEFORE DELETE ON meeting_words BEGIN
        INSERT INTO meeting_index (meeting_index, rowid, words)
        VALUES ('delete', old.number, old.words);
        INSERT INTO segment_index (segment_index, rowid, terms)
        SELECT 'delete', (old.number << 20) | position, terms FROM segments WHERE job = old.job;
    END
    """,
    """
    CREATE TRIGGER meeting_words_changed AFTER UPDATE OF words ON meeting_words BEGIN
        INSERT INTO meeting_index (meeting_index, rowid, words)
        VALUES ('delete', old.number, old.words);
        INSERT INTO meeting_index (rowid, words) VALUES (new.number, new.words);
    END
    """,
)

_POSTGRES = (
    # A function of our own only for its cost: the planner takes array_to_tsvector for as cheap as
    # any other, and would rather call it for every row (measured: seconds) than ask the index.
    """
    CREATE FUNCTION hansard_vector(terms text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
    BEGIN
        RETURN pg_catalog.array_to_tsvector(
            pg_catalog.array_remove(pg_catalog.string_to_array(terms, ' '), ''));
    END
    $$
    """,
    # What is not sorted in yet is walked through by each search: not much may wait for that.
    """
    CREATE INDEX gin_segments_terms ON segments USING gin (hansard_vector(terms))
    WITH (gin_pending_list_limit = 256)
    """,
    """
    CREATE INDEX gin_meeting_words_words ON meeting_words USING gin (hansard_vector(words))
    WITH (fastupdate = off)
    """,
    # Beginnings of words are ranges only in this order.
    'CREATE INDEX gin_vocabulary_term ON vocabulary (tenant, term COLLATE "C")',
)


def upgrade() -> None:
    """Go forward."""
    op.add_column("segments", sa.Column("terms", sa.Text(), nullable=True))
    op.create_table(
        "meeting_words",
        sa.Column(
            "number",
            sa.Integer().with_variant(sa.BigInteger(), "postgresql"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["transcripts.job"], name=op.f("fk_meeting_words_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_meeting_words")),
        sa.UniqueConstraint("job", name=op.f("uq_meeting_words_job")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vocabulary",
        sa.Column("term", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("term", "tenant", name=op.f("pk_vocabulary")),
    )
    connection = op.get_bind()
    _index(connection)
    # At the end: an index is made faster of what is there than row by row.
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRES:
        op.execute(statement)
    if connection.dialect.name == "sqlite":
        for name in ("segment_index", "meeting_index"):
            op.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")  # noqa: S608 constants


def _index(connection: sa.Connection) -> None:
    """All transcripts there are, one after the other in the order they were made."""
    last = ""
    following = sa.text(
        "SELECT t.job, j.tenant, j.name, j.language, j.seconds, j.created, j.state, "
        "m.title, r.created AS held "
        "FROM transcripts AS t JOIN jobs AS j ON j.id = t.job "
        "JOIN recordings AS r ON r.id = j.recording LEFT JOIN meetings AS m ON m.job = t.job "
        "WHERE t.job > :last ORDER BY t.job LIMIT 1"
    )
    while (row := connection.execute(following, {"last": last}).first()) is not None:
        last = row.job
        _one(connection, row)


def _one(connection: sa.Connection, row: sa.Row[Any]) -> None:
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    changed, words = [], 0
    said = sa.text("SELECT position, text FROM segments WHERE job = :job ORDER BY position")
    for position, text in connection.execute(said, {"job": row.job}):
        found = terms.terms(text, row.language)
        counts.update(set(found))
        seen.update(terms.words(text))
        words += len(text.split())
        changed.append({"job": row.job, "position": position, "terms": " ".join(found)})
    if changed:
        connection.execute(
            sa.text("UPDATE segments SET terms = :terms WHERE job = :job AND position = :position"),
            changed,
        )
    title = row.title or PurePath(row.name).stem or row.name
    # The names of speakers come with the meetings that are made from now on.
    composed = terms.composed(
        counts,
        title=[*terms.terms(title), *terms.terms(title, "x")],
        tenant=row.tenant,
        speakers=(),
    )
    connection.execute(
        sa.text("INSERT INTO meeting_words (job, words) VALUES (:job, :words)"),
        {"job": row.job, "words": composed},
    )
    known = [
        {"term": word, "tenant": row.tenant}
        for word in sorted(terms.plain(seen))
        if 3 <= len(word) <= 32 and not word[0].isdecimal()
    ]
    if known:
        connection.execute(
            sa.text(
                "INSERT INTO vocabulary (term, tenant) VALUES (:term, :tenant) "
                "ON CONFLICT DO NOTHING"
            ),
            known,
        )
    if row.title is None and row.state == "completed":
        _meeting(connection, row, title, words, len(changed))


def _meeting(
    connection: sa.Connection, row: sa.Row[Any], title: str, words: int, segments: int
) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO meetings (job, tenant, title, kind, held, language, seconds, words, "
            "segments, created, changed) VALUES (:job, :tenant, :title, 'meeting', :held, "
            ":language, :seconds, :words, :segments, :created, :created)"
        ),
        {
            "job": row.job,
            "tenant": row.tenant,
            "title": title,
            "held": row.held,
            "language": row.language,
            "seconds": row.seconds or 0.0,
            "words": words,
            "segments": segments,
            "created": row.created,
        },
    )


def downgrade() -> None:
    """Go back."""
    if op.get_bind().dialect.name == "sqlite":
        for kind, name in (
            ("TRIGGER", "segments_in"),
            ("TRIGGER", "segments_out"),
            ("TRIGGER", "segments_changed"),
            ("TRIGGER", "meeting_words_in"),
            ("TRIGGER", "meeting_words_out"),
            ("TRIGGER", "meeting_words_changed"),
            ("TABLE", "segment_index"),
            ("TABLE", "meeting_index"),
            ("VIEW", "segment_terms"),
        ):
            op.execute(f"DROP {kind} {name}")
    else:
        op.execute("DROP INDEX gin_segments_terms")
        op.execute("DROP INDEX gin_meeting_words_words")
        op.execute("DROP FUNCTION hansard_vector")
    op.drop_table("vocabulary")
    op.drop_table("meeting_words")
    op.drop_column("segments", "terms")
