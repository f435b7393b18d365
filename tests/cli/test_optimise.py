"""`hansard optimise` as a user has it: real work, shown, kept and undone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import SAMPLE, Audio, Command, decoded, encoded, refused

from hansard import tuned
from hansard.config import load
from hansard.perf import optimise_store
from hansard.perf.optimise import Part
from hansard.perf.optimise_speech import Detecting, Listening


@pytest.fixture(scope="session")
def speech() -> Audio:
    return decoded(SAMPLE)[: 12 * 16_000]


@pytest.fixture
def clip(speech: Audio, tmp_path: Path) -> Path:
    return encoded(tmp_path / "clip.flac", speech)


def test_a_part_is_measured_and_nothing_is_written_in_a_dry_run(
    clip: Path, data: Path, hansard: Command
) -> None:
    ended = hansard(
        *("optimise", clip, "--component", "vad", "--minutes", "0.1", "--model", "sphinx"),
        *("--dry-run", "--json", "--offline"),
    )
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    (outcome,) = report["outcomes"]
    assert outcome["part"] == "vad"
    assert outcome["low"] <= outcome["faster"] <= outcome["high"]
    assert outcome["pairs"] >= 8
    assert outcome["words"] == "the same result"
    assert not (data / tuned.FILE).exists()
    assert "6 candidates" in ended.err


def test_a_profile_is_shown_and_undone(data: Path, hansard: Command) -> None:
    assert "no tuned profile" in hansard("optimise", "--show").out
    assert hansard("optimise", "--show", "--json").out == "null\n"
    profile = tuned.Profile(tuned.here(), "sphinx/en-us", "", ("it was so",), {"model_idle": 7.0})
    tuned.write(data, profile)
    shown = hansard("optimise", "--show")
    assert "applied" in shown.out
    assert "model_idle = 7.0" in shown.out
    assert json.loads(hansard("optimise", "--show", "--json").out)["misfit"] is None
    assert hansard("optimise", "--undo").code == 0
    refused(hansard("optimise", "--undo"), "invalid_state", 2)
    refused(hansard("optimise", "--undo", "--show"), "usage", 2)
    refused(hansard("optimise", "--component", "luck"), "usage", 2)


def test_real_parts_give_the_same_whatever_is_varied(
    data: Path, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimise_store, "_MEETINGS", 2)
    monkeypatch.setattr(optimise_store, "_JOBS", 2)
    monkeypatch.setattr(optimise_store, "_UPLOAD", 2**20)
    data.mkdir()
    plain = load(tuned=False)
    with optimise_store.alone(plain):
        parts: list[Part] = [
            Listening(plain, "sphinx", "en-us", speech[: 5 * 16_000], "not what was said"),
            Detecting(plain, np.tile(speech, 2)),
            optimise_store.Storing(plain),
            optimise_store.TakingIn(plain),
        ]
        for part in parts:
            _, usual = part.run({}, 1.0)
            knob = part.space()[0]
            seconds, other = part.run(knob.set(0), 1.0)
            assert seconds > 0
            assert other == usual, part.name
            assert usual.text
            part.close()
    assert not (data / "optimise").exists()


def test_one_at_a_time_and_nothing_is_left_of_who_was_killed(
    data: Path, clip: Path, hansard: Command
) -> None:
    data.mkdir()
    plain = load(tuned=False)
    left = data / "optimise" / "somebodys"
    left.mkdir(parents=True)
    with optimise_store.alone(plain):
        assert not left.exists()
        wanted = ("optimise", clip, "--component", "vad", "--model", "sphinx", "--offline")
        refused(hansard(*wanted, "--minutes", "0.1"), "optimise_busy", 2)
        assert (data / "optimise").exists(), "it is somebody else's"
    assert not (data / "optimise").exists()
