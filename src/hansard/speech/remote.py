"""The engine ``openai``: windows go to any OpenAI-compatible endpoint.

Each window is one upload to ``/audio/transcriptions`` (``/audio/translations`` for a translation),
made with the official client. What is ours: how fast we ask (a token bucket), how many windows are
under way, what is tried again and when, and what it costs. What the far side says no to for good
is an :class:`EngineRefused`; what may pass is an :class:`EngineBusy` or :class:`EngineUnreachable`
after the last try, so that the queue puts the window back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from hansard import telemetry
from hansard.config import OpenAISettings
from hansard.errors import (
    BadSettings,
    EngineBusy,
    EngineDied,
    EngineRefused,
    EngineUnreachable,
    HansardError,
    NotSupported,
)
from hansard.model import MAX_WINDOW_SECONDS, SAMPLE_RATE, WindowResult
from hansard.speech import endpoint, guards, wire
from hansard.speech.endpoint import PATIENCE, may_pass, pause, shown_address
from hansard.speech.engine import Capabilities, Samples, SpeechOptions
from hansard.speech.rate import pace

if TYPE_CHECKING:
    import openai
    from tenacity import RetryCallState

    from hansard.store.database import Database

log = logging.getLogger("hansard.speech.remote")

CHECK_SECONDS = 5.0
"""Seconds that an endpoint has to answer the preflight."""

FALLBACK_TEMPERATURE = 0.4
"""Sampling temperature for windows that were doubtful at 0: the third of Whisper's own ladder
(0, 0.2, 0.4 …), high enough to leave a loop and low enough to stay with what was said."""

Detail = Literal["words", "segments", "text"]
"""How much the model was found to give: word times, segment times, or text alone."""


class RemoteEngine:
    """An OpenAI-compatible endpoint as an :class:`~hansard.speech.engine.Engine`.

    Nothing is sent before the first call. Safe for any number of threads; more than
    ``settings.in_flight`` of them wait for their turn.

    Args:
        model: the name the endpoint knows the model by.
        settings: address, key, rates and prices.
        database: where given, rates hold for all who share it; else for this engine alone.
        clock: seconds that never go back.
        sleep: waits so many seconds; the default wakes up when the engine is closed.

    Raises:
        BadSettings: the address is none, or the key holds characters no header may have.
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        settings: OpenAISettings,
        *,
        database: Database | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._model = model
        self._settings = settings
        self._key = _key(settings)
        self.address = shown_address(settings.base_url, "openai")
        """The endpoint as it may be shown: without user name and password."""
        self._sleep = self._doze if sleep is None else sleep
        self._pace = pace(settings, f"{self.address} {self._key}", database, clock)
        self._turn = threading.BoundedSemaphore(settings.in_flight)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._opened: openai.OpenAI | None = None
        self._detail: Detail = "words"
        self._upload: wire.Upload = settings.upload
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"RemoteEngine({self._model!r}, {self.address!r})"

    @property
    def model(self) -> str:
        """The name the endpoint knows the model by."""
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        """What the endpoint does; word times and languages until it is found that it does not."""
        return Capabilities(
            languages=None,
            detects_language=self._detail != "text",
            word_times=self._detail == "words",
            translation=True,
            prompts=True,
            hotwords=True,
            window_seconds=MAX_WINDOW_SECONDS,
            batch=1,
            lanes=self._settings.in_flight,
            device="remote",
        )

    # ── what others call ─────────────────────────────────────────────────────────────────────

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        """Transcribe windows one after the other; give each lane its own call for speed.

        Raises:
            EngineRefused: the endpoint rejects the request, the key or the size of the upload.
            EngineBusy: it still asks to slow down after the last try; ``retry_after`` is set.
            EngineUnreachable: it still does not answer, or answers with errors of its own.
            EngineError: it answers something that is not a transcription.
        """
        if options.max_tokens is not None:
            self._say_once(
                "max_tokens", "the engine openai has no limit of tokens: max_tokens is not applied"
            )
        return [self._window(window, options) for window in batch]

    def detect_language(self, window: Samples) -> tuple[str, float]:
        """The language the endpoint hears. It gives no probability: it is reported as 1.

        Raises:
            NotSupported: the model answers without naming a language.
            EngineError: as :meth:`transcribe`.
        """
        language = self._window(window, SpeechOptions(word_times=False)).language
        if language is None:
            raise NotSupported(
                f"The model {self._model} at {self.address} does not say which language it hears.",
                hint="Name the language: --language en.",
            )
        return language, 1.0

    def estimate(self, seconds: float) -> float | None:
        """What so much audio costs by the price table; ``None``: the table has no such model."""
        price = self._settings.prices.get(self._model)
        return None if price is None else price * seconds / 60.0

    def check(self) -> None:
        """Ask the endpoint for its models once, within a few seconds: is it there, is the key good?

        An endpoint without a list of models (404) is reachable all the same.

        Raises:
            EngineUnreachable: nothing answers at the address, or only with errors of its own.
            EngineRefused: the key is missing or not accepted.
        """
        import openai

        try:
            self._client().with_options(timeout=CHECK_SECONDS).models.with_raw_response.list()
        except (openai.NotFoundError, openai.RateLimitError):
            return
        except openai.APIStatusError as problem:
            if problem.status_code in {405, 501}:
                return
            raise self._refusal(problem) from None
        except openai.APIConnectionError as problem:
            raise self._silence(problem, CHECK_SECONDS) from None

    def close(self) -> None:
        """Let go of the connections; windows that wait for another try end with EngineDied."""
        self._closing.set()
        with self._lock:
            client, self._opened = self._opened, None
        if client is not None:
            client.close()

    # ── one window ───────────────────────────────────────────────────────────────────────────

    def _window(self, window: Samples, options: SpeechOptions) -> WindowResult:
        if not len(window):
            return WindowResult(language=options.language)
        seconds = len(window) / SAMPLE_RATE
        with self._turn:
            answer = self._persist(window, options)
        billed = answer.billed_seconds
        cost = self.estimate(seconds if billed is None else billed) or 0.0
        telemetry.count("openai.windows")
        telemetry.count("openai.cost", cost)
        result = wire.to_result(
            answer,
            seconds,
            word_times=options.word_times,
            language="en" if options.task == "translate" else options.language,
            cost=cost,
        )
        if not options.guards:
            return result
        return msgspec.structs.replace(result, doubt=guards.judge(result, seconds))

    def _persist(self, window: Samples, options: SpeechOptions) -> wire.Answer:
        """Try until it works, is refused for good, or ``attempts`` are used up."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        retrying = Retrying(
            retry=retry_if_exception(may_pass),
            stop=stop_after_attempt(self._settings.attempts),
            wait=pause,
            sleep=self._sleep,
            before_sleep=self._note_retry,
            reraise=True,
        )
        return retrying(self._adapt, window, options)

    def _adapt(self, window: Samples, options: SpeechOptions) -> wire.Answer:
        """Ask, and ask for less where this model or server turns out to give less."""
        import openai

        while True:
            detail, upload = self._detail, self._upload
            try:
                return wire.read(self._ask(window, options, detail, upload))
            except openai.APIStatusError as problem:
                if not self._settle_for_less(problem, detail, upload):
                    raise self._refusal(problem) from None
            except openai.APIConnectionError as problem:
                raise self._silence(problem, self._settings.timeout) from None

    def _ask(
        self, window: Samples, options: SpeechOptions, detail: Detail, upload: wire.Upload
    ) -> bytes:
        self._pace.admit(self._sleep_if_needed)
        asked: dict[str, Any] = {
            "file": wire.encode(window, upload),
            "model": self._model,
            "response_format": "json" if detail == "text" else "verbose_json",
        }
        prompt = " ".join(part for part in (options.hotwords, options.prompt) if part)
        if prompt:
            asked["prompt"] = prompt
        if options.fallback:
            asked["temperature"] = FALLBACK_TEMPERATURE
        client = self._client()
        telemetry.count("openai.calls")
        with telemetry.span("engine.remote"):
            if options.task == "translate":
                return _translation(client, asked)
            if options.language:
                asked["language"] = options.language
            if detail == "words" and options.word_times:
                asked["timestamp_granularities"] = ["word", "segment"]
            return client.audio.transcriptions.with_raw_response.create(**asked).content

    def _settle_for_less(
        self, problem: openai.APIStatusError, detail: Detail, upload: wire.Upload
    ) -> bool:
        """Whether the refusal names something we can do without; remembered for all windows.

        The gpt-4o transcription models take no ``verbose_json``; some servers know no word
        times; a proxy may let through one megabyte where a window as FLAC has up to 0.9.
        """
        said = f"{problem.param or ''} {problem.message}".lower()
        if problem.status_code == 413 and upload == "flac":
            self._upload = "opus"
            self._say_once("opus", f"{self.address} refuses FLAC as too large: sending Opus")
            return True
        if problem.status_code not in {400, 422}:
            return False
        if "timestamp_granularities" in said and detail == "words":
            self._detail = "segments"
            self._say_once("words", f"{self._model} at {self.address} gives no word times")
            return True
        if ("response_format" in said or "verbose_json" in said) and detail != "text":
            self._detail = "text"
            self._say_once(
                "text",
                f"{self._model} at {self.address} gives text without times: "
                "each window is one segment",
            )
            return True
        return False

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    def _sleep_if_needed(self, seconds: float) -> None:
        if self._closing.is_set():
            raise self._died()
        if seconds > 0:
            telemetry.record("openai.throttled", seconds)
            self._sleep(seconds)

    def _doze(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise self._died()

    def _died(self) -> EngineDied:
        return EngineDied(f"The engine for {self.address} was closed while a window waited.")

    def _note_retry(self, state: RetryCallState) -> None:
        telemetry.count("openai.retries")
        problem = state.outcome.exception() if state.outcome else None
        log.info("try %d of a window failed: %s", state.attempt_number, problem)

    # ── what went wrong, in our words ────────────────────────────────────────────────────────

    def _refusal(self, problem: openai.APIStatusError) -> HansardError:
        """An answer with a status of 400 or more. Made without its cause: it may quote the key."""
        status = problem.status_code
        said = endpoint.said_by(problem, self._key)
        retry_after = wire.retry_after(problem.response.headers)
        # 408 and 409 are what the official client tries again too: a slow or a locked request.
        if problem.code == "insufficient_quota":
            return EngineRefused(
                f"The account at {self.address} has no credit left{said}.",
                hint="Top up the account, or use another engine: --model auto.",
            )
        if status in {408, 409, 429, 503, 529}:
            if retry_after:
                self._pace.pause(min(retry_after, PATIENCE))
            return EngineBusy(
                f"{self.address} is busy (HTTP {status}){said}.",
                hint="Lower openai.calls_per_minute or openai.in_flight if this happens often.",
                retry_after=retry_after,
            )
        if status >= 500:
            return EngineUnreachable(
                f"{self.address} fails with an error of its own (HTTP {status}){said}.",
                retry_after=retry_after,
            )
        return EngineRefused(
            f"{self.address} refuses the request (HTTP {status}){said}.",
            hint=_hint(status, self._model, has_key=self._key is not None),
        )

    def _silence(self, problem: openai.APIConnectionError, patience: float) -> EngineUnreachable:
        import openai

        if isinstance(problem, openai.APITimeoutError):
            return EngineUnreachable(
                f"{self.address} did not answer within {patience:g} s.",
                hint="Raise openai.timeout if the endpoint is only slow.",
            )
        reason = endpoint.safe(str(problem.__cause__ or problem), self._key) or "no reason given"
        return EngineUnreachable(
            f"{self.address} cannot be reached: {reason}.",
            hint="Is the address right (setting openai.base_url), and is the server running?",
        )

    def _say_once(self, about: str, sentence: str) -> None:
        with self._lock:
            if about in self._said:
                return
            self._said.add(about)
        log.warning(sentence)

    def _client(self) -> openai.OpenAI:
        with self._lock:
            if self._closing.is_set():
                raise self._died()
            if self._opened is None:
                self._opened = _open_client(self._settings, self._key, self.address)
            return self._opened


def _open_client(settings: OpenAISettings, key: str | None, address: str) -> openai.OpenAI:
    if key is None and urlsplit(address).hostname == endpoint.OPENAI:
        raise EngineRefused(
            f"No key is set for {address}.",
            hint="Set OPENAI_API_KEY, or HANSARD_OPENAI__API_KEY.",
        )
    return endpoint.connected(settings, key, follow_redirects=True)


def _translation(client: openai.OpenAI, asked: dict[str, Any]) -> bytes:
    """As ``client.audio.translations.create``, which warns that OpenAI itself will end it.

    The compatible servers keep the address, so it is asked through the client's own ``post``.
    """
    fields = dict(asked)
    answer = client.post(
        "/audio/translations",
        cast_to=str,
        files=[("file", fields.pop("file"))],
        body=fields,
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )
    return answer.encode()


def _key(settings: OpenAISettings) -> str | None:
    import os

    key = (settings.api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable()):
        # The HTTP library would say so too, and quote the key.
        raise BadSettings(
            "The key of the engine openai holds characters that no header may have.",
            hint="Set OPENAI_API_KEY again, without line breaks and quotes.",
        )
    return key


def _hint(status: int, model: str, *, has_key: bool) -> str:
    if status in {401, 403}:
        if has_key:
            return "Is the key right, and may it use this model?"
        return "Set OPENAI_API_KEY, or HANSARD_OPENAI__API_KEY."
    if status == 404:
        return f"Is the address right (setting openai.base_url), and does it know {model}?"
    if status == 413:
        return "The endpoint, or a proxy before it, takes no upload of a window's size."
    return "Check the model's name and the options against what the endpoint takes."
