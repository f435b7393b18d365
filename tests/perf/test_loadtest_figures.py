"""What is made of what users saw: sums, intervals, verdicts, the knee, growth, speech, pages."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import Command, hansard  # noqa: F401 a fixture

from hansard import telemetry
from hansard.audio.vad import find_speech
from hansard.config import LevelSettings, VadSettings
from hansard.perf import loadtest
from hansard.perf.loadtest_figures import (
    Course,
    Level,
    Moment,
    Order,
    Result,
    Step,
    interval,
    operations,
    promised,
    verdicts,
)
from hansard.perf.loadtest_knee import knee
from hansard.perf.loadtest_page import page
from hansard.perf.loadtest_soak import Sample, growth, growths
from hansard.perf.loadtest_speech import Clips, speech

SEARCH = (Level("search", 0.2),)


def moment(
    at: float, times: list[float], *, failed: int = 0, warm: bool = False, name: str = "search"
) -> Moment:
    telemetry.reset()
    for one in times:
        telemetry.record(name, one)
    timings = telemetry.snapshot().timings
    telemetry.reset()
    return Moment(at, 1.0, 3, warm, timings, {f"{name}!gone": float(failed)} if failed else {})


def judged(*moments: Moment) -> Any:
    return verdicts(moments, operations(moments), SEARCH)


# ── levels ───────────────────────────────────────────────────────────────────────────────────


def test_one_in_twenty_may_be_slow() -> None:
    fast, slow = [0.01] * 95, [1.0] * 5
    told, failures = judged(moment(0, fast + slow))
    assert (told.holds, told.over, told.requests) == (True, 0.05, 100)
    assert told.measured < 0.2
    assert failures.holds
    told, _ = judged(moment(0, fast + slow + [1.0]))
    assert not told.holds
    assert told.measured == pytest.approx(1.0, rel=0.02)


def test_what_is_promised_is_a_setting() -> None:
    given = LevelSettings(search=0.7, health=0, summary=20, objective=0.9)
    found = {one.operation: one for one in promised(given)}
    assert (found["search"].limit, found["search"].share) == (0.7, 0.9)
    assert "health" not in found, "0 promises nothing"
    assert found["findings"].limit == 20, "the tighter of two"
    assert found["transcription"].unit == "times real time"


def test_few_requests_are_not_sure_and_many_are() -> None:
    assert not judged(moment(0, [0.01] * 20))[0].sure
    assert judged(moment(0, [0.01] * 200))[0].sure
    assert judged(moment(0, [1.0] * 20))[0].sure, "it was missed, whatever comes"


def test_a_warm_up_does_not_count() -> None:
    told, failures = judged(moment(0, [9.0] * 50, failed=50, warm=True), moment(1, [0.01] * 200))
    assert told.holds
    assert told.requests == failures.requests == 200


def test_failures_are_a_level_of_their_own() -> None:
    for failed, holds in ((1, True), (2, False)):
        *_, told = judged(moment(0, [0.01] * 100, failed=failed))
        assert told.operation == "failed requests"
        assert told.holds == holds
        assert told.requests == 100 + failed


def test_nothing_that_was_answered_is_no_success() -> None:
    (only,) = judged(moment(0, [], failed=3))
    assert not only.holds


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=30))
def test_an_interval_holds_what_was_seen(given_clusters: list[tuple[int, float]]) -> None:
    clusters = [(n, int(share * n)) for n, share in given_clusters]
    low, high = interval(clusters)
    seen = sum(x for _, x in clusters) / sum(n for n, _ in clusters)
    assert 0 <= low <= seen + 1e-9
    assert seen - 1e-9 <= high <= 1


def test_the_interval_is_as_wide_as_it_says() -> None:
    """Of 400 tests of a share of 10 %, in moments that are alike within, 5 % may miss it."""
    chance, missed = random.Random(5), 0
    for _ in range(400):
        clusters = []
        for _ in range(40):
            bad = chance.random() < 0.2  # such a moment has half of its requests slow
            clusters.append((20, sum(chance.random() < 0.5 * bad for _ in range(20))))
        low, high = interval(clusters)
        missed += not low <= 0.1 <= high
    assert missed <= 40, "requests that are slow together were taken for independent ones"


def test_a_long_test_stays_small_and_loses_nothing() -> None:
    course = Course()
    for second in range(3_000):
        course.add(moment(float(second), [0.1], failed=second % 2, warm=second < 10))
    moments = course.moments()
    assert len(moments) <= 240
    assert sum(one.seconds for one in moments) == 3_000
    assert all(a.at + a.seconds == b.at for a, b in itertools.pairwise(moments))
    (found,) = operations(moments)
    assert (found.requests, found.failed) == (2_990 + 1_495, 1_495)


# ── the knee ─────────────────────────────────────────────────────────────────────────────────


def step(users: int, most: int) -> Step:
    return Step(users, 10.0, 100, users / 1.0, users <= most, sure=True, worst="search", load=0.5)


@given(st.integers(0, 3_000), st.integers(1, 3_000))
def test_the_knee_is_found_to_within_a_tenth(true: int, allowed: int) -> None:
    tried = []

    def attempt(users: int) -> Step:
        tried.append(users)
        return step(users, true)

    found = knee(attempt, allowed)
    assert found.users <= true
    assert max(tried) <= max(1, allowed)
    assert len(tried) == len(set(tried)) <= 24
    if found.above is None:
        assert found.users == allowed
    else:
        assert found.above > true
        assert found.above - found.users <= max(1, 0.1 * found.users + 1e-9)


def test_the_search_ends_with_the_figures_of_the_knee(
    hansard: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Searches are slow for 11 users and more: `--capacity` says so, and its exit code is 0."""

    def served(order: Order, **_: object) -> Result:
        slow = order.users > 10
        moments = tuple(moment(n, [1.0 if slow else 0.01] * 100) for n in range(6))
        found = operations(moments)
        told = verdicts(moments, found, SEARCH)
        return Result(order, 0.0, 6.0, "here", True, "so", found, told, moments)

    monkeypatch.setattr(loadtest, "run", served)
    monkeypatch.setattr(loadtest, "reach", lambda _: None)
    words = ("--capacity", "--users", 100, "--duration", "10s", "--url", "http://127.0.0.1:1")
    ended = hansard("loadtest", *words, "--json")
    assert ended.code == 0, ended.err
    result = msgspec.json.decode(ended.out, type=Result)
    assert result.knee is not None
    assert (result.knee.users, result.knee.above, result.knee.sure) == (10, 11, True)
    assert result.order.users == 10
    assert [one.users for one in result.knee.steps] == [1, 2, 4, 8, 16, 12, 10, 11]
    assert "levels missed; search" in ended.err
    assert "The levels hold with 10 users" in page(result)


# ── growth ───────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 10_000), st.floats(-100, 100))
def test_a_slope_is_told_from_noise(seed: int, an_hour: float) -> None:
    chance = np.random.default_rng(seed)
    samples = [
        (float(at), 1000 + an_hour * at / 3600 + float(chance.normal(0, 0.5)))
        for at in range(0, 7200, 30)
    ]
    told = growth("memory", samples, allowed=20.0)
    if abs(an_hour - 20) > 5:
        assert told.verdict == ("grows" if an_hour > 20 else "steady")
    assert told.an_hour == pytest.approx(an_hour, abs=3)


def test_what_settles_does_not_grow() -> None:
    """Caches fill in the first minutes; a leap later on is no slope."""
    samples = [
        (float(at), 1000.0 + min(at, 600) + (50 if at > 5000 else 0) + at % 7)
        for at in range(0, 7200, 30)
    ]
    assert growth("memory", samples, allowed=20.0).verdict != "grows"


def test_growth_is_held_against_what_there_was_once_it_had_settled() -> None:
    """Models are loaded at first: that is no growth, and no measure of what may be added."""
    samples = [
        Sample(at * 10.0, 100 if at < 10 else 500, 10 if at < 10 else 30, 5, frozenset({1}))
        for at in range(100)
    ]
    memory, descriptors, _ = growths(samples)
    assert (memory.start, memory.end, memory.allowed) == (500, 500, 10)
    assert (descriptors.start, descriptors.verdict) == (30, "steady")


def test_a_short_soak_says_that_it_is_one() -> None:
    """Eight samples are too few for a slope, and five minutes too short to be called steady."""
    for count, every in ((8, 1.0), (300, 1.0)):
        samples = [Sample(at * every, 100, 10, 5, frozenset({1})) for at in range(count)]
        assert {one.verdict for one in growths(samples)} == {"not told"}


# ── speech, and the page ─────────────────────────────────────────────────────────────────────


def test_it_is_taken_for_speech_and_is_always_the_same() -> None:
    samples = speech(8.0, 3)
    assert np.array_equal(samples, speech(8.0, 3))
    assert not np.array_equal(samples, speech(8.0, 4))
    spans = list(find_speech([samples], VadSettings()))
    assert sum(span.length for span in spans) > 0.7 * len(samples)
    clips = Clips(2.0, 3)
    assert len({clips.next().tobytes() for _ in range(50)}) == 50


def test_a_page_shows_everything_and_runs_nothing() -> None:
    order = Order("search", "http://x/<i>", users=2, duration=3.0, model="<b>")
    moments = tuple(moment(n, [0.1, 0.2], name="<u>search") for n in range(3))
    found = operations(moments)
    samples = [Sample(20.0 * at, 10**8 + at, 10, 5, frozenset({1})) for at in range(60)]
    result = Result(
        order=order,
        started=0.0,
        seconds=3.0,
        machine="<s>",
        local=True,
        measured="<em>",
        operations=found,
        verdicts=verdicts(moments, found, [Level("<u>search", 0.15)]),
        moments=moments,
        notes=("<script>alert(1)</script>",),
        growth=growths(samples),
        knee=knee(lambda users: step(users, 5), 100),
    )
    shown = page(result)
    for mark in ("<script", "<u>", "<i>", "<em>", "<s>", "<b>", "src=", "href="):
        assert mark not in shown.replace("<i class", "")
    for words in ("missed", "with 5 users", "steady", "Memory", "p95 &lt; 150 ms"):
        assert words in shown
    assert shown.count("<svg") == shown.count("</svg>") == 8
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
