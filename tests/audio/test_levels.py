from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.audio import decode
from hansard.audio.levels import FLOOR, QUIET, Meter, enhancement, speech_level
from hansard.model import SAMPLE_RATE, Levels


def measured(*blocks: np.ndarray) -> Levels:
    meter = Meter()
    for block in blocks:
        meter.feed(block)
    return meter.levels()


def sine(decibels: float, seconds: float = 2.0) -> np.ndarray:
    at = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.rint(10 ** (decibels / 20) * 32767 * np.sin(2 * np.pi * 500 * at)).astype(np.int16)


def test_a_sine_is_three_decibels_below_its_peak() -> None:
    levels = measured(sine(-10))
    assert levels.measured == 2.0
    assert levels.peak == pytest.approx(-10, abs=0.05)
    assert levels.rms == pytest.approx(-13.01, abs=0.05)
    assert levels.dc_offset == pytest.approx(0, abs=1e-5)
    assert levels.clipped == 0


def test_noise_is_told_from_speech() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10 ** (-60 / 20) * 32768, 60 * SAMPLE_RATE)
    noise[5 * SAMPLE_RATE : 25 * SAMPLE_RATE] += sine(-20, 20)
    levels = measured(np.rint(noise).astype(np.int16))
    assert levels.noise == pytest.approx(-60, abs=1)
    assert speech_level(levels) == pytest.approx(-23, abs=1)


def test_a_minute_of_speech_in_an_hour_of_noise_is_found() -> None:
    rng = np.random.default_rng(0)
    noise = np.rint(rng.normal(0, 33, 60 * SAMPLE_RATE)).astype(np.int16)
    blocks = [noise] * 59 + [sine(-20, 60)]
    assert speech_level(measured(*blocks)) == pytest.approx(-23, abs=1)


def test_a_click_does_not_make_quiet_speech_loud() -> None:
    quiet = sine(-50, 60)
    quiet[SAMPLE_RATE] = 32767
    levels = measured(quiet)
    assert levels.peak == pytest.approx(0, abs=0.01)
    assert enhancement(levels) is not None


def test_clipping_and_offset_are_measured() -> None:
    block = np.full(SAMPLE_RATE, 3277, np.int16)
    block[:160] = 32767
    block[160:320] = -32768
    levels = measured(block)
    assert levels.clipped == pytest.approx(0.02)
    assert levels.dc_offset == pytest.approx(0.1 * 0.98, abs=0.001)


def test_nothing_and_silence_are_at_the_floor() -> None:
    for levels in (measured(), measured(np.zeros((1, 0), np.int16)), measured(sine(-500))):
        assert levels.rms == levels.peak == levels.noise == FLOOR
        assert levels.dynamic_range == 0


def test_the_loudest_channel_counts() -> None:
    block = np.stack([sine(-20), np.zeros(2 * SAMPLE_RATE, np.int16)])
    levels = measured(block)
    assert speech_level(levels) == pytest.approx(-23, abs=0.5)
    assert levels.rms == pytest.approx(-26.02, abs=0.05)


@given(st.lists(st.integers(0, 3000), max_size=8), st.integers(1, 3))
def test_blocks_of_any_length_give_the_same_figures(cuts: list[int], channels: int) -> None:
    rng = np.random.default_rng(len(cuts))
    whole = rng.integers(-32768, 32768, (channels, sum(cuts)), dtype=np.int16)
    parts = np.split(whole, np.cumsum(cuts[:-1]), axis=1) if cuts else [whole]
    assert measured(*parts) == measured(whole)


def test_loud_enough_audio_is_left_alone() -> None:
    assert enhancement(measured(sine(QUIET + 4))) is None
    assert enhancement(measured(sine(QUIET + 2))) is not None


def test_enhancement_asked_for_does_not_lower_what_is_loud() -> None:
    plan = enhancement(measured(sine(-3)), always=True)
    assert plan is not None
    assert plan.gain == 0
    assert enhancement(measured(), always=True) is None


def envelope(signal: np.ndarray) -> np.ndarray:
    tenths = np.abs(signal.astype(np.float64)).reshape(-1, SAMPLE_RATE // 10)
    return np.asarray(tenths.mean(axis=1))


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_quiet_speech_comes_out_loud_unclipped_and_as_long(make_media, make_voice, rows) -> None:
    voice = make_voice(30, rate=SAMPLE_RATE, level=-55)
    path = make_media("quiet.wav", "pcm_s16le", np.stack([voice] * rows), rate=SAMPLE_RATE)
    plan = enhancement(measured(voice))
    assert plan is not None
    heard = np.concatenate(list(decode.blocks(path, channels="separate", enhance=plan)), axis=1)
    assert heard.shape == (rows, voice.size)
    levels = measured(heard)
    assert levels.peak == pytest.approx(-3, abs=1)
    assert levels.peak <= -2.99
    assert levels.clipped == 0
    assert speech_level(levels) > -20
    moved = np.corrcoef(envelope(heard[0]), envelope(voice))[0, 1]
    assert moved > 0.95


def test_enhancement_removes_rumble_and_hum_of_the_supply(make_media, make_voice) -> None:
    at = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    rumble = (200 * np.sin(2 * np.pi * 15 * at)).astype(np.int16)
    voice = make_voice(20, rate=SAMPLE_RATE, level=-55)
    path = make_media("rumble.wav", "pcm_s16le", voice + rumble, rate=SAMPLE_RATE)
    plan = enhancement(measured(voice))
    heard = np.concatenate(list(decode.blocks(path, enhance=plan)), axis=1)[0].astype(float)

    def share(signal: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(signal)) ** 2
        return float(power[: 20 * 40].sum() / power.sum())

    assert share((voice + rumble).astype(float)) > 0.5
    assert share(heard) < 0.1


def test_enhancement_is_the_same_each_time(make_media, make_voice) -> None:
    voice = make_voice(25, level=-50)
    path = make_media("quiet.ogg", "libopus", voice)
    plan = enhancement(measured(make_voice(25, rate=SAMPLE_RATE, level=-50)))
    first, second = (
        b"".join(b.tobytes() for b in decode.blocks(path, enhance=plan)) for _ in range(2)
    )
    assert first == second
