"""What was found out about a meeting, as people are shown it: with what they corrected on top.

A finding is kept as it was made. What people corrected is kept beside it and put in each time it
is read, so a finding can be made again without anything of that getting lost. What is corrected is
known by when it was said and by its words: an item that is found again is the same item, and one
that is not found any more stays as the person wrote it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from hansard.errors import NotMadeYet, UnknownPlace
from hansard.insight.findings import (
    Chapters,
    Item,
    Items,
    Kind,
    Sentiment,
    Source,
    Statement,
    Statistics,
    Summary,
)
from hansard.model import Value
from hansard.store import archived, meetings
from hansard.store.database import Database
from hansard.store.meetings import Correction, Found
from hansard.store.tables import IS_OPEN, jobs, segments

TYPES: dict[Kind, type[Value]] = {
    "summary": Summary,
    "chapters": Chapters,
    "items": Items,
    "sentiment": Sentiment,
    "statistics": Statistics,
}

_CITING = ("summary", "chapters", "items")
"""Kinds that say where they rest."""

NEAR = 5.0
"""Seconds by which a chapter may begin elsewhere and still be the one that was corrected."""


class Placed(Value, frozen=True):
    """An item as a person wrote it. It stays at its time, whatever positions segments have."""

    item: Item
    start: float


class Titled(Value, frozen=True):
    """A chapter's title as a person wrote it."""

    title: str


class Told(Value, frozen=True):
    """Sentences as a person wrote them, each with the second that it rests on."""

    texts: tuple[tuple[str, float], ...]


class MeetingFinding(Value, frozen=True, omit_defaults=False):
    """A finding as it is shown."""

    kind: str
    version: int
    wording: int
    """Of the words that it was made of."""
    stale: bool
    """Words or speakers have changed since."""
    corrected: bool
    """People changed something of it."""
    source: Source
    created: float
    """Seconds since the epoch."""
    value: Any
    """``null``: there is no answer in this language; the source's notes say so."""
    times: dict[int, float]
    """Where the segments begin that are cited: position → seconds."""
    keys: tuple[str, ...] = ()
    """Of items: what each is corrected by, in the order of the items."""


def key_of(item: Item, start: float) -> str:
    """What an item is known by: what it is, about when it was said, and its words."""
    plain = "".join(letter for letter in item.text.casefold() if letter.isalnum())
    about = f"{item.kind} {round(start / 10)} {plain}"
    return hashlib.sha256(about.encode()).hexdigest()[:12]


def shown(database: Database, tenant: str, job: str, kind: Kind) -> MeetingFinding:
    """A finding of a tenant's meeting.

    Raises:
        UnknownMeeting: there is no such meeting.
        NotMadeYet: it was not made yet; the message says whether it is on its way.
    """
    with database.read() as connection:
        row = meetings.row(connection, job, tenant)
        found = meetings.finding(connection, job, kind)
        if found is None:
            raise NotMadeYet(*_why(connection, job, kind), retry_after=5.0)
        said = meetings.corrections_of(connection, job, (kind,))
        starts = _starts(connection, job) if said or kind in _CITING else {}
    return _shown(found, row.wording, said, starts)


def every(connection: sa.Connection, job: str, said: Sequence[Correction]) -> dict[str, Any]:
    """All findings of a meeting by their kind, with what people ``said`` about them."""
    row = meetings.row(connection, job)
    found = [one for one in meetings.found_of(connection, job) if one.kind in TYPES]
    starts = _starts(connection, job) if found else {}
    return {
        one.kind: _shown(
            one, row.wording, [told for told in said if told.target == one.kind], starts
        )
        for one in found
    }


def _shown(
    found: Found, wording: int, said: Sequence[Correction], starts: Mapping[int, float]
) -> MeetingFinding:
    kind = cast("Kind", found.kind)
    value: Any = None if found.body == "null" else msgspec.json.decode(found.body, type=TYPES[kind])
    value, keys, corrected = _corrected(kind, value, said, starts)
    return MeetingFinding(
        kind,
        found.version,
        found.wording,
        found.wording != wording,
        corrected,
        msgspec.json.decode(found.source, type=Source),
        found.created,
        value,
        {at: starts[at] for at in sorted(_cited(value)) if at in starts},
        keys,
    )


def _why(connection: sa.Connection, job: str, kind: str) -> list[str]:
    under_way = sa.select(jobs.c.kind, jobs.c.state).where(jobs.c.parent == job, IS_OPEN)
    waiting = connection.execute(under_way.limit(1)).first()
    if waiting is not None:
        return [f"The {kind} of meeting {job} is on its way: {waiting.kind} {waiting.state}."]
    return [
        f"The {kind} of meeting {job} was not made. POST /api/v1/meetings/{job}/insight makes it."
    ]


def _starts(connection: sa.Connection, job: str) -> dict[int, float]:
    chosen = sa.select(segments.c.position, segments.c.start).where(segments.c.job == job)
    return {row.position: row.start for row in connection.execute(chosen)}


def _cited(value: Any) -> set[int]:
    if isinstance(value, Summary):
        return {at for one in (*value.short, *value.long) for at in one.segments}
    if isinstance(value, Items):
        return {at for one in value.items for at in one.segments}
    if isinstance(value, Chapters):
        return {at for one in value.chapters for said in one.summary for at in said.segments}
    return set()


# ── corrections ──────────────────────────────────────────────────────────────────────────────


def _corrected(
    kind: Kind, value: Any, said: Sequence[Correction], starts: Mapping[int, float]
) -> tuple[Any, tuple[str, ...], bool]:
    """The value, the keys of its items, and whether people changed it."""
    if value is None:
        return None, (), False
    if kind == "items":
        return _items(value, said, starts)
    changed = False
    for one in said:
        if one.after is None:
            continue
        if kind == "summary":
            texts = msgspec.json.decode(one.after, type=Told).texts
            told = tuple(Statement(text, (_at(starts, start),)) for text, start in texts)
            value = replace(value, **{one.place: told})
            changed = True
        elif kind == "chapters":
            title = msgspec.json.decode(one.after, type=Titled).title
            about = float(one.place)
            chapters = [
                replace(chapter, title=title) if abs(chapter.start - about) <= NEAR else chapter
                for chapter in value.chapters
            ]
            value = Chapters(tuple(chapters))
            changed = True
    return value, (), changed


def _items(
    value: Items, said: Iterable[Correction], starts: Mapping[int, float]
) -> tuple[Items, tuple[str, ...], bool]:
    found: dict[str, tuple[float, Item]] = {}
    for item in value.items:
        start = starts.get(item.segments[0], 0.0) if item.segments else 0.0
        found[key_of(item, start)] = (start, item)
    changed = False
    for one in said:
        changed = True
        if one.after is None:
            found.pop(one.place, None)
            continue
        placed = msgspec.json.decode(one.after, type=Placed)
        at = _at(starts, placed.start)
        found[one.place] = (placed.start, replace(placed.item, segments=(at,)))
    ordered = sorted(found.items(), key=lambda pair: pair[1][0])
    items = Items(tuple(item for _, (_, item) in ordered))
    return items, tuple(key for key, _ in ordered), changed


def _at(starts: Mapping[int, float], start: float) -> int:
    """The position of the segment in which a second is."""
    before = [at for at, begun in starts.items() if begun <= start + 0.001]
    return max(before, default=0)


def item_at(found: MeetingFinding, key: str) -> tuple[Item, float]:
    """One of the items that are shown, and when it was said.

    Raises:
        UnknownPlace: there is none of this key.
    """
    for item, known in zip(found.value.items, found.keys, strict=True):
        if known == key:
            return item, found.times.get(item.segments[0], 0.0)
    raise UnknownPlace(
        f"There is no item {key[:40]}.", hint="GET /api/v1/meetings/{id}/items lists them."
    )


def see_that_it_is_here(database: Database, job: str, tenant: str) -> None:
    """That the words of a meeting are in the store.

    Raises:
        UnknownMeeting: there is none.
        Archived: they are in the archive.
    """
    with database.read() as connection:
        meetings.row(connection, job, tenant)
        archived.see_that_it_is_here(connection, job, tenant)
