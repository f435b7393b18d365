"""The Whisper engine on models with random weights: everything but the truth of the words."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard import telemetry
from hansard.errors import (
    BadSettings,
    EngineError,
    ModelBroken,
    ModelMissing,
    NotSupported,
    OutOfMemory,
)
from hansard.headroom import Bound, Headroom
from hansard.machine import WhisperSettings
from hansard.model import SAMPLE_RATE, WindowResult
from hansard.speech import guards, tuning, whisper, whisper_model
from hansard.speech.engine import Samples, SpeechOptions
from hansard.speech.features import log_mel, mel_filters
from hansard.speech.tuning import Setting, Split
from hansard.speech.whisper import WhisperEngine

ROOT = Path(__file__).resolve().parents[2]
PLAIN = SpeechOptions(language="en", word_times=False, max_tokens=24, guards=False)
GREEDY = WhisperSettings(device="cpu", beam_size=1, lanes=2, threads=1)


def _load(path: Path) -> ModuleType:
    """A script that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


random_whisper: Any = _load(ROOT / "bench" / "random_whisper.py")


def noise(seconds: float, seed: int = 1) -> Samples:
    """Something with a spectrum that moves."""
    generator = np.random.default_rng(seed)
    count = int(seconds * SAMPLE_RATE)
    swell = np.sin(np.arange(count) * (2 * np.pi * (1 + seed % 5) / SAMPLE_RATE))
    values = generator.standard_normal(count) * 3000 * swell
    return np.asarray(values.clip(-32768, 32767), np.int16)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write = random_whisper.write
    small, v3 = random_whisper.MINIATURE, random_whisper.MINIATURE_V3
    write(root / "endless", size=small)
    write(root / "talkative", size=small, manner=random_whisper.TALKATIVE)
    write(root / "english", size=small, english_only=True, manner=random_whisper.TALKATIVE)
    write(root / "v3", size=v3, preprocessor=False, manner=random_whisper.TALKATIVE)
    return root


@pytest.fixture
def engine(models: Path, tmp_path: Path) -> Iterator[Callable[..., WhisperEngine]]:
    opened: list[WhisperEngine] = []

    def make(name: str = "endless", settings: WhisperSettings = GREEDY) -> WhisperEngine:
        opened.append(WhisperEngine(name, models / name, settings, tmp_path / "tuning"))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def tokens(result: WindowResult) -> list[int]:
    return [token for utterance in result.utterances for token in utterance.tokens]


# ── the same as faster-whisper ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [480_000, 123_457, 16_000, 100, 0])
def test_features_equal_faster_whispers_of_the_window_in_silence(mels: int, samples: int) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    theirs = FeatureExtractor(feature_size=mels)
    window = noise(30)[:samples]
    padded = np.zeros(480_000, np.float32)
    padded[:samples] = window / np.float32(32768)
    features = log_mel([window], mels)
    assert features.shape == (1, mels, 3000)
    np.testing.assert_allclose(features[0], theirs(padded)[:, :3000], atol=2e-5)
    np.testing.assert_allclose(mel_filters(mels), theirs.mel_filters, atol=1e-7)


@pytest.mark.parametrize("beams", [1, 5])
def test_tokens_and_word_times_equal_faster_whispers(
    engine: Callable[..., WhisperEngine], models: Path, beams: int
) -> None:
    from faster_whisper import WhisperModel

    theirs = WhisperModel(str(models / "endless"), device="cpu", compute_type="int8", cpu_threads=1)
    window = noise(30)
    segments, _ = theirs.transcribe(
        window / np.float32(32768),
        language="en",
        beam_size=beams,
        temperature=0,
        compression_ratio_threshold=None,
        log_prob_threshold=None,
        no_speech_threshold=None,
        word_timestamps=True,
        max_new_tokens=45,  # CTranslate2 stops at half of this and the three tokens of the prompt
        clip_timestamps=[0.0, 30.0],
    )
    said = next(iter(segments))
    settings = GREEDY.model_copy(update={"beam_size": beams})
    options = SpeechOptions(language="en", max_tokens=24, guards=False)
    [result] = engine(settings=settings).transcribe([window], options)
    assert tokens(result) == said.tokens
    # Features differ in the last bit, which int8 rounds up or down.
    assert result.utterances[0].avg_logprob == pytest.approx(said.avg_logprob, abs=1e-2)
    assert result.utterances[0].no_speech_prob == pytest.approx(said.no_speech_prob, abs=1e-4)
    words = [word for utterance in result.utterances for word in utterance.words]
    assert said.words
    assert [word.text for word in words] == [word.word.strip() for word in said.words]
    assert [word.end for word in words] == pytest.approx(
        [word.end for word in said.words], abs=0.02
    )


# ── the same whatever else is going on ───────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["int8", "float32"])
@pytest.mark.parametrize("beams", [1, 5])
def test_an_answer_does_not_depend_on_the_batch(
    engine: Callable[..., WhisperEngine], kind: str, beams: int
) -> None:
    settings = GREEDY.model_copy(update={"compute_type": kind, "beam_size": beams})
    one = engine("talkative", settings)
    options = SpeechOptions(max_tokens=40)
    windows = [noise(seconds, seed) for seed, seconds in enumerate((30, 4, 17.3, 9, 29, 1, 22))]
    alone = [one.transcribe([window], options)[0] for window in windows]
    assert one.transcribe(windows, options) == alone
    assert one.transcribe(windows[::-1], options) == alone[::-1]
    assert one.transcribe(windows[:3], options) == alone[:3]


def test_lanes_at_work_together_give_what_each_gives_alone(
    engine: Callable[..., WhisperEngine],
) -> None:
    one = engine("talkative")
    options = SpeechOptions(max_tokens=40)
    windows = [noise(5 + seed, seed) for seed in range(8)]
    alone = [one.transcribe([window], options) for window in windows]
    with ThreadPoolExecutor(4) as lanes:
        assert list(lanes.map(lambda w: one.transcribe([w], options), windows * 2)) == alone * 2


def test_a_second_decoding_samples_the_same_words_each_time(
    engine: Callable[..., WhisperEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of a temperature are accepted only at 0.6: three draws come before."""
    asked: list[float] = []

    def judge(result: WindowResult, seconds: float) -> str | None:
        assert seconds > 0
        temperature = result.utterances[0].temperature or 0.0
        asked.append(temperature)
        return None if temperature >= 0.6 else "logprob"

    monkeypatch.setattr(guards, "judge", judge)
    options = SpeechOptions(language="en", word_times=False, max_tokens=24, fallback=True)
    windows = [noise(6, seed) for seed in range(3)]
    first, second = engine(), engine()
    heard = first.transcribe(windows, options)
    assert asked[:4] == [0.0, 0.2, 0.4, 0.6]
    assert {u.temperature for result in heard for u in result.utterances} == {0.6}
    assert second.transcribe([windows[2]], options) == [heard[2]]
    assert first.transcribe(windows[::-1], options) == heard[::-1]
    plain = first.transcribe(windows, PLAIN)
    assert [tokens(result) for result in plain] != [tokens(result) for result in heard]


def test_of_answers_that_all_fail_the_likeliest_that_does_not_loop_is_kept(
    engine: Callable[..., WhisperEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[WindowResult] = []

    def judge(result: WindowResult, seconds: float) -> str:
        seen.append(result)
        assert seconds == 6
        return "repetition" if result.utterances[0].temperature == 0.0 else "logprob"

    monkeypatch.setattr(guards, "judge", judge)
    options = SpeechOptions(language="en", word_times=False, max_tokens=24, fallback=True)
    [kept] = engine().transcribe([noise(6)], options)
    sampled = [result.utterances[0].avg_logprob for result in seen[1:6]]
    assert kept.utterances[0].avg_logprob == max(map(float, filter(None, sampled)))
    assert kept.doubt == "logprob"


# ── what may be asked ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prompt", [None, "a few words before", "word " * 400])
def test_max_tokens_is_exact_with_any_prompt(
    engine: Callable[..., WhisperEngine], prompt: str | None
) -> None:
    options = SpeechOptions(
        language="en", prompt=prompt, hotwords="Hansard", word_times=False, max_tokens=30
    )
    [result] = engine().transcribe([noise(30)], options)
    assert len(tokens(result)) == 30


def test_prompt_hotwords_language_and_task_change_what_is_heard(
    engine: Callable[..., WhisperEngine],
) -> None:
    one = engine()
    asked = [
        SpeechOptions(language="en"),
        SpeechOptions(language="en", prompt="abcd efgh"),
        SpeechOptions(language="en", hotwords="ijkl"),
        SpeechOptions(language="en", task="translate"),
        SpeechOptions(language="de"),
    ]
    heard = [tuple(tokens(one.transcribe([noise(8)], options)[0])) for options in asked]
    assert len(set(heard)) == len(asked)


def test_languages_are_heard_for_each_window_and_mixed_in_one_batch(
    engine: Callable[..., WhisperEngine],
) -> None:
    one = engine("talkative")
    windows = [noise(3 + seed, seed) for seed in range(12)]
    results = one.transcribe(windows, SpeechOptions(max_tokens=20))
    heard = [one.detect_language(window)[0] for window in windows]
    assert [result.language for result in results] == heard
    assert len(set(heard)) > 1
    assert set(heard) <= set(one.capabilities.languages or ())
    assert 0 < one.detect_language(windows[0])[1] <= 1


def test_an_english_only_model_knows_english_alone(engine: Callable[..., WhisperEngine]) -> None:
    one = engine("english")
    able = one.capabilities
    assert (able.languages, able.detects_language, able.translation) == (("en",), False, False)
    [result] = one.transcribe([noise(12)], SpeechOptions(max_tokens=30))
    assert result.language == "en"
    assert result.utterances
    for refused in (SpeechOptions(language="de"), SpeechOptions(task="translate")):
        with pytest.raises(NotSupported):
            one.transcribe([noise(1)], refused)
    with pytest.raises(NotSupported):
        one.detect_language(noise(1))


def test_large_v3_has_128_mels_and_a_hundred_languages(
    engine: Callable[..., WhisperEngine],
) -> None:
    one = engine("v3")
    assert len(one.capabilities.languages or ()) == 100
    [result] = one.transcribe([noise(12)], SpeechOptions(language="yue", max_tokens=30))
    assert result.utterances


def test_times_stay_inside_the_window_and_in_order(engine: Callable[..., WhisperEngine]) -> None:
    windows = [noise(seconds, seed) for seed, seconds in enumerate((30, 0.2, 11.37, 0.005, 25))]
    results = engine("talkative").transcribe(windows, SpeechOptions(language="en"))
    assert any(len(result.utterances) > 1 for result in results)
    for window, result in zip(windows, results, strict=True):
        end = 0.0
        for utterance in result.utterances:
            assert 0 <= utterance.start <= utterance.end <= len(window) / SAMPLE_RATE + 1e-3
            for word in utterance.words:
                assert 0 <= word.start <= word.end <= len(window) / SAMPLE_RATE + 1e-3
                assert word.text.strip() == word.text != ""
            assert utterance.end >= end
            end = utterance.start


def test_an_empty_window_has_no_words_and_no_windows_no_answers(
    engine: Callable[..., WhisperEngine],
) -> None:
    one = engine()
    assert one.transcribe([], PLAIN) == []
    results = one.transcribe([noise(0), noise(2), noise(0)], PLAIN)
    assert [bool(result.utterances) for result in results] == [False, True, False]
    with pytest.raises(NotSupported, match=r"30\.1 s"):
        one.transcribe([noise(30.1)], PLAIN)


def test_doubts_are_named_unless_guards_are_off(engine: Callable[..., WhisperEngine]) -> None:
    one = engine()
    guarded = SpeechOptions(language="en", word_times=False, max_tokens=24)
    assert one.transcribe([noise(5)], guarded)[0].doubt == "logprob"
    assert one.transcribe([noise(5)], PLAIN)[0].doubt is None


def test_each_stage_is_timed(engine: Callable[..., WhisperEngine]) -> None:
    telemetry.reset()
    engine().transcribe([noise(5)], SpeechOptions(language="en", max_tokens=10))
    assert set(telemetry.snapshot().timings) >= {
        "engine.features",
        "engine.encode",
        "engine.decode",
        "engine.align",
    }


_TIMESTAMP = 1000


@given(st.lists(st.integers(0, _TIMESTAMP + 1500)))
def test_no_text_token_is_lost_or_said_twice(sequence: list[int]) -> None:
    parts = list(whisper._cut(sequence, _TIMESTAMP))
    said = [token for *_, part in parts for token in part if token < _TIMESTAMP]
    assert said == [token for token in sequence if token < _TIMESTAMP]
    assert all(any(token < _TIMESTAMP for token in part) for *_, part in parts)
    assert all(end is not None for _, end, _ in parts[:-1])


# ── memory that runs out ─────────────────────────────────────────────────────────────────────


class Cramped:
    """A model with room for few windows at once."""

    def __init__(self, model: Any, room: int, problem: type[Exception], words: str) -> None:
        self._model, self._room = model, room
        self._problem = problem(words)
        self.tried: list[int] = []

    def generate(self, encoded: Any, prompts: Any, **options: Any) -> Any:
        self.tried.append(len(prompts))
        if len(prompts) > self._room:
            raise self._problem
        return self._model.generate(encoded, prompts, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@pytest.mark.parametrize(
    ("problem", "words"),
    [(RuntimeError, "CUDA failed with error out of memory"), (MemoryError, "std::bad_alloc")],
)
def test_out_of_memory_halves_the_batch_and_says_so_once(
    engine: Callable[..., WhisperEngine],
    caplog: pytest.LogCaptureFixture,
    problem: type[Exception],
    words: str,
) -> None:
    one = engine(settings=GREEDY.model_copy(update={"batch": 8}))
    windows = [noise(3, seed) for seed in range(8)]
    whole = one.transcribe(windows, PLAIN)
    loaded = one._ready()
    cramped = Cramped(loaded.model, 2, problem, words)
    one._loaded = dataclasses.replace(loaded, model=cramped)
    with caplog.at_level(logging.WARNING):
        assert one.transcribe(windows, PLAIN) == whole
        assert one.capabilities.batch == 2
        assert cramped.tried == [8, 4, 2, 2, 4, 2, 2]
        assert one.transcribe(windows, PLAIN) == whole
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == [
        "Memory ran out; batches of 4 windows from now on."
    ]


def test_a_single_window_that_does_not_fit_is_an_error_on_the_cpu(
    engine: Callable[..., WhisperEngine],
) -> None:
    one = engine()
    loaded = one._ready()
    full = Cramped(loaded.model, 0, MemoryError, "std::bad_alloc")
    one._loaded = dataclasses.replace(loaded, model=full)
    with pytest.raises(OutOfMemory) as refused:
        one.transcribe([noise(3), noise(4)], PLAIN)
    assert refused.value.trouble == "resource"


def test_a_gpu_without_room_gives_way_to_the_cpu(
    engine: Callable[..., WhisperEngine], caplog: pytest.LogCaptureFixture
) -> None:
    one = engine()
    windows = [noise(3, seed) for seed in range(4)]
    whole = one.transcribe(windows, PLAIN)
    loaded = one._ready()
    full = Cramped(loaded.model, 0, RuntimeError, "CUDA failed with error out of memory")
    one._loaded = dataclasses.replace(loaded, model=full, device="cuda")
    with caplog.at_level(logging.WARNING):
        assert one.transcribe(windows, PLAIN) == whole
    assert one.capabilities.device == "cpu"
    assert sum("the CPU is used" in record.message for record in caplog.records) == 1


def test_other_trouble_of_the_model_is_an_engine_error(
    engine: Callable[..., WhisperEngine],
) -> None:
    one = engine()
    loaded = one._ready()
    broken = Cramped(loaded.model, 0, RuntimeError, "unexpected shape")
    one._loaded = dataclasses.replace(loaded, model=broken)
    with pytest.raises(EngineError, match="unexpected shape"):
        one.transcribe([noise(3)], PLAIN)


def test_without_room_for_a_copy_the_beams_must_do(
    engine: Callable[..., WhisperEngine],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = engine()
    monkeypatch.setattr("hansard.headroom.read", lambda: Headroom((Bound("system", 10**9, 0),)))
    options = SpeechOptions(language="en", word_times=False, max_tokens=24, fallback=True)
    with caplog.at_level(logging.WARNING):
        [result] = one.transcribe([noise(3)], options)
    assert result.utterances[0].temperature == 0.0
    assert "no memory to sample" in caplog.text


# ── coming and going ─────────────────────────────────────────────────────────────────────────


def test_a_closed_engine_answers_no_more(engine: Callable[..., WhisperEngine]) -> None:
    one = engine()
    one.close()
    one.close()
    with pytest.raises(EngineError, match="unloaded"):
        one.transcribe([noise(1)], PLAIN)


def test_a_missing_directory_is_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        WhisperEngine("small", tmp_path / "small", GREEDY, tmp_path)


@pytest.mark.parametrize("file", ["model.bin", "tokenizer.json", "config.json", "vocabulary.json"])
@pytest.mark.parametrize("left", [None, 0, 1000])
def test_a_directory_with_a_file_missing_or_cut_short_is_broken(
    models: Path, tmp_path: Path, file: str, left: int | None
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(models / "endless", directory)
    path = directory / file
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(whole[:left])
    with pytest.raises(ModelBroken):
        WhisperEngine("endless", directory, GREEDY, tmp_path)


def test_a_gpu_that_is_asked_for_must_be_there(models: Path, tmp_path: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BadSettings):
        WhisperEngine("endless", models / "endless", WhisperSettings(device="cuda"), tmp_path)


def test_a_gpu_without_room_for_the_weights_is_left_alone(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ctranslate2

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(whisper_model, "_free_gpu_memory", lambda: 10 * 2**20)
    assert not whisper_model.cuda_fits(models / "endless")
    assert "10 MB free" in caplog.text
    monkeypatch.setattr(whisper_model, "_free_gpu_memory", lambda: 80 * 2**30)
    assert whisper_model.cuda_fits(models / "endless")


# ── the split of cores ───────────────────────────────────────────────────────────────────────

_SETTING = Setting("a processor", 4, "small", "int8", "1")


def test_the_quickest_split_is_measured_once_and_remembered(tmp_path: Path) -> None:
    asked: list[Split] = []

    def measure(split: Split) -> float:
        asked.append(split)
        return {4: 1.0, 3: 1.0, 2: 5.0, 1: 2.0}[split.lanes]

    for _ in range(3):
        assert tuning.choose(_SETTING, tmp_path / "new", measure, seconds=60) == Split(2, 2)
    assert asked == tuning.candidates(4)
    other = Setting("another processor", 4, "small", "int8", "1")
    tuning.choose(other, tmp_path / "new", measure, seconds=60)
    assert asked == tuning.candidates(4) * 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"setting": 1}', b"[]", b"\xff\xfe", b'{"split":{"lanes":0}}']
)
def test_a_file_that_makes_no_sense_is_measured_again(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    tuning.choose(_SETTING, tmp_path, lambda _: 1.0)
    [path] = tmp_path.iterdir()
    path.write_bytes(content)
    assert tuning.choose(_SETTING, tmp_path, lambda split: split.threads, seconds=60).lanes == 1
    assert "measuring again" in caplog.text
    assert tuning.choose(_SETTING, tmp_path, lambda _: pytest.fail("was remembered")).lanes == 1


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def measure(_: Split) -> float:
        start.wait()
        return 1.0

    def choose(_: int) -> Split:
        return tuning.choose(_SETTING, tmp_path, measure, seconds=0)

    with ThreadPoolExecutor(8) as writers:
        assert set(writers.map(choose, range(8))) == {Split(4, 1)}
    assert len(list(tmp_path.iterdir())) == 1
    kept = tuning.choose(_SETTING, tmp_path, lambda _: pytest.fail("was remembered"))
    assert kept == Split(4, 1)


def test_a_directory_that_cannot_be_made_costs_only_the_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = tuning.choose(_SETTING, tmp_path / "file" / "below", lambda _: 1.0, seconds=0)
    assert found == Split(4, 1)
    assert "cannot be kept" in caplog.text


@given(st.integers(1, 512))
def test_splits_use_cores_once(count: int) -> None:
    splits = tuning.candidates(count)
    assert splits[-1] == Split(1, count)
    assert all(1 <= split.lanes * split.threads <= count for split in splits)
    assert len(set(splits)) == len(splits)


def test_the_engine_measures_where_nothing_is_set(
    engine: Callable[..., WhisperEngine], tmp_path: Path
) -> None:
    one = engine(settings=WhisperSettings(device="cpu"))
    assert 1 <= one.capabilities.lanes <= tuning.cores()
    assert list((tmp_path / "tuning").glob("split-*.json"))
