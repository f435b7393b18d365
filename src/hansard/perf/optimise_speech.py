"""The work of engines, as ``hansard optimise`` measures it: hearing windows, and finding speech.

A run plans windows, loads the engine as the values want it (which is not timed) and hears all
windows as workers do: like lengths together, as many batches at a time as there are lanes.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hansard.audio.ear import Ear
from hansard.audio.windows import pack
from hansard.config import Settings
from hansard.errors import HansardError
from hansard.model import SAMPLE_RATE, Detection, Options
from hansard.perf.optimise import Knob, Output, Space, Values, applied
from hansard.perf.rehearsal import hear
from hansard.speech import memory, tuning
from hansard.speech.accuracy import word_errors
from hansard.speech.engine import SpeechOptions
from hansard.speech.lease import open_engine
from hansard.tuned import MODELS

if TYPE_CHECKING:
    from hansard.speech.engine import Engine

Samples = NDArray[np.int16]

_BLOCK = 20 * SAMPLE_RATE
"""Samples that are handed on at once: those of a decoded block."""

_HELD = 8
"""Engines that stay loaded at the most, where they fit into half of the memory: candidates meet
again in the next pass, and loading is no part of the work."""

_LONG_ENOUGH = 20.0
"""Seconds of the shortest share of a recording, if a window for each processor is no more: with
fewer, lanes have nothing to do, and whatever hears one window alone as fast as it can looks
best."""


class Listening:
    """Hearing a recording with one engine and model."""

    name = "stt"
    weight = 6.0

    def __init__(
        self,
        settings: Settings,
        engine: str,
        model: str,
        samples: Samples,
        reference: str | None = None,
    ) -> None:
        """Get ready.

        Args:
            settings: as they are without a profile.
            engine: ``whisper`` or ``sphinx``.
            model: its model.
            samples: the recording, 16 kHz, shape ``(n,)``.
            reference: what is said in all of it, where that is known.
        """
        self._settings = settings
        self._engine, self._model = engine, model
        self._samples = samples
        self._reference = reference
        self._held: OrderedDict[str, Engine] = OrderedDict()
        self._language: str | None = "en" if engine == "sphinx" else None
        lanes = tuning.cores() * settings.window_seconds(engine, model)
        self._least = min(len(samples), int(max(_LONG_ENOUGH, lanes) * SAMPLE_RATE))
        self.fixed = 0.0
        self.loading: list[float] = []
        """Seconds that the model took to load, each time."""

    def space(self) -> Space:
        """Lanes and threads, batches, compute types and windows; of ``sphinx`` its processes."""
        cores = tuning.cores()
        if self._engine == "sphinx":
            counts = sorted({1, max(1, cores // 2), cores, cores + 1, 2 * cores})
            return [
                Knob(("sphinx.processes",), tuple((count,) for count in counts)),
                Knob(("sphinx.window_seconds",), ((8.0,), (10.0,), (15.0,))),
            ]
        own = f"{MODELS}{self._model}."
        splits, batches, types = self._choices(cores)
        return [
            Knob((f"{own}lanes", f"{own}threads"), splits),
            Knob((f"{own}batch",), tuple((size,) for size in batches)),
            Knob((f"{own}compute_type",), tuple((kind,) for kind in types)),
            Knob((f"{own}window_seconds",), ((20.0,), (25.0,))),
        ]

    def _choices(self, cores: int) -> tuple[Any, tuple[int, ...], list[str]]:
        import ctranslate2

        if self._device() == "cuda":
            known = ctranslate2.get_supported_compute_types("cuda")
            splits: Any = tuple((lanes, 1) for lanes in (1, 2, 3, 4))
            types = [one for one in ("int8_float16", "bfloat16", "float16") if one in known]
            return splits, (4, 8, 16, 32, 64), types
        known = ctranslate2.get_supported_compute_types("cpu")
        splits = tuple((split.lanes, split.threads) for split in tuning.candidates(cores))
        # int8_float32 and the like are what "int8" becomes anyway.
        types = [one for one in ("int8", "int16", "bfloat16", "float32") if one in known]
        return splits, (1, 2, 4, 8, 16), types

    def _device(self) -> str:
        return self._open({}).capabilities.device

    def run(self, values: Values, share: float) -> tuple[float, Output]:
        """Hear a share of the recording."""
        length = len(self._samples)
        samples = self._samples[: max(self._least, int(share * length))]
        windows = self._windows(values, samples)
        try:
            engine = self._open(values)
            asked = SpeechOptions(language=self._spoken(engine, windows))
            begun = time.perf_counter()
            texts = hear(engine, windows, asked)
        except HansardError as error:
            if not values:
                raise
            # Not a way to work: too little memory, or a type this machine does not have.
            return float("inf"), Output(f"{error.code}")
        seconds = time.perf_counter() - begun
        text = " ".join(texts)
        whole = self._reference is not None and len(samples) == length
        rate = word_errors(self._reference, text).rate if whole and self._reference else None
        return seconds, Output(text, rate)

    def _windows(self, values: Values, samples: Samples) -> list[Samples]:
        settings = applied(self._settings, values)
        options = Options(
            self._engine,
            self._model,
            window_seconds=settings.window_seconds(self._engine, self._model),
            detection=Detection(**settings.vad.model_dump()),
        )
        ear = Ear(0, options)
        planned = [window for block in _blocks(samples) for window in ear.hear(block)]
        planned += ear.end()
        return [pack(window, lambda at, n: samples[at : at + n]) for window in planned]

    def _spoken(self, engine: Engine, windows: list[Samples]) -> str | None:
        if self._language is None and engine.capabilities.detects_language and windows:
            self._language, _ = engine.detect_language(windows[0])
        return self._language

    def _open(self, values: Values) -> Engine:
        """The engine with these values; the one used last but one is let go of."""
        key = repr(sorted((n, v) for n, v in values.items() if not n.endswith("window_seconds")))
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
            return held
        settings = applied(self._settings, values)
        need = memory.needed(self._engine, self._model, settings)
        room = int(memory.free(settings.memory) / 2 / max(1, need)) + len(self._held)
        while self._held and len(self._held) >= min(_HELD, room):
            self._held.popitem(last=False)[1].close()
        memory.check(self._engine, self._model, settings)
        begun = time.perf_counter()
        engine = self._held[key] = open_engine(self._engine, self._model, settings)
        self.loading.append(time.perf_counter() - begun)
        _warm(engine, self._samples[:SAMPLE_RATE])
        self.fixed = max(self.fixed, time.perf_counter() - begun)
        return engine

    def close(self) -> None:
        """Unload everything."""
        while self._held:
            self._held.popitem()[1].close()


def _warm(engine: Engine, second: Samples) -> None:
    """Have every lane do something: children start, kernels are compiled."""
    lanes = engine.capabilities.lanes
    asked = SpeechOptions(language="en", word_times=False, max_tokens=8)
    with ThreadPoolExecutor(lanes) as pool:
        for _ in pool.map(lambda _: engine.transcribe([second], asked), range(lanes)):
            pass


class Detecting:
    """Finding speech: how many frames the detector takes at once."""

    name = "vad"
    weight = 1.0
    fixed = 0.0

    def __init__(self, settings: Settings, samples: Samples) -> None:
        self._settings = settings
        self._samples = samples

    def space(self) -> Space:
        """Blocks of the detector."""
        sizes = (32, 64, 128, 512, 1024, 4096)
        return [Knob(("prepare.vad_frames",), tuple((size,) for size in sizes))]

    def run(self, values: Values, share: float) -> tuple[float, Output]:
        """Find the spans of a share of the recording: they must be the same to the sample."""
        from hansard.audio.vad import Detector

        samples = self._samples[: int(share * len(self._samples))]
        settings = applied(self._settings, values)
        begun = time.perf_counter()
        detector = Detector(settings.vad, frames=settings.prepare.vad_frames)
        spans = [span for block in _blocks(samples) for span in detector.feed(block)]
        spans += detector.finish()
        seconds = time.perf_counter() - begun
        return seconds, Output(" ".join(f"{span.start}-{span.end}" for span in spans))

    def close(self) -> None:
        """Nothing is held."""


def _blocks(samples: Samples) -> Iterator[Samples]:
    for at in range(0, len(samples), _BLOCK):
        yield samples[at : at + _BLOCK]
