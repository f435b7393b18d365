"""Diarization by pyannote's pipeline, behind the extra ``hansard[pyannote]``.

The pipeline is neural networks throughout, torch comes with it, and its weights come from the model
hub once, to those who have accepted its terms there (or from a directory). It hears overlap, and is
far better in large rooms than the embedded diarizer. It wants the whole recording in memory: 64 KB
a second while it works, 2.3 GB for ten hours.

Pipeline and answer as in pyannote.audio 4 (H. Bredin, *pyannote.audio 2.1 speaker diarization
pipeline: principle, benchmark, and recipe*, Interspeech 2023, and its model card for
``community-1``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hansard import telemetry
from hansard.config import SpeakerSettings
from hansard.errors import EngineError, ModelMissing
from hansard.model import SAMPLE_RATE
from hansard.speakers.diarizer import (
    NO_HINTS,
    Diarization,
    SpeakerHints,
    Stretch,
    Turn,
    Voice,
    in_order,
    labels,
    overlaps,
)

if TYPE_CHECKING:
    from hansard.speakers.diarizer import Block

KIND = "pyannote-1"
"""Kind of the voices' vectors: those of the pipeline's own embedding."""

INSTALL = "pip install 'hansard[pyannote]', or set speakers.engine to embedded."


def installed() -> bool:
    """Whether the extra is there; imports none of it."""
    try:
        return importlib.util.find_spec("pyannote.audio") is not None
    except ModuleNotFoundError:
        return False


class Pyannote:
    """A ``Diarizer``; the pipeline is loaded at the first recording and kept."""

    name = "pyannote"

    def __init__(self, settings: SpeakerSettings, *, offline: bool = False) -> None:
        """``offline``: never ask the model hub; weights must be a directory or in its cache."""
        self._settings = settings
        self._offline = offline
        self._pipeline: Any = None
        self._lock = threading.Lock()

    def diarize(
        self,
        blocks: Iterable[Block],
        *,
        hints: SpeakerHints = NO_HINTS,
        speech: Sequence[Stretch] | None = None,
    ) -> Diarization:
        """See ``Diarizer.diarize``; what lies outside ``speech`` is silenced before it is heard.

        Raises:
            EngineError: pyannote is not installed, or the pipeline failed.
            ModelMissing: the weights cannot be had.
        """
        pipeline = self.load()
        samples = _whole(blocks)
        if not len(samples):
            return Diarization((), (), 0.0, engine=self.name)
        if speech is not None:
            samples = _only(samples, speech)
        torch = importlib.import_module("torch")
        sound = {
            "waveform": torch.from_numpy(samples[None].astype(np.float32) / 32768),
            "sample_rate": SAMPLE_RATE,
        }
        try:
            with self._lock, telemetry.span("speakers.pyannote"):
                answer = pipeline(sound, **_asked(hints))
        except Exception as error:
            raise EngineError(
                f"pyannote failed: {error}.", hint="Set speakers.engine to embedded to do without."
            ) from error
        return _read(answer, len(samples) / SAMPLE_RATE)

    def load(self) -> Any:
        """The pipeline, loaded once.

        Raises:
            EngineError: pyannote is not installed.
            ModelMissing: the weights cannot be had.
        """
        with self._lock:
            if self._pipeline is None:
                self._pipeline = self._load()
            return self._pipeline

    def _load(self) -> Any:
        if self._offline:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            audio = importlib.import_module("pyannote.audio")
        except ImportError as error:
            raise EngineError(f"pyannote is not installed: {error}.", hint=INSTALL) from error
        name = self._settings.pyannote_model
        try:
            pipeline = audio.Pipeline.from_pretrained(name, token=self._settings.hugging_face_token)
        except Exception as error:
            raise _missing(name, f": {error}") from error
        if pipeline is None:  # what it answers where the hub refuses
            raise _missing(name, "")
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            pipeline.to(torch.device("cuda"))
        return pipeline


def _missing(name: str, why: str) -> ModelMissing:
    return ModelMissing(
        f"The weights of {name} cannot be had{why}.",
        hint="Accept its terms on the model hub and set speakers.hugging_face_token, or name a "
        "directory in speakers.pyannote_model, or set speakers.engine to embedded.",
    )


def _asked(hints: SpeakerHints) -> dict[str, int]:
    """The hints in the pipeline's words; what is not known is left to it."""
    if hints.speakers is not None:
        return {"num_speakers": hints.speakers}
    given = {"min_speakers": hints.min_speakers, "max_speakers": hints.max_speakers}
    return {name: number for name, number in given.items() if number is not None}


def _whole(blocks: Iterable[Block]) -> NDArray[np.int16]:
    """All blocks as one array of 16-bit samples."""
    parts = [np.empty(0, np.int16)]
    for block in blocks:
        flat = block.reshape(-1)
        if flat.dtype != np.int16:
            flat = np.clip(np.rint(flat * 32767), -32768, 32767)
        parts.append(flat.astype(np.int16))
    return np.concatenate(parts)


def _only(samples: NDArray[np.int16], speech: Sequence[Stretch]) -> NDArray[np.int16]:
    kept = np.zeros_like(samples)
    for start, end in speech:
        own = slice(max(0, round(start * SAMPLE_RATE)), max(0, round(end * SAMPLE_RATE)))
        kept[own] = samples[own]
    return kept


def _read(answer: Any, seconds: float) -> Diarization:
    """The pipeline's answer as ours. Embeddings are in the order of the annotation's labels."""
    annotation = answer.speaker_diarization
    turns = [
        Turn(round(max(0.0, part.start), 3), round(min(part.end, seconds), 3), str(speaker))
        for part, _, speaker in annotation.itertracks(yield_label=True)
    ]
    names = labels(turns)
    spoke: dict[str, float] = {}
    for turn in turns:
        spoke[turn.speaker] = spoke.get(turn.speaker, 0.0) + turn.end - turn.start
    vectors = getattr(answer, "speaker_embeddings", None)
    voices = []
    for index, speaker in enumerate(map(str, annotation.labels())):
        if speaker not in names:
            continue
        vector: Iterable[float] = () if vectors is None else vectors[index]
        numbers = tuple(round(float(number), 6) for number in vector)
        sound = numbers if all(np.isfinite(numbers)) else ()
        voices.append(Voice(names[speaker], sound, round(spoke[speaker], 3), KIND))
    voices.sort(key=lambda voice: int(voice.label[1:]))
    ordered = in_order(turns)
    return Diarization(ordered, tuple(voices), seconds, overlaps(ordered), "pyannote")
