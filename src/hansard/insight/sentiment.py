"""How it was said, by the words alone: VADER (Hutto & Gilbert 2014), English only. Pure.

A lexicon with rules for negation and emphasis. It knows nothing of tone, irony or of what a word
means in a trade: "the patient is positive". For other languages there is no answer, rather than
zeros.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from hansard.insight.findings import Occasion, Sentiment, SpeakerMood
from hansard.insight.languages import guess, plain, words
from hansard.model import Segment

LANGUAGES = ("en",)

POINTS = 200
"""Most points of a course."""

LEAST_SECONDS = 30.0
"""Width of a point of the course, or more in long recordings."""


@lru_cache(maxsize=1)
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def available(segments: Sequence[Segment], occasion: Occasion) -> bool:
    """Whether the language is one that can be scored."""
    language = plain(occasion.language) or guess(_words(segments))
    return language in LANGUAGES


def _words(segments: Iterable[Segment]) -> Iterable[str]:
    return (word for segment in segments for word in words(segment.text))


def find(segments: Sequence[Segment], occasion: Occasion) -> Sentiment | None:
    """A score for each segment and speaker; ``None``: not available in this language."""
    if not segments or not available(segments, occasion):
        return None if segments else Sentiment(0.0)
    analyser = _analyser()
    scores = [_score(analyser, segment.text) for segment in segments]
    by_speaker: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for segment, score in zip(segments, scores, strict=True):
        if segment.speaker is not None:
            middle = (segment.start + segment.end) / 2
            by_speaker[segment.speaker].append((middle, _weight(segment), score))
    last = max(segment.end for segment in segments)
    width = max(LEAST_SECONDS, last / POINTS)
    everything = [(0.0, _weight(s), score) for s, score in zip(segments, scores, strict=True)]
    return Sentiment(
        score=_mean(everything),
        segments=tuple(scores),
        speakers=tuple(
            SpeakerMood(speaker, _mean(said), _course(said, width))
            for speaker, said in sorted(by_speaker.items())
        ),
    )


def _score(analyser: Any, text: str) -> float:
    return float(analyser.polarity_scores(text)["compound"]) if text.strip() else 0.0


def _weight(segment: Segment) -> float:
    """Its seconds; a moment for one that has none."""
    return max(segment.end - segment.start, 0.01)


_Said = Sequence[tuple[float, float, float]]
"""Second, weight and score of each segment."""


def _mean(said: _Said) -> float:
    total = sum(weight for _, weight, _ in said)
    return round(sum(weight * score for _, weight, score in said) / total, 4) if total else 0.0


def _course(said: _Said, width: float) -> tuple[tuple[float, float], ...]:
    """The mean score of each stretch of ``width`` seconds in which something was said."""
    stretches: dict[int, list[tuple[float, float, float]]] = defaultdict(list)
    for one in said:
        stretches[min(int(max(one[0], 0.0) / width), POINTS - 1)].append(one)
    return tuple(
        (round((number + 0.5) * width, 2), _mean(part))
        for number, part in sorted(stretches.items())
    )
