"""A short meeting of three made voices, and stand-ins for what cannot be installed here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from hansard.speakers.diarizer import Turn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples"))


class Made(NamedTuple):
    audio: NDArray[np.int16]
    truth: list[Turn]


@pytest.fixture(scope="session")
def meeting() -> Made:
    """Forty seconds of three of espeak-ng's voices; two of them talk over each other."""
    import speakers

    people = (speakers.FIONA, speakers.KARL, speakers.LINDA)
    plan = speakers.Plan("test", people, 0.7, 4, -55, -70, 0.0, 2.0, 0.2, 0.0)
    pcm, said = speakers.made(plan)
    return Made(pcm, [Turn(one.start, one.end, one.speaker) for one in said.sentences])


class FakePipeline:
    """Answers as pyannote.audio 4 does: two speakers who overlap, one embedding each."""

    asked: list[dict[str, Any]]

    def __init__(self) -> None:
        self.asked = []

    def __call__(self, sound: dict[str, Any], **asked: int) -> SimpleNamespace:
        assert sound["sample_rate"] == 16_000
        waveform = sound["waveform"]
        assert waveform.dtype == np.float32
        assert waveform.ndim == 2
        self.asked.append(asked)
        seconds = waveform.shape[1] / 16_000
        loud = np.flatnonzero(np.abs(waveform[0]) > 0.01)
        if not len(loud):
            return SimpleNamespace(speaker_diarization=Annotation([]), speaker_embeddings=None)
        first, last = loud[0] / 16_000, loud[-1] / 16_000
        middle = (first + last) / 2
        tracks = [(middle - 0.1, last, "SPEAKER_00"), (first, middle, "SPEAKER_01")]
        if asked.get("num_speakers", asked.get("max_speakers", 2)) == 1:
            tracks = [(first, min(last, seconds), "SPEAKER_00")]
        vectors = np.eye(len(tracks), 4)
        return SimpleNamespace(speaker_diarization=Annotation(tracks), speaker_embeddings=vectors)


class Annotation:
    def __init__(self, tracks: list[tuple[float, float, str]]) -> None:
        self._tracks = tracks

    def itertracks(self, *, yield_label: bool) -> Iterator[tuple[Any, str, str]]:
        assert yield_label
        for index, (start, end, label) in enumerate(self._tracks):
            yield SimpleNamespace(start=start, end=end), str(index), label

    def labels(self) -> list[str]:
        return sorted({label for _, _, label in self._tracks})


class Hub(NamedTuple):
    pipeline: FakePipeline
    asked: list[tuple[str, str | None]]
    refuses: list[Exception | None]
    """What comes of asking for weights: an error, or nothing at all; empty: the pipeline."""


@pytest.fixture
def fake_pyannote(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Modules ``pyannote.audio`` and ``torch`` with as much in them as we ask of them."""
    hub = Hub(FakePipeline(), [], [])

    class Pipeline:
        @staticmethod
        def from_pretrained(name: str, token: str | None = None) -> FakePipeline | None:
            hub.asked.append((name, token))
            if hub.refuses:
                if hub.refuses[0] is not None:
                    raise hub.refuses[0]
                return None
            return hub.pipeline

    package = module("pyannote")
    package.__path__ = []
    audio = module("pyannote.audio", Pipeline=Pipeline)
    cuda = SimpleNamespace(is_available=lambda: False)
    torch = module("torch", from_numpy=lambda array: array, cuda=cuda)
    for one in (package, audio, torch):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    return hub


def module(name: str, **contents: Any) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    for key, value in contents.items():
        setattr(made, key, value)
    return made
