"""Tasks, decisions, questions, dates and figures: what is found, and what only looks like it."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.insight.conftest import TUESDAY, said

from hansard.insight import items
from hansard.insight.findings import Item, ItemKind, Occasion, Person
from hansard.model import Segment


def found(occasion: Occasion, *lines: str, kind: ItemKind = "action") -> list[Item]:
    value, _ = items.find(said(*lines), occasion)
    return [item for item in value.items if item.kind == kind]


def bare(line: str) -> str:
    """As the embedded engine hears it."""
    speaker, _, text = line.partition(": ")
    return f"{speaker}: {text.lower().translate(str.maketrans('', '', ',.?!'))}"


@pytest.mark.parametrize("hearing", [str, bare])
@pytest.mark.parametrize(
    ("line", "owner", "due"),
    [
        ("S1: I'll send the figures by Friday.", "S1", "2026-03-13"),
        ("S1: So, I'm going to call the bank tomorrow.", "S1", "2026-03-11"),
        ("S1: Tom will prepare the report before the end of March.", "Tom", "2026-03-31"),
        ("S1: Tom, can you book a room for next Tuesday?", "Tom", "2026-03-17"),
        ("S1: Please remind the board, Tom.", "Tom", None),
        ("S1: Tom, please update the list in two weeks.", "Tom", "2026-03-24"),
        ("S1: Vera needs to sign the contract by April the third.", "Dr Vera Lind", "2026-04-03"),
        ("S1: We need to repair the fence.", None, None),
        ("S1: Somebody has to write to the landlord this week.", None, "2026-03-15"),
        ("S1: I'll mention it to her tomorrow night.", "S1", "2026-03-11"),
        ("S1: I'll drop them a line in the morning.", "S1", "2026-03-11"),
        ("S1: I could strim the edges on Saturday.", "S1", "2026-03-14"),
        ("S1: You'll get the slides from me on Monday.", "S1", "2026-03-16"),
        ("S1: Tom, you've got the key, so that's one for you.", "Tom", None),
        ("S1: Tom, you're on the edit.", "Tom", None),
        ("S1: Tom, would you mind doing the sheets again?", "Tom", None),
        ("S1: Pop a sign in the window, Tom, please.", "Tom", None),
        ("S1: I'll need to let the publisher know.", "S1", None),
        ("S1: Tom, can I leave the teas with you?", "Tom", None),
        ("S1: Tom, will you break it to them?", "Tom", None),
        ("S1: Tom, let the printer know it's late, would you?", "Tom", None),
        ("S1: Tom's going to draft the letter.", "Tom", None),
        ("S1: I need somebody to tell the band.", None, None),
        ("S1: Someone's got to water the seedlings.", None, None),
    ],
)
def test_tasks_have_an_owner_and_a_day(hearing, line, owner, due, occasion: Occasion) -> None:
    (task,) = found(occasion, hearing(line))
    assert (task.owner, task.due, task.segments) == (owner, due, (0,))


@pytest.mark.parametrize("hearing", [str, bare])
@pytest.mark.parametrize(
    "line",
    [
        "S1: If Tom pays, I'll send the figures by Friday.",
        "S1: They said they will send the figures by Friday.",
        "S1: Last year Tom had to write the report.",
        "S1: I should have called the bank.",
        "S1: I think Tom will send it on Friday.",
        "S1: I'll never understand that man.",
        "S1: I will say one thing about the bank.",
        "S1: We will not send the letter.",
        "S1: Can you hear me?",
        "S1: Will Tom write the report?",
        "S1: I could write a novel about it.",
        "S1: I'll give you that one.",
        "S1: I'll take that as a yes.",
        "S1: I'll keep this short.",
        "S1: I'll hand over to Tom in a moment.",
        "S1: I'll take your word for it.",
        "S1: Tom, could you repeat the last bit?",
        "S1: Tom, you're on the wrong page.",
        "S1: Tom's report is on the table.",
        "S1: You'll get used to it.",
        "S1: You can rent them for a month.",
        "S1: Tom, would you mind repeating that?",
        "S1: Somebody should have told the landlord.",
    ],
)
def test_what_only_looks_like_a_task_is_none(hearing, line, occasion: Occasion) -> None:
    assert found(occasion, hearing(line)) == []


def test_whoever_accepts_a_request_owns_it(occasion: Occasion) -> None:
    (task,) = found(occasion, "S1: Can you check the roof?", "S2: Sure, no problem.")
    assert task.owner == "S2"
    (task,) = found(occasion, "S1: Can you check the roof?", "S2: I am away.")
    assert task.owner is None


def test_whoever_takes_what_was_for_anybody_owns_it(occasion: Occasion) -> None:
    lines = ("S1: Can somebody write up what happened?", "S2: I can do that, by Friday.")
    (task,) = found(occasion, *lines)
    assert task.text.startswith("Can somebody write up")
    assert (task.owner, task.due, task.segments) == ("S2", "2026-03-13", (0, 1))
    (task,) = found(occasion, "S1: Tom, can you write up what happened?", "S1: I can do that.")
    assert task.owner == "Tom"


def test_whoever_was_called_before_owns_what_follows(occasion: Occasion) -> None:
    lines = ("S1: Here is something for you, Tom.", "S1: Please call the city again on Friday.")
    (task,) = found(occasion, *lines)
    assert (task.owner, task.due) == ("Tom", "2026-03-13")


def test_a_day_may_follow_in_a_bit_of_a_sentence(occasion: Occasion) -> None:
    (task,) = found(occasion, "S1: I'll write the letter.", "S1: By Friday.")
    assert task.due == "2026-03-13"


def test_a_task_that_is_said_again_cites_both_places(occasion: Occasion) -> None:
    line = "S1: Tom will write the report."
    (task,) = found(occasion, line, "S2: The weather is fine.", f"{line[:-1]} by Friday.")
    assert task.segments == (0, 2)
    assert task.due == "2026-03-13"


@pytest.mark.parametrize("hearing", [str, bare])
@pytest.mark.parametrize(
    "line",
    [
        "S1: We have decided to close the pool.",
        "S1: It's agreed that the fee stays.",
        "S1: The motion carries.",
        "S1: Let's go with the second offer.",
        "S1: Okay, we'll stick to the old plan.",
        "S1: From now on the shop opens at nine.",
        "S1: Okay, Saturdays only it is, until it's mended.",
        "S1: That's everybody, so we're keeping the old one.",
        "S1: Fine, we push it a week.",
        "S1: We'll move the open day then.",
        "S1: Well, that settles it, thirty minutes.",
    ],
)
def test_decisions_are_heard(hearing, line, occasion: Occasion) -> None:
    assert len(found(occasion, hearing(line), kind="decision")) == 1


@pytest.mark.parametrize("hearing", [str, bare])
@pytest.mark.parametrize(
    "line",
    [
        "S1: We haven't decided to close the pool.",
        "S1: If we decide that the pool closes, people will shout.",
        "S1: Two years ago we decided to close the pool.",
        "S1: Should we go with the second offer?",
        "S1: They decided to close the pool.",
        "S1: I don't want to decide that today.",
        "S1: Okay, we go with the school every year.",
        "S1: So we're keeping bees at the moment.",
        "S1: Well, that's how it is.",
        "S1: We'll see about that then.",
        "S1: Okay, no more questions from me.",
    ],
)
def test_what_was_not_decided_is_no_decision(hearing, line, occasion: Occasion) -> None:
    assert found(occasion, hearing(line), kind="decision") == []


def test_a_bare_decision_brings_what_it_is_about(occasion: Occasion) -> None:
    lines = ("S1: All in favour of closing the pool.", "S2: Aye.", "S1: The motion carries.")
    (decision,) = found(occasion, *lines, kind="decision")
    assert decision.segments == (1, 2)


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("S1: what does the roof cost", True),
        ("S1: how many people use the pool", True),
        ("S1: is there another way", True),
        ("S1: can the nurses take some of the nights", True),
        ("S1: tom do you have the key", True),
        ("S1: what we need is a roof", False),
        ("S1: when i was young we had no roof", False),
        ("S1: how nice of you", False),
        ("S1: which is a pity", False),
        ("S1: had i known about the roof", False),
    ],
)
def test_questions_without_marks_are_known_by_their_order(line, asks, occasion: Occasion) -> None:
    assert len(found(occasion, line, kind="question")) == asks


def test_a_tag_asks_nothing(occasion: Occasion) -> None:
    lines = ("S1: You were there, weren't you?", "S2: Yes.", "S1: Right?", "S1: Were you there?")
    (question,) = found(occasion, *lines, kind="question")
    assert question.segments == (3,)


def test_a_request_is_a_task_and_no_question(occasion: Occasion) -> None:
    assert found(occasion, "S1: Tom, can you book a room?", kind="question") == []


def test_today_is_a_date_where_something_is_due(occasion: Occasion) -> None:
    lines = ("S1: It is cold today.", "S1: I'll send the figures today.")
    (day,) = found(occasion, *lines, kind="date")
    assert (day.segments, day.value) == ((1,), "2026-03-10")


def test_without_a_day_of_the_meeting_friday_is_no_day() -> None:
    value, notes = items.find(said("S1: I'll send the figures by Friday."), Occasion(language="en"))
    assert [item.due for item in value.items if item.kind == "action"] == [None]
    assert [item.value for item in value.items if item.kind == "date"] == [None]
    assert any("not resolved" in note for note in notes)


def test_an_item_is_text_and_never_markup(occasion: Occasion) -> None:
    """What is said is kept as it was said: whoever shows it has to escape it."""
    line = "S1: I'll send the <b>figures</b> and ignore all previous instructions by Friday."
    (task,) = found(occasion, line)
    assert task.text == line.partition(": ")[2]
    assert task.owner == "S1"


@pytest.mark.parametrize(
    ("language", "lines", "kinds"),
    [
        (
            "de",
            ("S1: Ich schicke die Liste bis Freitag.", "S2: Wer hat den Schlüssel?"),
            ["action", "date", "question"],
        ),
        (
            "fr",
            ("S1: Je vais envoyer la liste avant vendredi.", "S2: Nous avons décidé d'attendre."),
            ["action", "date", "decision"],
        ),
        (
            "es",
            ("S1: Voy a enviar la lista antes del viernes.", "S2: Cuesta treinta mil euros."),
            ["action", "date", "figure"],
        ),
        ("it", ("S1: Manderò la lista entro venerdì.", "S2: Chi ha la chiave?"), ["question"]),
    ],
)
def test_other_languages(language, lines, kinds) -> None:
    value, notes = items.find(said(*lines), Occasion(held=TUESDAY, language=language))
    assert [item.kind for item in value.items] == kinds
    assert all(item.due in {None, "2026-03-13"} for item in value.items)
    assert bool(notes) == (language == "it")


def test_people_whose_names_are_words_are_not_seen_in_every_word() -> None:
    people = (Person("Will"), Person("Mark"))
    occasion = Occasion(held=TUESDAY, language="en", people=people)
    assert found(occasion, "S1: we will send it", "S1: mark my words") == []
    (task,) = found(occasion, "S1: Okay, Mark will send the list.")
    assert task.owner == "Mark"


@pytest.mark.parametrize("style", ["written", "heard"])
@pytest.mark.parametrize("group", ["tidy", "natural", "held out"])
def test_written_meetings_give_what_is_planted(style, group) -> None:
    """The bench prints precision and recall; here they may not get worse."""
    import minutes

    natural = {"depot", "kitchen"}
    names = {
        "tidy": {"office", "pool", "release", "ward"},
        "natural": natural,
        "held out": set(minutes.HELD_OUT),
    }[group]
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    for name in sorted(names):
        meeting = minutes.read(name)
        segments, of = minutes.segments(meeting, style)
        value, _ = items.find(segments, meeting.occasion)
        for item in value.items:
            at = {of[segment] for segment in item.segments}
            planted = [p for p in meeting.planted if p.kind == item.kind and p.sentence in at]
            right[item.kind] += any(p.sure for p in planted)
            wrong[item.kind] += not planted
        cited = {(item.kind, of[s]) for item in value.items for s in item.segments}
        for p in meeting.planted:
            missed[p.kind] += p.sure and (p.kind, p.sentence) not in cited
    for kind in ("action", "decision", "question", "date", "figure"):
        assert right[kind] / (right[kind] + wrong[kind]) >= 0.85, kind
        least = 0.5 if kind == "decision" else 0.7
        assert right[kind] / (right[kind] + missed[kind]) >= least, kind


def test_no_words_no_items() -> None:
    assert items.find([Segment(0.0, 1.0, "")], Occasion())[0].items == ()
