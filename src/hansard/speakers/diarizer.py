"""Who spoke when: what every diarizer takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from hansard.errors import UsageError
from hansard.model import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Block: TypeAlias = NDArray[np.int16] | NDArray[np.float32]

Stretch: TypeAlias = tuple[float, float]
"""Start and end in seconds."""


class Turn(Value, frozen=True, gc=False):
    """A stretch in which one person speaks, in seconds; turns of several may overlap."""

    start: float
    end: float
    speaker: str


class Voice(Value, frozen=True):
    """What one speaker sounds like. ``seconds``: how much speech it was taken from.

    Vectors of the same ``kind`` can be compared across recordings, see ``speakers.voices``.
    """

    label: str
    vector: tuple[float, ...]
    seconds: float
    kind: str = "embedded-1"


class Diarization(Value, frozen=True):
    """Who spoke when in one recording.

    Speakers are ``S1``, ``S2``, … by their first turn. ``turns`` are in order of start;
    ``overlap`` is where more than one speaks.
    """

    turns: tuple[Turn, ...]
    voices: tuple[Voice, ...]
    seconds: float
    """Length of the recording."""
    overlap: tuple[Stretch, ...] = ()
    engine: str = "embedded"


MOST_SPEAKERS = 40
"""So many are told apart where nobody says how many there are."""


class SpeakerHints(Value, frozen=True):
    """What is known beforehand. ``speakers`` is exact and outdoes the other two.

    Raises:
        UsageError: fewer than one speaker, or more at least than at most.
    """

    min_speakers: int | None = None
    max_speakers: int | None = None
    speakers: int | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        given = (self.min_speakers, self.max_speakers, self.speakers)
        least, most = self.bounds
        if any(number is not None and number < 1 for number in given) or least > most:
            raise UsageError(
                "These numbers of speakers make no sense.",
                hint="Give speakers, or min_speakers and max_speakers: 1 <= min <= max.",
            )

    @property
    def bounds(self) -> tuple[int, int]:
        """The fewest and the most speakers there may be."""
        if self.speakers is not None:
            return self.speakers, self.speakers
        return self.min_speakers or 1, self.max_speakers or MOST_SPEAKERS


NO_HINTS = SpeakerHints()
"""Nothing is known."""


class Diarizer(Protocol):
    """Tells who speaks when, from one pass over the audio."""

    name: str

    def diarize(
        self,
        blocks: Iterable[Block],
        *,
        hints: SpeakerHints = NO_HINTS,
        speech: Sequence[Stretch] | None = None,
    ) -> Diarization:
        """Hear a recording and say who speaks when.

        Args:
            blocks: mono audio at 16 kHz in order, blocks of any length, shape ``(n,)`` or
                ``(1, n)``; 16-bit or floating samples (full scale 1).
            hints: what is known of the number of speakers.
            speech: where speech is, in seconds, if somebody knows better than a detector; turns
                stay inside it.

        Raises:
            EngineError: the engine is not installed, has no weights, or failed.
        """
        ...


def in_order(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Turns by start, their speakers named ``S1``, ``S2``, … by first appearance.

    Those of one speaker that touch or overlap are made one.
    """
    names: dict[str, str] = {}
    last: dict[str, int] = {}
    ordered: list[Turn] = []
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker)):
        if turn.end <= turn.start:
            continue
        label = names.setdefault(turn.speaker, f"S{len(names) + 1}")
        before = last.get(label)
        if before is not None and turn.start <= ordered[before].end:
            kept = ordered[before]
            ordered[before] = Turn(kept.start, max(kept.end, turn.end), label)
        else:
            last[label] = len(ordered)
            ordered.append(Turn(turn.start, turn.end, label))
    return tuple(ordered)


def labels(turns: Iterable[Turn]) -> dict[str, str]:
    """The names that :func:`in_order` gives: speaker → label."""
    names: dict[str, str] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker)):
        if turn.end > turn.start:
            names.setdefault(turn.speaker, f"S{len(names) + 1}")
    return names


def overlaps(turns: Iterable[Turn]) -> tuple[Stretch, ...]:
    """The stretches in which several speakers speak, in order, none touching another."""
    events = sorted(
        event for turn in turns for event in ((turn.start, 1), (turn.end, -1))
    )  # ends before starts at the same moment
    count, begin = 0, 0.0
    found: list[Stretch] = []
    for at, step in events:
        if count == 1 and step == 1:
            begin = at
        elif count == 2 and step == -1 and at > begin:
            if found and begin <= found[-1][1]:
                found[-1] = (found[-1][0], at)
            else:
                found.append((begin, at))
        count += step
    return tuple(found)
