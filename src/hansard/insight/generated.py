"""Summary, chapters and items by a language model: believed only as far as they cite.

Each kind is found by questions to an :class:`~hansard.insight.inquiry.Inquiry`: one where the
transcript fits into the model, else one for each stretch of it and some to put those together.
What comes back is untrusted, too, since it may follow what somebody said: numbers that were not
read are dropped, what cites nothing is dropped, texts are one line and bounded, names and dates are
kept only where they are ones. Nothing else can be in an answer, and no answer makes anything
happen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime

import msgspec

from hansard.errors import BadAnswer, TextTooLong, UsageError
from hansard.insight import material
from hansard.insight.findings import (
    ITEM_KINDS,
    Chapter,
    Chapters,
    Item,
    ItemKind,
    Items,
    Kind,
    Occasion,
    Source,
    Statement,
    Summary,
)
from hansard.insight.inquiry import LONGEST_STATEMENT, Cited, Inquiry, Purse
from hansard.insight.language_model import LanguageModel
from hansard.insight.material import CITE, UNTRUSTED, Chunk, Line
from hansard.model import Segment, Value

LONGEST_TITLE = 120
LONGEST_PHRASE = 60
LONGEST_NAME = 80
MOST_PHRASES = 6

_LEVELS = 6
"""Times that summaries are summarised: with even two stretches to one, 64 contexts of text."""

_A_STATEMENT = 160
"""Tokens that a sentence may well have: so many are asked for as fit into half a context."""


class _Told(Value, frozen=True, forbid_unknown_fields=True):
    statements: tuple[Cited, ...]


class _Summarised(Value, frozen=True, forbid_unknown_fields=True):
    short: tuple[Cited, ...]
    long: tuple[Cited, ...]


class _Part(Value, frozen=True, forbid_unknown_fields=True):
    first: int
    title: str
    phrases: tuple[str, ...]
    summary: tuple[Cited, ...]


class _Parted(Value, frozen=True, forbid_unknown_fields=True):
    chapters: tuple[_Part, ...]


class _Joined(Value, frozen=True, forbid_unknown_fields=True):
    same: tuple[int, ...]


class _Thing(Value, frozen=True, forbid_unknown_fields=True):
    kind: ItemKind
    text: str
    segments: tuple[int, ...]
    owner: str | None
    due: str | None
    value: str | None


class _Things(Value, frozen=True, forbid_unknown_fields=True):
    items: tuple[_Thing, ...]


Found = Summary | Chapters | Items


def find(
    kind: Kind,
    segments: Sequence[Segment],
    occasion: Occasion,
    model: LanguageModel,
    *,
    purse: Purse | None = None,
    short: int = 3,
    sentences: int = 20,
    item_kinds: Sequence[ItemKind] = ITEM_KINDS,
) -> tuple[Found, Source]:
    """What a model finds out about a transcript, and who it was, at what cost.

    Args:
        kind: ``summary``, ``chapters`` or ``items``.
        segments: the transcript; findings cite positions in it.
        occasion: what else is known of the meeting.
        model: who is asked.
        purse: what may be spent on this meeting, and was: also where this raises.
        short: sentences of a short summary.
        sentences: most sentences of a long summary.
        item_kinds: what is looked for.

    Raises:
        BadAnswer: the model answers what is not asked for, or nothing that cites.
        TextTooLong: no stretch is short enough for the model.
        CostTooHigh: the purse does not hold as much.
        LanguageModelError: the model cannot be asked; ``trouble`` says whether later may do.
        UsageError: a language model is not asked for this kind.
    """
    inquiry = Inquiry(model, purse)
    lines = material.lines(segments)
    found: Found
    if kind == "summary":
        found = _summary(inquiry, lines, occasion, short, sentences) if lines else Summary()
    elif kind == "chapters":
        found = _chapters(inquiry, lines, segments, occasion) if lines else Chapters()
    elif kind == "items":
        found = _items(inquiry, lines, segments, occasion, item_kinds) if lines else Items()
    else:
        raise UsageError(f"A language model is not asked for {kind}: it is computed.")
    if not lines:
        inquiry.note("Nothing was said, so nobody was asked.")
    return found, inquiry.source()


def _about(occasion: Occasion) -> str:
    """What is known of a meeting, for the top of the material: its owner's words, untrusted."""
    said = []
    if occasion.title:
        said.append(f"Title: {material.plain(occasion.title, 200)}")
    if occasion.people:
        names = [
            f"{material.plain(person.name, LONGEST_NAME)}"
            + (f" ({material.plain(person.label, LONGEST_NAME)})" if person.label else "")
            for person in occasion.people[:50]
        ]
        said.append(f"People: {', '.join(names)}")
    return "\n".join(said)


def _manner(occasion: Occasion) -> str:
    """How to write, for the end of an instruction: of our own words and checked values only."""
    said = "Write plainly, in the language of the material."
    if occasion.held is not None:
        held = datetime.fromtimestamp(occasion.held, UTC)
        said += f" The meeting was held on {held:%A, %Y-%m-%d}."
    return said


# ── summary ──────────────────────────────────────────────────────────────────────────────────


def _summary(
    inquiry: Inquiry, lines: list[Line], occasion: Occasion, short: int, sentences: int
) -> Summary:
    about = _about(occasion)
    whole = (
        f"{UNTRUSTED}Summarise it twice: `short` in at most {short} sentences that say what it was "
        f"about and what came of it; `long` in at most {sentences} sentences in the order in which "
        f"things were said. {CITE}{_manner(occasion)}"
    )
    budget = inquiry.room(whole, _Summarised) - material.tokens(about)
    rests_on: dict[int, tuple[int, ...]] = {line.number: (line.number,) for line in lines}
    for _ in range(_LEVELS):
        if sum(map(material.weight, lines)) <= budget:
            chunk = Chunk(tuple(lines))
            try:
                said = inquiry.ask(whole, material.marked(chunk, about), _Summarised)
            except TextTooLong:
                if budget // 2 < material.SMALLEST:
                    raise
                budget = min(budget, sum(map(material.weight, lines))) // 2
            else:
                found = Summary(
                    _resting(inquiry.statements(said.short, chunk.numbers), rests_on, short),
                    _resting(inquiry.statements(said.long, chunk.numbers), rests_on, sentences),
                )
                if not (found.short or found.long):
                    inquiry.kept = 0
                inquiry.see_that_it_rests_on_something()
                return found
        statements = _told(inquiry, lines, occasion, budget, sentences)
        rests = [
            tuple(sorted({segment for number in one.segments for segment in rests_on[number]}))
            for one in statements
        ]
        lines = [Line(number, "", one.text) for number, one in enumerate(statements)]
        rests_on = dict(enumerate(rests))
        about = ""
    raise BadAnswer(f"{inquiry.model.name} does not make the transcript any shorter.")


def _told(
    inquiry: Inquiry, lines: list[Line], occasion: Occasion, budget: int, sentences: int
) -> list[Statement]:
    """The gist of every stretch, in order; at least one sentence."""
    stretches = math.ceil(sum(map(material.weight, lines)) / budget)
    most = max(1, min(max(2, math.ceil(2 * sentences / stretches)), budget // 2 // _A_STATEMENT))
    instruction = (
        f"{UNTRUSTED}It is one stretch of a longer one. Say in at most {most} sentences what "
        f"matters in it, in order. {CITE}{_manner(occasion)}"
    )

    def question(chunk: Chunk) -> list[Statement]:
        said = inquiry.ask(instruction, material.marked(chunk), _Told).statements
        inquiry.dropped["sentences beyond those asked for"] += max(0, len(said) - most)
        return inquiry.statements(said[:most], chunk.numbers)

    found: list[Statement] = []
    for _, statements in inquiry.read(lines, budget, question):
        found += statements
    inquiry.see_that_it_rests_on_something()
    return found


def _resting(
    statements: list[Statement], rests_on: dict[int, tuple[int, ...]], most: int
) -> tuple[Statement, ...]:
    """Statements over numbers as statements over segments, in the order in which it was said."""
    resting = [
        Statement(
            one.text,
            tuple(sorted({segment for number in one.segments for segment in rests_on[number]})),
        )
        for one in statements[:most]
    ]
    return tuple(sorted(resting, key=lambda one: one.segments[0]))


# ── chapters ─────────────────────────────────────────────────────────────────────────────────


def _chapters(
    inquiry: Inquiry, lines: list[Line], segments: Sequence[Segment], occasion: Occasion
) -> Chapters:
    about = _about(occasion)
    instruction = (
        f"{UNTRUSTED}Divide it into chapters by what it is about: as few as make sense, each of "
        "several lines where possible. For each give `first`, the number of the line it begins "
        "with; a `title` of a few words; up to four `phrases`, words copied from its lines; and a "
        f"`summary` in one to three sentences. {CITE}{_manner(occasion)}"
    )

    def question(chunk: Chunk) -> list[_Part]:
        said = inquiry.ask(instruction, material.marked(chunk, about), _Parted).chapters
        begun: dict[int, _Part] = {}
        for part in said:
            if part.first in chunk.numbers and material.plain(part.title):
                begun.setdefault(part.first, part)
        inquiry.dropped["chapters that begin nowhere"] += len(said) - len(begun)
        inquiry.kept += len(begun)
        parts = [begun[first] for first in sorted(begun)]
        if parts:  # chapters leave nothing out: the first one begins where the stretch does
            parts[0] = msgspec.structs.replace(parts[0], first=chunk.first)
        return parts

    budget = inquiry.room(instruction, _Parted) - material.tokens(about)
    parts: list[_Part] = []
    seams: list[int] = []
    for chunk, begun in inquiry.read(lines, budget, question):
        if parts and begun:
            seams.append(len(parts))
        if not begun:
            inquiry.note(
                f"No chapter was named in segments {chunk.first} to {chunk.last}: they belong to "
                f"the one {'before' if parts else 'after'}."
            )
        parts += begun
    inquiry.see_that_it_rests_on_something()
    parts = _joined(inquiry, parts, _same(inquiry, parts, seams))
    return Chapters(tuple(_laid(inquiry, parts, segments)))


def _same(inquiry: Inquiry, parts: list[_Part], seams: list[int]) -> set[int]:
    """Of chapters that begin where a stretch did, those that only go on with the one before."""
    if not seams:
        return set()
    instruction = (
        f"{UNTRUSTED}Here each line names two neighbouring chapters, one before and one after the "
        "place where the transcript was cut for reading. List in `same` the numbers of those lines "
        "whose two chapters are about the same thing, so that they are really one."
    )
    lines = [
        Line(number, "", f"{_headed(parts[number - 1])} — then — {_headed(parts[number])}")
        for number in seams
    ]
    found: set[int] = set()
    budget = inquiry.room(instruction, _Joined)
    for chunk, same in inquiry.read(
        lines, budget, lambda chunk: inquiry.ask(instruction, material.marked(chunk), _Joined).same
    ):
        found |= set(same) & chunk.numbers
    return found


def _headed(part: _Part) -> str:
    phrases = ", ".join(material.plain(one, LONGEST_PHRASE) for one in part.phrases[:MOST_PHRASES])
    return f"{material.plain(part.title, LONGEST_TITLE)} ({phrases})"


def _joined(inquiry: Inquiry, parts: list[_Part], same: set[int]) -> list[_Part]:
    """Chapters in order, each begun once; those that go on with the one before are put to it."""
    joined: list[_Part] = []
    for number, part in enumerate(parts):
        # A segment too long for one stretch begins a chapter in each: it is in one chapter only.
        if joined and (number in same or part.first <= joined[-1].first):
            before = joined[-1]
            joined[-1] = msgspec.structs.replace(
                before,
                phrases=tuple(dict.fromkeys(before.phrases + part.phrases)),
                summary=before.summary + part.summary,
            )
            if number not in same:
                inquiry.note(f"Segment {part.first} is too long to be more than one chapter.")
        else:
            joined.append(part)
    return joined


def _laid(inquiry: Inquiry, parts: list[_Part], segments: Sequence[Segment]) -> list[Chapter]:
    """Chapters over the whole transcript, segments without words included."""
    begins = [0, *(part.first for part in parts[1:])]
    ends = [*(first - 1 for first in begins[1:]), len(segments) - 1]
    laid = []
    for part, first, last in zip(parts, begins, ends, strict=True):
        here = segments[first : last + 1]
        words = " ".join(segment.text for segment in here).casefold()
        phrases = (material.plain(phrase, LONGEST_PHRASE) for phrase in part.phrases)
        laid.append(
            Chapter(
                material.plain(part.title, LONGEST_TITLE),
                first,
                last,
                here[0].start,
                max(segment.end for segment in here),
                tuple(one for one in phrases if one and one.casefold() in words)[:MOST_PHRASES],
                tuple(inquiry.statements(part.summary, frozenset(range(first, last + 1)))),
            )
        )
    return laid


# ── items ────────────────────────────────────────────────────────────────────────────────────

_MEANT: dict[ItemKind, str] = {
    "action": "action (something that somebody is to do or said they would do)",
    "decision": "decision (something that was agreed or decided)",
    "question": "question (one that was asked and matters; as it was said)",
    "date": "date (a day or time that was named; as it was said)",
    "figure": "figure (a number, sum or share that was named; as it was said)",
}


def _items(
    inquiry: Inquiry,
    lines: list[Line],
    segments: Sequence[Segment],
    occasion: Occasion,
    item_kinds: Sequence[ItemKind],
) -> Items:
    about = _about(occasion)
    meant = "; ".join(_MEANT[kind] for kind in item_kinds)
    instruction = (
        f"{UNTRUSTED}List what is to be kept of it, by kind: {meant}. `text` is one sentence that "
        "says it. `owner` is who does it, as the material names them, or null. `due` is the day "
        "by which, as YYYY-MM-DD, or null. `value` is the date (YYYY-MM-DD) or the figure with its "
        "unit, or null. Only what was really said, and an empty list where there is nothing. "
        f"{CITE}{_manner(occasion)}"
    )
    known = {person.name.casefold() for person in occasion.people}
    known |= {person.label.casefold() for person in occasion.people if person.label}
    known |= {segment.speaker.casefold() for segment in segments if segment.speaker}
    found: dict[tuple[str, str], Item] = {}
    offered = 0

    def question(chunk: Chunk) -> list[Item]:
        nonlocal offered
        said = inquiry.ask(instruction, material.marked(chunk, about), _Things).items
        wanted = [thing for thing in said if thing.kind in item_kinds]
        inquiry.dropped["items of kinds that were not asked for"] += len(said) - len(wanted)
        offered += len(wanted)
        kept = [_kept(inquiry, thing, chunk, segments, known) for thing in wanted]
        return [item for item in kept if item is not None]

    budget = inquiry.room(instruction, _Things) - material.tokens(about)
    for _, items in inquiry.read(lines, budget, question):
        for item in items:
            same = (item.kind, item.text.casefold().rstrip(".!? "))
            before = found.get(same)
            if before is not None:
                item = msgspec.structs.replace(  # noqa: PLW2901 it takes the other one in
                    before, segments=tuple(sorted({*before.segments, *item.segments}))
                )
            found[same] = item
    if offered:
        inquiry.see_that_it_rests_on_something()
    return Items(tuple(sorted(found.values(), key=lambda item: item.segments[0])))


def _kept(
    inquiry: Inquiry, thing: _Thing, chunk: Chunk, segments: Sequence[Segment], known: set[str]
) -> Item | None:
    """An item as it may be kept; ``None``: it rests on nothing."""
    cited = inquiry.citations(thing.segments, chunk.numbers)
    text = material.plain(thing.text, LONGEST_STATEMENT)
    if not cited or not text:
        inquiry.dropped["items that cite nothing"] += 1
        return None
    inquiry.kept += 1
    owner = material.plain(thing.owner or "", LONGEST_NAME) or None
    if owner and owner.casefold() not in known:
        spoken = " ".join(segments[number].text for number in cited).casefold()
        if owner.casefold() not in spoken:
            inquiry.dropped["owners that nobody named"] += 1
            owner = None
    due = _day(thing.due)
    if thing.due and due is None:
        inquiry.dropped["due dates that are no dates"] += 1
    value = material.plain(thing.value or "", LONGEST_NAME) or None
    if thing.kind == "date" and value is not None and _day(value[:10]) is None:
        inquiry.dropped["dates that are none"] += 1
        value = None
    return Item(thing.kind, text, cited, owner, due, value)


def _day(given: str | None) -> str | None:
    try:
        return date.fromisoformat((given or "").strip()).isoformat()
    except ValueError:
        return None
