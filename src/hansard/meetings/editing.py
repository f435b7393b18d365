"""What people change: words, who said them, what the meeting is called. Each change is kept.

Every function is one transaction that holds the row of the meeting's job, notes what was there
before, by whom and when, and gives the meeting another revision. Where words or speakers change,
what was found out before is stale, and is made again a little later, once for many changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from hansard.config import MeetingSettings
from hansard.errors import BadRequest, Changed, NotSupported, UnknownPlace
from hansard.insight.findings import Kind, Person
from hansard.jobs import follow_ups, states
from hansard.jobs.queue import Queue
from hansard.meetings import makers
from hansard.meetings.requests import INSIGHT, SPEAKERS, Insight, Speakers
from hansard.meetings.retiming import retimed
from hansard.meetings.turns import MERGE, SPEAKER, Who, stretch
from hansard.model import Client, Segment, Value
from hansard.store import index, meeting_views, meetings, transcripts, voices
from hansard.store.meetings import Status

TEXT = "text"
MEETING = "meeting"
RENAME = "name"

MOST_TAGS = 50
MOST_TOGETHER = 50
"""Meetings that are changed at once."""


@dataclass(frozen=True, slots=True)
class Editor:
    """Who changes what: one client, in one store."""

    queue: Queue
    settings: MeetingSettings
    client: Client = field(default_factory=Client)
    by: str = ""
    """Who it is, for the history; the key or the tenant where it is not said."""

    @property
    def who(self) -> str:
        """For the history."""
        return self.by or self.client.key or self.client.tenant


class Change(Value, frozen=True, forbid_unknown_fields=True):
    """What of a meeting is to be different. What is not said stays."""

    title: str | msgspec.UnsetType = msgspec.UNSET
    kind: str | msgspec.UnsetType = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET
    held: float | msgspec.UnsetType = msgspec.UNSET
    language: str | msgspec.UnsetType | None = msgspec.UNSET
    people: tuple[Person, ...] | msgspec.UnsetType = msgspec.UNSET
    tags: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


@dataclass(slots=True)
class Opened:
    """A meeting that is being changed."""

    editor: Editor
    connection: sa.Connection
    parent: sa.Row[Any]
    row: sa.Row[Any]
    now: float
    words: bool = False
    """Words or speakers changed."""
    touched: bool = False
    """Anything changed."""
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def job(self) -> str:
        """The meeting's id."""
        return str(self.row.job)

    def note(self, target: str, place: str, before: Any, after: Any) -> None:
        """Keep what was changed."""
        self.touched = True
        meetings.correct(
            self.connection, self.job, target, place,
            before=before, after=after, by=self.editor.who, now=self.now,
        )  # fmt: skip


@contextmanager
def opened(editor: Editor, job: str, revision: int | None) -> Iterator[Opened]:
    """A meeting of the client's, held until everything is written.

    Raises:
        UnknownMeeting: there is none.
        Changed: it is not of this revision any more.
    """
    with editor.queue.database.write() as connection:
        found = next(iter(states.lock(connection, [job])), None)
        row = meetings.row(connection, job, editor.client.tenant)
        assert found is not None, "a meeting has its job"
        if revision is not None and row.revision != revision:
            raise Changed(
                f"Meeting {job} is of revision {row.revision}, not {revision}: somebody else "
                "changed it.",
                hint="Get it again and look at what changed.",
            )
        now = time.time()
        change_ = Opened(editor, connection, found, row, now)
        yield change_
        if not change_.touched:
            return
        meetings.change(connection, job, change_.values, now=now, words=change_.words)
        if change_.words and editor.settings.follow_up and editor.settings.findings:
            wording = row.wording + 1
            later = now + editor.settings.pause
            asked = Insight(wording=wording)
            follow_ups.add(connection, found, INSIGHT, asked, now=now, not_before=later)


# ── the meeting ──────────────────────────────────────────────────────────────────────────────


def change(editor: Editor, job: str, wanted: Change, *, revision: int | None = None) -> None:
    """Call a meeting something else, and so on; tags and status included.

    Raises:
        UnknownMeeting, Changed: see :func:`opened`.
        BadRequest: a text is empty or too long.
    """
    with opened(editor, job, revision) as one:
        given = {
            name: value
            for name in wanted.__struct_fields__
            if (value := getattr(wanted, name)) is not msgspec.UNSET
        }
        _see_that_it_makes_sense(given)
        tags = given.pop("tags", None)
        if tags is not None:
            before = meetings.tags(one.connection, job)
            if sorted(set(tags)) != before:
                meetings.set_tags(one.connection, job, tags)
                one.note(MEETING, "tags", before, sorted(set(tags)))
        for name, value in given.items():
            before_ = getattr(one.row, name)
            stored = msgspec.json.encode(value).decode() if name == "people" else value
            if stored == before_:
                continue
            was = msgspec.json.decode(before_) if name == "people" else before_
            one.note(MEETING, name, was, msgspec.to_builtins(value))
            one.values[name] = stored
        searched = {name: one.values.pop(name) for name in _SEARCHED if name in one.values}
        if searched:
            meetings.change(one.connection, job, searched, now=one.now)
            (index.keep if "language" in searched else index.renew)(one.connection, job)


_SEARCHED = ("title", "language")
"""What changes by which terms a meeting is found; a language, all of them."""


def _see_that_it_makes_sense(given: dict[str, Any]) -> None:
    for name, most in (("title", 500), ("kind", 64)):
        text = given.get(name)
        if text is not None and (not text.strip() or len(text) > most or "\0" in text):
            raise BadRequest(f"The {name} has 1 to {most} characters.")
    for tag in given.get("tags", ()):
        if not tag.strip() or len(tag) > 64 or "\0" in tag:
            raise BadRequest(f"A tag has 1 to 64 characters: {tag[:80]!r} does not.")
    if len(given.get("tags", ())) > MOST_TAGS:
        raise BadRequest(f"A meeting has {MOST_TAGS} tags at most.")
    if len(given.get("people", ())) > 500:
        raise BadRequest("A meeting has 500 people at most.")
    for person in given.get("people", ()):
        if not person.name.strip() or len(person.name) > 200 or "\0" in person.name:
            raise BadRequest("A name has 1 to 200 characters.")


def change_many(
    editor: Editor, job: str, status: Status | None, add: Sequence[str], remove: Sequence[str]
) -> None:
    """Give a meeting a status and some tags, and take other tags from it.

    Raises:
        UnknownMeeting: there is none.
        BadRequest: it would have too many tags.
    """
    with editor.queue.database.read() as connection:
        meetings.row(connection, job, editor.client.tenant)
        known = set(meetings.tags(connection, job))
    tags = tuple(sorted((known | set(add)) - set(remove)))
    change(editor, job, Change(status=status or msgspec.UNSET, tags=tags))


# ── words ────────────────────────────────────────────────────────────────────────────────────


def correct(
    editor: Editor,
    job: str,
    position: int,
    *,
    text: str | None = None,
    speaker: str | None = None,
    revision: int | None = None,
) -> Segment:
    """Correct what was heard in a segment, who said it, or both: all of it or nothing.

    Words keep their times as far as they stay. The speaker is one of the meeting, or a new one.

    Raises:
        UnknownMeeting, Changed: see :func:`opened`.
        UnknownPlace: there is no such segment.
        Archived: the transcript is in the archive.
        BadRequest: the text is empty or too long, or the speaker is no label like ``S1``.
    """
    if text is not None and (not text.strip() or len(text) > 20_000 or "\0" in text):
        raise BadRequest("A segment's text has 1 to 20,000 characters.")
    if speaker is not None:
        _see_that_it_is_a_label(speaker)
    with opened(editor, job, revision) as one:
        before = _segment(one, position)
        place = stretch(before.start, before.end)
        after = before if text is None else retimed(before, text)
        if after.text != before.text:
            count = one.row.words + _words(after) - _words(before)
            one.values["words"] = max(0, count)
            one.note(TEXT, place, {"text": before.text}, {"text": after.text})
        if speaker is not None and speaker != before.speaker:
            after = replace(after, speaker=speaker)
            seconds = before.end - before.start
            if before.speaker is not None:
                _spoke(one, before.speaker, -seconds)
            _spoke(one, speaker, seconds)
            was = None if before.speaker is None else Who(before.speaker)
            one.note(SPEAKER, place, was, Who(speaker))
        if one.touched:
            transcripts.put(one.connection, job, position, after)
            index.renew(one.connection, job, [position])
            one.words = True
    return after


def _words(segment: Segment) -> int:
    return len(segment.words) or len(segment.text.split())


def _segment(one: Opened, position: int) -> Segment:
    found = transcripts.at(one.connection, one.job, position)
    if found is None:
        raise UnknownPlace(
            f"Meeting {one.job} has no segment {position}.",
            hint=f"GET /api/v1/meetings/{one.job}/segments lists them.",
        )
    return found


def _spoke(one: Opened, label: str, seconds: float) -> None:
    """Count what a speaker has more, or less."""
    known = {who.label: who for who in meetings.speakers_of(one.connection, one.job)}
    had = known[label].seconds if label in known else 0.0
    whole = round(max(0.0, had + seconds), 3)
    meetings.set_speaker(one.connection, one.job, label, {"seconds": whole})


def _see_that_it_is_a_label(text: str) -> None:
    if not (text.startswith("S") and text[1:].isdecimal() and text.isascii() and len(text) <= 5):
        raise BadRequest(f"{text[:40]!r} is no speaker's label.", hint="Labels are S1, S2, S3 ….")


# ── speakers ─────────────────────────────────────────────────────────────────────────────────


def rename(
    editor: Editor,
    job: str,
    label: str,
    name: str | None,
    *,
    remember: bool = False,
    revision: int | None = None,
) -> None:
    """Give a speaker a name, or take it away; ``remember``: know the voice in later meetings.

    Raises:
        UnknownMeeting, Changed: see :func:`opened`.
        UnknownPlace: there is no such speaker.
        BadRequest: the name is empty or too long.
        NotSupported: no voice is known of the speaker.
    """
    name = None if name is None else " ".join(name.split())
    if name is not None and (not name or len(name) > 200 or "\0" in name):
        raise BadRequest("A name has 1 to 200 characters.")
    with opened(editor, job, revision) as one:
        heard = _speaker(one, label)
        known = meetings.names_of(one.connection, job).get(label)
        values: dict[str, Any] = {"name": name, "proposed": None, "confidence": None}
        if name is None:
            values["voice"] = None
        elif remember:
            values["voice"] = _remember(one, heard, name)
            one.touched = True
        meetings.set_speaker(one.connection, job, label, values)
        index.renew(one.connection, job)
        if known != name:
            one.note(RENAME, label, known, name)


def _speaker(one: Opened, label: str) -> meetings.Heard:
    found = meetings.voice_of(one.connection, one.job, label)
    if found is None:
        raise UnknownPlace(
            f"Meeting {one.job} has no speaker {label[:40]}.",
            hint=f"GET /api/v1/meetings/{one.job}/speakers lists them.",
        )
    return found


def _remember(one: Opened, heard: meetings.Heard, name: str) -> str:
    if heard.vector is None or heard.method is None:
        raise NotSupported(
            f"No voice is known of speaker {heard.label}.",
            hint="Find speakers first: POST /api/v1/meetings/{id}/speakers.",
        )
    tenant = one.editor.client.tenant
    learnt = makers.learnt(heard, name, voices.named(one.connection, tenant, name))
    if learnt is None:
        raise NotSupported(
            f"Speaker {heard.label} says too little to be known again by.",
            hint="A voice is remembered from some seconds of speech.",
        )
    return voices.keep(
        one.connection, tenant, name,
        vector=learnt.vector, method=learnt.method, seconds=learnt.seconds, now=one.now,
    )  # fmt: skip


def merge(editor: Editor, job: str, label: str, into: str, *, revision: int | None = None) -> None:
    """Say that two speakers are one: what the first said is the second's.

    Raises:
        UnknownMeeting, Changed: see :func:`opened`.
        UnknownPlace: there is no such speaker.
        Archived: the transcript is in the archive.
        BadRequest: they are the same.
    """
    if label == into:
        raise BadRequest("A speaker cannot be merged with itself.")
    with opened(editor, job, revision) as one:
        gone, stays = _speaker(one, label), _speaker(one, into)
        every = list(meeting_views.every_line(editor.queue.database, job))
        for line in every:
            if line.segment.speaker == label:
                after = replace(line.segment, speaker=into)
                transcripts.put(one.connection, job, line.position, after)
        names = meetings.names_of(one.connection, job)
        values = {"seconds": round(gone.seconds + stays.seconds, 3)}
        meetings.set_speaker(
            one.connection, job, into, {**values, "name": names.get(into) or names.get(label)}
        )
        meetings.drop_speaker(one.connection, job, label)
        index.renew(one.connection, job)
        one.words = True
        one.note(MERGE, label, None, Who(into))


# ── again ────────────────────────────────────────────────────────────────────────────────────


def find_speakers(editor: Editor, job: str, wanted: Speakers) -> str:
    """Have speakers found anew, and then what it all meant; the job that does it.

    Raises:
        UnknownMeeting: there is none.
    """
    with editor.queue.database.write() as connection:
        states.lock(connection, [job])
        meetings.row(connection, job, editor.client.tenant)
        parent, now = states.row(connection, job), time.time()
        then = INSIGHT if editor.settings.findings else None
        asked = replace(wanted, diarize=None, then=then, asked=now)
        return follow_ups.add(connection, parent, SPEAKERS, asked, now=now, again=True)


def find_out(editor: Editor, job: str, kinds: Sequence[Kind] = ()) -> str:
    """Have everything, or some of it, found out anew; the job that does it.

    Raises:
        UnknownMeeting: there is none.
    """
    with editor.queue.database.write() as connection:
        states.lock(connection, [job])
        meetings.row(connection, job, editor.client.tenant)
        parent, now = states.row(connection, job), time.time()
        asked = Insight(kinds=tuple(dict.fromkeys(kinds)), asked=now)
        return follow_ups.add(connection, parent, INSIGHT, asked, now=now, again=True)
