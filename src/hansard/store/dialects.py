"""Where SQLite and PostgreSQL say the same thing differently."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class json_number(FunctionElement[float]):  # noqa: N801 it is written like a function of SQL
    """A number in a column of JSON text: ``json_number(column, "cost")``; NULL where none is."""

    name = "json_number"
    type = sa.Double()
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any], field: str) -> None:
        assert field.isidentifier(), "it is written into the statement"
        super().__init__(column, sa.literal_column(f"'{field}'"))


@compiles(json_number, "sqlite")
def _on_sqlite(element: json_number, compiler: Any, **options: Any) -> str:
    column, field = (compiler.process(one, **options) for one in element.clauses)
    return f"CAST(json_extract({column}, '$.' || {field}) AS REAL)"


@compiles(json_number, "postgresql")
def _on_postgres(element: json_number, compiler: Any, **options: Any) -> str:
    column, field = (compiler.process(one, **options) for one in element.clauses)
    return f"CAST(CAST({column} AS json) ->> {field} AS double precision)"


Insert = sqlite.Insert | postgresql.Insert


def inserts(table: sa.Table) -> dict[str, Insert]:
    """An INSERT by dialect: only its dialect's own has ON CONFLICT.

    For statements that are built once: building one costs more than running it.
    """
    return {"sqlite": sqlite.insert(table), "postgresql": postgresql.insert(table)}
