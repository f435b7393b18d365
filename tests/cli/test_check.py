"""`hansard check`: the same judgement as before transcribing, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tests.cli.conftest import Audio, Command, encoded, rows


def test_a_recording_that_is_fit(clip: Path, data: Path, hansard: Command) -> None:
    ended = hansard("check", clip, "--model", "sphinx")
    assert ended.code == 0
    assert ended.out.startswith("clip.flac: fit, 0:12 (flac, ")
    assert " * track 0: flac, 16000 Hz, 1 channel\n" in ended.out
    for word in ("loudness", "peak", "noise", "dynamic range", "clipped", "DC offset", "model"):
        assert word in ended.out
    assert not rows(data, "jobs")
    assert not (data / "hansard.db").exists(), "checking makes no store"


def test_json(clip: Path, tmp_path: Path, hansard: Command) -> None:
    gone = tmp_path / "gone.wav"
    ended = hansard("check", clip, gone, "--model", "sphinx", "--json")
    assert ended.code == 3
    found = {line["name"]: line for line in map(json.loads, ended.out.splitlines())}
    assert found["clip.flac"]["ok"]
    assert found["clip.flac"]["levels"]["rms"] < 0
    assert found["clip.flac"]["media"]["tracks"][0]["codec"] == "flac"
    assert not found[str(gone)]["ok"]
    assert found[str(gone)]["error"]["code"] == "not_found"


def test_quiet_audio_will_be_enhanced(speech: Audio, tmp_path: Path, hansard: Command) -> None:
    quiet = np.rint(speech * 0.02).astype(np.int16)
    ended = hansard("check", encoded(tmp_path / "quiet.flac", quiet), "--model", "sphinx")
    assert ended.code == 0
    assert "too quiet" in ended.out


def test_standard_input_and_cost(clip: Path, hansard: Command) -> None:
    ended = hansard("check", "-", "--model", "openai", stdin=clip)
    assert ended.code == 0, ended.err
    assert "standard input: fit" in ended.out
    assert "model openai/whisper-1, about 0.0012 in all" in ended.out


def test_several_tracks(speech: Audio, tmp_path: Path, hansard: Command) -> None:
    film = encoded(tmp_path / "film.mkv", speech, speech[16_000:], video=12.0)
    ended = hansard("check", film, "--model", "sphinx", "--track", "1")
    assert ended.code == 0
    assert "with video" in ended.out
    assert "   track 0: flac" in ended.out
    assert " * track 1: flac" in ended.out
