"""A question about what was said, and an answer that says where: or that it is not known.

Finding passages is the caller's (``retrieve``). From these a language model answers, cites, and
may say that they do not; what it answers is believed as :mod:`~hansard.insight.generated` does.
Without one, or where it fails, the sentences that share most of the question's words are quoted:
nothing is made up, and when the passages do not have the words that matter, that is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from hansard.errors import BadAnswer, CostTooHigh, HansardError, LanguageModelError, UsageError
from hansard.insight import material
from hansard.insight.findings import Source
from hansard.insight.inquiry import Cited, Inquiry, Purse
from hansard.insight.language_model import LanguageModel
from hansard.insight.material import CITE, UNTRUSTED, Chunk, Line
from hansard.insight.sentences import parted
from hansard.model import Value
from hansard.search.stems import stems

LONGEST_QUESTION = 1000
"""Characters."""

EMBEDDED = "quotes-1"
"""The name of the method without a language model."""

ENOUGH = 0.6
"""Share of the question's words that a passage must have for an answer to be known by it. Of two
words both, of three two: a budget is not the budget of the swimming pool."""

_ALIKE = 0.8
"""Words this similar count as one: speech recognition misspells names."""

_ASKING = (
    "decide decided decision agree agreed discuss discussed talk talked mention mentioned say said "
    "tell told speak spoke happen happened meeting meetings think thought plan planned anybody "
    "anyone somebody someone give summary answer question call called exactly long many much often "
    "soon kind name beschlossen entschieden besprochen gesagt décidé dit"
)
"""Words that ask, and need not be in what answers."""

_AGREED = (
    "decide decided decision agree agreed approve approved resolve settled beschlossen entschieden"
)
"""Words by which something is decided."""

_COUNTS = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty|hundred|"
    r"thousand|million|dozen|half|quarter)\b",
    re.IGNORECASE,
)
_DAYS = re.compile(
    r"\d|\b(?:to(?:day|morrow|night)|yesterday|week|month|year|spring|summer|autumn|winter|noon|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|august|"
    r"september|october|november|december)\b",
    re.IGNORECASE,
)
_EXPECTS = (
    (re.compile(r"\bhow (?:much|many|long|often|old|big)\b", re.IGNORECASE), _COUNTS),
    (re.compile(r"\b(?:when|what (?:day|date|time)|by when)\b", re.IGNORECASE), _DAYS),
)
"""What a question of some kind expects to see in its answer."""


class Said(Value, frozen=True):
    """A segment of a passage."""

    position: int
    """Of the segment in its transcript."""
    start: float
    """Seconds from the start of the recording."""
    end: float
    text: str
    speaker: str | None = None


class Excerpt(Value, frozen=True):
    """A passage that was found for a question."""

    meeting: str
    """The meeting's id."""
    title: str
    said: tuple[Said, ...]


class Citation(Value, frozen=True):
    """Where an answer rests."""

    meeting: str
    segments: tuple[int, ...]
    """Positions, ascending."""
    start: float
    """Seconds: where the first of them begins, and the last one ends."""
    end: float


class Told(Value, frozen=True):
    """A sentence of an answer."""

    text: str
    citations: tuple[Citation, ...]
    """At least one; one for each meeting."""


class Reply(Value, frozen=True):
    """An answer. Where it is not ``known``, ``answer`` holds what comes nearest, or nothing."""

    answer: tuple[Told, ...]
    known: bool
    source: Source


Retrieve = Callable[[str], Sequence[Excerpt]]
"""A question → passages that may answer it, best first."""


class _Answered(Value, frozen=True, forbid_unknown_fields=True):
    known: bool
    answer: tuple[Cited, ...]


def ask(
    question: str,
    retrieve: Retrieve,
    model: LanguageModel | None = None,
    *,
    purse: Purse | None = None,
    sentences: int = 3,
    language: str | None = None,
) -> Reply:
    """Answer a question from what was said.

    A model that fails does not fail the question: the passages are quoted instead, and the source's
    notes say so.

    Args:
        question: as somebody asked it.
        retrieve: finds passages.
        model: who answers; ``None``: passages are quoted.
        purse: what may be spent on the question.
        sentences: most sentences of an answer.
        language: of the question; ``None``: told by its script.

    Raises:
        UsageError: the question says nothing, or is too long. Errors of ``retrieve`` pass through.
    """
    asked = material.plain(question)
    if len(asked) > LONGEST_QUESTION or not any(one.isalnum() for one in asked):
        raise UsageError(
            f"A question has some words, and at most {LONGEST_QUESTION} characters.",
            hint="For example: what did we decide about the budget?",
        )
    excerpts = [one for one in retrieve(asked) if any(said.text.strip() for said in one.said)]
    if not excerpts:
        return Reply((), known=False, source=_embedded("No passage was found for the question."))
    if model is None:
        return _quoted(asked, excerpts, sentences, language)
    inquiry = Inquiry(model, purse)
    try:
        return _answered(inquiry, asked, excerpts, sentences)
    except (LanguageModelError, CostTooHigh) as problem:
        return _instead(inquiry, problem, _quoted(asked, excerpts, sentences, language))


# ── with a language model ────────────────────────────────────────────────────────────────────


def _answered(
    inquiry: Inquiry, question: str, excerpts: Sequence[Excerpt], sentences: int
) -> Reply:
    instruction = (
        f"{UNTRUSTED}Passages of several meetings follow each other there, each line after the "
        "title of its meeting; above them stands a question. Answer it in at most "
        f"{sentences} sentences from these lines alone. {CITE}If the lines do not answer it, set "
        "`known` to false and leave `answer` empty: that is a good answer. Write in the language "
        "of the question."
    )
    about = f"Question: {question}"
    budget = inquiry.room(instruction, _Answered) - material.tokens(about)
    lines, places = _laid(inquiry, excerpts, budget)
    chunk = Chunk(tuple(lines))
    found = inquiry.ask(instruction, material.marked(chunk, about), _Answered)
    if not found.known:
        return Reply((), known=False, source=inquiry.source())
    statements = inquiry.statements(found.answer[:sentences], chunk.numbers)
    inquiry.see_that_it_rests_on_something()
    told = tuple(
        Told(one.text, _citations([places[number] for number in one.segments]))
        for one in statements
    )
    return Reply(told, known=True, source=inquiry.source())


class _Place(NamedTuple):
    meeting: str
    said: Said


def _laid(
    inquiry: Inquiry, excerpts: Sequence[Excerpt], budget: int
) -> tuple[list[Line], dict[int, _Place]]:
    """Lines of the best passages that there is room for; what is left out is said."""
    lines: list[Line] = []
    places: dict[int, _Place] = {}
    held = left = 0
    for excerpt in excerpts:
        made = [
            Line(
                len(lines) + offset,
                material.plain(
                    " · ".join(filter(None, (excerpt.title[:60], said.speaker or ""))), 100
                ),
                material.plain(said.text),
            )
            for offset, said in enumerate(excerpt.said)
        ]
        heavy = sum(map(material.weight, made))
        if held + heavy > budget:
            left += 1
            continue
        held += heavy
        for line, said in zip(made, excerpt.said, strict=True):
            places[line.number] = _Place(excerpt.meeting, said)
        lines += made
    if left:
        inquiry.note(f"{left} of {len(excerpts)} passages were left out: there was no room.")
    if not lines:
        raise BadAnswer(f"No passage is short enough for {inquiry.model.name}.")
    return lines, places


def _instead(inquiry: Inquiry, problem: HansardError, quoted: Reply) -> Reply:
    """Quotes in the place of an answer, saying why."""
    spent = inquiry.source()
    note = (
        f"{inquiry.model.name} could not answer ({problem.message.rstrip('.')}): these are quotes."
    )
    source = Source(
        "embedded", quoted.source.name, spent.cost, (note, *spent.notes, *quoted.source.notes)
    )
    return Reply(quoted.answer, known=quoted.known, source=source)


# ── without one ──────────────────────────────────────────────────────────────────────────────


class _Sentence(NamedTuple):
    text: str
    place: _Place
    stems: frozenset[str]
    excerpt: int


def _quoted(
    question: str, excerpts: Sequence[Excerpt], sentences: int, language: str | None
) -> Reply:
    """The sentences that share most with the question, of the passages that have its words."""
    asked = list(dict.fromkeys(stems(question, language)))
    wanted = [stem for stem in asked if stem not in _stems_of(_ASKING)] or asked
    said = [
        _Sentence(text, _Place(excerpt.meeting, one), frozenset(stems(text, language)), number)
        for number, excerpt in enumerate(excerpts)
        for one in excerpt.said
        for text in map(material.plain, parted(one.text))
        if text
    ]
    covered = [
        _coverage(
            wanted,
            frozenset(stems(excerpt.title, language)).union(
                *(one.stems for one in said if one.excerpt == number)
            ),
        )
        for number, excerpt in enumerate(excerpts)
    ]
    known = max(covered) >= ENOUGH
    scores = _scores(question, wanted, said, covered)
    least = 0.5 * max(scores, default=0.0)
    ranked = sorted(range(len(said)), key=lambda number: (-scores[number], number))
    chosen: list[int] = []
    for number in ranked:
        if len(chosen) == sentences or scores[number] <= max(0.0, least):
            break
        if all(said[number].text != said[other].text for other in chosen):
            chosen.append(number)
    told = tuple(Told(said[number].text, _citations([said[number].place])) for number in chosen)
    notes = ["No language model was asked: these are quotes of what comes nearest."]
    if not known:
        notes.append("The words of the question are not there together: it is not known.")
    return Reply(told, known=known and bool(told), source=_embedded(*notes))


@cache
def _stems_of(words: str) -> frozenset[str]:
    return frozenset(stems(words))


def _coverage(wanted: Sequence[str], there: frozenset[str]) -> float:
    """The share of the question's words that are there, misspelt or not."""
    if not wanted:
        return 0.0
    return sum(_is_there(stem, there) for stem in wanted) / len(wanted)


def _is_there(stem: str, there: frozenset[str]) -> bool:
    if stem in there:
        return True
    if len(stem) < 5 or not stem.isalpha():
        return False
    from rapidfuzz.distance import Levenshtein

    return any(
        Levenshtein.normalized_similarity(stem, other, score_cutoff=_ALIKE) >= _ALIKE
        for other in there
        if len(other) >= 5
    )


def _scores(
    question: str, wanted: Sequence[str], said: Sequence[_Sentence], covered: Sequence[float]
) -> list[float]:
    """How well each sentence answers, 0 for those of which nothing was asked.

    By the words it shares with the question, the words of its passage, how early its passage was
    found, and whether it holds what the question expects: a number, a day, an agreement. A
    sentence next to one that shares words gets a part of that: answers often follow their topic.
    """
    expected = [seen for asks, seen in _EXPECTS if asks.search(question)]
    agreed = any(stem in _stems_of(_AGREED) for stem in stems(question))
    own = [_coverage(wanted, one.stems) for one in said]
    made = []
    for number, one in enumerate(said):
        beside = max(
            (
                own[other]
                for other in (number - 1, number + 1)
                if 0 <= other < len(said) and said[other].excerpt == one.excerpt
            ),
            default=0.0,
        )
        score = own[number] + 0.3 * beside
        if score:
            score += 0.25 * any(seen.search(one.text) for seen in expected)
            score += 0.25 * (agreed and bool(one.stems & _stems_of(_AGREED)))
            score += 0.1 / (1 + one.excerpt)
            score *= 0.5 + 0.5 * covered[one.excerpt]
            if one.text.endswith("?"):
                score *= 0.6  # a question answers none
            if len(one.stems) < 2:
                score *= 0.7
        made.append(score)
    return made


def _embedded(*notes: str) -> Source:
    return Source("embedded", EMBEDDED, notes=notes)


def _citations(places: Sequence[_Place]) -> tuple[Citation, ...]:
    """One for each meeting, in the order in which they are first cited."""
    found: dict[str, list[Said]] = {}
    for place in places:
        found.setdefault(place.meeting, []).append(place.said)
    return tuple(
        Citation(
            meeting,
            tuple(sorted({said.position for said in own})),
            min(said.start for said in own),
            max(said.end for said in own),
        )
        for meeting, own in found.items()
    )
