"""What the rules for tasks, decisions and questions share: a language's grammar, as patterns."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

Owner = Literal["speaker", "named", "asked", "nobody"]
"""Who does it: whoever says so; the person of group ``who``; whoever is spoken to; not said."""


class TaskRule(NamedTuple):
    """One way to take on a task or to give it."""

    pattern: re.Pattern[str]
    """Over ``names.Tagged.text``."""
    owner: Owner
    needs_due: bool = False
    """Too weak by itself: only with a day by which."""
    asks: bool = False
    """May end with a question mark."""
    third: bool = False
    """About somebody else: opinions ("I think Ann will …") are no tasks."""


class Grammar(NamedTuple):
    """The rules of a language."""

    tasks: tuple[TaskRule, ...]
    unsure: re.Pattern[str]
    """Before a task, in the same clause: a condition, a report, a wish."""
    opinion: re.Pattern[str]
    """Before a task of somebody else: a guess."""
    spoilt: re.Pattern[str]
    """Anywhere in the sentence: not a task, whatever it says."""
    accepts: re.Pattern[str]
    """How somebody takes on what he was asked."""
    decided: re.Pattern[str]
    decided_not: re.Pattern[str]
    """Anywhere in the sentence: no decision of this meeting."""
    introduced: re.Pattern[str]
    """A sentence after which "we will …" is a decision."""
    will: re.Pattern[str]
    question: Callable[[str], bool]
    """Whether a sentence without marks is surely a question."""
    tag: re.Pattern[str]
    """Ends a statement with a question mark: "…, isn't it?"."""


LANGUAGES = ("de", "en", "es", "fr")


@lru_cache(maxsize=8)
def of(language: str | None) -> Grammar | None:
    """The grammar of a language; ``None``: there is none."""
    if language == "en":
        from hansard.insight import english

        return english.grammar()
    if language in LANGUAGES:
        from hansard.insight import european

        return european.grammar(language)
    return None
