"""What people correct of what was found out: items, sentences of a summary, titles of chapters."""

from __future__ import annotations

import secrets

from msgspec.structs import replace

from hansard.errors import BadRequest, UnknownPlace
from hansard.insight.findings import Item
from hansard.meetings import reading
from hansard.meetings.editing import Editor, opened
from hansard.meetings.reading import Placed, Titled, Told

_MOST = 2_000
"""Characters of a text that somebody writes."""


def change_item(
    editor: Editor, job: str, key: str, item: Item | None, *, revision: int | None = None
) -> None:
    """Write an item anew, or remove it (``None``). It stays so, whatever is found later.

    Raises:
        UnknownMeeting, Changed: see ``editing.opened``.
        NotMadeYet: there are no items.
        UnknownPlace: there is none of this key.
        BadRequest: its text is empty or too long.
    """
    with opened(editor, job, revision) as one:
        found = reading.shown(editor.queue.database, editor.client.tenant, job, "items")
        before, start = reading.item_at(found, key)
        if item is None:
            one.note("items", key, Placed(before, start), None)
            return
        _see_that_it_makes_sense(item.text)
        after = replace(item, segments=before.segments)
        if after != before:
            one.note("items", key, Placed(before, start), Placed(after, start))


def add_item(
    editor: Editor, job: str, item: Item, start: float, *, revision: int | None = None
) -> str:
    """Add an item that nobody found, at a second of the meeting; its key.

    Raises:
        UnknownMeeting, Changed: see ``editing.opened``.
        NotMadeYet: items were not made yet.
        BadRequest: its text is empty or too long.
    """
    _see_that_it_makes_sense(item.text)
    with opened(editor, job, revision) as one:
        reading.shown(editor.queue.database, editor.client.tenant, job, "items")
        key = secrets.token_hex(6)
        one.note("items", key, None, Placed(replace(item, segments=()), start))
    return key


def change_summary(
    editor: Editor, job: str, part: str, texts: tuple[str, ...], *, revision: int | None = None
) -> None:
    """Write the ``short`` or the ``long`` summary anew.

    A sentence keeps what it cites where it was there before, else it cites what the sentence at
    its place cited.

    Raises:
        UnknownMeeting, Changed: see ``editing.opened``.
        NotMadeYet: there is no summary.
        BadRequest: a sentence is empty or too long, or there are too many.
    """
    if part not in ("short", "long") or not 1 <= len(texts) <= 100:
        raise BadRequest("A summary is short or long, and has 1 to 100 sentences.")
    for text in texts:
        _see_that_it_makes_sense(text)
    with opened(editor, job, revision) as one:
        found = reading.shown(editor.queue.database, editor.client.tenant, job, "summary")
        before = getattr(found.value, part)
        known = {said.text: said for said in before}
        told = []
        for number, text in enumerate(texts):
            like = known.get(text) or (before[min(number, len(before) - 1)] if before else None)
            start = found.times.get(like.segments[0], 0.0) if like and like.segments else 0.0
            told.append((text, start))
        one.note("summary", part, [said.text for said in before], Told(tuple(told)))


def change_chapter(
    editor: Editor, job: str, number: int, title: str, *, revision: int | None = None
) -> None:
    """Call a chapter something else; ``number`` counts from 0.

    Raises:
        UnknownMeeting, Changed: see ``editing.opened``.
        NotMadeYet: there are no chapters.
        UnknownPlace: there is no such chapter.
        BadRequest: the title is empty or too long.
    """
    _see_that_it_makes_sense(title)
    with opened(editor, job, revision) as one:
        found = reading.shown(editor.queue.database, editor.client.tenant, job, "chapters")
        if not 0 <= number < len(found.value.chapters):
            raise UnknownPlace(f"Meeting {job} has no chapter {number}.")
        chapter = found.value.chapters[number]
        if chapter.title != title:
            one.note("chapters", f"{chapter.start:.1f}", chapter.title, Titled(title))


def _see_that_it_makes_sense(text: str) -> None:
    if not text.strip() or len(text) > _MOST or "\0" in text:
        raise BadRequest(f"A text has 1 to {_MOST} characters.")
