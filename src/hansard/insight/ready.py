"""A sentence made ready for rules, and what rules found in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from hansard.insight import dates, numbers
from hansard.insight.names import Names, Tagged
from hansard.insight.sentences import Sentence
from hansard.model import Value


class Ready(Value, frozen=True):
    """A sentence in the forms that rules read."""

    sentence: Sentence
    tagged: Tagged
    spoken: str
    """With numbers in digits: see ``numbers.spoken``."""
    mentions: tuple[dates.Mention, ...]
    """The dates in ``spoken``."""


def ready(
    sentences: Sequence[Sentence], names: Names, held: date | None, language: str | None
) -> list[Ready]:
    """All sentences, ready."""
    made = []
    for sentence in sentences:
        spoken = numbers.spoken(sentence.text, language)
        mentions = tuple(dates.find(spoken, held, language))
        made.append(Ready(sentence, names.tagged(sentence), spoken, mentions))
    return made
