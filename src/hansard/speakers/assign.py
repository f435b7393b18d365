"""Whose words are these: segments get speakers, and are split where the speaker changes. Pure.

A word belongs to whoever speaks for most of it; where nobody does, to whoever speaks nearest. A
word between two of somebody else's stays theirs unless the turns say clearly that it is not: a
change of speaker is never placed to a twentieth of a second, and sentences that flicker cannot be
read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby

import msgspec

from hansard.model import Segment, Word
from hansard.speakers.diarizer import Turn

_CLEAR = 0.5
"""Share of a word by which its speaker must be ahead of the one around it, to interrupt them."""
_SHORT = 0.25
"""Seconds; a word no longer than this between two of somebody else's never is an interruption."""
_ALIKE = 0.001
"""Seconds by which two shares differ at most that are the same."""
_INSTANT = 0.01
"""Seconds; engines give some words no length at all."""


def assigned(segments: Iterable[Segment], turns: Iterable[Turn]) -> Iterator[Segment]:
    """Segments with speakers, one at a time.

    No word is lost, changed or moved. Segments without words are not split; they go to whoever
    speaks most of them. What is split loses its tokens, which nobody can divide, keeps its measures
    of doubt, and begins a paragraph of its own. With no turns, segments come out as they went in.
    Doing it twice with the same turns changes nothing.

    Args:
        segments: in the order of the transcript.
        turns: in any order; they may overlap.
    """
    timeline = _Timeline(turns)
    if not timeline.turns:
        yield from segments
        return
    shift = 0
    before: Segment | None = None
    for segment in segments:
        for part in _split(segment, timeline):
            if (
                before is not None
                and part.paragraph + shift == before.paragraph
                and part.speaker != before.speaker
            ):
                shift += 1
            moved = part.paragraph + shift
            before = msgspec.structs.replace(part, paragraph=moved) if shift else part
            yield before


def by_channel(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments of a recording whose channels have a speaker each: channel 0 is ``S1``."""
    for segment in segments:
        yield msgspec.structs.replace(segment, speaker=f"S{segment.channel + 1}")


class _Timeline:
    """Turns by start, and who speaks when."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        self.turns = sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker))
        self._starts = [turn.start for turn in self.turns]
        self._ends = list(accumulate((turn.end for turn in self.turns), max))

    def shares(self, start: float, end: float) -> dict[str, float]:
        """Seconds of a stretch by speaker, by those who speak in it."""
        shares: dict[str, float] = {}
        index = bisect_left(self._starts, end)
        while index and self._ends[index - 1] > start:
            index -= 1
            turn = self.turns[index]
            both = min(end, turn.end) - max(start, turn.start)
            if both > 0:
                shares[turn.speaker] = shares.get(turn.speaker, 0.0) + both
        return shares

    def nearest(self, start: float, end: float) -> str:
        """Who speaks nearest to a stretch in which nobody does; the earlier of two as near."""
        index = bisect_left(self._starts, end)
        distance, speaker = float("inf"), ""
        if index < len(self.turns):
            distance, speaker = self.turns[index].start - end, self.turns[index].speaker
        while index and start - self._ends[index - 1] <= distance:
            index -= 1
            turn = self.turns[index]
            if start - turn.end <= distance:
                distance, speaker = start - turn.end, turn.speaker
        return speaker

    def speaker(self, start: float, end: float, before: str = "") -> tuple[str, dict[str, float]]:
        """Whose stretch it is, and everybody's share of it; where two speak all of it, ``before``.

        ``before`` is who had the word until then: who is talked over, goes on talking.
        """
        shares = self.shares(start, max(end, start + _INSTANT))
        if not shares:
            return self.nearest(start, end), shares
        most = max(shares.values())
        if before in shares and shares[before] >= most - _ALIKE:
            return before, shares
        return max(shares, key=lambda name: (shares[name], name)), shares


def _split(segment: Segment, timeline: _Timeline) -> Iterator[Segment]:
    """A segment as one for each speaker in it."""
    if not segment.words:
        speaker, _ = timeline.speaker(segment.start, segment.end)
        yield msgspec.structs.replace(segment, speaker=speaker)
        return
    speakers = _speakers(segment.words, timeline)
    parts = [
        (speaker, [word for _, word in own])
        for speaker, own in groupby(
            zip(speakers, segment.words, strict=True), key=lambda pair: pair[0]
        )
    ]
    if len(parts) == 1:
        yield msgspec.structs.replace(segment, speaker=parts[0][0])
        return
    texts = _texts(segment.text, [words for _, words in parts])
    for index, ((speaker, words), text) in enumerate(zip(parts, texts, strict=True)):
        yield msgspec.structs.replace(
            segment,
            start=words[0].start if index else segment.start,
            end=words[-1].end if index < len(parts) - 1 else segment.end,
            text=text,
            words=tuple(words),
            speaker=speaker,
            tokens=(),
        )


def _speakers(words: Sequence[Word], timeline: _Timeline) -> list[str]:
    """The speaker of each word, without flicker."""
    heard: list[tuple[str, dict[str, float]]] = []
    for word in words:
        heard.append(timeline.speaker(word.start, word.end, heard[-1][0] if heard else ""))
    speakers = [speaker for speaker, _ in heard]
    for index in range(1, len(words) - 1):
        around = speakers[index - 1]
        if around == speakers[index] or around != speakers[index + 1]:
            continue
        length = max(words[index].end - words[index].start, _INSTANT)
        shares = heard[index][1]
        ahead = (shares.get(speakers[index], 0.0) - shares.get(around, 0.0)) / length
        if length <= _SHORT or ahead < _CLEAR:
            speakers[index] = around
    return speakers


def _texts(text: str, parts: Sequence[Sequence[Word]]) -> list[str]:
    """The text of each part, as it stands in the whole where its words are found there in order."""
    starts: list[int] = []
    at = 0
    for words in parts:
        for index, word in enumerate(words):
            bare = word.text.strip()
            found = text.find(bare, at)
            if found < 0:
                return [_joined(words) for words in parts]
            if not index:
                starts.append(found)
            at = found + len(bare)
    starts[0] = 0
    ends = [*starts[1:], len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _joined(words: Sequence[Word]) -> str:
    """Words as one text; those that bring their own spaces keep them."""
    own = any(word.text[:1].isspace() for word in words)
    return ("" if own else " ").join(word.text for word in words).strip()
