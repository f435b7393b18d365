"""Vectors from a sentence transformer on this machine: ``model.onnx`` and ``tokenizer.json``.

Any encoder that was exported to ONNX with a fast tokenizer beside it works, such as all-MiniLM-L6
(Reimers and Gurevych, "Sentence-BERT", 2019): the mean of its last states, weighted by the
attention mask, made of length 1. A text that is longer than the model reads at once is read in
several goes, and the mean is that of all of its tokens: nothing of it is left out.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hansard import telemetry
from hansard.errors import EmbedderBroken
from hansard.search.embedder import Matrix, Vector, is_blank, unit

BATCH = 16
"""Goes that are computed at once: sorted by length, so that little is padding."""

READS = 256
"""Tokens at once where nothing beside the model says how many: what MiniLM was trained with."""

_NAMES = ("last_hidden_state", "token_embeddings", "hidden_states")
"""What exports call the states of all tokens."""

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class OnnxEmbedder:
    """A folder as an :class:`~hansard.search.embedder.Embedder`. Loaded at once.

    Args:
        folder: holds ``model.onnx`` (or ``onnx/model.onnx``) and ``tokenizer.json``.
        threads: of one computation; ``None``: as many as onnxruntime likes.

    Raises:
        EmbedderBroken: something is missing, or is no such model.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self._folder = folder
        model, words = _found(folder, "model.onnx"), _found(folder, "tokenizer.json")
        try:
            self._session = _session(model, threads)
            self._tokenizer = _tokenizer(words, _reads(folder))
        except Exception as problem:  # noqa: BLE001 both libraries raise kinds of their own
            line = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
            raise EmbedderBroken(
                f"The model in {folder} cannot be loaded: {line}.",
                hint="It takes an encoder exported to ONNX and its tokenizer.json.",
            ) from None
        self._inputs = {given.name for given in self._session.get_inputs()}
        if "input_ids" not in self._inputs or not self._inputs <= _INPUTS:
            raise EmbedderBroken(
                f"The model in {folder} asks for {', '.join(sorted(self._inputs - _INPUTS))}.",
                hint="It must be an encoder that takes input_ids and attention_mask.",
            )
        outputs = self._session.get_outputs()
        named = [one for one in outputs if one.name in _NAMES] or list(outputs)
        self._output = named[0].name
        self._lock = threading.Lock()
        digest = hashlib.blake2b(digest_size=5)
        with model.open("rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
        self.method = f"onnx:{folder.name[:40]}:{digest.hexdigest()}"
        """The folder's name and a hash of the model: another model is another method."""
        self.dimensions: int = self._states([[0]])[1].shape[1]
        """Length of the vectors, as the model gives them."""

    def __repr__(self) -> str:
        return f"OnnxEmbedder({str(self._folder)!r})"

    def embed(self, texts: Sequence[str]) -> Matrix:
        """A row for each text."""
        sums = np.zeros((len(texts), self.dimensions), np.float32)
        goes: list[tuple[int, list[int]]] = []
        wanted = [number for number, text in enumerate(texts) if not is_blank(text)]
        with self._lock:  # of its settings: encoding itself is safe, but costs little
            read = self._tokenizer.encode_batch([texts[number] for number in wanted])
        for number, first in zip(wanted, read, strict=True):
            goes += [(number, part.ids) for part in (first, *first.overflowing) if part.ids]
        goes.sort(key=lambda go: len(go[1]))
        with telemetry.span("embeddings.onnx"):
            for begin in range(0, len(goes), BATCH):
                batch = goes[begin : begin + BATCH]
                weights, states = self._states([ids for _, ids in batch])
                for row, (number, _) in enumerate(batch):
                    sums[number] += states[row] * weights[row]
        return unit(sums)

    def embed_query(self, text: str) -> Vector:
        """The vector of what somebody looks for."""
        vector: Vector = self.embed([text])[0]
        return vector

    def _states(self, goes: list[list[int]]) -> tuple[list[int], Matrix]:
        """Tokens of each go, and the mean of their states."""
        longest = max(map(len, goes))
        ids = np.zeros((len(goes), longest), np.int64)
        mask = np.zeros((len(goes), longest), np.int64)
        for row, go in enumerate(goes):
            ids[row, : len(go)] = go
            mask[row, : len(go)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            found = self._session.run([self._output], {name: given[name] for name in self._inputs})[
                0
            ]
        except Exception as problem:  # noqa: BLE001 as above
            line = str(problem).splitlines()[0][:200]
            raise EmbedderBroken(f"The model in {self._folder} cannot be run: {line}.") from None
        states = np.asarray(found, np.float32)
        if states.ndim == 3:
            weight = mask[:, :, None].astype(np.float32)
            states = (states * weight).sum(axis=1) / weight.sum(axis=1)
        elif states.ndim != 2:
            raise EmbedderBroken(f"The model in {self._folder} gives no vectors of text.")
        return [len(go) for go in goes], states


def _found(folder: Path, name: str) -> Path:
    for place in (folder / name, folder / "onnx" / name):
        if place.is_file():
            return place
    raise EmbedderBroken(
        f"There is no {name} in {folder}.",
        hint="The setting embeddings.onnx names a folder with model.onnx and tokenizer.json.",
    )


def _session(model: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; what it warns of is of no use to anybody here
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(model), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _tokenizer(words: Path, reads: int) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(words))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=reads)
    return tokenizer


class _Bert(msgspec.Struct):
    max_seq_length: int | None = None


def _reads(folder: Path) -> int:
    """Tokens that the model reads at once, as sentence-transformers keeps it beside a model."""
    place = folder / "sentence_bert_config.json"
    if not place.is_file():
        return READS
    return max(
        16, min(8192, msgspec.json.decode(place.read_bytes(), type=_Bert).max_seq_length or READS)
    )
