"""When each word was said, from the cross-attention of a Whisper model.

CTranslate2 gives, for a text, the path through its attention (dynamic time warping over the
alignment heads; Radford et al., 2022, and openai/whisper ``timing.py``). This file makes words of
it: punctuation goes with the word it belongs to, and words that the attention smears over a pause
are cut to a plausible length, by the rules of openai/whisper's ``add_word_timestamps``.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from hansard.model import Utterance, Word

TOKEN_SECONDS = 0.02
"""Seconds between encoder positions, and between timestamp tokens."""

_OPENING = "\"'“¿([{-"
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  (Chinese and Japanese marks are meant)
_SENTENCE_ENDS = ".。!！?？"  # noqa: RUF001  (Chinese and Japanese full stops are meant)
_LONGEST_MEDIAN = 0.7
"""Seconds. A median word longer than this comes from smeared attention, not from slow speech."""
_TRUSTED = 0.5
"""Seconds that a word may reach beyond its segment before the segment's time is believed."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """A word with its place in time and the number of tokens that made it."""

    text: str
    tokens: int
    start: float
    end: float
    confidence: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def with_words(
    utterances: Sequence[Utterance],
    tokens: Sequence[Sequence[int]],
    path: Any,
    tokenizer: Any,
    seconds: float,
) -> tuple[Utterance, ...]:
    """Utterances of one window with their words timed, and their own times made to fit them.

    Args:
        utterances: in order, window time.
        tokens: the text tokens of each, in the same order.
        path: CTranslate2's ``WhisperAlignmentResult`` for all these tokens in a row.
        tokenizer: faster-whisper's, for the language of the window.
        seconds: length of the window, which no time exceeds.
    """
    words = _timed(path, [token for part in tokens for token in part], tokenizer, seconds)
    lengths = [word.seconds for word in words if word.seconds > 0]
    median = min(_LONGEST_MEDIAN, statistics.median(lengths)) if lengths else 0.0
    words = _merged(_shortened(words, 2 * median) if lengths else words)
    result: list[Utterance] = []
    at = 0
    spoken_until = 0.0
    for utterance, part in zip(utterances, tokens, strict=True):
        taken, own = 0, []
        while at < len(words) and taken < len(part):
            taken += words[at].tokens
            own.append(words[at])
            at += 1
        fitted = _fitted(utterance, own, median, spoken_until)
        spoken_until = fitted.end
        result.append(fitted)
    return tuple(result)


def _timed(path: Any, tokens: list[int], tokenizer: Any, seconds: float) -> list[_Timed]:
    """The words of the alignment path as they come."""
    texts, parts = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    if len(parts) <= 1 or not path.alignments:
        return []
    # The path holds (token, position) pairs; a token begins where its number first appears.
    steps = np.array(path.alignments)
    begins = np.concatenate([[True], np.diff(steps[:, 0]) > 0])
    # The path of a random or confused model may start before the first position.
    times = np.clip(steps[begins, 1] * TOKEN_SECONDS, 0.0, seconds)
    edges = np.cumsum([0, *(len(part) for part in parts[:-1])])
    chances = np.array(path.text_token_probs)
    return [
        _Timed(
            text,
            len(part),
            float(times[first]),
            float(times[last]),
            float(chances[first:last].mean()),
        )
        for text, part, first, last in zip(
            texts[:-1], parts[:-1], edges[:-1], edges[1:], strict=True
        )
    ]


def _shortened(words: list[_Timed], longest: float) -> list[_Timed]:
    """Cut what is too long beside the end of a sentence, where attention smears over the pause."""
    cut = words[:1]
    for before, word in itertools.pairwise(words):
        kept = word
        if word.seconds > longest:
            if word.text.strip() in _SENTENCE_ENDS:
                kept = replace(word, end=word.start + longest)
            elif before.text.strip() in _SENTENCE_ENDS:
                kept = replace(word, start=word.end - longest)
        cut.append(kept)
    return cut


def _merged(words: list[_Timed]) -> list[_Timed]:
    """Opening punctuation goes with the word after it, closing punctuation with the one before."""
    forward: list[_Timed] = []
    held: _Timed | None = None
    for word in words:
        whole = word
        if held is not None:
            whole = replace(word, text=held.text + word.text, tokens=held.tokens + word.tokens)
            held = None
        if word.text.startswith(" ") and word.text.strip() and word.text.strip() in _OPENING:
            held = whole
        else:
            forward.append(whole)
    if held is not None:
        forward.append(held)
    merged: list[_Timed] = []
    for word in forward:
        if merged and word.text and word.text in _CLOSING and not merged[-1].text.endswith(" "):
            last = merged[-1]
            merged[-1] = replace(last, text=last.text + word.text, tokens=last.tokens + word.tokens)
        else:
            merged.append(word)
    return merged


def _fitted(
    utterance: Utterance, words: list[_Timed], median: float, spoken_until: float
) -> Utterance:
    """The utterance with its words, each side believed where the other is implausible."""
    if not words:
        return utterance
    longest = 2 * median
    first, *rest = words
    after_pause = first.end - spoken_until > 4 * median
    second = rest[0] if rest else None
    if after_pause and (
        first.seconds > longest or (second is not None and second.end - first.start > 2 * longest)
    ):
        if second is not None and second.seconds > longest:
            border = max(second.end / 2, second.end - longest)
            first, rest[0] = replace(first, end=border), replace(second, start=border)
        first = replace(first, start=max(0.0, first.end - longest))
    start, end = utterance.start, utterance.end
    if start < first.end and start - _TRUSTED > first.start:
        first = replace(first, start=max(0.0, min(first.end - median, start)))
    else:
        start = first.start
    words = [first, *rest]
    last = words[-1]
    if end > last.start and end + _TRUSTED < last.end:
        words[-1] = replace(last, end=max(last.start + median, end))
    else:
        end = last.end
    return _with(utterance, max(start, 0.0), end, words)


def _with(utterance: Utterance, start: float, end: float, words: list[_Timed]) -> Utterance:
    heard = tuple(
        Word(
            round(word.start, 3),
            round(max(word.start, word.end), 3),
            word.text.strip(),
            round(word.confidence, 4),
        )
        for word in words
        if word.text.strip()
    )
    return msgspec.structs.replace(
        utterance, start=round(start, 3), end=round(max(start, end), 3), words=heard
    )
