"""What follows a transcript: who spoke, and what it meant. Two steps, each done at a stroke.

    transcript ─▶ speakers ─▶ insight        the second begins however the first has ended

Called by ``jobs.worker`` with a claimed unit, in any process, as often as it takes. Nothing here
can hurt the transcript: it is read, and written whole in the transaction that ends ``speakers``,
or not at all. Each finding is written as soon as it is made; whoever goes on after a kill makes
only what is missing.

Both hold a transcript's segments in memory: some 5 kB each with their words, 50 MB for ten hours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from hansard import telemetry
from hansard.errors import LanguageModelError
from hansard.insight.findings import Kind, Occasion, Person, Sentiment, Source
from hansard.meetings import makers, sentences
from hansard.meetings.requests import Insight, Speakers
from hansard.meetings.turns import (
    MERGE,
    SPEAKER,
    TURNS,
    Turn,
    Turns,
    corrected,
    labelled,
    named,
    seconds_of,
    spoken,
    turns_of,
)
from hansard.model import Job, Segment, Value
from hansard.search import saved
from hansard.store import index, meeting_views, meetings, recordings, transcripts, usage, voices
from hansard.store.meetings import Correction, Heard
from hansard.store.stored import as_json

if TYPE_CHECKING:
    import sqlalchemy as sa

    from hansard.jobs.rows import Unit
    from hansard.meetings.parts import Parts

_log = logging.getLogger("hansard.meetings")

# ── who spoke ────────────────────────────────────────────────────────────────────────────────


def speakers(parts: Parts, unit: Unit) -> None:
    """Find out who speaks when, and give the words to them.

    Raises:
        Archived: the transcript is in the archive.
        MediaGone: the recording is not kept any more.
    """
    job = unit.job
    wanted = msgspec.json.decode(job.request or "{}", type=Speakers)
    apart = _channels(parts, job) > 1
    found = makers.Voices(()) if apart else makers.diarize(parts, job, wanted)

    def write(connection: sa.Connection) -> None:
        _tell(parts, connection, job, found, wanted, apart=apart)

    parts.queue.complete(unit, write)


def _channels(parts: Parts, job: Job) -> int:
    """Channels that were heard apart."""
    if job.options.channels == "mix":
        return 1
    with parts.queue.database.read() as connection:
        media = recordings.get(connection, job.recording).media
    return media.tracks[job.options.track].channels


def _tell(
    parts: Parts,
    connection: sa.Connection,
    job: Job,
    found: makers.Voices,
    wanted: Speakers,
    *,
    apart: bool,
) -> None:
    """Write who speaks, with all that people have said about it; the words stay as they are."""
    assert job.parent is not None
    now = time.time()
    said = meetings.corrections_of(connection, job.parent, (MERGE, SPEAKER))
    lines = [line.segment for line in meeting_views.every_line(parts.queue.database, job.parent)]
    segments = list(sentences.whole(lines))
    if apart:
        raw = [Turn(s.start, s.end, f"S{s.channel + 1}") for s in segments]
        heard: Sequence[Heard] = [
            Heard(label, 0.0) for label in dict.fromkeys(t.speaker for t in raw)
        ]
        source = Source("embedded", "channels-1")
        told = [_by_channel(segment, said) for segment in segments]
    else:
        raw, heard = _steady(connection, job.parent, found)
        source = found.source
        given = makers.assign(sentences.numbered(segments), corrected(raw, said))
        told = list(sentences.settled(given))
    kept = _people(connection, job, heard, corrected(raw, said), said)
    transcripts.rewrite(connection, job.parent, told)
    meetings.set_speakers(connection, job.parent, kept)
    meetings.change(connection, job.parent, {"segments": len(told)}, now=now, words=True)
    wording = meetings.row(connection, job.parent).wording
    body = as_json(Turns(tuple(raw), by_channel=apart))
    meetings.put_finding(
        connection, job.parent, TURNS, body, as_json(source), wording=wording, now=now
    )
    index.renew(connection, job.parent)
    if wanted.then is None:
        saved.note_matches(connection, job.parent, now=now)


def _by_channel(segment: Segment, said: Sequence[Correction]) -> Segment:
    alone = replace(segment, speaker=f"S{segment.channel + 1}")
    return replace(alone, speaker=spoken(alone, said))


def _steady(
    connection: sa.Connection, job: str, found: makers.Voices
) -> tuple[list[Turn], list[Heard]]:
    """What was found, under labels that stay the same from run to run."""
    before = meetings.finding(connection, job, TURNS)
    known = () if before is None else msgspec.json.decode(before.body, type=Turns).turns
    labels = labelled(found.turns, known)
    heard = [replace(one, label=labels[one.label]) for one in found.heard if one.label in labels]
    return named(found.turns, labels), heard


def _people(
    connection: sa.Connection,
    job: Job,
    heard: Sequence[Heard],
    turns: Sequence[Turn],
    said: Sequence[Correction],
) -> list[Heard]:
    """Everybody who speaks by now, with how long they do and the name that their voice suggests."""
    methods = {one.method for one in heard if one.method is not None}
    known = [
        voice for method in sorted(methods)
        for voice in voices.remembered(connection, job.tenant, method)
    ]  # fmt: skip
    by_label = {one.label: one for one in makers.recognise(heard, known)}
    merged = {one.place for one in said if one.target == MERGE and one.after is not None}
    spoke = seconds_of(turns)
    return [
        replace(by_label.get(label, Heard(label, 0.0)), seconds=seconds)
        for label, seconds in sorted(spoke.items())
        if label not in merged or seconds > 0
    ]


# ── what it meant ────────────────────────────────────────────────────────────────────────────


def insight(parts: Parts, unit: Unit, embed: Callable[[Job], None] = lambda _: None) -> None:
    """Make every finding that is wanted and not there yet, and write each as it is made.

    ``embed`` makes the meeting found by its meaning, given the job. Where it stands in for speakers
    that were the last to follow and failed, whoever saved a search is told, and that is all.

    Raises:
        Archived: the transcript is in the archive.
        LanguageModelError: vectors cannot be made now; findings are there all the same.
    """
    job = unit.job
    assert job.parent is not None
    parent = job.parent
    wanted = msgspec.json.decode(job.request or "{}", type=Insight)
    if wanted.instead:
        parts.queue.complete(unit, lambda connection: _tell_who_waits(connection, parent))
        return
    database = parts.queue.database
    with database.read() as connection:
        meeting = meetings.row(connection, job.parent)
        occasion = occasion_of(connection, job.parent)
        known = {one.kind: one for one in meetings.found_of(connection, job.parent)}
        turns = turns_of(connection, job.parent)
    segments = [line.segment for line in meeting_views.every_line(database, job.parent)]
    made_with = makers.tools(parts.settings)
    planned = made_with.template(occasion.kind).findings
    mine = [kind for kind in parts.settings.meetings.findings if kind in planned]
    since = wanted.asked or 0.0
    for kind in wanted.kinds or mine:
        there = known.get(kind)
        if there is not None and there.wording == meeting.wording and there.created >= since:
            continue
        begun = time.monotonic()
        with telemetry.span(f"insight.{kind}"):
            value, source = makers.find(kind, segments, occasion, turns, made_with)
        if made_with.model is not None and source.by == "embedded":
            _log.warning("%s of meeting %s: %s", kind, job.parent, " ".join(source.notes))
        _keep(parts, unit, kind, value, source, wording=meeting.wording)
        _log.info("%s of meeting %s in %.2f s", kind, job.parent, time.monotonic() - begun)
    try:
        embed(job)
    except LanguageModelError as error:
        if error.trouble != "permanent":
            raise  # tried again: what was found is not made again
        _log.warning("meeting %s is not found by meaning: %s", job.parent, error.message)
    parts.queue.complete(unit, lambda connection: _tell_who_waits(connection, parent))


def _tell_who_waits(connection: sa.Connection, job: str) -> None:
    """All is known of a meeting by now: whoever saved a search that it matches is told."""
    saved.note_matches(connection, job, now=time.time())


def _keep(
    parts: Parts, unit: Unit, kind: Kind, value: Value | None, source: Source, *, wording: int
) -> None:
    job = unit.job
    parent = job.parent
    assert parent is not None

    def write(connection: sa.Connection) -> None:
        now = time.time()
        body = "null" if value is None else as_json(value)
        meetings.put_finding(
            connection, parent, kind, body, as_json(source), wording=wording, now=now
        )
        mood = {"mood": value.score} if isinstance(value, Sentiment) else {}
        meetings.change(connection, parent, mood, now=now)
        if source.cost:
            usage.add(connection, now, job.tenant, job.key, source.name, cost=source.cost)

    parts.queue.keep(unit, write)


def occasion_of(connection: sa.Connection, job: str) -> Occasion:
    """What is known of a meeting beside its words: what findings are made with."""
    meeting = meetings.row(connection, job)
    named_ = [
        Person(one.name, one.label) for one in meetings.speakers_of(connection, job) if one.name
    ]
    others = msgspec.json.decode(meeting.people, type=tuple[Person, ...])
    known = {one.name for one in named_}
    return Occasion(
        meeting.title,
        meeting.kind,
        meeting.held,
        meeting.language,
        (*named_, *(one for one in others if one.name not in known)),
    )
