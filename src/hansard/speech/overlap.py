"""Two windows heard the same two seconds: which words are kept, and from which of them.

Unbroken speech is cut inside words, so the end of one window and the start of the next are the
least trustworthy places of both. The words that both heard, at the same time, are found by
alignment; one of them, far from both edges, becomes the seam: before it the earlier window is
believed, after it the later. Where they agree on nothing the seam is an instant at which nobody is
in the middle of a word. No word comes twice; what only one of them heard, at a time when the other
heard nothing, is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hansard.speech.guards import folded
from hansard.speech.heard import Heard

JITTER = 0.5
"""Seconds by which two hearings of one word may differ in time."""

SPREAD_JITTER = 3.0
"""The same for words whose time was reckoned from their place in the text."""

_SOLID = 3
"""So many agreed words in a row are as good as any more."""

_EDGE = 0.15
"""Seconds. A word so near the cut end of its window may be half a word; it is not put back."""

_SAME_TIME = 0.25
"""Share of a word's length that must be in another's for both to be said at once."""


def reconcile(
    before: Sequence[Heard], after: Sequence[Heard], start: float, end: float
) -> tuple[list[Heard], list[Heard]]:
    """What is kept of each of two windows that both heard ``start`` to ``end`` (recording time).

    Args:
        before: all that the earlier window heard; it ends at ``end``.
        after: all that the later one heard; it begins at ``start``.
        start: where the overlap begins, in seconds.
        end: where it ends.
    """
    slack = JITTER if all(word.timed for word in (*before, *after)) else SPREAD_JITTER
    first = next((k for k, word in enumerate(before) if word.end > start - slack), len(before))
    last = next((k for k, word in enumerate(after) if word.start >= end + slack), len(after))
    left, right = before[first:], after[:last]
    if not left or not right:
        return list(before), list(after)
    pairs = _agreed(left, right)
    if pairs:
        kept_left, kept_right = _seam_at_word(left, right, pairs, start, end)
    else:
        kept_left, kept_right = _seam_at_time(left, right, start, end)
    missed = [
        left[i]
        for i in _unanswered(pairs, len(left), len(right))
        if i not in kept_left and left[i].end < end - _EDGE
    ]
    missed += [
        right[j]
        for j in _unanswered([(j, i) for i, j in pairs], len(right), len(left))
        if j not in kept_right and right[j].start > start + _EDGE
    ]
    head = [*before[:first], *(left[k] for k in sorted(kept_left))]
    tail = [*(right[k] for k in sorted(kept_right)), *after[last:]]
    for word in missed:
        if word.timed:
            _fill(head, tail, word)
    return head, tail


def _agreed(left: Sequence[Heard], right: Sequence[Heard]) -> list[tuple[int, int]]:
    """Pairs of the same word at about the same time, in order on both sides: the most there are.

    The longest common subsequence, weighted by nearness in time, so that of "no, no, no" each
    finds its own.
    """
    rows, columns = len(left), len(right)
    names_left, names_right = ([folded(w.text) for w in side] for side in (left, right))
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    gains: dict[tuple[int, int], float] = {}
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            top = max(best[i + 1][j], best[i][j + 1])
            limit = JITTER if left[i].timed and right[j].timed else SPREAD_JITTER
            apart = abs(left[i].middle - right[j].middle)
            if names_left[i] and names_left[i] == names_right[j] and apart <= limit:
                gains[i, j] = 1.0 - 0.5 * apart / limit
                top = max(top, best[i + 1][j + 1] + gains[i, j])
            best[i][j] = top
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < rows and j < columns:
        gain = gains.get((i, j))
        if gain is not None and best[i][j] == best[i + 1][j + 1] + gain:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _seam_at_word(
    left: Sequence[Heard],
    right: Sequence[Heard],
    pairs: Sequence[tuple[int, int]],
    start: float,
    end: float,
) -> tuple[set[int], set[int]]:
    """Keep the left up to an agreed word and the right from there on: indices of both.

    Of the agreed words the one among most agreed neighbours counts, then the one nearest to the
    middle, where neither window is near its edge. The word itself is taken from the window whose
    edge is further away.
    """
    known = set(pairs)

    def neighbours(pair: tuple[int, int]) -> int:
        count = 1
        for step in (-1, 1):
            i, j = pair[0] + step, pair[1] + step
            while (i, j) in known and count < _SOLID:
                count += 1
                i, j = i + step, j + step
        return count

    def merit(pair: tuple[int, int]) -> tuple[int, float]:
        when = (left[pair[0]].middle + right[pair[1]].middle) / 2
        return neighbours(pair), -abs(when - (start + end) / 2)

    i, j = max(pairs, key=merit)
    from_left = end - left[i].middle >= right[j].middle - start
    return set(range(i + from_left)), set(range(j + from_left, len(right)))


def _seam_at_time(
    left: Sequence[Heard], right: Sequence[Heard], start: float, end: float
) -> tuple[set[int], set[int]]:
    """Keep the left before an instant and the right after it: indices of both.

    The instant cuts through the fewest words, then drops the fewest, then is nearest the middle.
    """
    middle = (start + end) / 2
    edges = sorted({middle, *(t for word in (*left, *right) for t in (word.start, word.end))})
    instants = edges + [(a + b) / 2 for a, b in pairwise(edges)]

    def cost(instant: float) -> tuple[int, int, float]:
        through = sum(word.start < instant < word.end for word in (*left, *right))
        dropped = sum(word.middle >= instant for word in left)
        dropped += sum(word.middle < instant for word in right)
        return through, dropped, abs(instant - middle)

    seam = min(instants, key=cost)
    return (
        {k for k, word in enumerate(left) if word.middle < seam},
        {k for k, word in enumerate(right) if word.middle >= seam},
    )


def _unanswered(pairs: Sequence[tuple[int, int]], mine: int, theirs: int) -> list[int]:
    """My words, between agreed ones, that the other side has fewer words for.

    Where it has as many it heard the same speech as other words, which are no omission.
    """
    found: list[int] = []
    for (i, j), (next_i, next_j) in pairwise([(-1, -1), *pairs, (mine, theirs)]):
        if next_i - i > next_j - j:
            found += range(i + 1, next_i)
    return found


def _fill(head: list[Heard], tail: list[Heard], word: Heard) -> None:
    """Put back a word that was dropped, where nothing kept was said at its time.

    ``head`` and ``tail`` are what is kept so far, in order; the word goes into one of them.
    """
    name = folded(word.text)
    for kept in (*head, *tail):
        shared = min(kept.end, word.end) - max(kept.start, word.start)
        if shared > _SAME_TIME * min(word.end - word.start, kept.end - kept.start):
            return
        if abs(kept.middle - word.middle) <= JITTER and folded(kept.text) == name:
            return
    side = head if not tail or word.middle < tail[0].middle else tail
    place = next((k for k, kept in enumerate(side) if kept.middle > word.middle), len(side))
    side.insert(place, word)
