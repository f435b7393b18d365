"""The sample meeting is what its reference says, and its maker keeps its word."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import av
import msgspec
import numpy as np
import pocketsphinx
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
sys.path.insert(0, str(SAMPLES))

import script  # noqa: E402  # a script's neighbour, not a package
import voices  # noqa: E402  # likewise

from hansard.speech.accuracy import normalise  # noqa: E402  # after the path above

flite = pytest.mark.skipif(not voices.available(), reason="flite is not installed")


def decoded_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.fixture(scope="module")
def dictionary() -> set[str]:
    path = Path(pocketsphinx.get_model_path("en-us")) / "cmudict-en-us.dict"
    return {line.split(maxsplit=1)[0] for line in path.read_text().splitlines() if line}


def test_the_reference_is_the_script() -> None:
    meeting = voices.read(SAMPLES / "meeting.json")
    said = [(turn.speaker, text) for turn in script.MEETING for text in turn.sentences]
    assert [(s.speaker, s.text) for s in meeting.sentences] == said
    assert meeting.voices == script.VOICES


def test_the_recording_fits_its_reference() -> None:
    meeting = voices.read(SAMPLES / "meeting.json")
    recording = SAMPLES / "meeting.ogg"
    assert recording.stat().st_size < 1_000_000
    assert decoded_seconds(recording) == pytest.approx(meeting.seconds, abs=0.1)
    assert 100 < meeting.seconds < 150
    for before, after in pairwise(meeting.sentences):
        assert before.start < before.end
        assert before.start < after.start
    assert meeting.sentences[-1].end < meeting.seconds


def test_exactly_one_speaker_talks_over_another() -> None:
    sentences = voices.read(SAMPLES / "meeting.json").sentences
    over = [(a, b) for a, b in pairwise(sentences) if b.start < a.end]
    assert len(over) == 1
    assert over[0][0].speaker != over[0][1].speaker


def test_every_word_is_one_that_pocketsphinx_knows(dictionary: set[str]) -> None:
    turns = [*script.MEETING, *islice(script.improvise(1), 800)]
    words = {word for turn in turns for text in turn.sentences for word in normalise(text)}
    assert words <= dictionary
    assert len(words) > 300


def test_the_same_seed_improvises_the_same_meeting() -> None:
    assert list(islice(script.improvise(4), 30)) == list(islice(script.improvise(4), 30))
    assert list(islice(script.improvise(4), 30)) != list(islice(script.improvise(5), 30))


def test_the_room_is_as_loud_as_it_says() -> None:
    noise = voices.room(300_000, 1)
    assert len(noise) == 300_000
    decibels = 10 * np.log10(np.mean(np.square(noise, dtype=np.float64)))
    assert decibels == pytest.approx(voices.NOISE_DBFS, abs=0.5)


def test_without_flite_it_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "make_meeting.py"), "-o", str(tmp_path)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert "apt install flite" in done.stderr
    assert list(tmp_path.iterdir()) == []


@flite
def test_a_long_meeting_is_made_twice_alike_with_the_silence_asked_for(tmp_path: Path) -> None:
    for name in ("one", "two"):
        asked = ["--minutes", "0.6", "--seed", "3", "--silence", "0.4", "-o", str(tmp_path / name)]
        subprocess.run(
            [sys.executable, str(SAMPLES / "make_meeting.py"), *asked],
            check=True,
            capture_output=True,
        )
    for part in ("meeting.flac", "meeting.json"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()
    meeting = voices.read(tmp_path / "one" / "meeting.json")
    assert meeting.seconds >= 0.6 * 60
    assert decoded_seconds(tmp_path / "one" / "meeting.flac") == pytest.approx(
        meeting.seconds, abs=0.001
    )
    speech = sum(sentence.end - sentence.start for sentence in meeting.sentences)
    assert 1 - speech / meeting.seconds == pytest.approx(0.4, abs=0.03)


@flite
def test_the_sample_can_be_made_again(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(SAMPLES / "make_meeting.py"), "-o", str(tmp_path)],
        check=True,
        capture_output=True,
    )
    again = msgspec.json.decode((tmp_path / "meeting.json").read_bytes())
    kept = msgspec.json.decode((SAMPLES / "meeting.json").read_bytes())
    assert [s["text"] for s in again["sentences"]] == [s["text"] for s in kept["sentences"]]
    assert again["seconds"] == pytest.approx(kept["seconds"], abs=2)  # voices differ by version
