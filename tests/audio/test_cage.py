"""The cage: the same answers as without, and whatever a file does, it does to itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from tests.audio.conftest import MakeMedia
from tests.waiting import until

from hansard import telemetry
from hansard.audio import cage as cage_module
from hansard.audio import caged, decode, levels, probe, walls
from hansard.audio.cage import Cage
from hansard.config import CageSettings, LimitSettings
from hansard.errors import (
    CageBroken,
    EmptyFile,
    HansardError,
    HostileMedia,
    NoSuchTrack,
    NotFound,
    NotMedia,
    TooLong,
    TooManyTracks,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import hostile  # a script, not a package

LIMITS = LimitSettings()

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="walls of Linux")


@pytest.fixture(scope="module")
def cage() -> Iterator[Cage]:
    with Cage(CageSettings()) as cage:
        yield cage


def voice(seconds: float, rate: int = 48_000) -> Any:
    clock = np.arange(int(seconds * rate))
    return (
        np.sin(clock * 0.05) * 9000 + np.random.default_rng(1).normal(0, 800, len(clock))
    ).astype(np.int16)


@pytest.fixture
def media(make_media: MakeMedia) -> list[Path]:
    """Files of several kinds; the last is long enough to be sampled."""
    return [
        make_media("a.flac", "flac", voice(3)),
        make_media(
            "b.m4a", "aac", np.stack([voice(45, 44_100), voice(45, 44_100) // 3]), rate=44_100
        ),
        make_media("c.mkv", "flac", voice(2), voice(5) // 100),
    ]


# ── the same as without ──────────────────────────────────────────────────────────────────────


def test_answers_samples_and_counts_are_the_same(cage: Cage, media: list[Path]) -> None:
    for path in media:
        for track in (0, 1) if path.suffix == ".mkv" else (0,):
            telemetry.reset()
            fit = probe.preflight(path, track=track, limits=LIMITS)
            openly = telemetry.snapshot().counters
            telemetry.reset()
            assert cage.preflight(path, track=track, limits=LIMITS) == fit
            assert telemetry.snapshot().counters == openly
            enhance = levels.enhancement(fit.levels)
            assert (enhance is not None) == fit.enhance
            for channels in ("mix", "separate"):
                ours = cage.blocks(
                    path, track=track, channels=channels, enhance=enhance, limits=LIMITS
                )
                theirs = decode.blocks(path, track=track, channels=channels, enhance=enhance)
                for caged_block, block in zip(ours, theirs, strict=True):
                    assert caged_block.dtype == block.dtype
                    assert np.array_equal(caged_block, block)


def test_refusals_are_the_same(cage: Cage, media: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound here " * 100)
    empty = tmp_path / "empty.wav"
    empty.touch()
    short = LimitSettings(seconds=1.0)
    many = LimitSettings(tracks=1)
    cases: list[tuple[type[HansardError], Path, dict[str, Any]]] = [
        (NotFound, tmp_path / "none.wav", {}),
        (EmptyFile, empty, {}),
        (NotMedia, text, {}),
        (NoSuchTrack, media[0], {"track": 3}),
        (TooLong, media[0], {"limits": short}),
        (TooManyTracks, media[2], {"limits": many}),
    ]
    for kind, path, special in cases:
        given = {"limits": LIMITS, **special}
        with pytest.raises(kind) as ours:
            cage.preflight(path, **given)
        with pytest.raises(kind) as theirs:
            probe.preflight(path, **given)
        assert ours.value.failure() == theirs.value.failure()


def test_what_is_logged_inside_is_logged_here(
    cage: Cage, make_media: MakeMedia, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_media("a.flac", "flac", voice(1))
    ask = caged.Ask("preflight", path.name, caged.Bounds(9, 9**9, 9), 2**30, 9, 9)
    with path.open("rb") as file, caplog.at_level("INFO"):
        line = caged.Line("hansard.audio.decode", 30, "a jump")
        said = iter([(caged.LOG, bytearray(msgspec.msgpack.encode(line)))])

        class Fork:
            def message(self) -> tuple[bytes, bytearray]:
                return next(said, (caged.DONE, bytearray()))

        class Begun:
            def __enter__(self) -> Fork:
                return Fork()

            def __exit__(self, *_: object) -> None: ...

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cage, "_begun", lambda *_: Begun())
            assert [letter for letter, _ in cage._answers(ask, file.fileno())] == [caged.DONE]
    assert "a jump" in caplog.text


def test_many_files_at_once(cage: Cage, media: list[Path]) -> None:
    expected = [probe.preflight(path, limits=LIMITS) for path in media]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: cage.preflight(path, limits=LIMITS), media * 6))
    assert answers == expected * 6


# ── limits ───────────────────────────────────────────────────────────────────────────────────


def behaving(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the forks of cages that start from now on run ``code`` instead of preflight."""
    boot = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        "import os, signal, socket, ctypes, time\n"
        "from hansard.audio import caged, probe\n"
        "real = probe.preflight\n"
        "def preflight(path, **given):\n"
        "    if path.name == 'trial.wav': return real(path, **given)\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "    return real(path, **given)\n"
        "probe.preflight = preflight\n"
        "caged.main(int(sys.argv[2]))\n"
    )
    monkeypatch.setattr(cage_module, "_BOOT", boot)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("held = []\nwhile True: held.append(bytearray(10_000_000))", "MB of memory"),
        ("while True: pass", "processor time"),
        ("time.sleep(100)", "gives nothing more"),
        ("ctypes.string_at(0)", "crashed"),
        ("os._exit(3)", "status 3"),
        ("raise RuntimeError('what is this')", "does not expect"),
        ("os.write(4, b'?' * 100)", "does not say"),
        ("os.write(4, caged.HEAD.pack(b'F', 2**31))", "does not say"),
        ("os.write(4, caged.HEAD.pack(b'F', 3) + b'abc')", "does not say"),
    ],
)
def test_a_limit_that_is_broken_is_named(
    code: str, said: str, make_media: MakeMedia, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaving(monkeypatch, code)
    path = make_media("bad.flac", "flac", voice(1))
    if "sleep" not in code:  # on a busy machine the wall clock would come first
        monkeypatch.setattr(cage_module, "_SLOWER", 100.0)
    settings = CageSettings(memory=200 * 2**20, seconds=0.3, factor=0)
    with Cage(settings) as cage:
        for _ in range(2):
            with pytest.raises(HostileMedia) as caught:
                cage.preflight(path, limits=LIMITS)
            assert said in caught.value.message
            assert "bad.flac" in caught.value.message
            assert caught.value.hint


@linux
@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/hostname').read()",
        "open('written', 'w')",
        "os.listdir('/')",
        "os.unlink('kept')",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), signal.SIGTERM)",
        "os.memfd_create('x')",
        "os.mkdir('made')",
        "os.ftruncate(3, 0)",
    ],
)
def test_the_right_to_do_harm_is_given_up(
    code: str, make_media: MakeMedia, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if walls.missing():
        pytest.skip("this machine has no filter of system calls")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").touch()
    path = make_media("a.flac", "flac", voice(1))
    before = sorted(tmp_path.iterdir())
    behaving(
        monkeypatch,
        f"try: {code}\nexcept OSError as error: said = type(error).__name__\n"
        "else: raise RuntimeError('it could')\n"
        "assert said == 'PermissionError', said",
    )
    with Cage(CageSettings()) as cage:
        assert cage.preflight(path, limits=LIMITS).seconds == 1.0
    assert sorted(tmp_path.iterdir()) == before


@linux
def test_a_machine_that_wants_no_filter_is_told_of_once_and_works(
    make_media: MakeMedia, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        cage_module,
        "_BOOT",
        "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        "from hansard.audio import caged, walls\n"
        "walls._CALLS = {name: (60,) for name in walls._CALLS}\n"
        "caged.main(int(sys.argv[2]))\n",
    )
    path = make_media("a.flac", "flac", voice(1))
    with Cage(CageSettings()) as cage:
        for _ in range(2):
            assert cage.preflight(path, limits=LIMITS).seconds == 1.0
    assert caplog.text.count("filter of system calls") == 1


def test_more_audio_than_allowed_is_cut_off(
    cage: Cage, make_media: MakeMedia, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cage_module, "_BEYOND", 0.0)
    path = make_media("a.flac", "flac", voice(45))
    with pytest.raises(HostileMedia, match="more audio"):
        list(cage.blocks(path, limits=LimitSettings(seconds=10), seconds=1.0))


# ── nothing stays ────────────────────────────────────────────────────────────────────────────


def forks(cage: Cage) -> list[psutil.Process]:
    """The processes that read files now."""
    assert cage._keeper is not None
    return psutil.Process(cage._keeper.process.pid).children()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_whoever_stops_reading_ends_the_fork(make_media: MakeMedia) -> None:
    path = make_media("a.flac", "flac", voice(120))
    before, others = psutil.Process().num_fds(), children()
    with Cage(CageSettings()) as cage:
        cage.missing()
        blocks = cage.blocks(path, limits=LIMITS)
        next(blocks)
        assert len(forks(cage)) == 1
        blocks.close()
        until(lambda: not forks(cage))
        assert len(list(cage.blocks(path, limits=LIMITS))) == 6
        until(lambda: not forks(cage))
    until(lambda: children() <= others, "nobody is left")
    until(lambda: psutil.Process().num_fds() <= before, "nothing is open")


def test_a_slow_reader_is_waited_for(make_media: MakeMedia) -> None:
    path = make_media("a.flac", "flac", voice(200))
    with Cage(CageSettings(seconds=0.3, factor=1)) as cage:
        total = 0
        for block in cage.blocks(path, limits=LIMITS, seconds=200):
            if not total:
                time.sleep(2.5)  # longer than its wall clock
            total += block.shape[1]
    assert total == 200 * 16_000


def test_a_cage_that_was_killed_is_built_anew(make_media: MakeMedia) -> None:
    path = make_media("a.flac", "flac", voice(300))
    others = children()
    with Cage(CageSettings()) as cage:
        blocks = cage.blocks(path, limits=LIMITS)
        next(blocks)
        assert cage._keeper is not None
        cage._keeper.process.kill()
        with pytest.raises(CageBroken):
            list(blocks)
        assert cage.preflight(path, limits=LIMITS).seconds == 300.0
    until(lambda: children() <= others, "nobody is left")
    with pytest.raises(CageBroken):
        cage.preflight(path, limits=LIMITS)


def test_a_warm_cage_that_is_closed_at_once_leaves_nothing() -> None:
    others = children()
    for _ in range(2):
        cage = Cage(CageSettings())
        cage.warm()
        cage.close()
        cage.close()
    until(lambda: children() <= others, "nobody is left")


def test_it_ends_with_who_started_it(make_media: MakeMedia) -> None:
    path = make_media("a.flac", "flac", voice(300))
    code = (
        "import sys; from pathlib import Path; from hansard.audio.cage import Cage\n"
        "from hansard.config import CageSettings, LimitSettings\n"
        "cage = Cage(CageSettings())\n"
        "blocks = cage.blocks(Path(sys.argv[1]), limits=LimitSettings())\n"
        "next(blocks); print('going', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"going\n"
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) == 2
    process.kill()
    process.communicate()
    until(lambda: not any(one.is_running() and one.status() != "zombie" for one in below))


def test_a_script_without_a_main_guard_is_not_run_again(
    make_media: MakeMedia, tmp_path: Path
) -> None:
    path = make_media("a.flac", "flac", voice(1))
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nimport sys\nfrom pathlib import Path\n"
        "from hansard.audio.cage import Cage\n"
        "from hansard.config import CageSettings, LimitSettings\n"
        "with Cage(CageSettings()) as cage:\n"
        "    print(cage.preflight(Path(sys.argv[1]), limits=LimitSettings()).seconds)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["once", "1.0"]
    assert not done.stderr


# ── hostile files ────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_hostile_files_end_as_errors_or_recordings() -> None:
    others = children()
    tally = hostile.run(300, seed=11)
    assert not tally.broken
    assert tally.calls == 0
    assert sum(tally.outcomes.values()) == 300
    assert tally.outcomes["accepted"] > 0
    assert tally.outcomes["not_media"] > 0
    for before, after in (tally.grown["descriptors"], tally.grown["processes"]):
        assert after <= before + 1
    until(lambda: children() <= others, "nobody is left")
