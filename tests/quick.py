"""A quick engine, and a house that works with it: for tests where the words are not looked at."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from hansard import transcription
from hansard.jobs.worker import Listener
from hansard.model import Utterance, WindowResult, Word
from hansard.speech.engine import Capabilities, Samples, SpeechOptions
from hansard.wiring import House

VOCABULARY = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "home"]


class QuickEngine:
    """Words that follow from the samples alone, two a second; counts what it hears.

    ``hold`` makes it wait: clear the event, and windows are in hand until it is set again.
    """

    capabilities = Capabilities(
        languages=None,
        detects_language=True,
        word_times=True,
        translation=False,
        prompts=False,
        hotwords=False,
        window_seconds=30.0,
        batch=2,
        lanes=2,
        device="cpu",
    )

    def __init__(self) -> None:
        self.heard = 0
        self.hold = threading.Event()
        self.hold.set()

    def detect_language(self, window: Samples) -> tuple[str, float]:
        del window
        return "en", 1.0

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        del options
        self.hold.wait(60)
        self.heard += len(batch)
        return [self._hear(window) for window in batch]

    @staticmethod
    def _hear(window: Samples) -> WindowResult:
        mark = zlib.crc32(window.tobytes())
        seconds = len(window) / 16_000
        words = tuple(
            Word(
                n / 2, n / 2 + 0.4, VOCABULARY[zlib.crc32(f"{mark}.{n}".encode()) % len(VOCABULARY)]
            )
            for n in range(int(seconds * 2))
        )
        text = " ".join(word.text for word in words)
        return WindowResult((Utterance(0.0, seconds, text, words),), language="en")


def use(engine: QuickEngine, monkeypatch: pytest.MonkeyPatch) -> QuickEngine:
    """Let every house of this process work with ``engine``, whatever model is asked for."""

    @contextmanager
    def listener(house: House, name: str, model: str) -> Iterator[Listener]:
        del name, model
        whole: Any = engine
        yield Listener(2, 2, partial(transcription.listen, house.parts, whole))

    monkeypatch.setattr(House, "_listener", listener)
    return engine
