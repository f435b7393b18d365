"""The official client against a real server: what comes back is what its types say."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import msgspec
import numpy as np
import openai
import pytest
from openai.types import AudioModel, Model
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionVerbose,
    Translation,
    TranslationVerbose,
)
from tests.api.conftest import Serve, Served
from tests.api.openai_clients import ended, only_job, speaking, speaking_async, strictly
from tests.cli.conftest import Audio, encoded
from tests.meetings.conftest import split_at_turns
from tests.quick import QuickEngine, use

from hansard.api.openai_request import STAND_INS
from hansard.api.process import server as make_server
from hansard.audio.cage import Cage
from hansard.config import load
from hansard.errors import MediaGone, ModelBroken
from hansard.jobs import progress
from hansard.meetings import makers
from hansard.meetings.turns import Turn
from hansard.model import WindowResult
from hansard.speech import catalog
from hansard.speech.engine import Samples, SpeechOptions
from hansard.store import keys
from hansard.store.meetings import Heard
from hansard.wiring import House


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with speaking(served.url) as client:
        yield client


def words(served: Served) -> str:
    """The text of the one job there is, as the store has it."""
    found = served.house.transcript(only_job(served).id)
    assert found is not None
    return " ".join(segment.text for segment in found[1]())


# ── every form ───────────────────────────────────────────────────────────────────────────────


def test_json(served: Served, client: openai.OpenAI, clip: Path) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(file=clip, model="whisper-1")
    assert raw.headers["content-type"] == "application/json"
    answer = strictly(Transcription, raw.text)
    assert answer.text == words(served)
    assert answer.usage is not None
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 12)
    assert raw.parse() == answer


def test_text_srt_and_vtt_are_plain_texts(
    served: Served, client: openai.OpenAI, clip: Path
) -> None:
    begins = {"text": "", "srt": "1\n00:00:0", "vtt": "WEBVTT\n\n00:00:0"}
    for form, begin in begins.items():
        raw = client.audio.transcriptions.with_raw_response.create(
            file=clip, model="whisper-1", response_format=form
        )  # type: ignore[call-overload]  # any form
        assert raw.headers["content-type"] == "text/plain; charset=utf-8"
        text = raw.parse()
        assert isinstance(text, str)
        assert text.startswith(begin)
        said = words(served)
        assert text == f"{said}\n" if form == "text" else said.split()[0] in text


def test_verbose_json_has_segments_unless_only_words_are_asked_for(
    served: Served, client: openai.OpenAI, clip: Path
) -> None:
    asked: list[tuple[list[Any] | openai.Omit, bool, bool]] = [
        (openai.omit, False, True),
        (["segment"], False, True),
        (["word"], True, False),
        (["word", "segment"], True, True),
    ]
    for granularities, with_words, with_segments in asked:
        raw = client.audio.transcriptions.with_raw_response.create(
            file=clip,
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=granularities,
        )
        answer = strictly(TranscriptionVerbose, raw.text, beside=["task"])
        assert json.loads(raw.text)["task"] == "transcribe"
        assert isinstance(json.loads(raw.text)["duration"], float)
        assert answer.language == "english"
        assert answer.duration == 12.0
        assert answer.text == words(served)
        assert answer.usage is not None
        assert answer.usage.seconds == 12
        assert (answer.words is not None, answer.segments is not None) == (
            with_words,
            with_segments,
        )
        if answer.words is not None:
            assert " ".join(word.word for word in answer.words) == answer.text
            assert all(0 <= word.start <= word.end <= 12 for word in answer.words)
        if answer.segments is not None:
            assert "".join(part.text for part in answer.segments).strip() == answer.text
            assert [part.id for part in answer.segments] == list(range(len(answer.segments)))


def test_diarized_json_has_speakers(
    served: Served, client: openai.OpenAI, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diarize(*_: Any) -> makers.Voices:
        turns = (Turn(0.0, 4.0, "x"), Turn(4.0, 60.0, "y"))
        return makers.Voices(turns, (Heard("x", 4.0), Heard("y", 8.0)))

    monkeypatch.setattr(makers, "diarize", diarize)
    monkeypatch.setattr(makers, "assign", split_at_turns)
    raw = client.audio.transcriptions.with_raw_response.create(
        file=clip, model="whisper-1", response_format="diarized_json", chunking_strategy="auto"
    )
    answer = strictly(TranscriptionDiarized, raw.text)
    assert answer.text == words(served) == " ".join(part.text for part in answer.segments)
    assert [part.speaker for part in answer.segments][:1] == ["A"]
    assert {part.speaker for part in answer.segments} == {"A", "B"}
    assert all((part.speaker == "A") == (part.start < 4.0) for part in answer.segments)
    assert "x-hansard-speakers" not in raw.headers


def test_diarized_json_is_one_speaker_where_none_is_known(
    served: Served, client: openai.OpenAI, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> makers.Voices:
        raise MediaGone("The media were removed.")

    monkeypatch.setattr(makers, "diarize", fails)
    raw = client.audio.transcriptions.with_raw_response.create(
        file=clip,
        model="gpt-4o-transcribe-diarize",
        response_format="diarized_json",
        chunking_strategy="auto",
    )
    answer = strictly(TranscriptionDiarized, raw.text)
    assert answer.text == words(served) == " ".join(part.text for part in answer.segments)
    assert {part.speaker for part in answer.segments} == {"A"}
    assert raw.headers["x-hansard-speakers"] == "unknown: media_gone"
    assert len({part.id for part in answer.segments}) == len(answer.segments)
    assert answer.duration == 12.0


class Sure(QuickEngine):
    """Says how sure it is of each word."""

    @staticmethod
    def _hear(window: Samples) -> WindowResult:
        (said,) = QuickEngine._hear(window).utterances
        sure = tuple(msgspec.structs.replace(word, confidence=0.5) for word in said.words)
        return WindowResult((msgspec.structs.replace(said, words=sure),), "en")


def test_logprobs_come_from_the_confidence_of_words(
    serve: Serve, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Sure(), monkeypatch)
    with speaking(serve().url) as client:
        raw = client.audio.transcriptions.with_raw_response.create(
            file=clip, model="gpt-4o-transcribe", include=["logprobs"]
        )
    answer = strictly(Transcription, raw.text)
    assert answer.logprobs
    assert "".join(one.token or "" for one in answer.logprobs) == answer.text
    assert {round(one.logprob or 0, 4) for one in answer.logprobs} == {-0.6931}
    assert bytes(map(int, answer.logprobs[0].bytes or [])).decode() == answer.logprobs[0].token
    assert "x-hansard-ignored" not in raw.headers


def test_an_engine_without_confidence_gives_no_logprobs_and_says_so(
    client: openai.OpenAI, clip: Path
) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        file=clip, model="gpt-4o-transcribe", include=["logprobs"]
    )
    assert strictly(Transcription, raw.text).logprobs == []
    assert raw.headers["x-hansard-ignored"] == "include"


def test_translations(
    served: Served, client: openai.OpenAI, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = catalog.Choice("whisper", "small", "the test says so")
    monkeypatch.setattr(catalog, "resolve", lambda *_, **__: chosen)
    monkeypatch.setattr(catalog, "check", lambda *_, **__: None)

    def ask(form: str) -> Any:
        with pytest.warns(DeprecationWarning, match="deprecated"):
            return client.audio.translations.with_raw_response.create(
                file=clip, model="whisper-1", response_format=form, prompt="Madam Speaker"
            )  # type: ignore[call-overload]  # any form

    plain = strictly(Translation, ask("json").text)
    assert plain.text == words(served)
    verbose = strictly(TranslationVerbose, ask("verbose_json").text, beside=["task", "usage"])
    assert verbose.language == "english"
    assert json.loads(ask("verbose_json").text)["task"] == "translate"
    assert ask("text").parse() == f"{plain.text}\n"
    assert ask("vtt").parse().startswith("WEBVTT")
    job = only_job(served)
    assert (job.options.task, job.options.prompt) == ("translate", "Madam Speaker")
    with pytest.raises(openai.BadRequestError) as refused:
        ask("diarized_json")
    assert refused.value.param == "response_format"


# ── recordings ───────────────────────────────────────────────────────────────────────────────


def test_a_file_in_every_shape_is_the_same_work(
    served: Served, client: openai.OpenAI, clip: Path, quick: QuickEngine
) -> None:
    with clip.open("rb") as opened:
        files: list[Any] = [
            clip,
            clip.read_bytes(),
            opened,
            ("note.flac", clip.read_bytes()),
            ("note", clip.read_bytes(), "audio/flac"),
        ]
        answers = [
            client.audio.transcriptions.create(file=file, model="whisper-1") for file in files
        ]
    assert len({answer.text for answer in answers}) == 1
    assert quick.heard == 1
    assert only_job(served).priority == 7


def test_twenty_at_once_share_the_work(
    served: Served, speech: Audio, quick: QuickEngine, tmp_path: Path
) -> None:
    clips = [encoded(tmp_path / f"{n}.flac", speech[n * 8000 : (n + 12) * 8000]) for n in range(5)]

    async def crowd() -> list[str]:
        async with speaking_async(served.url) as client:
            asked = [
                client.audio.transcriptions.create(file=clips[n % 5], model="whisper-1")
                for n in range(20)
            ]
            return [answer.text for answer in await asyncio.gather(*asked)]

    texts = asyncio.run(crowd())
    assert texts == texts[:5] * 4
    assert len(set(texts)) == 5
    assert quick.heard == 5
    assert len(progress.listing(served.house.database)) == 5


def test_a_large_upload_is_never_in_memory(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "noise.bin"
    piece = np.random.default_rng(1).bytes(2**20)
    with path.open("wb") as out:
        for _ in range(64):
            out.write(piece)
    tracemalloc.start()
    try:
        with path.open("rb") as file, pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(file=file, model="whisper-1")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.code == "not_media"
    assert peak < 24 * 2**20, "of both, client and server"


def test_silence_is_an_empty_transcript(client: openai.OpenAI, tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    quiet = {
        "muted": np.zeros(3 * 16_000, np.int16),
        "hiss": chance.normal(0, 300, 3 * 16_000).astype(np.int16),
    }
    for name, samples in quiet.items():
        clip = encoded(tmp_path / f"{name}.flac", samples)
        raw = client.audio.transcriptions.with_raw_response.create(file=clip, model="whisper-1")
        answer = strictly(Transcription, raw.text)
        assert answer.text == ""
        assert answer.usage is not None
        assert answer.usage.seconds == 3
        verbose = client.audio.transcriptions.create(
            file=clip, model="whisper-1", response_format="verbose_json"
        )
        assert (verbose.text, verbose.segments, verbose.duration) == ("", [], 3.0)
        stream = client.audio.transcriptions.create(file=clip, model="whisper-1", stream=True)
        (done,) = list(stream)
        assert done.type == "transcript.text.done"
        assert done.text == ""


# ── waiting ──────────────────────────────────────────────────────────────────────────────────


def test_who_hangs_up_and_asks_again_goes_on_where_it_was(
    served: Served, clip: Path, quick: QuickEngine
) -> None:
    quick.hold.clear()
    impatient = httpx.Timeout(30, read=0.3)
    with pytest.raises(httpx.ReadTimeout):
        post(served, clip, timeout=impatient, model="whisper-1")
    job = only_job(served)
    assert job.finished is None
    quick.hold.set()
    assert ended(served, job.id).state == "completed"
    answer = post(served, clip, model="whisper-1")
    assert answer.headers["x-hansard-job"] == job.id
    assert quick.heard == 1


def test_waiting_may_be_given_a_limit(serve: Serve, clip: Path, quick: QuickEngine) -> None:
    served = serve(serve={"answer_seconds": 0.2})
    quick.hold.clear()
    with speaking(served.url) as client:
        with pytest.raises(openai.InternalServerError) as late:
            client.audio.transcriptions.create(file=clip, model="whisper-1")
        assert (late.value.status_code, late.value.code) == (504, "timed_out")
        quick.hold.set()
        ended(served, only_job(served).id)
        assert client.audio.transcriptions.create(file=clip, model="whisper-1").text
    assert quick.heard == 1


def test_a_cancelled_job_ends_the_waiting_and_is_not_tried_again(
    served: Served, clip: Path, quick: QuickEngine
) -> None:
    quick.hold.clear()
    found: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: found.append(post(served, clip, model="whisper-1")))
    asking.start()
    served.house.queue.cancel(only_job(served).id)
    asking.join(60)
    quick.hold.set()
    assert found[0].status_code == 409
    assert found[0].json()["error"]["code"] == "cancelled"
    assert found[0].headers["x-should-retry"] == "false"


# ── errors ───────────────────────────────────────────────────────────────────────────────────


def post(
    served: Served, clip: Path | None = None, *, timeout: Any = 60, **fields: Any
) -> httpx.Response:
    """A form as a plain HTTP library sends it."""
    files = {"file": (clip.name, clip.read_bytes())} if clip else {"x": (None, "y")}
    return served.http.post("/v1/audio/transcriptions", data=fields, files=files, timeout=timeout)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"response_format": "docx"}, "response_format"),
    ({"language": "klingon"}, "language"),
    ({"temperature": "1.5"}, "temperature"),
    ({"temperature": "nan"}, "temperature"),
    ({"stream": "perhaps"}, "stream"),
    ({"stream": "true", "response_format": "srt"}, "stream"),
    ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
    (
        {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
        "timestamp_granularities",
    ),
    ({"include[]": "logprobs", "response_format": "text"}, "include"),
    ({"include[]": "usage"}, "include"),
    ({"chunking_strategy": "never"}, "chunking_strategy"),
    ({"chunking_strategy": '{"type": '}, "chunking_strategy"),
    ({"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "2"},
     "chunking_strategy.threshold"),
    ({"known_speaker_names[]": "Ann"}, "known_speaker_names"),
    ({"model": ""}, "model"),
]  # fmt: skip


def test_a_wrong_field_is_named(served: Served, clip: Path) -> None:
    for fields, param in WRONG:
        answer = post(served, clip, **{"model": "whisper-1", **fields})
        assert answer.status_code == 400, fields
        said = answer.json()["error"]
        assert set(said) == {"message", "type", "param", "code"}
        assert (said["type"], said["param"]) == ("invalid_request_error", param)
    assert not progress.listing(served.house.database)


def test_errors_are_the_exceptions_of_the_client(
    served: Served, client: openai.OpenAI, clip: Path
) -> None:
    ask = client.audio.transcriptions.create
    with pytest.raises(openai.BadRequestError) as no_media:
        ask(file=("talk.mp3", b"this is a letter"), model="whisper-1")
    assert (no_media.value.code, no_media.value.param) == ("not_media", "file")
    assert no_media.value.type == "invalid_request_error"
    assert "talk.mp3" in no_media.value.message
    with pytest.raises(openai.BadRequestError) as nothing:
        ask(file=("talk.mp3", b""), model="whisper-1")
    assert nothing.value.code == "empty_file"
    for name in ("whisper-9", "whisper:/etc", "../etc/passwd", "openai/gpt-5"):
        with pytest.raises(openai.NotFoundError) as unknown:
            ask(file=clip, model=name)
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        assert unknown.value.request_id
    missing = post(served, model="whisper-1")
    assert missing.status_code == 400
    assert missing.json()["error"]["param"] == "file"
    broken = served.http.post("/v1/audio/transcriptions", content=b"?", headers={"x": "y"})
    assert broken.status_code == 400
    assert broken.json()["error"]["type"] == "invalid_request_error"
    assert not progress.listing(served.house.database)


def test_addresses_and_methods_that_are_not_there(served: Served) -> None:
    for answer, status in (
        (served.http.post("/v1/audio/speech", json={}), 404),
        (served.http.get("/v1/audio/transcriptions"), 405),
    ):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"]


def test_too_large(serve: Serve, clip: Path) -> None:
    url = serve(limits={"bytes": 1000}).url
    with speaking(url) as client, pytest.raises(openai.APIStatusError) as large:
        client.audio.transcriptions.create(file=clip, model="whisper-1")
    assert (large.value.status_code, large.value.code) == (413, "too_large")


def test_a_full_queue_is_a_rate_limit_with_a_time(
    serve: Serve, clip: Path, speech: Audio, tmp_path: Path
) -> None:
    served = serve(work=False, queue={"capacity": 1})
    first = encoded(tmp_path / "first.flac", speech[16_000:])
    with first.open("rb") as file:
        served.house.submit("first.flac", iter([file.read()]), request_of(served))
    with speaking(served.url) as client, pytest.raises(openai.RateLimitError) as full:
        client.audio.transcriptions.create(file=clip, model="whisper-1")
    assert full.value.code == "queue_full"
    assert int(full.value.response.headers["retry-after"]) >= 1


def request_of(served: Served) -> Any:
    from hansard.transcription import Request

    return Request(model=served.house.settings.model)


def test_keys_open_their_own_recordings_only(serve: Serve, clip: Path) -> None:
    served = serve(serve={"keys": "required"})
    with served.house.database.write() as connection:
        _, ann = keys.create(connection, "ann")
        _, ben = keys.create(connection, "ben")
        _, reader = keys.create(connection, "reader", ["read"])
    with speaking(served.url, "sk-wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            stranger.audio.transcriptions.create(file=clip, model="whisper-1")
        assert unknown.value.code == "invalid_api_key"
        assert unknown.value.request_id
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    with speaking(served.url, reader) as looking:
        assert looking.models.list().data
        with pytest.raises(openai.PermissionDeniedError):
            looking.audio.transcriptions.create(file=clip, model="whisper-1")
    jobs = []
    for key in (ann, ben, ann):
        with speaking(served.url, key) as client:
            raw = client.audio.transcriptions.with_raw_response.create(file=clip, model="whisper-1")
            jobs.append(raw.headers["x-hansard-job"])
    assert jobs[0] == jobs[2] != jobs[1]


def test_an_engine_that_fails_is_an_error_of_the_server(
    serve: Serve, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Broken(), monkeypatch)
    with speaking(serve().url) as client, pytest.raises(openai.InternalServerError) as failed:
        client.audio.transcriptions.create(file=clip, model="whisper-1")
    assert failed.value.type == "server_error"
    assert failed.value.response.headers["x-should-retry"] == "false"


class Broken(QuickEngine):
    def transcribe(self, batch: Any, options: SpeechOptions) -> list[WindowResult]:
        del batch, options
        raise ModelBroken("The model fell over.")


# ── models ───────────────────────────────────────────────────────────────────────────────────


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    raw = client.models.with_raw_response.list()
    listed = json.loads(raw.text)
    assert listed["object"] == "list"
    for one in listed["data"]:
        assert strictly(Model, json.dumps(one)) == client.models.retrieve(one["id"])
    names = [model.id for model in client.models.list()]
    assert "sphinx" in names
    assert set(get_args(AudioModel)) <= set(names)
    assert client.models.retrieve("openai/whisper-1").owned_by == "openai"
    assert client.models.retrieve("small").id == "small", "it can be pulled, so it has a name"
    for name in ("whisper:/etc", "nothing/at/all", "..%2f"):
        with pytest.raises(openai.NotFoundError) as unknown:
            client.models.retrieve(name)
        assert unknown.value.code == "model_not_found"


def test_openais_names_mean_the_default_model(
    served: Served, client: openai.OpenAI, clip: Path
) -> None:
    assert set(get_args(AudioModel)) == set(STAND_INS), "the client knows others by now"
    for name in (*STAND_INS, "auto", "sphinx"):
        raw = client.audio.transcriptions.with_raw_response.create(file=clip, model=name)
        assert raw.headers["x-hansard-model"] == "sphinx/en-us"
    only_job(served)


# ── the end ──────────────────────────────────────────────────────────────────────────────────


def test_a_service_that_stops_sends_home_who_waits(
    quick: QuickEngine, cage: Cage, clip: Path
) -> None:
    """The client would try again by itself: nothing is lost, the job is in the store."""
    house = House(load(), cage=cage)
    house.start()
    listening = socket.create_server(("127.0.0.1", 0))
    server = make_server(house)
    running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    running.start()
    quick.hold.clear()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        served = Served(url, house, http)
        answers: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: answers.append(post(served, clip, model="whisper-1"))
        )
        asking.start()
        assert only_job(served).finished is None
        server.should_exit = True
        asking.join(60)
    running.join(60)
    quick.hold.set()
    house.close()
    listening.close()
    (answer,) = answers
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "store_busy"
    assert "x-should-retry" not in answer.headers
