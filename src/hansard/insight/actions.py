"""Tasks that were taken on or given, with who does them and by when, by grammar. Pure.

Precision before recall: a task is a verb of doing behind words that bind somebody ("I'll …", "Ann
will …", "can you …, Tom"). Conditions, reports of what somebody said, wishes and the past are
left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from hansard.insight.findings import Item, Occasion
from hansard.insight.grammar import Grammar, TaskRule
from hansard.insight.ready import Ready
from hansard.insight.wording import tidied

_BY = re.compile(
    r"\b(?:by|before|until|till|not later than|no later than|for|bis|spätestens|avant|pour|d'ici|"
    r"antes de|antes del|para|hasta)(?: the| le| el| la| zum| zur)?\s*$"
)
_FRAGMENT = re.compile(r"^(?:by|before|until|till|bis|avant|antes)\b")
_FRAGMENT_WORDS = 6

CONTEXT = 2
"""Sentences back in which the person who is spoken to may have been named."""


def find(
    ready: Sequence[Ready], grammar: Grammar, occasion: Occasion, held: date | None
) -> dict[int, Item]:
    """Tasks by the position of their sentence, at most one in each."""
    del occasion
    found: dict[int, Item] = {}
    for at, one in enumerate(ready):
        if grammar.spoilt.search(one.tagged.text):
            continue
        due = _due(ready, at, held)
        for rule in grammar.tasks:
            match = _matches(rule, one, grammar, due)
            if match:
                found[at] = Item(
                    kind="action",
                    text=tidied(one.sentence.text),
                    segments=one.sentence.segments,
                    owner=_owner(rule, match, ready, at, grammar),
                    due=due.isoformat() if due else None,
                )
                break
    return found


def _matches(
    rule: TaskRule, one: Ready, grammar: Grammar, due: date | None
) -> re.Match[str] | None:
    if rule.needs_due and due is None:
        return None
    if one.sentence.asked and not rule.asks:
        return None
    text = one.tagged.text
    for match in rule.pattern.finditer(text):
        begin = max((at for at in one.tagged.breaks if at <= match.start()), default=0)
        if text[begin : match.start()].strip() in {"", "and", "but", "then", "so"}:
            # "If it rains, I'll …": the clause before the comma decides as well, if it is the first
            begin = 0 if text.startswith(("if ", "unless ", "wenn ", "falls ", "si ")) else begin
        before = text[begin : match.start()]
        if grammar.unsure.search(before) or (rule.third and grammar.opinion.search(before)):
            continue
        return match
    return None


def _owner(
    rule: TaskRule, match: re.Match[str], ready: Sequence[Ready], at: int, grammar: Grammar
) -> str | None:
    one = ready[at]
    if rule.owner == "speaker":
        return one.sentence.speaker
    if rule.owner == "named":
        named = next((match[group] for group in rule.pattern.groupindex if match[group]), None)
        return one.tagged.people.get(named or "")
    if rule.owner == "asked":
        return _called(ready, at) or _answering(ready, at, grammar)
    return None


def _called(ready: Sequence[Ready], at: int) -> str | None:
    """Whom the speaker called by name: in this sentence, or just before in the same turn."""
    speaker = ready[at].sentence.speaker
    for back in range(min(CONTEXT, at) + 1):
        one = ready[at - back]
        if one.sentence.speaker != speaker:
            break
        words = one.tagged.text.split()
        for word in (words[0], words[-1]):
            if word in one.tagged.people:
                return one.tagged.people[word]
    return None


def _answering(ready: Sequence[Ready], at: int, grammar: Grammar) -> str | None:
    """The next speaker, if they accept."""
    speaker = ready[at].sentence.speaker
    for one in ready[at + 1 : at + 1 + CONTEXT]:
        if one.sentence.speaker != speaker:
            return one.sentence.speaker if grammar.accepts.search(one.tagged.text) else None
    return None


def _due(ready: Sequence[Ready], at: int, held: date | None) -> date | None:
    """The day by which: in the sentence, or in a bit of one that follows it ("By Friday.")."""
    found = _day(ready[at], held)
    if found is None and at + 1 < len(ready):
        after = ready[at + 1]
        if (
            after.sentence.speaker == ready[at].sentence.speaker
            and len(after.sentence.words) <= _FRAGMENT_WORDS
            and _FRAGMENT.search(after.spoken)
        ):
            found = _day(after, held)
    return found


def _day(one: Ready, held: date | None) -> date | None:
    days = [
        (not _BY.search(one.spoken[: mention.first]), mention.first, mention.until)
        for mention in one.mentions
        if mention.until and (held is None or mention.until >= held)
    ]
    return min(days)[2] if days else None
