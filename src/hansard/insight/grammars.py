"""Which languages there is a grammar of: rules for tasks, decisions and questions."""

from __future__ import annotations

from functools import lru_cache

from hansard.insight import english, european
from hansard.insight.grammar import Grammar

LANGUAGES = ("de", "en", "es", "fr")


@lru_cache(maxsize=8)
def of(language: str | None) -> Grammar | None:
    """The grammar of a language; ``None``: there is none."""
    if language == "en":
        return english.grammar()
    if language in LANGUAGES:
        return european.grammar(language)
    return None
