"""Phrases that say what a stretch of talk is about: of its own words, readable as a title. Pure.

Candidates are runs of words that say something, between those that do not (as RAKE does: Rose et
al. 2010), and better where they stand as nouns do: behind an article, or before another noun. A
phrase counts by how often a stretch has it and how few others do.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from hansard.insight.languages import Stems, stop_words, vocabulary
from hansard.insight.sentences import Sentence
from hansard.insight.wording import capital

MOST_WORDS = 3
"""Words of a phrase."""

PHRASES = 5
"""Phrases of a stretch."""

UNTITLED = "Untitled"

_BEFORE_NOUN = vocabulary(
    "the a an our your my his her their its this these those new every each of no all some "
    "der die das den dem des ein eine einen einem einer unser unsere mein meine im am zum zur "
    "vom le la les un une des du au aux notre votre nos mon ma l' d' el los las una unos "
    "nuestro nuestra del al il lo gli i un' het de een o os as um uma"
)
_AND = {"en": "and", "de": "und", "fr": "et", "es": "y", "it": "e", "nl": "en", "pt": "e"}

_WEAK = vocabulary(
    "time times lot lots bit kind sort stuff guys guy people everyone person idea problem "
    "problems question questions point points moment morning afternoon evening meeting agenda "
    "number numbers part parts item items sentence answer best better worse worst old own big "
    "small nice fine okay hand hands raise welcome joking wonderful funny helpful course fun "
    "happy sorry true exactly half quarter monday tuesday wednesday thursday friday saturday "
    "sunday january february march april may june july august september october november "
    "december one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty "
    "seventy eighty ninety hundred thousand million percent dollars euros pounds ago done "
    "talk talks talking told come comes coming start started begin began end ended ends ask "
    "asked asks call called agree agreed agrees decide decided believe remember promise "
    "promised send spend spent wait waiting worth different difference today later early late "
    "long short high low hard easy able first second third fourth fifth sixth seventh eighth "
    "ninth tenth year years week weeks month months day days work works worked ready new "
    "o'clock didn't won't euro prozent uhr abend zusammen"
)
"""Words that are about nothing in particular, and verbs that meetings are full of."""

_Phrase = tuple[str, ...]


def titles(
    sentences: Sequence[Sentence],
    spans: Sequence[tuple[int, int]],
    language: str | None,
    names: Iterable[str] = (),
) -> list[tuple[str, tuple[str, ...]]]:
    """A title and some phrases for each stretch of sentences, ``[first, last)``.

    Args:
        sentences: all of them.
        spans: the stretches.
        language: for its function words.
        names: of people, who are no topics, in lower case.
    """
    nothing = stop_words(language) | _WEAK | set(names)
    stems = Stems(language)
    noun = _nounness(sentences)
    found: list[Counter[_Phrase]] = []
    shown: dict[_Phrase, Counter[str]] = defaultdict(Counter)
    for first, last in spans:
        counts: Counter[_Phrase] = Counter()
        for sentence in sentences[first:last]:
            for words in _runs(sentence, nothing):
                key = tuple(stems.of(words))
                if len(key) == len(words):
                    counts[key] += 1
                    shown[key][" ".join(words)] += 1
        found.append(counts)
    spread = Counter(key for counts in found for key in counts)
    titled: set[str] = set()
    made = []
    for counts in found:
        worth = {
            key: _worth(key, times, math.log((1 + len(spans)) / spread[key]))
            * (0.15 + noun.get(_usual(shown[key]).split()[-1], 0.0))
            for key, times in counts.items()
        }
        ranked = [key for key, _ in sorted(worth.items(), key=lambda one: (-one[1], one[0]))]
        chosen = _apart(ranked)
        named = tuple(_usual(shown[key]) for key in chosen)
        title = _title(named, titled, language)
        titled.add(title)
        made.append((title, named))
    return made


def _nounness(sentences: Sequence[Sentence]) -> dict[str, float]:
    """How often a word stands where a noun does, 0 to 1, with a doubt for rare words."""
    seen: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    for sentence in sentences:
        before = ""
        for word in sentence.words:
            seen[word] += 1
            behind[word] += before in _BEFORE_NOUN
            before = word
    return {word: (behind[word] + 0.3) / (seen[word] + 1) for word in seen}


def _runs(sentence: Sentence, nothing: AbstractSet[str]) -> Iterator[_Phrase]:
    """Each stretch of one to three words between words that say nothing."""
    run: list[str] = []
    for word in (*sentence.words, ""):
        bare = word.removesuffix("'s")
        if len(bare) > 2 and bare not in nothing and not any(map(str.isdigit, bare)):
            run.append(bare)
            continue
        for begin in range(len(run)):
            for end in range(begin + 1, min(begin + MOST_WORDS, len(run)) + 1):
                yield tuple(run[begin:end])
        run = []


def _usual(shown: Counter[str]) -> str:
    """How a phrase is written most often."""
    return shown.most_common(1)[0][0]


def _worth(key: _Phrase, times: int, rarity: float) -> float:
    often = times - (0.5 if times == 1 else 0.0)  # what is said once, is said by chance
    return often * (rarity + 0.2) * (1 + 0.4 * (len(key) - 1))


def _apart(ranked: Sequence[_Phrase]) -> list[_Phrase]:
    """The best phrases of which none is in another."""
    chosen: list[_Phrase] = []
    for key in ranked:
        if all(not set(key) & set(other) for other in chosen):
            chosen.append(key)
        if len(chosen) == PHRASES:
            break
    return chosen


def _title(named: Sequence[str], taken: set[str], language: str | None) -> str:
    """``Swimming pool and filters``; one that is taken gets a third phrase."""
    for count in (2, 3, 4):
        some = list(named[:count])
        if not some:
            return UNTITLED
        joiner = _AND.get(language or "")
        if len(some) > 1 and joiner:
            title = f"{', '.join(some[:-1])} {joiner} {some[-1]}"
        else:
            title = ", ".join(some)
        title = capital(title)
        if title not in taken:
            return title
    return capital(", ".join(named))
