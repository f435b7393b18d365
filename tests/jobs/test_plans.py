"""What claims cost: no walk over jobs that have ended, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from tests.jobs.conftest import listen, ready, submit

from hansard.errors import QueueFull
from hansard.jobs.queue import Queue
from hansard.store.tables import jobs

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""The plans of PostgreSQL depend on its statistics: ``bench/claims.py`` measures instead."""

ONLY_OPEN = ("ix_jobs_open", "ix_jobs_deadline", "ix_windows_open")
"""Indexes in which there is only what still needs work."""


def crowd(queue: Queue, count: int, *, ended: bool) -> None:
    """Copies of the one job there is, written in one go."""
    with queue.database.write() as connection:
        row = dict(connection.execute(sa.select(jobs).limit(1)).one()._mapping)
        state = {"state": "completed", "finished": row["created"]} if ended else {}
        connection.execute(
            jobs.insert(),
            [
                {**row, "id": f"{ended}{number}", "answers": None, **state}
                for number in range(count)
            ],
        )


@pytest.fixture
def busy(queue: Queue) -> Queue:
    """Some jobs of every sort: ready to be heard, waiting, ended."""
    submit(queue, "model", seconds=60)
    crowd(queue, 50, ended=True)
    crowd(queue, 50, ended=False)
    for _ in range(5):
        unit = queue.claim_step()
        assert unit is not None
        ready(queue, unit)
    return queue


def asks(queue: Queue) -> dict[str, Callable[[], object]]:
    """What is asked of the store all day long."""
    return {
        "step": queue.claim_step,
        "quick": lambda: queue.claim_step(quick=True),
        "windows": lambda: listen(queue, batch=8),
        "models": queue.waiting_models,
        "room": queue.see_that_there_is_room,
        "late": queue.expire,
        "owners": queue.owners,
    }


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """SQL that is sent meanwhile, with its parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _u: Any, sql: str, parameters: Any, *_: Any) -> None:
        sent.append((sql, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("name", ["step", "quick", "windows", "models", "room", "late", "owners"])
def test_nothing_is_walked_through_but_what_is_open(busy: Queue, name: str) -> None:
    with statements() as sent:
        asks(busy)[name]()
    assert sent
    steps = []
    with busy.database.read() as connection:
        for sql, parameters in sent:
            if sql.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
                found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
                steps += [(row.detail, sql) for row in found]
    walks = [
        (step, sql)
        for step, sql in steps
        if step.startswith(("SCAN jobs", "SCAN windows", "SCAN attempts", "SCAN recordings"))
        and not any(index in step for index in ONLY_OPEN)
    ]
    assert walks == []


def test_who_finds_nothing_to_hear_has_asked_once(queue: Queue) -> None:
    for number in range(6):
        submit(queue, str(number), tenant=f"t{number}", seconds=60)
        unit = queue.claim_step()
        assert unit is not None
        ready(queue, unit)
    while listen(queue) is not None:
        pass
    with statements() as sent:
        assert listen(queue) is None
    assert len([sql for sql, _ in sent if "SELECT" in sql]) == 1


def test_refusing_does_not_walk_through_what_has_ended(busy: Queue) -> None:
    busy.settings = busy.settings.model_copy(update={"capacity": 1})
    with statements() as sent, pytest.raises(QueueFull):
        busy.see_that_there_is_room()
    with busy.database.read() as connection:
        sql, parameters = sent[-1]
        found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()
    assert any("ix_jobs_finished" in row.detail for row in found)


def test_jobs_that_have_ended_cost_a_claim_nothing(busy: Queue) -> None:
    store: Any = busy.database
    driver: Any = store._connection.connection.driver_connection

    def work(ask: Callable[[], object]) -> int:
        """Hundreds of instructions that SQLite needed; nothing is kept of what was asked."""
        done = 0

        def count() -> int:
            nonlocal done
            done += 1
            return 0

        driver.set_progress_handler(count, 100)
        try:
            ask()
        finally:
            driver.set_progress_handler(None, 0)
        busy.give_back()
        return done

    few = {name: work(ask) for name, ask in asks(busy).items()}
    with busy.database.write() as connection:
        connection.execute(
            sa.text(
                "CREATE TEMP TABLE numbers AS WITH RECURSIVE n(i) AS "
                "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i FROM n"
            )
        )
        columns = [c.name for c in jobs.columns if c.name not in ("id", "answers")]
        named = ", ".join(f'"{name}"' for name in columns)
        connection.execute(
            sa.text(
                f"INSERT INTO jobs (id, answers, {named}) SELECT 'old' || i, NULL, {named} "
                "FROM numbers, (SELECT * FROM jobs WHERE id = 'True0')"
            )
        )
    many = {name: work(ask) for name, ask in asks(busy).items()}
    assert sum(few.values()) > 0
    for name, before in few.items():
        assert many[name] <= 1.2 * before + 5, name
