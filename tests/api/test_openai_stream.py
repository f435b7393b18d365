"""Streams: words as they are settled, and what clients make of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.audio import (
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
)
from tests.api.conftest import Serve, Served
from tests.api.openai_clients import (
    Paced,
    Stumbling,
    ended,
    only_job,
    speaking,
    speaking_async,
    strictly,
    use_alone,
)
from tests.cli.conftest import SAMPLE, decoded, encoded
from tests.quick import QuickEngine

from hansard.api import openai_stream
from hansard.errors import EngineRefused
from hansard.model import WindowResult
from hansard.speech.engine import SpeechOptions

KINDS = {
    "transcript.text.delta": TranscriptionTextDeltaEvent,
    "transcript.text.segment": TranscriptionTextSegmentEvent,
    "transcript.text.done": TranscriptionTextDoneEvent,
}


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first minute and more of the sample meeting: seven windows."""
    return encoded(tmp_path_factory.mktemp("talk") / "talk.flac", decoded(SAMPLE)[: 75 * 16_000])


def raw_events(served: Served, path: Path, **fields: Any) -> Generator[str]:
    """What is behind ``data:``, line by line, as it comes."""
    asked = {"model": "gpt-4o-transcribe", "stream": "true", **fields}
    with (
        path.open("rb") as file,
        served.http.stream(
            "POST", "/v1/audio/transcriptions", data=asked, files={"file": file}
        ) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-hansard-job"]
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield line.removeprefix("data: ")
            else:
                assert line == "" or line.startswith((":", "event: error"))


def checked(lines: list[str]) -> tuple[list[Any], str]:
    """The events but the last, and its text; everything about their order is looked at."""
    assert lines[-1] == "[DONE]"
    events = [
        strictly(KINDS[json.loads(line)["type"]], line, beside=["duration"]) for line in lines[:-1]
    ]
    assert [event.type for event in events].count("transcript.text.done") == 1
    assert events[-1].type == "transcript.text.done"
    told = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert told == events[-1].text
    return events[:-1], events[-1].text


def text(served: Served) -> str:
    found = served.house.transcript(only_job(served).id)
    assert found is not None
    return " ".join(segment.text for segment in found[1]())


def test_words_come_before_the_end_and_add_up_to_the_whole(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, talk: Path
) -> None:
    engine = Paced()
    use_alone(engine, monkeypatch)
    served = serve()
    engine.permits.release(5)
    lines = raw_events(served, talk)
    first = next(lines)
    assert json.loads(first)["type"] == "transcript.text.delta"
    assert only_job(served).finished is None
    assert engine.heard <= 5
    engine.permits.release(1000)
    events, whole = checked([first, *lines])
    assert len(events) > 3
    assert whole == text(served)
    assert json.loads(first)["delta"] == whole[: len(json.loads(first)["delta"])]
    # A second client gets the same from the store, and nothing is heard again.
    heard = engine.heard
    assert checked([*raw_events(served, talk)]) == (events, whole)
    assert engine.heard == heard


@pytest.mark.parametrize("trouble", ["doubt", "hole"])
def test_words_that_are_heard_again_are_not_told_before(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, trouble: Any, talk: Path
) -> None:
    engine = Stumbling(trouble)
    use_alone(engine, monkeypatch)
    served = serve()
    events, whole = checked([*raw_events(served, talk)])
    assert engine.again >= 1
    assert len(events) > 3
    assert whole == text(served)


def test_speakers_come_in_turns(served: Served, talk: Path) -> None:
    events, whole = checked([*raw_events(served, talk, response_format="diarized_json")])
    deltas, turns = events[::2], events[1::2]
    assert [one.type for one in turns] == ["transcript.text.segment"] * len(deltas)
    assert [delta.segment_id for delta in deltas] == [turn.id for turn in turns]
    assert " ".join(turn.text for turn in turns) == whole
    assert [turn.start for turn in turns] == sorted(turn.start for turn in turns)


def test_the_client_reads_streams(served: Served, clip: Path) -> None:
    with speaking(served.url) as client:
        stream = client.audio.transcriptions.create(file=clip, model="whisper-1", stream=True)
        *deltas, done = list(stream)
    assert done.type == "transcript.text.done"
    assert "".join(getattr(event, "delta", "?") for event in deltas) == done.text == text(served)


def test_the_asynchronous_client_reads_streams(served: Served, clip: Path) -> None:
    async def read() -> list[Any]:
        async with speaking_async(served.url) as client:
            stream = await client.audio.transcriptions.create(
                file=clip, model="gpt-4o-transcribe", response_format="text", stream=True
            )
            return [event async for event in stream]

    *deltas, done = asyncio.run(read())
    assert "".join(event.delta for event in deltas) == done.text == text(served)


def test_logprobs_of_an_engine_that_gives_none_are_none(served: Served, clip: Path) -> None:
    lines = [*raw_events(served, clip, **{"include[]": "logprobs"})]
    assert [json.loads(line)["logprobs"] for line in lines[:-1]] == [[]] * (len(lines) - 1)


class Failing(Paced):
    """Refuses once it is out of permits."""

    def transcribe(self, batch: Any, options: SpeechOptions) -> list[WindowResult]:
        if not self.permits.acquire(blocking=False):
            raise EngineRefused("The endpoint refuses the key.", hint="Set another.")
        return QuickEngine.transcribe(self, batch, options)


def test_an_error_on_the_way_is_raised_by_the_client(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, talk: Path
) -> None:
    engine = Failing()
    engine.permits.release(4)
    use_alone(engine, monkeypatch)
    served = serve()
    with speaking(served.url) as client:
        stream = client.audio.transcriptions.create(file=talk, model="whisper-1", stream=True)
        with pytest.raises(openai.APIError, match="refuses the key") as failed:
            for event in stream:
                assert event.type == "transcript.text.delta"
    assert failed.value.code == "engine_refused"
    assert failed.value.type == "server_error"
    assert only_job(served).state == "failed"


def test_cancelling_ends_the_stream(serve: Serve, clip: Path, quick: QuickEngine) -> None:
    served = serve()
    quick.hold.clear()
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.extend(raw_events(served, clip)))
    reading.start()
    served.house.queue.cancel(only_job(served).id)
    reading.join(60)
    quick.hold.set()
    (last,) = found
    assert json.loads(last)["type"] == "error"
    assert json.loads(last)["error"]["code"] == "cancelled"


def test_a_quiet_line_is_kept_open(
    serve: Serve, clip: Path, quick: QuickEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_stream, "KEEP_ALIVE", 0.05)
    served = serve()
    quick.hold.clear()
    fields = {"model": "whisper-1", "stream": "true"}
    with (
        clip.open("rb") as file,
        served.http.stream(
            "POST", "/v1/audio/transcriptions", data=fields, files={"file": file}
        ) as answer,
    ):
        lines = answer.iter_lines()
        for line in lines:
            if line == ": still listening":
                quick.hold.set()
            if line == "data: [DONE]":
                break
        assert quick.hold.is_set()


def test_the_client_does_not_mind_a_quiet_line(
    serve: Serve, clip: Path, quick: QuickEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_stream, "KEEP_ALIVE", 0.02)
    served = serve()
    quick.hold.clear()
    with speaking(served.url) as client:
        stream = client.audio.transcriptions.create(file=clip, model="whisper-1", stream=True)
        letting = threading.Timer(0.3, quick.hold.set)
        letting.start()
        *_, done = list(stream)
        letting.join()
    assert done.type == "transcript.text.done"


def test_the_job_goes_on_when_its_reader_leaves(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, talk: Path
) -> None:
    monkeypatch.setattr(openai_stream, "KEEP_ALIVE", 0.05)
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(openai_stream, "_places", places)
    engine = Paced()
    use_alone(engine, monkeypatch)
    served = serve()
    engine.permits.release(5)
    lines = raw_events(served, talk)
    next(lines)
    assert not places.acquire(blocking=False)
    lines.close()
    assert places.acquire(timeout=60), "nobody follows any more, though the job goes on"
    places.release()
    assert only_job(served).finished is None
    engine.permits.release(1000)
    assert ended(served, only_job(served).id).state == "completed"


def test_more_streams_than_may_be_early_get_the_whole(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, talk: Path
) -> None:
    monkeypatch.setattr(openai_stream, "_places", threading.BoundedSemaphore(1))
    engine = Paced()
    use_alone(engine, monkeypatch)
    served = serve()
    engine.permits.release(5)
    first = raw_events(served, talk)
    head = next(first)
    found: list[str] = []
    second = threading.Thread(target=lambda: found.extend(raw_events(served, talk)))
    second.start()
    engine.permits.release(1000)
    second.join(60)
    assert checked([head, *first]) == checked(found)


def test_a_refusal_before_the_first_event_is_an_answer_like_any_other(
    served: Served,
) -> None:
    answer = served.http.post(
        "/v1/audio/transcriptions",
        data={"model": "whisper-1", "stream": "true"},
        files={"file": ("letter.mp3", b"dear sir")},
        timeout=httpx.Timeout(60),
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "not_media"
