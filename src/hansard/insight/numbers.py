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

_AMBIGUOUS = frozenset({"cent", "ciento", "un", "eins"})
"""Number words that stand alone for something else: ``pour cent``, an article."""


def spoken(text: str, language: str | None) -> str:
    """The text in lower case, words and marks parted by single spaces, numbers in digits.

    Ordinals end in ``th`` whatever the language and the number: ``21th``.
    """
    numerals = _NUMERALS.get(language or "", _EN)
    tokens = _TOKEN.findall(text.lower().replace("\u2019", "'"))
    if language == "de":
        tokens = [part for token in tokens for part in _german(token)]
    out: list[str] = []
    at = 0
    while at < len(tokens):
        written, after = _number(tokens, at, numerals)
        if after == at:
            out.append(tokens[at])
            at += 1
        else:
            out.append(written)
            at = after
    return " ".join(out)


def _number(tokens: list[str], at: int, numerals: _Numerals) -> tuple[str, int]:
    """The number that begins here, in digits, and where it ends; nothing: where it began."""
    begun = at
    digits = _DIGITS.match(tokens[at])
    total, current, last = 0.0, 0.0, 0
    if digits:
        value = _value(digits[1], comma=numerals.comma)
        if digits[2]:
            return f"{value:.0f}th", at + 1
        if at + 1 < len(tokens) and numerals.scales.get(tokens[at + 1], 0) >= 1000:
            current, at = value, at + 1
        else:
            return _written(value), at + 1
    elif tokens[at] in {"a", "half"} and numerals is _EN:
        begin = tokens[at : at + 3]
        if begin[:2] == ["half", "a"] and begin[-1] in {"million", "billion"}:
            return _written(numerals.scales[begin[-1]] / 2), at + 3
        if begin[0] == "a" and numerals.scales.get(begin[1] if len(begin) > 1 else "", 0) >= 100:
            current, at = 1, at + 1
        else:
            return "", begun
    while at < len(tokens):
        token = tokens[at]
        if token in numerals.units:
            step = numerals.units[token]
            if last and not _fits(current, last, step, numerals):
                break
            if step == 20 and current % 100 == 4 and numerals is _FR:
                current += 76  # quatre-vingt
                last = 80
            else:
                current, last = current + step, step or 1
        elif token in numerals.scales:
            scale = numerals.scales[token]
            if scale == 100:
                current = max(current, 1) * 100
            else:
                total, current = total + max(current, 1) * scale, 0
            last = scale
        elif token in numerals.ordinals and (not last or last >= 20):
            step = numerals.ordinals[token]
            if last and not _fits(current, last, step, numerals):
                break
            return f"{total + current + step:.0f}th", at + 1
        elif (
            token in numerals.joiners
            and last >= 20
            and _counts(tokens, at + 1, numerals)
            and (numerals is not _EN or last >= 100)
        ):
            pass
        elif token == "point" and last and numerals is _EN and _counts(tokens, at + 1, numerals):
            current += numerals.units.get(tokens[at + 1], 0) / 10
            at, last = at + 1, 1
        else:
            break
        at += 1
    alone = at == begun + 1 and tokens[begun] in _AMBIGUOUS
    if at == begun or alone:
        return "", begun
    return _written(total + current), at


def _fits(current: float, last: int, step: int, numerals: _Numerals) -> bool:
    """Whether a word goes on with the number: ``forty two`` does, ``four five`` does not."""
    if last >= 100:
        return step < 100 or last >= 1000
    if numerals is _FR:
        return last >= 20 and step < 20 or (last == 4 and step == 20)
    return last >= 20 and step < 10 and current % 10 == 0


def _counts(tokens: list[str], at: int, numerals: _Numerals) -> bool:
    return at < len(tokens) and (tokens[at] in numerals.units or tokens[at] in numerals.ordinals)


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
def _german(token: str) -> tuple[str, ...]:
    """``zweihundertfünfzig`` in its parts, ones behind tens: ``fünfundzwanzig`` is 20 and 5."""
    if token in _DE.units or token in _DE.scales or not token.isalpha():
        return (token,)
    parts: list[str] = []
    rest = token
    while rest:
        part = next((word for word in _DE_PARTS if rest.startswith(word)), None)
        if part is None:
            return (token,)
        parts.append("eins" if part == "ein" else part)
        rest = rest.removeprefix(part)
    for at in range(len(parts) - 2):
        if parts[at + 1] == "und" and _DE.units.get(parts[at + 2], 0) >= 20:
            parts[at : at + 3] = [parts[at + 2], parts[at]]
            break
    return tuple(parts) if len(parts) > 1 else (token,)


_DE_PARTS = sorted([*_DE.units, *_DE.scales, "und", "ein"], key=len, reverse=True)
