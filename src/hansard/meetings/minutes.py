"""Minutes: title, people, summary, decisions, actions, and then the transcript.

Everything in them was said by somebody or written by a model: it is cleaned and escaped like the
words of a transcript. What was not found out yet is said to be missing, not left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO, Final, Literal

import msgspec
from msgspec.structs import replace

from hansard.formats import documents, wording
from hansard.formats.layout import STANDARD, Segments
from hansard.formats.reading import blocks
from hansard.formats.wording import stamp
from hansard.insight.findings import Item, Kind, Person
from hansard.insight.templates import BUILT_IN, Template
from hansard.insight.templates import Section as Wanted
from hansard.meetings import reading
from hansard.meetings.reading import MeetingFinding
from hansard.model import Coverage, Transcript, Value
from hansard.store import meetings, transcripts
from hansard.store.database import Database

Form = Literal["md", "docx"]

MEDIA_TYPES: Final[dict[Form, str]] = {
    "md": "text/markdown; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


class Said(Value, frozen=True):
    """A sentence of the minutes, and the second that it rests on."""

    text: str
    start: float | None = None


class Section(Value, frozen=True):
    """A part of the minutes."""

    title: str
    sentences: tuple[Said, ...]
    numbered: bool = False
    missing: str | None = None
    """Why there is nothing."""


class Minutes(Value, frozen=True):
    """Everything but the transcript."""

    title: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    transcript: str | None = "Transcript"
    """The heading of the transcript; ``None``: without it."""


def gathered(
    database: Database, tenant: str, job: str, templates: Mapping[str, Template] = BUILT_IN
) -> tuple[Minutes, Transcript, Segments]:
    """What the minutes of a meeting are made of; segments are read as they are written.

    Which parts there are, in which order and under which headings, its kind's template says.

    Raises:
        UnknownMeeting: there is no such meeting.
        Archived: its transcript is in the archive.
    """
    with database.read() as connection:
        row = meetings.row(connection, job, tenant)
        speakers = meetings.speakers_of(connection, job)
        tags = meetings.tags(connection, job)
        found = reading.every(connection, job, meetings.corrections_of(connection, job))
    head = transcripts.head(database, job)
    assert head is not None, "a meeting that is not archived has a transcript"
    names = {one.label: one.name for one in speakers if one.name}
    people = [names.get(one.label) or f"{one.label} (not named)" for one in speakers]
    listed = msgspec.json.decode(row.people, type=tuple[Person, ...])
    people += [one.name for one in listed if one.name not in people]
    facts = [
        ("Held", f"{datetime.fromtimestamp(row.held, UTC):%Y-%m-%d %H:%M} UTC"),
        ("Length", stamp(row.seconds)),
        ("People", ", ".join(people) or "not known"),
        ("Tags", ", ".join(tags)),
    ]
    template = templates.get(row.kind, BUILT_IN["meeting"])
    sections = tuple(_section(one, found, names) for one in template.sections if one.show in _PARTS)
    made = Minutes(
        row.title,
        tuple((label, value) for label, value in facts if value),
        sections,
        next((one.heading for one in template.sections if one.show == "transcript"), None),
    )
    return made, head, partial(transcripts.stream, database, job)


def _section(
    wanted: Wanted, found: Mapping[str, MeetingFinding], names: Mapping[str, str]
) -> Section:
    kind, sentences = _PARTS[wanted.show]
    made = found.get(kind)
    if made is None:
        return Section(wanted.heading, (), missing="Not found out yet.")
    listed = () if made.value is None else tuple(sentences(made, names))
    if not listed:
        return Section(wanted.heading, (), missing="None were found.")
    return Section(wanted.heading, listed, numbered=kind == "items")


def _summary(found: MeetingFinding, _: Mapping[str, str]) -> Iterator[Said]:
    for one in found.value.long or found.value.short:
        yield Said(one.text, found.times.get(one.segments[0]) if one.segments else None)


def _chapters(found: MeetingFinding, _: Mapping[str, str]) -> Iterator[Said]:
    for one in found.value.chapters:
        said = " ".join(sentence.text for sentence in one.summary)
        yield Said(f"{one.title}: {said}" if said else one.title, one.start)


def _items(kind: str, found: MeetingFinding, names: Mapping[str, str]) -> Iterator[Said]:
    for item in found.value.items:
        if item.kind == kind:
            start = found.times.get(item.segments[0]) if item.segments else None
            yield Said(_told(item, names), start)


def _sentiment(found: MeetingFinding, names: Mapping[str, str]) -> Iterator[Said]:
    yield Said(f"All together: {found.value.score:+.2f}, from -1 to 1")
    for one in found.value.speakers:
        yield Said(f"{names.get(one.speaker, one.speaker)}: {one.score:+.2f}")


def _statistics(found: MeetingFinding, names: Mapping[str, str]) -> Iterator[Said]:
    for one in found.value.speakers:
        who = names.get(one.speaker, one.speaker)
        yield Said(f"{who}: {one.share:.0%} of the talk, {one.turns} turns, {one.words} words")


def _told(item: Item, names: Mapping[str, str]) -> str:
    more = []
    if item.owner:
        more.append(names.get(item.owner, item.owner))
    if item.due:
        more.append(f"by {item.due}")
    return f"{item.text} ({', '.join(more)})" if more else item.text


_PARTS: Final[
    dict[str, tuple[Kind, Callable[[MeetingFinding, Mapping[str, str]], Iterator[Said]]]]
] = {
    "summary": ("summary", _summary),
    "chapters": ("chapters", _chapters),
    "decisions": ("items", partial(_items, "decision")),
    "actions": ("items", partial(_items, "action")),
    "questions": ("items", partial(_items, "question")),
    "dates": ("items", partial(_items, "date")),
    "figures": ("items", partial(_items, "figure")),
    "sentiment": ("sentiment", _sentiment),
    "statistics": ("statistics", _statistics),
}
"""Parts that are found out: the finding they are of, and its sentences. People are among the facts,
and the transcript comes last."""


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────


def md(minutes: Minutes, head: Transcript, segments: Segments, out: BinaryIO) -> None:
    """Minutes as Markdown (GFM). Segments are walked once or twice, never held."""
    out.writelines(f"{line}\n".encode() for line in _lines(minutes, head, segments))


def _lines(minutes: Minutes, head: Transcript, segments: Segments) -> Iterator[str]:
    escape = wording.markdown
    yield f"# {escape(minutes.title)}"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for label, value in minutes.facts:
        yield f"| {label} | {escape(value)} |"
    for section in minutes.sections:
        yield ""
        yield f"## {escape(section.title)}"
        yield ""
        if section.missing is not None:
            yield f"*{section.missing}*"
        for number, one in enumerate(section.sentences, 1):
            lead = f"{number}. " if section.numbered else "- "
            at = "" if one.start is None else f" [{stamp(one.start)}]"
            yield f"{lead}{escape(one.text)}{at}"
    if minutes.transcript is None:
        return
    yield ""
    yield f"## {escape(minutes.transcript)}"
    for block in blocks(head, segments, STANDARD):
        name = f"**{escape(block.label)}:** " if block.label else ""
        yield ""
        yield f"[{stamp(block.start)}] {name}" + " ".join(map(escape, block.texts))


# ── Word ─────────────────────────────────────────────────────────────────────────────────────


def docx(minutes: Minutes, head: Transcript, segments: Segments, out: BinaryIO) -> None:
    """Minutes as a Word document."""

    def front(document: Any, _: Transcript) -> None:
        document.add_heading(wording.clean(minutes.title), 0)
        table = document.add_table(0, 2, style="Table Grid")
        for label, value in minutes.facts:
            cells = table.add_row().cells
            cells[0].text, cells[1].text = label, wording.clean(value)
        for section in minutes.sections:
            document.add_heading(wording.clean(section.title), 1)
            if section.missing is not None:
                document.add_paragraph(section.missing)
            style = "List Number" if section.numbered else "List Bullet"
            for one in section.sentences:
                at = "" if one.start is None else f" [{stamp(one.start)}]"
                document.add_paragraph(f"{wording.clean(one.text)}{at}", style=style)
        if minutes.transcript is not None:
            document.add_heading(wording.clean(minutes.transcript), 1)

    words = segments if minutes.transcript is not None else lambda: iter(())
    bare = head if minutes.transcript is not None else replace(head, coverage=Coverage(0, 0))
    documents.word(bare, words, out, STANDARD, front)


WRITERS: Final[dict[Form, Callable[[Minutes, Transcript, Segments, BinaryIO], None]]] = {
    "md": md,
    "docx": docx,
}
