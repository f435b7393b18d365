"""Alembic's scripts, for both dialects."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def where(condition: sa.TextClause) -> dict[str, Any]:
    """A partial index, in both dialects."""
    return {"sqlite_where": condition, "postgresql_where": condition}
