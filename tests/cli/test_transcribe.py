"""`hansard transcribe` from end to end: what a user types, and what comes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import (
    ROOT,
    SAMPLE,
    Audio,
    Command,
    decoded,
    encoded,
    refused,
    rows,
    scraps,
)
from tests.quick import QuickEngine
from tests.speech.fake_openai import KEY, FakeOpenAI, serve

from hansard import formats

HANSARD = (sys.executable, "-m", "hansard")
SURROUNDINGS = os.environ | {"PYTHONPATH": str(ROOT / "src")}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# ── the embedded engine, heard once ──────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Heard:
    """The beginning of the sample meeting, transcribed by PocketSphinx in a process of its own."""

    data: Path
    recording: Path
    events: list[dict[str, Any]]
    err: str


@pytest.fixture(scope="session")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    folder = tmp_path_factory.mktemp("sphinx")
    recording = encoded(folder / "start.ogg", decoded(SAMPLE)[: 26 * 16_000], codec="libopus")
    command = ["transcribe", str(recording), "--model", "sphinx", "--events", "--timings"]
    done = subprocess.run(
        [*HANSARD, *command, "--data", str(folder / "data")],
        capture_output=True,
        text=True,
        check=False,
        env=SURROUNDINGS,
    )
    assert done.returncode == 0, done.stderr
    return Heard(folder / "data", recording, lines(done.stdout), done.stderr)


def test_the_embedded_engine_hears_the_sample(heard: Heard, hansard: Command) -> None:
    ended = hansard("transcribe", heard.recording, "-m", "sphinx", "--data", heard.data)
    assert ended.code == 0
    assert "Good morning" in ended.out
    assert "budget" in ended.out


def test_timings_name_the_stages(heard: Heard) -> None:
    table = {line.split()[0]: line.split() for line in heard.err.splitlines() if line.strip()}
    for stage in ("prepare.decode", "prepare.vad", "engine.decode", "join"):
        assert int(table[stage][1]) > 0, heard.err
    assert table["stage"][1:] == ["times", "total", "median", "p95", "longest"]


def test_events_are_those_that_are_described(
    heard: Heard, tmp_path: Path, hansard: Command, quick: QuickEngine
) -> None:
    described = {}
    page = (ROOT / "docs" / "events.md").read_text("utf-8")
    for name, section in re.findall(
        r"^## `(\w+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL
    ):
        described[name] = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    fallback = hansard("transcribe", heard.recording, "--offline", "--events", "-o", tmp_path / "o")
    failing = hansard("transcribe", tmp_path / "gone.wav", "--events")
    assert quick.heard
    assert failing.err == ""
    seen = [*heard.events, *lines(fallback.out), *lines(failing.out)]
    assert {event["event"] for event in seen} == set(described)
    for event in seen:
        fields = described[event["event"]] | {"event", "recording"}
        assert set(event) == fields, event
        assert (event["recording"] is None) == (event["event"] == "notice")


def test_events_tell_the_story_in_order(heard: Heard) -> None:
    story = [event["event"] for event in heard.events]
    assert story[0] == "submitted"
    assert story[-1] == "completed"
    assert story.count("submitted") == story.count("completed") == 1
    words = " ".join(event["text"] for event in heard.events if event["event"] == "heard")
    assert "morning" in words
    shares = [event["share"] for event in heard.events if event["event"] == "progress"]
    assert shares[-1] == 1.0
    assert all(0 <= share <= 1 for share in shares)
    assert heard.events[0]["seconds"] == pytest.approx(26, abs=0.1)


def test_the_same_again_is_answered_from_the_store(
    heard: Heard, hansard: Command, quick: QuickEngine
) -> None:
    before = rows(heard.data, "windows"), rows(heard.data, "jobs")
    ended = hansard("transcribe", heard.recording, "-m", "sphinx", "--data", heard.data, "--events")
    assert [event["event"] for event in lines(ended.out)] == ["submitted", "progress", "completed"]
    assert (rows(heard.data, "windows"), rows(heard.data, "jobs")) == before
    assert quick.heard == 0


@pytest.mark.parametrize("name", formats.names())
def test_every_format_is_the_same_wherever_it_goes(
    *, name: str, heard: Heard, tmp_path: Path, hansard: Command
) -> None:
    common = (heard.recording, "-m", "sphinx", "--data", heard.data, "-q")
    target = tmp_path / f"minutes{formats.get(name).extension}"
    assert hansard("transcribe", *common, "-o", target, "-f", name).code == 0
    guessed = tmp_path / "guessed" / target.name
    if name != "verbose_json":  # .json alone means the other JSON
        assert hansard("transcribe", *common, "-o", guessed).code == 0
        assert guessed.read_bytes() == target.read_bytes()
    job = heard.events[0]["job"]
    out = tmp_path / "exported"
    assert hansard("export", job, "-f", name, "-o", out, "--data", heard.data).code == 0
    assert [path.read_bytes() for path in out.iterdir()] == [target.read_bytes()]
    if name != "docx":  # not text, which is what this way of calling gives
        assert hansard("transcribe", *common, "-f", name).out.encode() == target.read_bytes()


def test_interrupted_and_started_again_gives_the_same_bytes(heard: Heard, tmp_path: Path) -> None:
    """Ctrl-C after the first words, with the real engine in the middle of the next."""
    command = [*HANSARD, "transcribe", str(heard.recording), "-m", "sphinx"]
    command += ["--data", str(tmp_path / "data")]
    first = subprocess.Popen(
        [*command, "--events"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=SURROUNDINGS
    )
    assert first.stdout is not None
    for line in first.stdout:
        if json.loads(line)["event"] == "heard":
            break
    first.send_signal(signal.SIGINT)
    rest, said = first.communicate()
    if first.returncode == 0:
        pytest.skip(f"it was done before the signal came: {rest!r}")
    assert first.returncode == 130, said
    assert b"[interrupted]" in said
    assert b"hint: The same command goes on from here." in said
    assert b"Traceback" not in said
    assert not list((tmp_path / "data" / "tmp").rglob("*"))
    outs = []
    for data in (tmp_path / "data", heard.data):
        words = [*command[:-1], str(data), "-f", "json", "-q"]
        outs.append(subprocess.run(words, capture_output=True, check=True, env=SURROUNDINGS).stdout)
    assert outs[0] == outs[1]
    assert scraps(tmp_path / "data") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output(heard: Heard) -> None:
    command = [*HANSARD, "transcribe", str(heard.recording), "-m", "sphinx"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "--data", str(heard.data)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=SURROUNDINGS,
        )
    assert done.returncode == 5, done.stderr
    assert "[disk_full]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(heard: Heard) -> None:
    """As `hansard transcribe … | head -0` has it."""
    command = [*HANSARD, "transcribe", str(heard.recording), "-m", "sphinx"]
    there, here = os.pipe()
    os.close(there)
    done = subprocess.run(
        [*command, "--data", str(heard.data), "-q"],
        stdout=here,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=SURROUNDINGS,
    )
    os.close(here)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# ── what goes in and what comes out, with a quick engine ─────────────────────────────────────


def test_plain_words_on_standard_output_and_progress_on_the_other(
    clip: Path, hansard: Command, quick: QuickEngine
) -> None:
    ended = hansard("transcribe", clip, "-m", "sphinx")
    assert ended.code == 0
    assert ended.out.strip()
    assert "job " not in ended.out
    assert "clip.flac: job " in ended.err
    assert "clip.flac: done, 0:12 of audio" in ended.err
    assert quick.heard
    again = hansard("transcribe", clip, "-m", "sphinx", "--quiet")
    assert (again.out, again.err) == (ended.out, "")


def test_again_does_the_work_again(
    clip: Path, data: Path, hansard: Command, quick: QuickEngine
) -> None:
    first = hansard("transcribe", clip, "-m", "sphinx")
    once = quick.heard
    again = hansard("transcribe", clip, "-m", "sphinx", "--again")
    assert again.out == first.out
    assert quick.heard == 2 * once
    assert rows(data, "jobs") == 2
    assert rows(data, "recordings") == 1


def test_standard_input(clip: Path, hansard: Command, process: Command, quick: QuickEngine) -> None:
    named = hansard("transcribe", clip, "-m", "sphinx")
    heard = quick.heard
    piped = process("transcribe", "-", "-m", "sphinx", "--quiet", stdin=clip)
    assert piped.code == 0, piped.err
    assert piped.out == named.out
    assert quick.heard == heard


def test_a_directory_of_recordings(
    clip: Path, tmp_path: Path, speech: Audio, hansard: Command, quick: QuickEngine
) -> None:
    folder = tmp_path / "archive"
    (folder / "deeper").mkdir(parents=True)
    encoded(folder / "one.wav", speech[: 6 * 16_000], codec="pcm_s16le")
    encoded(folder / "deeper" / "two.ogg", speech[3 * 16_000 :], codec="libopus")
    shutil.copy(clip, folder / "three.flac")
    (folder / "notes.txt").write_text("Not a recording.")
    ended = hansard("transcribe", folder, "-m", "sphinx", "-o", tmp_path / "out", "-f", "srt")
    assert ended.code == 0
    written = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*"))
    assert [str(path) for path in written] == ["one.srt", "three.srt", "two.srt"]
    assert quick.heard
    several = hansard("transcribe", folder, "-m", "sphinx")
    assert [line for line in several.err.splitlines() if line.startswith("──")] == [
        "── two.ogg ──",
        "── one.wav ──",
        "── three.flac ──",
    ]


def test_recordings_of_one_name_keep_their_folders(
    speech: Audio, tmp_path: Path, hansard: Command, quick: QuickEngine
) -> None:
    names = ("2024/a/meeting.flac", "2025/a/meeting.flac", "2026/meeting.flac", "speech.flac")
    for number, name in enumerate((*names, "speech.wav")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = "flac" if path.suffix == ".flac" else "pcm_s16le"
        encoded(path, speech[number * 16_000 :], codec=codec)
    ended = hansard("transcribe", tmp_path / "in", "-m", "sphinx", "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    out = tmp_path / "out"
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert written == [
        "2024/a/meeting.txt",
        "2025/a/meeting.txt",
        "2026/meeting.txt",
        "speech.flac.txt",
        "speech.wav.txt",
    ]
    assert len({(out / name).read_text() for name in written}) == len(written)
    assert quick.heard


def test_a_videos_sound_and_its_other_track(
    speech: Audio, tmp_path: Path, hansard: Command, quick: QuickEngine
) -> None:
    first, second = speech[: 5 * 16_000], speech[5 * 16_000 :]
    film = encoded(tmp_path / "film.mkv", first, second, video=12.0)
    words = ("transcribe", film, "-m", "sphinx", "-f", "json")
    one = json.loads(hansard(*words).out)
    two = json.loads(hansard(*words, "--track", "1").out)
    assert one["seconds"] == pytest.approx(5, abs=0.2)
    assert two["seconds"] == pytest.approx(7, abs=0.2)
    assert one["id"] != two["id"]
    assert quick.heard


def test_one_speaker_in_each_channel(tmp_path: Path, hansard: Command, quick: QuickEngine) -> None:
    samples = decoded(SAMPLE)[: 24 * 16_000]
    stereo = np.stack([samples[: 12 * 16_000], samples[12 * 16_000 :]])
    path = encoded(tmp_path / "call.flac", stereo)
    words = ("transcribe", path, "-m", "sphinx", "-f", "json")
    mixed = json.loads(hansard(*words).out)
    apart = json.loads(hansard(*words, "--channels", "separate").out)
    assert {segment.get("channel", 0) for segment in mixed["segments"]} == {0}
    assert {segment.get("channel", 0) for segment in apart["segments"]} == {0, 1}
    assert apart["coverage"]["speech"] > mixed["coverage"]["speech"]
    starts = [segment["start"] for segment in apart["segments"]]
    assert starts == sorted(starts)
    assert quick.heard


def test_two_data_directories_give_the_same_bytes(
    clip: Path, tmp_path: Path, hansard: Command, quick: QuickEngine
) -> None:
    names = ("json", "docx", "srt", "verbose_json")
    asked = [word for name in names for word in ("-f", name)]
    for number in "12":
        words = ("--data", tmp_path / f"data{number}", "-o", tmp_path / f"out{number}")
        assert hansard("transcribe", clip, "-m", "sphinx", *asked, *words).code == 0
        time.sleep(0.01)  # another moment, which must not show
    first = {path.name: path.read_bytes() for path in (tmp_path / "out1").iterdir()}
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out2").iterdir()}
    assert len(first) == len(names)
    assert quick.heard


def test_an_old_output_is_replaced_whole(
    clip: Path, tmp_path: Path, hansard: Command, quick: QuickEngine
) -> None:
    target = tmp_path / "minutes.txt"
    target.write_text("old " * 10_000)
    target.chmod(0o640)
    assert hansard("transcribe", clip, "-m", "sphinx", "-o", target).code == 0
    assert "old" not in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o640
    assert quick.heard


def test_auto_without_models_says_so_once_and_uses_the_embedded_engine(
    clip: Path, tmp_path: Path, hansard: Command, quick: QuickEngine
) -> None:
    shutil.copy(clip, tmp_path / "other.flac")
    other = encoded(tmp_path / "third.flac", decoded(clip)[16_000:])
    ended = hansard("transcribe", clip, other, "--offline", "-o", tmp_path / "out")
    assert ended.code == 0
    assert ended.err.count("Using the built-in engine sphinx") == 1
    assert "hansard models" in ended.err
    assert quick.heard


# ── a remote engine ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    with serve() as server:
        monkeypatch.setenv("HANSARD_OPENAI__BASE_URL", server.url)
        monkeypatch.setenv("HANSARD_OPENAI__API_KEY", KEY)
        yield server


def test_a_remote_engine_and_what_it_costs(
    clip: Path, data: Path, endpoint: FakeOpenAI, hansard: Command
) -> None:
    refused(hansard("transcribe", clip, "-m", "openai", "--max-cost", "0.001"), "cost_too_high", 2)
    assert rows(data, "jobs") == 0
    assert endpoint.calls == []
    ended = hansard("transcribe", clip, "-m", "openai", "-l", "en", "--max-cost", "1", "-f", "json")
    assert ended.code == 0, ended.err
    transcript = json.loads(ended.out)
    assert transcript["engine"] == "openai"
    heard = sum(call.seconds for call in endpoint.calls)
    assert transcript["cost"] == pytest.approx(heard / 60 * 0.006, rel=0.01)


def test_a_remote_engine_that_refuses_the_key(
    clip: Path, data: Path, endpoint: FakeOpenAI, hansard: Command
) -> None:
    endpoint.key = "another"
    refused(hansard("transcribe", clip, "-m", "openai"), "engine_refused", 4)
    assert rows(data, "jobs") == 0


def test_a_remote_engine_that_does_not_answer(
    clip: Path, data: Path, hansard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANSARD_OPENAI__BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HANSARD_OPENAI__API_KEY", KEY)
    refused(hansard("transcribe", clip, "-m", "openai"), "engine_unreachable", 4)
    assert rows(data, "jobs") == 0
