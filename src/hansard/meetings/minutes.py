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

from hansard.errors import NotMadeYet
from hansard.formats import documents, wording
from hansard.formats.layout import STANDARD, Segments
from hansard.formats.reading import blocks
from hansard.formats.wording import stamp
from hansard.insight.findings import Item, Kind, Person
from hansard.meetings import reading
from hansard.model import Transcript, Value
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


def gathered(database: Database, tenant: str, job: str) -> tuple[Minutes, Transcript, Segments]:
    """What the minutes of a meeting are made of; segments are read as they are written.

    Raises:
        UnknownMeeting: there is no such meeting.
        Archived: its transcript is in the archive.
    """
    with database.read() as connection:
        row = meetings.row(connection, job, tenant)
        speakers = meetings.speakers_of(connection, job)
        tags = meetings.tags(connection, job)
    head = transcripts.head(database, job)
    assert head is not None, "a meeting that is not archived has a transcript"
    names = {one.label: one.name for one in speakers if one.name}
    people = [*(names.get(one.label) or f"{one.label} (not named)" for one in speakers)]
    listed = msgspec.json.decode(row.people, type=tuple[Person, ...])
    people += [one.name for one in listed if one.name not in people]
    facts = [
        ("Held", f"{datetime.fromtimestamp(row.held, UTC):%Y-%m-%d %H:%M} UTC"),
        ("Length", stamp(row.seconds)),
        ("People", ", ".join(people) or "not known"),
        ("Tags", ", ".join(tags)),
    ]
    about = (database, tenant, job)
    sections = (
        _section(*about, "summary", title="Summary", sentences=_summary),
        _section(*about, "items", title="Decisions", sentences=partial(_items, names, "decision")),
        _section(*about, "items", title="Actions", sentences=partial(_items, names, "action")),
    )
    made = Minutes(row.title, tuple((k, v) for k, v in facts if v), sections)
    return made, head, partial(transcripts.stream, database, job)


def _section(
    database: Database,
    tenant: str,
    job: str,
    kind: Kind,
    *,
    title: str,
    sentences: Callable[[reading.MeetingFinding], tuple[Said, ...]],
) -> Section:
    try:
        found = reading.shown(database, tenant, job, kind)
    except NotMadeYet:
        return Section(title, (), missing="Not found out yet.")
    listed = sentences(found)
    if not listed:
        return Section(title, (), missing="None were found.")
    return Section(title, listed, numbered=kind == "items")


def _summary(found: reading.MeetingFinding) -> tuple[Said, ...]:
    chosen = found.value.long or found.value.short
    return tuple(
        Said(one.text, found.times.get(one.segments[0]) if one.segments else None) for one in chosen
    )


def _items(names: Mapping[str, str], kind: str, found: reading.MeetingFinding) -> tuple[Said, ...]:
    return tuple(
        Said(_told(item, names), found.times.get(item.segments[0]) if item.segments else None)
        for item in found.value.items
        if item.kind == kind
    )


def _told(item: Item, names: Mapping[str, str]) -> str:
    more = []
    if item.owner:
        more.append(names.get(item.owner, item.owner))
    if item.due:
        more.append(f"by {item.due}")
    return f"{item.text} ({', '.join(more)})" if more else item.text


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
        yield f"## {section.title}"
        yield ""
        if section.missing is not None:
            yield f"*{section.missing}*"
        for number, one in enumerate(section.sentences, 1):
            lead = f"{number}. " if section.numbered else "- "
            at = "" if one.start is None else f" [{stamp(one.start)}]"
            yield f"{lead}{escape(one.text)}{at}"
    yield ""
    yield "## Transcript"
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
            document.add_heading(section.title, 1)
            if section.missing is not None:
                document.add_paragraph(section.missing)
            style = "List Number" if section.numbered else "List Bullet"
            for one in section.sentences:
                at = "" if one.start is None else f" [{stamp(one.start)}]"
                document.add_paragraph(f"{wording.clean(one.text)}{at}", style=style)
        document.add_heading("Transcript", 1)

    documents.word(head, segments, out, STANDARD, front)


WRITERS: Final[dict[Form, Callable[[Minutes, Transcript, Segments, BinaryIO], None]]] = {
    "md": md,
    "docx": docx,
}
