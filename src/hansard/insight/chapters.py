"""Chapters: where talk turns to something else, by the words that are used. Pure.

The cut that makes the text likeliest if each chapter has words of its own (Utiyama & Isahara
2001, ACL), found by dynamic programming over blocks of some sentences, and helped where people
say that they turn to the next point (as Galley et al. 2003 do). Titles are the phrases that a
chapter has and others lack. A chapter is bounded in length, so that time grows with the length of
the recording only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from hansard.insight import phrases
from hansard.insight.findings import Chapter, Chapters, Occasion
from hansard.insight.languages import Stems, words
from hansard.insight.sentences import Sentence, language_of, split
from hansard.model import Segment

BLOCK_WORDS = 15
"""Words of a block: where a chapter may begin is known to within so much."""

MOST_BLOCKS = 4000
"""Blocks of a recording: in longer ones, from some seven hours on, they have more words."""

LONGEST = 3600
"""Words of the longest chapter: some 25 minutes of talk."""

SHORTEST = 60
"""Words of the shortest chapter."""

PRICE = 1.6
"""What a chapter costs, in the logarithm of the number of blocks (Utiyama & Isahara: 1 for
written text; talk is wordier, and 1.6 to 2.2 all gave the same on the written meetings)."""

CUE = 6.0
"""What it is worth, in nats, that somebody says "the next point"."""

PAUSE = 4.0
"""Seconds of silence that are worth half as much."""

_CUES = {
    "en": re.compile(
        r"^(?:\S+ ){0,3}?(?:next(?: up| thing| one| point| item| topic| question)?\b(?! (?:week|"
        r"month|year|to|time|\w+day)\b)|let's (?:turn|move|begin|start|go on|continue)\b|"
        r"let us (?:turn|move|begin|start)\b|moving on\b|turning to\b|"
        r"(?:the )?(?:first|second|third|fourth|fifth|last|final|next)"
        r" (?:point|item|thing|topic|one|question|up|on the list|on the agenda|is)\b|"
        r"first on\b|(?:secondly|thirdly|lastly|finally)\b|one (?:more|last|other) (?:thing|"
        r"point)\b|"
        r"another (?:thing|point|topic)\b|that (?:leaves|brings us)\b|(?:that is|"
        r"that's) all (?:for|on)\b|"
        r"on to\b|(?:second|third|last) (?:from me|\w+$)|then we (?:start|begin|move|come) )"
    ),
    "de": re.compile(
        r"^(?:\S+ ){0,3}?(?:als nächstes|nächster punkt|kommen wir zu|der (?:erste|zweite|dritte|"
        r"nächste|letzte) punkt|weiter mit|zum schluss|wir (?:fangen|beginnen) .*\ban$|punkt \S+$)"
    ),
    "fr": re.compile(
        r"^(?:\S+ ){0,3}?(?:passons à|point suivant|le (?:premier|deuxième|dernier) point|"
        r"commençons par|pour finir|ensuite la|ensuite le)\b"
    ),
    "es": re.compile(
        r"^(?:\S+ ){0,3}?(?:pasamos a|pasemos a|siguiente punto|el (?:primer|segundo|último) punto|"
        r"empezamos con|para terminar|por último)\b"
    ),
}


def find(segments: Sequence[Segment], occasion: Occasion, *, price: float = PRICE) -> Chapters:
    """The chapters of a recording: in order, leaving nothing out; none of an empty one."""
    sentences = split(segments)
    if not sentences:
        return Chapters()
    language, _ = language_of(sentences, occasion.language)
    stems = Stems(language)
    said = [stems.of(sentence.words) for sentence in sentences]
    begins = boundaries(sentences, said, language, price=price)
    spans = list(zip(begins, [*begins[1:], len(sentences)], strict=True))
    names = [word for person in occasion.people for word in words(person.name)]
    titles = phrases.titles(sentences, spans, language, names)
    firsts = [sentences[begin].segments[0] for begin in begins]
    firsts[0] = 0
    made = []
    for number, (first, (title, named)) in enumerate(zip(firsts, titles, strict=True)):
        last = firsts[number + 1] - 1 if number + 1 < len(firsts) else len(segments) - 1
        if last < first:
            continue  # both begin in one segment
        part = segments[first : last + 1]
        end = max(segment.end for segment in part)
        made.append(Chapter(title, first, last, part[0].start, end, named))
    return Chapters(tuple(made))


def boundaries(
    sentences: Sequence[Sentence],
    said: Sequence[Sequence[str]],
    language: str | None,
    *,
    price: float = PRICE,
) -> list[int]:
    """Positions of the sentences that begin a chapter; the first is 0.

    Args:
        sentences: all of them.
        said: the stems of each.
        language: for what people say when they turn to something else.
        price: what a chapter costs: more makes fewer.
    """
    begins = _blocks(sentences, language)
    blocks = [
        [stem for stems in said[begin:end] for stem in stems]
        for begin, end in zip(begins, [*begins[1:], len(sentences)], strict=True)
    ]
    lengths = [
        sum(len(sentence.words) for sentence in sentences[begin:end])
        for begin, end in zip(begins, [*begins[1:], len(sentences)], strict=True)
    ]
    gains = [0.0] + [
        _gain(sentences[begin - 1], sentences[begin], language) for begin in begins[1:]
    ]
    return [begins[block] for block in _cheapest(blocks, lengths, gains, price)]


def _blocks(sentences: Sequence[Sentence], language: str | None) -> list[int]:
    """Where blocks begin: at a turn to something else, or when there are words enough."""
    begins = [0]
    count = 0
    enough = max(BLOCK_WORDS, sum(len(sentence.words) for sentence in sentences) // MOST_BLOCKS)
    for at, sentence in enumerate(sentences):
        cue = at and _cued(sentence, language)
        if at and (cue or count >= enough):
            begins.append(at)
            count = 0
        count += len(sentence.words)
    return begins


def _cued(sentence: Sentence, language: str | None) -> bool:
    pattern = _CUES.get(language or "")
    return pattern is not None and bool(pattern.search(" ".join(sentence.words)))


def _gain(before: Sentence, after: Sentence, language: str | None) -> float:
    gain = CUE if _cued(after, language) else 0.0
    if after.start - before.end >= PAUSE:
        gain += CUE / 2
    return gain


def _cheapest(
    blocks: Sequence[Sequence[str]], lengths: Sequence[int], gains: Sequence[float], price: float
) -> list[int]:
    """Blocks that begin a chapter in the cheapest division."""
    places = dict.fromkeys(stem for block in blocks for stem in block)
    number = {stem: at for at, stem in enumerate(places)}
    numbered = [[number[stem] for stem in block] for block in blocks]
    kinds = len(number) or 1
    each = price * math.log(max(sum(map(len, blocks)), 2))
    best = [0.0] + [math.inf] * len(blocks)
    back = [0] * (len(blocks) + 1)
    logs = [0.0] + [math.log(number) for number in range(1, kinds + sum(map(len, blocks)) + 3)]
    # A word that a chapter has f times is (f + 1) of (n + kinds) there (Laplace); once more gains:
    gained = [
        (times + 1) * logs[times + 2] - times * logs[times + 1] for times in range(len(logs) - 2)
    ]
    for begin in range(len(blocks)):
        if best[begin] == math.inf:
            continue
        base = best[begin] + each - gains[begin]
        counts = [0] * kinds
        total, length, likely = 0, 0, 0.0
        for end in range(begin, len(blocks)):
            for stem in numbered[end]:
                likely += gained[counts[stem]]
                counts[stem] += 1
            total += len(numbered[end])
            length += lengths[end]
            if length > LONGEST and end > begin:
                break
            cost = base + total * logs[total + kinds] - likely
            short = length < SHORTEST and not (begin == 0 and end == len(blocks) - 1)
            if short:
                cost += each
            if cost < best[end + 1]:
                best[end + 1], back[end + 1] = cost, begin
    begins = []
    at = len(blocks)
    while at > 0:
        at = back[at]
        begins.append(at)
    return begins[::-1]
