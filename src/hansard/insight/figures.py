"""Figures that were named: money, shares, and how many of what. Pure.

Not figures: times and durations (``dates`` has those), numbers that are names (``room 120``), and
small counts (``three things``), of which talk is full.
"""

from __future__ import annotations

import re

from hansard.insight.languages import stop_words, vocabulary
from hansard.model import Value

LANGUAGES = ("de", "en", "es", "fr")

SMALLEST_COUNT = 20
"""Counts below say little: ``four candidates``. Money, shares and measures count from 1."""

SMALLEST_BARE = 100
"""Numbers without a unit count from here."""

_CURRENCIES = {
    "$": "dollars", "€": "euros", "£": "pounds", "¥": "yen",
    "dollar": "dollars", "dollars": "dollars", "bucks": "dollars", "euro": "euros",
    "euros": "euros", "pound": "pounds", "pounds": "pounds", "quid": "pounds", "yen": "yen",
    "franc": "francs", "francs": "francs", "franken": "francs", "cents": "cents",
    "pesos": "pesos", "rupees": "rupees", "kronor": "kronor", "pfund": "pounds", "livres": "pounds",
    "dólares": "dollars",
}  # fmt: skip
_MEASURES = vocabulary(
    "kilo kilos kilogram kilograms kg gram grams ton tons tonne tonnes metre metres meter "
    "meters kilometre kilometres kilometer kilometers km mile miles litre litres liter liters "
    "gallons acre acres hectare hectares degrees megabytes gigabytes terabytes petabytes "
    "kilowatts megawatts watts volts tonnen quadratmeter kilometern mètres kilomètres tonnes "
    "toneladas metros kilómetros"
)
_TIMES = vocabulary(
    "second seconds minute minutes hour hours day days night nights week weeks weekend "
    "weekends month months quarter quarters year years decade decades century centuries am pm "
    "o'clock clock past times time percent year-old sekunden minuten stunden tage tagen "
    "wochen monate monaten jahre jahren uhr mal minutes heures jours semaines mois ans fois "
    "secondes minutos horas días semanas meses años veces degrees"
) - {"degrees"}
_NAMED = vocabulary(
    "number version room line page chapter item section bus flight act bill resolution "
    "article paragraph row ward line step phase slide question team floor track platform "
    "grade form nummer zimmer seite linie numéro salle page ligne número página"
)
_BEFORE_YEAR = vocabulary("in since")
_WHOM = vocabulary("them those these us you the our my your")

_SHARE = r"(?:percent|per cent|%|prozent|pour 100|pour cent|por 100|por ciento)"
_MONEY_WORD = "|".join(re.escape(word) for word in _CURRENCIES if word.isalpha())
_FIGURE = re.compile(
    r"(?:(?P<sign>[$€£¥]) )?(?<![\w.-])(?P<number>\d+(?:\.\d+)?)(?![\w-])"
    rf"(?: (?:(?P<share>{_SHARE})(?!\w)|(?:de |d')?(?P<money>{_MONEY_WORD}|[€£])(?!\w)"
    r"|(?P<noun>[^\W\d_]+(?:'[^\W\d_]+)*)(?: (?P<noun2>[^\W\d_]+))?))?"
)


class Figure(Value, frozen=True):
    """A number and what it counts."""

    first: int
    """Position of its first letter in the text that was searched."""
    last: int
    value: str
    """Like ``80000 dollars``, ``12.5 %``, ``340 swimmers``."""


def find(text: str, taken: tuple[tuple[int, int], ...], language: str | None) -> list[Figure]:
    """Figures in a sentence, in order.

    Args:
        text: as ``numbers.spoken`` writes it.
        taken: stretches of it that are dates.
        language: for its function words.
    """
    found = []
    stop = stop_words(language)
    for match in _FIGURE.finditer(text):
        start, end = match.span("number")
        if any(start < last and first < end for first, last in taken):
            continue
        value = _value(match, text[: match.start()].rsplit(" ", 2), stop)
        if value:
            found.append(Figure(match.start(), match.end(), value))
    return found


def _value(match: re.Match[str], before: list[str], stop: frozenset[str]) -> str | None:
    number = float(match["number"])
    if match["sign"] or match["money"]:
        return f"{match['number']} {_CURRENCIES[match['sign'] or match['money']]}"
    if match["share"]:
        return f"{match['number']} %"
    previous = before[-2] if len(before) > 1 and not before[-1] else before[-1]
    noun = match["noun"] or ""
    year = number in range(1900, 2101)
    named = previous in _NAMED or (previous in _BEFORE_YEAR and year)
    if named or noun in _TIMES or _is_number(previous):
        return None
    if noun == "of" and match["noun2"] in _WHOM and number >= SMALLEST_COUNT:
        return match["number"]
    if noun and noun not in stop:
        least = 0 if noun in _MEASURES else SMALLEST_COUNT
        return f"{match['number']} {noun}" if number >= least else None
    return match["number"] if number >= SMALLEST_BARE and not year else None


def _is_number(word: str) -> bool:
    return word.replace(".", "").isdigit()
