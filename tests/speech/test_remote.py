"""The remote engine against a real HTTP server that misbehaves on request."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard import errors
from hansard.config import OpenAISettings
from hansard.model import SAMPLE_RATE
from hansard.speech import wire
from hansard.speech.endpoint import LONGEST_WAIT, PATIENCE
from hansard.speech.engine import Engine, Samples, SpeechOptions
from hansard.speech.rate import TokenBucket
from hansard.speech.remote import RemoteEngine


def _beside(name: str) -> ModuleType:
    """Tests are not a package: load a neighbour by its path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fake: Any = _beside("fake_openai")
PLAIN = SpeechOptions()


def tone(seconds: float) -> Samples:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (8000 * np.sin(2 * np.pi * 220 * time)).astype(np.int16)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # Whatever the machine says about proxies must not matter for an endpoint on this machine.
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with fake.serve() as running:
        yield running
        for remote in opened:
            remote.close()
        opened.clear()


opened: list[RemoteEngine] = []


class Naps(list[float]):
    """Stands in for ``sleep``: remembers and does not wait."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def build(
    settings: dict[str, Any], model: str = "whisper-1", clock: Any = None, sleep: Any = None
) -> RemoteEngine:
    """An engine that the server's fixture closes."""
    remote = RemoteEngine(
        model, OpenAISettings.model_validate(settings), clock=clock or time.monotonic, sleep=sleep
    )
    opened.append(remote)
    return remote


def engine(
    server: Any, *, model: str = "whisper-1", naps: Naps | None = None, **settings: Any
) -> RemoteEngine:
    values = {"base_url": server.url, "api_key": fake.KEY, "timeout": 20.0, "attempts": 3}
    return build(values | settings, model, sleep=Naps() if naps is None else naps)


def say(remote: RemoteEngine, seconds: float = 3.0, options: SpeechOptions = PLAIN) -> Any:
    return remote.transcribe([tone(seconds)], options)[0]


# ── answers ──────────────────────────────────────────────────────────────────────────────────


def test_a_window_comes_back_as_segments_with_word_times(server: Any) -> None:
    remote: Engine = engine(server)
    [result] = remote.transcribe([tone(5)], SpeechOptions(language="en"))
    assert [u.text for u in result.utterances] == ["w0 w1 w2 w3.", "w4 w5 w6 w7.", "w8 w9."]
    assert [w.text for u in result.utterances for w in u.words] == [f"w{n}" for n in range(10)]
    assert result.utterances[1].words[0].start == 2.0
    assert result.utterances[0].avg_logprob == -0.2
    assert result.language == "en"
    assert result.cost == pytest.approx(0.006 * 5 / 60)
    [call] = server.calls
    assert call.path == "/v1/audio/transcriptions"
    assert call.fields["timestamp_granularities[]"] == ["word", "segment"]
    assert call.fields["language"] == ["en"]
    assert (call.codec, call.filename, call.seconds) == ("flac", "window.flac", 5.0)
    remote.close()
    remote.close()


def test_windows_of_a_batch_are_answered_in_order(server: Any) -> None:
    results = engine(server).transcribe([tone(2), tone(1), tone(4)], PLAIN)
    assert [len(r.utterances[-1].words) for r in results] == [4, 2, 4]
    assert [call.seconds for call in server.calls] == [2, 1, 4]


def test_options_reach_the_endpoint(server: Any) -> None:
    remote = engine(server, upload="opus")
    options = SpeechOptions(
        prompt="Minutes of the council.",
        hotwords="Ardwick, Beswick",
        fallback=True,
        word_times=False,
    )
    result = say(remote, options=options)
    fields = server.calls[0].fields
    assert fields["prompt"] == ["Ardwick, Beswick Minutes of the council."]
    assert fields["temperature"] == ["0.4"]
    assert "timestamp_granularities[]" not in fields
    assert "language" not in fields
    assert server.calls[0].codec in {"opus", "libopus"}
    assert all(not u.words for u in result.utterances)
    assert result.language == "en"


def test_translation_has_its_own_address(server: Any) -> None:
    result = say(engine(server), options=SpeechOptions(task="translate", language="de"))
    assert server.calls[0].path == "/v1/audio/translations"
    assert "language" not in server.calls[0].fields
    assert result.language == "en"


def test_language_is_heard_and_named_by_code(server: Any) -> None:
    server.answer = lambda seconds: fake.words_of(seconds) | {"language": "German"}
    assert engine(server).detect_language(tone(2)) == ("de", 1.0)


def test_a_model_without_times_gives_one_segment_a_window(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuses_verbose = True
    remote = engine(server, model="gpt-4o-transcribe")
    assert remote.capabilities.word_times
    results = [say(remote, 3), say(remote, 2)]
    assert [(u.start, u.end) for r in results for u in r.utterances] == [(0, 3), (0, 2)]
    assert [c.fields["response_format"][0] for c in server.calls] == [
        "verbose_json",
        "json",
        "json",
    ]
    assert not remote.capabilities.word_times
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == [
        f"gpt-4o-transcribe at {server.url} gives text without times: each window is one segment"
    ]
    with pytest.raises(errors.NotSupported, match="does not say which language"):
        remote.detect_language(tone(1))


def test_a_server_without_word_times_still_gives_segments(server: Any) -> None:
    server.refuses_granularities = True
    remote = engine(server)
    assert len(say(remote, 5).utterances) == 3
    assert not say(remote, 5).utterances[0].words
    assert len(server.calls) == 3
    assert not remote.capabilities.word_times


def test_flac_too_large_is_sent_again_as_opus(server: Any) -> None:
    server.refuses_flac = True
    remote = engine(server)
    assert say(remote).utterances
    assert say(remote).utterances
    assert len(server.calls) == 3
    server.script = [fake.status(413)]
    with pytest.raises(errors.EngineRefused, match="413"):
        say(remote)


def test_times_outside_the_window_are_moved_inside(server: Any) -> None:
    server.answer = lambda _: {
        "text": "a b",
        "segments": [
            {"start": 1.5, "end": 99.0, "text": " b "},
            {"start": -1, "end": 1.2, "text": "a"},
            {"start": 1.9, "end": 1.95, "text": "  "},
        ],
        "words": [
            {"word": " a", "start": -0.5, "end": 0.5, "probability": 0.5},
            {"word": "b", "start": 1.6, "end": 31},
        ],
    }
    first, second = say(engine(server), 2).utterances
    assert (first.start, first.end, first.text) == (0, 1.2, "a")
    assert (second.start, second.end, second.text) == (1.5, 2, "b")
    assert (first.words[0].text, first.words[0].start, first.words[0].confidence) == ("a", 0, 0.5)
    assert second.words[0].end == 2


def test_words_inside_segments_are_found_too(server: Any) -> None:
    server.answer = lambda _: {
        "text": "a b",
        "words": None,
        "segments": [
            {"start": 0, "end": 1, "text": "a b", "words": [{"word": "a", "start": 0, "end": 1}]}
        ],
    }
    assert say(engine(server)).utterances[0].words[0].text == "a"


def test_silence_is_no_utterance_and_no_samples_is_no_call(server: Any) -> None:
    server.answer = lambda _: {"text": "", "segments": [], "words": []}
    remote = engine(server)
    assert say(remote, 1).utterances == ()
    assert remote.transcribe([np.zeros(0, np.int16)], PLAIN)[0].utterances == ()
    assert len(server.calls) == 1


def test_a_window_shorter_than_the_far_side_takes_is_padded(server: Any) -> None:
    remote = engine(server)
    remote.transcribe([tone(0.03)], PLAIN)
    assert server.calls[0].seconds == pytest.approx(0.1)


def test_spend_follows_what_was_billed(server: Any) -> None:
    server.answer = lambda s: fake.words_of(s) | {"usage": {"type": "duration", "seconds": 60}}
    assert say(engine(server, prices={"whisper-1": 0.5})).cost == 0.5
    unknown = engine(server, model="mine")
    assert say(unknown).cost == 0
    assert unknown.estimate(60) is None
    assert engine(server).estimate(3600) == pytest.approx(0.36)


# ── trouble that passes ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault", [fake.status(500), fake.status(502), fake.CUT, fake.busy("0"), fake.status(408)]
)
def test_what_passes_is_tried_again(server: Any, fault: Any) -> None:
    naps = Naps()
    server.script = [fault, fault]
    assert say(engine(server, naps=naps)).utterances
    assert len(server.calls) == 3
    assert len(naps) >= 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (fake.status(500, "boom"), errors.EngineUnreachable),
        (fake.status(503), errors.EngineBusy),
        (fake.busy("0"), errors.EngineBusy),
        (fake.CUT, errors.EngineUnreachable),
    ],
)
def test_after_the_last_try_the_window_may_be_put_back(
    server: Any, fault: Any, error: type[errors.HansardError]
) -> None:
    server.script = [fault] * 9
    with pytest.raises(error) as caught:
        say(engine(server, attempts=4))
    assert caught.value.trouble == "transient"
    assert len(server.calls) == 4


def test_an_endpoint_that_hangs_is_given_up(server: Any) -> None:
    server.script = [fake.HANG] * 2
    with pytest.raises(errors.EngineUnreachable, match=r"within 0\.2 s"):
        say(engine(server, timeout=0.2, attempts=2))
    assert len(server.calls) == 2


def test_nobody_at_the_address(server: Any) -> None:
    server.server_close()
    remote = engine(server, attempts=2)
    with pytest.raises(errors.EngineUnreachable, match="cannot be reached"):
        say(remote)
    with pytest.raises(errors.EngineUnreachable, match="cannot be reached"):
        remote.check()


def test_retry_after_is_honoured_in_seconds_and_as_a_date(server: Any) -> None:
    naps = Naps()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.script = [fake.busy("7"), fake.busy(date)]
    # A frozen clock: the bucket's own pauses are then exactly those that were asked for.
    settings = {"base_url": server.url, "api_key": fake.KEY}
    remote = build(settings, clock=lambda: 0.0, sleep=naps)
    assert say(remote).utterances
    backoffs = [naps[0], naps[2]]
    assert 7 <= backoffs[0] <= 7 + 1
    assert 60 < backoffs[1] <= 90 + 2
    assert naps[1] == 7  # the other lanes wait too: the bucket itself was paused
    assert 60 < naps[3] <= 90


def test_too_long_a_retry_after_gives_the_window_back_at_once(server: Any) -> None:
    naps = Naps()
    server.script = [fake.busy(str(PATIENCE * 10))]
    with pytest.raises(errors.EngineBusy) as caught:
        say(engine(server, naps=naps))
    assert caught.value.retry_after == PATIENCE * 10
    assert naps == []


def test_backoff_is_exponential_with_full_jitter(server: Any) -> None:
    naps = Naps()
    server.script = [fake.status(500)] * 12
    assert say(engine(server, naps=naps, attempts=13, burst=100)).utterances
    assert len(naps) == 12
    for n, nap in enumerate(naps):
        assert 0 <= nap <= min(LONGEST_WAIT, 2.0**n)
    assert len(set(naps)) > 6, "a draw, not a constant"


def test_closing_wakes_a_window_that_waits(server: Any) -> None:
    remote = build({"base_url": server.url, "api_key": fake.KEY})
    server.script = [fake.busy("100")] * 9
    with ThreadPoolExecutor(1) as pool:
        window = pool.submit(say, remote)
        while not server.calls:
            threading.Event().wait(0.01)
        remote.close()
        with pytest.raises(errors.EngineDied):
            window.result(timeout=60)
    with pytest.raises(errors.EngineDied):
        say(remote)


# ── trouble that does not ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 415, 422])
def test_a_refusal_is_not_tried_again(server: Any, code: int) -> None:
    server.script = [fake.status(code, "no way")] * 3
    with pytest.raises(errors.EngineRefused, match=f"HTTP {code}.*no way") as caught:
        say(engine(server, upload="opus"))
    assert caught.value.hint
    assert caught.value.trouble == "permanent"
    assert len(server.calls) == 1


def test_an_empty_account_is_not_a_busy_server(server: Any) -> None:
    server.script = [fake.status(429, "quota", code="insufficient_quota")]
    with pytest.raises(errors.EngineRefused, match="no credit left"):
        say(engine(server))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>hello</html>",
        b"[]",
        b"{}",
        b'{"text": 3}',
        b'{"text": "x',
        b'"text"',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_none(server: Any, content: bytes) -> None:
    server.script = [fake.body(content)]
    with pytest.raises(errors.EngineError, match="The remote engine answered") as caught:
        say(engine(server))
    assert type(caught.value) is errors.EngineError
    assert len(server.calls) == 1


def test_the_key_is_shown_nowhere(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.key = "another"
    remote = engine(server)
    told = [repr(remote), repr(vars(remote)["_settings"])]
    for ask in (remote.check, lambda: say(remote)):
        with pytest.raises(errors.EngineRefused) as caught:
            ask()
        told += [str(caught.value), repr(caught.value.failure())]
        told += traceback.format_exception(caught.value)
    server.script = [fake.status(500, f"you sent {fake.KEY}")] * 3
    with pytest.raises(errors.EngineUnreachable, match=r"you sent \[key\]") as broken:
        say(remote)
    told += traceback.format_exception(broken.value)
    told += [record.getMessage() for record in caplog.records]
    assert server.calls[0].authorization == f"Bearer {fake.KEY}"
    assert not [line for line in told if fake.KEY in line]


def test_a_key_that_no_header_may_hold_is_refused_unseen() -> None:
    with pytest.raises(errors.BadSettings) as caught:
        build({"api_key": "sk-secret\nX-Evil: 1"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "localhost:8000/v1", "ftp://host/v1", "http://", "http://h:x/"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(errors.BadSettings, match="base_url"):
        build({"base_url": address})


def test_a_password_in_the_address_is_not_shown() -> None:
    remote = build({"base_url": "https://me:hunter2@[::1]:8000/v1/"})
    assert remote.address == "https://[::1]:8000/v1"
    assert "hunter2" not in repr(remote)


def test_no_key_for_openai_itself_is_said_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(errors.EngineRefused, match="No key"):
        build({}).check()


def test_a_server_of_ones_own_needs_no_key(server: Any) -> None:
    server.key = None
    remote = engine(server, api_key=None)
    remote.check()
    assert say(remote).utterances


@pytest.mark.parametrize("code", [200, 404, 405, 429, 501])
def test_a_server_without_a_list_of_models_is_reachable(server: Any, code: int) -> None:
    server.models_status = code
    engine(server).check()
    assert not server.calls


@pytest.mark.parametrize(
    ("code", "error"),
    [(401, errors.EngineRefused), (403, errors.EngineRefused), (500, errors.EngineUnreachable)],
)
def test_preflight_says_what_is_wrong(
    server: Any, code: int, error: type[errors.HansardError]
) -> None:
    server.models_status = code
    with pytest.raises(error):
        engine(server).check()


# ── how fast ─────────────────────────────────────────────────────────────────────────────────


def test_no_more_windows_under_way_than_allowed(server: Any) -> None:
    server.hold = threading.Event()
    remote = engine(server, in_flight=3)
    assert remote.capabilities.lanes == 3
    with ThreadPoolExecutor(8) as pool:
        windows = [pool.submit(say, remote, 1) for _ in range(8)]
        while server.under_way < 3:
            threading.Event().wait(0.01)
        server.hold.set()
        assert all(window.result(60).utterances for window in windows)
    assert server.most_under_way == 3
    assert len(server.calls) == 8


def test_calls_beyond_the_burst_wait_for_the_bucket(server: Any) -> None:
    naps = Naps()
    settings = {"base_url": server.url, "api_key": fake.KEY, "calls_per_minute": 20, "burst": 2}
    remote = build(settings, clock=lambda: 0.0, sleep=naps)
    remote.transcribe([tone(0.2)] * 4, PLAIN)
    assert naps == [3, 6]


def test_a_limit_of_tokens_is_said_not_to_apply(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    remote = engine(server)
    for _ in range(2):
        say(remote, options=SpeechOptions(max_tokens=5))
    assert [r.levelname for r in caplog.records if "max_tokens" in r.message] == ["WARNING"]


@given(
    per_minute=st.integers(1, 600),
    burst=st.integers(1, 30),
    pauses=st.lists(st.floats(0, 20), min_size=1, max_size=80),
)
def test_a_bucket_never_lets_more_through_than_it_holds(
    per_minute: int, burst: int, pauses: list[float]
) -> None:
    now = 0.0
    bucket = TokenBucket(per_minute, burst, lambda: now)
    starts = []
    for pause in pauses:
        now += pause
        starts.append(now + bucket.reserve())
    assert starts == sorted(starts)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            allowed = burst + (starts[last] - starts[first]) * per_minute / 60
            assert last - first + 1 <= allowed + 1e-6


def test_an_idle_bucket_gives_its_whole_burst_and_no_more() -> None:
    now = 1000.0
    bucket = TokenBucket(60, 5, lambda: now)
    assert [bucket.reserve() for _ in range(7)] == [0, 0, 0, 0, 0, 1, 2]
    now += 3600
    assert [bucket.reserve() for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    bucket.pause(30)
    assert bucket.reserve() == 30


# ── pure parts ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("english", "en"),
        ("English", "en"),
        ("en-US", "en"),
        ("zh_CN", "zh"),
        ("Castilian", "es"),
        ("yue", "yue"),
        ("klingon", None),
        ("", None),
        (None, None),
    ],
)
def test_languages_are_codes(name: str | None, code: str | None) -> None:
    assert wire.language_code(name) == code


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "-4"}, 0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert wire.retry_after(headers) == seconds


def test_doubtful_answers_are_marked_unless_guards_are_off(server: Any) -> None:
    server.answer = lambda _: {"text": "and so " * 30}
    assert say(engine(server), 10).doubt == "repetition"
    assert say(engine(server), 10, SpeechOptions(guards=False)).doubt is None


times = st.floats(-100, 100)
spoken = st.fixed_dictionaries({"word": st.text(max_size=4), "start": times, "end": times})
segment = st.fixed_dictionaries({"text": st.text(max_size=8), "start": times, "end": times})


@given(st.lists(spoken, max_size=8), st.lists(segment, max_size=5), st.floats(0.1, 30))
def test_no_word_is_lost_and_no_time_leaves_the_window(
    words: list[dict[str, Any]], segments: list[dict[str, Any]], seconds: float
) -> None:
    import msgspec

    body = msgspec.json.encode({"text": "x", "words": words, "segments": segments})
    result = wire.to_result(wire.read(body), seconds, word_times=True, language=None, cost=0)
    kept = [word for u in result.utterances for word in u.words]
    assert sorted(w.text for w in kept) == sorted(
        w["word"].strip() for w in words if w["word"].strip()
    )
    spans = [(u.start, u.end) for u in result.utterances] + [(w.start, w.end) for w in kept]
    assert all(0 <= start <= end <= seconds for start, end in spans)


@given(
    st.integers(1, 30 * SAMPLE_RATE).map(
        lambda n: np.random.default_rng(n).integers(-3000, 3000, n, dtype=np.int16)
    )
)
def test_flac_is_what_was_recorded(window: Samples) -> None:
    import io

    import av

    _, content, media = wire.encode(window, "flac")
    assert media == "audio/flac"
    with av.open(io.BytesIO(content), "r") as file:
        heard = np.concatenate([f.to_ndarray().reshape(-1) for f in file.decode(audio=0)])
    assert np.array_equal(heard[: len(window)], window)
    assert not heard[len(window) :].any()
