"""Which diarizer: the one that is asked for, else the best that is here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hansard.config import SpeakerSettings
from hansard.errors import EngineError
from hansard.speakers import pyannote
from hansard.speakers.diarizer import NO_HINTS, Diarization, Diarizer, SpeakerHints, Stretch

if TYPE_CHECKING:
    from hansard.speakers.diarizer import Block

_log = logging.getLogger(__name__)


def chosen(settings: SpeakerSettings, *, offline: bool = False) -> Diarizer:
    """The diarizer of the settings. ``auto`` is pyannote where it is installed, else the embedded.

    With ``auto``, pyannote without weights gives way to the embedded diarizer, and it is said so.

    Args:
        settings: ``speakers`` of the settings.
        offline: never ask the model hub.

    Raises:
        EngineError: pyannote is asked for and not installed.
    """
    from hansard.speakers.embedded import Embedded

    if settings.engine == "embedded":
        return Embedded()
    if not pyannote.installed():
        if settings.engine == "pyannote":
            raise EngineError("pyannote is not installed.", hint=pyannote.INSTALL)
        return Embedded()
    best = pyannote.Pyannote(settings, offline=offline)
    return best if settings.engine == "pyannote" else _Auto(best, Embedded())


class _Auto:
    """The better diarizer, or the other where that has no weights; a ``Diarizer``."""

    def __init__(self, better: pyannote.Pyannote, other: Diarizer) -> None:
        self._better = better
        self._other = other
        self.name = better.name

    def diarize(
        self,
        blocks: Iterable[Block],
        *,
        hints: SpeakerHints = NO_HINTS,
        speech: Sequence[Stretch] | None = None,
    ) -> Diarization:
        """See ``Diarizer.diarize``."""
        try:
            self._better.load()
        except EngineError as error:
            if self.name != self._other.name:
                _log.warning("speakers are told apart by the embedded diarizer: %s", error.message)
                self.name = self._other.name
            return self._other.diarize(blocks, hints=hints, speech=speech)
        self.name = self._better.name
        return self._better.diarize(blocks, hints=hints, speech=speech)
