"""`hansard search` and `hansard searches`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.cli.conftest import Command, refused
from tests.search.shelf import BEGIN, DAY, add

from hansard.store.sqlite import Sqlite


@pytest.fixture
def library() -> None:
    """The user's store with two meetings."""
    database = Sqlite(Path(os.environ["HANSARD_DATA"]) / "hansard.db")
    said = ["Nothing.", "The museum\x1b[31m needs a roof.", *["The roof."] * 4]
    add(database, "Budget", said, kind="hearing", people=["Anna"], held=BEGIN + 2 * DAY)
    add(database, "Stand-up", ["The roof leaks."], tags=["urgent"], held=BEGIN)
    database.close()


@pytest.mark.usefixtures("library")
def test_a_search(hansard: Command) -> None:
    said = hansard("search", "museum roof")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == "1 meeting"
    assert lines[2].endswith("hearing  Budget")
    assert lines[3] == "  0:00:05  Anna: The [museum] [31m needs a [roof]."
    assert lines[-1] == "  … 5 segments in all"
    assert "2 meetings" in hansard("search", "roof").out
    assert "0 meetings" in hansard("search", "qqqqq").out
    assert "2 meetings" in hansard("search").out


@pytest.mark.usefixtures("library")
def test_filters_pages_and_facets(hansard: Command) -> None:
    for narrow in (
        ["--kind", "hearing"],
        ["--speaker", "anna"],
        ["--after", "2026-01-02"],
        ["kind:hearing"],
    ):
        query = "roof " + (narrow.pop() if len(narrow) == 1 else "")
        found = json.loads(hansard("search", query, *narrow, "--json").out)
        assert [one["title"]["text"] for one in found["items"]] == ["Budget"], narrow
    found = json.loads(hansard("search", "roof", "--tag", "urgent", "--json").out)
    assert [one["title"]["text"] for one in found["items"]] == ["Stand-up"]
    said = hansard("search", "roof", "--limit", "1", "--facets").out
    assert "kind      hearing 1, meeting 1" in said
    cursor = said.splitlines()[-1].removeprefix("further: --cursor ")
    further = hansard("search", "roof", "--cursor", cursor).out
    assert ("Budget" in said) != ("Budget" in further)


@pytest.mark.usefixtures("library")
def test_what_was_not_as_asked_is_said(hansard: Command) -> None:
    said = hansard("search", "musuem", "--mode", "semantic").out
    assert "Nobody said musuem; this is what was found for museum." in said
    assert "Found by words alone." in said
    refused(hansard("search", 'roof "open'), "bad_query", 2)
    refused(hansard("search", "--before", "soon"), "bad_query", 2)


def test_searches_are_saved_listed_and_deleted(hansard: Command) -> None:
    made = json.loads(hansard("searches", "save", "Roofs", "roof -leak*", "--json").out)
    hansard("searches", "save", "Other", "kind:hearing", "--webhook", "https://example.org/x")
    lines = hansard("searches", "list").out.splitlines()
    assert len(lines) == 2
    assert f"{made['id']}      0 matched  Roofs: roof -leak*" in lines
    listed = [json.loads(one) for one in hansard("searches", "list", "--json").out.splitlines()]
    assert {one["webhook_url"] for one in listed} == {None, "https://example.org/x"}
    assert hansard("searches", "delete", made["id"]).out == f"{made['id']} is deleted\n"
    refused(hansard("searches", "delete", made["id"]), "unknown_search", 2)
    refused(hansard("searches", "save", "x", "a OR"), "bad_query", 2)
    refused(
        hansard("searches", "save", "x", "a", "--webhook", "http://localhost/"),
        "address_refused",
        2,
    )


@pytest.mark.usefixtures("library")
def test_the_index_is_made_anew(hansard: Command) -> None:
    assert hansard("database", "index").out.endswith("2 meetings indexed\n")
    assert "2 meetings" in hansard("search", "roof").out
