"""What ``store.views`` asks of PostgreSQL: the same questions, the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import sqlalchemy as sa

from hansard.store.views_shape import fields, written

_SHAPE = written("json_build_object", fields(lambda column: f"CAST({column} AS json)"))

STATUSES = sa.text(f"""
    SELECT coalesce(json_object_agg(jobs.id, {_SHAPE})::text, '{{}}') FROM jobs
    WHERE jobs.tenant = :tenant AND jobs.id = ANY(CAST(:ids AS text[]))
""")  # noqa: S608 constants

_CONDITIONS = {
    "kind": "jobs.kind = :kind",
    # Only for the last millisecond, the id decides the rest: a sum, so that no index is taken for
    # it that holds everybody's.
    "since": "jobs.created + 0 >= :since",
    "until": "jobs.created + 0 < :until",
    "text": "jobs.name ~ :text",
    "whole": "jobs.parent IS NULL",
}
_BELOW, _FROM = ("after", "last"), ("first",)
"""Ids that the page lies before, and from which on."""


@cache
def page_query(conditions: tuple[str, ...]) -> sa.TextClause:
    """One more than ``limit`` is looked for, to know whether there is another page.

    Pages go by the id, whose order is that of creation: an index gives them without sorting. Of
    several states each gives its newest, and the newest of those are the page: an index that has
    the state before the id gives no order over several.
    """
    newest = _newest(conditions)
    if "states" in conditions:
        newest = (
            "SELECT one.id FROM unnest(CAST(:states AS text[])) AS wanted(state), "  # noqa: S608
            f"LATERAL ({newest}) AS one ORDER BY one.id DESC LIMIT :limit + 1"
        )
    return sa.text(f"""
        WITH found AS ({newest}), shown AS (
            SELECT id FROM found ORDER BY id DESC LIMIT :limit
        )
        SELECT '[' || coalesce((
            SELECT string_agg(item, ',' ORDER BY id DESC) FROM (
                SELECT CAST({_SHAPE} AS text) AS item, jobs.id FROM jobs
                WHERE jobs.id IN (SELECT id FROM shown)
            ) AS made), '') || ']' AS items,
            (SELECT count(*) FROM found) AS total, (SELECT min(id) FROM shown) AS last
    """)  # noqa: S608 constants


def _newest(conditions: tuple[str, ...]) -> str:
    """The newest jobs of a tenant, in one state where that is asked.

    Written as bounds of the index's own columns and not as equalities: those leave it to what the
    planner believes about tenants and states whether it walks through everybody's jobs instead,
    and it believes wrong of a state that is rare or a tenant that is new.
    """
    columns, values = ["jobs.tenant"], [":tenant"]
    if not {"state", "states"}.isdisjoint(conditions):
        columns.append("jobs.state")
        values.append("wanted.state" if "states" in conditions else ":state")
    fixed, same = f"({', '.join(columns)})", f"({', '.join(values)})"
    placed, at = f"{fixed[:-1]}, jobs.id)", f"{same[:-1]}, :{{}})"
    below = [f"{placed} < {at.format(name)}" for name in _BELOW if name in conditions]
    since = [f"{placed} >= {at.format(name)}" for name in _FROM if name in conditions]
    others = [_CONDITIONS[name] for name in conditions if name in _CONDITIONS]
    where = (below or [f"{fixed} <= {same}"]) + (since or [f"{fixed} >= {same}"]) + others
    order = ", ".join(f"{column} DESC" for column in [*columns, "jobs.id"])
    return f"SELECT jobs.id FROM jobs WHERE {' AND '.join(where)} ORDER BY {order} LIMIT :limit + 1"  # noqa: S608


def listed(values: Sequence[str]) -> list[str]:
    """Values as a parameter: however many, it is the same statement."""
    return list(values)


def any_case(letters: Sequence[str]) -> str:
    """A regular expression for names that have these letters in a row; each with its other cases.

    What ILIKE takes for the case of a letter depends on how the database was created.
    """
    return "".join(_class(one) for one in letters)


def _class(forms: str) -> str:
    if len(forms) > 1:
        return f"[{forms}]"
    return f"\\{forms}" if forms.isascii() and not forms.isalnum() else forms


@cache
def transcript_query(*, words: bool) -> sa.TextClause:
    """Head, text and segments as one JSON text.

    Each segment is taken apart once and put together again without what is left out: ``json``
    keeps order and figures as they were written, ``jsonb`` would not.
    """
    left_out = "'tokens'" if words else "'tokens', 'words'"
    return sa.text(f"""
        WITH pieces AS (
            SELECT s.position, s.text, coalesce(b.paragraph, '0') AS paragraph, b.shown
            FROM segments AS s, LATERAL (
                SELECT '{{' || coalesce(string_agg(
                           '"' || key || '":' || value, ',' ORDER BY number
                       ) FILTER (WHERE key NOT IN ({left_out})), '') || '}}' AS shown,
                       max(CAST(value AS text)) FILTER (WHERE key = 'paragraph') AS paragraph
                FROM json_each(CAST(s.body AS json)) WITH ORDINALITY AS e(key, value, number)
            ) AS b
            WHERE s.job = :job
        ), read AS (
            SELECT position, shown, CASE lag(paragraph) OVER (ORDER BY position)
                       WHEN paragraph THEN ' ' ELSE E'\\n\\n' END || text AS piece,
                   row_number() OVER (ORDER BY position) AS number, text
            FROM pieces
        )
        SELECT left(t.head, -1) || coalesce((
            SELECT ',"speakers":' || CAST(json_object_agg(label, name) AS text) FROM speakers
            WHERE job = t.job AND name IS NOT NULL HAVING count(*) > 0), '')
        || ',"text":' || coalesce((
            SELECT CAST(to_json(string_agg(
                CASE number WHEN 1 THEN text ELSE piece END, '' ORDER BY position
            )) AS text) FROM read), '""') || ',"segments":[' || coalesce((
            SELECT string_agg(shown, ',' ORDER BY position) FROM read), '') || ']}}'
        FROM transcripts AS t JOIN jobs AS j ON j.id = t.job
        WHERE t.job = :job AND j.tenant = :tenant
    """)  # noqa: S608 constants
