"""Hansard: a self-hosted speech platform.

    >>> import hansard
    >>> transcript = hansard.transcribe("meeting.mp3")
    >>> print(transcript.text)

Names are looked up when they are used: importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from hansard.config import Settings
    from hansard.errors import HansardError
    from hansard.jobs.progress import Progress
    from hansard.model import Segment, Transcript, Word

__all__ = ["HansardError", "Segment", "Transcript", "Word", "__version__", "transcribe"]

__version__ = "0.1.0"

_HOMES = {
    "HansardError": "hansard.errors",
    "Segment": "hansard.model",
    "Transcript": "hansard.model",
    "Word": "hansard.model",
}


def transcribe(
    source: str | PathLike[str],
    *,
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **request: Any,
) -> Transcript:
    """Transcribe one recording and return the whole transcript.

    Durable like the command line: an interrupted call, made again, goes on where it stopped, and
    the same recording with the same options is answered from the store at once.

    Args:
        source: a media file or an http(s) URL.
        settings: where the store is and how engines run; read from the environment when left out.
        on_progress: called about five times a second with how far the job is.
        **request: the fields of ``hansard.transcription.Request``: ``model="small"``,
            ``language="en"``, ``channels="separate"``, ``again=True`` …

    Raises:
        HansardError: whatever stands in the way; its ``code`` says what, its ``hint`` what to do.
    """
    from hansard.wiring import transcribe_one

    return transcribe_one(source, settings, on_progress, request)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
