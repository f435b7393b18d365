"""Finding the best settings, on work whose cost is counted and not timed."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import SAMPLE, decoded

from hansard import tuned
from hansard.config import Settings, load
from hansard.perf import halving, optimisation, optimise_speech
from hansard.perf.optimise import (
    Knob,
    Outcome,
    Output,
    Space,
    Values,
    applied,
    optimise,
    variants,
)
from hansard.perf.optimise import given as set_by_hand
from hansard.perf.optimise_speech import Listening
from hansard.speech import tuning

LANES, BATCH = "whisper.models.tiny.lanes", "whisper.models.tiny.batch"


class Counted:
    """Work that takes as many ticks as its values say, give or take a little noise.

    The best is four lanes in batches of eight; ``type`` 1 is quick and hears other words.
    """

    name = "stt"
    weight = 1.0
    fixed = 0.0

    def __init__(self, *, best: tuple[int, int] = (4, 8), noise: float = 0.02) -> None:
        self.now = 0.0
        self.runs = 0
        self._best = best
        self._noise = random.Random(7)
        self._width = noise

    def clock(self) -> float:
        return self.now

    def space(self) -> Space:
        return [
            Knob((LANES,), ((1,), (2,), (4,), (8,))),
            Knob((BATCH,), ((1,), (4,), (8,), (16,))),
            Knob(("sphinx.window_seconds",), ((8.0,),)),
        ]

    def run(self, values: Values, share: float) -> tuple[float, Output]:
        self.runs += 1
        lanes, batch = values.get(LANES, 2), values.get(BATCH, 4)
        away = abs(math.log2(lanes / self._best[0])) + abs(math.log2(batch / self._best[1]))
        cost = share * (1.0 + 0.3 * away)
        text = "one two three"
        if "sphinx.window_seconds" in values:
            cost, text = 0.1 * share, "something else altogether"
        cost *= 1.0 + self._width * self._noise.uniform(-1, 1)
        self.now += cost
        return cost, Output(text)

    def close(self) -> None:
        """Nothing is held."""


def found(part: Counted, before: Values, budget: float = 200.0, **more: Any) -> Outcome:
    more.setdefault("given", frozenset())
    return optimise(part, before, budget=budget, clock=part.clock, **more)


# ── the race ─────────────────────────────────────────────────────────────────────────────────


def test_the_best_is_found_and_its_gain_is_measured_anew() -> None:
    part = Counted()
    outcome = found(part, {})
    assert outcome.after == {LANES: 4, BATCH: 8}
    assert outcome.low < 1.6 < outcome.high or math.isclose(outcome.faster, 1.6, rel_tol=0.02)
    assert outcome.low > 1
    assert outcome.pairs >= halving.LEAST_PAIRS
    assert outcome.words == "the same result"


def test_a_bad_profile_is_repaired() -> None:
    outcome = found(Counted(), {LANES: 1, BATCH: 1})
    assert outcome.before == {LANES: 1, BATCH: 1}
    assert outcome.after == {LANES: 4, BATCH: 8}
    assert outcome.low > 2


def test_a_bad_profile_gives_way_to_what_is_built_in_where_that_is_best() -> None:
    outcome = found(Counted(best=(2, 4)), {LANES: 8, BATCH: 16})
    assert outcome.changed
    values = {LANES: 2, BATCH: 4} | outcome.after
    assert values == {LANES: 2, BATCH: 4}


def test_where_nothing_is_better_it_says_so_with_the_interval() -> None:
    outcome = found(Counted(best=(2, 4)), {})
    assert not outcome.changed
    assert outcome.after == {}
    assert outcome.high < 1.03
    assert "what is built in is best" in outcome.sentence()
    assert f"{outcome.low:.2f} to {outcome.high:.2f}" in outcome.sentence()


def test_what_is_built_in_is_a_rival_like_any_other() -> None:
    outcome = found(Counted(noise=0.3, best=(1, 4)), {LANES: 1}, given=frozenset({BATCH}))
    assert outcome.rival == {} or outcome.rival[LANES] != 1
    assert "the most promising is" in outcome.sentence()


def test_noise_alone_changes_nothing() -> None:
    flat = Counted(noise=0.3)
    flat._best = (2, 4)
    for seed in range(3):
        flat._noise = random.Random(seed)
        assert not found(flat, {}).changed


def test_words_come_before_speed() -> None:
    outcome = found(Counted(), {})
    assert "sphinx.window_seconds" not in outcome.after
    assert outcome.spoilt >= 1


def test_a_profile_that_spoils_the_words_does_not_stay() -> None:
    outcome = found(Counted(), {"sphinx.window_seconds": 8.0})
    assert "sphinx.window_seconds" not in outcome.after
    assert outcome.changed


def test_what_the_user_has_set_is_not_varied() -> None:
    outcome = found(Counted(), {}, given=frozenset({LANES}))
    assert set(outcome.after) == {BATCH}


@given(st.integers(1, 27), st.floats(0.5, 100))
def test_the_budget_is_kept_but_for_the_pass_that_was_begun(count: int, budget: float) -> None:
    now = 0.0

    def cost(candidate: int, share: float) -> float:
        nonlocal now
        now += share
        return share * (1 + candidate)

    result = halving.search(0, list(range(1, count + 1)), cost, budget=budget, clock=lambda: now)
    assert result.standings[0].candidate == 1, "the cheapest wins"
    assert len(result.standings) == count
    assert now <= budget + 3 * (count + 1)


@given(st.integers(1, 200))
def test_rounds_end_with_all_of_the_work_for_a_few(count: int) -> None:
    plan = halving.shares(count)
    assert plan[-1] == 1.0
    left = count
    for _ in plan[:-1]:
        left = math.ceil(left / halving.ETA)
    assert left <= halving.ETA
    assert all(b == pytest.approx(a * halving.ETA) for a, b in itertools.pairwise(plan))


def test_candidates_are_the_same_each_time_and_none_is_there_twice() -> None:
    space = Counted().space()
    once = variants(space, {LANES: 1}, 27)
    assert once == variants(space, {LANES: 1}, 27)
    assert {} in once
    assert {LANES: 1} not in once
    assert len({repr(sorted(one.items())) for one in once}) == len(once)


# ── the profile ──────────────────────────────────────────────────────────────────────────────

VALUES = {"whisper.models.tiny.en.lanes": 3, "sqlite.cache": 2**24, "model_idle": 60.0}


def profile(values: Values = VALUES, **stamp: Any) -> tuned.Profile:
    import msgspec

    here = msgspec.structs.replace(tuned.here(), **stamp)
    return tuned.Profile(here, "whisper/tiny.en", tuned.now(), ('a "word" \\ on it',), dict(values))


def test_a_profile_is_read_below_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    tuned.write(data, profile())
    assert tuned.read(data) == profile()
    settings = load(data=data)
    assert settings.whisper.of("tiny.en").lanes == 3
    assert settings.whisper.of("tiny").lanes is None, "it holds for the model it was measured with"
    assert (settings.sqlite.cache, settings.model_idle) == (2**24, 60.0)
    monkeypatch.setenv("HANSARD_SQLITE__CACHE", str(2**25))
    monkeypatch.setenv("HANSARD_WHISPER__LANES", "1")
    settings = load(data=data)
    assert settings.sqlite.cache == 2**25
    assert settings.whisper.of("tiny.en").lanes == 1
    assert load(data=data, tuned=False).model_idle == 300.0
    assert set_by_hand(settings, "tiny.en") >= {
        "sqlite.cache",
        "whisper.models.tiny.en.lanes",
        "whisper.models.tiny.en.threads",
    }


@pytest.mark.parametrize(
    ("stamp", "said"),
    [
        ({"processor": "Another"}, "the processor was Another"),
        ({"cores": 96.0}, "the number of processors was 96"),
        ({"memory": 1e6}, "of memory"),
        ({"gpus": ("Card",)}, "the graphics cards was Card"),
        ({"hansard": "9.9"}, "the version of Hansard was 9.9"),
        ({"engine": "1.0"}, "the version of CTranslate2 was 1.0"),
    ],
)
def test_a_profile_of_another_machine_is_not_applied_and_that_is_said_once(
    tmp_path: Path,
    stamp: dict[str, Any],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tuned.write(tmp_path, profile(**stamp))
    for _ in range(3):
        assert load(data=tmp_path).model_idle == 300.0
    (record,) = caplog.records
    assert "is NOT applied" in record.message
    assert said in record.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[settings.sqlite]\nsynchronous = 0", "sqlite.synchronous is not for a profile"),
        ('[settings.openai]\napi_key = "x"', "openai.api_key is not for a profile"),
        ("[settings.sqlite]\ncache = -1", "sqlite.cache"),
        ("[settings.whisper.models.tiny]\nlane = 1", "whisper.models.tiny.lane"),
        ("[settings", "cannot be used"),
    ],
)
def test_an_edited_profile_may_say_nothing_else(tmp_path: Path, line: str, said: str) -> None:
    from hansard.errors import BadSettings

    path = tuned.write(tmp_path, profile({}))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(BadSettings) as refused:
        load(data=tmp_path)
    assert said in refused.value.message
    assert "tuned" in f"{refused.value.message} {refused.value.hint}"


def test_it_is_undone_step_by_step(tmp_path: Path) -> None:
    from hansard.errors import InvalidState

    tuned.write(tmp_path, profile({"model_idle": 1.0}))
    tuned.write(tmp_path, profile({"model_idle": 2.0}))
    assert load(data=tmp_path).model_idle == 2.0
    assert tuned.undo(tmp_path)
    assert load(data=tmp_path).model_idle == 1.0
    tuned.remove(tmp_path)
    assert load(data=tmp_path).model_idle == 300.0
    assert tuned.undo(tmp_path)
    assert load(data=tmp_path).model_idle == 1.0
    assert not tuned.undo(tmp_path)
    with pytest.raises(InvalidState):
        tuned.undo(tmp_path)


def test_every_tunable_setting_exists_and_none_is_about_safety() -> None:
    fields = Settings.model_fields
    for name in tuned.TUNABLE:
        section, _, field = name.rpartition(".")
        owner: Any = fields[section].annotation if section else Settings
        assert field in owner.model_fields, name
    assert not any("synchronous" in name or "limits" in name for name in tuned.TUNABLE)


def test_values_are_applied_as_a_profile_would_have_them(tmp_path: Path) -> None:
    plain = Settings(data=tmp_path)
    tuned.write(tmp_path, profile())
    assert applied(plain, VALUES).model_dump() == load(data=tmp_path).model_dump()


# ── all of it ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Stands in for all parts, with settings that the embedded engine's model has."""
    part = Counted()
    monkeypatch.setattr(optimisation, "_ready", lambda *_: {"stt": lambda: part})
    return part


def run(data: Path, part: Counted) -> optimisation.Report:
    plain = load(data=data, tuned=False, offline=True)
    report = optimisation.run(
        plain, minutes=4.0, components=("stt",), model="sphinx", clock=part.clock
    )
    optimisation.keep(plain, report)
    return report


def test_the_profile_is_written_used_and_left_alone(tmp_path: Path, counted: Counted) -> None:
    report = run(tmp_path, counted)
    assert report.values == {LANES: 4, BATCH: 8}
    kept = tuned.read(tmp_path)
    assert kept is not None
    assert "times as fast" in kept.evidence[0]
    assert load(data=tmp_path).whisper.of("tiny").batch == 8
    before = (tmp_path / tuned.FILE).read_text()
    again = run(tmp_path, counted)
    assert not again.changed
    assert (tmp_path / tuned.FILE).read_text() == before


def test_a_bad_profile_in_the_store_is_repaired(tmp_path: Path, counted: Counted) -> None:
    tuned.write(tmp_path, profile({LANES: 1, BATCH: 1, "sqlite.cache": 2**24}))
    report = run(tmp_path, counted)
    assert report.values == {LANES: 4, BATCH: 8, "sqlite.cache": 2**24}, "others stay as they were"
    tuned.undo(tmp_path)
    assert load(data=tmp_path).whisper.of("tiny").lanes == 1


def test_nothing_is_written_where_nothing_is_better(tmp_path: Path, counted: Counted) -> None:
    counted._best = (2, 4)
    assert not run(tmp_path, counted).changed
    assert not (tmp_path / tuned.FILE).exists()


@pytest.mark.parametrize("cores", [1, 3])
def test_even_the_least_work_has_a_window_for_each_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """Or lanes would have nothing to do, and whatever hears one window fastest would look best."""
    heard: list[int] = []

    def hear(_engine: Any, windows: list[Any], _asked: Any) -> list[str]:
        heard.append(len(windows))
        return ["" for _ in windows]

    monkeypatch.setattr(tuning, "cores", lambda: cores)
    monkeypatch.setattr(optimise_speech, "hear", hear)
    monkeypatch.setattr(Listening, "_open", lambda *_: SimpleNamespace(capabilities=None))
    samples = decoded(SAMPLE)[: 60 * 16_000]
    part = Listening(load(data=tmp_path, tuned=False), "sphinx", "en-us", samples)
    part.run({}, 0.001)
    part.run({}, 1.0)
    assert cores <= heard[0] < heard[1]
