"""Summaries of what was said: its most central sentences, as they were said. Pure, and no model.

Extractive: nothing is rephrased, so nothing can be made up; every sentence cites itself.
Sentences are ranked by LexRank (``vectors.central``) and by how near they are to the centroid of
all (D. Radev, H. Jing and M. Budzikowska 2000), half and half: the one finds what several
sentences say, the other what the whole is about. They are chosen one by one so that each adds
something (maximal marginal relevance, Carbonell & Goldstein 1998). Long recordings are ranked in
blocks first, and the best of each block against each other, so that time and memory grow with the
length only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hansard.insight import grammars, vectors
from hansard.insight.findings import Occasion, Statement, Summary
from hansard.insight.languages import Stems
from hansard.insight.sentences import Sentence, language_of, split
from hansard.insight.wording import tidied
from hansard.model import Segment

THRESHOLD = 0.1
"""Cosine from which two sentences are alike: Erkan & Radev's best."""

DAMPING = 0.85

BLOCK = 500
"""Sentences that are compared with each other: a quarter of a million cosines at most."""

KEPT = 0.25
"""Share of a block that goes on to the next round."""

SHORTEST, LONGEST = 6, 45
"""Words of a sentence that can stand in a summary."""

NOVELTY = 0.4
"""How much likeness to what is chosen already counts against a sentence: λ is 1 - this."""


def find(
    segments: Sequence[Segment], occasion: Occasion, *, short: int = 3, long: int = 12
) -> Summary:
    """A short summary and a long one, each in the order in which it was said.

    Args:
        segments: the transcript.
        occasion: for the language.
        short: sentences of the short one.
        long: sentences of the long one, or fewer where little was said: at most a third of all.
    """
    sentences = split(segments)
    if not sentences:
        return Summary()
    language, _ = language_of(sentences, occasion.language)
    ranked = _ranked(sentences, Stems(language))
    fair = max(short, min(long, len(sentences) // 3 or 1))
    return Summary(
        short=_statements(sentences, _chosen(ranked, short)),
        long=_statements(sentences, _chosen(ranked, fair)),
    )


def of_part(
    segments: Sequence[Segment],
    first: int,
    last: int,
    *,
    stems: Stems,
    length: int = 2,
) -> tuple[Statement, ...]:
    """A summary of the segments from ``first`` to ``last``: of a chapter.

    Args:
        segments: the whole transcript; what is cited are positions in it.
        first: position of the first segment.
        last: position of the last one.
        stems: of the language; kept from part to part, since stemming is what takes time.
        length: sentences, or fewer: at most half of what there are.
    """
    sentences = split(segments[first : last + 1])
    ranked = _ranked(sentences, stems)
    chosen = _chosen(ranked, min(length, max(1, len(sentences) // 2)))
    return tuple(
        Statement(one.text, tuple(position + first for position in one.segments))
        for one in _statements(sentences, chosen)
    )


SAME = 0.8
"""Cosine from which two sentences say the same: one of them is enough."""

DECIDING = 8.0
"""How much likelier a reader begins at a decision: on the written meetings 1 to 8 got better."""


CENTROID = 0.5
"""Weight of the nearness to the centroid beside LexRank."""


class _Ranked(NamedTuple):
    """Sentences that may stand in a summary, with their scores, and their vectors."""

    positions: NDArray[np.intp]
    scores: NDArray[np.float64]
    rows: Any
    """``scipy.sparse.csr_array``: a row for every sentence, also for those that may not."""


def _ranked(sentences: Sequence[Sentence], stems: Stems) -> _Ranked:
    said = [stems.of(sentence.words) for sentence in sentences]
    rows = vectors.tf_idf(said)
    fit = np.asarray([_fit(one, two) for one, two in zip(sentences, said, strict=True)], bool)
    positions = np.flatnonzero(fit) if fit.any() else np.arange(len(sentences))
    prior = _prior(sentences, said, stems.language)
    while len(positions) > BLOCK:
        parts = np.array_split(positions, -(-len(positions) // BLOCK))
        kept = [_best(rows, part, prior, max(1, int(len(part) * KEPT))) for part in parts]
        positions = np.concatenate(kept)
    return _Ranked(positions, _scores(rows, positions, prior), rows)


def _fit(sentence: Sentence, stems: Sequence[str]) -> bool:
    """Whether it says enough by itself, and asks nothing."""
    return SHORTEST <= len(sentence.words) <= LONGEST and len(stems) >= 3 and not sentence.asked


def _prior(
    sentences: Sequence[Sentence], said: Sequence[Sequence[str]], language: str | None
) -> NDArray[np.float64]:
    """Where a reader would begin: sentences that say much; those that decide something more so."""
    rules = grammars.of(language)
    prior = np.asarray([1.0 + min(len(set(stems)), 12) / 6 for stems in said], np.float64)
    if rules:
        for at, sentence in enumerate(sentences):
            text = " ".join(sentence.words)
            if rules.decided.search(text) and not rules.decided_not.search(text):
                prior[at] *= DECIDING
    return prior


def _scores(
    rows: Any, positions: NDArray[np.intp], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    part, own = rows[positions], prior[positions]
    walked = vectors.central(part @ part.T, own, threshold=THRESHOLD, damping=DAMPING)
    near = np.asarray(part @ np.asarray(rows.sum(axis=0)).ravel(), np.float64)
    near *= np.sqrt(own)
    scaled = [score / (score.max(initial=0.0) or 1.0) for score in (walked, near)]
    return np.asarray((1 - CENTROID) * scaled[0] + CENTROID * scaled[1])


def _best(
    rows: Any, positions: NDArray[np.intp], prior: NDArray[np.float64], count: int
) -> NDArray[np.intp]:
    order = np.argsort(-_scores(rows, positions, prior), kind="stable")
    return np.sort(positions[order[:count]])


def _chosen(ranked: _Ranked, count: int) -> list[int]:
    """The best sentences, each as little like those before it as may be."""
    part = ranked.rows[ranked.positions]
    scores = ranked.scores / (ranked.scores.max(initial=0.0) or 1.0)
    open_ = np.ones(len(scores), bool)
    closest = np.zeros(len(scores))
    chosen: list[int] = []
    while open_.any() and len(chosen) < count:
        worth = np.where(open_, (1 - NOVELTY) * scores - NOVELTY * closest, -np.inf)
        best = int(np.argmax(worth))
        chosen.append(int(ranked.positions[best]))
        closest = np.maximum(closest, np.asarray((part @ part[[best]].T).todense()).ravel())
        open_ &= closest < SAME
        open_[best] = False
    return sorted(chosen)


def _statements(sentences: Sequence[Sentence], chosen: Sequence[int]) -> tuple[Statement, ...]:
    return tuple(Statement(tidied(sentences[at].text), sentences[at].segments) for at in chosen)
