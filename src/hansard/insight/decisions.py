"""What was decided, by grammar: what a meeting says when it decides, not what it talks of. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hansard.insight.findings import Item
from hansard.insight.grammar import Grammar
from hansard.insight.ready import Ready
from hansard.insight.wording import tidied

BARE = 5
"""Words of a sentence that only says that something was decided: what, says the one before."""


def find(ready: Sequence[Ready], grammar: Grammar) -> dict[int, Item]:
    """Decisions by the position of their sentence."""
    found: dict[int, Item] = {}
    for at, one in enumerate(ready):
        if one.sentence.asked or not _decides(ready, at, grammar):
            continue
        text, segments = tidied(one.sentence.text), one.sentence.segments
        if at and len(one.sentence.words) <= BARE and at - 1 not in found:
            before = ready[at - 1].sentence
            text = f"{tidied(before.text)} {text}"
            segments = tuple(sorted({*before.segments, *segments}))
        found[at] = Item(kind="decision", text=text, segments=segments)
    return found


def _decides(ready: Sequence[Ready], at: int, grammar: Grammar) -> bool:
    text = ready[at].tagged.text
    if grammar.decided_not.search(text):
        return False
    if grammar.decided.search(text):
        return True
    before = ready[at - 1] if at else None
    return bool(
        before
        and before.sentence.speaker == ready[at].sentence.speaker
        and grammar.introduced.search(before.tagged.text)
        and grammar.will.search(text)
    )
