"""Recordings that cannot be used: a code, a sentence, a hint, an exit code, and nothing left."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import (
    ROOT,
    Audio,
    Command,
    encoded,
    refused,
    remains,
    rows,
    scraps,
)
from tests.quick import QuickEngine

Look = Callable[[], list[str]]


# ── what each case is made of ────────────────────────────────────────────────────────────────


def empty(folder: Path, speech: Audio) -> Path:
    del speech
    path = folder / "empty.wav"
    path.touch()
    return path


def text_named_mp3(folder: Path, speech: Audio) -> Path:
    del speech
    path = folder / "notes.mp3"
    path.write_text("Minutes of the meeting: nothing was decided.\n" * 50)
    return path


def noise_bytes(folder: Path, speech: Audio) -> Path:
    del speech
    path = folder / "noise.mp3"
    path.write_bytes(np.random.default_rng(1).bytes(50_000))
    return path


def cut(name: str, codec: str, share: float = 0.5) -> Callable[[Path, Audio], Path]:
    def make(folder: Path, speech: Audio) -> Path:
        path = encoded(folder / name, speech, codec=codec)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        return path

    make.__name__ = f"cut_{name.replace('.', '_')}"
    return make


def video_only(folder: Path, speech: Audio) -> Path:
    del speech
    return encoded(folder / "silent film.mp4", video=2.0)


def no_time_at_all(folder: Path, speech: Audio) -> Path:
    del speech
    path = folder / "nothing.wav"
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16
    )
    path.write_bytes(head + struct.pack("<4sI", b"data", 0))
    return path


def silence(folder: Path, speech: Audio) -> Path:
    del speech
    return encoded(folder / "muted.flac", np.zeros(60 * 16_000, np.int16))


def twelve_hours_of_silence(folder: Path, speech: Audio) -> Path:
    """A sparse file: 86 MB by its size, next to nothing on the disk."""
    del speech
    path = folder / "night.wav"
    rate, seconds = 1000, 12 * 3600
    size = rate * 2 * seconds
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
    head += struct.pack("<HHIIHH4sI", 1, 1, rate, rate * 2, 2, 16, b"data", size)
    with path.open("wb") as out:
        out.write(head)
        out.truncate(len(head) + size)
    return path


def missing(folder: Path, speech: Audio) -> Path:
    del speech
    return folder / "gone.wav"


def folder_without_media(folder: Path, speech: Audio) -> Path:
    del speech
    place = folder / "papers"
    place.mkdir()
    (place / "minutes.txt").write_text("Nothing.")
    (place / "not really.mp3").write_text("Nothing either.")
    return place


CASES = [
    (empty, "empty_file"),
    (text_named_mp3, "not_media"),
    (noise_bytes, "not_media"),
    (cut("cut.wav", "pcm_s16le"), "truncated"),
    (cut("cut.flac", "flac"), "truncated"),
    (cut("cut.m4a", "aac"), "truncated"),
    (cut("cut.mp4", "aac"), "truncated"),
    (cut("cut.mka", "flac"), "truncated"),
    (video_only, "no_audio"),
    (no_time_at_all, "zero_length"),
    (silence, "silent"),
    (twelve_hours_of_silence, "silent"),
    (missing, "not_found"),
    (folder_without_media, "no_media_in_directory"),
]


@pytest.mark.parametrize(("make", "code"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_refused_with_nothing_left(
    *,
    make: Callable[[Path, Audio], Path],
    code: str,
    tmp_path: Path,
    speech: Audio,
    hansard: Command,
    nothing_left: Look,
) -> None:
    path = make(tmp_path, speech)
    ended = hansard("transcribe", path, "--model", "sphinx", "-o", tmp_path / "out" / "x.txt")
    refused(ended, code, 3)
    assert nothing_left() == []
    if make is not twelve_hours_of_silence:  # heard to the end once is enough
        assert hansard("check", path, "--model", "sphinx").code == 3


@pytest.mark.parametrize("make", [empty, text_named_mp3, missing])
def test_the_same_from_a_process_of_its_own(
    *,
    make: Callable[[Path, Audio], Path],
    tmp_path: Path,
    speech: Audio,
    process: Command,
    nothing_left: Look,
) -> None:
    refused(
        process("transcribe", make(tmp_path, speech), "--model", "sphinx"),
        {code for other, code in CASES if other is make}.pop(),
        3,
    )
    assert nothing_left() == []


def test_a_noise_without_speech_fails_as_a_job_and_leaves_no_prepared_audio(
    tmp_path: Path, data: Path, hansard: Command
) -> None:
    """Only listening can tell, so there is a job; what it is kept for is to be tried again."""
    hiss = np.random.default_rng(1).normal(0, 800, 16_000 * 20).astype(np.int16)
    path = encoded(tmp_path / "hiss.flac", hiss)
    refused(hansard("transcribe", path, "--model", "sphinx"), "silent", 3)
    assert rows(data, "jobs") == 1
    assert scraps(data) == []


@pytest.mark.parametrize("name", ["really ogg.mp3", "no ending", "wrong.txt"])
def test_a_wrong_ending_is_no_matter(
    *, name: str, tmp_path: Path, speech: Audio, hansard: Command, quick: QuickEngine
) -> None:
    path = encoded(tmp_path / "x.ogg", speech, codec="libopus").rename(tmp_path / name)
    ended = hansard("transcribe", path, "--model", "sphinx")
    assert ended.code == 0
    assert ended.out.strip()
    assert quick.heard


def test_one_bad_file_among_several_does_not_hold_up_the_others(
    *, tmp_path: Path, speech: Audio, clip: Path, data: Path, hansard: Command, quick: QuickEngine
) -> None:
    bad = [empty(tmp_path, speech), video_only(tmp_path, speech), tmp_path / "gone.wav"]
    ended = hansard("transcribe", bad[2], *bad[:2], clip, "-m", "sphinx", "-o", tmp_path / "out")
    assert ended.code == 3
    for code in ("empty_file", "no_audio", "not_found"):
        assert f"[{code}]" in ended.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.txt"]
    assert rows(data, "jobs") == rows(data, "recordings") == 1
    assert scraps(data) == []
    assert quick.heard


# ── files and places that may not be used ────────────────────────────────────────────────────


def without_rights(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line without the superuser's right to pass over permissions.

    An ordinary user has no such right to begin with.
    """

    def give_up_rights() -> None:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                os._exit(77)

    done = subprocess.run(
        [sys.executable, "-m", "hansard", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        preexec_fn=give_up_rights if os.geteuid() == 0 else None,
    )
    if done.returncode == 77:
        pytest.skip("the superuser cannot give up its rights here")
    return done


def test_a_file_that_may_not_be_read(tmp_path: Path, clip: Path, data: Path) -> None:
    secret = tmp_path / "secret.flac"
    shutil.copy(clip, secret)
    secret.chmod(0)
    done = without_rights(tmp_path, "transcribe", secret, "--model", "sphinx")
    assert done.returncode == 3, done.stderr
    assert "secret.flac cannot be read: Permission denied. [unreadable]" in done.stderr
    assert "hint: " in done.stderr
    assert remains(data) == []


@pytest.mark.parametrize("place", ["closed/x.txt", "closed/deeper/x.txt", "closed"])
def test_an_output_that_may_not_be_written(
    place: str, tmp_path: Path, clip: Path, data: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = without_rights(tmp_path, "transcribe", clip, "-m", "sphinx", "-o", tmp_path / place)
    assert done.returncode == 5, done.stderr
    assert "[cannot_write]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(closed.iterdir())
    assert remains(data) == []


def test_a_data_directory_that_may_not_be_made(tmp_path: Path, clip: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = without_rights(tmp_path, "transcribe", clip, "-m", "sphinx", "--data", closed / "data")
    assert done.returncode == 5, done.stderr
    assert "[cannot_write]" in done.stderr
    assert list(closed.iterdir()) == []


def test_an_output_below_a_file(
    tmp_path: Path, clip: Path, hansard: Command, nothing_left: Look
) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file/x.txt", "file/deeper/x.txt"):
        ended = hansard("transcribe", clip, "--model", "sphinx", "-o", tmp_path / place)
        refused(ended, "cannot_write", 5)
    assert nothing_left() == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_data_directory_below_a_file(tmp_path: Path, clip: Path, hansard: Command) -> None:
    (tmp_path / "file").write_text("mine")
    for command in (("transcribe", clip), ("jobs", "list"), ("export", "x")):
        ended = hansard(*command, "--data", tmp_path / "file" / "data")
        refused(ended, "cannot_write", 5)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own; only the superuser may make one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip("a disk that is full cannot be made here: mounting one is not allowed")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_under_the_data_directory_is_seen_beforehand(
    tmp_path: Path, clip: Path, hansard: Command
) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        ended = hansard("transcribe", clip, "--model", "sphinx", "--data", disk / "data")
        refused(ended, "disk_full", 5)
        assert remains(disk / "data") == []


@pytest.mark.parametrize("kilobytes", [40, 700, 1100, 1300])
def test_a_disk_that_fills_up_in_the_middle(
    *,
    kilobytes: int,
    tmp_path: Path,
    speech: Audio,
    hansard: Command,
    quick: QuickEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it happens: said in so many words, no traceback, and it goes on with more room."""
    monkeypatch.setenv("HANSARD_LIMITS__DISK_RESERVE", "0")
    monkeypatch.setattr("hansard.transcription._see_that_it_fits", lambda *_: None)
    path = encoded(tmp_path / "long.flac", np.tile(speech, 3))
    words = ("transcribe", path, "--model", "sphinx", "--data", tmp_path / "disk" / "data")
    with small_disk(tmp_path / "disk", f"{kilobytes}k") as disk:
        refused(hansard(*words), "disk_full", 5)
        assert [name for name in scraps(disk / "data") if name.startswith("tmp")] == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        if rows(disk / "data", "jobs") == 0:
            assert remains(disk / "data") == []
        ended = hansard(*words)
        assert ended.code == 0, ended.err
        assert scraps(disk / "data") == []
    assert quick.heard


def test_a_full_disk_under_the_outputs(
    *, tmp_path: Path, clip: Path, data: Path, hansard: Command, quick: QuickEngine
) -> None:
    with small_disk(tmp_path / "disk", "8k") as disk:
        words = ("transcribe", clip, "-m", "sphinx", "-o", disk)
        refused(hansard(*words, "-f", "docx"), "disk_full", 5)
        assert list(disk.iterdir()) == []
        heard = quick.heard
        assert hansard(*words, "-f", "txt").code == 0
    assert quick.heard == heard, "the transcript was in the store all the time"
    assert scraps(data) == []


# ── the store and the settings ───────────────────────────────────────────────────────────────


def test_a_store_of_a_newer_version(clip: Path, data: Path, hansard: Command) -> None:
    assert hansard("jobs", "list").code == 0
    store = sqlite3.connect(data / "hansard.db")
    with store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    refused(hansard("transcribe", clip, "--model", "sphinx"), "store_broken", 5)
    refused(hansard("jobs", "list"), "store_broken", 5)
    assert scraps(data) == []


def test_a_store_that_is_no_database(clip: Path, data: Path, hansard: Command) -> None:
    data.mkdir()
    (data / "hansard.db").write_text("This is a shopping list, not a database.\n" * 40)
    refused(hansard("transcribe", clip, "--model", "sphinx"), "store_broken", 5)
    assert (data / "hansard.db").read_text().startswith("This is a shopping list")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HANSARD_VAD__THRESHOLD", "7", "vad.threshold"),
        ("HANSARD_VAD__TRESHOLD", "0.7", "vad.treshold"),
        ("HANSARD_MODLE", "small", "Did you mean HANSARD_MODEL"),
        ("HANSARD_PREFER", "cheap", "prefer"),
        ("HANSARD_OPENAI__PRICES", "{not json", "openai"),
        ("HANSARD_LIMITS", "[]", "limits"),
    ],
)
def test_settings_that_make_no_sense(
    *, name: str, value: str, said: str, hansard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    ended = hansard("jobs", "list")
    refused(ended, "bad_settings", 2)
    assert said in ended.err


@pytest.mark.parametrize(
    "text", ["broken [", "nonsense = 1", '[vad]\nthreshold = "loud"', "model = 7", "[vad]\nx = 1"]
)
def test_a_settings_file_that_makes_no_sense(text: str, tmp_path: Path, hansard: Command) -> None:
    (tmp_path / "hansard.toml").write_text(text)
    refused(hansard("jobs", "list"), "bad_settings", 2)


def test_a_settings_file_is_read(tmp_path: Path, hansard: Command) -> None:
    (tmp_path / "hansard.toml").write_text(f'data = "{tmp_path}/elsewhere"')
    del os.environ["HANSARD_DATA"]  # the fixture that set it puts it back
    assert hansard("jobs", "list").code == 0
    assert (tmp_path / "elsewhere" / "hansard.db").exists()


# ── the words of the call ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("--model", "enormous"), "unknown_model", 2),
        (("--model", "whisper:/nowhere/at/all"), "not_found", 3),
        (("--model", "small", "--offline"), "model_missing", 4),
        (("--model", "sphinx", "--language", "de"), "not_supported", 2),
        (("--model", "auto", "--language", "de", "--offline"), "not_supported", 2),
        (("--model", "sphinx", "--translate"), "not_supported", 2),
        (("--model", "sphinx", "--prompt", "Minutes."), "not_supported", 2),
        (("--model", "sphinx", "--hotwords", "Hansard"), "not_supported", 2),
        (("--model", "openai", "--offline"), "engine_refused", 4),
        (("--model", "openai", "--max-cost", "0.0001"), "cost_too_high", 2),
        (("--model", "sphinx", "--track", "4"), "no_such_track", 3),
        (("--model", "sphinx", "--format", "pdf"), "unknown_format", 2),
        (("--model", "sphinx", "-f", "txt", "-f", "srt"), "usage", 2),
        (("--model", "sphinx", "-f", "txt", "-f", "srt", "-o", "a file"), "usage", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_asked(
    *,
    arguments: tuple[str, ...],
    code: str,
    exit_code: int,
    clip: Path,
    tmp_path: Path,
    hansard: Command,
    nothing_left: Look,
) -> None:
    (tmp_path / "a file").write_text("mine")
    refused(hansard("transcribe", clip, *arguments), code, exit_code)
    assert nothing_left() == []
    assert (tmp_path / "a file").read_text() == "mine"


def test_one_file_for_several_recordings(
    tmp_path: Path, clip: Path, hansard: Command, nothing_left: Look
) -> None:
    shutil.copy(clip, tmp_path / "other.flac")
    (tmp_path / "both.txt").write_text("mine")
    words = ("transcribe", clip, tmp_path / "other.flac", "--model", "sphinx")
    refused(hansard(*words, "-o", tmp_path / "both.txt"), "usage", 2)
    assert nothing_left() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe",),
        ("transcribe", "x", "--priority", "12"),
        ("transcribe", "x", "--prefer", "cheap"),
        ("transcribe", "x", "--max-cost", "-1"),
        ("transcribe", "x", "--no-such-option"),
        ("jobs", "list", "--state", "nonsense"),
        ("jobs", "show"),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_words_that_mean_nothing(arguments: tuple[str, ...], hansard: Command) -> None:
    ended = hansard(*arguments)
    assert ended.code == 2
    assert "Error: " in ended.err
    assert "-h" in ended.err


# ── addresses ────────────────────────────────────────────────────────────────────────────────


class Pages(BaseHTTPRequestHandler):
    """A web site with everything that can go wrong."""

    recording: bytes

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        answers: dict[str, tuple[int, dict[str, str], bytes]] = {
            "/loop": (302, {"Location": "/loop"}, b""),
            "/page": (200, {"Content-Type": "text/html"}, b"<html>Log in</html>"),
            "/empty.mp3": (200, {"Content-Length": "0"}, b""),
            "/cut.flac": (200, {"Content-Length": "1000000"}, self.recording),
            "/clip.flac": (200, {"Content-Length": str(len(self.recording))}, self.recording),
            "/moved": (301, {"Location": "/clip.flac"}, b""),
            "/text.mp3": (200, {}, b"not sound at all " * 100),
        }
        status, heads, body = answers.get(self.path, (404, {}, b"gone"))
        self.send_response(status)
        for name, value in heads.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def site(clip: Path) -> Iterator[str]:
    pages = type("Pages", (Pages,), {"recording": clip.read_bytes()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), pages)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("page", "code"),
    [
        ("/loop", "too_many_redirects"),
        ("/nowhere.mp3", "fetch_failed"),
        ("/page", "fetch_failed"),
        ("/empty.mp3", "empty_file"),
        ("/cut.flac", "fetch_failed"),
        ("/text.mp3", "not_media"),
    ],
)
def test_an_address_that_gives_no_recording(
    *, page: str, code: str, site: str, hansard: Command, nothing_left: Look
) -> None:
    refused(hansard("transcribe", site + page, "--model", "sphinx"), code, 3)
    assert nothing_left() == []


def test_an_address_where_nobody_answers(hansard: Command, nothing_left: Look) -> None:
    refused(hansard("transcribe", "http://127.0.0.1:9/x.mp3", "-m", "sphinx"), "fetch_failed", 3)
    refused(hansard("transcribe", "ftp://127.0.0.1/x.mp3", "-m", "sphinx"), "usage", 2)
    assert nothing_left() == []


def test_an_address_that_gives_one(
    site: str, clip: Path, hansard: Command, quick: QuickEngine
) -> None:
    fetched = hansard("transcribe", f"{site}/moved", "--model", "sphinx", "--format", "json")
    assert fetched.code == 0
    assert json.loads(fetched.out)["name"] == "clip.flac"
    heard = quick.heard
    local = hansard("transcribe", clip, "--model", "sphinx", "--format", "json")
    assert local.out == fetched.out
    assert quick.heard == heard, "the same bytes are the same recording"
