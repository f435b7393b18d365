"""`hansard jobs` and `hansard export`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Audio, Command, encoded, refused, scraps
from tests.quick import QuickEngine


@pytest.fixture
def done(clip: Path, hansard: Command, quick: QuickEngine) -> str:
    """The id of a job that is completed."""
    ended = hansard("transcribe", clip, "-m", "sphinx", "--events")
    assert quick.heard
    return str(json.loads(ended.out.splitlines()[0])["job"])


@pytest.fixture
def failed(tmp_path: Path, hansard: Command, quick: QuickEngine) -> str:
    """The id of a job that failed: there was noise, but no speech."""
    hiss = np.random.default_rng(1).normal(0, 800, 16_000 * 20).astype(np.int16)
    path = encoded(tmp_path / "hiss.flac", hiss)
    heard = quick.heard
    ended = hansard("transcribe", path, "-m", "sphinx", "--events")
    last = json.loads(ended.out.splitlines()[-1])
    assert last["code"] == "silent"
    assert quick.heard == heard
    return str(last["job"])


def test_the_list(done: str, failed: str, hansard: Command) -> None:
    lines = hansard("jobs", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == [failed, done], "the newest first"
    assert [line.split()[1] for line in lines] == ["failed", "completed"]
    assert lines[1].endswith("clip.flac")
    assert "100%" in lines[1]
    assert "sphinx/en-us" in lines[1]


def test_the_list_in_pieces(done: str, failed: str, hansard: Command) -> None:
    assert hansard("jobs", "list", "--state", "failed").out.split()[0] == failed
    assert hansard("jobs", "list", "--limit", "1").out.split()[0] == failed
    assert hansard("jobs", "list", "--before", failed).out.split()[0] == done
    assert hansard("jobs", "list", "--state", "queued").out == ""
    found = [json.loads(line) for line in hansard("jobs", "list", "--json").out.splitlines()]
    assert [job["id"] for job in found] == [failed, done]
    assert [job["name"] for job in found] == ["hiss.flac", "clip.flac"]


def test_one_job(done: str, failed: str, hansard: Command) -> None:
    said = hansard("jobs", "show", done[-6:]).out
    assert done in said
    assert "completed, step finish" in said
    said = hansard("jobs", "show", failed).out
    assert "no speech was found in it. [silent]" in said
    assert "hint  " in said
    assert "attempt 1" in said
    found = json.loads(hansard("jobs", "show", done, "--json").out)
    assert found["progress"]["job"]["id"] == done
    assert found["progress"]["windows"] == found["progress"]["windows_done"] > 0
    assert found["attempts"] == []


def test_names_that_fit_none_or_several(done: str, failed: str, hansard: Command) -> None:
    assert done
    assert failed
    refused(hansard("jobs", "show", "zzz"), "unknown_job", 2)
    refused(hansard("jobs", "show", ""), "unknown_job", 2)
    refused(hansard("export", "zzz"), "unknown_job", 2)


def test_what_does_not_fit_the_state(done: str, failed: str, hansard: Command) -> None:
    refused(hansard("jobs", "cancel", done), "invalid_state", 2)
    refused(hansard("jobs", "cancel", failed), "invalid_state", 2)
    refused(hansard("jobs", "retry", done), "invalid_state", 2)
    refused(hansard("export", failed), "invalid_state", 2)


def test_cancelled_retried_and_done(
    *, failed: str, speech: Audio, tmp_path: Path, data: Path, hansard: Command, quick: QuickEngine
) -> None:
    retried = hansard("jobs", "retry", failed)
    assert retried.code == 0
    assert f"{failed} is queued" in retried.out
    assert hansard("jobs", "list").out.split()[1] == "queued"
    assert hansard("jobs", "cancel", failed).out == f"{failed} is cancelled\n"
    assert hansard("jobs", "list").out.split()[1] == "cancelled"
    other = encoded(tmp_path / "other.flac", speech)
    assert hansard("transcribe", other, "-m", "sphinx").code == 0
    assert hansard("jobs", "list", "--state", "cancelled").out.split()[0] == failed
    assert scraps(data) == []
    assert quick.heard


def test_export(done: str, tmp_path: Path, hansard: Command) -> None:
    text = hansard("export", done)
    assert text.code == 0
    assert text.out.strip()
    assert text.err == ""
    hansard("export", done, "-f", "srt", "-f", "json", "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.json", "clip.srt"]
    refused(hansard("export", done, "-f", "pdf"), "unknown_format", 2)
    refused(hansard("export", done, "-f", "srt", "-f", "json"), "usage", 2)


def test_deleting_takes_the_recording_along(done: str, hansard: Command) -> None:
    said = hansard("jobs", "delete", done[-6:]).out
    assert said == f"{done} is deleted, and so is its recording\n"
    assert hansard("jobs", "list").out == ""
    refused(hansard("jobs", "show", done), "unknown_job", 2)
