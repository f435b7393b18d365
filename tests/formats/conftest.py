"""A small meeting that holds every trap, and a long one made as it is walked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from hansard.formats import Segments
from hansard.model import Coverage, Gap, Segment, Transcript, Word

NASTY = (
    "<b>x</b> & --> \"q\" 'a' {\\an8} | *y* _z_ `c` [l](u) #1 $m$ ~s~ \\ "
    "a\tb\r\nc\x00\x07\x1b\x85\u2028d\u200fe\u202ef\ufeff\ufffe\U0001fffeg \U0001f600"
)
"""Text that some format reads as syntax, or cannot hold at all."""
NASTY_CLEAN = (
    "<b>x</b> & --> \"q\" 'a' {\\an8} | *y* _z_ `c` [l](u) #1 $m$ ~s~ \\ "
    "a b c d\u200fef" + "g \U0001f600"
)


def spoken(text: str, start: float, *, pace: float = 0.09, confidence: float = 0.9) -> Segment:
    """A segment whose words are as long as they have letters."""
    now = start
    words = []
    for word in text.split():
        end = round(now + pace * len(word), 3)
        words.append(Word(now, end, word, confidence))
        now = end + (0.4 if word[-1] in ".?!" else 0.0)
    return Segment(start, words[-1].end, text, tuple(words))


@pytest.fixture
def nasty_clean() -> str:
    return NASTY_CLEAN


@pytest.fixture
def meeting() -> Transcript:
    def say(
        text: str, start: float, speaker: str | None, paragraph: int, **more: object
    ) -> Segment:
        return msgspec.structs.replace(
            spoken(text, start), speaker=speaker, paragraph=paragraph, **more
        )

    segments = (
        say("Good morning, everyone, and welcome to the committee.", 1.0, "Ann <Chair>", 0),
        say(
            "We shall consider the budget first, because the treasurer must leave at ten; "
            "after that, the minutes of the last meeting will be read and approved.",
            6.5,
            "Ann <Chair>",
            0,
            tokens=(50364, 492, 4393),
            temperature=0.0,
            avg_logprob=-0.25,
            compression_ratio=1.5,
            no_speech_prob=0.01,
        ),
        Segment(21.0, 27.5, NASTY, speaker='Bo "&" Co\n', paragraph=1, language="en"),
        Segment(30.0, 31.0, "=SUM(A1:A9) is not a formula", speaker="@Cy", paragraph=2),
        Segment(
            33.0,
            40.0,
            "我们今天讨论的主要议题是关于城市公共交通系统的改善，以及如何减少环境污染。",  # noqa: RUF001 a Chinese comma
            paragraph=3,
            language="zh",
        ),
        Segment(41.0, 41.2, "No.", speaker="Ann <Chair>", paragraph=4),
    )
    return Transcript(
        id="t1",
        recording="0" * 64,
        name="budget & <minutes> | 3.mp3",
        seconds=45.25,
        engine="whisper",
        model="small",
        created=1_700_000_000.0,
        language="en",
        segments=segments,
        coverage=Coverage(30.0, 27.0, (Gap(28.0, 29.5), Gap(43.0, 44.5, 0, "no answer"))),
    )


@pytest.fixture
def hours() -> Callable[[int], Segments]:
    """Of a count: that many segments of four seconds, made as they are walked."""
    return lambda count: lambda: _hours(count)


def _hours(count: int) -> Iterator[Segment]:
    for i in range(count):
        start = i * 4.0
        words = tuple(
            Word(start + j * 0.4, start + j * 0.4 + 0.35, f"word{j}", 0.5) for j in range(8)
        )
        text = " ".join(word.text for word in words)
        yield Segment(start, start + 3.2, text, words, speaker=f"S{i % 3}", paragraph=i // 5)
