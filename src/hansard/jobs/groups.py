"""Which groups of jobs are open: found by leaps through an index, however many jobs wait.

A group is what a claim does not tell apart: a pool, a priority, a tenant and a lane. Hundreds of
thousands of jobs may wait, but only in a few groups. So the first row of the first group is sought,
then the first row behind that group, and so on: a *loose index scan*, which neither SQLite nor
PostgreSQL does by itself (https://wiki.postgresql.org/wiki/Loose_indexscan).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from hansard.store.tables import is_hearable, jobs

KEYS = ("pool", "priority", "tenant", "lane")
"""What makes a group: the first columns of ``ix_jobs_open``."""

MODELS = ("pool", "engine", "model")
"""What jobs are heard with: the first columns of ``ix_jobs_model``."""


def open_groups(keys: Sequence[str] = KEYS) -> sa.CTE:
    """A row for each group that has an open job; ``keys`` begin an index of open jobs."""
    return _groups("open_groups" if keys == KEYS else "open_models", keys, _is_open)


def hearable_groups() -> sa.CTE:
    """A row for each group with an open job that may have windows to hear."""
    return _groups("hearable_groups", KEYS, lambda of: sa.and_(_is_open(of), is_hearable(of)))


def _is_open(of: sa.FromClause) -> sa.ColumnElement[bool]:
    return of.c.finished.is_(None)


_Counts = Callable[[sa.FromClause], sa.ColumnElement[bool]]
"""Whether a job counts: what the partial index whose first columns are the keys has."""


def _groups(name: str, keys: Sequence[str], counts: _Counts) -> sa.CTE:
    first, at = jobs.alias("first_open"), jobs.alias("at_first")
    eldest = (
        sa.select(first.c.id)
        .where(counts(first))
        .order_by(*(first.c[key] for key in keys))
        .limit(1)
        .scalar_subquery()
    )
    found = (
        sa.select(*(at.c[key] for key in keys)).where(at.c.id == eldest).cte(name, recursive=True)
    )
    at_next = jobs.alias("at_next")
    # The same in all but the last key and behind in that; else in all but the last two, and so on:
    # each is one look into the index. SQLite compares whole rows by their first column only.
    following = sa.func.coalesce(
        *(_behind(found, keys, place, counts) for place in reversed(range(len(keys))))
    )
    return found.union_all(
        sa.select(*(at_next.c[key] for key in keys)).join_from(
            found, at_next, at_next.c.id == following
        )
    )


def _behind(
    found: sa.CTE, keys: Sequence[str], place: int, counts: _Counts
) -> sa.ScalarSelect[str]:
    """The first job of the next group that differs from a group in no key before ``place``."""
    behind = jobs.alias(f"behind_{keys[place]}")
    return (
        sa.select(behind.c.id)
        .where(
            counts(behind),
            *(behind.c[key] == found.c[key] for key in keys[:place]),
            behind.c[keys[place]] > found.c[keys[place]],
        )
        .order_by(*(behind.c[key] for key in keys))
        .limit(1)
        .correlate(found)
        .scalar_subquery()
    )
