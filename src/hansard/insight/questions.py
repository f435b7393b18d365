"""What was asked: by its mark, or where there are none by the order of its words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hansard.insight.findings import Item
from hansard.insight.grammar import Grammar
from hansard.insight.ready import Ready
from hansard.insight.sentences import Sentence

SHORTEST = 3
"""Words of a question worth keeping: not "Really?"."""


def find(ready: Sequence[Ready], grammar: Grammar | None, *, marked: bool) -> dict[int, Item]:
    """Questions by the position of their sentence.

    Args:
        ready: all sentences.
        grammar: of the language; without one, only marks count.
        marked: whether the transcript has marks: then a sentence without one asks nothing.
    """
    found: dict[int, Item] = {}
    for at, one in enumerate(ready):
        sentence = one.sentence
        if is_question(sentence, one.tagged.text, grammar, marked=marked):
            found[at] = Item(
                kind="question", text=_written(sentence.text), segments=sentence.segments
            )
    return found


def is_question(sentence: Sentence, text: str, grammar: Grammar | None, *, marked: bool) -> bool:
    """Whether it asks something, and does not only want a nod: "…, isn't it?".

    Args:
        sentence: as it was said.
        text: of ``names.Tagged``.
        grammar: of the language; without one, only marks count.
        marked: whether the transcript has marks.
    """
    if sentence.asked:
        if len(sentence.words) < SHORTEST:
            return False
        return grammar is None or not (grammar.tag.search(text) and not grammar.question(text))
    return not marked and grammar is not None and grammar.question(text)


def _written(text: str) -> str:
    return text if text.rstrip().endswith("?") else f"{text.rstrip(' .')}?"
