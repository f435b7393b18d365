"""The model hub: is it there, and bring me this repository.

What is fetched is a matter for ``speech.models``; here is only the way.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hansard.config import Settings

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, from any thread."""

SILENCE_SECONDS = 60.0
"""A hub that did not answer is not asked again for so long: many files must not wait each."""

STOP_SECONDS = 5.0
"""How long an interrupted pull waits for the download to notice."""

_ASKED_FOR = "Systran/faster-whisper-tiny"
"""A repository that a hub of any use to us has."""


def is_forbidden(settings: Settings) -> bool:
    """Whether the hub must not be asked: by our setting, or by the hub library's own."""
    asked = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return settings.offline or asked


def address() -> str:
    """Address of the model hub."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


_silent_until: dict[str, float] = {}
_silent_lock = threading.Lock()


def answers(settings: Settings) -> bool:
    """Whether the hub answers within ``settings.hub_patience`` seconds, names and all.

    Asked in a thread: looking up a name can take longer than any timeout that is set on it.
    """
    import httpx

    asked_at = address()
    with _silent_lock:
        if time.monotonic() < _silent_until.get(asked_at, 0.0):
            return False
    heard = threading.Event()
    asked = threading.Event()

    def ask() -> None:
        try:
            url = f"{asked_at}/api/models/{_ASKED_FOR}"
            answer = httpx.get(url, timeout=settings.hub_patience, follow_redirects=True)
            if answer.status_code < 500:
                heard.set()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            pass  # whatever the reason, it does not answer
        finally:
            asked.set()

    threading.Thread(target=ask, name="hansard-hub", daemon=True).start()
    asked.wait(settings.hub_patience)
    if not heard.is_set():
        with _silent_lock:
            _silent_until[asked_at] = time.monotonic() + SILENCE_SECONDS
    return heard.is_set()


def forget_silence() -> None:
    """Ask again at the next question, whatever was heard before."""
    with _silent_lock:
        _silent_until.clear()


class Stopped(Exception):
    """Somebody did not want to wait for a download any longer."""


def download(
    repository: str,
    patterns: Sequence[str],
    directory: Path,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Fetch the matching files of a repository into an empty directory.

    In a thread, so that Ctrl-C ends the wait at once and the download with its next block.

    Raises:
        Stopped: ``stop`` was set.
        Exception: whatever the hub library makes of a network, a disk or a hub that fails.
    """
    stop = stop or threading.Event()
    problems: list[BaseException] = []

    def fetch() -> None:
        import huggingface_hub

        try:
            huggingface_hub.snapshot_download(
                repository,
                local_dir=directory,
                allow_patterns=list(patterns),
                endpoint=address(),
                tqdm_class=_bar(progress, stop),
            )
        except BaseException as problem:  # noqa: BLE001 - raised again by the thread that waits
            problems.append(problem)

    thread = threading.Thread(target=fetch, name="hansard-pull", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except BaseException:
        stop.set()
        thread.join(STOP_SECONDS)
        raise
    if stop.is_set():
        raise Stopped
    if problems:
        raise problems[0]
    shutil.rmtree(directory / ".cache", ignore_errors=True)  # the library's notes to itself


def _bar(progress: Progress | None, stop: threading.Event) -> type[Any]:
    """A progress bar class for the hub library that draws nothing and reports bytes."""
    from tqdm import tqdm  # type: ignore[import-untyped]  # ships no types

    lock = threading.Lock()

    class Bar(tqdm):  # type: ignore[misc]  # the library asks for a subclass
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # One bar counts bytes on disk; the others count files and bytes on the line.
            self._counts = str(kwargs.get("desc", "")).startswith("Reconstructing")
            self._done = 0
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if stop.is_set():
                raise Stopped
            if self._counts and progress:
                with lock:
                    self._done += int(n or 0)
                    progress(self._done, max(int(self.total or 0), self._done))
            return None

    return Bar
