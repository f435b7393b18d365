"""Whether a finding cites what there is. All who make findings are held to it, models above all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hansard.insight.findings import (
    Chapters,
    Items,
    Sentiment,
    Statement,
    Statistics,
    Summary,
)
from hansard.model import Segment

Finding = Summary | Chapters | Items | Sentiment | Statistics


def faults(value: Finding, segments: Sequence[Segment]) -> tuple[str, ...]:
    """What is wrong with a finding, in sentences; nothing: it may be kept.

    Citations must be there, ascending and in range; chapters must follow each other and leave
    nothing out; sentiment must score every segment.
    """
    return tuple(_faults(value, segments))


def _faults(value: Finding, segments: Sequence[Segment]) -> Iterator[str]:
    count = len(segments)
    if isinstance(value, Summary):
        yield from _statements("The short summary", value.short, count)
        yield from _statements("The long summary", value.long, count)
    elif isinstance(value, Chapters):
        yield from _chapters(value, count)
    elif isinstance(value, Items):
        for number, item in enumerate(value.items):
            yield from _cited(f"Item {number}", item.segments, count)
            if not item.text.strip():
                yield f"Item {number} says nothing."
    elif isinstance(value, Sentiment):
        if value.segments and len(value.segments) != count:
            yield f"There are {len(value.segments)} scores for {count} segments."
        scores = [value.score, *value.segments, *(one.score for one in value.speakers)]
        if not all(-1 <= score <= 1 for score in scores):
            yield "A score is not from -1 to 1."


def _statements(what: str, statements: Sequence[Statement], count: int) -> Iterator[str]:
    for number, statement in enumerate(statements):
        yield from _cited(f"{what}, sentence {number},", statement.segments, count)
        if not statement.text.strip():
            yield f"{what}, sentence {number}, says nothing."


def _cited(what: str, cited: Sequence[int], count: int) -> Iterator[str]:
    if not cited:
        yield f"{what} cites nothing."
    elif list(cited) != sorted(set(cited)):
        yield f"{what} cites out of order."
    elif cited[0] < 0 or cited[-1] >= count:
        yield f"{what} cites a segment that there is not."


def _chapters(value: Chapters, count: int) -> Iterator[str]:
    next_ = 0
    for number, chapter in enumerate(value.chapters):
        if chapter.first != next_ or chapter.last < chapter.first:
            yield f"Chapter {number} does not begin where the one before ends."
        next_ = chapter.last + 1
        if not chapter.title.strip():
            yield f"Chapter {number} has no title."
        yield from _statements(f"Chapter {number}", chapter.summary, count)
        if any(
            not chapter.first <= position <= chapter.last
            for statement in chapter.summary
            for position in statement.segments
        ):
            yield f"The summary of chapter {number} cites what is not in it."
    if value.chapters and next_ != count:
        yield "The chapters do not end where the transcript does."
