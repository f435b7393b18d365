"""Writes a Whisper with random weights and real dimensions, for tests and benchmarks.

It says nothing true, but it loads, batches, aligns, detects a language and takes as long as the
real model of its size. Only numpy, CTranslate2's own specification classes and ``tokenizers`` are
needed: no weights, no hub. Layout of vocabulary and tokenizer as in openai/whisper's
``tokenizer.py``; layout of the weights as in CTranslate2's ``WhisperSpec``.
"""

from __future__ import annotations

import itertools
import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

TEXT_TOKENS = 50_256
"""Plain tokens of GPT-2's vocabulary, which Whisper's English-only models use unchanged."""
TIMESTAMPS = 1501
"""0.00 to 30.00 s in steps of 20 ms."""


@dataclass(frozen=True)
class Size:
    """Dimensions of a model. The values of a published size cost what that size costs."""

    mels: int = 80
    width: int = 384
    heads: int = 6
    layers: int = 4
    positions: int = 1500
    """Encoder positions: half the feature frames of 30 s."""
    text_positions: int = 448


TINY = Size()
"""openai/whisper-tiny."""
MINIATURE = Size(width=64, heads=2, layers=1)
"""No published size: the quickest model that still goes through every operation."""
MINIATURE_V3 = Size(mels=128, width=64, heads=2, layers=1)
"""The miniature with the features and languages of large-v3."""


@dataclass(frozen=True)
class Manner:
    """How the model behaves, by constants added to the logits of special tokens.

    The defaults never end and give no timestamp but the first one, so every window costs exactly
    as many tokens as are allowed and faster-whisper's sequential mode moves on by whole windows:
    what equal work needs.
    """

    end: float = -1e4
    timestamps: float = -1e4
    seed: int = 7


ENDLESS = Manner()
TALKATIVE = Manner(end=0.6, timestamps=-1.4)
"""Ends by itself and cuts its windows into segments, as trained models do."""


def write(
    directory: Path,
    *,
    size: Size = TINY,
    manner: Manner = ENDLESS,
    english_only: bool = False,
    quantization: str = "int8",
    preprocessor: bool = True,
) -> Path:
    """Write a model directory as the published conversions have it; returns ``directory``.

    Args:
        directory: made where it is missing.
        size: dimensions of the network.
        manner: what its special tokens are worth.
        english_only: leave out languages and tasks, as the ``.en`` models do.
        quantization: how the weights are stored, as CTranslate2 names it.
        preprocessor: also write ``preprocessor_config.json``; some conversions lack it.
    """
    from ctranslate2.specs import WhisperSpec

    directory.mkdir(parents=True, exist_ok=True)
    languages = _languages(100 if size.mels == 128 else 99)
    special = _special_tokens(languages)
    plain, merges = _words(TEXT_TOKENS)
    if not english_only:
        plain.append("")  # CTranslate2 tells multilingual models by this token
    vocabulary = [*plain, *special, *(f"<|{step * 0.02:.2f}|>" for step in range(TIMESTAMPS))]
    spec = WhisperSpec(size.layers, size.heads, size.layers, size.heads)
    _fill(spec, size, manner, vocabulary)
    spec.register_vocabulary(vocabulary)
    index = {token: number for number, token in enumerate(vocabulary)}
    spec.config.suppress_ids = [index[t] for t in special if t != "<|endoftext|>"]
    spec.config.suppress_ids_begin = [index["Ġ"], index["<|endoftext|>"]]
    spec.config.lang_ids = [index[f"<|{code}|>"] for code in languages]
    spec.config.alignment_heads = [
        [layer, head]
        for layer in range(size.layers // 2, size.layers)
        for head in range(size.heads)
    ]
    spec.validate()
    spec.optimize(quantization)
    spec.save(str(directory))
    _write_tokenizer(directory / "tokenizer.json", vocabulary, merges)
    if preprocessor:
        features = {"feature_size": size.mels, "sampling_rate": 16_000, "hop_length": 160}
        features |= {"chunk_length": 30, "n_fft": 400}
        (directory / "preprocessor_config.json").write_text(json.dumps(features))
    return directory


def _languages(count: int) -> list[str]:
    """The languages in the order of the vocabulary; only the count and ``en`` first matter."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    codes = [code for code in _LANGUAGE_CODES if code not in {"en", "yue"}]
    return ["en", *codes, "yue"][:count]


def _special_tokens(languages: list[str]) -> list[str]:
    names = ["endoftext", "startoftranscript", *languages, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    return [f"<|{name}|>" for name in names]


def _words(count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """A byte-level vocabulary of ``count`` invented syllables and the merges that make them."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = sorted(ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    letters = string.ascii_lowercase
    pairs = [a + b for a, b in itertools.product(letters, letters)]
    merges += [(pair[0], pair[1]) for pair in pairs]
    merges += [("Ġ", pair) for pair in pairs]
    for first, second in itertools.product(pairs, pairs):
        # Every other word begins with a space, as about half of GPT-2's vocabulary does.
        merges.append((f"Ġ{first}" if len(merges) % 2 else first, second))
        if len(tokens) + len(merges) == count:
            break
    return tokens + [first + second for first, second in merges], merges


def _write_tokenizer(path: Path, vocabulary: list[str], merges: list[tuple[str, str]]) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    text = vocabulary.index("<|endoftext|>")
    plain = {token: number for number, token in enumerate(vocabulary[:text])}
    tokenizer = Tokenizer(models.BPE(vocab=plain, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in vocabulary[text:]]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))


def _fill(spec: Any, size: Size, manner: Manner, vocabulary: list[str]) -> None:
    generator = np.random.default_rng(manner.seed)
    width = size.width

    def weight(*shape: int) -> Weights:
        """Normal values that keep the variance of what passes through them."""
        fan_in = int(np.prod(shape[1:]))
        values: Weights = generator.standard_normal(shape, np.float32)
        return values / np.float32(np.sqrt(fan_in))

    def norm(layer: Any) -> None:
        layer.gamma = np.ones(width, np.float32)
        layer.beta = np.zeros(width, np.float32)

    def linear(layer: Any, rows: int, columns: int) -> None:
        layer.weight = weight(rows, columns)
        layer.bias = np.zeros(rows, np.float32)

    def attention(block: Any, *rows: int) -> None:
        norm(block.layer_norm)
        for layer, outputs in zip(block.linear, rows, strict=True):
            linear(layer, outputs, width)

    def feed_forward(block: Any) -> None:
        norm(block.layer_norm)
        linear(block.linear_0, 4 * width, width)
        linear(block.linear_1, width, 4 * width)

    for conv, inputs in ((spec.encoder.conv1, size.mels), (spec.encoder.conv2, width)):
        conv.weight = weight(width, inputs, 3)
        conv.bias = np.zeros(width, np.float32)
    spec.encoder.position_encodings.encodings = _sinusoids(size.positions, width)
    norm(spec.encoder.layer_norm)
    for layer in spec.encoder.layer:
        attention(layer.self_attention, 3 * width, width)
        feed_forward(layer.ffn)
    decoder = spec.decoder
    decoder.embeddings.weight = generator.standard_normal((len(vocabulary), width), np.float32)
    decoder.position_encodings.encodings = weight(size.text_positions, width)
    norm(decoder.layer_norm)
    for layer in decoder.layer:
        attention(layer.self_attention, 3 * width, width)
        attention(layer.attention, width, 2 * width, width)
        feed_forward(layer.ffn)
    # Trained models use the embeddings here too; a random one would then echo its last token.
    decoder.projection.weight = 2 * weight(len(vocabulary), width)
    bias = np.zeros(len(vocabulary), np.float32)
    bias[vocabulary.index("<|endoftext|>")] = manner.end
    bias[-TIMESTAMPS:] = manner.timestamps
    decoder.projection.bias = bias


def _sinusoids(length: int, channels: int) -> Weights:
    """The encoder's fixed position encodings (openai/whisper ``model.py``)."""
    scales = np.exp(-np.log(10_000) / (channels // 2 - 1) * np.arange(channels // 2))
    angles = np.arange(length)[:, None] * scales[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
