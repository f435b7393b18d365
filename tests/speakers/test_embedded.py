"""The embedded diarizer on made and real speech, and its parts on what is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.speakers.conftest import Made

from hansard.audio.vad import find_speech
from hansard.config import VadSettings
from hansard.speakers import activity, changes, features, gaussians, mixtures, paths
from hansard.speakers.diarizer import SpeakerHints, Turn, overlaps
from hansard.speakers.embedded import Embedded
from hansard.speakers.error_rate import Faults, faults
from hansard.speakers.rttm import read


def decoded(path: Path) -> NDArray[np.int16]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    with av.open(str(path)) as container:
        parts = [
            part.to_ndarray().reshape(-1)
            for frame in (*container.decode(audio=0), None)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts).astype(np.int16)


def one_speaker(audio: NDArray[np.int16]) -> list[Turn]:
    spans = find_speech([audio], VadSettings.model_validate({}))
    return [Turn(span.start / 16_000, span.end / 16_000, "S1") for span in spans]


# ── whole recordings ─────────────────────────────────────────────────────────────────────────


def test_three_made_voices_are_told_apart(meeting: Made) -> None:
    answer = Embedded().diarize([meeting.audio])
    assert len(answer.voices) == 3
    assert faults(meeting.truth, answer.turns, collar=0.25).rate < 0.05
    assert faults(meeting.truth, answer.turns).rate < 0.1


def test_where_two_speak_at_once_both_are_given() -> None:
    import speakers

    people = (speakers.FIONA, speakers.KARL, speakers.LINDA)
    plan = speakers.Plan("test", people, 1.5, 4, -55, -70, 0.0, 2.0, 0.6, 0.2)
    pcm, said = speakers.made(plan)
    truth = [Turn(one.start, one.end, one.speaker) for one in said.sentences]
    answer = Embedded().diarize([pcm])
    there, marked = overlaps(truth), answer.overlap
    both = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in there for b in marked)
    assert both >= 0.8 * sum(end - start for start, end in marked)
    assert both >= 0.3 * sum(end - start for start, end in there)


def test_what_repeats_to_the_bit_is_no_new_speaker(meeting: Made) -> None:
    answer = Embedded().diarize([meeting.audio, meeting.audio // 2] * 4)
    assert len(answer.voices) == 3


def test_hints_are_kept(meeting: Made) -> None:
    for hints, count in (
        (SpeakerHints(speakers=2), 2),
        (SpeakerHints(max_speakers=2), 2),
        (SpeakerHints(min_speakers=4), 4),
        (SpeakerHints(min_speakers=2, max_speakers=3), 3),
    ):
        answer = Embedded().diarize([meeting.audio], hints=hints)
        assert len({turn.speaker for turn in answer.turns}) == count


def test_a_voice_is_one_however_long_it_speaks(meeting: Made) -> None:
    mine = [turn for turn in meeting.truth if turn.speaker == meeting.truth[0].speaker]
    parts = [meeting.audio[round(t.start * 16_000) : round(t.end * 16_000)] for t in mine]
    pause = np.random.default_rng(1).normal(0, 20, 8_000).astype(np.int16)
    alone = np.concatenate([piece for part in parts for piece in (part, pause)])
    answer = Embedded().diarize([alone, alone, alone])
    assert len(answer.voices) == 1


def test_the_real_meetings_are_better_than_one_speaker(speech_data: Path) -> None:
    ours, theirs = Faults(0, 0, 0, 0), Faults(0, 0, 0, 0)
    for labels in sorted((speech_data / "meetings").glob("*.rttm")):
        truth = read(labels.read_text().splitlines())
        audio = decoded(labels.with_suffix(".flac"))
        found = faults(truth, Embedded().diarize([audio]).turns)
        simple = faults(truth, one_speaker(audio))
        assert found.rate <= simple.rate, labels.stem
        ours, theirs = ours + found, theirs + simple
    assert ours.rate < 0.8 * theirs.rate


def test_noise_alone_has_no_speaker() -> None:
    noise = np.random.default_rng(5).normal(0, 800, 20 * 16_000).astype(np.int16)
    assert Embedded().diarize([noise]).turns == ()


# ── parts ────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3000), max_size=8))
def test_frames_do_not_depend_on_blocks(lengths: list[int]) -> None:
    audio = np.random.default_rng(2).normal(0, 3000, 9000).astype(np.int16)
    whole = features.Cepstra().feed(audio)
    assert whole.shape == ((9000 - 400) // 160 + 1, 20)
    cepstra, at, parts = features.Cepstra(), 0, []
    for length in [*lengths, 9000]:
        parts.append(cepstra.feed(audio[at : at + length]))
        at += length
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-3, atol=1e-3)


def test_twice_as_loud_moves_only_the_level() -> None:
    audio = np.random.default_rng(3).normal(0, 3000, 8000).astype(np.int16)
    soft, loud = features.Cepstra().feed(audio), features.Cepstra().feed(audio * 2)
    np.testing.assert_allclose(loud[:, 1:], soft[:, 1:], atol=0.02)
    np.testing.assert_allclose(loud[:, 0] - soft[:, 0], np.sqrt(30) * np.log(4), atol=0.02)


def test_slopes_of_a_line_are_its_slope() -> None:
    line = np.arange(20, dtype=np.float32)[:, None] * np.array([2, -3], np.float32)
    np.testing.assert_allclose(features.deltas(line)[2:-2], [[2, -3]] * 16, rtol=1e-5)


def test_a_mixture_finds_its_parts_and_has_a_density() -> None:
    rng = np.random.default_rng(4)
    frames = np.concatenate([rng.normal(-4, 1, (800, 2)), rng.normal(4, 0.5, (400, 2))])
    mixture = mixtures.fitted(frames.astype(np.float32), 2, rounds=20)
    order = np.argsort(mixture.means[:, 0])
    np.testing.assert_allclose(mixture.means[order], [[-4, -4], [4, 4]], atol=0.2)
    np.testing.assert_allclose(mixture.weights[order], [2 / 3, 1 / 3], atol=0.02)
    steps = np.linspace(-10, 10, 201, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    assert np.exp(mixtures.density(mixture, grid)).sum() * 0.1**2 == pytest.approx(1, abs=0.01)


def voiced(seed: int, kind: int, frames: int) -> NDArray[np.float32]:
    shape = np.random.default_rng(kind).normal(0, 1, (5, 5))
    noise = np.random.default_rng(seed).normal(0, 1, (frames, 5))
    return (noise @ shape + 3 * kind).astype(np.float32)


def test_stretches_of_one_voice_are_grouped_and_bounds_are_kept() -> None:
    stretches = [voiced(seed, seed % 3, 200) for seed in range(12)]
    parts = gaussians.summaries(stretches)
    shared = gaussians.room(parts)
    assert gaussians.grouped(parts, shared).tolist() == [0, 1, 2] * 4
    assert len(set(gaussians.grouped(parts, shared, most=2).tolist())) == 2
    assert len(set(gaussians.grouped(parts, shared, fewest=5).tolist())) == 5
    again = gaussians.added(parts, gaussians.grouped(parts, shared))
    assert again.counts.tolist() == [800, 800, 800]
    np.testing.assert_allclose(gaussians.room(again), shared)


def test_copies_share_the_first_of_them() -> None:
    stretches = [voiced(seed, seed % 2, 150) for seed in range(4)]
    parts = gaussians.summaries([*stretches, stretches[2], stretches[0]])
    assert gaussians.distinct(parts, gaussians.room(parts)).tolist() == [0, 1, 2, 3, 2, 0]


def test_the_cut_is_where_the_voice_changes() -> None:
    frames = np.concatenate([voiced(1, 1, 150), voiced(2, 2, 130)])
    cuts = changes.pieces(frames, (1000, 1280))
    assert cuts[0][0] == 1000
    assert cuts[-1][1] == 1280
    assert all(a[1] == b[0] for a, b in pairwise(cuts))
    assert any(abs(first - 1150) <= 10 for first, _ in cuts)


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=60), min_size=1, max_size=6),
    st.integers(1, 3),
)
def test_settling_never_makes_up_a_speaker(path: list[list[int]], fewest: int) -> None:
    own = [np.array(part) for part in path]
    found = paths.settled(own, fewest=fewest)
    before = {int(one) for part in own for one in part}
    after = {int(one) for part in found for one in part}
    assert after <= before
    assert len(after) >= min(fewest, len(before))
    assert [part.tolist() for part in own] == path


def test_who_flickers_is_somebody_else_and_who_takes_turns_is_not() -> None:
    flicker = np.array(([1] * 10 + [2] * 10) * 8)
    turns = np.array(([0] * 60 + [1] * 50) * 3)
    assert {int(one) for part in paths.settled([turns, flicker]) for one in part} == {0, 1}
    assert np.array_equal(paths.settled([turns])[0], turns)


def test_a_path_changes_only_where_it_pays() -> None:
    worth = np.zeros((100, 2), np.float32)
    worth[:40, 0] = worth[60:, 1] = 5
    worth[20:22, 1] = 12  # 14 more, for two changes of 60
    path = paths.best(worth)
    assert path[:40].tolist() == [0] * 40
    assert path[60:].tolist() == [1] * 40


def test_short_pauses_belong_to_speech() -> None:
    stretches = [(0, 100), (120, 200), (240, 300), (400, 405)]
    assert activity.bridged(stretches) == [(0, 200), (240, 300)]


def test_speech_is_found_to_a_few_hundredths(meeting: Made) -> None:
    cepstra, ear = features.Cepstra(), activity.Ear()
    frames = cepstra.feed(meeting.audio)
    ear.feed(meeting.audio)

    def blocks() -> Iterator[NDArray[np.float32]]:
        yield frames[:1000]
        yield frames[1000:]

    found = activity.spoken(ear.finish(), blocks)
    anybody = [Turn(t.start, t.end, "A") for t in meeting.truth]
    heard = [Turn(first / 100, last / 100, "A") for first, last in found]
    assert faults(anybody, heard, collar=0.1).rate < 0.03
