"""Real SIGKILL at named points and at random moments: nothing lost, nothing heard twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

KILLABLE = Path(__file__).with_name("killable.py")
FORMATS = ("txt", "json", "srt", "vtt", "csv", "docx", "verbose_json")

POINTS = [
    ("hansard.store.files:Draft.keep:before", 1),
    ("hansard.store.files:Draft.keep:after", 1),
    ("hansard.jobs.queue:Queue.submit:after", 1),
    ("hansard.jobs.queue:Queue.claim_steps:after", 1),
    ("hansard.jobs.queue:Queue.add_windows:before", 1),
    ("hansard.jobs.queue:Queue.add_windows:after", 1),
    ("hansard.jobs.queue:Queue.end_prepare:before", 1),
    ("hansard.jobs.queue:Queue.end_prepare:after", 1),
    ("hansard.jobs.queue:Queue.claim_windows:after", 2),
    ("hansard.jobs.queue:Queue.record:before", 2),
    ("hansard.jobs.queue:Queue.record:after", 1),
    ("hansard.jobs.queue:Queue.record:after", 3),
    ("hansard.store.transcripts:save:before", 1),
    ("hansard.store.transcripts:save:after", 1),
    ("hansard.jobs.queue:Queue.complete:before", 1),
    ("hansard.jobs.queue:Queue.complete:after", 1),
    ("hansard.store.disk:Disk.drop_pcm:before", 1),
    ("hansard.formats.output:whole:before", 1),
]


def command(folder: Path, recording: Path, point: str = "-", nth: int = 1) -> list[str]:
    formats = [word for name in FORMATS for word in ("-f", name)]
    return [
        *(sys.executable, str(KILLABLE), str(folder / "log"), point, str(nth)),
        *("transcribe", str(recording), "--model", "sphinx", "--data", str(folder / "data")),
        *("-o", str(folder / "out"), *formats),
    ]


def slowly(folder: Path, recording: Path, seconds: float, **streams: Any) -> subprocess.Popen[str]:
    """The same, with so many seconds for each window: it is not over before a signal comes."""
    slow = os.environ | {"HANSARD_TEST_SLOW": str(seconds)}
    return subprocess.Popen(command(folder, recording), text=True, env=slow, **streams)


def run(folder: Path, recording: Path, point: str = "-", nth: int = 1) -> int:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        command(folder, recording, point, nth), capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr)
    return done.returncode


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir())}


def heard(folder: Path) -> Counter[str]:
    log = folder / "log"
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def done_windows(folder: Path) -> set[int]:
    path = folder / "data" / "hansard.db"
    if not path.exists():
        return set()
    with sqlite3.connect(path) as store:
        if not store.execute("SELECT 1 FROM sqlite_master WHERE name = 'windows'").fetchone():
            return set()
        return {row[0] for row in store.execute("SELECT id FROM windows WHERE state = 'done'")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, long_meeting: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(folder, long_meeting) == 0
    assert set(heard(folder).values()) == {1}
    return folder


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_killed_at_a_point_and_started_again(
    point: str, nth: int, tmp_path: Path, long_meeting: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    assert run(folder, long_meeting, point, nth) == -signal.SIGKILL
    before, kept = heard(folder), done_windows(folder)
    assert run(folder, long_meeting) == 0
    assert written(folder) == written(undisturbed)
    again = heard(folder) - before
    expected = len(heard(undisturbed)) - len(kept)
    assert sum(again.values()) == expected, "a finished window was heard again, or one was lost"
    assert left_over(folder) == []


def test_kills_from_outside_are_not_held_against_the_work(
    tmp_path: Path, long_meeting: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    for _ in range(6):  # one more than a unit has tries
        run(folder, long_meeting, "hansard.jobs.queue:Queue.claim_steps:after", 1)
    assert run(folder, long_meeting) == 0
    assert written(folder) == written(undisturbed)


def left_over(folder: Path) -> list[Path]:
    """What a run should not leave: scratch, prepared audio, signs of workers."""
    data = folder / "data"
    return [p for name in ("tmp", "pcm", "workers") for p in (data / name).glob("*")]


def test_killed_at_random_moments_again_and_again(
    tmp_path: Path, long_meeting: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    chance = random.Random(7)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(12):
        child = slowly(folder, long_meeting, 1.0, **quiet)
        time.sleep(chance.uniform(0.5, 3.0))
        assert child.poll() is None, "the run was over before it was killed"
        child.kill()
        child.wait()
    assert run(folder, long_meeting) == 0
    assert written(folder) == written(undisturbed)
    assert left_over(folder) == []


def test_a_second_process_joins_in_and_survives_the_first(
    tmp_path: Path, long_meeting: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    first = subprocess.Popen(command(folder, long_meeting), stderr=subprocess.DEVNULL)
    second = subprocess.Popen(command(folder, long_meeting), stderr=subprocess.PIPE)
    time.sleep(1.0)
    first.kill()
    first.wait()
    _, said = second.communicate()
    assert second.returncode == 0, said
    assert written(folder) == written(undisturbed)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_keeps_what_is_done(
    kind: signal.Signals, tmp_path: Path, long_meeting: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    child = slowly(folder, long_meeting, 0.5, stderr=subprocess.PIPE)
    while not heard(folder) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(kind)
    _, said = child.communicate()
    assert child.returncode == 130
    assert "The same command goes on from here" in said
    assert not (folder / "out").exists()
    assert run(folder, long_meeting) == 0
    assert written(folder) == written(undisturbed)


def test_a_job_that_is_resumed_under_other_settings_keeps_its_own(
    tmp_path: Path, long_meeting: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    assert run(folder, long_meeting, "hansard.jobs.queue:Queue.end_prepare:before") < 0
    with sqlite3.connect(folder / "data" / "hansard.db") as store:
        options = store.execute("SELECT options FROM jobs").fetchone()[0]
    monkeypatch.setenv("HANSARD_VAD__THRESHOLD", "0.9")
    monkeypatch.setenv("HANSARD_VAD__PAD", "0.05")
    assert run(folder, long_meeting) == 0  # other settings, other work: a job of its own
    with sqlite3.connect(folder / "data" / "hansard.db") as store:
        jobs = store.execute("SELECT options = ?, state FROM jobs", (options,)).fetchall()
    assert len(jobs) == 2
    assert (0, "completed") in jobs  # the first may still be under way: neither waits for the other
    monkeypatch.undo()
    assert run(folder, long_meeting) == 0
    assert written(folder) == written(undisturbed)
