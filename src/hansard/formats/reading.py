"""A transcript as somebody reads it: blocks of one speaker, with the gaps where they are.

The documents (text, Markdown, Word) are three renderings of this one walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, groupby
from typing import NamedTuple

from hansard.formats.layout import Layout, Segments, channels_of
from hansard.formats.wording import clean, stamp
from hansard.model import Gap, Segment, Transcript


class Block(NamedTuple):
    """A paragraph: who speaks, from when (seconds), and its texts, which are walked as they come.

    ``texts`` must be walked before the next block is asked for, as with ``itertools.groupby``.
    """

    label: str
    start: float
    texts: Iterator[str]


class _Part(NamedTuple):
    start: float
    text: str
    key: tuple[int, int, str]


def blocks(
    head: Transcript, segments: Segments, layout: Layout, *, gaps: bool = True
) -> Iterator[Block]:
    """The paragraphs in order; a new one where the paragraph, the speaker or the channel changes.

    Where speakers are not known but channels were heard apart, these are the labels. With
    ``gaps``, speech that is in no segment is noted at its place: ``[inaudible`` from, to ``]``.
    Walks once or twice.
    """
    apart = layout.speakers and len(channels_of(segments)) > 1

    def name(segment: Segment) -> str:
        if not layout.speakers:
            return ""
        return clean(segment.speaker or "") or (f"Channel {segment.channel + 1}" if apart else "")

    parts = _parts(segments(), head.coverage.gaps if gaps else (), name)
    for key, run in groupby(parts, key=lambda part: part.key):
        yield _block(key[2], run)


def _block(label: str, run: Iterator[_Part]) -> Block:
    first = next(run)
    return Block(label, first.start, (part.text for part in chain((first,), run)))


def _parts(
    segments: Iterable[Segment], gaps: Iterable[Gap], name: Callable[[Segment], str]
) -> Iterator[_Part]:
    """Segments and gaps in order of start; a gap belongs to the paragraph it interrupts."""
    left = sorted(gaps, key=lambda gap: (gap.start, gap.channel), reverse=True)
    key = (0, 0, "")

    def note(gap: Gap) -> _Part:
        text = f"[inaudible {stamp(gap.start)}\N{EN DASH}{stamp(gap.end)}]"
        return _Part(gap.start, text, key if gap.channel == key[1] else (-1, gap.channel, ""))

    for segment in segments:
        while left and left[-1].start < segment.start:
            yield note(left.pop())
        text = clean(segment.text)
        if text:
            key = (segment.paragraph, segment.channel, name(segment))
            yield _Part(segment.start, text, key)
    while left:
        yield note(left.pop())


def facts(head: Transcript) -> list[tuple[str, str]]:
    """What a reader should know of a transcript, as label and value, neither escaped."""
    coverage = head.coverage
    rows = [
        ("Recording", clean(head.name)),
        ("Length", stamp(head.seconds)),
        ("Language", clean(head.language or "")),
        ("Heard by", clean(f"{head.engine} {head.model}")),
    ]
    if head.task == "translate":
        rows.append(("Task", "translated into English"))
    if head.created is not None:
        rows.append(("Made", f"{datetime.fromtimestamp(head.created, UTC):%Y-%m-%d %H:%M:%S} UTC"))
    if head.enhanced:
        rows.append(("Audio", "was too quiet and has been enhanced"))
    if coverage.speech > 0:
        # Rounded down: 99.97 % is not all of it.
        share = int(1000 * min(1.0, coverage.covered / coverage.speech)) / 10
        missing = len(coverage.gaps)
        note = f"; {missing} {'gap' if missing == 1 else 'gaps'} noted" if missing else ""
        rows.append(("Coverage", f"{share:.1f} % of {stamp(coverage.speech)} of speech{note}"))
    return [(label, value) for label, value in rows if value]
