"""The pieces of work that are measured: one for each component, each on real material.

Every function here makes everything ready (models loaded, stores filled) and yields the
:class:`Bench`; what it yields does the same work each time.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from hansard import telemetry
from hansard.errors import NotInThisBuild, NotSupported, TimedOut
from hansard.model import (
    SAMPLE_RATE,
    Detection,
    Options,
    Segment,
    Transcript,
)
from hansard.perf import rehearsal
from hansard.perf.benchmark import Bench, Component
from hansard.perf.benchmark_material import Material

if TYPE_CHECKING:
    from hansard.config import Settings
    from hansard.jobs.queue import Queue
    from hansard.speech.engine import Samples

_BLOCK = 1 << 16
"""Samples that are fed at once: what a decoder hands over."""
_JOBS = 50
_MEETINGS, _SEGMENTS = 100, 60
_SEARCHES = ("budget", "new office", '"the report"', "agend*", "budget OR report", "-report office")
_REQUESTS = 200
_PATIENCE = 60.0
"""Seconds that a service has to start."""

Ready = Callable[["Settings", Material, str | None], AbstractContextManager[Bench]]


def ready(
    component: Component, settings: Settings, material: Material, model: str | None = None
) -> AbstractContextManager[Bench]:
    """A component's work, made ready.

    Args:
        component: what is measured.
        settings: over a store of their own (``benchmark_material.scratch``).
        material: what it is done to.
        model: for ``stt`` and ``pipeline``; as the settings say where it is not given.

    Raises:
        NotInThisBuild: this Hansard has no such part.
        NotSupported: it needs something that is not set up.
    """
    if component not in _PARTS:
        raise NotInThisBuild(
            f"This build of Hansard has no {component}, so there is nothing to measure.",
            hint="There are: " + ", ".join(_PARTS) + ".",
        )
    return _PARTS[component](settings, material, model)


# ── audio ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _decode(_settings: Settings, material: Material, _model: str | None) -> Iterator[Bench]:
    from hansard.audio import decode

    def run() -> None:
        for _ in decode.blocks(material.path, track=0, channels="mix", enhance=None):
            pass

    length = sum(
        block.shape[1]
        for block in decode.blocks(material.path, track=0, channels="mix", enhance=None)
    )
    yield Bench(run, length / SAMPLE_RATE, "audio")


@contextmanager
def _vad(settings: Settings, material: Material, _model: str | None) -> Iterator[Bench]:
    from hansard.audio.vad import find_speech

    def run() -> None:
        for _ in find_speech(_blocks(material), settings.vad):
            pass

    yield Bench(run, material.seconds, "audio")


def _blocks(material: Material) -> Iterator[Samples]:
    for start in range(0, len(material.samples), _BLOCK):
        yield material.samples[start : start + _BLOCK]


@contextmanager
def _diarize(settings: Settings, material: Material, _model: str | None) -> Iterator[Bench]:
    from hansard.speakers import choice

    diarizer = choice.chosen(settings.speakers, offline=settings.offline)

    def run() -> None:
        diarizer.diarize(_blocks(material))

    yield Bench(run, material.seconds, "audio", model=diarizer.name)


# ── words ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _stt(settings: Settings, material: Material, model: str | None) -> Iterator[Bench]:
    from hansard.audio.ear import Ear
    from hansard.audio.windows import pack
    from hansard.speech import catalog
    from hansard.speech.engine import SpeechOptions
    from hansard.speech.lease import Models

    chosen = catalog.resolve(
        model or settings.model, seconds=material.seconds, prefer=settings.prefer, settings=settings
    )
    detection = Detection(**settings.vad.model_dump())
    options = Options(
        chosen.engine,
        chosen.model,
        window_seconds=settings.window_seconds(chosen.engine, chosen.model),
        detection=detection,
    )
    ear = Ear(0, options)
    windows = [window for block in _blocks(material) for window in ear.hear(block)] + ear.end()
    audio = [
        pack(window, lambda start, length: material.samples[start : start + length])
        for window in windows
    ]
    models = Models(settings)
    heard: list[str] = []
    try:
        with models.lease(chosen.engine, chosen.model) as engine:
            language = chosen.language
            if language is None and engine.capabilities.detects_language and audio:
                language, _ = engine.detect_language(audio[0])
            asked = SpeechOptions(language=language)

            def run() -> None:
                heard[:] = rehearsal.hear(engine, audio, asked)

            yield Bench(
                run,
                material.seconds,
                "audio",
                model=f"{chosen.engine}/{chosen.model}",
                wer=lambda: _errors(material, " ".join(heard)),
            )
    finally:
        models.close()


def _errors(material: Material, text: str) -> float | None:
    from hansard.speech.accuracy import word_errors

    if material.reference is None:
        return None
    return word_errors(material.reference, text).rate


@contextmanager
def _pipeline(settings: Settings, material: Material, model: str | None) -> Iterator[Bench]:
    from hansard.transcription import Request
    from hansard.wiring import SPEECH, House

    asked = Request(model=model or settings.model, again=True)
    texts: list[str] = []
    used: list[str] = []

    with House(settings) as house:
        house.start(pools=SPEECH)

        def run() -> None:
            chunks = [material.cut.read_bytes()]
            job = house.wait(house.submit(material.cut.name, chunks, asked).job.id)
            found = house.transcript(job.id)
            if job.failure is not None or found is None:
                raise NotSupported(
                    f"The sample was not transcribed: {job.failure and job.failure.message}",
                    hint="Try it with `hansard transcribe`.",
                )
            texts[:] = [segment.text for segment in found[1]()]
            used[:] = [f"{job.options.engine}/{job.options.model}"]

        run()
        yield Bench(
            run,
            material.seconds,
            "audio",
            model=used[0],
            wer=lambda: _errors(material, " ".join(texts)),
        )


# ── meaning ──────────────────────────────────────────────────────────────────────────────────


def _talk(material: Material, segments: int, seed: int = 0) -> list[Segment]:
    """A meeting of so many segments, in the sample's sentences and in an order of its own."""
    chance = random.Random(seed)  # noqa: S311 nothing is kept secret with it
    said = itertools.cycle(chance.sample(material.sentences, len(material.sentences)))
    return [
        Segment(at * 5.0, at * 5.0 + 4.5, text, speaker=f"S{at % 4 + 1}", paragraph=at // 4)
        for at, text in zip(range(segments), said, strict=False)
    ]


@contextmanager
def _insight(_settings: Settings, material: Material, _model: str | None) -> Iterator[Bench]:
    from hansard.insight import embedded
    from hansard.insight.findings import KINDS, Occasion
    from hansard.insight.templates import BUILT_IN

    segments = _talk(material, 300)
    occasion = Occasion("Sample", language="en")
    template = next(iter(BUILT_IN.values()))

    def run() -> None:
        for kind in KINDS:
            with telemetry.span(f"insight.{kind}"):
                embedded.find(kind, segments, occasion, template)

    yield Bench(run, len(segments), "segments")


@contextmanager
def _llm(settings: Settings, material: Material, _model: str | None) -> Iterator[Bench]:
    from hansard.insight import generated
    from hansard.insight.findings import Occasion
    from hansard.meetings.makers import tools

    model = tools(settings).model
    if model is None:
        raise NotSupported(
            "No language model is set up, so there is nothing to measure.",
            hint="Name one: HANSARD_LANGUAGE_MODEL__MODEL and __BASE_URL.",
        )
    segments = _talk(material, 40)

    def run() -> None:
        with telemetry.span("llm.summary"):
            generated.find("summary", segments, Occasion("Sample", language="en"), model)

    yield Bench(run, 1, "summaries", model=model.name)


# ── the store ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _queue_of(settings: Settings) -> Iterator[Queue]:
    from hansard.config import QueueSettings
    from hansard.jobs.queue import Queue
    from hansard.store.opening import opened

    database = opened(settings.data, settings.database, connections=settings.postgres.connections)
    try:
        yield Queue(database, "benchmark", settings=QueueSettings(capacity=10_000_000))
    finally:
        database.close()


@contextmanager
def _queue(settings: Settings, _material: Material, _model: str | None) -> Iterator[Bench]:
    numbers = itertools.count()

    with _queue_of(settings) as queue:

        def run() -> None:
            for _ in range(_JOBS):
                with telemetry.span("queue.submit"):
                    rehearsal.submitted(queue, next(numbers))
            for _ in range(_JOBS):
                with telemetry.span("queue.prepare"):
                    rehearsal.prepare(queue)
                with telemetry.span("queue.windows"):
                    rehearsal.listen(queue)
                with telemetry.span("queue.finish"):
                    rehearsal.finish(queue, lambda _: None)

        yield Bench(run, _JOBS, "jobs")


def _save(queue: Queue, settings: Settings, job: Any, segments: list[Segment]) -> None:
    from hansard.meetings import opening
    from hansard.store import transcripts

    head = Transcript(job.id, job.recording, job.name, 300.0, "sphinx", "en-us", language="en")
    with queue.database.write() as connection:
        tally = opening.Tally(iter(segments))
        transcripts.save(connection, job.id, tally, lambda: head)
        opening.begin(connection, job, tally, settings.meetings)


@contextmanager
def _store(settings: Settings, material: Material, _model: str | None) -> Iterator[Bench]:
    from hansard.store import transcripts

    segments = _talk(material, 500)
    numbers = itertools.count()
    with _queue_of(settings) as queue:

        def run() -> None:
            job = rehearsal.submitted(queue, next(numbers))
            with telemetry.span("store.write"):
                _save(queue, settings, job, segments)
            with telemetry.span("store.read"):
                read = sum(1 for _ in transcripts.stream(queue.database, job.id))
            assert read == len(segments)

        yield Bench(run, len(segments), "segments")


@contextmanager
def _search(settings: Settings, material: Material, _model: str | None) -> Iterator[Bench]:
    from hansard.search import lookup
    from hansard.search.lookup import Asked

    numbers = itertools.count()
    with _queue_of(settings) as queue:
        tenant = ""
        for number in range(_MEETINGS):
            job = rehearsal.submitted(queue, next(numbers))
            tenant = job.tenant
            _save(queue, settings, job, _talk(material, _SEGMENTS, number))

        def run() -> None:
            for words in _SEARCHES:
                with telemetry.span("search.words"):
                    found = lookup.search(queue.database, tenant, Asked(words, "text"))
                assert found.total or words.startswith("-")

        yield Bench(run, len(_SEARCHES), "searches")


# ── the API ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _api(settings: Settings, _material: Material, _model: str | None) -> Iterator[Bench]:
    """A service of its own, asked from this process over one connection: latency, not load."""
    import httpx

    with _queue_of(settings) as queue:
        job = rehearsal.submitted(queue, 0).id
    kept = {"HANSARD_DATA": str(settings.data), "HANSARD_BROKER": "", "HANSARD_CACHE": ""}
    kept |= {"HANSARD_FILES": "", "HANSARD_DATABASE": settings.database or ""}
    words = ("serve", "--port", "0", "--host", "127.0.0.1", "--no-worker")
    process = subprocess.Popen(  # noqa: S603 our own command
        [sys.executable, "-m", "hansard", *words],
        env=os.environ | kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=_address(settings, process), trust_env=False) as http:

            def run() -> None:
                for path in ("/api/v1/health", f"/api/v1/jobs/{job}"):
                    with telemetry.span(f"api.{path.split('/')[3]}"):
                        for _ in range(_REQUESTS // 2):
                            http.get(path).raise_for_status()

            yield Bench(run, _REQUESTS, "requests")
    finally:
        process.terminate()
        process.wait()


def _address(settings: Settings, process: subprocess.Popen[bytes]) -> str:
    from hansard.jobs.presence import serving

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        found = serving(settings.data)
        if found is not None:
            return found.url
        time.sleep(0.02)
    raise TimedOut("The service did not start.", hint="Try it: hansard serve --port 0")


_PARTS: Final[Mapping[Component, Ready]] = {
    "pipeline": _pipeline,
    "decode": _decode,
    "vad": _vad,
    "stt": _stt,
    "diarize": _diarize,
    "insight": _insight,
    "llm": _llm,
    "search": _search,
    "store": _store,
    "queue": _queue,
    "api": _api,
}

BUILT: Final[tuple[Component, ...]] = tuple(_PARTS)
"""Those that this build has; ``llm`` needs an endpoint."""
