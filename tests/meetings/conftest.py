"""Meetings without their audio: a transcript is written as the last step of a job writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.jobs.conftest import answers, listen, prepare, submit

from hansard.config import MeetingSettings, Settings, load
from hansard.insight.findings import (
    Chapter,
    Chapters,
    Item,
    Items,
    Kind,
    Occasion,
    Sentiment,
    Source,
    Statement,
    Statistics,
    Summary,
)
from hansard.jobs.queue import Queue
from hansard.meetings import follow_up, makers, opening
from hansard.meetings.editing import Editor
from hansard.meetings.turns import Turn
from hansard.model import Client, Pool, Segment, Transcript, Value, Word
from hansard.store import transcripts
from hansard.store.database import Database
from hansard.store.meetings import Heard

SPEECH: tuple[Pool, ...] = ("speech",)
AFTER: tuple[Pool, ...] = ("insight",)

SOURCE = Source("embedded", "made-up-1")


def said(start: float, text: str, *, channel: int = 0, paragraph: int = 0) -> Segment:
    """A segment with a word each half a second."""
    words = tuple(
        Word(start + n / 2, start + n / 2 + 0.4, word) for n, word in enumerate(text.split())
    )
    return Segment(start, words[-1].end, text, words, channel, paragraph=paragraph)


TALK = (
    said(0.0, "Good morning everybody."),
    said(3.0, "We meet about the budget. I agree to that."),
    said(8.0, "Anna sends the numbers by Friday."),
    said(12.0, "Is that all? Yes."),
)

TURNS = (Turn(0.0, 5.4, "b"), Turn(5.4, 7.9, "a"), Turn(7.9, 20.0, "b"))
"""The second sentence has two speakers, of a diarizer that calls them b and a."""


@dataclass
class Parts:
    """What handlers need, without files."""

    settings: Settings
    queue: Queue
    files: Any = None
    media: Any = None


def split_at_turns(segments: Any, turns: Sequence[Turn]) -> Iterator[Segment]:
    """A simple way to give words to speakers: by the turn that a word's middle is in."""
    from itertools import groupby

    from msgspec.structs import replace

    def who(word: Word) -> str | None:
        middle = (word.start + word.end) / 2
        return next((t.speaker for t in turns if t.start <= middle < t.end), None)

    for segment in segments:
        for speaker, run in groupby(segment.words, key=who):
            words = tuple(run)
            yield replace(
                segment,
                start=words[0].start,
                end=words[-1].end,
                text=" ".join(word.text for word in words),
                words=words,
                speaker=speaker,
            )


class Makers:
    """Finds what it is told to find, and counts how often it is asked."""

    def __init__(self) -> None:
        self.turns: tuple[Turn, ...] = TURNS
        self.voices: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.occasion: Occasion | None = None
        self.error: Exception | None = None
        self.lost: Exception | None = None
        """What goes wrong with speakers, and with the findings."""

    def diarize(self, parts: Any, job: Any, wanted: Any) -> makers.Voices:
        del parts, job
        self.asked.append(f"speakers {wanted.min_speakers}-{wanted.max_speakers}")
        if self.error is not None:
            raise self.error
        heard = tuple(
            Heard(
                label,
                9.0,
                self.voices.get(label),
                "embedded-1" if label in self.voices else None,
            )
            for label in dict.fromkeys(turn.speaker for turn in self.turns)
        )
        return makers.Voices(self.turns, heard, SOURCE)

    def find(
        self, kind: Kind, segments: Any, occasion: Any, turns: Any, made_with: Any
    ) -> tuple[Value, Source]:
        del turns, made_with
        self.asked.append(kind)
        if self.lost is not None:
            raise self.lost
        self.occasion = occasion
        last = len(segments) - 1
        made: dict[str, Value] = {
            "summary": Summary((Statement("It was about the budget.", (1,)),)),
            "chapters": Chapters((Chapter("Budget", 0, last, 0.0, segments[-1].end),)),
            "items": Items(
                tuple(
                    Item("action", one.text, (at,), owner="Anna", due="2026-12-04")
                    for at, one in enumerate(segments)
                    if one.text.startswith("Anna")
                )
            ),
            "sentiment": Sentiment(0.25, (0.25,) * len(segments)),
            "statistics": Statistics(20.0, 15.0, 5.0, 1, 3.0, 0.0, 3, 22, 88.0, 1),
        }
        return made[kind], SOURCE


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Makers:
    """In the place of what finds speakers and meaning."""
    own = Makers()
    monkeypatch.setattr(makers, "diarize", own.diarize)
    monkeypatch.setattr(makers, "assign", split_at_turns)
    monkeypatch.setattr(makers, "find", own.find)
    return own


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database, "me")


@pytest.fixture
def parts(queue: Queue) -> Parts:
    return Parts(load(), queue)


FOLLOWED = MeetingSettings(follow_up=True, pause=0.0)
ALONE = MeetingSettings(follow_up=False)


def hold(
    queue: Queue,
    segments: Sequence[Segment] = TALK,
    *,
    name: str = "a",
    tenant: str = "local",
    settings: MeetingSettings = ALONE,
    language: str = "en",
) -> str:
    """A job that is transcribed to these segments; its id is the meeting's."""
    job = submit(queue, name, tenant=tenant, seconds=20.0)
    prepare(queue, 1)
    while (unit := listen(queue)) is not None:
        queue.record(unit, answers(unit))
    last = queue.claim_step(SPEECH)
    assert last is not None

    def write(connection: Any) -> None:
        tally = opening.Tally(segments)
        head = Transcript(job.id, name, f"{name}.wav", 20.0, "sphinx", "en-us", language=language)
        transcripts.save(connection, job.id, tally, lambda: head)
        opening.begin(connection, last.job, tally, settings)

    queue.complete(last, write)
    return job.id


def work(parts: Parts) -> list[str]:
    """Do all follow-up jobs that wait; their kinds."""
    from hansard.jobs.unit import work_once

    handlers = {"speakers": follow_up.speakers, "insight": follow_up.insight}
    done: list[str] = []
    while (unit := parts.queue.claim_step(AFTER)) is not None:
        done.append(unit.job.kind)
        handler = handlers[unit.job.kind]
        work_once(parts.queue, unit, lambda unit: handler(parts, unit))  # noqa: B023 called at once
    return done


def editor(parts: Parts, tenant: str = "local", by: str = "somebody") -> Editor:
    return Editor(parts.queue, ALONE, Client(tenant), by)


def segments_of(queue: Queue, job: str) -> list[Segment]:
    return list(transcripts.stream(queue.database, job))
