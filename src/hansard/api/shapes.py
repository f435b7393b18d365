"""What the API's answers look like, for its description. The database makes most of them itself."""

from __future__ import annotations

from typing import Any

import msgspec

from hansard.jobs.progress import Attempt
from hansard.model import Coverage, Failure, JobState, Levels, Options, Segment, Value


class JobProgress(Value, frozen=True):
    """How far a job is. Seconds are of audio; windows count both hearings."""

    share: float
    """0 to 1, of the windows known so far; 1 only when nothing is left to be done."""
    prepared_seconds: float
    windows: int
    windows_done: int
    seconds: float
    """Of speech, in the windows known so far."""
    seconds_done: float


class JobLinks(Value, frozen=True):
    """Where to go from here."""

    self: str
    events: str
    download: str
    audio: str


class JobStatus(Value, frozen=True):
    """A job. Times are seconds since the epoch."""

    id: str
    kind: str
    state: JobState
    step: str
    name: str
    priority: int
    created: float
    started: float | None
    finished: float | None
    seconds: float | None
    """Length of the recording."""
    language: str | None
    engine: str
    model: str
    lane: str
    pool: str
    attempt: int
    recording: str
    """SHA-256 of the media file."""
    retry_at: float | None
    """When a job in the state ``retrying`` is tried again."""
    options: Options
    progress: JobProgress
    error: Failure | None
    """Why it failed, or what went wrong the last time."""
    archived: float | None
    """Since when its words are in the archive and not in the store."""
    webhook_url: str | None
    parent: str | None
    """The transcription that this job is about, where it only follows one."""
    revision: int | None
    """Grows with every change of its meeting; `null` until there is a transcript."""
    links: JobLinks


class TranscriptView(Value, frozen=True):
    """A transcript. Times are seconds from the start of the recording."""

    id: str
    recording: str
    name: str
    seconds: float
    engine: str
    model: str
    text: str
    """The words alone, a blank line between paragraphs."""
    segments: tuple[Segment, ...]
    """Fields with their default are left out; words are there with ``words=true``."""
    coverage: Coverage
    language: str | None = None
    levels: Levels | None = None
    enhanced: bool = False
    cost: float = 0.0
    speakers: dict[str, str] = msgspec.field(default_factory=dict)
    """Names by label, of speakers who have one; segments have labels."""


class Transcription(JobStatus, frozen=True):
    """A job with its transcript, once there is one."""

    transcript: TranscriptView | None = None


class Accepted(JobStatus, frozen=True):
    """A job that was accepted."""

    notes: tuple[str, ...] = ()
    """What you should know about it."""
    downloads: dict[str, str] = msgspec.field(default_factory=dict)
    """Addresses of the formats that were asked for."""


class StatusPage(Value, frozen=True):
    """A page, newest first."""

    items: tuple[JobStatus, ...]
    next: str | None
    """Give it as ``cursor`` for the next page; ``null`` on the last."""


class Attempts(Value, frozen=True):
    """A job's history: every try that went wrong."""

    items: tuple[Attempt, ...]


EXAMPLE: dict[str, Any] = {
    "id": "1m7wkb3n3a9jd3",
    "kind": "transcribe",
    "state": "running",
    "step": "listen",
    "name": "meeting.mp3",
    "priority": 5,
    "created": 1763655873.139,
    "started": 1763655873.412,
    "finished": None,
    "seconds": 3605.2,
    "language": "en",
    "engine": "whisper",
    "model": "small",
    "lane": "long",
    "pool": "speech",
    "attempt": 0,
    "recording": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "retry_at": None,
    "options": {"engine": "whisper", "model": "small", "language": "en"},
    "progress": {
        "share": 0.4167,
        "prepared_seconds": 3605.2,
        "windows": 120,
        "windows_done": 50,
        "seconds": 3301.5,
        "seconds_done": 1375.7,
    },
    "error": None,
    "archived": None,
    "webhook_url": None,
    "parent": None,
    "revision": None,
    "links": {
        "self": "/api/v1/transcriptions/1m7wkb3n3a9jd3",
        "events": "/api/v1/transcriptions/1m7wkb3n3a9jd3/events",
        "download": "/api/v1/transcriptions/1m7wkb3n3a9jd3/download",
        "audio": "/api/v1/transcriptions/1m7wkb3n3a9jd3/audio",
    },
}

DONE: dict[str, Any] = EXAMPLE | {
    "state": "completed",
    "step": "finish",
    "revision": 0,
    "finished": 1763656210.77,
    "progress": {
        "share": 1.0,
        "prepared_seconds": 3605.2,
        "windows": 120,
        "windows_done": 120,
        "seconds": 3301.5,
        "seconds_done": 3301.5,
    },
    "transcript": {
        "id": "5b2c8a61f0d94e37",
        "recording": EXAMPLE["recording"],
        "name": "meeting.mp3",
        "seconds": 3605.2,
        "engine": "whisper",
        "model": "small",
        "language": "en",
        "text": "Good morning.",
        "segments": [{"start": 0.62, "end": 1.48, "text": "Good morning."}],
        "coverage": {"speech": 3301.5, "covered": 3301.5},
    },
}
