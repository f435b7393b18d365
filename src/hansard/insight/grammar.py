"""What the rules for tasks, decisions and questions share: a language's grammar, as patterns."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    refers: bool = False
    """What is to be done was said before, by somebody else: "I can do that"."""


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
