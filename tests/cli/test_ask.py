"""`hansard ask`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.cli.conftest import Command, refused
from tests.search.shelf import add

from hansard.store.sqlite import Sqlite


@pytest.fixture
def meeting() -> str:
    database = Sqlite(Path(os.environ["HANSARD_DATA"]) / "hansard.db")
    job = add(
        database, "Museum", ["The roof leaks.", "We decided to mend the roof\x1b[31m in March."]
    )
    database.close()
    return job


def test_an_answer_says_where(hansard: Command, meeting: str) -> None:
    said = hansard("ask", "When do we mend the roof?")
    assert said.code == 0, said.err
    assert f"[{meeting} at 0:05" in said.out
    assert "\x1b" not in said.out
    assert "quotes" in said.err
    found = json.loads(
        hansard("ask", "When do we mend the roof?", "-m", meeting[-6:], "--json").out
    )
    assert found["known"]
    assert hansard("ask", "What does the swimming pool cost?").out.startswith("It is not known")


def test_what_cannot_be_asked(hansard: Command, meeting: str) -> None:
    refused(hansard("ask", "roof", "--meeting", meeting + "0"), "unknown_meeting", 2)
    refused(hansard("ask", "?"), "usage", 2)
