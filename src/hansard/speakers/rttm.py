"""RTTM: who spoke when, one turn a line, as NIST's Rich Transcription and all its heirs write it.

``SPEAKER file channel onset duration <NA> <NA> speaker <NA> <NA>``; fields are parted by white
space, lines that begin with ``;;`` are comments. The format: *The 2009 (RT-09) Rich Transcription
Meeting Recognition Evaluation Plan*, appendix A. A name with white space in it cannot be written;
underscores take its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hansard.errors import BadInput
from hansard.speakers.diarizer import Turn


def written(turns: Iterable[Turn], file: str, *, channel: int = 1) -> Iterator[str]:
    """Lines of RTTM, each with its end of line; times to the millisecond.

    Args:
        turns: in the order in which they are to be written.
        file: name of the recording, without its suffix.
        channel: counted from 1.
    """
    name = _word(file)
    for turn in turns:
        start, end = round(turn.start * 1000), round(turn.end * 1000)
        onset, duration = start / 1000, (end - start) / 1000
        yield (
            f"SPEAKER {name} {channel} {onset:.3f} {duration:.3f} <NA> <NA> "
            f"{_word(turn.speaker)} <NA> <NA>\n"
        )


def read(lines: Iterable[str], *, file: str | None = None) -> list[Turn]:
    """The turns in a file of RTTM, in its order; lines of other types are passed over.

    Args:
        lines: of text.
        file: take only turns of this recording; of all where not given.

    Raises:
        BadInput: a ``SPEAKER`` line lacks fields, or its times are no times; says which line.
    """
    turns = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            onset, duration, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError) as error:
            raise _not_rttm(number, line) from error
        if not (onset >= 0 and duration >= 0 and onset + duration < float("inf")):
            raise _not_rttm(number, line)
        if file is None or fields[1] == file:
            turns.append(Turn(onset, round(onset + duration, 6), speaker))
    return turns


def _not_rttm(number: int, line: str) -> BadInput:
    return BadInput(
        f"Line {number} is not RTTM: {line.strip()[:80]}",
        hint="A line is: SPEAKER file 1 onset duration <NA> <NA> speaker <NA> <NA>.",
    )


def _word(name: str) -> str:
    return "_".join(name.split()) or "<NA>"
