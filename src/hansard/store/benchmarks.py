"""The history of benchmarks: rows that hold a result as JSON, found by what was measured."""

from __future__ import annotations

import sqlalchemy as sa

from hansard.store.database import Database
from hansard.store.tables import benchmarks


def add(
    database: Database,
    *,
    name: str,
    component: str,
    build: str,
    machine: str,
    subject: str,
    created: float,
    body: str,
) -> None:
    """Keep a result; ``name`` is its id."""
    row = {
        "id": name,
        "component": component,
        "build": build,
        "machine": machine,
        "subject": subject,
        "created": created,
        "body": body,
    }
    with database.write() as connection:
        connection.execute(benchmarks.insert().values(row))


def listing(
    database: Database, *, component: str | None = None, machine: str | None = None, limit: int
) -> list[str]:
    """Bodies, the newest first; of one component, of one machine, if that is asked for."""
    newest = benchmarks.c.created.desc(), benchmarks.c.id.desc()
    asked = sa.select(benchmarks.c.body).order_by(*newest).limit(limit)
    if component is not None:
        asked = asked.where(benchmarks.c.component == component)
    if machine is not None:
        asked = asked.where(benchmarks.c.machine == machine)
    with database.read() as connection:
        return list(connection.scalars(asked))


def named(database: Database, name: str) -> list[str]:
    """Bodies whose id begins so, or that were measured of a build of this name; newest first."""
    asked = (
        sa.select(benchmarks.c.body)
        .where(
            sa.or_(
                benchmarks.c.id.startswith(name, autoescape=True),
                benchmarks.c.build == name,
                benchmarks.c.build.endswith(f"+{name}", autoescape=True),
            )
        )
        .order_by(benchmarks.c.created.desc(), benchmarks.c.id.desc())
    )
    with database.read() as connection:
        return list(connection.scalars(asked))
