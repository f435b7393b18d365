"""Work as the workers do it, without them: windows through an engine, jobs through a queue.

For whoever measures (``benchmark_parts``, ``optimise_speech``, ``optimise_store``): each run does
the same, and nothing else has a hand in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from hansard import telemetry
from hansard.model import (
    SAMPLE_RATE,
    Job,
    Levels,
    Media,
    Options,
    Prepared,
    Recording,
    Span,
    Utterance,
    Window,
    WindowResult,
)

if TYPE_CHECKING:
    from hansard.jobs.queue import Queue
    from hansard.jobs.rows import Unit
    from hansard.jobs.steps import Write
    from hansard.speech.engine import Engine, Samples, SpeechOptions

SECONDS = 25.0
"""Of each made-up recording: one window, all of it speech."""

_SAMPLES = int(SECONDS) * SAMPLE_RATE
_OPTIONS = Options("sphinx", "en-us")
_LEVELS = Levels(1.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
_ANSWER = WindowResult((Utterance(0.0, SECONDS, "said"),), "en")


def hear(engine: Engine, windows: Sequence[Samples], asked: SpeechOptions) -> list[str]:
    """The words of each window.

    Like lengths together, so many calls at a time as the engine has lanes, and no lane takes more
    than its share of what is there: as the queue hands them out.
    """
    able = engine.capabilities
    order = sorted(range(len(windows)), key=lambda index: len(windows[index]))
    size = max(1, min(able.batch, -(-len(order) // able.lanes)))
    batches = [order[at : at + size] for at in range(0, len(order), size)]
    texts = [""] * len(windows)

    def one(batch: list[int]) -> None:
        with telemetry.span("engine"):
            answers = engine.transcribe([windows[index] for index in batch], asked)
        for index, answer in zip(batch, answers, strict=True):
            texts[index] = " ".join(said.text for said in answer.utterances)

    with ThreadPoolExecutor(able.lanes, "hansard-lane") as lanes:
        for _ in lanes.map(one, batches):
            pass
    return texts


def submitted(queue: Queue, number: int) -> Job:
    """A job for a made-up recording, another one for each number."""
    media = Media("wav", SECONDS, 100, ())
    recording = Recording(f"{number:064x}", f"{number}.wav", media, time.time())
    return queue.submit(recording, _OPTIONS, _LEVELS, seconds=SECONDS)[0]


def prepare(queue: Queue) -> None:
    """Take the step that is due, and plan its one window."""
    unit = _claimed(queue.claim_step())
    queue.add_windows(unit, [Window(0, 0, (Span(0, _SAMPLES),))], position=_SAMPLES)
    queue.end_prepare(unit, Prepared(_SAMPLES, 1, _LEVELS, speech=_SAMPLES))


def listen(queue: Queue) -> None:
    """Take the window that is due, and record what it says."""
    unit = _claimed(queue.claim_windows(_OPTIONS.engine, _OPTIONS.model, batch=1, lanes=1))
    queue.record(unit, [_ANSWER for _ in unit.parts])


def finish(queue: Queue, write: Write) -> None:
    """Take the step that is due, which is the last, and end the job with what is to be written."""
    queue.complete(_claimed(queue.claim_step()), write)


def _claimed(unit: Unit | None) -> Unit:
    assert unit is not None, "nobody else works on this store"
    return unit
