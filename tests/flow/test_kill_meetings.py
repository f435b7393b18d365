"""Real SIGKILL in the middle of what follows a transcript: nothing lost, nothing made twice."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import SAMPLE, decoded, encoded
from tests.flow.test_kill import KILLABLE

FINISHING = Path(__file__).with_name("finishing.py")

POINTS = [
    ("hansard.store.transcripts:rewrite:after", 1),
    ("hansard.store.meetings:put_finding:after", 4),  # turns, summary, chapters, items
    ("hansard.jobs.queue:Queue.keep:after", 2),
]


def call(script: Path, *arguments: object) -> int:
    wanted = os.environ | {"HANSARD_MEETINGS__FOLLOW_UP": "true"}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=wanted)
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr)
    return done.returncode


def transcribed(folder: Path) -> Path:
    """A data directory in which nothing that follows was done yet."""
    recording = encoded(folder / "meeting.flac", decoded(SAMPLE)[: 20 * 16_000])
    data = folder / "data"
    asked = ("transcribe", recording, "--model", "sphinx", "--data", data, "--quiet")
    assert call(KILLABLE, folder / "log", "-", 1, *asked) == 0
    return data


def asked(data: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(data / "hansard.db") as store:
        return store.execute(query).fetchall()


def words(data: Path) -> str:
    return " ".join(text for (text,) in asked(data, "SELECT text FROM segments ORDER BY position"))


def known(data: Path) -> list[Any]:
    """All there is at the end, but for when it was made."""
    return [
        asked(data, "SELECT kind, version, source, body FROM findings ORDER BY kind, version"),
        asked(data, "SELECT position, speaker, text, body FROM segments ORDER BY position"),
        asked(data, "SELECT label, seconds, vector FROM speakers ORDER BY label"),
        asked(data, "SELECT kind, state FROM jobs ORDER BY id"),
        asked(data, "SELECT wording, segments, words, mood FROM meetings"),
    ]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return transcribed(tmp_path_factory.mktemp("begun"))


@pytest.fixture(scope="module")
def undisturbed(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Any]]:
    data = shutil.copytree(begun, tmp_path_factory.mktemp("undisturbed") / "data")
    before = words(data)
    assert call(FINISHING, data, "-", 1) == 0
    return before, known(data)


def test_what_follows_is_whole(undisturbed: tuple[str, list[Any]]) -> None:
    before, (findings, segments, speakers, jobs, (meeting,)) = undisturbed
    assert [kind for kind, *_ in jobs] == ["transcribe", "speakers", "insight"]
    assert {state for _, state in jobs} == {"completed"}
    kinds = ["chapters", "items", "sentiment", "statistics", "summary", "turns"]
    assert [(kind, version) for kind, version, *_ in findings] == [(kind, 1) for kind in kinds]
    assert {label for label, *_ in speakers} >= {"S1", "S2"}, "it is a conversation"
    assert " ".join(text for _, _, text, _ in segments) == before
    assert meeting[:2] == (1, len(segments))


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_killed_at_a_point_and_started_again(
    point: str, nth: int, tmp_path: Path, begun: Path, undisturbed: tuple[str, list[Any]]
) -> None:
    data = shutil.copytree(begun, tmp_path / "data")
    before, whole = undisturbed
    assert call(FINISHING, data, point, nth) == -signal.SIGKILL
    assert words(data) == before, "whatever happens, the words are there"
    assert call(FINISHING, data, "-", 1) == 0
    assert known(data) == whole
