"""Settings that depend on the machine and its models: what ``hansard optimise`` may change.

Each of them changes how fast work is done and how much memory it takes, never what is kept or how
safely. What they are here is right for most machines; a tuned profile (:mod:`hansard.tuned`) says
otherwise for one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SHORTEST_WINDOW, LONGEST_WINDOW = 8.0, 30.0
"""Seconds. Spans are 2 s shorter than windows, and shorter ones would cut sentences; 30 s are all
that Whisper hears at once."""


class Section(BaseModel):
    """A group of settings. Unknown names are refused: a typo must not pass for a setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WhisperTuning(Section):
    """How one model is run. What is set in ``[whisper]`` for all models comes first."""

    compute_type: str | None = Field(None, description="CTranslate2 compute type.")
    lanes: int | None = Field(None, ge=1, description="Windows, or batches, at the same time.")
    threads: int | None = Field(None, ge=1, description="Threads of each lane.")
    batch: int | None = Field(None, ge=1, description="Windows in one batch.")
    window_seconds: float | None = Field(
        None, ge=SHORTEST_WINDOW, le=LONGEST_WINDOW, description="Longest window, in seconds."
    )


class WhisperSettings(Section):
    """The engine ``whisper`` (faster-whisper on CTranslate2)."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    compute_type: str = Field("auto", description="CTranslate2 compute type, e.g. int8, float16.")
    lanes: int | None = Field(None, ge=1, description="Workers; measured once when not set.")
    threads: int | None = Field(None, ge=1, description="Threads a worker; measured when not set.")
    batch: int | None = Field(None, ge=1, description="Windows in one batch; chosen when not set.")
    beam_size: int = Field(5, ge=1, description="Beams of the first decoding.")
    window_seconds: float | None = Field(
        None,
        ge=SHORTEST_WINDOW,
        le=LONGEST_WINDOW,
        description="Longest window, in seconds; 30 when not set.",
    )
    models: dict[str, WhisperTuning] = Field(
        default_factory=dict,
        description="The same by model, where it is not set above: compute_type, lanes, threads, "
        "batch, window_seconds.",
    )

    def of(self, model: str) -> WhisperSettings:
        """The settings of one model: what is set for all, else what is set for it."""
        own = self.models.get(model)
        if own is None:
            return self
        given = {name: value for name, value in own if value is not None}
        if self.compute_type != "auto":
            given.pop("compute_type", None)
        if self.lanes or self.threads:  # halves of one decision
            given.pop("lanes", None)
            given.pop("threads", None)
        for name in ("batch", "window_seconds"):
            if getattr(self, name) is not None:
                given.pop(name, None)
        return self.model_copy(update=given)


class SphinxSettings(Section):
    """The engine ``sphinx`` (PocketSphinx, embedded)."""

    # A long window takes one cepstral mean over several voices: cut only at pauses, at most 10 s
    # gave 13 % wrong words over read speech and meetings, 20 s 16 %, 30 s and the whole recording
    # 18 %. A short one cuts sentences, since spans are 2 s shorter than the window. Between 8 and
    # 15 s the difference is a few words; 12 s had the fewest wrong, and cut no sentence of them.

    processes: int | None = Field(None, ge=1, description="Processes; one a core when not set.")
    window_seconds: float = Field(
        12.0,
        ge=SHORTEST_WINDOW,
        le=LONGEST_WINDOW,
        description="Longest window, in seconds. Long ones take one average over several voices.",
    )


class PrepareSettings(Section):
    """Preparing a recording: finding speech in it."""

    vad_frames: int = Field(
        256, ge=16, le=8192, description="Frames of 32 ms in one call of the speech detector."
    )


class CacheSettings(Section):
    """What the API keeps ready in memory, in bytes, and how uploads are gathered."""

    transcripts: int = Field(64 * 2**20, ge=0, description="Of transcripts as they are sent.")
    pages: int = Field(8 * 2**20, ge=0, description="Of lists, until something is written.")
    rendered: int = Field(
        256 * 2**20, ge=0, description="Of rendered formats; those above a megabyte on the disk."
    )
    vectors: int = Field(
        512 * 2**20, ge=0, description="Of vectors for search by meaning; more are read each time."
    )
    upload: int = Field(
        256 * 1024, ge=4096, le=2**26, description="Of an upload that go to the disk at once."
    )


class SqliteSettings(Section):
    """The store as an SQLite file. Nothing here decides what a power cut costs: nothing."""

    cache: int = Field(8 * 2**20, ge=2**20, description="Bytes of pages in each process's cache.")
    mmap: int = Field(0, ge=0, description="Bytes of the file that are mapped into memory.")
    checkpoint: int = Field(
        512, ge=16, le=2**20, description="Pages of the log after which it is put into the file."
    )


class MemorySettings(Section):
    """What is done before memory runs out, step by step."""

    watch: bool = Field(True, description="Whether anything is done.")
    share: float = Field(
        0.05, gt=0, le=0.2, description="Share of the memory below which no new work is taken …"
    )
    reserve: int = Field(
        512 * 2**20, gt=0, description="… or these bytes, if fewer. Steps: at 2, 3, 4 times that."
    )
    hold: float = Field(
        10.0, ge=0, description="Seconds for which there must be room before a step is taken back."
    )
