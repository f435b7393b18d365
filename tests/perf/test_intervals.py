"""Statistics against what they promise, and against somebody else's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.perf.intervals import contrast, holm, interval, speedup

times = st.lists(st.floats(0.01, 10), min_size=8, max_size=20)


@given(times)
def test_an_interval_holds_its_median_and_lies_within_the_series(series: list[float]) -> None:
    found = interval(series)
    assert min(series) <= found.low <= found.median <= found.high <= max(series)
    assert found.median == pytest.approx(float(np.median(series)))


@given(times, st.booleans())
def test_a_series_does_not_differ_from_itself(series: list[float], paired: bool) -> None:
    found = contrast(series, series, paired=paired)
    assert found.verdict == "same"
    assert found.ratio == pytest.approx(1)


@given(times, st.floats(1.5, 4), st.booleans())
def test_turned_round_it_says_the_opposite(series: list[float], by: float, paired: bool) -> None:
    more = [one * by for one in series]
    there, back = contrast(series, more, paired=paired), contrast(more, series, paired=paired)
    assert there.p == pytest.approx(back.p)
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert {there.verdict, back.verdict} in ({"slower", "faster"}, {"same"})


def test_pairs_see_through_a_machine_that_drifts() -> None:
    chance = np.random.default_rng(1)
    drift = np.geomspace(1, 3, 12)
    first = drift * chance.normal(1, 0.01, 12)
    second = 1.1 * drift * chance.normal(1, 0.01, 12)
    assert contrast(list(first), list(second), paired=True).verdict == "slower"
    assert contrast(list(first), list(second), paired=False).verdict == "same"
    assert speedup(list(second), list(first)) == pytest.approx(1.1, rel=0.02)


def test_the_test_of_signs_is_exact_and_drawn_alike() -> None:
    chance = np.random.default_rng(2)
    a = list(chance.normal(1, 0.1, 14))
    b = list(chance.normal(1.05, 0.1, 14))
    exact = contrast(a, b, paired=True).p
    from hansard.perf import intervals

    logs = np.log(np.asarray(b) / np.asarray(a))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "EXACT", 0)
        assert intervals._signs(logs) == pytest.approx(exact, abs=0.02)
    # One of 2^3 ways and its mirror: 2/8, counted by hand.
    assert intervals._signs(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.25)


def test_chance_is_called_a_difference_no_more_often_than_is_said() -> None:
    chance = np.random.default_rng(3)
    for paired in (False, True):
        wrong = sum(
            contrast(list(a), list(b), paired=paired, alpha=0.05, least=0.0).verdict != "same"
            for a, b in (chance.lognormal(0, 0.2, (2, 10)) for _ in range(200))
        )
        assert wrong <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_few_runs_tell_nothing_and_small_changes_are_none() -> None:
    assert contrast([1.0] * 3, [9.0] * 3, paired=False).verdict == "unknown"
    assert contrast([1.0] * 5, [9.0] * 5, paired=True).verdict == "unknown"
    steady = list(np.linspace(1.0, 1.001, 12))
    assert contrast(steady, [one * 1.02 for one in steady], paired=False).verdict == "same"
    assert contrast([], [1.0], paired=False).verdict == "unknown"


def test_holm_stops_at_the_first_that_does_not_stand() -> None:
    assert holm([0.04, 0.001, 0.02], 0.05) == [True, True, True]
    assert holm([0.04, 0.001, 0.03], 0.05) == [False, True, False]
