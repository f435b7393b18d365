"""The seam between Hansard and whatever turns audio into words.

An engine is given packed windows and answers in window time. It knows nothing of jobs, files or
the store; it may use threads or processes of its own. ``tests/speech/test_engine_contract.py``
runs one suite over every implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hansard.model import Task, Value, WindowResult

Samples = NDArray[np.int16]
"""Mono audio at 16 kHz, shape ``(n,)``, signed 16 bit."""


class Capabilities(Value, frozen=True):
    """What an engine can do, so that a request it cannot serve is refused before work starts."""

    languages: tuple[str, ...] | None
    """ISO 639-1 codes; ``None``: whatever the far side knows."""
    detects_language: bool
    word_times: bool
    translation: bool
    prompts: bool
    hotwords: bool
    window_seconds: float
    """The longest window it takes; at most ``model.MAX_WINDOW_SECONDS``."""
    batch: int
    """Windows it works best on in one call (1: no gain from batching)."""
    lanes: int
    """Calls that may usefully run at the same time."""
    device: str
    """``cpu``, ``cuda`` or ``remote``."""


class SpeechOptions(Value, frozen=True):
    """What a call may ask of an engine; a projection of ``model.Options``.

    ``language`` is ``None`` only where the engine must find it for each window itself.
    """

    language: str | None = None
    task: Task = "transcribe"
    prompt: str | None = None
    hotwords: str | None = None
    word_times: bool = True
    max_tokens: int | None = None
    fallback: bool = False
    """These windows were doubtful or left a gap: use slower, surer settings."""
    guards: bool = True
    """Judge answers (``speech.guards``); off only to compare equal work."""


class Engine(Protocol):
    """Turns windows into words. Thread-safe: up to ``capabilities.lanes`` calls at once."""

    @property
    def name(self) -> str:
        """The engine's name in options and settings: ``whisper``, ``sphinx``, ``openai``."""

    @property
    def model(self) -> str:
        """The model's name in options: ``small``, ``en-us``, ``whisper-1``."""

    @property
    def capabilities(self) -> Capabilities:
        """What this loaded model can do on this machine."""

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        """Transcribe windows; the answers come in the order of ``batch``.

        The same window and options give the same answer whatever else is in the batch, on any
        lane, in any process of this machine: resuming a job must not change its words.

        Raises:
            EngineError: with ``trouble`` saying whether trying again can help.
        """

    def detect_language(self, window: Samples) -> tuple[str, float]:
        """The most likely language of a window and its probability.

        Raises:
            NotSupported: the engine has one language or cannot tell.
        """

    def close(self) -> None:
        """Give back memory and processes. Calling it twice is harmless."""
