"""What every diarizer promises (`speakers/diarizer.py`), whichever it is."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.speakers.conftest import Hub, Made

from hansard.config import SpeakerSettings
from hansard.errors import EngineError, ModelMissing, UsageError
from hansard.speakers import pyannote
from hansard.speakers.choice import chosen
from hansard.speakers.diarizer import Diarizer, SpeakerHints, Turn, in_order, overlaps
from hansard.speakers.embedded import Embedded


def cut(audio: NDArray[Any], length: int) -> Iterator[NDArray[Any]]:
    for start in range(0, len(audio), length):
        yield audio[start : start + length]


@pytest.fixture(params=["embedded", "pyannote"])
def diarizer(request: pytest.FixtureRequest) -> Diarizer:
    if request.param == "embedded":
        return Embedded()
    request.getfixturevalue("fake_pyannote")
    return pyannote.Pyannote(SpeakerSettings())


def test_turns_are_in_order_inside_the_recording_and_named_by_appearance(
    diarizer: Diarizer, meeting: Made
) -> None:
    answer = diarizer.diarize(cut(meeting.audio, 320_000))
    assert answer.engine == diarizer.name
    assert answer.seconds == pytest.approx(len(meeting.audio) / 16_000)
    assert answer.turns
    assert all(a.start <= b.start for a, b in pairwise(answer.turns))
    assert all(0 <= turn.start < turn.end <= answer.seconds + 0.001 for turn in answer.turns)
    appeared = list(dict.fromkeys(turn.speaker for turn in answer.turns))
    assert appeared == [f"S{number + 1}" for number in range(len(appeared))]
    assert [voice.label for voice in answer.voices] == appeared
    assert answer.overlap == overlaps(answer.turns)
    for voice in answer.voices:
        own = sum(t.end - t.start for t in answer.turns if t.speaker == voice.label)
        assert voice.seconds == pytest.approx(own, abs=0.05)
        assert voice.vector


def test_how_the_audio_is_cut_changes_nothing(diarizer: Diarizer, meeting: Made) -> None:
    whole = diarizer.diarize([meeting.audio])
    assert diarizer.diarize(cut(meeting.audio, 7_777)) == whole
    floats = meeting.audio.astype(np.float32) / 32767
    rows = (block[None] for block in cut(floats, 50_000))
    assert diarizer.diarize(rows) == whole


@pytest.mark.parametrize("length", [0, 1, 100, 16_000])
def test_nobody_is_heard_in_silence(diarizer: Diarizer, length: int) -> None:
    answer = diarizer.diarize([np.zeros(length, np.int16)])
    assert (answer.turns, answer.voices, answer.overlap) == ((), (), ())
    assert answer.seconds == length / 16_000
    assert diarizer.diarize([]).turns == ()


def test_one_speaker_where_one_is_asked_for(diarizer: Diarizer, meeting: Made) -> None:
    answer = diarizer.diarize([meeting.audio], hints=SpeakerHints(speakers=1))
    assert {turn.speaker for turn in answer.turns} == {"S1"}
    assert answer.overlap == ()


def test_turns_stay_inside_the_speech_that_is_given(diarizer: Diarizer, meeting: Made) -> None:
    answer = diarizer.diarize([meeting.audio], speech=[(5.0, 9.0), (12.0, 20.0)])
    assert answer.turns
    inside = [(4.9, 9.1), (11.9, 20.1)] if diarizer.name == "embedded" else [(4.9, 20.1)]
    for turn in answer.turns:
        assert any(start <= turn.start and turn.end <= end for start, end in inside)


@pytest.mark.parametrize(
    "given", [{"speakers": 0}, {"min_speakers": 3, "max_speakers": 2}, {"max_speakers": 0}]
)
def test_numbers_that_make_no_sense_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="make no sense"):
        SpeakerHints(**given)


def test_pyannote_is_told_what_is_known(fake_pyannote: Hub, meeting: Made) -> None:
    settings = SpeakerSettings(pyannote_model="somewhere", hugging_face_token="secret")
    theirs = pyannote.Pyannote(settings)
    for hints in (
        SpeakerHints(),
        SpeakerHints(speakers=2),
        SpeakerHints(min_speakers=1, max_speakers=4),
    ):
        theirs.diarize([meeting.audio], hints=hints)
    assert fake_pyannote.asked == [("somewhere", "secret")]
    assert fake_pyannote.pipeline.asked == [
        {},
        {"num_speakers": 2},
        {"min_speakers": 1, "max_speakers": 4},
    ]


def test_pyannote_keeps_its_overlap_and_its_voices(fake_pyannote: Hub, meeting: Made) -> None:
    del fake_pyannote
    answer = pyannote.Pyannote(SpeakerSettings()).diarize([meeting.audio])
    assert len(answer.overlap) == 1
    assert [voice.vector for voice in answer.voices] == [(0, 1, 0, 0), (1, 0, 0, 0)]
    assert {voice.kind for voice in answer.voices} == {pyannote.KIND}


@pytest.mark.parametrize("refusal", [None, OSError("401 Client Error")])
def test_pyannote_without_weights_says_what_to_do(
    fake_pyannote: Hub, refusal: Exception | None
) -> None:
    fake_pyannote.refuses.append(refusal)
    with pytest.raises(ModelMissing, match="cannot be had") as caught:
        pyannote.Pyannote(SpeakerSettings()).diarize([np.ones(100, np.int16)])
    assert "hugging_face_token" in (caught.value.hint or "")


def test_what_goes_wrong_in_pyannote_is_an_engine_error(
    fake_pyannote: Hub, monkeypatch: pytest.MonkeyPatch, meeting: Made
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(type(fake_pyannote.pipeline), "__call__", broken)
    with pytest.raises(EngineError, match="out of cheese"):
        pyannote.Pyannote(SpeakerSettings()).diarize([meeting.audio])


@pytest.fixture
def no_pyannote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyannote, "installed", lambda: False)
    real = importlib.import_module

    def importing(name: str) -> object:
        if name.startswith("pyannote"):
            raise ModuleNotFoundError("No module named 'pyannote'")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", importing)


@pytest.mark.usefixtures("no_pyannote")
def test_without_pyannote_the_embedded_one_is_there() -> None:
    assert chosen(SpeakerSettings()).name == "embedded"
    with pytest.raises(EngineError, match="not installed") as caught:
        chosen(SpeakerSettings(engine="pyannote"))
    assert "hansard[pyannote]" in (caught.value.hint or "")
    with pytest.raises(EngineError, match="not installed"):
        pyannote.Pyannote(SpeakerSettings()).diarize([])


def test_the_settings_choose(fake_pyannote: Hub) -> None:
    del fake_pyannote
    assert chosen(SpeakerSettings(engine="embedded")).name == "embedded"
    assert chosen(SpeakerSettings(engine="pyannote")).name == "pyannote"
    assert chosen(SpeakerSettings()).name == "pyannote"


def test_auto_without_weights_falls_back_and_says_so_once(
    fake_pyannote: Hub, meeting: Made, caplog: pytest.LogCaptureFixture
) -> None:
    fake_pyannote.refuses.append(None)
    diarizer = chosen(SpeakerSettings())
    first = diarizer.diarize([meeting.audio[:160_000]])
    assert first.engine == diarizer.name == "embedded"
    assert diarizer.diarize([meeting.audio[:160_000]]) == first
    warnings = [one for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "embedded" in warnings[0].message
    fake_pyannote.refuses.clear()
    assert diarizer.diarize([meeting.audio]).engine == "pyannote"


def test_order_names_and_overlap() -> None:
    turns = [Turn(5, 6, "b"), Turn(0, 2, "z"), Turn(2, 3, "z"), Turn(1, 4, "b"), Turn(7, 7, "c")]
    assert in_order(turns) == (Turn(0, 3, "S1"), Turn(1, 4, "S2"), Turn(5, 6, "S2"))
    assert overlaps(in_order(turns)) == ((1, 3),)
    assert overlaps([Turn(0, 1, "a"), Turn(1, 2, "b")]) == ()
    assert overlaps([Turn(0, 9, "a"), Turn(1, 3, "b"), Turn(2, 5, "c")]) == ((1, 5),)
