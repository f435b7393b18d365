"""What ``store.views`` asks of SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec
import sqlalchemy as sa

from hansard.store.views_shape import fields, written

_SHAPE = written("json_object", fields(lambda column: f"json({column})"))

STATUSES = sa.text(f"""
    SELECT json_group_object(jobs.id, {_SHAPE}) FROM jobs
    WHERE jobs.tenant = :tenant AND jobs.id IN (SELECT value FROM json_each(:ids))
""")  # noqa: S608 constants

_CONDITIONS = {
    "after": "jobs.id < :after",
    "state": "jobs.state = :state",
    "states": "jobs.state IN (SELECT value FROM json_each(:states))",
    "kind": "jobs.kind = :kind",
    "first": "jobs.id >= :first",
    "since": "jobs.created >= :since",
    "last": "jobs.id < :last",
    "until": "jobs.created < :until",
    "text": "jobs.name GLOB :text",
    "whole": "jobs.parent IS NULL",
}


@cache
def page_query(conditions: tuple[str, ...]) -> sa.TextClause:
    """One more than ``limit`` is looked for, to know whether there is another page.

    Pages go by the id, whose order is that of creation: an index gives them without sorting.
    """
    where = " AND ".join(["jobs.tenant = :tenant", *(_CONDITIONS[name] for name in conditions)])
    # Joined as texts: as JSON each would be read again.
    return sa.text(f"""
        WITH found AS (
            SELECT jobs.id FROM jobs WHERE {where} ORDER BY jobs.id DESC LIMIT :limit + 1
        ), shown AS (
            SELECT id FROM found ORDER BY id DESC LIMIT :limit
        )
        SELECT '[' || coalesce((
            SELECT group_concat(item, ',') FROM (
                SELECT {_SHAPE} AS item FROM jobs
                WHERE jobs.id IN (SELECT id FROM shown) ORDER BY jobs.id DESC
            )), '') || ']' AS items,
            (SELECT count(*) FROM found) AS total, (SELECT min(id) FROM shown) AS last
    """)  # noqa: S608 constants


def listed(values: Sequence[str]) -> str:
    """Values as a parameter: however many, it is the same statement."""
    return msgspec.json.encode(values).decode()


def any_case(letters: Sequence[str]) -> str:
    """A GLOB pattern for names that have these letters in a row; each with its other cases.

    LIKE knows the case of ASCII letters only.
    """
    # A bracket must come first in its class; alone it is a class of itself.
    classes = (f"[{one}]" if one not in "[]^" else _BRACKETS[one] for one in letters)
    return f"*{''.join(classes)}*"


_BRACKETS = {"[": "[[]", "]": "[]]", "^": "^"}


@cache
def transcript_query(*, words: bool) -> sa.TextClause:
    """Head, text and segments as one JSON text."""
    left_out = "'$.tokens'" if words else "'$.tokens', '$.words'"
    return sa.text(f"""
        SELECT substr(t.head, 1, length(t.head) - 1) || coalesce((
            SELECT ',"speakers":' || json_group_object(label, name) FROM speakers
            WHERE job = t.job AND name IS NOT NULL HAVING count(*) > 0), '')
        || ',"text":' || json_quote(coalesce((
            SELECT group_concat(piece, '') FROM (
                SELECT CASE WHEN before IS NULL THEN ''
                            WHEN before = paragraph THEN ' '
                            ELSE char(10, 10) END || text AS piece
                FROM (
                    SELECT position, text, paragraph,
                           lag(paragraph) OVER (ORDER BY position) AS before
                    FROM (
                        SELECT position, text,
                               coalesce(json_extract(body, '$.paragraph'), 0) AS paragraph
                        FROM segments WHERE job = t.job
                    )
                ) ORDER BY position
            )), '')) || ',"segments":[' || coalesce((
            SELECT group_concat(json_remove(body, {left_out}), ',')
            FROM (SELECT body FROM segments WHERE job = t.job ORDER BY position)), '') || ']}}'
        FROM transcripts AS t JOIN jobs AS j ON j.id = t.job
        WHERE t.job = :job AND j.tenant = :tenant
    """)  # noqa: S608 constants
