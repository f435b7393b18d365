"""The one protocol of language models, and how an answer is read: into a shape, or not at all.

A model is given an instruction, which is ours, and material, which is anybody's. It is given no
tools, and what it answers is only ever decoded into the shape that was asked for: the worst that
words in the material can do is to make an answer wrong or useless, never to make anything happen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from hansard.errors import BadAnswer, LanguageModelError
from hansard.model import Value

S = TypeVar("S", bound=Value)

LONGEST_ANSWER = 256 * 1024
"""Characters of an answer; no shape here has use for more."""

_QUOTED = 2000
"""Characters of a bad answer that are sent back with what is wrong with it."""

_FENCE = re.compile(r"^```[a-z]*\s*\n(.*?)\n?```\s*$", re.DOTALL)
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)

_UNKNOWN_TO_STRICT = {"title", "default", "maxLength", "minLength", "maxItems", "minItems"}
"""Keywords that strict structured output does not take everywhere; decoding checks them."""


class Answer(Value, Generic[S], frozen=True):
    """What a model answered, and what that took. Money is in the currency of the price table."""

    value: S
    cost: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 1
    notes: tuple[str, ...] = ()
    """What a reader must know, like a fallback that was taken."""


class LanguageModel(Protocol):
    """Answers questions about a text, in a shape. Safe for any number of threads."""

    @property
    def name(self) -> str:
        """What it is called, for people."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens that it takes at once, instruction, text and answer together."""
        ...

    def answer(self, instruction: str, text: str, shape: type[S]) -> Answer[S]:
        """Ask, and once more with what was wrong if the answer does not fit.

        Raises:
            BadAnswer: it did not fit twice; ``cost`` says what that took.
            TextTooLong: the text does not fit into the model: ask for less at once.
            LanguageModelBusy, LanguageModelUnreachable: later it may work.
            LanguageModelRefused: it never will.
        """
        ...

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost, by the price table; 0 where it has no prices."""
        ...


class Said(NamedTuple):
    """One answer as it came: text, and what the far side counted."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


Message = dict[str, str]
"""``role`` and ``content``, as chat endpoints take them."""


def ask_twice(
    send: Callable[[list[Message]], Said],
    messages: list[Message],
    shape: type[S],
    price: Callable[[int, int], float],
) -> Answer[S]:
    """Ask; where the answer does not fit the shape, say why and ask once more.

    Raises:
        BadAnswer: neither answer fits. Errors of ``send`` pass through, with what was spent before.
    """
    tokens_in = tokens_out = 0
    asked = list(messages)
    turn = 0
    while True:
        turn += 1
        try:
            said = send(asked)
        except LanguageModelError as problem:
            problem.cost += price(tokens_in, tokens_out)
            raise
        tokens_in += said.tokens_in
        tokens_out += said.tokens_out
        try:
            value = read(said.text, shape)
        except BadAnswer as problem:
            if turn > 1:
                problem.cost = price(tokens_in, tokens_out)
                raise
            asked = [
                *messages,
                {"role": "assistant", "content": said.text[:_QUOTED]},
                {
                    "role": "user",
                    "content": f"That does not fit: {problem.message} "
                    "Answer again with one JSON object that fits the schema, and nothing else.",
                },
            ]
        else:
            return Answer(value, price(tokens_in, tokens_out), tokens_in, tokens_out, turn)


def read(text: str, shape: type[S]) -> S:
    """The value in an answer: JSON that fits ``shape`` strictly, maybe fenced as code is.

    Raises:
        BadAnswer: it is something else; the message says what does not fit.
    """
    if len(text) > LONGEST_ANSWER:
        raise BadAnswer(f"The answer has {len(text)} characters, which no good one has.")
    bare = _THOUGHTS.sub("", text, count=1).strip()
    fenced = _FENCE.match(bare)
    try:
        return msgspec.json.decode(fenced[1] if fenced else bare, type=shape, strict=True)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise BadAnswer(f"The answer is not what was asked for: {problem}.") from None


def schema(shape: type[Value]) -> dict[str, Any]:
    """The JSON schema of a shape, as strict structured output wants it.

    That is: an object at the root, every property required, no others allowed, and no keywords
    beyond the common ones (OpenAI, "Structured model outputs"; vLLM and Ollama take the same).
    """
    made = msgspec.json.schema(shape)
    parts = made.pop("$defs", {})
    root: dict[str, Any] = _strict(parts.pop(shape.__name__))
    if parts:
        root["$defs"] = {name: _strict(part) for name, part in parts.items()}
    return root


def _strict(part: Any) -> Any:
    if isinstance(part, list):
        return [_strict(one) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {
        name: (
            {key: _strict(one) for key, one in value.items()}
            if name == "properties"
            else _strict(value)
        )
        for name, value in part.items()
        if name not in _UNKNOWN_TO_STRICT
    }
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
        kept["required"] = list(kept.get("properties", {}))
    return kept
