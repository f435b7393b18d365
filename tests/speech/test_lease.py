"""Lending: one load a model, whoever asks and however many; idle models go."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hansard import errors
from hansard.config import Settings
from hansard.model import WindowResult
from hansard.speech import memory
from hansard.speech.engine import Capabilities, Engine, Samples, SpeechOptions
from hansard.speech.lease import Models, open_engine

PATIENCE = 60
"""Seconds until a test that waits for ever is given up; no test is about time."""


class FakeEngine:
    """An engine that only counts."""

    def __init__(self, name: str, model: str) -> None:
        self.name, self.model = name, model
        self.closed = threading.Event()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(None, True, True, True, True, True, 30.0, 1, 1, "cpu")

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        del options
        assert not self.closed.is_set(), "used after it was closed"
        return [WindowResult() for _ in batch]

    def detect_language(self, window: Samples) -> tuple[str, float]:
        del window
        return "en", 1.0

    def close(self) -> None:
        self.closed.set()


class Loader:
    """Makes fake engines, when and how a test wants it."""

    def __init__(self) -> None:
        self.made: list[FakeEngine] = []
        self.calls = 0
        self.under_way = 0
        self.most_under_way = 0
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()
        self.problem: BaseException | None = None

    def __call__(self, engine: str, model: str, settings: Settings) -> Engine:
        del settings
        with self.lock:
            self.calls += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            assert self.gate.wait(PATIENCE)
            if self.problem is not None:
                raise self.problem
            made = FakeEngine(engine, model)
            with self.lock:
                self.made.append(made)
            return made
        finally:
            with self.lock:
                self.under_way -= 1


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def has_room(engine: str, model: str, settings: Settings) -> None:
    del engine, model, settings


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lender(tmp_path: Path, loader: Loader, clock: Clock) -> Iterator[Models]:
    settings = Settings(data=tmp_path, model_idle=300.0)
    made = Models(settings, load=loader, clock=clock, room=has_room)
    yield made
    made.close()


def until(true: Callable[[], bool]) -> None:
    for _ in range(PATIENCE * 100):
        if true():
            return
        threading.Event().wait(0.01)
    pytest.fail("it never came true")


def test_a_model_is_loaded_once_and_shared(lender: Models, loader: Loader) -> None:
    with lender.lease("whisper", "tiny") as one, lender.lease("whisper", "tiny") as other:
        assert one is other
        with lender.lease("whisper", "base") as third:
            assert third is not one
    with lender.lease("whisper", "tiny") as again:
        assert again is one
    assert loader.calls == 2
    assert lender.loaded() == [("whisper", "tiny"), ("whisper", "base")]


def test_twenty_threads_wait_for_one_load(lender: Models, loader: Loader) -> None:
    loader.gate.clear()
    together = threading.Barrier(20)

    def use() -> int:
        with lender.lease("whisper", "tiny") as engine:
            together.wait(PATIENCE)  # all hold it at the same time
            return id(engine)

    with ThreadPoolExecutor(20) as pool:
        users = [pool.submit(use) for _ in range(20)]
        until(lambda: loader.under_way == 1)
        loader.gate.set()
        assert len({user.result(PATIENCE) for user in users}) == 1
    assert loader.calls == 1


def test_different_models_load_side_by_side(lender: Models, loader: Loader) -> None:
    loader.gate.clear()

    def use(model: str) -> None:
        with lender.lease("whisper", model):
            pass

    with ThreadPoolExecutor(3) as pool:
        users = [pool.submit(use, model) for model in ("a", "b", "c")]
        until(lambda: loader.under_way == 3)
        loader.gate.set()
        for user in users:
            user.result(PATIENCE)
    assert loader.most_under_way == 3


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (errors.ModelBroken("rubbish", hint="do this"), errors.ModelBroken),
        (errors.OutOfMemory("too big", retry_after=3), errors.OutOfMemory),
        (RuntimeError("boom"), errors.EngineError),
        (KeyboardInterrupt(), errors.EngineDied),
    ],
)
def test_a_load_that_fails_is_told_to_all_and_tried_again(
    lender: Models, loader: Loader, problem: BaseException, told: type[errors.HansardError]
) -> None:
    loader.gate.clear()
    loader.problem = problem
    caught: list[BaseException] = []

    def use() -> None:
        try:
            with lender.lease("whisper", "tiny"):
                pass
        except BaseException as seen:  # noqa: BLE001 - whatever it is, the test looks at it
            caught.append(seen)

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: any(held.users == 20 for held in lender._held.values()))
    loader.gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert loader.calls == 1
    assert len(caught) == 20
    assert sum(seen is problem for seen in caught) == 1
    assert all(isinstance(seen, told) for seen in caught if seen is not problem)
    if isinstance(problem, errors.HansardError):
        assert all(
            isinstance(seen, errors.HansardError)
            and (seen.message, seen.hint, seen.retry_after)
            == (problem.message, problem.hint, problem.retry_after)
            for seen in caught
        )
    loader.problem = None
    with lender.lease("whisper", "tiny") as engine:
        assert engine.model == "tiny"
    assert loader.calls == 2


def test_idle_models_are_unloaded_and_busy_ones_are_not(
    lender: Models, loader: Loader, clock: Clock
) -> None:
    with lender.lease("whisper", "busy"):
        with lender.lease("whisper", "idle"):
            pass
        clock.now += 299
        lender.sweep()
        assert len(lender.loaded()) == 2
        clock.now += 1
        lender.sweep()
        assert lender.loaded() == [("whisper", "busy")]
        assert loader.made[1].closed.is_set()
        assert not loader.made[0].closed.is_set()
    with lender.lease("whisper", "idle"):
        pass
    assert loader.calls == 3


def test_idle_models_go_by_themselves(tmp_path: Path, loader: Loader) -> None:
    lender = Models(Settings(data=tmp_path, model_idle=0.01), load=loader, room=has_room)
    for round_ in range(3):
        with lender.lease("whisper", "tiny"):
            pass
        assert loader.made[round_].closed.wait(PATIENCE)
        until(lambda: not lender.loaded())
    lender.close()
    until(lambda: not any(t.name == "hansard-models" for t in threading.enumerate()))


def test_a_lease_that_ends_in_an_error_is_given_back(lender: Models, clock: Clock) -> None:
    with pytest.raises(ValueError, match="mine"), lender.lease("whisper", "tiny"):
        raise ValueError("mine")
    clock.now += 1000
    lender.sweep()
    assert lender.loaded() == []


def test_many_threads_and_a_sweeper_never_meet(lender: Models, loader: Loader) -> None:
    """Engines are closed while others ask for them; nobody ever holds a closed one."""
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            lender.sweep(every=True)

    def use(number: int) -> None:
        for turn in range(50):
            with lender.lease("whisper", f"m{(number + turn) % 3}") as engine:
                engine.transcribe([], SpeechOptions())

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            for user in [pool.submit(use, number) for number in range(8)]:
                user.result(PATIENCE)
    finally:
        stop.set()
        sweeper.join(PATIENCE)
    lender.sweep(every=True)
    assert all(engine.closed.is_set() for engine in loader.made)


def test_room_is_made_by_unloading_what_is_idle(tmp_path: Path, loader: Loader) -> None:
    def room(engine: str, model: str, settings: Settings) -> None:
        del engine, settings
        if any(not made.closed.is_set() for made in loader.made):
            raise errors.NotEnoughMemory(f"no room for {model}")

    lender = Models(Settings(data=tmp_path), load=loader, room=room)
    with (
        lender.lease("whisper", "one"),
        pytest.raises(errors.NotEnoughMemory),
        lender.lease("whisper", "two"),
    ):
        pass
    with lender.lease("whisper", "two"):
        assert lender.loaded() == [("whisper", "two")]
    lender.close()


def test_what_is_loaded_needs_no_more_memory(
    lender: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free", lambda _: 0)
    settings = Settings(data=tmp_path)
    with lender.lease("sphinx", "en-us"):
        memory.check("sphinx", "en-us", settings)
        with pytest.raises(errors.NotEnoughMemory):
            memory.check("openai", "whisper-1", settings)
    lender.sweep(every=True)
    with pytest.raises(errors.NotEnoughMemory):
        memory.check("sphinx", "en-us", settings)


def test_closing_lends_nothing_more_and_takes_nothing_away(lender: Models, loader: Loader) -> None:
    with lender.lease("whisper", "busy") as engine:
        with lender.lease("whisper", "idle"):
            pass
        lender.close()
        assert loader.made[1].closed.is_set()
        assert engine.transcribe([], SpeechOptions()) == []
        with pytest.raises(errors.EngineDied), lender.lease("whisper", "busy"):
            pass
    assert loader.made[0].closed.is_set()
    lender.close()


def test_an_engine_that_cannot_close_is_logged_and_forgotten(
    lender: Models,
    loader: Loader,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stuck() -> None:
        raise RuntimeError("stuck")

    with lender.lease("whisper", "tiny"):
        monkeypatch.setattr(loader.made[0], "close", stuck)
    lender.sweep(every=True)
    assert lender.loaded() == []
    assert "could not be unloaded" in caplog.text


def test_a_model_in_use_is_not_removed(lender: Models, loader: Loader, tmp_path: Path) -> None:
    directory = tmp_path / "models" / "whisper" / "tiny"
    directory.mkdir(parents=True)
    with (
        lender.lease("whisper", "tiny"),
        pytest.raises(errors.InvalidState, match="in use"),
    ):
        lender.remove("tiny")
    assert directory.is_dir()
    lender.remove("tiny")
    assert not directory.exists()
    assert loader.made[0].closed.is_set()
    with pytest.raises(errors.ModelMissing):
        lender.remove("tiny")
    with pytest.raises(errors.UnknownModel):
        lender.remove("../tiny")
    with lender.lease("whisper", "tiny"):
        assert loader.calls == 2


def test_a_model_that_was_never_used_is_removed(lender: Models, tmp_path: Path) -> None:
    directory = tmp_path / "models" / "whisper" / "large-v3"
    directory.mkdir(parents=True)
    lender.remove("large")
    assert not directory.exists()
    assert lender.loaded() == []


def test_real_engines_are_opened_by_name(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    remote = open_engine("openai", "whisper-1", settings)
    assert (remote.name, remote.model) == ("openai", "whisper-1")
    remote.close()
    with pytest.raises(errors.UnknownModel):
        open_engine("abacus", "one", settings)


def test_an_error_keeps_its_own_trace(lender: Models, loader: Loader) -> None:
    loader.problem = errors.ModelBroken("rubbish")
    with pytest.raises(errors.ModelBroken) as caught, lender.lease("whisper", "tiny"):
        pass
    assert "_fill" in "".join(traceback.format_exception(caught.value))
