"""Written meetings with what is in them marked: decisions, tasks, questions, dates, figures.

Each file in ``samples/minutes`` is a meeting. A line starting with ``#`` begins a topic, ``Name:``
begins a turn, ``-`` goes on with it; one sentence a line, and what is planted in it stands behind
it in braces::

    Ana: I'll send the plan by Friday. {action owner=Ana due=2026-03-13; date 2026-03-13}

A ``~`` before a kind says that people may differ: finding it is neither right nor wrong. The
sentences without marks are as important as the others: hypotheses, jokes and reports of what once
was, which look like what is planted.

The tidy ones were written before the rules that read them, by whoever wrote the rules. ``depot``
and ``kitchen`` came later and are as people really talk, so are ``allotment``, ``podcast`` and
``bookshop``: they were read once, which gave figures that the log has, and then served to make the
rules better. ``HELD_OUT`` served no rule: ``theatre`` is as tidy as the first ones, ``choir`` as
natural as the later ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from hansard.insight.findings import ITEM_KINDS, ItemKind, Occasion, Person
from hansard.model import Segment

PLACE = Path(__file__).parent / "minutes"
HELD_OUT = ("choir", "theatre")
SECONDS_A_WORD = 0.4
SECONDS_OF_PAUSE = 0.35

Style = Literal["written", "heard"]
"""``written``: as it stands. ``heard``: lower-case words without marks or digits, and now and then
a sentence that is cut in two, as the embedded engine leaves them."""

_MARKED = re.compile(r"^(?P<text>.*?)\s*(?:\{(?P<marks>[^}]*)\})?\s*$")
_TURN = re.compile(r"^(?:(?P<who>[\w ]+):|-)\s+(?P<rest>.*)$")


class Planted(msgspec.Struct, frozen=True):
    """What is in a sentence."""

    kind: ItemKind
    sentence: int
    sure: bool = True
    owner: str | None = None
    due: str | None = None
    value: str | None = None


class Sentence(msgspec.Struct, frozen=True):
    """What somebody says, and about which topic, counted from 0."""

    speaker: str
    text: str
    topic: int


class Minutes(msgspec.Struct, frozen=True):
    """A written meeting."""

    name: str
    occasion: Occasion
    topics: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    planted: tuple[Planted, ...]
    summary: str = ""
    """What a person would say it was about."""


def names() -> list[str]:
    """The meetings there are, in order."""
    return sorted(path.stem for path in PLACE.glob("*.txt"))


def read(name: str) -> Minutes:
    """A meeting from its file."""
    head: dict[str, str] = {}
    topics: list[str] = []
    sentences: list[Sentence] = []
    planted: list[Planted] = []
    speaker = ""
    for line in (PLACE / f"{name}.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            topics.append(line[1:].strip())
        elif not topics and ": " in line:
            key, _, value = line.partition(": ")
            head[key] = value
        elif line.strip():
            turn = _TURN.match(line)
            assert turn, line
            speaker = turn["who"] or speaker
            parts = _MARKED.match(turn["rest"])
            assert parts, line
            planted += _marks(parts["marks"] or "", len(sentences))
            sentences.append(Sentence(speaker, parts["text"], len(topics) - 1))
    labels = _labels(sentences)
    people = [person.strip() for person in head["people"].split(",")]
    occasion = Occasion(
        title=head["title"],
        kind=head["kind"],
        held=datetime.fromisoformat(f"{head['held']}T09:00").replace(tzinfo=UTC).timestamp(),
        language=head["language"],
        people=tuple(Person(person, labels.get(person.split()[-1])) for person in people),
    )
    return Minutes(
        name, occasion, tuple(topics), tuple(sentences), tuple(planted), head.get("summary", "")
    )


def _labels(sentences: list[Sentence]) -> dict[str, str]:
    return {
        who: f"S{number}"
        for number, who in enumerate(dict.fromkeys(s.speaker for s in sentences), start=1)
    }


def _marks(marks: str, sentence: int) -> Iterator[Planted]:
    for mark in filter(None, (part.strip() for part in marks.split(";"))):
        kind, _, rest = mark.partition(" ")
        said = dict(re.findall(r"(owner|due)=(\S+)", rest))
        value = re.sub(r"(?:owner|due)=\S+", "", rest).strip() or None
        bare = kind.lstrip("~")
        assert bare in ITEM_KINDS, mark
        yield Planted(bare, sentence, not kind.startswith("~"), value=value, **said)


def segments(minutes: Minutes, style: Style, seed: int = 1) -> tuple[list[Segment], list[int]]:
    """A transcript of the meeting, and for each segment the sentence that it is (a part) of."""
    rng = random.Random(seed)
    labels = _labels(list(minutes.sentences))
    made: list[Segment] = []
    of: list[int] = []
    at = 0.0
    for number, sentence in enumerate(minutes.sentences):
        pieces = [sentence.text]
        if style == "heard":
            pieces = [" ".join(_heard(piece)) for piece in _cut(sentence.text, rng)]
        for piece in pieces:
            end = at + SECONDS_A_WORD * len(piece.split())
            made.append(Segment(at, end, piece, speaker=labels[sentence.speaker]))
            of.append(number)
            at = end + SECONDS_OF_PAUSE
    return made, of


def _cut(text: str, rng: random.Random) -> list[str]:
    """People pause at some commas."""
    pieces = [""]
    for part in re.split(r"(?<=, )", text):
        if pieces[-1] and len(part.split()) > 2 and rng.random() < 0.25:
            pieces.append(part)
        else:
            pieces[-1] += part
    return pieces


def _words(text: str) -> list[str]:
    return text.split()


_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = _words("- - twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def _spelled(number: int) -> str:
    for size, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{_spelled(number // size)} {name}" + (f" {_spelled(rest)}" if rest else "")
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f" {_ONES[ones]}" if ones else "")


def _ordinal(number: int) -> str:
    *before, last = _spelled(number).split()
    last = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return " ".join([*before, last])


def _heard(text: str) -> Iterator[str]:
    """The words of a sentence as the embedded engine writes them."""
    for word in re.findall(r"\$?\d[\d,.]*(?:st|nd|rd|th)?|[^\W\d_]+(?:'[^\W\d_]+)*", text):
        digits = re.sub(r"\D", "", word)
        if not digits:
            yield word.lower()
        elif word[-1].isalpha():
            yield _ordinal(int(digits))
        else:
            yield _spelled(int(digits)) + (" dollars" if word.startswith("$") else "")
