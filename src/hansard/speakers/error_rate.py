"""How wrong a diarization is: the diarization error rate (DER) of NIST's Rich Transcription.

``(missed speech + false alarm + speaker confusion) / speech of the reference``, all of it counted
in seconds of speaker time, so that two who speak at once count twice. Each reference speaker is
given at most one speaker of the answer, by the assignment under which they share the most time
(Kuhn-Munkres). A *collar* leaves out so many seconds on both sides of each boundary of the
reference; the assignment is made without it.

As in NIST's ``md-eval`` 22 and ``dscore``; the plan: *The 2009 (RT-09) Rich Transcription Meeting
Recognition Evaluation Plan*, section 6.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hansard.model import Value
from hansard.speakers.diarizer import Turn

if TYPE_CHECKING:
    from hansard.speakers.diarizer import Stretch


class Faults(Value, frozen=True):
    """What stands between an answer and the truth, in seconds. Adds up over recordings."""

    speech: float
    """Speaker time of the reference."""
    missed: float
    false_alarm: float
    confusion: float

    @property
    def rate(self) -> float:
        """Diarization error rate; may pass 1. Nobody spoke: 0 where nobody was heard."""
        wrong = self.missed + self.false_alarm + self.confusion
        if self.speech <= 0:
            return float("inf") if wrong > 0 else 0.0
        return wrong / self.speech

    def __add__(self, other: Faults) -> Faults:
        """The faults of both, as if they were one recording."""
        return Faults(
            self.speech + other.speech,
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confusion + other.confusion,
        )


def faults(
    reference: Iterable[Turn], answer: Iterable[Turn], *, collar: float = 0.0, overlap: bool = True
) -> Faults:
    """Compare who was said to speak with who spoke.

    Args:
        reference: the truth; turns may overlap, and be in any order.
        answer: the turns to judge; the names of its speakers mean nothing.
        collar: seconds left out on **each** side of a boundary of the reference.
        overlap: whether time in which several speak counts.
    """
    truth, heard = _merged(reference), _merged(answer)
    pairs = _assignment(truth, heard)
    speech = missed = false_alarm = confusion = 0.0
    for start, end, spoke, said in _stretches(truth, heard, _collars(truth, collar)):
        if not overlap and len(spoke) > 1:
            continue
        length = end - start
        right = sum(1 for name in spoke if pairs.get(name) in said)
        speech += length * len(spoke)
        missed += length * max(0, len(spoke) - len(said))
        false_alarm += length * max(0, len(said) - len(spoke))
        confusion += length * (min(len(spoke), len(said)) - right)
    return Faults(speech, missed, false_alarm, confusion)


def assignment(reference: Iterable[Turn], answer: Iterable[Turn]) -> dict[str, str]:
    """Reference speaker → speaker of the answer; those that share no time have none."""
    return _assignment(_merged(reference), _merged(answer))


def _assignment(truth: Sequence[Turn], heard: Sequence[Turn]) -> dict[str, str]:
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    shared: dict[tuple[str, str], float] = defaultdict(float)
    for start, end, spoke, said in _stretches(truth, heard, ()):
        for name in spoke:
            for label in said:
                shared[name, label] += end - start
    names = sorted({name for name, _ in shared})
    labels = sorted({label for _, label in shared})
    table = np.array([[shared.get((n, m), 0.0) for m in labels] for n in names], dtype=np.float64)
    rows, columns = linear_sum_assignment(table.reshape(len(names), len(labels)), maximize=True)
    return {
        names[row]: labels[column]
        for row, column in zip(rows, columns, strict=True)
        if table[row, column] > 0
    }


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """The turns with those of one speaker that touch or overlap made one."""
    merged: dict[str, list[Turn]] = defaultdict(list)
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end)):
        if turn.end <= turn.start:
            continue
        own = merged[turn.speaker]
        if own and turn.start <= own[-1].end:
            own[-1] = Turn(own[-1].start, max(own[-1].end, turn.end), turn.speaker)
        else:
            own.append(turn)
    return [turn for own in merged.values() for turn in own]


def _collars(truth: Sequence[Turn], collar: float) -> list[Stretch]:
    if collar <= 0:
        return []
    return [(at - collar, at + collar) for turn in truth for at in (turn.start, turn.end)]


def _stretches(
    truth: Sequence[Turn], heard: Sequence[Turn], unscored: Sequence[Stretch]
) -> Iterable[tuple[float, float, frozenset[str], frozenset[str]]]:
    """Time cut wherever anything changes: start, end, who spoke, who was said to."""
    events: list[tuple[float, int, int, str]] = []
    for side, turns in enumerate((truth, heard)):
        for turn in turns:
            events += [(turn.start, 1, side, turn.speaker), (turn.end, -1, side, turn.speaker)]
    for start, end in unscored:
        events += [(start, 1, 2, ""), (end, -1, 2, "")]
    events.sort()
    now: tuple[dict[str, int], ...] = ({}, {}, {})
    last = 0.0
    for at, step, side, name in events:
        if at > last and not now[2] and (now[0] or now[1]):
            yield last, at, frozenset(now[0]), frozenset(now[1])
        last = at
        count = now[side].pop(name, 0) + step
        if count:
            now[side][name] = count
