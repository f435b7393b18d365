"""Who makes what a meeting is found to be: the rooms below, called in one place.

Everything heavy (audio, numerics, models) is imported here, when it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hansard.errors import NotSupported
from hansard.insight.findings import Kind, Occasion, Source
from hansard.meetings.requests import Speakers
from hansard.meetings.turns import Turn
from hansard.model import Job, Segment, Value
from hansard.store.meetings import Heard
from hansard.store.voices import Remembered

if TYPE_CHECKING:
    from hansard.config import Settings
    from hansard.meetings.parts import Parts


class Voices(Value, frozen=True):
    """What a diarizer found: turns under labels of its own, and a voice for each label."""

    turns: tuple[Turn, ...]
    heard: tuple[Heard, ...] = ()
    source: Source = Source("embedded", "none")


def diarize(parts: Parts, job: Job, wanted: Speakers) -> Voices:
    """Who speaks when in a recording, which is decoded as it is read.

    Raises:
        MediaGone: the recording is not kept any more.
        HansardError: it cannot be decoded.
    """
    raise NotSupported("Voices cannot be told apart yet.")


def assign(segments: Iterable[Segment], turns: Sequence[Turn]) -> Iterator[Segment]:
    """Give words their speakers by time; segments are split where the speaker changes."""
    raise NotSupported("Voices cannot be told apart yet.")


def recognise(heard: Sequence[Heard], known: Sequence[Remembered]) -> Sequence[Heard]:
    """Speakers with the names that remembered voices suggest."""
    del known
    return heard


def find(
    kind: Kind,
    segments: Sequence[Segment],
    occasion: Occasion,
    turns: Sequence[Turn],
    settings: Settings,
) -> tuple[Value, Source]:
    """One finding: by the language model in the settings, else embedded, saying so."""
    raise NotSupported("Nothing can be found out yet.")
