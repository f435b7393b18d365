"""Questions to a library and to one meeting: what is found, cited, and not known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.search.shelf import add

from hansard.errors import UnknownMeeting, UsageError
from hansard.insight.ask import Reply
from hansard.meetings import asking
from hansard.meetings.makers import Tools
from hansard.search.lookup import Near
from hansard.store.database import Database

TOOLS = Tools({})

ROOF = (
    "Good morning everyone.",
    "The first thing is the roof of the museum.",
    "We decided to spend four thousand on the roof before the winter.",
    "The second thing is the parking lot.",
    "Nobody wants to pay for the parking lot this year.",
)
BUS = ("The bus to the harbour is late.", "Maria will call the company about the bus on Friday.")


@pytest.fixture
def two(database: Database) -> tuple[Database, str, str]:
    return database, add(database, "Museum", ROOF), add(database, "Harbour", BUS)


def ask(database: Database, question: str, **how: object) -> Reply:
    return asking.ask(database, "local", question, tools=TOOLS, **how)  # type: ignore[arg-type]


def cited(reply: Reply) -> list[tuple[str, int]]:
    return [
        (one.meeting, position)
        for told in reply.answer
        for one in told.citations
        for position in one.segments
    ]


def test_a_library_answers_and_says_where(two: tuple[Database, str, str]) -> None:
    database, museum, harbour = two
    reply = ask(database, "What did we decide to spend on the roof?")
    assert reply.known
    assert cited(reply)[0] == (museum, 2)
    (first, *_) = reply.answer
    assert (first.citations[0].start, first.citations[0].end) == (10.0, 15.0)
    assert cited(ask(database, "Who will call the bus company?"))[0] == (harbour, 1)


def test_what_nobody_said_is_not_known(two: tuple[Database, str, str]) -> None:
    database, *_ = two
    reply = ask(database, "What does the swimming pool cost?")
    assert not reply.known


def test_only_one_meeting_is_asked(two: tuple[Database, str, str]) -> None:
    database, museum, harbour = two
    question = "Who will call the bus company?"
    assert not ask(database, question, meeting=museum).known
    reply = ask(database, question, meeting=harbour)
    assert reply.known
    assert {meeting for meeting, _ in cited(reply)} == {harbour}


def test_what_is_only_near_in_meaning_is_found(two: tuple[Database, str, str]) -> None:
    database, museum, _ = two

    def nearest(text: str, limit: int) -> Sequence[Near]:
        assert "decide" in text
        assert limit >= 1
        return [Near(museum, 1, 2, 5.0, 15.0, 0.9)]

    reply = ask(database, "What was decided about spending?", nearest=nearest)
    assert cited(reply)[0] == (museum, 2)


def test_another_tenants_meetings_are_not_there(two: tuple[Database, str, str]) -> None:
    database, museum, _ = two
    reply = asking.ask(database, "other", "What about the roof?", tools=TOOLS)
    assert (reply.answer, reply.known) == ((), False)
    with pytest.raises(UnknownMeeting):
        asking.ask(database, "other", "What about the roof?", tools=TOOLS, meeting=museum)


@pytest.mark.parametrize("question", ["", "  ", "?!", "roof " * 400])
def test_a_question_says_something(two: tuple[Database, str, str], question: str) -> None:
    with pytest.raises(UsageError):
        ask(two[0], question)


@pytest.mark.parametrize(
    "question", ['"roof" -museum OR (', "speaker:Anna roof", "AND OR NOT", "roof* ~2 '); DROP"]
)
def test_a_question_is_no_query(two: tuple[Database, str, str], question: str) -> None:
    assert ask(two[0], question).source.by == "embedded"
