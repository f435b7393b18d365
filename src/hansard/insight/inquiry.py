"""Asking a language model about a whole transcript, a stretch at a time, and keeping the account.

What a model may read at once is bounded, so a transcript is read in stretches (map) and what they
gave is put together (reduce). Nothing is cut off: every line is in exactly one stretch. Money is
counted before and after each question, and what was thrown away is counted too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from hansard.errors import BadAnswer, CostTooHigh, LanguageModelError, TextTooLong
from hansard.insight import language_model, material
from hansard.insight.findings import Source, Statement
from hansard.insight.language_model import LanguageModel, S
from hansard.insight.material import Chunk, Line, Reading
from hansard.model import Value

LONGEST_STATEMENT = 600
"""Characters of a sentence of an answer; a longer one is cut, and ends with an ellipsis."""

T = TypeVar("T")


class Cited(Value, frozen=True, forbid_unknown_fields=True):
    """A sentence as a model gives it: ``segments`` are numbers of lines, not yet believed."""

    text: str
    segments: tuple[int, ...]


class Purse:
    """What may be spent, and what was: one for a meeting. Money of the price table."""

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self.spent = 0.0

    def see_that_there_is(self, cost: float) -> None:
        """Refuse what would cost more than is left.

        Raises:
            CostTooHigh: it would.
        """
        if self.limit is not None and self.spent + cost > self.limit:
            raise CostTooHigh(
                f"The language model has cost {self.spent:.4g}, and the next question would go "
                f"beyond the limit of {self.limit:g} for one meeting.",
                hint="Raise language_model.max_cost, or do without a language model.",
            )


class Inquiry:
    """All questions of one finding: asks, pays, and notes what a reader must know."""

    def __init__(self, model: LanguageModel, purse: Purse | None = None) -> None:
        self.model = model
        self.purse = purse or Purse()
        self.dropped: Counter[str] = Counter()
        """What was thrown away, by its name in the plural."""
        self.kept = 0
        """Statements that cite what they rest on."""
        self._cost = 0.0
        self._notes: list[str] = []

    # ── asking ───────────────────────────────────────────────────────────────────────────────

    def ask(self, instruction: str, text: str, shape: type[S]) -> S:
        """One question.

        Raises:
            CostTooHigh: it would cost more than is left. LanguageModelError: it failed.
        """
        expected = material.tokens(instruction) + material.tokens(text)
        self.purse.see_that_there_is(self.model.price(expected, expected // 8))
        try:
            found = self.model.answer(instruction, text, shape)
        except LanguageModelError as problem:
            self._pay(problem.cost)
            raise
        self._pay(found.cost)
        for sentence in found.notes:
            self.note(sentence)
        return found.value

    def room(self, instruction: str, shape: type[Value]) -> int:
        """Tokens that a material may have beside an instruction."""
        schema = msgspec.json.encode(language_model.schema(shape)).decode()
        return material.room(self.model.context_tokens, instruction, schema)

    def read(
        self, lines: Sequence[Line], budget: int, question: Callable[[Chunk], T]
    ) -> Iterator[tuple[Chunk, T]]:
        """Put a question to every stretch of a material; a smaller one where the model says so.

        Raises:
            TextTooLong: even the smallest stretch is too long for the model.
        """
        reading = Reading(lines, budget)
        for chunk in reading:
            try:
                found = question(chunk)
            except TextTooLong as problem:
                if not reading.give_back(chunk):
                    raise
                self.note(
                    f"{self.model.name} took less at once than its settings say, so it was given "
                    f"{reading.budget} tokens at a time ({problem.message.rstrip('.')})."
                )
                continue
            yield chunk, found

    def _pay(self, cost: float) -> None:
        self._cost += cost
        self.purse.spent += cost

    # ── believing ────────────────────────────────────────────────────────────────────────────

    def statements(self, said: Sequence[Cited], allowed: frozenset[int]) -> list[Statement]:
        """Those that cite lines of what was read, as they may be kept."""
        kept = []
        for one in said:
            segments = self.citations(one.segments, allowed)
            text = material.plain(one.text, LONGEST_STATEMENT)
            if segments and text:
                kept.append(Statement(text, segments))
                self.kept += 1
            else:
                self.dropped["statements that cite nothing"] += 1
        return kept

    def citations(self, numbers: Sequence[int], allowed: frozenset[int]) -> tuple[int, ...]:
        """Numbers of lines that were read, ascending; others are dropped and counted."""
        found = sorted(set(numbers) & allowed)
        self.dropped["citations of what was not read"] += len(set(numbers)) - len(found)
        return tuple(found)

    def see_that_it_rests_on_something(self) -> None:
        """Refuse an answer of which nothing could be kept.

        Raises:
            BadAnswer: nothing could.
        """
        if not self.kept:
            raise BadAnswer(
                f"Nothing that {self.model.name} answers says where it was said.",
                hint="A larger model, or one made to follow instructions, cites what it reads.",
            )

    def note(self, sentence: str) -> None:
        """What a reader must know, said once."""
        if sentence not in self._notes:
            self._notes.append(sentence)

    def source(self) -> Source:
        """Who found it out, at what cost, and what was thrown away."""
        thrown = [f"Dropped: {count} {what}." for what, count in self.dropped.items() if count]
        return Source("model", self.model.name, self._cost, (*self._notes, *thrown))
