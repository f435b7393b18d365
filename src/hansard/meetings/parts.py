"""What the handlers of follow-up jobs are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hansard.audio.cage import Cage, Uncaged
    from hansard.config import Settings
    from hansard.jobs.queue import Queue
    from hansard.store.files import Files


class Parts(Protocol):
    """What they need of ``transcription.Parts``."""

    @property
    def settings(self) -> Settings:
        """The process's settings."""
        ...

    @property
    def queue(self) -> Queue:
        """Where the work is."""
        ...

    @property
    def files(self) -> Files:
        """Where recordings are."""
        ...

    @property
    def media(self) -> Cage | Uncaged:
        """Opens them."""
        ...
