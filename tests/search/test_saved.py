"""Saved searches: who is told of which meeting, once."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from tests.search.shelf import add

from hansard.errors import BadQuery, InvalidField, TooMuch, UnknownSearch
from hansard.search import saved
from hansard.search.saved import Saved
from hansard.store.database import Database
from hansard.store.tables import deliveries, searches


def keep(
    database: Database,
    q: str,
    *,
    tenant: str = "local",
    webhook: str | None = "https://example.org/hook",
    name: str = "mine",
) -> Saved:
    with database.write() as connection:
        return saved.save(
            connection, tenant, name, q, webhook=webhook, key="k", now=1_800_000_000.0
        )


def noted(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(deliveries).order_by(deliveries.c.id)).all()
    return [dict(row._mapping) for row in rows]


def test_they_are_kept_listed_and_deleted(database: Database) -> None:
    first = keep(database, "budget kind:hearing", name=" Money ")
    second = keep(database, "roof", webhook=None)
    keep(database, "other", tenant="other")
    assert (first.name, first.q, first.webhook_url) == (
        "Money",
        "budget kind:hearing",
        "https://example.org/hook",
    )
    with database.read() as connection:
        listed = saved.listing(connection, "local")
        assert {one.id for one in listed} == {first.id, second.id}
        (last,) = saved.listing(connection, "local", before=listed[0].id)
        assert last.id == listed[1].id
        assert saved.find(connection, "local", first.id) == first
        for tenant, number in (("other", first.id), ("local", "\0")):
            with pytest.raises(UnknownSearch):
                saved.find(connection, tenant, number)
    with database.write() as connection:
        with pytest.raises(UnknownSearch):
            saved.delete(connection, "other", first.id)
        saved.delete(connection, "local", first.id)
    with database.read() as connection:
        assert [one.id for one in saved.listing(connection, "local")] == [second.id]


def test_a_name_that_a_database_cannot_hold(database: Database) -> None:
    assert keep(database, "a\0b", name="a\0b").name == "a\ufffdb"


def test_what_cannot_be_saved(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for q in ("", "  ", "?!", '"open', "kind:"):
        with pytest.raises(BadQuery):
            keep(database, q)
    for name in ("", " ", "x" * 201):
        with pytest.raises(InvalidField):
            keep(database, "budget", name=name)
    monkeypatch.setattr(saved, "MOST", 2)
    keep(database, "budget")
    keep(database, "budget")
    with pytest.raises(TooMuch):
        keep(database, "budget")
    keep(database, "budget", tenant="other")


def test_a_new_meeting_is_told_of_once(database: Database) -> None:
    one = keep(database, 'budget "new roof" -draft kind:hearing', name="Roofs")
    keep(database, "xylophone")
    keep(database, "budget", webhook=None)
    keep(database, "budget", tenant="other")
    keep(database, "bud*", webhook="https://example.org/other")
    add(database, "Before", ["The budget.", "A new roof."], kind="hearing")
    job = add(database, "Now", ["The budget.", "A new roof."], kind="hearing")
    other = add(database, "Not", ["The budget draft.", "A new roof."], kind="hearing")
    with database.write() as connection:
        assert len(saved.note_matches(connection, job, now=1_800_000_001.0)) == 2
    with database.write() as connection:
        again = saved.note_matches(connection, job, now=1_800_000_001.0)
    assert again == [], "it was told of before"
    with database.write() as connection:
        assert len(saved.note_matches(connection, other, now=1_800_000_002.0)) == 1
        assert saved.note_matches(connection, "nothing", now=1_800_000_002.0) == []
    rows = noted(database)
    assert {(row["job"], row["url"]) for row in rows} == {
        (job, "https://example.org/hook"),
        (job, "https://example.org/other"),
        (other, "https://example.org/other"),
    }
    (row,) = [row for row in rows if row["url"].endswith("/hook")]
    assert (row["event"], row["state"], row["tenant"]) == ("search.matched", "waiting", "local")
    assert json.loads(row["body"]) == {
        "id": row["id"],
        "type": "search.matched",
        "created": 1_800_000_001.0,
        "data": {
            "search": {"id": one.id, "name": "Roofs", "q": one.q},
            "meeting": {"id": job, "title": "Now", "held": 1_767_225_600.0},
            "link": f"/api/v1/meetings/{job}",
        },
    }
    with database.read() as connection:
        now = saved.find(connection, "local", one.id)
    assert (now.matched, now.last_match) == (1, 1_800_000_001.0)


def test_a_search_of_another_hansard_disturbs_nobody(database: Database) -> None:
    one = keep(database, "budget")
    keep(database, "roof")
    with database.write() as connection:
        connection.execute(
            searches.update()
            .where(searches.c.id == one.id)
            .values(query='{"q":"volume:loud","mode":"text"}')
        )
    job = add(database, "Now", ["The budget and the roof."])
    with database.write() as connection:
        assert len(saved.note_matches(connection, job, now=1.0)) == 1
