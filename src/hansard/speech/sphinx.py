"""The engine ``sphinx``: PocketSphinx with the model inside its wheel, in a pool of processes.

PocketSphinx holds the GIL while it decodes, so each lane is a process of its own
(``speech.sphinx_child``), started when it is first needed. The processes are plain children on
pipes, not :mod:`multiprocessing`: a user's script needs no ``if __name__ == "__main__"``, nothing
is forked with threads in flight, and a child whose parent is killed is told by the kernel
and ends too. A child that is killed costs the window it was hearing (:class:`EngineDied`, worth
another try) and is replaced by the next call.

Cepstral mean normalisation is per window (``full_utt``), so short windows, which hold one or two
speakers, are heard better than long ones, and the same window gets the same answer in any process
at any time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO

import msgspec
import numpy as np

from hansard import telemetry
from hansard.errors import EngineDied, EngineError, ModelBroken, NotSupported
from hansard.machine import SphinxSettings
from hansard.model import Utterance, WindowResult, Word
from hansard.speech import sphinx_child as child
from hansard.speech.engine import Capabilities, Samples, SpeechOptions
from hansard.speech.readable import sentences

SHORTEST = 1_600
"""Samples (0.1 s); PocketSphinx finds no word in less."""

_DEAD = 2
"""Samples this close to zero carry no sound. PocketSphinx takes the logarithm of their energy and
hears words in it, so digital silence gets one bit of noise, as a converter would have given it."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hansard.speech.sphinx_child import main; main(int(sys.argv[2]))"
)


class SphinxEngine:
    """PocketSphinx behind :class:`hansard.speech.engine.Engine`. American English only.

    Loads nothing until the first call. ``transcribe`` may be called from any number of threads;
    as many windows are heard at a time as there are processes.
    """

    name = "sphinx"
    model = "en-us"

    def __init__(self, settings: SphinxSettings | None = None) -> None:
        settings = settings or SphinxSettings()
        processes = settings.processes or _cores()
        self._capabilities = Capabilities(
            languages=("en",),
            detects_language=False,
            word_times=True,
            translation=False,
            prompts=False,
            hotwords=False,
            window_seconds=settings.window_seconds,
            batch=1,
            lanes=processes,
            device="cpu",
        )
        self._changed = threading.Condition()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """English, word times, one window a call, a lane for each process."""
        return self._capabilities

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        """Transcribe windows, shape ``(n,)`` int16 at 16 kHz each, one after another on one lane.

        Raises:
            NotSupported: another language than English, a translation, a prompt or hotwords.
            ModelBroken: PocketSphinx or its model cannot be loaded.
            EngineDied: a process ended in the middle of a window; try again.
            EngineError: PocketSphinx refuses the audio, or the engine is closed.
        """
        _check(options)
        mode = child.FALLBACK if options.fallback else child.FIRST
        return [
            _result(self._hear(pcm, mode) if (pcm := _audible(window)) else []) for window in batch
        ]

    def detect_language(self, window: Samples) -> tuple[str, float]:
        """PocketSphinx's model knows one language.

        Raises:
            NotSupported: always.
        """
        del window
        raise NotSupported(
            "The engine sphinx cannot tell languages apart: its model knows English only.",
            hint="Name the language, or choose a Whisper model.",
        )

    def close(self) -> None:
        """End all processes at once, those in the middle of a window too; twice is harmless."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
            self._changed.notify_all()
        for process in busy:
            process.kill()  # its caller, who is reading from it, gets the end of file and clears up
        for process in idle:
            process.end()

    def _hear(self, pcm: bytes, mode: bytes) -> list[child.Heard]:
        with self._lane() as process, telemetry.span("engine.decode"):
            answer = process.ask(mode + pcm)
            if answer is None:
                if self._closed:
                    raise EngineError("The engine sphinx was closed in the middle of a window.")
                how = process.obituary()
                telemetry.count("engine.died")
                raise EngineDied(
                    f"A process of PocketSphinx ended ({how}) in the middle of a window.",
                    hint="It is replaced at the next try. If this goes on, the machine may be "
                    "short of memory: set HANSARD_SPHINX__PROCESSES to fewer.",
                )
        if answer.loading:
            telemetry.record("engine.load", answer.loading)
        if answer.trouble is None:
            return answer.words
        if answer.stage == "load":
            raise ModelBroken(
                f"PocketSphinx cannot be loaded: {answer.trouble}.",
                hint="Install it again: pip install --force-reinstall pocketsphinx.",
            )
        raise EngineError(f"PocketSphinx cannot decode a window: {answer.trouble}.")

    @contextlib.contextmanager
    def _lane(self) -> Iterator[_Child]:
        """A process for one exchange; waits while all are in use.

        Raises:
            EngineError: the engine is closed, or no process can be started.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or len(self._busy) < self._capabilities.lanes
            )
            if self._closed:
                raise EngineError("The engine sphinx is closed.")
            process = self._living() or _Child()
            self._busy.add(process)
        try:
            yield process
        except BaseException:
            # Ctrl-C, say: the answer is still to come, and the next caller must not read it.
            process.end()
            raise
        finally:
            with self._changed:
                self._busy.discard(process)
                if process.alive and not self._closed:
                    self._idle.append(process)
                self._changed.notify()
            if self._closed:
                process.end()

    def _living(self) -> _Child | None:
        """The idle process used last; those that were killed while idle are dropped."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.end()
        return None


class _Child:
    """One child process; used by one thread at a time, but killed from any."""

    def __init__(self) -> None:
        ours = theirs = -1
        try:
            theirs, ours = os.pipe()  # never written to: it closes when this process ends
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
                # -P: the working directory must not shadow modules; then exactly our own path.
                [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(theirs,),
            )
        except OSError as error:
            if ours >= 0:
                os.close(ours)
            raise EngineError(
                f"A process for PocketSphinx cannot be started: {error}.",
                hint="The machine may be out of memory or of processes.",
            ) from error
        finally:
            if theirs >= 0:
                os.close(theirs)
        self._lifeline: IO[bytes] = os.fdopen(ours, "wb")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout

    @property
    def pid(self) -> int:
        """Process id, for tests that kill it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs and can be asked."""
        return not self._to.closed and self._process.poll() is None

    def ask(self, request: bytes) -> child.Answer | None:
        """One exchange; ``None``: the process ended before it answered."""
        try:
            child.send(self._to, request)
            reply = child.receive(self._from)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return None if reply is None else msgspec.msgpack.decode(reply, type=child.Answer)

    def kill(self) -> None:
        """End the process; whoever reads from it gets the end of file."""
        self._process.kill()

    def obituary(self) -> str:
        """How a process ended that closed its pipe, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # The pipe closes a moment before the process can be waited for.
            self._process.wait(timeout=1)
        code = self._process.poll()
        if code is None:
            return "it closed its output"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """Kill, reap and close the pipes; only for the one who uses them. Twice is harmless."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from, self._lifeline):
            with contextlib.suppress(OSError):  # what was not yet written has nobody to read it
                pipe.close()


def _cores() -> int:
    """Cores that this process may use, which in a container is fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(options: SpeechOptions) -> None:
    if options.language not in {None, "en"}:
        raise NotSupported(
            f"The engine sphinx hears English only, not {options.language!r}.",
            hint="Choose a Whisper model: hansard models list.",
        )
    asked = {
        "translate": options.task == "translate",
        "take a prompt": bool(options.prompt),
        "take hotwords": bool(options.hotwords),
    }
    for what, wanted in asked.items():
        if wanted:
            raise NotSupported(
                f"The engine sphinx cannot {what}.",
                hint="Choose a Whisper model: hansard models list.",
            )


@functools.cache
def _dither() -> Samples:
    """One second of the same noise of one bit, for ever."""
    return np.random.default_rng(16_000).integers(-1, 2, 16_000).astype(np.int16)


def _audible(window: Samples) -> bytes:
    """The window as PocketSphinx takes it; empty where there is nothing to hear."""
    if window.dtype != np.int16 or window.ndim != 1:
        raise EngineError(
            f"A window must be int16 of shape (n,), not {window.dtype} of shape {window.shape}."
        )
    if len(window) < SHORTEST:
        return b""
    dead = (window >= -_DEAD) & (window <= _DEAD)
    if dead.all():
        return b""
    if dead.any():
        window = np.where(window == 0, np.resize(_dither(), len(window)), window)
    return window.astype("<i2", copy=False).tobytes()


def _result(heard: list[child.Heard]) -> WindowResult:
    words = [Word(word.start, word.end, word.text, word.confidence) for word in heard]
    return WindowResult(
        tuple(
            Utterance(
                sentence[0].start,
                sentence[-1].end,
                " ".join(word.text for word in sentence),
                sentence,
            )
            for sentence in sentences(words)
        ),
        language="en",
    )
