"""What a live session plans depends on its bytes alone, not on how they were cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.cli.conftest import SAMPLE, decoded

from hansard.audio.growing import Sound, packet_seconds
from hansard.live.ear import Ear
from hansard.live.tape import LetGo, Tape, packets
from hansard.model import Options, Window

OPTIONS = Options("sphinx", "en-us", window_seconds=12.0)


def plan(pieces: list[NDArray[np.int16]]) -> list[Window]:
    ear = Ear(OPTIONS)
    return [window for piece in pieces for window in ear.hear(piece)] + ear.end()


@pytest.fixture(scope="module")
def speech() -> NDArray[np.int16]:
    return decoded(SAMPLE)[: 30 * 16_000]


@pytest.fixture(scope="module")
def at_once(speech: NDArray[np.int16]) -> list[Window]:
    return plan([speech])


def test_windows_end_when_somebody_stops_speaking(at_once: list[Window]) -> None:
    assert [window.index for window in at_once] == list(range(len(at_once)))
    assert len(at_once) > 3
    assert all(window.seconds <= 12 for window in at_once)
    assert min(window.seconds for window in at_once) < 6


@settings(max_examples=5)
@given(cuts=st.lists(st.integers(0, 30 * 16_000), max_size=40))
def test_it_does_not_matter_how_the_samples_are_cut(
    speech: NDArray[np.int16], at_once: list[Window], cuts: list[int]
) -> None:
    assert plan(np.split(speech, sorted(cuts))) == at_once


def test_speech_without_a_pause_is_cut_before_a_window_is_too_long(
    speech: NDArray[np.int16], at_once: list[Window]
) -> None:
    voice = np.concatenate(
        [speech[piece.start : piece.end] for window in at_once for piece in window.pieces]
    )
    ear = Ear(OPTIONS)
    worst = heard = 0
    planned: list[Window] = []
    for start in range(0, len(voice), 1600):
        heard = start + 1600
        planned += ear.hear(voice[start:heard])
        worst = max(worst, heard - (planned[-1].pieces[-1].end if planned else 0))
    planned += ear.end()
    assert worst <= 15 * 16_000, "nobody waits for more than a window"
    assert all(window.seconds <= 12 for window in planned)
    assert planned[-1].pieces[-1].end > len(voice) - 16_000


def test_who_goes_on_after_a_pause_does_not_hold_up_what_was_said(
    at_once: list[Window], speech: NDArray[np.int16]
) -> None:
    """However long the pause was, and wherever it fell between two looks."""
    said, went_on = (
        np.concatenate([speech[piece.start : piece.end] for piece in window.pieces])
        for window in at_once[1:3]
    )
    for silence in np.arange(0.24, 0.4, 0.02):
        ear = Ear(OPTIONS)
        voice = np.concatenate([said, np.zeros(int(silence * 16_000), np.int16), went_on])
        heard = 0
        while not ear.hear(voice[heard : heard + 800]):
            heard += 800
            assert heard < len(said) + 16_000, f"after {silence:.2f} s of silence"


def test_a_guess_is_about_the_window_to_come(speech: NDArray[np.int16]) -> None:
    ear = Ear(OPTIONS)
    done: list[Window] = []
    guesses = 0
    for start in range(0, len(speech), 8000):
        done += ear.hear(speech[start : start + 8000])
        guess = ear.guess()
        if guess is not None:
            guesses += 1
            assert guess.index == len(done)
            assert guess.pieces[-1].end <= start + 8000
            assert ear.guess() is None, "the same is not guessed twice"
    assert guesses > 5


def test_a_tape_is_followed_while_it_grows_and_opened_again(tmp_path: Path) -> None:
    tape = Tape(tmp_path / "live" / "job.raw", Sound("pcm_s16le"))
    follower = tape.follow()
    tape.append(b"one ")
    assert next(follower) == b"one "
    tape.append(b"two")
    assert next(follower) == b"two"
    tape.end()
    assert list(follower) == []
    assert tape.sync() == 7
    tape.close()
    tape.append(b"too late")
    again = Tape(tape.path, Sound("pcm_s16le"))
    assert (again.received, again.size) == (7, 7)
    again.let_go()
    with pytest.raises(LetGo):
        next(again.follow())
    again.remove()
    assert not tape.path.exists()


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=8), torn=st.integers(1, 200))
def test_a_torn_packet_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], torn: int
) -> None:
    path = tmp_path_factory.mktemp("tape") / "job.raw"
    tape = Tape(path, Sound("opus"))
    for number, length in enumerate(lengths):
        tape.append(bytes([number]) * length)
    tape.close()
    with path.open("r+b") as file:
        file.truncate(max(0, path.stat().st_size - torn))
    again = Tape(path, Sound("opus"))
    left = list(packets(path))
    assert again.received == sum(map(len, left))
    assert left == [bytes([n]) * length for n, length in enumerate(lengths)][: len(left)]
    again.append(b"more")
    again.close()
    assert list(packets(path)) == [*left, b"more"]


@pytest.mark.parametrize(
    ("packet", "seconds"),
    [
        (b"", 0),
        (b"\x00", 0.01),
        (b"\x18", 0.06),
        (b"\x79", 0.04),
        (b"\x83\x04", 0.01),
        (b"\xf8", 0.02),
    ],
)
def test_how_long_a_packet_of_opus_lasts(packet: bytes, seconds: float) -> None:
    assert packet_seconds(packet) == pytest.approx(seconds)
