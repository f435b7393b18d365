"""Numbers as people say them → digits, so that one rule reads both. Pure.

``four thousand two hundred dollars``, ``$4,200`` and ``viertausendzweihundert Euro`` become ``4200
dollars``, ``$ 4200`` and ``4200 euro``; ``the twenty first`` becomes ``the 21st``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from hansard.model import Value

_TOKEN = re.compile(
    r"\d{4}-\d\d-\d\d|\d+(?:[.,]\d+)*(?:st|nd|rd|th|er|º|ª)?|[$€£¥%,.;:?!]"
    r"|[^\W\d_]+(?:'[^\W\d_]+)*"
)
_DIGITS = re.compile(r"(\d+(?:[.,]\d+)*)(st|nd|rd|th|er|º|ª)?$")


class _Numerals(Value, frozen=True):
    """How a language counts."""

    units: dict[str, int]
    """Words below a hundred."""
    scales: dict[str, int]
    ordinals: dict[str, int]
    joiners: frozenset[str]
    """Words between the parts of a number: ``one hundred and two``."""
    comma: bool
    """Whether ``,`` parts thousands, as in English, and not decimals."""


def _count(text: str, first: int = 0, step: int = 1) -> dict[str, int]:
    return {word: first + step * at for at, word in enumerate(text.split()) if word != "-"}


_EN = _Numerals(
    units=_count(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen"
    )
    | _count("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10),
    scales={"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9},
    ordinals=_count(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
        "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth",
        1,
    )
    | _count("twentieth thirtieth", 20, 10),
    joiners=frozenset({"and"}),
    comma=True,
)
_DE = _Numerals(
    units=_count(
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
        "fünfzehn sechzehn siebzehn achtzehn neunzehn"
    )
    | _count("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig", 20, 10),
    scales={
        "hundert": 100, "tausend": 1000, "million": 10**6, "millionen": 10**6,
        "milliarde": 10**9, "milliarden": 10**9,
    },
    ordinals=_count(
        "ersten zweiten dritten vierten fünften sechsten siebten achten neunten zehnten elften "
        "zwölften dreizehnten vierzehnten fünfzehnten sechzehnten siebzehnten achtzehnten "
        "neunzehnten zwanzigsten",
        1,
    )
    | {"dreißigsten": 30},
    joiners=frozenset({"und"}),
    comma=False,
)  # fmt: skip
_FR = _Numerals(
    units=_count(
        "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
        "seize"
    )
    | _count("vingt trente quarante cinquante soixante", 20, 10)
    | {"vingts": 20},
    scales={
        "cent": 100, "cents": 100, "mille": 1000, "million": 10**6, "millions": 10**6,
        "milliard": 10**9, "milliards": 10**9,
    },
    ordinals={"premier": 1},
    joiners=frozenset({"et"}),
    comma=False,
)  # fmt: skip
_ES = _Numerals(
    units=_count(
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
        "dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés "
        "veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"
    )
    | _count("treinta cuarenta cincuenta sesenta setenta ochenta noventa", 30, 10)
    | _count("doscientos trescientos cuatrocientos - seiscientos - ochocientos", 200, 100)
    | {"quinientos": 500, "setecientos": 700, "novecientos": 900},
    scales={"cien": 100, "ciento": 100, "mil": 1000, "millón": 10**6, "millones": 10**6},
    ordinals={"primero": 1},
    joiners=frozenset({"y"}),
    comma=False,
)
_NUMERALS = {"en": _EN, "de": _DE, "fr": _FR, "es": _ES}

_SHORT_SCALES = {"grand": 1000, "k": 1000, "dozen": 12}
"""Of English, only behind another number."""

_AMBIGUOUS = frozenset({"cent", "ciento", "un", "eins"})
"""Number words that stand alone for something else: ``pour cent``, an article."""


def spoken(text: str, language: str | None) -> str:
    """The text in lower case, words and marks parted by single spaces, numbers in digits.

    Ordinals end in ``th`` whatever the language and the number: ``21th``.
    """
    numerals = _NUMERALS.get(language or "", _EN)
    words = _TOKEN.findall(text.lower().replace("\u2019", "'"))
    if language == "de":
        words = [part for word in words for part in _german(word)]
    out: list[str] = []
    at = 0
    while at < len(words):
        written, after = _number(words, at, numerals)
        if after == at:
            out.append(words[at])
            at += 1
        else:
            out.append(written)
            at = after
    return " ".join(out)


def _number(words: list[str], at: int, numerals: _Numerals) -> tuple[str, int]:
    """The number that begins here, in digits, and where it ends; nothing: where it began."""
    written, after = _counted(words, at, numerals)
    if numerals is not _EN or after == at or written.endswith("th"):
        return written, after
    value = float(written)
    if words[after : after + 3] == ["and", "a", "half"] and value < 1000:
        value, after = value + 0.5, after + 3
    scale = {**_EN.scales, **_SHORT_SCALES}.get(words[after] if after < len(words) else "", 1)
    return _written(value * scale), after + (scale > 1)


def _counted(words: list[str], at: int, numerals: _Numerals) -> tuple[str, int]:
    """A number without what English may put behind it: ``and a half``, ``grand``."""
    digits = _DIGITS.match(words[at])
    if digits:
        value = _value(digits[1], comma=numerals.comma)
        if digits[2]:
            return f"{value:.0f}th", at + 1
        if at + 1 >= len(words) or numerals.scales.get(words[at + 1], 0) < 1000:
            return _written(value), at + 1
        return _summed(words, at + 1, _Sum(numerals, value), at)
    if numerals is _EN and words[at] in {"a", "half"}:
        return _indefinite(words, at)
    return _summed(words, at, _Sum(numerals), at)


def _indefinite(words: list[str], at: int) -> tuple[str, int]:
    """``half a million`` and ``a hundred``."""
    begin = words[at : at + 3]
    if begin[:2] == ["half", "a"] and begin[-1] in {"million", "billion", "dozen"}:
        return _written(({**_EN.scales, **_SHORT_SCALES})[begin[-1]] / 2), at + 3
    if begin == ["a", "couple", "of"] and words[at + 3 : at + 4] in (["hundred"], ["thousand"]):
        return _written(2 * _EN.scales[words[at + 3]]), at + 4
    if begin[:2] == ["a", "dozen"]:
        return "12", at + 2
    if begin[0] == "a" and len(begin) > 1 and begin[1] in _EN.scales:
        return _summed(words, at + 1, _Sum(_EN, 1.0), at)
    return "", at


def _summed(words: list[str], at: int, so_far: _Sum, begun: int) -> tuple[str, int]:
    """The sum of number words from ``at`` on, of a number that began at ``begun``."""
    first = at
    while at < len(words):
        ordinal = so_far.ordinal(words[at])
        if ordinal is not None:
            return f"{ordinal:.0f}th", at + 1
        if so_far.adds(words[at]):
            at += 1
        elif so_far.joins(words, at):
            at += 2
        else:
            break
    alone = at == first + 1 == begun + 1 and words[begun] in _AMBIGUOUS
    if at == first or alone:
        return "", begun
    return _written(so_far.value), at


class _Sum:
    """A number as its words come."""

    def __init__(self, numerals: _Numerals, current: float = 0.0) -> None:
        self._numerals = numerals
        self._total = 0.0
        self._current = current
        """Below the next thousand."""
        self._last = 0
        """The size of the last word; 0: none yet."""

    @property
    def value(self) -> float:
        """The number so far."""
        return self._total + self._current

    def ordinal(self, word: str) -> float | None:
        """What it is if this word ends it: ``twenty`` and ``first``."""
        step = self._numerals.ordinals.get(word)
        if step is None or (self._last and not self._fits(step)):
            return None
        return self.value + step

    def adds(self, word: str) -> bool:
        """Take a word that goes on with it, if it does."""
        step = self._numerals.units.get(word)
        if step is not None:
            if self._last and not self._fits(step):
                return False
            if step == 20 and self._numerals is _FR and self._current % 100 == 4:
                self._current += 76  # quatre-vingt
                self._last = 80
            else:
                self._current += step
                self._last = step or 1
            return True
        scale = self._numerals.scales.get(word)
        if scale is None:
            return False
        if scale == 100:
            self._current = max(self._current, 1) * 100
        else:
            self._total += max(self._current, 1) * scale
            self._current = 0
        self._last = scale
        return True

    def joins(self, words: list[str], at: int) -> bool:
        """Take two words of which the first only joins: ``and twelve``, ``point five``."""
        if not self._last or not _counts(words, at + 1, self._numerals):
            return False
        if words[at] in self._numerals.joiners:
            least = 100 if self._numerals is _EN else 20
            return self._last >= least and self.adds(words[at + 1])
        if words[at] == "point" and self._numerals is _EN:
            self._current += self._numerals.units[words[at + 1]] / 10
            self._last = 1
            return True
        return False

    def _fits(self, step: int) -> bool:
        """Whether a word goes on with it: in ``forty two`` it does, in ``four five`` not."""
        if self._last >= 100:
            return step < 100 or self._last >= 1000
        if self._numerals is _FR:
            return (self._last >= 20 and step < 20) or (self._last == 4 and step == 20)
        return self._last >= 20 and step < 10 and self._current % 10 == 0


def _counts(words: list[str], at: int, numerals: _Numerals) -> bool:
    return at < len(words) and words[at] in numerals.units


def _value(digits: str, *, comma: bool) -> float:
    """``4,200`` and ``4.5`` in English, ``4.200`` and ``4,5`` in most of Europe."""
    part, decimal = (",", ".") if comma else (".", ",")
    groups = digits.split(part)
    if len(groups) > 1 and all(len(group) == 3 for group in groups[1:-1]):
        tail = groups[-1].split(decimal)[0]
        if len(tail) == 3:
            digits = digits.replace(part, "")
    digits = digits.replace(decimal, ".").replace(",", ".")
    whole, _, rest = digits.partition(".")
    return float(f"{whole}.{rest.replace('.', '') or 0}"[:30])


def _written(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.4f}".rstrip("0")


@lru_cache(maxsize=4096)
def _german(word: str) -> tuple[str, ...]:
    """``zweihundertfünfzig`` in its parts, ones behind tens: ``fünfundzwanzig`` is 20 and 5."""
    if word in _DE.units or word in _DE.scales or not word.isalpha():
        return (word,)
    parts: list[str] = []
    rest = word
    while rest:
        part = next((known for known in _DE_PARTS if rest.startswith(known)), None)
        if part is None:
            return (word,)
        parts.append("eins" if part == "ein" else part)
        rest = rest.removeprefix(part)
    for at in range(len(parts) - 2):
        if parts[at + 1] == "und" and _DE.units.get(parts[at + 2], 0) >= 20:
            parts[at : at + 3] = [parts[at + 2], parts[at]]
            break
    return tuple(parts) if len(parts) > 1 else (word,)


_DE_PARTS = sorted([*_DE.units, *_DE.scales, "und", "ein"], key=len, reverse=True)
