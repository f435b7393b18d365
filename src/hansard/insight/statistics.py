"""Who spoke how much: one pass over who began and ended when. Pure.

Talk is measured by the turns of diarization where there are some, which overlap as voices did, else
by the segments. Words and questions are the segments'.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from hansard.insight import grammars, questions
from hansard.insight.findings import Occasion, SpeakerShare, Statistics
from hansard.insight.names import Names
from hansard.insight.sentences import is_marked, is_punctuated, language_of, split
from hansard.model import Segment

PAUSE = 2.0
"""Seconds from which a pause is a silence, and after which somebody has a new turn."""

LEAST_OVERLAP = 0.25
"""Seconds that somebody must go on speaking to have been interrupted; less is how turns change."""

LEAST_INTERRUPTION = 1.0
"""Seconds of the shortest interruption: less is assent ("mhm", "yes")."""


class Turn(Protocol):
    """A stretch in which one speaker speaks. Seconds."""

    @property
    def start(self) -> float: ...  # noqa: D102  (seconds from the start of the recording)
    @property
    def end(self) -> float: ...  # noqa: D102  (likewise)
    @property
    def speaker(self) -> str | None: ...  # noqa: D102  (a label, or not known)


class _Stretch(NamedTuple):
    start: float
    end: float
    speaker: str | None


class _Clock(NamedTuple):
    """Seconds of the whole recording."""

    spoken: float
    overlap: float
    silences: tuple[float, ...]


def find(
    segments: Sequence[Segment],
    occasion: Occasion,
    turns: Sequence[Turn] = (),
    *,
    seconds: float | None = None,
) -> Statistics:
    """Shares of talk, turns, interruptions, overlap, silences, words and questions.

    Args:
        segments: the transcript.
        occasion: for the language, by which questions are known.
        turns: who spoke when, as diarization found it; may overlap, in any order.
        seconds: length of the recording; the end of the last word where it is not known.
    """
    voiced = _voiced(turns or segments)
    spoken = _turns(voiced)
    ends = [one.end for one in voiced] + [segment.end for segment in segments]
    length = max(seconds or 0.0, max(ends, default=0.0))
    clock = _swept(voiced, length)
    said = Counter[str | None]()
    for segment in segments:
        said[segment.speaker] += len(segment.words) or len(segment.text.split())
    asked = _asked(segments, occasion)
    talk = sum(one.end - one.start for one in voiced)
    return Statistics(
        seconds=round(length, 3),
        talk=round(talk, 3),
        silence=round(max(length - clock.spoken, 0.0), 3),
        silences=sum(gap > PAUSE for gap in clock.silences),
        longest_silence=round(max(clock.silences, default=0.0), 3),
        overlap=round(clock.overlap, 3),
        turns=len(spoken),
        words=said.total(),
        words_per_minute=_rate(said.total(), talk),
        questions=asked.total(),
        speakers=tuple(_shares(voiced, spoken, said, asked)),
    )


def _shares(
    voiced: Sequence[_Stretch],
    spoken: Sequence[_Stretch],
    said: Counter[str | None],
    asked: Counter[str | None],
) -> Iterator[SpeakerShare]:
    """How each took part, by the names of the speakers."""
    own = defaultdict[str | None, list[float]](list)
    for one in spoken:
        own[one.speaker].append(one.end - one.start)
    heard = defaultdict[str | None, float](float)
    for one in voiced:
        heard[one.speaker] += one.end - one.start
    talk = sum(heard.values())
    began, suffered = _interruptions(spoken)
    for speaker in sorted(label for label in {*own, *said} if label is not None):
        yield SpeakerShare(
            speaker=speaker,
            talk=round(heard[speaker], 3),
            share=round(heard[speaker] / talk, 4) if talk else 0.0,
            turns=len(own[speaker]),
            words=said[speaker],
            words_per_minute=_rate(said[speaker], heard[speaker]),
            longest_turn=round(max(own[speaker], default=0.0), 3),
            interruptions=began[speaker],
            interrupted=suffered[speaker],
            questions=asked[speaker],
        )


def _rate(words: int, seconds: float) -> float:
    return round(words * 60 / seconds, 1) if seconds > 0 else 0.0


def _voiced(stretches: Iterable[Turn]) -> list[_Stretch]:
    """When each speaker spoke, in order of the beginning; nobody overlaps with himself."""
    voiced: list[_Stretch] = []
    open_: dict[str | None, int] = {}
    for one in sorted(stretches, key=lambda one: (one.start, one.end, one.speaker or "")):
        start, end = one.start, max(one.end, one.start)
        last = open_.get(one.speaker)
        if last is not None and start <= voiced[last].end:
            voiced[last] = voiced[last]._replace(end=max(voiced[last].end, end))
        else:
            open_[one.speaker] = len(voiced)
            voiced.append(_Stretch(start, end, one.speaker))
    return voiced


def _turns(voiced: Sequence[_Stretch]) -> list[_Stretch]:
    """Turns: a speaker goes on until somebody else begins, or there is silence."""
    turns: list[_Stretch] = []
    for one in voiced:
        last = turns[-1] if turns else None
        if last and last.speaker == one.speaker and one.start - last.end <= PAUSE:
            turns[-1] = last._replace(end=max(last.end, one.end))
        else:
            turns.append(one)
    return turns


def _swept(spoken: Sequence[_Stretch], length: float) -> _Clock:
    """One sweep over all beginnings and ends: how long at least one spoke, and at least two."""
    events = sorted(
        (moment, step)
        for one in spoken
        if one.end > one.start
        for moment, step in ((max(one.start, 0.0), 1), (one.end, -1))
    )
    talking = overlap = last = 0.0
    silences: list[float] = []
    voices = 0
    for moment, step in events:
        if voices == 0 and moment > last:
            silences.append(moment - last)
        elif voices >= 1:
            talking += moment - last
            overlap += (moment - last) * (voices >= 2)
        voices += step
        last = moment
    if length > last:
        silences.append(length - last)
    return _Clock(talking, overlap, tuple(silences))


def _interruptions(spoken: Sequence[_Stretch]) -> tuple[Counter[str], Counter[str]]:
    """How often each began while somebody else went on speaking, and had that done to them.

    One pass: of those who still speak, only the last turn of each speaker matters.
    """
    began: Counter[str] = Counter()
    suffered: Counter[str] = Counter()
    speaking: dict[str, _Stretch] = {}
    for one in spoken:
        if one.speaker is None:
            continue
        speaking = {who: other for who, other in speaking.items() if other.end > one.start}
        if one.end - one.start >= LEAST_INTERRUPTION:
            others = [
                who
                for who, other in speaking.items()
                if who != one.speaker
                and other.start < one.start
                and other.end >= one.start + LEAST_OVERLAP
            ]
            began[one.speaker] += bool(others)
            suffered.update(others)
        before = speaking.get(one.speaker)
        if before is None or before.end < one.end:
            speaking[one.speaker] = one
    return began, suffered


def _asked(segments: Sequence[Segment], occasion: Occasion) -> Counter[str | None]:
    sentences = split(segments)
    language, _ = language_of(sentences, occasion.language)
    rules, punctuated = grammars.of(language), is_punctuated(segments)
    names = Names(sentences, occasion, capitals=is_marked(segments) and language != "de")
    found: Counter[str | None] = Counter()
    for sentence in sentences:
        text = names.tagged(sentence).text
        found[sentence.speaker] += questions.is_question(sentence, text, rules, marked=punctuated)
    return found
