"""What a writer is given: the shape that readers asked for, and segments it may walk again.

A writer never sees a whole transcript. It gets the *head* (a ``Transcript`` whose ``segments``
are empty and are not looked at) and a function that begins a new walk over the segments, so a
ten-hour hearing takes no more memory than a ten-minute meeting. It is a function and not an
iterable because several formats walk more than once (verbose JSON lists the words after the
segments, TextGrid states how many intervals follow): a generator handed over by mistake would
be empty the second time without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeAlias

from hansard.errors import BadSettings
from hansard.model import Segment, Transcript, Value

Segments: TypeAlias = Callable[[], Iterator[Segment]]
"""Begins a new walk over the segments, in order of their start. Each walk gives the same ones."""


class Layout(Value, frozen=True):
    """How transcripts are laid out for readers. The defaults suit television and the web.

    ``max_line`` counts columns: East Asian wide characters take two. ``max_seconds`` is the
    longest a cue stays. ``speakers`` shows who speaks, where that is known; it does not touch
    the formats for programs (json, csv, ctm, textgrid). ``words`` and ``segments`` give verbose
    JSON its lists of them.

    Raises:
        BadSettings: a limit that no text could be laid out in.
    """

    max_line: int = 42
    max_lines: int = 2
    max_seconds: float = 7.0
    speakers: bool = True
    words: bool = True
    segments: bool = True

    def __post_init__(self) -> None:
        """Refuse limits that no cue could keep."""
        if self.max_line < 10 or self.max_lines < 1 or not 1.0 <= self.max_seconds <= 60.0:
            raise BadSettings(
                f"Cues of {self.max_lines} lines of {self.max_line} columns "
                f"for {self.max_seconds:g} s cannot be laid out.",
                hint="Allow at least 10 columns, 1 line, and between 1 and 60 seconds.",
            )


STANDARD = Layout()
"""Two lines of 42 columns, seven seconds, speakers shown."""

Writer: TypeAlias = Callable[[Transcript, Segments, BinaryIO, Layout], None]
"""Writes one format: head, segments, where to, how. Same input, same bytes."""


def view(transcript: Transcript) -> tuple[Transcript, Segments]:
    """A transcript that is in memory, as writers want it."""
    return transcript, lambda: iter(transcript.segments)


def speakers_of(segments: Segments) -> list[str]:
    """The speakers' names in order of first appearance. Walks once."""
    return list(dict.fromkeys(s.speaker for s in segments() if s.speaker))


def channels_of(segments: Segments) -> list[int]:
    """The channels that have segments, in order. Walks once."""
    return sorted({s.channel for s in segments()})
