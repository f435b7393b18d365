"""The Python API: one line, from a script like anybody's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import ROOT, remains, scraps
from tests.quick import QuickEngine

import hansard
from hansard.config import Settings
from hansard.errors import BadSettings, HansardError, NotFound, UnknownModel, UsageError
from hansard.jobs.progress import Progress

SCRIPT = """
import hansard

seen = []
transcript = hansard.transcribe("clip.flac", model="sphinx", on_progress=seen.append)
print(transcript.text)
assert seen and seen[-1].job.state == "completed"
assert transcript.segments[0].words[0].start >= 0
try:
    hansard.transcribe("gone.wav", model="sphinx")
except hansard.HansardError as error:
    print(error.code)
"""


def test_a_script_without_a_main_guard(clip: Path, tmp_path: Path) -> None:
    """The embedded engine starts processes, which must not run the script again."""
    (tmp_path / "clip.flac").write_bytes(clip.read_bytes())
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.split("\n")
    assert lines.count("not_found") == 1
    assert done.stdout.count("Good morning") == 1


def test_the_transcript_is_a_value(clip: Path, tmp_path: Path, quick: QuickEngine) -> None:
    settings = Settings(data=tmp_path / "elsewhere")
    seen: list[Progress] = []
    transcript = hansard.transcribe(
        clip, model="sphinx", settings=settings, on_progress=seen.append
    )
    assert isinstance(transcript, hansard.Transcript)
    assert isinstance(transcript.segments[0], hansard.Segment)
    assert isinstance(transcript.segments[0].words[0], hansard.Word)
    assert transcript.name == "clip.flac"
    assert transcript.seconds == pytest.approx(12, abs=0.1)
    assert seen[-1].share == 1.0
    assert [now.share for now in seen] == sorted(now.share for now in seen)
    heard = quick.heard
    assert hansard.transcribe(str(clip), model="sphinx", settings=settings) == transcript
    assert quick.heard == heard, "the second time it is read from the store"
    again = hansard.transcribe(clip, model="sphinx", settings=settings, again=True)
    assert again == transcript
    assert quick.heard == 2 * heard
    assert scraps(tmp_path / "elsewhere") == []
    assert (tmp_path / "elsewhere" / "hansard.db").exists()


def test_what_cannot_be_asked(clip: Path, tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="colour"):
        hansard.transcribe(clip, model="sphinx", colour="blue")
    with pytest.raises(UsageError, match="loud"):
        hansard.transcribe(clip, model="sphinx", channels="loud")
    with pytest.raises(UnknownModel):
        hansard.transcribe(clip, model="enormous")
    with pytest.raises(NotFound) as caught:
        hansard.transcribe(tmp_path / "gone.wav", model="sphinx")
    assert caught.value.hint
    (tmp_path / "two").mkdir()
    for name in ("a.flac", "b.flac"):
        (tmp_path / "two" / name).write_bytes(clip.read_bytes())
    with pytest.raises(UsageError, match="2 recordings"):
        hansard.transcribe(tmp_path / "two", model="sphinx")
    assert remains(data) == []


def test_settings_that_make_no_sense(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSARD_VAD__THRESHOLD", "7")
    with pytest.raises(BadSettings, match="threshold"):
        hansard.transcribe(clip)


def test_the_public_names() -> None:
    assert hansard.HansardError is HansardError
    for name in hansard.__all__:
        assert getattr(hansard, name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = hansard.nonsense
