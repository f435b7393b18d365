"""Vectors from any OpenAI-compatible endpoint: ``/embeddings`` of OpenAI, Ollama, vLLM and others.

Passages go there in batches, each batch once; what fails is tried again as ``speech.endpoint``
does, and a batch that is too long for the model is halved. Nothing else is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hansard import telemetry
from hansard.config import EmbeddingSettings
from hansard.errors import BadSettings, LanguageModelError, TextTooLong
from hansard.search.embedder import Matrix, Vector, is_blank, unit
from hansard.speech.endpoint import Endpoint

if TYPE_CHECKING:
    import openai

LONGEST_VECTOR = 8192
"""Numbers: no model at hand gives longer ones."""


class RemoteEmbedder:
    """An endpoint as an :class:`~hansard.search.embedder.Embedder`.

    Args:
        settings: address, key, model, batches, price.
        sleep: waits so many seconds; for tests.

    Raises:
        BadSettings: no model is named, or the address or key is none.
    """

    def __init__(
        self, settings: EmbeddingSettings, *, sleep: Callable[[float], None] | None = None
    ) -> None:
        if not settings.model:
            raise BadSettings("No model of vectors is named.", hint="Set embeddings.model.")
        self._model = settings.model
        self._settings = settings
        self._endpoint = Endpoint(settings, "embeddings", sleep=sleep)
        self._lock = threading.Lock()
        self._width = settings.dimensions
        self._spent = 0.0

    def __repr__(self) -> str:
        return f"RemoteEmbedder({self._model!r}, {self._endpoint.address!r})"

    @property
    def method(self) -> str:
        """The model's name, and the length where one is asked for."""
        asked = f"/{self._settings.dimensions}" if self._settings.dimensions else ""
        return f"openai:{self._model[: 56 - len(asked)]}{asked}"

    @property
    def dimensions(self) -> int:
        """Length of the vectors: by the settings, or the endpoint is asked once."""
        if self._width is None:
            self._ask(["dimensions"])
        assert self._width is not None
        return self._width

    @property
    def spent(self) -> float:
        """Money that this one has cost so far, by the settings' price."""
        with self._lock:
            return self._spent

    def embed(self, texts: Sequence[str]) -> Matrix:
        """A row for each text; blank ones are not sent."""
        wanted = [number for number, text in enumerate(texts) if not is_blank(text)]
        if not wanted:
            return np.zeros(
                (len(texts), self.dimensions if texts else self._width or 0), np.float32
            )
        rows: list[Matrix] = []
        for begin in range(0, len(wanted), self._settings.batch):
            rows += self._halving(
                [texts[number] for number in wanted[begin : begin + self._settings.batch]]
            )
        made = np.zeros((len(texts), rows[0].shape[1]), np.float32)
        made[wanted] = np.concatenate(rows)
        return made

    def embed_query(self, text: str) -> Vector:
        """The vector of what somebody looks for."""
        vector: Vector = self.embed([text])[0]
        return vector

    def close(self) -> None:
        """Let go of the connections."""
        self._endpoint.close()

    def _halving(self, texts: list[str]) -> list[Matrix]:
        try:
            return [self._ask(texts)]
        except TextTooLong:
            if len(texts) == 1:
                raise
            half = len(texts) // 2
            return self._halving(texts[:half]) + self._halving(texts[half:])

    def _ask(self, texts: list[str]) -> Matrix:
        request: dict[str, Any] = {
            "model": self._model,
            "input": texts,
            "encoding_format": "float",
        }
        if self._settings.dimensions:
            request["dimensions"] = self._settings.dimensions

        def call(client: openai.OpenAI) -> bytes:
            return client.embeddings.with_raw_response.create(**request).content

        try:
            heard = msgspec.json.decode(self._endpoint.ask(call), type=_Answer)
        except (msgspec.DecodeError, UnicodeError):
            raise self._strange("does not answer with vectors") from None
        rows = {one.index: one.embedding for one in heard.data}
        widths = {len(row) for row in rows.values()}
        if sorted(rows) != list(range(len(texts))) or len(widths) != 1:
            raise self._strange("answers with other vectors than were asked for")
        width = widths.pop()
        with self._lock:
            if self._width is None:
                self._width = width
            tokens = (heard.usage.prompt_tokens if heard.usage else None) or 0
            cost = tokens * self._settings.price / 1_000_000
            self._spent += cost
        telemetry.count("embeddings.tokens", tokens)
        telemetry.count("embeddings.cost", cost)
        if width != self._width or not 0 < width <= LONGEST_VECTOR:
            raise self._strange(f"answers with vectors of {width} numbers instead of {self._width}")
        return unit(np.array([rows[number] for number in range(len(texts))], np.float32))

    def _strange(self, what: str) -> LanguageModelError:
        return LanguageModelError(
            f"{self._endpoint.address} {what}.",
            hint="Are embeddings.base_url, embeddings.model and embeddings.dimensions right?",
        )


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float]


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None
