"""Writes a sentence transformer of a few words by hand, as ONNX has it on the wire.

One node: rows of a table are gathered by token (``onnx.proto3``, IR version 8, opset 13). So the
mean of its states is the mean of the rows of a text's words: known, and worth comparing with.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WORDS = ["[PAD]", "[UNK]", "roof", "rain", "leak", "budget", "bank", "loan"]

_INT64, _FLOAT = 7, 1


def table() -> NDArray[np.float32]:
    """A row for each word; words about one subject lie close."""
    rows = np.zeros((len(WORDS), 4), np.float32)
    rows[1] = (0.1, 0.1, 0.1, 0.9)
    rows[2:5] = ((1, 0.1, 0, 0), (0.9, 0, 0.1, 0), (0.8, 0, 0, 0.1))
    rows[5:8] = ((0, 1, 0.1, 0), (0, 0.9, 0, 0.1), (0.1, 0.8, 0, 0))
    return rows


def write(folder: Path, *, inputs: tuple[str, ...] = ("input_ids", "attention_mask")) -> Path:
    """``model.onnx`` and ``tokenizer.json`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(_model(inputs))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()), "utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}', "utf-8")
    return folder


def _tokenizer() -> dict[str, object]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _value(name: str, kind: int, shape: tuple[str | int, ...]) -> bytes:
    dims = b"".join(
        _bytes(1, _bytes(2, size) if isinstance(size, str) else _number(1, size)) for size in shape
    )
    tensor = _number(1, kind) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def _model(inputs: tuple[str, ...]) -> bytes:
    rows = table()
    weights = (
        b"".join(_number(1, size) for size in rows.shape)
        + _number(2, _FLOAT)
        + _bytes(8, "table")
        + _bytes(9, rows.astype("<f4").tobytes())
    )
    node = (
        _bytes(1, "table")
        + _bytes(1, inputs[0])
        + _bytes(2, "last_hidden_state")
        + _bytes(4, "Gather")
    )
    graph = (
        _bytes(1, node)
        + _bytes(2, "tiny")
        + _bytes(5, weights)
        + b"".join(_bytes(11, _value(name, _INT64, ("batch", "tokens"))) for name in inputs)
        + _bytes(12, _value("last_hidden_state", _FLOAT, ("batch", "tokens", 4)))
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, 13))
