"""The engine ``whisper``: OpenAI's Whisper on CTranslate2.

Weights, their format and the tokenizer are faster-whisper's; features, batching, decoding and word
times are ours: its loop computes all features before the first word, its batches drop segments.

On a CPU each window is encoded by itself and a batch is decoded together: the encoder gains nothing
from a batch (its buffers leave the cache, and grow with it), while each step of the decoder reads
all its weights once however many windows it serves. With int8 answers do not depend on the batch,
bit for bit; other types decode one window at a time for the same promise. On a GPU batches are
whole, and a near tie may fall differently in another batch.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hansard import telemetry
from hansard.errors import EngineError, NotSupported, OutOfMemory
from hansard.machine import WhisperSettings
from hansard.model import MAX_WINDOW_SECONDS, SAMPLE_RATE, Utterance, WindowResult
from hansard.speech import alignment, guards, tuning, whisper_model
from hansard.speech.engine import Capabilities, Samples, SpeechOptions
from hansard.speech.features import FRAMES, HOP, log_mel
from hansard.speech.whisper_model import Loaded

log = logging.getLogger("hansard.speech.whisper")

_POSITIONS = 448
"""Tokens the decoder has room for: prompt and answer."""
_PROMPT = _POSITIONS // 2 - 1
"""Most tokens of a prompt, hotwords included (openai/whisper ``decoding.py``)."""
_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the second decoding, after beams without repetition (openai/whisper ``transcribe.py``)."""
_BEST_OF = 5
_SURER_BEAMS = 5
_NO_REPEAT = 5
"""Tokens. The surer decoding says no run this long twice: it ends loops, and lets a refrain of
two or three words pass."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the decoder gave for one window."""

    tokens: tuple[int, ...]
    logprob: float
    """Mean over the tokens and the end."""
    no_speech: float
    temperature: float


@dataclass(frozen=True)
class _Request:
    """One call's options in the terms of a model."""

    loaded: Loaded
    options: SpeechOptions
    beam_size: int

    def voice(self, language: str | None) -> Any:
        """faster-whisper's tokenizer for a language and the task of this call."""
        return _voice(self.loaded.tokenizer, self.loaded.multilingual, self.options.task, language)

    @cached_property
    def earlier(self) -> list[int]:
        """Hotwords and prompt as if said before the window, with the token that says so."""
        voice = self.voice(self.loaded.languages[0])
        words = self.options.hotwords or ""
        prompt = self.options.prompt or ""
        hot = voice.encode(f" {words.strip()}")[:_PROMPT] if words.strip() else []
        room = _PROMPT - len(hot)
        said = voice.encode(f" {prompt.strip()}")[-room:] if prompt.strip() and room else []
        return [voice.sot_prev, *hot, *said] if hot or said else []

    def prompt(self, language: str | None) -> list[int]:
        """The tokens a window's answer begins after. Of one length for all languages."""
        return [*self.earlier, *self.voice(language).sot_sequence]

    def limits(self, prompt: Sequence[int]) -> dict[str, Any]:
        """Arguments of every decoding: how long, and what is never said."""
        # CTranslate2 stops at half of max_length, or where prompt and answer fill it.
        most = self.options.max_tokens
        before = len(prompt) - 1
        length = _POSITIONS if most is None else max(2 * most, most + before)
        voice = self.voice(self.loaded.languages[0])
        return {
            "max_length": min(length, 2 * (_POSITIONS - before)),
            "suppress_tokens": _never_said(voice),
            "return_scores": True,
            "return_no_speech_prob": True,
        }


class WhisperEngine:
    """A loaded Whisper model. Thread-safe; up to ``capabilities.lanes`` calls gain from each other.

    Args:
        model: name in options.
        directory: the model's files, as converted for CTranslate2.
        settings: device, compute type, split, batch and beams; ``auto`` and ``None`` are chosen.
        tuning_dir: where the measured split is remembered.

    Raises:
        ModelMissing, ModelBroken, OutOfMemory, BadSettings: see ``whisper_model.load``.
    """

    name = "whisper"

    def __init__(
        self, model: str, directory: Path, settings: WhisperSettings, tuning_dir: Path
    ) -> None:
        self._model = model
        self._directory = directory
        self._settings = settings
        self._tuning = tuning_dir
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._loaded: Loaded | None = whisper_model.load(model, directory, settings, tuning_dir)
        self._most = self._loaded.batch

    @property
    def model(self) -> str:
        """The name it was asked for by."""
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; batch and device change when memory ran out."""
        loaded = self._ready()
        return Capabilities(
            languages=loaded.languages,
            detects_language=loaded.multilingual,
            word_times=True,
            translation=loaded.multilingual,
            prompts=True,
            hotwords=True,
            window_seconds=self._settings.window_seconds or MAX_WINDOW_SECONDS,
            batch=self._most,
            lanes=loaded.split.lanes,
            device=loaded.device,
        )

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        """Transcribe windows of at most 30 s; see ``Engine.transcribe``.

        Raises:
            NotSupported: a task or language this model does not have, or too long a window.
            OutOfMemory: one window alone does not fit, on the CPU either.
        """
        loaded = self._ready()
        _refuse_impossible(loaded, batch, options)
        results = [WindowResult()] * len(batch)
        waiting = [row for row, window in enumerate(batch) if len(window)]
        while waiting:
            rows, waiting = waiting[: self._most], waiting[self._most :]
            said = self._with_less_if_needed([batch[row] for row in rows], options)
            for row, result in zip(rows, said, strict=True):
                results[row] = result
            tuning.release_now_and_then()
        return results

    def detect_language(self, window: Samples) -> tuple[str, float]:
        """The most likely language of a window and its probability.

        Raises:
            NotSupported: the model knows English alone.
        """
        loaded = self._ready()
        if not loaded.multilingual:
            raise NotSupported(f"The model {self._model} knows English alone.")
        encoded = _encode(loaded, [window])
        token, probability = loaded.model.detect_language(encoded)[0][0]
        return token[2:-2], float(probability)

    def close(self) -> None:
        """Unload the model. Calls under way finish first; twice is harmless."""
        with self._lock:
            self._loaded = None
        tuning.release_pages()

    def _ready(self) -> Loaded:
        loaded = self._loaded
        if loaded is None:
            raise EngineError(f"The model {self._model} was unloaded.", hint="Load it again.")
        return loaded

    def _with_less_if_needed(
        self, batch: Sequence[Samples], options: SpeechOptions
    ) -> list[WindowResult]:
        """A batch; where memory runs out, its halves; where one window is too much, on the CPU."""
        loaded = self._ready()
        try:
            return _transcribe(loaded, self._directory, batch, options, self._settings.beam_size)
        except (RuntimeError, MemoryError) as problem:
            if not whisper_model.is_out_of_memory(problem):
                raise EngineError(f"Whisper failed: {problem}") from problem
            ran_out = problem
        # Outside of the handler: the traceback holds what the failed call had in hand.
        if len(batch) > 1:
            half = (len(batch) + 1) // 2
            self._most = min(self._most, half)
            telemetry.count("engine.out_of_memory")
            self._say_once("batch", "Memory ran out; batches of %d windows from now on.", half)
            first = self._with_less_if_needed(batch[:half], options)
            return first + self._with_less_if_needed(batch[half:], options)
        if loaded.device == "cpu":
            raise OutOfMemory(
                f"The model {self._model} does not fit into memory with a single window.",
                hint="Choose a smaller model, or close other programs.",
            ) from ran_out
        self._move_to_cpu(loaded)
        return self._with_less_if_needed(batch, options)

    def _move_to_cpu(self, failed: Loaded) -> None:
        """Replace the model on the GPU by one on the CPU, once for all lanes."""
        with self._lock:
            if self._loaded is not failed:
                return  # another lane did it, or the engine was closed
            self._say_once("cpu", "The GPU has no room for a single window; the CPU is used.")
            self._loaded = whisper_model.load_on_cpu(
                self._model, self._directory, self._settings, self._tuning
            )
            self._most = self._loaded.batch

    def _say_once(self, about: str, sentence: str, *details: object) -> None:
        if about not in self._said:
            self._said.add(about)
            log.warning(sentence, *details)


# ── one batch ────────────────────────────────────────────────────────────────────────────────


def _refuse_impossible(loaded: Loaded, batch: Iterable[Samples], options: SpeechOptions) -> None:
    if options.task == "translate" and not loaded.multilingual:
        raise NotSupported(
            "An English-only model cannot translate.", hint="Use a multilingual one."
        )
    if options.language is not None and options.language not in loaded.languages:
        raise NotSupported(
            f"This model does not know the language {options.language!r}.",
            hint="Use a two-letter code such as en, de or ja; English-only models know en alone.",
        )
    longest = max((len(window) for window in batch), default=0)
    if longest > MAX_WINDOW_SECONDS * SAMPLE_RATE:
        raise NotSupported(
            f"A window of {longest / SAMPLE_RATE:.1f} s is longer than Whisper hears at once.",
            hint="Windows have at most 30 s.",
        )


def _transcribe(
    loaded: Loaded,
    directory: Path,
    batch: Sequence[Samples],
    options: SpeechOptions,
    beam_size: int,
) -> list[WindowResult]:
    """Results of windows that fit into memory together."""
    request = _Request(loaded, options, beam_size)
    encoded = _encode(loaded, batch)
    languages = _languages(loaded, encoded, options)
    if options.fallback:
        answers = [
            _surest(request, directory, _only(encoded, row), window, language)
            for row, (window, language) in enumerate(zip(batch, languages, strict=True))
        ]
    else:
        prompts = [request.prompt(language) for language in languages]
        answers = _decode(loaded.model, encoded, prompts, request.limits(prompts[0]), beam_size)
    utterances = [
        _utterances(answer, len(window) / SAMPLE_RATE, request.voice(language))
        for answer, window, language in zip(answers, batch, languages, strict=True)
    ]
    if options.word_times:
        utterances = _with_words(request, encoded, batch, languages, utterances)
    return [
        _judged(WindowResult(said, language), len(window) / SAMPLE_RATE, options)
        for said, language, window in zip(utterances, languages, batch, strict=True)
    ]


def _encode(loaded: Loaded, batch: Sequence[Samples]) -> Any:
    """The encoder's output for windows, ``StorageView`` of shape ``(n, 1500, width)``."""
    import ctranslate2

    view = ctranslate2.StorageView.from_array
    with telemetry.span("engine.features"):
        features = log_mel(batch, loaded.mels)
    with telemetry.span("engine.encode"):
        if loaded.device != "cpu" or len(batch) == 1:
            return loaded.model.encode(view(features))
        rows = [
            np.asarray(loaded.model.encode(view(features[row : row + 1])))
            for row in range(len(batch))
        ]
        return view(np.concatenate(rows))


def _only(encoded: Any, row: int) -> Any:
    """One window of an encoded batch."""
    import ctranslate2

    if encoded.shape[0] == 1:
        return encoded
    held = encoded.to_device(ctranslate2.Device.cpu) if encoded.device != "cpu" else encoded
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.asarray(held)[row : row + 1]))


def _languages(loaded: Loaded, encoded: Any, options: SpeechOptions) -> list[str]:
    """The language of each window: as told, or as heard."""
    count = encoded.shape[0]
    if options.language is not None or not loaded.multilingual:
        return [options.language or loaded.languages[0]] * count
    return [ranking[0][0][2:-2] for ranking in loaded.model.detect_language(encoded)]


def _decode(
    model: Any,
    encoded: Any,
    prompts: list[list[int]],
    limits: dict[str, Any],
    beam_size: int,
    **more: Any,
) -> list[_Answer]:
    """Let the decoder speak, by beams, or greedily where ``beam_size`` is 1."""
    with telemetry.span("engine.decode"):
        results = model.generate(encoded, prompts, beam_size=beam_size, **limits, **more)
    return [_answer(result, more.get("sampling_temperature", 0.0)) for result in results]


def _answer(result: Any, temperature: float) -> _Answer:
    """The likeliest of a result's hypotheses (one, except when sampling)."""
    score, tokens = max(zip(result.scores, result.sequences_ids, strict=True), key=lambda h: h[0])
    # The score is the sum over the tokens and the end, divided by the number of tokens.
    mean = score * len(tokens) / (len(tokens) + 1)
    return _Answer(tuple(tokens), float(mean), float(result.no_speech_prob), float(temperature))


def _surest(
    request: _Request, directory: Path, encoded: Any, window: Samples, language: str
) -> _Answer:
    """Decode a doubtful window with slower settings until one answer passes the guards.

    First beams that may not repeat themselves, then sampling at rising temperatures; if no answer
    passes, the likeliest of those that do not loop. The same window gives the same answer: see
    ``whisper_model.sampling_twin``.
    """
    seconds = len(window) / SAMPLE_RATE
    prompt = request.prompt(language)
    limits = request.limits(prompt)
    voice = request.voice(language)
    tried: list[tuple[_Answer, str | None]] = []

    def passes(answer: _Answer) -> bool:
        said = WindowResult(_utterances(answer, seconds, voice), language)
        tried.append((answer, guards.judge(said, seconds)))
        return tried[-1][1] is None

    beams = max(request.beam_size, _SURER_BEAMS)
    surer = {"no_repeat_ngram_size": _NO_REPEAT, "patience": 2.0}
    if passes(_decode(request.loaded.model, encoded, [prompt], limits, beams, **surer)[0]):
        return tried[-1][0]
    seed = zlib.crc32(window.tobytes())
    with whisper_model.sampling_twin(directory, request.loaded, seed) as twin:
        if twin is None:
            log.warning("There is no memory to sample a doubtful window; beams must do.")
            return tried[0][0]
        for temperature in _TEMPERATURES:
            sampled = {
                "num_hypotheses": _BEST_OF,
                "sampling_topk": 0,
                "sampling_temperature": temperature,
            }
            if passes(_decode(twin, encoded, [prompt], limits, 1, **sampled)[0]):
                return tried[-1][0]
    sane = [answer for answer, doubt in tried if doubt not in {"repetition", "compression"}]
    return max(sane or [answer for answer, _ in tried], key=lambda answer: answer.logprob)


def _judged(result: WindowResult, seconds: float, options: SpeechOptions) -> WindowResult:
    doubt = guards.judge(result, seconds) if options.guards else None
    return result if doubt is None else msgspec.structs.replace(result, doubt=doubt)


# ── from tokens to utterances ────────────────────────────────────────────────────────────────


def _utterances(answer: _Answer, seconds: float, voice: Any) -> tuple[Utterance, ...]:
    """Cut a window's tokens at its timestamps; window time, inside ``[0, seconds]``.

    Text before the first timestamp begins with the window, text after the last ends with it:
    nothing that was decoded is dropped.
    """
    text = voice.decode(list(answer.tokens)).strip()
    ratio = guards.compression_ratio(text)
    found: list[Utterance] = []
    for start, end, tokens in _cut(answer.tokens, voice.timestamp_begin):
        said = voice.decode(tokens).strip()
        if not said:
            continue
        begun = min(max(start, found[-1].end if found else 0.0), seconds)
        ended = seconds if end is None else min(max(end, begun), seconds)
        found.append(
            Utterance(
                round(begun, 3),
                round(ended, 3),
                said,
                tokens=tuple(tokens),
                temperature=answer.temperature,
                avg_logprob=answer.logprob,
                compression_ratio=ratio,
                no_speech_prob=answer.no_speech,
            )
        )
    return tuple(found)


def _cut(
    tokens: Iterable[int], first_timestamp: int
) -> Iterable[tuple[float, float | None, list[int]]]:
    """Start, end (``None``: not said) and tokens, timestamps included, of each stretch of text."""
    start, has_text = 0.0, False
    held: list[int] = []
    for token in tokens:
        held.append(token)
        if token < first_timestamp:
            has_text = True
            continue
        time = (token - first_timestamp) * alignment.TOKEN_SECONDS
        if has_text:
            yield start, time, held
            held = []
        else:
            held = [token]
        start, has_text = time, False
    if has_text:
        yield start, None, held


def _with_words(
    request: _Request,
    encoded: Any,
    batch: Sequence[Samples],
    languages: Sequence[str],
    utterances: Sequence[tuple[Utterance, ...]],
) -> list[tuple[Utterance, ...]]:
    """Utterances with their words timed. Aligned language by language: they share a prompt."""
    import ctranslate2

    timed = list(utterances)
    for language in sorted(set(languages)):
        voice = request.voice(language)
        rows = [n for n, spoken in enumerate(languages) if spoken == language and utterances[n]]
        texts = [
            [[token for token in said.tokens if token < voice.eot] for said in utterances[row]]
            for row in rows
        ]
        if not rows:
            continue
        if len(rows) == encoded.shape[0]:
            chosen = encoded
        else:
            parts = [np.asarray(_only(encoded, row)) for row in rows]
            chosen = ctranslate2.StorageView.from_array(np.concatenate(parts))
        with telemetry.span("engine.align"):
            paths = request.loaded.model.align(
                chosen,
                voice.sot_sequence,
                [[token for part in text for token in part] for text in texts],
                [max(2, min(FRAMES, len(batch[row]) // HOP)) for row in rows],
            )
            for row, text, path in zip(rows, texts, paths, strict=True):
                seconds = len(batch[row]) / SAMPLE_RATE
                timed[row] = alignment.with_words(utterances[row], text, path, voice, seconds)
    return timed


@lru_cache(maxsize=256)
def _voice(tokenizer: Any, multilingual: bool, task: str, language: str | None) -> Any:
    from faster_whisper.tokenizer import Tokenizer

    return Tokenizer(tokenizer, multilingual, task=task, language=language)


@lru_cache(maxsize=16)
def _never_said(voice: Any) -> list[int]:
    """Special tokens, and signs that stand for sounds rather than words."""
    tasks = {voice.transcribe, voice.translate, voice.sot, voice.sot_prev, voice.sot_lm}
    return sorted({*voice.non_speech_tokens, *tasks, voice.no_speech})
