"""The values that move through Hansard: frozen, typed, and independent of the outside.

Units, everywhere in the package unless a name says otherwise:

* positions in prepared audio are **samples** at :data:`SAMPLE_RATE` Hz, mono;
* times shown to people and stored in transcripts are **seconds** from the start of the recording;
* *window time* is seconds from the start of a window's packed audio (silences removed).

Values are ``msgspec.Struct``: they encode to JSON and back without further code, and a stored
value that no longer fits its type is an error at the border, not three modules later.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

SAMPLE_RATE = 16_000
"""Hz of all prepared audio: what Whisper, Silero and PocketSphinx were trained on."""

MAX_WINDOW_SECONDS = 30.0
"""The longest stretch that is decoded at once: Whisper's receptive field."""


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """Root of the values below; it only carries their shared configuration."""


class Span(Value, frozen=True, array_like=True):
    """A half-open stretch of prepared audio, ``[start, end)`` in samples."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Samples in the span."""
        return self.end - self.start


class Window(Value, frozen=True):
    """What is decoded at once: spans of one channel, packed end to end.

    ``pieces`` are in order and do not touch. ``overlap`` is how many samples at the start of the
    first piece were also the end of the window before (speech that never paused); 0 otherwise.
    """

    index: int
    channel: int
    pieces: tuple[Span, ...]
    overlap: int = 0

    @property
    def samples(self) -> int:
        """Length of the packed audio."""
        return sum(piece.length for piece in self.pieces)

    @property
    def seconds(self) -> float:
        """Length of the packed audio in seconds."""
        return self.samples / SAMPLE_RATE


class Word(Value, frozen=True, gc=False):
    """One word as heard. ``confidence`` is a probability in [0, 1] where the engine gives one."""

    start: float
    end: float
    text: str
    confidence: float | None = None


class Utterance(Value, frozen=True):
    """What an engine heard in one stretch of a window, in **window time**.

    The last four figures are Whisper's own measures of how sure it was; engines without them
    leave ``None``.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    tokens: tuple[int, ...] = ()
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None


class WindowResult(Value, frozen=True):
    """An engine's answer for one window.

    ``cost`` is money spent in the currency of the price table. ``doubt`` is the stable name of
    the guard that found the answer wanting (see ``speech.guards``), ``None`` for a good answer.
    """

    utterances: tuple[Utterance, ...] = ()
    language: str | None = None
    cost: float = 0.0
    doubt: str | None = None


class Segment(Value, frozen=True):
    """A sentence or phrase of the transcript, in recording time (seconds).

    ``paragraph`` counts paragraphs from 0; segments of one paragraph are read as one block.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    channel: int = 0
    speaker: str | None = None
    paragraph: int = 0
    language: str | None = None
    tokens: tuple[int, ...] = ()
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    sentence: int | None = None
    """Equal in neighbours that were one segment until several speakers were found in it."""


class Gap(Value, frozen=True):
    """Detected speech that is in no segment, in recording time (seconds)."""

    start: float
    end: float
    channel: int = 0
    reason: str = "nothing heard"


class Coverage(Value, frozen=True):
    """How much of the detected speech is in the transcript. Seconds, summed over channels."""

    speech: float
    covered: float
    gaps: tuple[Gap, ...] = ()


class Track(Value, frozen=True):
    """One audio track of a media file. ``index`` counts audio tracks from 0."""

    index: int
    codec: str
    sample_rate: int
    channels: int
    seconds: float | None = None
    language: str | None = None
    title: str | None = None


class Levels(Value, frozen=True):
    """How loud and how clean audio is. dBFS unless said otherwise.

    ``measured`` is how many seconds the figures were taken from.
    """

    measured: float
    rms: float
    peak: float
    noise: float
    dynamic_range: float
    dc_offset: float
    """Mean of the samples, full scale = 1."""
    clipped: float
    """Share of samples at full scale, 0 to 1."""


class Media(Value, frozen=True):
    """What is in a file: the answer of ``audio.probe.inspect``."""

    container: str
    seconds: float | None
    size: int
    tracks: tuple[Track, ...]
    has_video: bool = False
    title: str | None = None


class Recording(Value, frozen=True):
    """A media file that Hansard keeps. ``id`` is the SHA-256 of its bytes, in hexadecimal."""

    id: str
    name: str
    media: Media
    created: float
    """Seconds since the epoch."""


Prefer = Literal["speed", "balanced", "accuracy"]
Channels = Literal["mix", "separate"]
Task = Literal["transcribe", "translate"]
Enhance = Literal["auto", "on", "off"]


class Detection(Value, frozen=True):
    """How speech was told from the rest: ``config.VadSettings`` as they were at submission.

    They decide where windows are cut, so a job keeps its own: one that is resumed under other
    settings must plan the very same windows.
    """

    threshold: float = 0.5
    min_silence: float = 0.5
    min_speech: float = 0.1
    pad: float = 0.2


class Options(Value, frozen=True):
    """Everything that changes the words of a transcript, and nothing else.

    Two jobs with the same recording and equal options are the same work. ``engine`` and
    ``model`` are names resolved by the catalogue, never ``auto``.
    """

    engine: str
    model: str
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
    """Judge answers and decode doubtful windows again. Off only to compare equal work."""
    max_tokens: int | None = None
    """Most tokens a window may give; ``None`` is the engine's own limit."""
    window_seconds: float = MAX_WINDOW_SECONDS
    """Longest window: what the engine takes best. It decides where audio is cut, so it belongs
    to what makes two jobs the same work."""
    detection: Detection = Detection()


JobState = Literal["queued", "running", "retrying", "completed", "failed", "cancelled"]
OPEN_STATES: tuple[JobState, ...] = ("queued", "running", "retrying")
"""States of a job that still has work to do."""

Step = Literal["record", "prepare", "listen", "finish", "run"]
"""``record``: a live job whose audio still comes in. ``run``: all of a job that has one step."""


Lane = Literal["short", "long"]
"""Short recordings and long ones queue apart, so that neither waits for all of the other."""

Pool = Literal["speech", "insight", "video", "maintenance"]
"""Kinds of work with workers of their own."""

POOL_NAMES: tuple[Pool, ...] = get_args(Pool)

POOLS: dict[str, Pool] = {
    "transcribe": "speech",
    "live": "speech",
    "speakers": "insight",
    "insight": "insight",
}
"""The pool of each kind of job."""

TRANSCRIBING = ("transcribe", "live")
"""Kinds of jobs that make transcripts. All others follow one: its id is their ``parent``."""

LOCAL = "local"
"""The tenant of everybody who comes without a key: the command line, and a service on loopback."""


class Client(Value, frozen=True):
    """Who asks. Everything that is kept belongs to a tenant; a key acts for one."""

    tenant: str = LOCAL
    key: str | None = None


class Failure(Value, frozen=True):
    """An error as it is stored with a job and shown to people: see ``errors.HansardError``."""

    code: str
    message: str
    hint: str | None = None


class Prepared(Value, frozen=True):
    """What preparing a recording found out: length, channels, levels. Kept with the job."""

    samples: int
    channels: int
    levels: Levels
    enhanced: bool = False
    speech: int = 0
    """Samples of detected speech, pads included, summed over channels."""


class Job(Value, frozen=True):
    """A row of the job table. Times are seconds since the epoch."""

    id: str
    kind: str
    state: JobState
    step: Step
    priority: int
    recording: str
    options: Options
    levels: Levels
    """From preflight's samples: they decide, once and for all, whether audio is enhanced."""
    created: float
    started: float | None = None
    finished: float | None = None
    attempt: int = 0
    language: str | None = None
    """The language in use: asked for, or detected from the first window."""
    failure: Failure | None = None
    prepared: Prepared | None = None
    identity: str = ""
    """SHA-256 over what makes it the same work: kind, recording, options."""
    tenant: str = LOCAL
    key: str | None = None
    name: str = ""
    """What its owner calls the recording: a file name."""
    pool: Pool = "speech"
    lane: Lane = "long"
    seconds: float | None = None
    """Length of the audio, as preflight found it."""
    deadline: float | None = None
    """Running any longer than this moment is a failure."""
    webhook: str | None = None
    position: int = 0
    """Samples prepared so far."""
    planned: int = 0
    """Windows so far, both hearings; ``heard`` of them are done."""
    heard: int = 0
    planned_samples: int = 0
    heard_samples: int = 0
    parent: str | None = None
    """The job that this one follows: about whose transcript it is."""
    request: str | None = None
    """JSON, of what a job that follows another is asked."""
    trace: str | None = None
    """A ``traceparent``: the trace that it is a part of, from whoever asked for it on."""


class Transcript(Value, frozen=True):
    """A whole transcript: what ``hansard.transcribe`` returns and what the JSON format holds.

    ``id`` names the work (recording and options), not the run: the same work has the same id.
    """

    id: str
    recording: str
    name: str
    """File name of the recording."""
    seconds: float
    engine: str
    model: str
    created: float | None = None
    """Seconds since the epoch, where it is known. The main flow leaves it out: the same work
    gives the same bytes, whenever and however often it was interrupted."""
    task: Task = "transcribe"
    language: str | None = None
    segments: tuple[Segment, ...] = ()
    coverage: Coverage = Coverage(0.0, 0.0)
    levels: Levels | None = None
    enhanced: bool = False
    cost: float = 0.0

    @property
    def text(self) -> str:
        """The words alone, a blank line between paragraphs."""
        paragraphs: list[list[str]] = []
        last: int | None = None
        for segment in self.segments:
            if segment.paragraph != last:
                paragraphs.append([])
                last = segment.paragraph
            paragraphs[-1].append(segment.text)
        return "\n\n".join(" ".join(lines) for lines in paragraphs)
