"""Who is named in what was said: people of the meeting, and what looks like a name. Pure.

Rules for tasks look for a person before a verb. ``tagged`` writes a sentence for them: its words in
lower case, names as ``@name``, and where the breaks are that marks show.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from hansard.insight.findings import Occasion
from hansard.insight.languages import vocabulary
from hansard.insight.sentences import Sentence
from hansard.model import Value

_GIVEN = vocabulary(
    "aaron adam adele adrian agnes ahmed aisha alan albert alex alexander alice alison amanda amir "
    "amy ana andrea andreas andrew andy angela anita anna anne anthony antonio arthur barbara "
    "beatrice ben benjamin bernard betty bob brian bruno camille carla carlos carmen carol "
    "caroline "
    "catherine charles charlotte chen chris christian christina christine christopher clara claire "
    "claudia colin cynthia daniel dave david deborah denise dennis diana diego dmitri dominic "
    "donna "
    "dorothy douglas edward elena elizabeth ellen emily emma eric erik esther eva evelyn fatima "
    "felix fernando florian francesca francis franz frederick gabriel gary george gerald giovanni "
    "gloria gordon greg gregory hamid hannah hans harold harry hassan heather heidi heinz helen "
    "helena henry hugo ian ibrahim ingrid irene isabel ivan jack jackie jacob james jan jane janet "
    "janice jason jean jeff jennifer jessica jim joan joanna joe john jonas jonathan jorge jose "
    "joseph joshua juan judith julia julian julie jürgen karen karin karl katherine kathleen kathy "
    "katja keith kelly kenneth kevin klaus kumar kyle larry laura lauren laurent lee lena leo "
    "leonard leslie linda lisa louis louise lucas lucy luis lukas luke maggie manuel marcus "
    "margaret "
    "maria marie mario marion markus martha martin mary mateo matt matthew maya megan melissa "
    "michael michelle miguel mike miriam mohamed monica monika nadia nancy natalie nathan nicholas "
    "nicolas nicole nina nora olga oliver olivia omar oscar pablo pamela patricia patrick paul "
    "paula pedro peter petra philip pierre pilar priya rachel ralph ravi rebecca renate ricardo "
    "richard robert roberta roger roland ronald rosalind rosa ruth ryan sabine sally samantha "
    "samuel sandra sanjay sara sarah scott sean sebastian sharon sheila simon sofia sophie stefan "
    "stephanie stephen steve steven stuart sunita susan susanne suzanne sylvia tanya teresa "
    "theresa "
    "thomas tim timothy tina tobias tom tomas tony ursula uwe valerie vera veronica victor "
    "victoria "
    "vikram vincent vivian walter wendy werner william wolfgang yolanda yuki yusuf yvonne zoe"
)
"""Given names that are hardly anything else, for transcripts without capitals."""

_ALSO_WORDS = vocabulary(
    "art bill chase chip dawn dean drew faith frank gene grace grant guy hope iris joy june mark "
    "may miles pat pierce ray rich rob rose sue summer violet will april august dan sommer"
)
"""Names that are words too: names only where a capital inside a sentence says so."""

_TITLES = vocabulary(
    "mr mrs ms miss dr prof professor frau herr madame monsieur señor señora doctor"
)

_NEVER = vocabulary(
    "i i'm i'll i've i'd monday tuesday wednesday thursday friday saturday sunday january february "
    "march april may june july august september october november december english german french "
    "spanish european american british mr mrs ms dr god internet"
)

_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’-][^\W\d_]+)*")  # noqa: RUF001  (as typed)
_IS = re.compile(r" (?:going|gonna|supposed|happy|down|on (?:the|it)|doing|to)\b", re.IGNORECASE)
"""After a name and ``'s``: a verb, and not what is somebody's."""


class Tagged(Value, frozen=True):
    """A sentence for rules."""

    text: str
    """Lower-case words parted by single spaces, each person one word that begins with ``@``."""
    breaks: tuple[int, ...]
    """Positions in the text at which a comma or the like stands before a word."""
    people: dict[str, str]
    """``@name`` → as it is written."""


class Names:
    """The people of a meeting."""

    def __init__(
        self, sentences: Sequence[Sentence], occasion: Occasion, *, capitals: bool
    ) -> None:
        """Learn the names.

        Args:
            sentences: all of them: a word that is also written small is no name.
            occasion: who is known.
            capitals: whether capital letters mean something: written text, and not German.
        """
        self._capitals = capitals
        self._known: dict[str, str] = {}
        self._only_surname: set[str] = set()
        for person in occasion.people:
            for word in _TOKEN.findall(person.name):
                small = word.lower()
                if len(small) > 1 and small not in _TITLES:
                    self._known.setdefault(small, person.name)
        if capitals:
            for name in _capitalised(sentences):
                if name.lower() not in self._known:
                    self._known[name.lower()] = name
                    self._only_surname.add(name.lower())

    def tagged(self, sentence: Sentence) -> Tagged:
        """The sentence with its people marked."""
        out: list[str] = []
        breaks: list[int] = []
        people: dict[str, str] = {}
        length, last, title = 0, 0, ""
        for number, found in enumerate(_TOKEN.finditer(sentence.text)):
            word = found[0].replace("\u2019", "'")
            small = word.lower()
            gap = sentence.text[last : found.start()]
            last = found.end()
            name = self._name(word, first=number == 0)
            is_ = ""
            if name is None and small.endswith("'s") and _IS.match(sentence.text, found.end()):
                # "Anna's going to": the name, and a verb; "Anna's report" is somebody's
                name = self._name(word[:-2], first=number == 0)
                is_ = " is" if name else ""
            if title and small.isalpha() and (name is None or small in self._only_surname):
                name = f"{title.capitalize()} {word.capitalize()}"
            title = small if small in _TITLES else ""
            if name and out and out[-1] in _TITLES:
                length -= len(out.pop()) + 1
            if name:
                small = f"@{name.lower().replace(' ', '_')}"
                people[small] = name
                if out and out[-1] == small:
                    continue  # "Mary Ann" is one person
                small += is_
            if re.search(r"[,;:()\u2013\u2014]", gap):
                breaks.append(length)
            out.append(small)
            length += len(small) + 1
        return Tagged(" ".join(out), tuple(breaks), people)

    def _name(self, word: str, *, first: bool) -> str | None:
        small = word.lower()
        if small in _ALSO_WORDS and not (self._capitals and word[0].isupper() and not first):
            return None
        if small in self._known:
            return self._known[small]
        return word.capitalize() if small in _GIVEN else None


def _capitalised(sentences: Iterable[Sentence]) -> list[str]:
    """Words with a capital inside a sentence that are nowhere written without one."""
    inside: Counter[str] = Counter()
    small: set[str] = set()
    for sentence in sentences:
        for number, found in enumerate(_TOKEN.finditer(sentence.text)):
            word = found[0]
            if word[0].islower():
                small.add(word)
            elif number and word[1:].islower() and len(word) > 2:
                inside[word] += 1
    return [
        word
        for word in inside
        if word.lower() not in small and word.lower() not in _NEVER and "'" not in word
    ]
