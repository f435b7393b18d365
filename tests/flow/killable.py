"""Runs `hansard transcribe` with a quick engine, and kills itself (SIGKILL) at a named point.

    python killable.py LOG POINT NTH ARGUMENT...

POINT is ``module:Class.method:before`` or ``…:after``; at its NTH call the process dies. ``-`` is
no point. Each window the engine hears is a line in LOG, written before the answer is given, so
that a test can tell which windows were heard again. ``HANSARD_TEST_SLOW`` is how many seconds it
takes for each.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hansard import transcription
from hansard.cli.app import run
from hansard.jobs.worker import Listener
from hansard.model import Utterance, WindowResult, Word
from hansard.speech.engine import Capabilities, Samples, SpeechOptions
from hansard.wiring import House

VOCABULARY = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "home"]


def _number(given: str) -> float:
    """Seconds a batch; with the name of a stage it is for ``hansard.telemetry``."""
    return 0.0 if ":" in given else float(given)


class QuickEngine:
    """Words that follow from the samples alone, four a second, so that joining has work to do."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._slow = _number(os.environ.get("HANSARD_TEST_SLOW", "0"))

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
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

    def detect_language(self, window: Samples) -> tuple[str, float]:
        return ("en" if len(window) else "xx"), 1.0

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        return [self._hear(window, options) for window in batch]

    def _hear(self, window: Samples, options: SpeechOptions) -> WindowResult:
        mark = zlib.crc32(window.tobytes())
        with open(self._log, "a") as log:  # noqa: PTH123 one atomic append
            log.write(f"{mark:08x} {int(options.fallback)}\n")
        time.sleep(self._slow)
        words = []
        for number in range(int(len(window) / 16_000 * 4)):
            chosen = VOCABULARY[zlib.crc32(f"{mark}.{number}".encode()) % len(VOCABULARY)]
            words.append(Word(number / 4, number / 4 + 0.2, chosen, 0.9))
        text = " ".join(word.text for word in words)
        seconds = len(window) / 16_000
        return WindowResult((Utterance(0.0, seconds, text, tuple(words)),), language="en")


def kill_at(point: str, nth: int, once: Path | None = None) -> None:
    """Arrange for this process to die at a point of the code.

    ``once`` is a file whose removal gives leave: of several processes, one dies.
    """
    module, path, when = point.split(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    calls = 0

    def die() -> None:
        with suppress(FileNotFoundError):
            if once is not None:
                once.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls  # several threads may be in here at once
        if when == "before" and mine == nth:
            die()
        answer = original(*args, **kwargs)
        if when == "after" and mine == nth:
            die()
        return answer

    setattr(owner, name, watched)


def use_quick_engine(log: str) -> None:
    """Let every house of this process work with the quick engine, whatever model is asked for."""
    engine: Any = QuickEngine(log)

    @contextmanager
    def listener(house: House, name: str, model: str) -> Iterator[Listener]:
        del name, model
        yield Listener(2, 2, partial(transcription.listen, house.parts, engine))

    House._listener = listener  # type: ignore[method-assign,assignment] # a quick engine for all


def main() -> int:
    log, point, nth, *arguments = sys.argv[1:]
    use_quick_engine(log)
    if point != "-":
        kill_at(point, int(nth))
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
