"""What is shown while work goes on: figures, lines, and the live display."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import ROOT

from hansard.cli import display
from hansard.errors import NoAudio
from hansard.jobs.progress import Heard, Progress
from hansard.model import SAMPLE_RATE, Failure, Job, JobState, Levels, Options, Prepared

LEVELS = Levels(
    measured=1, rms=-20, peak=-3, noise=-60, dynamic_range=40, dc_offset=0.0, clipped=0.0
)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time for everything in the display."""
    made = Clock()
    monkeypatch.setattr("hansard.cli.display.time.monotonic", made)
    monkeypatch.setattr("hansard.cli.display.Pace.__init__.__defaults__", (made,))
    return made


def at(done: float, seconds: float = 100.0, *, whole: bool = True, **job: object) -> Progress:
    """A moment of a job of ``seconds`` of speech, of which ``done`` are heard."""
    state: dict[str, object] = {"state": "running", "step": "listen"} | job
    prepared = Prepared(int(200 * SAMPLE_RATE), 1, LEVELS, speech=int(seconds * SAMPLE_RATE))
    made = Job(
        id="1abc",
        kind="transcribe",
        priority=5,
        recording="f" * 64,
        options=Options("sphinx", "en-us"),
        levels=LEVELS,
        created=0.0,
        prepared=prepared if whole else None,
        **state,  # type: ignore[arg-type] # fields given by name
    )
    return Progress(made, 200.0 if whole else 50.0, 10, int(done / 10), seconds, done)


# ── speed ────────────────────────────────────────────────────────────────────────────────────


def test_pace_counts_from_the_first_look() -> None:
    clock = Clock()
    pace = display.Pace(clock)
    assert (pace.overall, pace.recent, pace.trend) == (0.0, 0.0, " ")
    pace.note(40.0)  # done before this run, which gets no credit for it
    assert (pace.overall, pace.recent, pace.trend) == (0.0, 0.0, " ")
    clock.now += 2
    pace.note(50.0)
    assert pace.overall == pace.recent == 5.0
    assert pace.trend == "→"


@pytest.mark.parametrize(("later", "trend"), [(8.0, "↑"), (2.0, "↓"), (4.1, "→"), (0.0, " ")])
def test_pace_compares_the_last_seconds_with_all(later: float, trend: str) -> None:
    clock = Clock()
    pace = display.Pace(clock)
    done = 0.0
    for second in range(60):
        pace.note(done)
        clock.now += 1
        done += 4.0 if second < 40 else later
    pace.note(done)
    assert pace.recent == pytest.approx(later)
    assert pace.trend == trend


def test_pace_never_runs_backwards() -> None:
    """Windows may be added in a second hearing; what is done is only ever more, but be safe."""
    clock = Clock()
    pace = display.Pace(clock)
    pace.note(10.0)
    clock.now += 1
    pace.note(5.0)
    assert pace.overall == pace.recent == 0.0


def test_pace_keeps_little_of_a_long_run() -> None:
    clock = Clock()
    pace = display.Pace(clock)
    for _ in range(10_000):
        clock.now += 0.1
        pace.note(clock.now)
    assert len(pace._trail) < 110


def test_the_speech_there_will_be() -> None:
    assert display.estimate(at(0, 80.0), 200.0) == 80.0
    assert display.estimate(at(0, 20.0, whole=False), 200.0) == 80.0  # 20 s in the first quarter
    assert display.estimate(at(0, 20.0, whole=False), None) == 20.0
    assert display.estimate(at(0, 20.0, whole=False), 30.0) == 20.0  # the header was wrong


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3599.7, "1:00:00")]
)
def test_clock(seconds: float, said: str) -> None:
    assert display.clock(seconds) == said


# ── lines ────────────────────────────────────────────────────────────────────────────────────


def story(shown: display.Display, clock: Clock) -> None:
    """A recording from its beginning to its end, as the command tells it."""
    with shown.running():
        shown.notice("Using the built-in engine [sphinx].")
        shown.submitted("a very long name of a recording [1].mp3", "1abc", 200.0)
        for step in range(10):
            clock.now += 1.0
            words = f"the words of [window] {step}"
            shown.heard(
                "a very long name of a recording [1].mp3", Heard(step, step + 1, 0, 20.0, words)
            )
            shown.progress("a very long name of a recording [1].mp3", at(step * 10.0))
            bars = getattr(shown, "_bars", None)
            if bars is not None:
                bars.refresh()
        ended = at(100.0, step="finish", state="completed", finished=9.0)
        shown.completed("a very long name of a recording [1].mp3", ended, ["out/minutes.txt"])
        error = NoAudio("There is no audio in b.mp4.", hint="Is it the right file?")
        shown.failed("b.mp4", error, "1xyz")


def test_plain_lines(clock: Clock) -> None:
    out = io.StringIO()
    story(display.Plain(out), clock)
    lines = out.getvalue().splitlines()
    name = "a very long name of a recording [1].mp3"
    assert lines[0] == "Using the built-in engine [sphinx]."
    assert lines[1] == f"{name}: job 1abc, 3:20 long"
    assert lines[2] == "[0:20] the words of [window] 0"
    figures = [line for line in lines if "transcribing" in line]
    # Each five seconds: at 40 of 100 seconds done, then at 90, ten a second all the time.
    assert figures == [
        f"{name}: transcribing, 4/10 windows, 40%, 10.0x real time →, 0:06 left",
        f"{name}: transcribing, 9/10 windows, 90%, 10.0x real time →, 0:01 left",
    ]
    assert lines[-4] == f"{name}: done, 3:20 of audio, 10.0x real time → out/minutes.txt"
    assert lines[-3:] == [
        "b.mp4: error: There is no audio in b.mp4. [no_audio]",
        "  hint: Is it the right file?",
        "  `hansard jobs show 1xyz` has the history.",
    ]


def test_quiet_says_what_went_wrong_alone(clock: Clock) -> None:
    out = io.StringIO()
    story(display.Silent(out), clock)
    assert out.getvalue().startswith("b.mp4: error: ")


@pytest.mark.parametrize("state", ["queued", "running", "retrying"])
def test_every_state_has_words(state: JobState, clock: Clock) -> None:
    for step in ("prepare", "listen", "finish"):
        out = io.StringIO()
        plain = display.Plain(out, every=0.0)
        plain.submitted("x", "1abc", None)
        why = Failure("engine_busy", "The endpoint asks to slow down.")
        failure = why if state == "retrying" else None
        plain.progress("x", at(0, step=step, state=state, failure=failure, whole=False))
        said = out.getvalue().splitlines()[-1]
        assert ("slow down" in said) == (state == "retrying")
        assert clock.now


# ── live ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], io.StringIO]:
    """Makes standard error a terminal of a width, and gives what is written to it."""

    def make(width: int) -> io.StringIO:
        out = io.StringIO()
        out.isatty = lambda: True  # type: ignore[method-assign] # a terminal, by its own word
        monkeypatch.setattr(sys, "stderr", out)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.delenv("NO_COLOR", raising=False)
        return out

    return make


def test_the_live_display_shows_all_there_is_to_know(
    terminal: Callable[[int], io.StringIO], clock: Clock
) -> None:
    out = terminal(200)
    story(display.Live(), clock)
    shown = out.getvalue()
    assert "a very long …cording [1].mp3" in shown
    for piece in ("transcribing", "9/10 windows", "10.0x →", "0:01 left", " 90%"):
        assert piece in shown, piece
    assert "the words of [window] 9" in shown
    assert "Using the built-in engine [sphinx]." in shown
    assert "done, 3:20 of audio, 10.0x real time → out/minutes.txt" in shown
    assert "There is no audio in b.mp4. [no_audio]" in shown


@pytest.mark.parametrize("width", [1, 10, 40, 80])
def test_the_live_display_fits_a_narrow_terminal(
    width: int, terminal: Callable[[int], io.StringIO], clock: Clock
) -> None:
    out = terminal(width)
    story(display.Live(), clock)
    assert out.getvalue()
    if width == 80:
        assert "10.0x → · 0:01 left" in out.getvalue(), "figures are the last to go"


def test_a_real_terminal(tmp_path: Path) -> None:
    """The whole command with its standard error on a pseudo-terminal of 60 columns."""
    ours, theirs = pty.openpty()
    killable = ROOT / "tests" / "flow" / "killable.py"
    sample = ROOT / "samples" / "meeting.ogg"
    words = [str(tmp_path / "log"), "-", "1", "transcribe", str(sample), "-m", "sphinx"]
    child = subprocess.Popen(
        [sys.executable, str(killable), *words, "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "60", "TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side of a pseudo-terminal was closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    text, _ = child.communicate()
    assert child.returncode == 0, seen
    assert text.strip()
    assert b"Traceback" not in seen
    assert b"meeting.ogg" in seen
    assert "done, 2:18 of audio" in " ".join(seen.decode().split())
    assert "windows" in seen.decode()
