"""Findings without any language model: extracted from the words themselves, the same every time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hansard.insight import chapters, items, sentiment, statistics, summary
from hansard.insight.citations import Finding
from hansard.insight.findings import Chapters, Kind, Occasion, Source
from hansard.insight.sentences import language_of, split
from hansard.insight.templates import Template
from hansard.model import Segment

METHODS: dict[Kind, str] = {
    "summary": "lexrank-1",
    "chapters": "cohesion-1",
    "items": "grammar-1",
    "sentiment": "vader-1",
    "statistics": "turns-1",
}
"""The method of each kind and its version: another version may find something else."""

_EXTRACTED = (
    "Sentences are taken from the transcript as they were said; no language model was used."
)


def find(
    kind: Kind,
    segments: Sequence[Segment],
    occasion: Occasion,
    template: Template,
    turns: Sequence[statistics.Turn] = (),
) -> tuple[Finding | None, Source]:
    """Find one kind of thing out.

    Args:
        kind: what.
        segments: the transcript; findings cite positions in it.
        occasion: what is known of the meeting beside its words.
        template: how long summaries are, and which items are kept.
        turns: who spoke when, by diarization, where there was one.

    Returns:
        The value, and who found it with notes for the reader. The value is ``None`` where there is
        no answer in this language; the notes say so.
    """
    value: Finding | None
    notes: tuple[str, ...]
    if kind == "summary":
        value = summary.find(segments, occasion, short=template.short, long=template.long)
        notes = (_EXTRACTED, *_unknown(segments, occasion))
    elif kind == "chapters":
        value = _with_summaries(chapters.find(segments, occasion), segments, occasion, template)
        notes = (_EXTRACTED, *_unknown(segments, occasion))
    elif kind == "items":
        value, notes = items.find(segments, occasion, template.items)
    elif kind == "sentiment":
        value = sentiment.find(segments, occasion)
        notes = (
            "By a lexicon of single words (VADER): tone of voice and irony are not heard."
            if value is not None
            else "Sentiment is known for English only, and this is not, or not surely.",
        )
    else:
        value = statistics.find(segments, occasion, turns)
        notes = () if turns else ("Overlaps are those of the transcript's segments.",)
    return value, Source(by="embedded", name=METHODS[kind], notes=notes)


def _with_summaries(
    found: Chapters, segments: Sequence[Segment], occasion: Occasion, template: Template
) -> Chapters:
    if not template.chapter:
        return found
    return Chapters(
        tuple(
            msgspec.structs.replace(
                chapter,
                summary=summary.of_part(
                    segments, occasion, chapter.first, chapter.last, length=template.chapter
                ),
            )
            for chapter in found.chapters
        )
    )


def _unknown(segments: Sequence[Segment], occasion: Occasion) -> tuple[str, ...]:
    """A note where nothing is known of the language."""
    language, _ = language_of(split(segments), occasion.language) if segments else ("", False)
    return (
        () if language is not None else ("The language is not known: words count as they stand.",)
    )
