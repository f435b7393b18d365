"""PocketSphinx in child processes: what it hears, and that its processes come and go as they must.

The recording is the sample meeting; real speech is added where it is at hand.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import psutil
import pytest

from hansard.errors import EngineDied, EngineError, ModelBroken, NotSupported
from hansard.machine import SphinxSettings
from hansard.model import WindowResult
from hansard.speech import sphinx_child
from hansard.speech.accuracy import Errors, word_errors
from hansard.speech.engine import Engine, Samples, SpeechOptions
from hansard.speech.sphinx import SphinxEngine

ROOT = Path(__file__).resolve().parents[2]
PLAIN = SpeechOptions()


def load(path: Path) -> Samples:
    resampler = av.AudioResampler("s16", "mono", 16_000)
    with av.open(str(path)) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.fixture(scope="module")
def sample() -> tuple[Samples, list[dict[str, Any]]]:
    reference = msgspec.json.decode((ROOT / "samples" / "meeting.json").read_bytes())
    return load(ROOT / "samples" / "meeting.ogg"), reference["sentences"]


@pytest.fixture(scope="module")
def said(sample: tuple[Samples, list[dict[str, Any]]]) -> Callable[[int], tuple[Samples, str]]:
    """One sentence of the sample by its number: what was recorded and what was said."""
    pcm, sentences = sample

    def cut(number: int) -> tuple[Samples, str]:
        sentence = sentences[number]
        start, end = round(sentence["start"] * 16_000), round(sentence["end"] * 16_000)
        return pcm[max(0, start - 3_200) : end + 3_200], sentence["text"]

    return cut


@pytest.fixture(scope="module")
def engine() -> Iterator[SphinxEngine]:
    engine = SphinxEngine(SphinxSettings(processes=2))
    yield engine
    engine.close()


@pytest.fixture
def alone() -> Iterator[SphinxEngine]:
    """An engine of one process, for tests that end it."""
    engine = SphinxEngine(SphinxSettings(processes=1))
    yield engine
    engine.close()


def text(result: WindowResult) -> str:
    return " ".join(utterance.text for utterance in result.utterances)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_the_sample_is_heard_well(
    engine: SphinxEngine, sample: tuple[Samples, list[dict[str, Any]]]
) -> None:
    pcm, sentences = sample
    # Ten seconds or so each, cut where nobody speaks; four speakers among them.
    cuts = [0]
    for before, after in itertools.pairwise(sentences):
        middle = round((before["end"] + after["start"]) / 2 * 16_000)
        if middle - cuts[-1] > 8 * 16_000:
            cuts.append(middle)
        if len(cuts) == 6:
            break
    windows = [pcm[a:b] for a, b in itertools.pairwise(cuts)]
    with ThreadPoolExecutor(2) as lanes:
        results = list(lanes.map(lambda window: engine.transcribe([window], PLAIN)[0], windows))
    truth = " ".join(s["text"] for s in sentences if s["end"] * 16_000 < cuts[-1])
    assert word_errors(truth, " ".join(map(text, results))).rate < 0.2
    for window, result in zip(windows, results, strict=True):
        check_times(result, len(window) / 16_000)
    # Sentences, not a stream of words.
    assert sum(len(result.utterances) for result in results) >= len(windows)


def check_times(result: WindowResult, seconds: float) -> None:
    at = 0.0
    for utterance in result.utterances:
        assert utterance.text == " ".join(word.text for word in utterance.words)
        assert utterance.text[0].isupper()
        assert utterance.text[-1] in ".?"
        assert (utterance.start, utterance.end) == (
            utterance.words[0].start,
            utterance.words[-1].end,
        )
        for word in utterance.words:
            assert at <= word.start < word.end <= seconds
            assert word.confidence is not None
            assert 0.0 <= word.confidence <= 1.0
            assert not set(word.text) & set("<>[]()+")
            at = word.end


def test_word_times_are_where_the_words_are(
    engine: SphinxEngine, said: Callable[[int], tuple[Samples, str]]
) -> None:
    pcm, _ = said(0)
    late = np.concatenate([np.zeros(24_000, np.int16), pcm, np.zeros(16_000, np.int16)])
    (early,) = engine.transcribe([pcm], PLAIN)
    (moved,) = engine.transcribe([late], PLAIN)
    assert moved.utterances[0].start == pytest.approx(early.utterances[0].start + 1.5, abs=0.15)
    assert moved.utterances[-1].end == pytest.approx(early.utterances[-1].end + 1.5, abs=0.15)


def test_real_speech(engine: SphinxEngine, speech_data: Path) -> None:
    total = Errors(0, 0, 0, 0)
    for line in (speech_data / "speech" / "references.tsv").read_text().splitlines():
        name, truth = line.split("\t")
        (result,) = engine.transcribe([load(speech_data / "speech" / name)], PLAIN)
        total += word_errors(truth, text(result))
    assert total.rate <= 0.31  # PocketSphinx's own figure over these and eight more


def test_an_answer_depends_on_its_window_alone(
    engine: SphinxEngine, alone: SphinxEngine, said: Callable[[int], tuple[Samples, str]]
) -> None:
    window = said(0)[0]
    (fresh,) = alone.transcribe([window], PLAIN)
    loud = np.random.default_rng(3).integers(-20_000, 20_000, 32_000).astype(np.int16)
    for history in ([loud], [said(5)[0], said(1)[0][:9_000]], [np.full(8_000, 3, np.int16)]):
        alone.transcribe(history, PLAIN)
        assert alone.transcribe([window], PLAIN) == [fresh]
    alone.transcribe([loud[:8_000]], SpeechOptions(fallback=True))
    assert alone.transcribe([window], PLAIN) == [fresh]
    assert engine.transcribe([said(3)[0], window, loud[:8_000]], PLAIN)[1] == fresh


def test_the_fallback_answers_the_same_each_time(
    alone: SphinxEngine, said: Callable[[int], tuple[Samples, str]]
) -> None:
    window, truth = said(0)
    surer = SpeechOptions(fallback=True)
    (first,) = alone.transcribe([window], surer)
    alone.transcribe([said(2)[0]], PLAIN)
    assert alone.transcribe([window], surer) == [first]
    assert word_errors(truth, text(first)).rate < 0.5


def test_two_threads_share_two_processes(
    engine: SphinxEngine, said: Callable[[int], tuple[Samples, str]]
) -> None:
    windows = [said(number)[0] for number in range(6)]
    one_by_one = [engine.transcribe([window], PLAIN)[0] for window in windows]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda window: engine.transcribe([window], PLAIN)[0], windows))
    assert together == one_by_one
    assert len(engine._idle) == 2


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(np.empty(0, np.int16), id="empty"),
        pytest.param(np.ones(1, np.int16), id="one sample"),
        pytest.param(np.full(160, 900, np.int16), id="10 ms"),
        pytest.param(np.zeros(48_000, np.int16), id="zeros"),
        pytest.param(np.tile(np.array([0, 1, -1], np.int16), 16_000), id="dither"),
    ],
)
def test_nothing_is_heard_in_nothing(engine: SphinxEngine, window: Samples) -> None:
    assert engine.transcribe([window], PLAIN) == [WindowResult(language="en")]


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(
            np.random.default_rng(1).integers(-32_768, 32_767, 32_000).astype(np.int16), id="noise"
        ),
        pytest.param(np.full(32_000, -32_768, np.int16), id="stuck at full scale"),
        pytest.param(np.tile(np.array([32_767, -32_768], np.int16), 16_000), id="alternating"),
        pytest.param(np.zeros(64_000, np.int16)[::2] + np.int16(9), id="not contiguous"),
    ],
)
def test_what_is_no_speech_does_no_harm(engine: SphinxEngine, window: Samples) -> None:
    (result,) = engine.transcribe([window], PLAIN)
    check_times(result, len(window) / 16_000)


def test_no_windows_no_answers(engine: SphinxEngine) -> None:
    assert engine.transcribe([], PLAIN) == []


def test_the_wrong_kind_of_samples_is_refused(engine: SphinxEngine) -> None:
    floats: Any = np.zeros(16_000, np.float32)
    with pytest.raises(EngineError, match="int16"):
        engine.transcribe([floats], PLAIN)


@pytest.mark.parametrize(
    "options",
    [
        SpeechOptions(language="fr"),
        SpeechOptions(task="translate"),
        SpeechOptions(prompt="Names: Ann"),
        SpeechOptions(hotwords="budget"),
    ],
)
def test_what_it_cannot_do_is_refused(engine: SphinxEngine, options: SpeechOptions) -> None:
    with pytest.raises(NotSupported):
        engine.transcribe([np.zeros(16_000, np.int16)], options)


def test_it_cannot_tell_languages_apart(engine: SphinxEngine) -> None:
    with pytest.raises(NotSupported):
        engine.detect_language(np.zeros(16_000, np.int16))


def test_it_is_an_engine_and_starts_nothing_until_asked() -> None:
    before = children()
    engine: Engine = SphinxEngine(SphinxSettings(processes=3))
    assert (engine.name, engine.model, engine.capabilities.lanes) == ("sphinx", "en-us", 3)
    assert 0 < engine.capabilities.window_seconds <= 30
    assert children() == before
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.transcribe([np.full(16_000, 500, np.int16)], PLAIN)


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Start ``work`` on a thread; what it raises lands in the list."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # handed to the test
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def busy_child(engine: SphinxEngine) -> int:
    """Wait until the engine's process is decoding: it has used CPU since it was given a window."""
    while not engine._busy:
        time.sleep(0.005)
    (child,) = engine._busy
    process = psutil.Process(child.pid)
    begun = process.cpu_times().user
    while process.cpu_times().user < begun + 0.3:
        time.sleep(0.005)
    return child.pid


def long_window() -> Samples:
    """A minute that takes seconds to decode."""
    return np.random.default_rng(5).normal(0, 2_000, 60 * 16_000).astype(np.int16)


def test_a_process_killed_in_mid_window_is_replaced(
    alone: SphinxEngine, said: Callable[[int], tuple[Samples, str]]
) -> None:
    window = said(0)[0]
    before = alone.transcribe([window], PLAIN)
    thread, raised = in_background(lambda: alone.transcribe([long_window()], PLAIN))
    victim = busy_child(alone)
    os.kill(victim, signal.SIGKILL)
    thread.join()
    (error,) = raised
    assert isinstance(error, EngineDied)
    assert error.trouble == "transient"
    assert "SIGKILL" in error.message
    assert not psutil.pid_exists(victim)
    assert alone.transcribe([window], PLAIN) == before


def test_a_process_killed_while_idle_costs_nothing(
    alone: SphinxEngine, said: Callable[[int], tuple[Samples, str]]
) -> None:
    window = said(0)[0]
    before = alone.transcribe([window], PLAIN)
    (idle,) = alone._idle
    os.kill(idle.pid, signal.SIGKILL)
    idle._process.wait()
    assert alone.transcribe([window], PLAIN) == before


def test_close_ends_a_window_in_hand_and_leaves_no_process() -> None:
    before = children()
    engine = SphinxEngine(SphinxSettings(processes=1))
    thread, raised = in_background(lambda: engine.transcribe([long_window()], PLAIN))
    busy_child(engine)
    waiting, refused = in_background(lambda: engine.transcribe([long_window()], PLAIN))
    engine.close()
    thread.join()
    waiting.join()
    for errors in (raised, refused):
        (error,) = errors
        assert isinstance(error, EngineError)
        assert not isinstance(error, EngineDied)
        assert "closed" in error.message
    assert children() == before


def test_a_model_that_cannot_be_loaded_is_said_to_be_broken(
    alone: SphinxEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POCKETSPHINX_PATH", str(tmp_path))  # where PocketSphinx looks for models
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        alone.transcribe([np.full(16_000, 500, np.int16)], PLAIN)


# A script as a user writes it: no ``if __name__ == "__main__"``, Hansard found on its path alone.
SCRIPT = """
import sys
sys.path.insert(0, {source!r})
import numpy as np
from hansard.machine import SphinxSettings
from hansard.speech.engine import SpeechOptions
from hansard.speech.sphinx import SphinxEngine
engine = SphinxEngine(SphinxSettings(processes=1))
window = np.random.default_rng(5).normal(0, 2000, {seconds} * 16000).astype(np.int16)
engine.transcribe([window[:16000]], SpeechOptions())
print(engine._idle[0].pid, flush=True)
engine.transcribe([window], SpeechOptions())
print("done", flush=True)
"""


def script(seconds: int) -> list[str]:
    body = textwrap.dedent(SCRIPT).format(source=str(ROOT / "src"), seconds=seconds)
    return [sys.executable, "-c", body]


def test_a_script_without_a_main_guard_works_and_leaves_no_process(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # A module of the same name as one the child needs lies in the working directory.
    (tmp_path / "msgspec.py").write_text("raise ImportError('the wrong msgspec')")
    path = tmp_path / "script.py"
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "script.py"
    path.write_text(script(1)[-1])
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pid, word = done.stdout.split()
    assert word == "done"
    wait_for_end(int(pid))


def wait_for_end(pid: int) -> None:
    """Wait for an orphan to end (the test's own timeout is the limit); zombies have ended."""
    while psutil.pid_exists(pid):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.02)


def test_a_child_ends_when_its_parent_is_killed_in_mid_window() -> None:
    with subprocess.Popen(script(20), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        process = psutil.Process(child)
        begun = process.cpu_times().user
        while process.cpu_times().user < begun + 0.3:
            time.sleep(0.01)
        parent.kill()
        parent.wait()
    wait_for_end(child)


def test_the_child_is_light() -> None:
    code = (
        "import sys; import hansard.speech.sphinx_child; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"numpy", "pydantic", "sqlalchemy", "av", "onnxruntime", "asyncio", "multiprocessing"}
    assert not set(done.stdout.split()) & heavy


def test_a_broken_message_ends_the_conversation(tmp_path: Path) -> None:
    for noise in (b"", b"\1", b"\xff\xff\xff\xff" + b"x" * 9, b"\5\0\0\0abc"):
        path = tmp_path / "noise"
        path.write_bytes(noise)
        with path.open("rb") as stream:
            assert sphinx_child.receive(stream) is None
