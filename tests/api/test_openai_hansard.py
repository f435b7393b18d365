"""Hansard talks to Hansard: the remote engine of one service is the API of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.api.conftest import Serve, Served
from tests.api.openai_clients import only_job, speaking
from tests.cli.conftest import SAMPLE, Audio, decoded, encoded
from tests.quick import QuickEngine

from hansard import transcription
from hansard.config import OpenAISettings
from hansard.errors import EngineRefused
from hansard.jobs import progress
from hansard.jobs.worker import Listener
from hansard.speech.engine import SpeechOptions
from hansard.speech.remote import RemoteEngine
from hansard.store import keys
from hansard.wiring import House

REAL = House._listener
"""As it is before the fixture ``serve`` puts the quick engine in its place."""


@pytest.fixture
def remote(served: Served) -> Iterator[RemoteEngine]:
    engine = RemoteEngine("whisper-1", OpenAISettings(base_url=f"{served.url}/v1"))
    yield engine
    engine.close()


def test_the_engine_finds_the_service_and_hears_by_it(
    served: Served, remote: RemoteEngine, speech: Audio
) -> None:
    remote.check()
    (result,) = remote.transcribe([speech], SpeechOptions(language="en"))
    found = served.house.transcript(only_job(served).id)
    assert found is not None
    segments = list(found[1]())
    assert [said.text for said in result.utterances] == [part.text for part in segments]
    words = [word for said in result.utterances for word in said.words]
    assert [(word.text, word.start, word.end) for word in words] == [
        (word.text, word.start, word.end) for part in segments for word in part.words
    ]
    assert result.language == "en"
    assert result.doubt is None
    assert remote.detect_language(speech) == ("en", 1.0)
    assert remote.capabilities.word_times, "the service gives them"


def test_a_window_without_speech_is_an_empty_answer(remote: RemoteEngine) -> None:
    hiss = np.random.default_rng(2).normal(0, 200, 32_000).astype(np.int16)
    for window in (np.zeros(32_000, np.int16), hiss, np.zeros(400, np.int16)):
        (result,) = remote.transcribe([window], SpeechOptions(guards=False))
        assert not "".join(said.text for said in result.utterances)


def test_a_wrong_key_is_a_refusal(serve: Serve) -> None:
    url = serve(serve={"keys": "required"}).url
    engine = RemoteEngine("whisper-1", OpenAISettings(base_url=f"{url}/v1", api_key="wrong"))
    try:
        with pytest.raises(EngineRefused, match="401"):
            engine.check()
    finally:
        engine.close()


def test_one_service_works_for_another(
    serve: Serve, quick: QuickEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def listener(house: House, name: str, model: str) -> Iterator[Listener]:
        if name == "openai":
            with REAL(house, name, model) as real:
                yield real
        else:
            yield Listener(2, 2, partial(transcription.listen, house.parts, quick))  # type: ignore[arg-type]  # no name

    monkeypatch.setattr(House, "_listener", listener)
    far = serve(serve={"keys": "required"})
    with far.house.database.write() as connection:
        _, key = keys.create(connection, "near")
    near = serve(
        data=tmp_path / "near",
        model="openai/whisper-1",
        openai={"base_url": f"{far.url}/v1", "api_key": key},
    )
    talk = encoded(tmp_path / "talk.flac", decoded(SAMPLE)[: 70 * 16_000])
    with speaking(near.url) as client:
        raw = client.audio.transcriptions.with_raw_response.create(file=talk, model="whisper-1")
    assert raw.headers["x-hansard-model"] == "openai/whisper-1"
    text = raw.parse().text
    heard = progress.listing(far.house.database)
    assert len(heard) == only_job(near).heard > 1
    for job in heard:
        found = far.house.transcript(job.id)
        assert found is not None
        assert all(segment.text in text for segment in found[1]())
