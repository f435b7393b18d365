"""What every engine promises (``speech/engine.py``), whichever it is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hansard.config import OpenAISettings
from hansard.errors import HansardError, NotSupported
from hansard.machine import SphinxSettings, WhisperSettings
from hansard.model import MAX_WINDOW_SECONDS, SAMPLE_RATE
from hansard.speech.engine import Engine, Samples, SpeechOptions

HERE = Path(__file__).resolve().parent
ENGLISH = SpeechOptions(language="en", max_tokens=24)


def _load(path: Path) -> ModuleType:
    """A script that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _whisper(scratch: Path, stack: ExitStack) -> Engine:
    from hansard.speech.whisper import WhisperEngine

    writer: Any = _load(HERE.parents[1] / "bench" / "random_whisper.py")
    model = writer.write(scratch / "model", size=writer.MINIATURE, manner=writer.TALKATIVE)
    engine = WhisperEngine("miniature", model, WhisperSettings(device="cpu"), scratch / "tuning")
    stack.callback(engine.close)
    return engine


def _sphinx(scratch: Path, stack: ExitStack) -> Engine:
    from hansard.speech.sphinx import SphinxEngine

    del scratch
    engine = SphinxEngine(SphinxSettings(processes=2))
    stack.callback(engine.close)
    return engine


def _openai(scratch: Path, stack: ExitStack) -> Engine:
    from hansard.speech.remote import RemoteEngine

    del scratch
    fake: Any = _load(HERE / "fake_openai.py")
    server = stack.enter_context(fake.serve())
    settings = OpenAISettings.model_validate({"base_url": server.url, "api_key": fake.KEY})
    engine = RemoteEngine("whisper-1", settings)
    stack.callback(engine.close)
    return engine


FACTORIES: dict[str, Callable[[Path, ExitStack], Engine]] = {
    "whisper": _whisper,
    "sphinx": _sphinx,
    "openai": _openai,
}


@pytest.fixture(scope="module", params=list(FACTORIES))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        # Whatever the machine says about proxies must not matter for a server on this machine.
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        yield FACTORIES[request.param](tmp_path_factory.mktemp(request.param), stack)


def sound(seconds: float, seed: int = 1) -> Samples:
    """Noise in the rhythm of speech."""
    count = int(seconds * SAMPLE_RATE)
    swell = np.sin(np.arange(count) * (2 * np.pi * 2 / SAMPLE_RATE)) ** 2
    values = np.random.default_rng(seed).standard_normal(count) * 2000 * swell
    return np.asarray(values, np.int16)


def test_it_says_who_it_is_and_what_it_can_do(engine: Engine) -> None:
    able = engine.capabilities
    assert engine.name in FACTORIES
    assert engine.model
    assert 0 < able.window_seconds <= MAX_WINDOW_SECONDS
    assert able.batch >= 1
    assert able.lanes >= 1
    assert able.device in {"cpu", "cuda", "remote"}
    assert able.languages is None or "en" in able.languages


def test_answers_come_one_for_each_window_inside_it_and_in_order(engine: Engine) -> None:
    windows = [sound(seconds, seed) for seed, seconds in enumerate((3.0, 0.4, 5.5))]
    results = engine.transcribe(windows, ENGLISH)
    assert len(results) == len(windows)
    for window, result in zip(windows, results, strict=True):
        length = len(window) / SAMPLE_RATE + 1e-3
        starts = [utterance.start for utterance in result.utterances]
        assert starts == sorted(starts)
        for utterance in result.utterances:
            assert 0 <= utterance.start <= utterance.end <= length
            assert utterance.text.strip()
            for word in utterance.words:
                assert 0 <= word.start <= word.end <= length
                assert word.confidence is None or 0 <= word.confidence <= 1
        assert result.cost >= 0


def test_an_answer_does_not_depend_on_the_batch(engine: Engine) -> None:
    windows = [sound(seconds, seed) for seed, seconds in enumerate((2.0, 4.0, 3.0))]
    together = engine.transcribe(windows, ENGLISH)
    assert [engine.transcribe([window], ENGLISH)[0] for window in windows] == together
    assert engine.transcribe(windows[::-1], ENGLISH) == together[::-1]


def test_no_windows_are_no_answers(engine: Engine) -> None:
    assert engine.transcribe([], ENGLISH) == []


def test_silence_is_not_an_error(engine: Engine) -> None:
    [result] = engine.transcribe([np.zeros(SAMPLE_RATE, np.int16)], ENGLISH)
    assert all(utterance.end <= 1 + 1e-3 for utterance in result.utterances)


def test_language_is_told_or_refused(engine: Engine) -> None:
    if not engine.capabilities.detects_language:
        with pytest.raises(NotSupported):
            engine.detect_language(sound(3))
        return
    language, probability = engine.detect_language(sound(3))
    assert 2 <= len(language) <= 3
    assert 0 <= probability <= 1


def test_what_it_cannot_do_is_refused_by_name(engine: Engine) -> None:
    if not engine.capabilities.translation:
        with pytest.raises(NotSupported):
            engine.transcribe([sound(1)], SpeechOptions(language="en", task="translate"))
    if engine.capabilities.languages is not None:
        with pytest.raises(HansardError):
            engine.transcribe([sound(1)], SpeechOptions(language="xx"))


def test_closing_twice_is_harmless(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as stack:
        other = FACTORIES[engine.name](tmp_path, stack)
        other.close()
        other.close()
        with pytest.raises(HansardError):
            other.transcribe([sound(1)], ENGLISH)
