"""A language model behind any OpenAI-compatible endpoint: Ollama, vLLM, OpenAI and others.

The official client asks ``/chat/completions`` for structured output. Servers differ in what they
take, so a refusal (400) makes us ask for less, once, and remember: a schema that is enforced, then
JSON of any kind, then plain text that must be JSON. In all three the schema stands in the
instruction too where nothing enforces it, and decoding is as strict.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hansard import telemetry
from hansard.config import LanguageModelSettings
from hansard.errors import (
    BadSettings,
    LanguageModelError,
    LanguageModelRefused,
    TextTooLong,
)
from hansard.insight import language_model, material
from hansard.insight.language_model import Answer, Message, S, Said
from hansard.model import Value
from hansard.speech.endpoint import Endpoint

if TYPE_CHECKING:
    import openai

log = logging.getLogger("hansard.insight.openai_model")

Manner = Literal["schema", "json", "text"]
"""How the shape is asked for: enforced, as JSON of any kind, or in words alone."""

_LESS: dict[Manner, Manner] = {"schema": "json", "json": "text"}

_SAYS = {
    "json": "{0} enforces no schema (it refused one): its answers are JSON that is checked here.",
    "text": "{0} has no structured output (it refused it): its answers are text that must be JSON.",
}

_SHORTEST_TOKEN = 12
"""Bytes: a text has hardly ever fewer tokens than a twelfth of its bytes (English has a quarter).
An endpoint that counts fewer has cut the text off, as Ollama does without a word."""


class OpenAIModel:
    """An endpoint as a :class:`~hansard.insight.language_model.LanguageModel`.

    Args:
        settings: address, key, model, prices.
        sleep: waits so many seconds; for tests.

    Raises:
        BadSettings: no model is named, or the address or key is none.
    """

    def __init__(
        self, settings: LanguageModelSettings, *, sleep: Callable[[float], None] | None = None
    ) -> None:
        if not settings.model:
            raise BadSettings(
                "No language model is named.", hint="Set HANSARD_LANGUAGE_MODEL__MODEL."
            )
        self._model = settings.model
        self._settings = settings
        self._endpoint = Endpoint(settings, "language_model", sleep=sleep)
        self._lock = threading.Lock()
        self._manner: Manner = "schema"
        self._extras: dict[str, Any] = {"temperature": 0, "max_tokens": self._longest()}
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"OpenAIModel({self._model!r}, {self._endpoint.address!r})"

    @property
    def name(self) -> str:
        """The name the endpoint knows it by."""
        return self._model

    @property
    def address(self) -> str:
        """Where text is sent."""
        return self._endpoint.address

    @property
    def context_tokens(self) -> int:
        """As the settings say: no endpoint tells."""
        return self._settings.context_tokens

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost, by the settings."""
        return (
            tokens_in * self._settings.price_in + tokens_out * self._settings.price_out
        ) / 1_000_000

    def answer(self, instruction: str, text: str, shape: type[S]) -> Answer[S]:
        """Ask: see :class:`~hansard.insight.language_model.LanguageModel`."""
        messages: list[Message] = [
            {"role": "system", "content": instruction},
            {"role": "user", "content": text},
        ]
        notes: list[str] = []
        found = language_model.ask_twice(
            lambda asked: self._adapt(asked, shape, notes), messages, shape, self.price
        )
        return msgspec.structs.replace(found, notes=tuple(dict.fromkeys(notes)))

    def close(self) -> None:
        """Let go of the connections."""
        self._endpoint.close()

    # ── one call ─────────────────────────────────────────────────────────────────────────────

    def _adapt(self, asked: list[Message], shape: type[Value], notes: list[str]) -> Said:
        """Ask, and ask for less where this server turns out to take less."""
        with self._lock:
            manner, extras = self._manner, dict(self._extras)
        said: Said | None = None
        while said is None:
            try:
                said = self._ask(asked, shape, manner, extras)
            except LanguageModelRefused as problem:
                if problem.http not in {400, 422}:
                    raise
                if "max_completion_tokens" in problem.said and "max_tokens" in extras:
                    extras["max_completion_tokens"] = extras.pop("max_tokens")
                elif "temperature" in problem.said and "temperature" in extras:
                    del extras["temperature"]
                elif manner in _LESS:
                    manner = _LESS[manner]
                else:
                    raise
        with self._lock:
            self._manner, self._extras = manner, extras
        if manner != "schema":
            self._say(_SAYS[manner].format(self._model), notes)
        sent = sum(len(message["content"].encode()) for message in asked)
        if 0 < said.tokens_in < sent // _SHORTEST_TOKEN:
            self._say(
                f"{self._model} read {said.tokens_in} tokens of a text that has more: its "
                "endpoint may have cut it off. Lower language_model.context_tokens, or raise the "
                "endpoint's own limit.",
                notes,
            )
        return said

    def _ask(
        self, asked: list[Message], shape: type[Value], manner: Manner, extras: dict[str, Any]
    ) -> Said:
        wanted = language_model.schema(shape)
        request: dict[str, Any] = {"model": self._model, "messages": asked, **extras}
        if manner == "schema":
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": shape.__name__, "schema": wanted, "strict": True},
            }
        else:
            told = (
                f"{asked[0]['content']}\n\nAnswer with one JSON object and nothing else. "
                f"It must fit this JSON schema:\n{msgspec.json.encode(wanted).decode()}"
            )
            request["messages"] = [{"role": "system", "content": told}, *asked[1:]]
        if manner == "json":
            request["response_format"] = {"type": "json_object"}

        def call(client: openai.OpenAI) -> bytes:
            return client.chat.completions.with_raw_response.create(**request).content

        return self._heard(self._endpoint.ask(call))

    def _heard(self, answer: bytes) -> Said:
        """The text in an answer of ``/chat/completions``.

        Raises:
            TextTooLong: it ends in the middle: with less material it may come to its end.
            LanguageModelRefused: the model will not speak of this.
            LanguageModelError: there is no answer in it.
        """
        try:
            heard = msgspec.json.decode(answer, type=_Completion)
            choice = heard.choices[0]
        except (msgspec.DecodeError, UnicodeError, IndexError):
            raise LanguageModelError(
                f"{self._endpoint.address} does not answer like a chat endpoint.",
                hint="Does language_model.base_url end where /chat/completions begins (/v1)?",
            ) from None
        usage = heard.usage or _Usage()
        tokens_in, tokens_out = usage.prompt_tokens or 0, usage.completion_tokens or 0
        cost = self.price(tokens_in, tokens_out)
        telemetry.count("language_model.tokens_in", tokens_in)
        telemetry.count("language_model.tokens_out", tokens_out)
        telemetry.count("language_model.cost", cost)
        problem: LanguageModelError
        if choice.message.refusal or choice.finish_reason == "content_filter":
            problem = LanguageModelRefused(f"{self._model} will not speak of this material.")
        elif choice.finish_reason == "length":
            problem = TextTooLong(f"{self._model} did not come to the end of its answer.")
        else:
            return Said(choice.message.content or "", tokens_in, tokens_out)
        problem.cost = cost
        raise problem

    def _longest(self) -> int:
        """Tokens of an answer."""
        return material.longest_answer(self._settings.context_tokens)

    def _say(self, sentence: str, notes: list[str]) -> None:
        """To every reader of what comes of it; to the log once."""
        notes.append(sentence)
        with self._lock:
            if sentence in self._said:
                return
            self._said.add(sentence)
        log.warning("%s", sentence)


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None
