"""Who spoke when, with what people said about it: turns before they are given to words.

What a diarizer finds is kept as it was found, under labels that stay the same from run to run.
What people said comes on top each time, in the order in which they said it: so it survives when
speakers are found anew, whatever is found then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from hansard.errors import BadRequest
from hansard.model import Segment, Value
from hansard.store import meetings
from hansard.store.meetings import Correction

TURNS = "turns"
"""The kind of finding that holds who spoke when, as it was found."""

MERGE = "merge"
"""The correction: the speaker of the label in ``place`` is another that is known as well."""

SPEAKER = "speaker"
"""The correction: what is said in the stretch in ``place`` is somebody else's."""


class Turn(Value, frozen=True, array_like=True, gc=False):
    """A stretch in which one person speaks, in seconds; turns of several may overlap."""

    start: float
    end: float
    speaker: str


class Turns(Value, frozen=True):
    """The finding of the kind ``turns``."""

    turns: tuple[Turn, ...] = ()
    by_channel: bool = False
    """Each channel is one speaker: nothing had to be told apart."""


class Who(Value, frozen=True):
    """A correction's word for a speaker."""

    speaker: str


def stretch(start: float, end: float) -> str:
    """A stretch of time as the place of a correction."""
    return f"{start:.3f} {end:.3f}"


def read(place: str) -> tuple[float, float]:
    """The stretch that a place names.

    Raises:
        BadRequest: it is none.
    """
    try:
        start, end = map(float, place.split())
    except ValueError as error:
        raise BadRequest(f"{place!r} is no stretch of time.") from error
    return start, end


# ── labels that stay ─────────────────────────────────────────────────────────────────────────


def labelled(found: Sequence[Turn], before: Sequence[Turn]) -> dict[str, str]:
    """A label like ``S1`` for each speaker that was found, the same as before where it is the same.

    Two are the same who speak most at the same time; of several, those who do so longest. Others
    get numbers that nobody had, in the order in which they first speak.
    """
    together: defaultdict[tuple[str, str], float] = defaultdict(float)
    for mine, theirs, seconds in _overlaps(found, before):
        together[mine, theirs] += seconds
    chosen: dict[str, str] = {}
    for (mine, theirs), _ in sorted(together.items(), key=lambda one: (-one[1], one[0])):
        if mine not in chosen and theirs not in chosen.values():
            chosen[mine] = theirs
    taken = {*chosen.values(), *(turn.speaker for turn in before)}
    number = 0
    for turn in found:
        if turn.speaker not in chosen:
            number += 1
            while f"S{number}" in taken:
                number += 1
            chosen[turn.speaker] = f"S{number}"
    return chosen


def _overlaps(found: Sequence[Turn], before: Sequence[Turn]) -> Iterable[tuple[str, str, float]]:
    """Pairs of speakers of the one and the other, and how long both speak at once."""
    events: list[tuple[float, int, int, str]] = []
    for side, turns in enumerate((found, before)):
        for turn in turns:
            events.append((turn.start, 1, side, turn.speaker))
            events.append((turn.end, -1, side, turn.speaker))
    active: tuple[dict[str, int], dict[str, int]] = ({}, {})
    last = 0.0
    for at, step, side, speaker in sorted(events):
        if at > last:
            for mine in active[0]:
                for theirs in active[1]:
                    yield mine, theirs, at - last
            last = at
        count = active[side].get(speaker, 0) + step
        if count:
            active[side][speaker] = count
        else:
            active[side].pop(speaker, None)


def named(turns: Iterable[Turn], labels: Mapping[str, str]) -> list[Turn]:
    """Turns under other labels, in the order of their start."""
    return sorted(
        (replace(turn, speaker=labels.get(turn.speaker, turn.speaker)) for turn in turns),
        key=lambda turn: (turn.start, turn.end, turn.speaker),
    )


# ── what people said ─────────────────────────────────────────────────────────────────────────


def corrected(turns: Iterable[Turn], said: Iterable[Correction]) -> list[Turn]:
    """Turns with the speakers that people gave, in order."""
    found = list(turns)
    for one in said:
        if one.after is None:
            continue
        who = msgspec.json.decode(one.after, type=Who).speaker
        if one.target == MERGE:
            found = [replace(t, speaker=who) if t.speaker == one.place else t for t in found]
        elif one.target == SPEAKER:
            start, end = read(one.place)
            found = [part for turn in found for part in _without(turn, start, end)]
            found.append(Turn(start, end, who))
    return sorted(found, key=lambda turn: (turn.start, turn.end, turn.speaker))


def _without(turn: Turn, start: float, end: float) -> Iterable[Turn]:
    if turn.end <= start or turn.start >= end:
        yield turn
        return
    if turn.start < start:
        yield replace(turn, end=start)
    if turn.end > end:
        yield replace(turn, start=end)


def spoken(segment: Segment, said: Iterable[Correction]) -> str | None:
    """Who speaks in a segment that is one person's, as people said."""
    speaker = segment.speaker
    middle = (segment.start + segment.end) / 2
    for one in said:
        if one.after is None:
            continue
        who = msgspec.json.decode(one.after, type=Who).speaker
        if one.target == MERGE and speaker == one.place:
            speaker = who
        elif one.target == SPEAKER:
            start, end = read(one.place)
            if start <= middle <= end:
                speaker = who
    return speaker


def seconds_of(turns: Iterable[Turn]) -> dict[str, float]:
    """How long each speaker speaks."""
    found: defaultdict[str, float] = defaultdict(float)
    for turn in turns:
        found[turn.speaker] += turn.end - turn.start
    return {speaker: round(seconds, 3) for speaker, seconds in found.items()}


def turns_of(connection: sa.Connection, job: str) -> list[Turn]:
    """Who spoke when, with what people said about it; nothing where that was never found out."""
    found = meetings.finding(connection, job, TURNS)
    if found is None:
        return []
    raw = msgspec.json.decode(found.body, type=Turns).turns
    return corrected(raw, meetings.corrections_of(connection, job, (MERGE, SPEAKER)))


def as_segments(turns: Iterable[Turn], names: Mapping[str, str]) -> list[Segment]:
    """Turns as segments without words, for formats that only say who spoke when."""
    return [
        Segment(turn.start, turn.end, "", speaker=names.get(turn.speaker, turn.speaker))
        for turn in turns
    ]
