"""Everything to keep of a meeting: tasks, decisions, questions, dates and figures, by rules. Pure.

English thoroughly, German, French and Spanish the usual ways. Of other languages only questions
with a mark are known: nothing rather than rubbish.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hansard.insight import actions, calendar, decisions, figures, grammars, questions
from hansard.insight.findings import ITEM_KINDS, Item, ItemKind, Items, Occasion
from hansard.insight.languages import Stems, words
from hansard.insight.names import Names
from hansard.insight.ready import Ready, ready
from hansard.insight.sentences import is_marked, is_punctuated, language_of, split
from hansard.model import Segment

SAME = 0.75
"""Share of stems that two tasks have in common when one repeats the other."""

MEMORY = 40
"""Tasks back with which one is compared."""


def find(
    segments: Sequence[Segment],
    occasion: Occasion,
    kinds: Sequence[ItemKind] = ITEM_KINDS,
) -> tuple[Items, tuple[str, ...]]:
    """Items in the order in which they were said, and notes on what could not be found.

    Args:
        segments: the transcript.
        occasion: when it was held and who was there, if that is known.
        kinds: what to keep.
    """
    sentences = split(segments)
    language, guessed = language_of(sentences, occasion.language)
    notes = list(_notes(language, occasion, guessed=guessed and bool(sentences)))
    rules = grammars.of(language)
    marked, punctuated = is_marked(segments), is_punctuated(segments)
    held = calendar.day_of(occasion.held)
    names = Names(sentences, occasion, capitals=marked and language != "de")
    made = ready(sentences, names, held, language if rules else None)
    by_kind: dict[ItemKind, dict[int, list[Item]]] = {
        "decision": _one_each(decisions.find(made, rules) if rules else {}),
        "action": _one_each(actions.find(made, rules, held) if rules else {}),
        "question": _one_each(questions.find(made, rules, marked=punctuated)),
        "date": {},
        "figure": _figures(made, language) if rules else {},
    }
    _settle(by_kind)
    if rules:
        by_kind["date"] = _dates(made, by_kind["action"])
    _merge(by_kind["action"], Stems(language))
    wanted = [kind for kind in by_kind if kind in kinds]
    found = [
        item for at in range(len(made)) for kind in wanted for item in by_kind[kind].get(at, ())
    ]
    found.sort(key=lambda item: item.segments[0])  # stable: as they were said
    return Items(tuple(found)), tuple(notes)


def _notes(language: str | None, occasion: Occasion, *, guessed: bool) -> Iterator[str]:
    if guessed:
        yield (
            f"The language is taken to be {language}, by its words."
            if language
            else "The language is not known."
        )
    if language not in grammars.LANGUAGES and (language or guessed):
        yield (
            "Tasks, decisions, dates and figures are found in English, German, French and Spanish "
            "only; here only questions that end with a question mark are."
        )
    if calendar.day_of(occasion.held) is None:
        yield "When the meeting was held is not known: dates like “Friday” are not resolved."


def _one_each(found: dict[int, Item]) -> dict[int, list[Item]]:
    return {at: [item] for at, item in found.items()}


def _settle(by_kind: dict[ItemKind, dict[int, list[Item]]]) -> None:
    """A sentence is one of task, decision and question: a request is no question."""
    for at in list(by_kind["action"]):
        by_kind["question"].pop(at, None)
        if at in by_kind["decision"]:
            if by_kind["action"][at][0].owner:
                del by_kind["decision"][at]  # somebody is to do it: that is what is kept
            else:
                del by_kind["action"][at]


def _merge(tasks: dict[int, list[Item]], stems: Stems) -> None:
    """A task that is said again cites both places; the first one stays."""
    kept: list[tuple[int, frozenset[str]]] = []
    for at in sorted(tasks):
        item = tasks[at][0]
        about = frozenset(stems.of(words(item.text)))
        for earlier, other in reversed(kept[-MEMORY:]):
            first = tasks[earlier][0]
            together = len(about | other)
            if first.owner == item.owner and together and len(about & other) >= SAME * together:
                tasks[earlier] = [_both(first, item)]
                del tasks[at]
                break
        else:
            kept.append((at, about))


def _both(first: Item, again: Item) -> Item:
    return Item(
        kind=first.kind,
        text=first.text,
        segments=tuple(sorted({*first.segments, *again.segments})),
        owner=first.owner,
        due=again.due or first.due,
    )


def _dates(made: Sequence[Ready], tasks: dict[int, list[Item]]) -> dict[int, list[Item]]:
    """Days that were named. "Today" is one where something is due on it."""
    found: dict[int, list[Item]] = {}
    for at, one in enumerate(made):
        due = {item.due for item in tasks.get(at, ())}
        items = [
            Item("date", one.sentence.text, one.sentence.segments, value=mention.value)
            for mention in one.mentions
            if not mention.vague or (mention.value and mention.value in due)
        ]
        if items:
            found[at] = items
    return found


def _figures(made: Sequence[Ready], language: str | None) -> dict[int, list[Item]]:
    found: dict[int, list[Item]] = {}
    for at, one in enumerate(made):
        taken = tuple((mention.first, mention.last) for mention in one.mentions)
        sentence = one.sentence
        items = [
            Item("figure", sentence.text, sentence.segments, value=figure.value)
            for figure in figures.find(one.spoken, taken, language)
        ]
        if items:
            found[at] = items
    return found
