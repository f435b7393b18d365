"""An OpenAI-compatible endpoint: its address, its key, its connections, and what is tried again.

``speech.remote`` sends it audio; ``search.remote_embedder`` and ``insight.openai_model`` send it
text through :class:`Endpoint`. Text goes to the address of the settings and nowhere else: a
redirect is an error, and a key from the environment is only given to whom it is for.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from hansard import telemetry
from hansard.errors import (
    BadSettings,
    EngineDied,
    HansardError,
    LanguageModelBusy,
    LanguageModelError,
    LanguageModelRefused,
    LanguageModelUnreachable,
    TextTooLong,
)
from hansard.speech import wire

if TYPE_CHECKING:
    import openai
    from tenacity import RetryCallState

log = logging.getLogger("hansard.speech.endpoint")

FIRST_WAIT = 1.0
"""Seconds: the longest first pause before a second try; it doubles with each further one."""

LONGEST_WAIT = 60.0
"""Seconds: no pause between two tries is drawn from more than this."""

PATIENCE = 120.0
"""Seconds: a Retry-After beyond this gives the work back to the queue at once."""

LONGEST_ANSWER = 16 * 2**20
"""Bytes: no answer in JSON that makes sense here is longer."""

OPENAI = "api.openai.com"
"""The host that a key in ``OPENAI_API_KEY`` is for."""

_TOO_LONG = (
    "context length",
    "context_length",
    "context window",
    "context size",
    "maximum context",
    "max_model_len",
    "too many tokens",
    "prompt is too long",
    "input is too long",
    "input length",
    "too large for model",
)
"""How OpenAI, vLLM, llama.cpp, Ollama and others say that a text does not fit."""


class Account(Protocol):
    """The settings that any endpoint has."""

    @property
    def base_url(self) -> str: ...  # noqa: D102 see ``config``
    @property
    def api_key(self) -> str | None: ...  # noqa: D102
    @property
    def timeout(self) -> float: ...  # noqa: D102
    @property
    def attempts(self) -> int: ...  # noqa: D102


class Endpoint:
    """Asks an endpoint, and again where that may help. Safe for any number of threads.

    Nothing is sent before the first question.

    Args:
        account: address, key, patience.
        section: the name of these settings, for messages.
        sleep: waits so many seconds; the default wakes up when the endpoint is closed.

    Raises:
        BadSettings: the address is none, or the key holds characters that no header may have.
    """

    def __init__(
        self, account: Account, section: str, *, sleep: Callable[[float], None] | None = None
    ) -> None:
        self.address = shown_address(account.base_url, section)
        """As it may be shown: without user name and password."""
        self._account = account
        self._section = section
        self._key = _key(account.api_key, section, self.address)
        self._sleep = self._doze if sleep is None else sleep
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._opened: openai.OpenAI | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.address!r})"

    def ask(self, question: Callable[[openai.OpenAI], bytes]) -> bytes:
        """The body of an answer to ``question``, which makes one call with the official client.

        Raises:
            TextTooLong: what was sent does not fit into the model.
            LanguageModelRefused: the request or the key is rejected.
            LanguageModelBusy: we are still asked to slow down after the last try.
            LanguageModelUnreachable: there is still no answer after the last try.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        retrying = Retrying(
            retry=retry_if_exception(may_pass),
            stop=stop_after_attempt(self._account.attempts),
            wait=pause,
            sleep=self._sleep,
            before_sleep=self._note_retry,
            reraise=True,
        )
        return retrying(self._ask_once, question)

    def close(self) -> None:
        """Let go of the connections; questions that wait for another try end."""
        self._closing.set()
        with self._lock:
            client, self._opened = self._opened, None
        if client is not None:
            client.close()

    # ── one try ──────────────────────────────────────────────────────────────────────────────

    def _ask_once(self, question: Callable[[openai.OpenAI], bytes]) -> bytes:
        import openai

        telemetry.count(f"{self._section}.calls")
        try:
            with telemetry.span(f"{self._section}.call"):
                answer = question(self._client())
        except openai.APIStatusError as problem:
            raise self._refusal(problem) from None
        except openai.APIConnectionError as problem:
            raise self._silence(problem) from None
        if len(answer) > LONGEST_ANSWER:
            raise LanguageModelError(f"{self.address} answers with more than any answer has.")
        return answer

    def _client(self) -> openai.OpenAI:
        with self._lock:
            if self._closing.is_set():
                raise self._closed()
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> openai.OpenAI:
        host = urlsplit(self.address).hostname or ""
        if self._key is None and host == OPENAI:
            raise LanguageModelRefused(
                f"No key is set for {self.address}.", hint=f"Set {self._variable()}."
            )
        # A redirect would send what people said to somebody who is not in the settings.
        return connected(self._account, self._key, follow_redirects=False)

    def _doze(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise self._closed()

    def _closed(self) -> EngineDied:
        return EngineDied(f"The connection to {self.address} was closed while a question waited.")

    def _note_retry(self, state: RetryCallState) -> None:
        telemetry.count(f"{self._section}.retries")
        problem = state.outcome.exception() if state.outcome else None
        log.info("try %d of a question failed: %s", state.attempt_number, problem)

    # ── what went wrong, in our words ────────────────────────────────────────────────────────

    def _refusal(self, problem: openai.APIStatusError) -> LanguageModelError:
        """An answer with a status of 300 or more. Made without its cause: it may quote the key."""
        status = problem.status_code
        said = said_by(problem, self._key)
        after = wire.retry_after(problem.response.headers)
        if problem.code == "insufficient_quota":
            return LanguageModelRefused(
                f"The account at {self.address} has no credit left{said}.",
                hint="Top up the account, or do without a language model.",
            )
        if status == 413 or (status in {400, 422, 500} and _is_too_long(problem)):
            return TextTooLong(
                f"{self.address} takes no text of this length{said}.",
                hint="Lower language_model.context_tokens to what the model has.",
            )
        if status in {408, 409, 429, 503, 529}:
            return LanguageModelBusy(
                f"{self.address} is busy (HTTP {status}){said}.", retry_after=after
            )
        if status >= 500:
            return LanguageModelUnreachable(
                f"{self.address} fails with an error of its own (HTTP {status}){said}.",
                retry_after=after,
            )
        if status < 400:
            return LanguageModelRefused(
                f"{self.address} sends us elsewhere (HTTP {status}), where we do not go.",
                hint=f"Set {self._section}.base_url to the address that is meant.",
            )
        refused = LanguageModelRefused(
            f"{self.address} refuses the request (HTTP {status}){said}.", hint=self._hint(status)
        )
        refused.http = status
        refused.said = f"{problem.param or ''}{said}".lower()
        return refused

    def _hint(self, status: int) -> str:
        if status in {401, 403}:
            if self._key is not None:
                return "Is the key right, and may it use this model?"
            return f"Set {self._variable()}."
        if status == 404:
            return f"Are {self._section}.base_url and {self._section}.model right?"
        return "Check the settings against what the endpoint takes."

    def _silence(self, problem: openai.APIConnectionError) -> LanguageModelUnreachable:
        import openai

        if isinstance(problem, openai.APITimeoutError):
            return LanguageModelUnreachable(
                f"{self.address} did not answer within {self._account.timeout:g} s.",
                hint=f"Raise {self._section}.timeout if the endpoint is only slow.",
            )
        reason = safe(str(problem.__cause__ or problem), self._key) or "no reason given"
        return LanguageModelUnreachable(
            f"{self.address} cannot be reached: {reason}.",
            hint=f"Is {self._section}.base_url right, and is the server running?",
        )

    def _variable(self) -> str:
        return f"HANSARD_{self._section.upper()}__API_KEY"


def connected(account: Account, key: str | None, *, follow_redirects: bool) -> openai.OpenAI:
    """The official client for an endpoint; whoever calls it tries again by himself."""
    import openai

    host = urlsplit(account.base_url).hostname or ""
    # A proxy that the environment names for the outside must not be asked for this machine.
    local = host in {"localhost", "::1"} or host.startswith("127.")
    return openai.OpenAI(
        api_key=key or "none",  # local servers ask for none, but the client insists
        base_url=account.base_url,
        timeout=account.timeout,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(
            trust_env=not local, follow_redirects=follow_redirects
        ),
    )


def said_by(problem: openai.APIStatusError, key: str | None) -> str:
    """The far side's own sentence, where it sent one, to follow ours."""
    body = problem.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error")
    text = safe(body, key) if isinstance(body, str) else ""
    return f": {text}" if text else ""


def safe(text: str, key: str | None) -> str:
    """One short line without the key: far sides like to quote what they were sent."""
    line = " ".join(text.split())
    if key:
        line = line.replace(key, "[key]")
    return (line[:297] + "…" if len(line) > 300 else line).rstrip(".")


def _is_too_long(problem: openai.APIStatusError) -> bool:
    said = f"{problem.code or ''} {problem.message}".lower()
    return any(words in said for words in _TOO_LONG)


def may_pass(problem: BaseException) -> bool:
    """Whether the same may work in a moment: not where we ended it, or are told to wait long."""
    return (
        isinstance(problem, HansardError)
        and problem.trouble == "transient"
        and not isinstance(problem, EngineDied)
        and (problem.retry_after or 0.0) <= PATIENCE
    )


def pause(state: RetryCallState) -> float:
    """Seconds before the next try: what the far side asked for, and full jitter on top.

    Full jitter (a uniform draw from zero to the exponential bound) spreads lanes and workers
    that failed together: M. Brooker, "Exponential Backoff And Jitter", AWS, 2015.
    """
    from tenacity import wait_random_exponential

    problem = state.outcome.exception() if state.outcome else None
    asked = problem.retry_after if isinstance(problem, HansardError) else None
    return (asked or 0.0) + wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(state)


def shown_address(base_url: str, section: str) -> str:
    """An address as it may be shown: without user name and password.

    Raises:
        BadSettings: it is none.
    """
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise BadSettings(
            f"The setting {section}.base_url is not an http or https address.",
            hint="For example http://127.0.0.1:8000/v1.",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _key(given: str | None, section: str, address: str) -> str | None:
    key = (given or "").strip()
    if not key and urlsplit(address).hostname == OPENAI:
        key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable()):
        # The HTTP library would say so too, and quote the key.
        raise BadSettings(
            f"The key in {section}.api_key holds characters that no header may have.",
            hint="Set it again, without line breaks and quotes.",
        )
    return key
