"""What can be found out about a meeting: frozen values, each of which says where it was said.

Whoever makes them, a language model or the embedded extractors, gives these very values, and every
sentence in them **cites**: it names the segments it rests on by their positions in the transcript
(counted from 0), so that a reader can go to the second. A finding that cites nothing is none.
"""

from __future__ import annotations

from typing import Literal, get_args

from hansard.model import Value

Kind = Literal["summary", "chapters", "items", "sentiment", "statistics"]
"""Kinds of findings. Each is kept by itself, versioned, and can be made again."""

KINDS: tuple[Kind, ...] = get_args(Kind)

ItemKind = Literal["action", "decision", "question", "date", "figure"]

ITEM_KINDS: tuple[ItemKind, ...] = get_args(ItemKind)


class Source(Value, frozen=True):
    """Who found it out."""

    by: Literal["embedded", "model", "person"]
    """``embedded``: without any language model, extracted from the words themselves."""
    name: str
    """The method and its version, like ``lexrank-1``, or the model that was asked."""
    cost: float = 0.0
    """Money, in the currency of the price table."""
    notes: tuple[str, ...] = ()
    """What the reader must know, like a fallback that was taken."""


class Statement(Value, frozen=True):
    """A sentence, and where it rests."""

    text: str
    segments: tuple[int, ...]
    """Positions of the segments that say so, at least one, ascending."""


class Summary(Value, frozen=True):
    """What the meeting was about."""

    short: tuple[Statement, ...] = ()
    """Two or three sentences."""
    long: tuple[Statement, ...] = ()
    """Up to some twenty sentences, in the order in which they were said."""


class Chapter(Value, frozen=True):
    """A stretch of the meeting about one thing. Chapters are in order and leave nothing out."""

    title: str
    first: int
    """Position of its first segment."""
    last: int
    """Position of its last segment."""
    start: float
    """Seconds from the start of the recording."""
    end: float
    phrases: tuple[str, ...] = ()
    """What it is about, in its own words."""
    summary: tuple[Statement, ...] = ()


class Chapters(Value, frozen=True):
    """The meeting by what it was about."""

    chapters: tuple[Chapter, ...] = ()


class Item(Value, frozen=True):
    """Something to keep: what is to be done, was decided, asked, or named as a date or a figure."""

    kind: ItemKind
    text: str
    """The sentence that says it, tidied; a question, date or figure as it was said."""
    segments: tuple[int, ...]
    owner: str | None = None
    """Who does it, if that was said: a name, or a speaker's label."""
    due: str | None = None
    """By when, if that was said: a date like ``2026-01-31``."""
    value: str | None = None
    """The date (ISO 8601) or figure (a number and its unit) that was named."""


class Items(Value, frozen=True):
    """Everything to keep, in the order in which it was said."""

    items: tuple[Item, ...] = ()


class SpeakerMood(Value, frozen=True):
    """How somebody sounded. Scores are from -1 (negative) to 1 (positive)."""

    speaker: str
    score: float
    """Mean over what was said, by the length of the segments."""
    course: tuple[tuple[float, float], ...] = ()
    """Seconds from the start, and the mean score around there: at most 200 points."""


class Sentiment(Value, frozen=True):
    """How it was said, by the words alone."""

    score: float
    segments: tuple[float, ...] = ()
    """A score for each segment of the transcript."""
    speakers: tuple[SpeakerMood, ...] = ()


class SpeakerShare(Value, frozen=True):
    """How somebody took part. Times are seconds."""

    speaker: str
    talk: float
    share: float
    """Of all talk, 0 to 1."""
    turns: int
    words: int
    words_per_minute: float
    longest_turn: float
    interruptions: int
    """Times that they began while somebody else went on speaking."""
    interrupted: int
    questions: int


class Statistics(Value, frozen=True):
    """Who spoke how much. Times are seconds."""

    seconds: float
    talk: float
    """Sum over speakers: with overlaps it is more than the time that was spoken in."""
    silence: float
    """Nobody spoke."""
    silences: int
    """Pauses of more than two seconds."""
    longest_silence: float
    overlap: float
    """Two or more spoke."""
    turns: int
    words: int
    words_per_minute: float
    questions: int
    speakers: tuple[SpeakerShare, ...] = ()


class Person(Value, frozen=True):
    """Somebody in the meeting: a name for a speaker's label, or one who is only known by name."""

    name: str
    label: str | None = None
    """Like ``S1``; ``None``: named, but not told apart by voice."""


class Occasion(Value, frozen=True):
    """What is known of a meeting beside its words: what findings are made with."""

    title: str = ""
    kind: str = "meeting"
    """A template's name: see ``insight.templates``."""
    held: float | None = None
    """When it began, seconds since the epoch: what "next Friday" is counted from."""
    language: str | None = None
    people: tuple[Person, ...] = ()
