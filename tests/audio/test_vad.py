from __future__ import annotations

import functools
import importlib
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hansard.audio import vad, windows
from hansard.config import VadSettings
from hansard.errors import BadSettings
from hansard.model import SAMPLE_RATE, Span

DEFAULT = VadSettings.model_validate({})
FRAME = vad.FRAME
DATA = Path(
    os.environ.get("HANSARD_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)


def decoded(path: Path) -> NDArray[np.int16]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(str(path)) as container:
        parts = [
            part.to_ndarray().reshape(-1)
            for frame in (*container.decode(audio=0), None)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts).astype(np.int16)


@functools.cache
def clips(room: str) -> tuple[NDArray[np.int16], ...]:
    return tuple(decoded(path) for path in sorted((DATA / room).glob("*.flac")))


def real(room: str) -> tuple[NDArray[np.int16], ...]:
    found = clips(room)
    if not found:
        pytest.skip(f"no real speech: {room}/*.flac is not under HANSARD_TEST_DATA")
    return found


def silence(seconds: float) -> NDArray[np.int16]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def room_tone(seconds: float) -> NDArray[np.int16]:
    """Quiet, but not dead: about -60 dBFS."""
    noise = np.random.default_rng(5).normal(0, 12, round(seconds * SAMPLE_RATE))
    return noise.round().astype(np.int16)


def detect(
    audio: NDArray[np.int16], *, cuts: tuple[int, ...] = (), max_span: float = 28.0
) -> list[Span]:
    return list(vad.find_speech(np.split(audio, sorted(cuts)), DEFAULT, max_span=max_span))


def hysteresis(probabilities: list[float], samples: int) -> list[Span]:
    """The rule of the docstring, said once more in the plainest way, without a longest span."""
    raw: list[tuple[int, int]] = []
    start = quiet = None
    for index, probability in enumerate(probabilities):
        if probability >= 0.5:
            start = index if start is None else start
            quiet = None
        elif start is not None and probability < 0.35:
            quiet = index if quiet is None else quiet
            if (index - quiet) * FRAME >= 8000:
                raw.append((start * FRAME, quiet * FRAME))
                start = quiet = None
    if start is not None:
        raw.append((start * FRAME, samples if quiet is None else quiet * FRAME))
    raw = [(a, b) for a, b in raw if b - a >= 1600]
    return [Span(max(0, a - 3200), min(samples, b + 3200)) for a, b in raw]


def made_of(probabilities: list[float], *, max_span: float = 28.0, **changes: float) -> list[Span]:
    """The detector's spans for given probabilities: its rule alone, without the model."""
    detector = vad.Detector(VadSettings.model_validate(changes), max_span=max_span)
    detector._samples = len(probabilities) * FRAME
    spans: list[Span] = []
    for index in range(0, len(probabilities), 37):
        detector._follow(np.array(probabilities[index : index + 37], np.float32))
        frontier = detector._heard if detector._start is None else detector._start
        spans += detector._settle(frontier)
    return spans + detector.finish()


@pytest.mark.parametrize("room", ["speech", "meetings"])
def test_probabilities_are_those_of_faster_whisper_on_the_whole_file(room: str) -> None:
    audio = np.concatenate(real(room))
    peer = importlib.import_module("faster_whisper.vad").get_vad_model()
    # A frame more: the peer overwrites the last samples of its last frame with zeros.
    whole = np.pad(audio, (0, FRAME + -len(audio) % FRAME)).astype(np.float32) / 32768
    theirs = peer(whole)[:-1]
    stream = vad.Probabilities()
    ours = np.concatenate([*stream.feed(audio), stream.finish()])
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("room", ["speech", "meetings"])
def test_spans_are_those_of_faster_whisper(room: str) -> None:
    # Ends in silence, where the peer too ends the last span with its speech.
    audio = np.concatenate([part for clip in real(room) for part in (clip, room_tone(1.5))])
    peer = importlib.import_module("faster_whisper.vad")
    theirs = peer.get_speech_timestamps(
        audio.astype(np.float32) / 32768,
        peer.VadOptions(
            threshold=0.5,
            min_silence_duration_ms=500,
            min_speech_duration_ms=100,
            speech_pad_ms=200,
        ),
    )
    ours = detect(audio, max_span=600.0)
    assert len(ours) > 3
    assert ours == [Span(span["start"], span["end"]) for span in theirs]


@pytest.mark.parametrize("level", [0, vad.DEAD_LEVEL])
@pytest.mark.parametrize("seconds", [1.5, 4.0, 7.3, 60.0])
def test_speech_after_dead_silence_is_heard_as_at_the_start_of_a_recording(
    seconds: float, level: int
) -> None:
    start, spans, parts = 0, [], []
    for clip in real("speech"):
        clip = clip[: len(clip) // FRAME * FRAME]  # noqa: PLW2901  frames of the parts and of the whole agree
        dead = silence(round(seconds * SAMPLE_RATE / FRAME) * FRAME / SAMPLE_RATE)
        dead[::2], dead[1::2] = level, -level
        parts += [clip, dead]
        spans += [
            Span(start + span.start, start + span.end)
            for span in detect(np.concatenate([clip, silence(1)]))
        ]
        start += len(clip) + len(dead)
    audio = np.concatenate(parts)
    for ours, alone in zip(detect(audio), spans, strict=True):
        assert abs(ours.start - alone.start) <= 2 * FRAME
        assert abs(ours.end - alone.end) <= 2 * FRAME


def test_dead_silence_costs_the_model_nothing() -> None:
    calls = []
    session = vad._session()

    class Counting:
        def run(self, names: None, inputs: dict[str, NDArray[np.float32]]) -> list[Any]:
            calls.append(len(inputs["input"]))
            return list(session.run(names, inputs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vad, "_session", Counting)
        assert detect(silence(3600)) == []
    assert sum(calls) == vad.DEAD_FRAMES


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_how_the_audio_is_cut_into_blocks_changes_nothing(data: st.DataObject) -> None:
    audio = np.concatenate([*real("speech")[4:], silence(2), real("meetings")[0][:160_000]])
    cuts = data.draw(st.lists(st.integers(0, len(audio)), max_size=40))
    whole = detect(audio)
    assert len(whole) > 3
    assert detect(audio, cuts=tuple(cuts)) == whole


def test_tiny_blocks_change_nothing() -> None:
    audio = real("speech")[1][: 6 * SAMPLE_RATE]
    assert detect(audio, cuts=tuple(range(7, len(audio), 160))) == detect(audio)


@settings(deadline=None)
@given(
    runs=st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.49, 0.51, 0.9]), st.integers(1, 60)),
        max_size=60,
    )
)
def test_rule_equals_its_plain_statement(runs: list[tuple[float, int]]) -> None:
    probabilities = [probability for probability, count in runs for _ in range(count)]
    expected = hysteresis(probabilities, len(probabilities) * FRAME)
    assert made_of(probabilities, max_span=10_000.0) == expected


@settings(deadline=None)
@given(
    runs=st.lists(
        st.tuples(st.floats(0, 1, width=32), st.integers(1, 400)), min_size=1, max_size=60
    ),
    pad=st.sampled_from([0.0, 0.2, 0.5]),
)
def test_spans_are_bounded_ordered_and_hold_all_speech(
    runs: list[tuple[float, int]], pad: float
) -> None:
    probabilities = [probability for probability, count in runs for _ in range(count)]
    spans = made_of(probabilities, max_span=12.0, pad=pad, min_speech=0.0)
    assert all(0 < span.length <= 12 * SAMPLE_RATE for span in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    inside = np.zeros(len(probabilities) * FRAME, bool)
    for span in spans:
        inside[span.start : span.end] = True
    for index, probability in enumerate(probabilities):
        if probability >= 0.5:
            assert inside[index * FRAME : (index + 1) * FRAME].all()


def test_unbroken_speech_is_cut_into_touching_spans_at_the_least_speech_like_place() -> None:
    probabilities = [0.95] * 2000
    probabilities[700:703] = [0.6, 0.4, 0.6]  # not a pause, but the best there is
    first, second, *_ = made_of(probabilities)
    assert first.end == second.start
    assert abs(first.end / FRAME - 701.5) <= 1


def test_unbroken_speech_is_cut_in_the_middle_of_a_short_pause_first() -> None:
    probabilities = [0.95] * 2000
    probabilities[600] = 0.0  # deeper, but not 98 ms long
    probabilities[700:706] = [0.2] * 6
    first, second, *_ = made_of(probabilities)
    assert first.end == second.start == 703 * FRAME


def test_a_breath_in_unbroken_speech_gives_two_spans_that_do_not_touch() -> None:
    probabilities = [0.95] * 1000
    probabilities[700:712] = [0.1] * 12  # 0.38 s: too short to end a span by itself
    first, second = made_of(probabilities)
    assert first.end < second.start
    assert 700 * FRAME < first.end < 712 * FRAME
    assert made_of(probabilities, max_span=60.0) == [Span(0, 1000 * FRAME)]


def test_speech_without_any_pause_is_given_out_while_it_lasts() -> None:
    detector = vad.Detector(DEFAULT)
    given_out: list[Span] = []
    for _ in range(200):
        detector._samples += 256 * FRAME
        detector._follow(np.full(256, 0.9, np.float32))
        given_out += detector._settle(detector._start)
        assert len(detector._trace) * FRAME <= 28 * SAMPLE_RATE
        assert detector._samples - (given_out[-1].end if given_out else 0) <= 40 * SAMPLE_RATE
    assert all(a.end == b.start for a, b in pairwise(given_out))


def test_silence_and_nothing_have_no_speech() -> None:
    assert detect(silence(20)) == []
    assert detect(silence(0)) == []


def test_pads_of_close_spans_do_not_touch() -> None:
    probabilities = [0.0] * 20 + [0.9] * 30 + [0.0] * 8 + [0.9] * 30 + [0.0] * 20
    first, second = made_of(probabilities, min_silence=0.2, pad=0.5)
    assert first.end < second.start <= first.end + 2


def test_settings_that_leave_no_room_are_refused() -> None:
    with pytest.raises(BadSettings):
        vad.Detector(VadSettings.model_validate({"min_silence": 20.0}))


def test_every_loud_stretch_of_real_speech_is_in_a_window() -> None:
    voices = real("speech")
    parts: list[NDArray[np.int16]] = [silence(3)]
    loud: list[tuple[int, int]] = []
    at = len(parts[0])
    for index, clip in enumerate(voices * 4):
        # Energy says where words are: 200 ms within 20 dB of the clip's loudest 200 ms.
        # The last 0.3 s are left out: one clip was cut in the first sound of a next word.
        cells = clip[: (len(clip) - 4800) // 3200 * 3200].reshape(-1, 3200).astype(np.float64)
        energy = (cells**2).mean(1)
        loud += [
            (at + k * 3200, at + (k + 1) * 3200)
            for k in np.flatnonzero(energy > energy.max() / 100).tolist()
        ]
        gap = silence((0.4, 1.0, 2.5, 7.0)[index % 4])
        parts += [clip, gap]
        at += len(clip) + len(gap)
    audio = np.concatenate(parts)
    spans = detect(audio, cuts=tuple(range(0, len(audio), 65_536)))
    planned = list(windows.plan(spans, max_seconds=30.0))
    inside = np.zeros(len(audio), bool)
    for window in planned:
        for piece in window.pieces:
            inside[piece.start : piece.end] = True
    missing = [span for span in loud if not inside[span[0] : span[1]].all()]
    assert missing == []
    fill = sum(window.seconds for window in planned) / (30 * len(planned))
    assert fill > 0.7
    assert sum(window.seconds for window in planned) < 0.95 * len(audio) / SAMPLE_RATE
    packed = windows.pack(planned[0], lambda start, length: audio[start : start + length])
    first = planned[0].pieces[0]
    assert np.array_equal(packed[: first.length], audio[first.start : first.end])
