"""The official client, pointed at a service; what the tests of the OpenAI routes share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import msgspec
import openai
import pytest
from tests.api.conftest import Served
from tests.quick import QuickEngine

from hansard import transcription
from hansard.jobs import progress
from hansard.jobs.worker import Listener
from hansard.model import Job, WindowResult
from hansard.speech.engine import Samples, SpeechOptions
from hansard.wiring import House


def speaking(url: str, key: str = "sk-none-is-asked-for") -> openai.OpenAI:
    """A client as users make it, that tries nothing twice: a test wants to see the first error."""
    return openai.OpenAI(
        api_key=key,
        base_url=f"{url}/v1",
        max_retries=0,
        timeout=60,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


def speaking_async(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="sk-none-is-asked-for",
        base_url=f"{url}/v1",
        max_retries=0,
        timeout=60,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    )


def strictly(kind: Any, body: bytes | str, *, beside: Sequence[str] = ()) -> Any:
    """The body as ``kind`` of the ``openai`` package, no type bent to fit, nothing unknown."""
    value = kind.model_validate_json(body, strict=True)
    assert set(value.model_extra or ()) <= set(beside)
    return value


def ended(served: Served, job: str) -> Job:
    """The job, once it is at its end: the limit is that of the test."""
    while True:
        found = progress.progress(served.house.database, job).job
        if found.finished is not None:
            return found
        time.sleep(0.02)


def only_job(served: Served) -> Job:
    """The one job there is, as soon as there is one, whatever follows it."""
    while not (found := [j for j in progress.listing(served.house.database) if not j.parent]):
        time.sleep(0.02)
    (job,) = found
    return job


def use_alone(engine: QuickEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``quick.use``, but one window after the other, in the order of the recording."""

    @contextmanager
    def listener(house: House, name: str, model: str) -> Iterator[Listener]:
        del name, model
        whole: Any = engine
        yield Listener(1, 1, partial(transcription.listen, house.parts, whole))

    monkeypatch.setattr(House, "_listener", listener)


class Paced(QuickEngine):
    """Hears as many windows as it is let: ``permits.release(n)``."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(0)

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        for _ in batch:
            assert self.permits.acquire(timeout=60)
        return super().transcribe(batch, options)


class Stumbling(QuickEngine):
    """Hears the fourth window badly at first, and well when it is asked again.

    ``doubt``: it says one word over and over. ``hole``: it leaves the middle out.
    """

    def __init__(self, trouble: Literal["doubt", "hole"]) -> None:
        super().__init__()
        self.again = 0
        self._trouble = trouble
        self._marked: list[bytes] = []
        self._guard = threading.Lock()

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        found = super().transcribe(batch, options)
        if options.fallback:
            self.again += len(batch)
            return found
        return [self._first(window, good) for window, good in zip(batch, found, strict=True)]

    def _first(self, window: Samples, good: WindowResult) -> WindowResult:
        with self._guard:
            if window.tobytes() not in self._marked:
                self._marked.append(window.tobytes())
            if self._marked.index(window.tobytes()) != 3:
                return good
        (said,) = good.utterances
        if self._trouble == "doubt":
            words = tuple(msgspec.structs.replace(word, text="home") for word in said.words)
        else:
            words = tuple(word for word in said.words if not 3.0 < word.start < 8.0)
        text = " ".join(word.text for word in words)
        return WindowResult((msgspec.structs.replace(said, text=text, words=words),), "en")
