"""`hansard meetings`, and `hansard transcribe --diarize`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from tests.cli.conftest import Command, refused
from tests.meetings.conftest import Makers, split_at_turns
from tests.quick import QuickEngine

from hansard.errors import MediaGone
from hansard.meetings import makers
from hansard.meetings.turns import Turn


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Makers:
    own = Makers()
    own.turns = (Turn(0.0, 4.0, "x"), Turn(4.0, 60.0, "y"))
    monkeypatch.setattr(makers, "diarize", own.diarize)
    monkeypatch.setattr(makers, "assign", split_at_turns)
    monkeypatch.setattr(makers, "find", own.find)
    return own


@pytest.fixture
def job(clip: Path, hansard: Command, quick: QuickEngine) -> str:
    ended = hansard("transcribe", clip, "-m", "sphinx", "--events")
    assert quick.heard
    return str(json.loads(ended.out.splitlines()[0])["job"])


@pytest.mark.usefixtures("quick")
def test_diarizing_is_waited_for(clip: Path, hansard: Command, made: Makers) -> None:
    ended = hansard(
        "transcribe", clip, "-m", "sphinx", "--diarize", "--max-speakers", "3", "-f", "rttm"
    )
    assert ended.code == 0, ended.err
    assert {line.split()[7] for line in ended.out.splitlines()} == {"S1", "S2"}
    assert made.asked == ["speakers None-3"]


@pytest.mark.usefixtures("quick")
def test_words_are_written_though_nobody_knows_who_spoke(
    clip: Path, hansard: Command, made: Makers
) -> None:
    made.error = MediaGone("The media of this recording were removed.")
    ended = hansard("transcribe", clip, "-m", "sphinx", "--diarize")
    assert ended.code == 0
    assert "who speaks is not known: The media of this recording were removed." in ended.err
    assert len(ended.out) > 20


def test_speakers_are_only_counted_where_they_are_told_apart(clip: Path, hansard: Command) -> None:
    refused(hansard("transcribe", clip, "--max-speakers", "2"), "usage", 2)
    wrong = ("--diarize", "--min-speakers", "3", "--max-speakers", "2")
    refused(hansard("transcribe", clip, *wrong), "usage", 2)


def test_meetings_are_listed_shown_and_changed(job: str, hansard: Command) -> None:
    assert hansard("meetings", "list").out.split()[0] == job
    assert "not made yet: `hansard meetings insight" in hansard("meetings", "show", job[-6:]).out
    hansard("meetings", "edit", job, "--title", "The budget", "--status", "done")
    hansard("meetings", "tag", job, "money", "old")
    hansard("meetings", "tag", job, "--", "-old")
    (line,) = hansard("meetings", "list", "--tag", "money", "--status", "done").out.splitlines()
    assert line.endswith("The budget #money")
    assert hansard("meetings", "list", "--tag", "old").out == ""
    known = json.loads(hansard("meetings", "list", "--json").out)
    assert (known["title"], known["tags"]) == ("The budget", ["money"])
    hansard("meetings", "edit", job, "--segment", "0", "--text", "Put right.")
    assert hansard("export", job).out.startswith("Put right.")
    refused(hansard("meetings", "edit", job), "usage", 2)
    refused(hansard("meetings", "edit", job, "--segment", "999", "--text", "x"),
            "unknown_place", 2)  # fmt: skip
    refused(hansard("meetings", "show", "nothing"), "unknown_meeting", 2)


def test_speakers_and_insight_are_found_when_asked(job: str, hansard: Command) -> None:
    ended = hansard("meetings", "speakers", job, "--again")
    assert ended.code == 0, ended.err
    assert [line.split()[0] for line in ended.out.splitlines()] == ["S1", "S2"]
    hansard("meetings", "rename", job, "S1", "Anna")
    assert "Anna" in hansard("meetings", "speakers", job).out
    ended = hansard("meetings", "insight", job)
    assert "  - It was about the budget." in ended.out
    assert "summary    by made-up-1, version" in ended.out
    hansard("meetings", "rename", job, "S2", "S1", "--merge")
    assert len(hansard("meetings", "speakers", job).out.splitlines()) == 1
    found = json.loads(hansard("meetings", "show", job, "--json").out)
    assert found["findings"]["summary"]["stale"] is True


def test_meetings_are_taken_away(job: str, hansard: Command, tmp_path: Path) -> None:
    said = hansard("meetings", "minutes", job).out
    assert said.startswith("# clip\n")
    assert "*Not found out yet.*" in said
    hansard("meetings", "minutes", job, "-f", "docx", "-o", tmp_path / "minutes.docx")
    assert zipfile.is_zipfile(tmp_path / "minutes.docx")
    line = json.loads(hansard("meetings", "export").out)
    assert line["meeting"]["id"] == job
    hansard("meetings", "export", "--as", "zip", "-f", "srt", "-o", tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert [name.rpartition("/")[2] for name in archive.namelist()] == [
            "meeting.json", "transcript.srt", "index.jsonl",
        ]  # fmt: skip


def test_a_meeting_is_deleted(job: str, hansard: Command) -> None:
    assert "and so is its recording" in hansard("meetings", "delete", job).out
    assert hansard("meetings", "list").out == hansard("jobs", "list").out == ""
