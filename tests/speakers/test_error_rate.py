"""The diarization error rate, against cases counted by hand and against its definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.speakers.diarizer import Turn
from hansard.speakers.error_rate import Faults, assignment, faults

moments = st.integers(0, 60).map(lambda tenths: tenths / 4)
turns = st.lists(
    st.builds(
        lambda start, length, speaker: Turn(start, start + length, speaker),
        moments,
        st.integers(0, 20).map(lambda tenths: tenths / 4),
        st.sampled_from("ABCD"),
    ),
    max_size=8,
)
collars = st.sampled_from((0.0, 0.25))


def counted(one: Faults) -> tuple[float, ...]:
    return tuple(round(x, 6) for x in (one.speech, one.missed, one.false_alarm, one.confusion))


def test_counted_by_hand() -> None:
    truth = [Turn(0, 10, "anna"), Turn(8, 14, "bert"), Turn(20, 22, "anna")]
    answer = [Turn(1, 9, "x"), Turn(9, 16, "y"), Turn(20, 22, "y")]
    # missed: 0-1, one of two in 8-10; false alarm: 14-16; confused: 20-22.
    assert counted(faults(truth, answer)) == (18, 3, 2, 2)
    assert faults(truth, answer).rate == pytest.approx(7 / 18)
    # Without 0.25 s on each side of 0, 8, 10, 14, 20, 22.
    assert counted(faults(truth, answer, collar=0.25)) == (15.5, 2.25, 1.75, 1.5)
    assert counted(faults(truth, answer, overlap=False)) == (14, 1, 2, 2)
    assert assignment(truth, answer) == {"anna": "x", "bert": "y"}


def test_a_collar_does_not_change_who_is_who() -> None:
    # Long turns win the assignment, though with the collar nothing of them is left.
    truth = [Turn(0, 0.5, "a"), Turn(1, 1.5, "a"), Turn(3, 3.9, "a")]
    answer = [Turn(0, 0.5, "x"), Turn(1, 1.5, "x"), Turn(3, 3.9, "y")]
    assert counted(faults(truth, answer, collar=0.25)) == (0.4, 0, 0, 0.4)


def test_silence() -> None:
    assert faults([], []).rate == 0
    assert math.isinf(faults([], [Turn(0, 1, "x")]).rate)
    assert faults([Turn(0, 1, "x")], []).rate == 1


@settings(max_examples=40)
@given(turns, collars)
def test_the_truth_has_no_faults(truth: list[Turn], collar: float) -> None:
    renamed = [Turn(t.start, t.end, t.speaker.lower()) for t in reversed(truth)]
    found = faults(truth, renamed, collar=collar)
    assert counted(found)[1:] == (0, 0, 0)


@settings(max_examples=40)
@given(turns, turns, collars)
def test_the_parts_are_sane(truth: list[Turn], answer: list[Turn], collar: float) -> None:
    found = faults(truth, answer, collar=collar)
    assert min(counted(found)) >= 0
    assert found.missed + found.confusion <= found.speech + 1e-9
    assert found.speech <= faults(truth, answer).speech + 1e-9
    # Swapping sides swaps what is missed and what is too much.
    back = faults(answer, truth)
    there = faults(truth, answer)
    assert back.missed == pytest.approx(there.false_alarm)
    assert back.confusion == pytest.approx(there.confusion)


@settings(max_examples=40)
@given(turns, turns)
def test_no_other_assignment_is_better(truth: list[Turn], answer: list[Turn]) -> None:
    """Against the definition: sampled in quarters of a second, every assignment tried."""
    from itertools import permutations

    def at(turns: list[Turn], moment: float) -> set[str]:
        return {t.speaker for t in turns if t.start <= moment < t.end}

    slices = [(at(truth, q / 4 + 0.1), at(answer, q / 4 + 0.1)) for q in range(90)]
    best = math.inf
    for order in permutations("ABCD"):
        pairs = dict(zip("ABCD", order, strict=True))
        wrong = sum(
            max(len(spoke), len(said)) - sum(pairs[s] in said for s in spoke)
            for spoke, said in slices
        )
        best = min(best, wrong / 4)
    found = faults(truth, answer)
    assert found.missed + found.false_alarm + found.confusion == pytest.approx(best)


def test_recordings_add_up() -> None:
    both = Faults(10, 1, 0, 1) + Faults(30, 0, 2, 0)
    assert both.rate == pytest.approx(0.1)
