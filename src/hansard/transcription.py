"""THE main flow: a recording comes in, moves through durable steps, and is a transcript.

    submit ─▶ prepare ─▶ listen (many windows, many workers) ─▶ finish ─▶ transcript
                            ▲                                     │
                            └──── a second look at gaps and doubt ┘

Each function below is one step. ``submit`` runs where the recording arrives; the others are
called by ``jobs.worker`` with a claimed unit, in any process, as often as it takes. Every result
goes through the queue, which refuses what is no longer ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hansard import telemetry
from hansard.audio.cage import Cage, Uncaged
from hansard.config import Settings
from hansard.errors import HansardError, NotSupported, SilentAudio
from hansard.jobs import retention
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Part, Unit
from hansard.jobs.states import PROVISIONAL
from hansard.meetings import opening
from hansard.meetings.requests import Speakers
from hansard.model import (
    SAMPLE_RATE,
    Channels,
    Client,
    Coverage,
    Detection,
    Enhance,
    Job,
    Options,
    Prefer,
    Prepared,
    Recording,
    Segment,
    Task,
    Transcript,
    Value,
    Window,
    WindowResult,
)
from hansard.speech import join
from hansard.speech.coverage import CoverageMeter, combined, second_look, settle
from hansard.speech.engine import Engine, Samples, SpeechOptions
from hansard.speech.guards import judge
from hansard.store import recordings, transcripts, windows
from hansard.store.files import Draft, Files, PcmWriter

if TYPE_CHECKING:
    import sqlalchemy as sa

    from hansard.audio.levels import Enhancement
    from hansard.audio.probe import Preflight
    from hansard.speech.catalog import Choice

_CHECKPOINT = 0.25
"""Seconds between commits of planned windows: an fsync each must not slow a short recording."""

_LOCAL = Client()
_OPENLY = Uncaged()


@dataclass(frozen=True, slots=True)
class Parts:
    """What the steps work with; put together in ``wiring``."""

    settings: Settings
    queue: Queue
    files: Files
    media: Cage | Uncaged = _OPENLY
    """Opens media files; those of strangers in a cage."""


class Request(Value, frozen=True, forbid_unknown_fields=True):
    """What somebody asks for; ``submit`` turns it into :class:`Options`."""

    model: str = "auto"
    prefer: Prefer = "balanced"
    language: str | None = None
    task: Task = "transcribe"
    channels: Channels = "mix"
    track: int = 0
    enhance: Enhance = "auto"
    prompt: str | None = None
    hotwords: str | None = None
    word_times: bool = True
    language_per_window: bool = False
    guards: bool = True
    max_tokens: int | None = None
    max_cost: float | None = None
    priority: int = 5
    again: bool = False
    """Do the work even where the store has the answer."""
    webhook: str | None = None
    """Address that is told when the job ends."""
    speakers: Speakers = Speakers()
    """What follows: whether they are told apart, and how many they are."""
    detection: Detection | None = None  # ``None``: as the settings say


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted request. ``open``: there is work left; ``notes``: what the user should know."""

    job: Job
    open: bool
    preflight: Preflight
    notes: tuple[str, ...] = ()


# ── 1 to 3: take in, refuse what must be refused, submit ─────────────────────────────────────


def submit(
    parts: Parts,
    name: str,
    chunks: Iterable[bytes],
    request: Request,
    client: Client = _LOCAL,
) -> Submitted:
    """Keep a recording, see that it is fit, and make it a job.

    Args:
        parts: the store and the queue.
        name: what to call the recording: its file name.
        chunks: its bytes; read once, streamed to disk and hashed on the way.
        request: what to do with it.
        client: for whom.

    Raises:
        HansardError: any refusal there is; nothing is left behind then.
    """
    from hansard.speech import catalog

    if request.model != "auto":
        catalog.info(request.model, parts.settings)  # a typo is refused before a byte is read
    with ExitStack() as stack:
        with telemetry.span("submit.take_in"):
            draft = stack.enter_context(parts.files.take_in(name, chunks))
        return accept(parts, name, draft, request, client)


def accept(
    parts: Parts, name: str, draft: Draft, request: Request, client: Client = _LOCAL
) -> Submitted:
    """Make a recording that lies in scratch, whole and hashed, a job.

    Raises:
        HansardError: any refusal there is; the draft is its holder's to remove.
    """
    from hansard.speech import catalog

    with telemetry.span("submit.preflight"):
        fit, choice = examine(draft.path, parts.settings, request, media=parts.media)
    options = options_for(request, choice, parts.settings)
    if request.again or parts.queue.find(draft.sha256, options, client) is None:
        _see_that_it_fits(parts, fit, request)
        catalog.see_that_it_is_paid(choice.cost, request.max_cost)
        catalog.check(choice, seconds=fit.seconds, settings=parts.settings)
    draft.keep()
    recording = Recording(draft.sha256, name, fit.media, time.time())
    try:
        job, left = parts.queue.submit(
            recording,
            options,
            fit.levels,
            priority=request.priority,
            again=request.again,
            client=client,
            seconds=fit.seconds,
            webhook=request.webhook,
            request=None if request.speakers == Speakers() else request.speakers,
        )
    except HansardError:
        with suppress(HansardError):  # a store in trouble: it is found and removed later
            retention.drop_unnamed(parts.queue.database, parts.files, draft.sha256)
        raise
    if not parts.files.has_recording(draft.sha256):
        draft.keep()  # the same bytes were there and were removed meanwhile; from now on they stay
    if not left and request.speakers.diarize:
        opening.look_again(parts.queue, job.id, parts.settings.meetings, request.speakers)
    return Submitted(job, left, fit, (*choice.notes, *fit.warnings))


def examine(
    path: Path,
    settings: Settings,
    request: Request,
    *,
    full: bool = False,
    pull: bool = True,
    media: Cage | Uncaged = _OPENLY,
) -> tuple[Preflight, Choice]:
    """What is in a file, whether it is fit, and which model would hear it.

    Args:
        path: a local file.
        settings: limits, and where models are.
        request: what is to be done with it.
        full: measure all of it, not samples of a long recording.
        pull: fetch the model's weights where they are missing.
        media: opens the file.

    Raises:
        BadInput: the recording cannot be used.
        EngineError, UsageError: no model for it.
    """
    from hansard.speech import catalog

    fit = media.preflight(path, track=request.track, limits=settings.limits, full=full)
    choice = catalog.resolve(
        request.model,
        language=request.language,
        task=request.task,
        seconds=fit.seconds,
        prefer=request.prefer,
        settings=settings,
        pull=pull,
    )
    if (request.prompt or request.hotwords) and not choice.prompts:
        raise NotSupported(
            f"The engine {choice.engine} takes neither a prompt nor hotwords.",
            hint="Choose a Whisper model with --model; `hansard models list` shows them.",
        )
    return fit, choice


def options_for(request: Request, choice: Choice, settings: Settings) -> Options:
    """All that decides about the words, settled once and for all."""
    from hansard.speech import catalog

    return Options(
        engine=choice.engine,
        model=choice.model,
        language=catalog.language_code(request.language) or choice.language,
        task=request.task,
        channels=request.channels,
        track=request.track,
        enhance=request.enhance,
        prompt=request.prompt,
        hotwords=request.hotwords,
        word_times=request.word_times,
        language_per_window=request.language_per_window,
        guards=request.guards,
        max_tokens=request.max_tokens,
        window_seconds=choice.window_seconds,
        detection=request.detection or Detection(**settings.vad.model_dump()),
    )


def _see_that_it_fits(parts: Parts, fit: Preflight, request: Request) -> None:
    """Prepared audio takes 115 MB an hour and channel; refuse now rather than fill the disk."""
    channels = fit.media.tracks[request.track].channels if request.channels == "separate" else 1
    prepared = int((fit.seconds or 0) * SAMPLE_RATE * 2 * channels)
    parts.files.see_that_it_fits(prepared, fit.media.size, parts.settings.limits.disk_reserve)


# ── 5 and 6: decode once, find speech, plan windows ──────────────────────────────────────────


def prepare(parts: Parts, unit: Unit) -> None:
    """Make prepared audio and windows, in one pass; windows can be heard as soon as written.

    Deterministic: after a kill it runs again and plans the same windows, and those that were
    heard meanwhile stay heard.
    """
    from hansard.audio.ear import Ear
    from hansard.audio.levels import Meter

    job = unit.job
    if job.prepared is not None and parts.files.has_pcm(job.id, job.prepared.channels):
        parts.queue.end_prepare(unit, job.prepared)
        return
    enhance = _enhancement(job)
    meter = Meter()
    speech = 0
    rows = _rows(parts, job)
    ears = [Ear(channel, job.options) for channel in range(rows)]
    planned: list[Window] = []
    due = 0.0
    with (
        parts.files.open_recording(job.recording) as recording,
        parts.files.write_pcm(job.id, rows) as pcm,
    ):
        for block in parts.media.blocks(
            recording,
            track=job.options.track,
            channels=job.options.channels,
            enhance=enhance,
            limits=parts.settings.limits,
            seconds=job.seconds,
        ):
            pcm.write(block)
            meter.feed(block)
            for ear, samples in zip(ears, block, strict=True):
                planned += ear.hear(samples)
            if time.monotonic() >= due and (planned or due):
                begun = time.monotonic()
                speech += _checkpoint(parts.queue, unit, planned, pcm)
                planned, now = [], time.monotonic()
                due = now + max(_CHECKPOINT, 4 * (now - begun))  # a fifth of the time at most
        for ear in ears:
            planned += ear.end()
        speech += _checkpoint(parts.queue, unit, planned, pcm)
        samples = pcm.samples
    if not speech:
        raise SilentAudio(
            "There is sound, but no speech was found in it.",
            hint="Is it the right track (--track)? A lower HANSARD_VAD__THRESHOLD finds more.",
        )
    parts.queue.end_prepare(
        unit, Prepared(samples, rows, meter.levels(), enhanced=enhance is not None, speech=speech)
    )


def _checkpoint(queue: Queue, unit: Unit, planned: list[Window], pcm: PcmWriter) -> int:
    """Commit planned windows, once anybody can read them; their new speech in samples."""
    pcm.flush()
    queue.add_windows(unit, planned, position=pcm.samples)
    return sum(window.samples - window.overlap for window in planned)


def _rows(parts: Parts, job: Job) -> int:
    """Rows of prepared audio: one, or one for each channel of the track."""
    if job.options.channels == "mix":
        return 1
    with parts.queue.database.read() as connection:
        media = recordings.get(connection, job.recording).media
    return media.tracks[job.options.track].channels


def _enhancement(job: Job) -> Enhancement | None:
    from hansard.audio import levels

    if job.options.enhance == "off":
        return None
    return levels.enhancement(job.levels, always=job.options.enhance == "on")


# ── 7: hear windows ──────────────────────────────────────────────────────────────────────────


def listen(parts: Parts, engine: Engine, unit: Unit) -> None:
    """Hear a batch of windows, from any jobs that decode the same way, and record the answers."""
    with telemetry.span("engine.read"):
        audio = [_packed(parts, part.job, part.window) for part in unit.parts]
    language = unit.job.language
    # What is only heard to follow along must not decide about the language of all the rest.
    if (
        language is None
        and not unit.job.options.language_per_window
        and any(part.hearing != PROVISIONAL for part in unit.parts)
    ):
        language = _detect(parts, engine, unit.job)
    answers: dict[int, WindowResult] = {}
    for second in (False, True):
        chosen = [i for i, part in enumerate(unit.parts) if (part.hearing == 1) == second]
        if not chosen:
            continue
        options = _speech_options(unit.job.options, language, fallback=second)
        with telemetry.span("engine"):
            results = engine.transcribe([audio[index] for index in chosen], options)
        for index, result in zip(chosen, results, strict=True):
            answers[index] = _judged(result, unit.parts[index], options)
    parts.queue.record(unit, [answers[index] for index in range(len(unit.parts))])


def _judged(result: WindowResult, part: Part, options: SpeechOptions) -> WindowResult:
    """The answer with its doubt, for engines that do not judge themselves."""
    if not options.guards or result.doubt is not None:
        return result
    return replace(result, doubt=judge(result, part.window.seconds))


def _packed(parts: Parts, job: Job, window: Window) -> Samples:
    from hansard.audio.windows import pack

    return pack(window, partial(parts.files.read_pcm, job.id, window.channel))


def _detect(parts: Parts, engine: Engine, job: Job) -> str | None:
    """The language of the recording, from its first window, whoever asks first."""
    able = engine.capabilities
    # A remote endpoint would be paid for the call, and finds the language of each window anyway.
    if not able.detects_language or able.device == "remote":
        return None
    window = windows.first(parts.queue.database, job.id)
    language, _ = engine.detect_language(_packed(parts, job, window))
    return parts.queue.set_language(job.id, language)


def _speech_options(options: Options, language: str | None, *, fallback: bool) -> SpeechOptions:
    return SpeechOptions(
        language=language,
        task=options.task,
        prompt=options.prompt,
        hotwords=options.hotwords,
        word_times=options.word_times,
        max_tokens=options.max_tokens,
        fallback=fallback,
        guards=options.guards,
    )


# ── 8 and 9: look again where it is worth it, join, complete ─────────────────────────────────


def finish(parts: Parts, unit: Unit) -> None:
    """Join the answers to a transcript, once gaps and doubtful windows had their second look.

    Streamed: windows are read, joined and written as segments a few at a time.
    """
    job = unit.job
    assert job.prepared is not None
    first_time = not windows.any_second(parts.queue.database, job.id)
    if first_time and job.options.guards:
        again = [
            window
            for channel in range(job.prepared.channels)
            for window in _second_look(parts, job, channel)
        ]
        if again:
            telemetry.count("windows.second_look", len(again))
            parts.queue.listen_again(unit, again)
            return
    with telemetry.span("finish"):
        parts.queue.complete(unit, lambda connection: _write(parts, job, connection))
    parts.files.drop_pcm(job.id)


def _write(parts: Parts, job: Job, connection: sa.Connection) -> None:
    """The transcript, from its windows: read anew at each call, so that it can be tried again."""
    assert job.prepared is not None
    meters = [CoverageMeter(pad=job.options.detection.pad) for _ in range(job.prepared.channels)]
    stream = join.merge(
        [_segments(parts, job, channel, meter) for channel, meter in enumerate(meters)]
    )

    def head() -> Transcript:
        return _head(parts, job, combined(meter.coverage() for meter in meters))

    tally = opening.Tally(stream)
    transcripts.save(connection, job.id, tally, head)
    opening.begin(connection, job, tally, parts.settings.meetings)


def _second_look(parts: Parts, job: Job, channel: int) -> Iterator[Window]:
    meter = CoverageMeter(pad=job.options.detection.pad)
    for _ in _segments(parts, job, channel, meter):
        pass
    rows = windows.heard(parts.queue.database, job.id, channel, 0)
    return second_look(rows, meter.coverage().gaps)


def _segments(parts: Parts, job: Job, channel: int, meter: CoverageMeter) -> Iterator[Segment]:
    assert job.prepared is not None
    limit = job.prepared.samples / SAMPLE_RATE
    return join.segments(_answers(parts, job, channel), limit=limit, meter=meter)


def _answers(parts: Parts, job: Job, channel: int) -> Iterator[tuple[Window, WindowResult]]:
    """Each window of a channel with its one answer, whether from the first hearing or both."""
    database = parts.queue.database
    seconds = windows.heard(database, job.id, channel, 1)
    second = next(seconds, None)
    for window, result in windows.heard(database, job.id, channel, 0):
        if second is not None and second[0].index == window.index:
            yield window, settle(window, result, *second)
            second = next(seconds, None)
        else:
            yield window, result


def _head(parts: Parts, job: Job, coverage: Coverage) -> Transcript:
    assert job.prepared is not None
    return Transcript(
        id=job.identity[:16],
        recording=job.recording,
        name=job.name,
        seconds=round(job.prepared.samples / SAMPLE_RATE, 3),
        engine=job.options.engine,
        model=job.options.model,
        task=job.options.task,
        language=job.language or windows.language(parts.queue.database, job.id),
        coverage=coverage,
        levels=job.prepared.levels,
        enhanced=job.prepared.enhanced,
        cost=windows.spent(parts.queue.database, job.id),
    )
