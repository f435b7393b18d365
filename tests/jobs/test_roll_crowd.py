"""A crowd of workers on one PostgreSQL: not all of them look at every commit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import sqlalchemy as sa
from tests.waiting import until

from hansard.jobs.roll import Roll
from hansard.store.database import FEW
from hansard.store.postgres import Postgres


@pytest.fixture
def two(postgres: str) -> Iterator[tuple[Postgres, Postgres]]:
    one, other = Postgres(postgres), Postgres(postgres)
    yield one, other
    one.close()
    other.close()


def change(database: Postgres, number: int) -> None:
    with database.write() as connection:
        connection.execute(sa.text(f"INSERT INTO shares VALUES ('{number}', '', 1)"))


def hears(database: Postgres) -> bool:
    ears = database._listen()
    return ears is not None and not ears.deaf


def has_beaten(database: Postgres, since: int) -> bool:
    return database.beat() != since


def test_who_looks_for_work_is_counted(two: tuple[Postgres, Postgres]) -> None:
    one, other = two
    worker, front = Roll(one, "worker", 60.0), Roll(other, "front", 60.0)
    front.begin()
    assert other.crowd == 1, "the API does not look for work"
    worker.begin(["speech"])
    others = [Roll(one, f"another {number}", 60.0) for number in range(3)]
    for another in others:
        another.begin(["speech"])
    front.sign()
    assert other.crowd == 4
    worker.leave()
    front.sign()
    assert other.crowd == 3
    for roll in (front, *others):
        roll.leave()


def test_a_few_hear_every_ring(two: tuple[Postgres, Postgres]) -> None:
    one, other = two
    one.crowd = FEW
    one.watch()
    until(lambda: hears(one), "it listens")
    seen = one.rings()
    change(other, 1)
    until(lambda: one.rings() > seen, "it rang")


def test_a_crowd_sleeps_on_but_knows_that_something_was_committed(
    two: tuple[Postgres, Postgres],
) -> None:
    one, other = two
    one.crowd = 10**12
    one.watch()
    until(lambda: hears(one), "it listens")
    seen = one.rings()
    for number in range(5):
        beat = one.beat()
        change(other, number)
        until(partial(has_beaten, one, beat), "it was heard")
    assert one.rings() == seen, "nobody was woken"
    change(one, 9)
    assert one.rings() == seen + 1, "what it commits itself wakes it all the same"
