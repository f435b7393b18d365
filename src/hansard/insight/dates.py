"""Dates as people say them, counted from the day of the meeting. Pure.

``by Friday`` is the first Friday after the meeting, ``next Friday`` that of the following week,
``last Friday`` the one before; without a word, a sentence in the past tense looks back. A month or
a day without a year is the nearest. English thoroughly; German, French and Spanish the usual forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache

from hansard.insight import calendar
from hansard.insight.languages import vocabulary
from hansard.model import Value

LANGUAGES = ("de", "en", "es", "fr")


class Mention(Value, frozen=True):
    """A date in a sentence."""

    first: int
    """Position of its first letter in the text that was searched."""
    last: int
    value: str | None
    """ISO 8601, a month as ``2026-05``; ``None``: not to be resolved."""
    until: date | None = None
    """The last day that it can mean: what a deadline is."""
    vague: bool = False
    """A stretch like ``this week``: it limits a task, and is no date by itself."""


_WEEKDAYS = {
    "en": "monday tuesday wednesday thursday friday saturday sunday",
    "de": "montag dienstag mittwoch donnerstag freitag samstag sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
}
_MONTHS = {
    "en": "january february march april may june july august september october november december",
    "de": "januar februar märz april mai juni juli august september oktober november dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
}
_BY_DAYS = {
    "en": {"the day after tomorrow": 2, "the day before yesterday": -2, "tomorrow": 1, "today": 0,
           "tonight": 0, "this morning": 0, "this afternoon": 0, "this evening": 0,
           "yesterday": -1, "by the end of the day": 0, "end of day": 0, "end of the day": 0,
           "close of play": 0, "close of business": 0},
    "de": {"übermorgen": 2, "vorgestern": -2, "heute": 0, "gestern": -1, "morgen früh": 1,
           "morgen": 1},
    "fr": {"après-demain": 2, "après demain": 2, "avant-hier": -2, "demain": 1,
           "aujourd'hui": 0, "ce soir": 0, "hier": -1},
    "es": {"pasado mañana": 2, "anteayer": -2, "mañana": 1, "hoy": 0, "ayer": -1},
}  # fmt: skip
_PAST_WORDS = vocabulary(
    "was were had did met spoke came went got said told sent gave took saw found made paid "
    "blew fell rose began left lost held brought bought asked called visited agreed decided "
    "resolved delivered started ended happened arrived spent been war waren hatte hatten ging "
    "kam wurde wurden était étaient fue fueron estaba"
)
_NOT_PAST = re.compile(
    r"\b(?:will|going to|gonna|can|could|would|should|must|please|need|needs|let's|let us|have to|"
    r"has to|by|until|before|next|tomorrow|if|wird|werden|bis|avant|antes)\b|'ll\b"
)
_WILL = re.compile(r"'ll\b|\b(?:will|going to|gonna|let me|can|could|shall|please)\b")
_BEFORE_END = r"(?=\s*(?:$|[,.;:?!]|\b(?:and|or|but|at|if|then|because|so|when|to|for|we|i)\b))"


def find(text: str, held: date | None, language: str | None) -> list[Mention]:
    """Dates in a sentence, in order, none inside another.

    Args:
        text: as ``numbers.spoken`` writes it.
        held: the day that ``tomorrow`` is counted from; without it such dates have no value.
        language: English rules where there are none of its own.
    """
    past = _is_past(text)
    taken: list[Mention] = []
    for pattern, resolve in _rules(language if language in LANGUAGES else "en"):
        for found in pattern.finditer(text):
            if any(found.start() < one.last and one.first < found.end() for one in taken):
                continue
            value, until, vague = resolve(found, held, past)
            if value != "":
                taken.append(Mention(found.start(), found.end(), value, until, vague))
    return sorted(taken, key=lambda one: one.first)


def _is_past(text: str) -> bool:
    return not _NOT_PAST.search(text) and any(word in _PAST_WORDS for word in text.split())


_Resolved = tuple[str | None, date | None, bool]
"""Value, last day, vague. An empty value: no date after all."""
_Resolve = Callable[[re.Match[str], date | None, bool], _Resolved]
_Rule = tuple[re.Pattern[str], _Resolve]

_NONE: _Resolved = ("", None, False)


def _day(found: date | None) -> _Resolved:
    return (found.isoformat() if found else None), found, False


@lru_cache(maxsize=8)
def _rules(language: str) -> tuple[_Rule, ...]:
    months = {name: at for at, name in enumerate(_MONTHS[language].split(), start=1)}
    days = {name: at for at, name in enumerate(_WEEKDAYS[language].split())}
    make = {"en": _english, "de": _german, "fr": _french, "es": _spanish}[language]
    rules = [_iso(), *make(months, days), _relative(_BY_DAYS[language])]
    return tuple(rules)


def _iso() -> _Rule:
    def resolve(found: re.Match[str], _: date | None, __: bool) -> _Resolved:
        day = calendar.made(int(found[1]), int(found[2]), int(found[3]))
        return _day(day) if day else _NONE

    return re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b"), resolve


def _relative(names: dict[str, int]) -> _Rule:
    def resolve(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        value, until, _vague = _day(calendar.plus(held, names[found[0]]) if held else None)
        return value, until, names[found[0]] == 0

    longest = sorted(names, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b"), resolve


def _calendar_day(pattern: str, months: dict[str, int]) -> _Rule:
    """A rule whose groups are ``day``, ``month`` and perhaps ``year``."""

    def resolve(found: re.Match[str], held: date | None, past: bool) -> _Resolved:
        month, day = months[found["month"]], int(found["day"])
        if found.groupdict().get("year"):
            fixed = calendar.made(int(found["year"]), month, day)
            return _day(fixed) if fixed else _NONE
        if not calendar.made(2024, month, day):
            return _NONE
        return _day(calendar.nearest(held, month, day, "past" if past else "") if held else None)

    return re.compile(pattern), resolve


def _english(months: dict[str, int], days: dict[str, int]) -> Iterator[_Rule]:
    month, week = "|".join(months), "|".join(days)
    year = r"(?:(?: ,)? (?P<year>(?:19|20)\d\d)\b)?"
    lead = rf"\b(?:(?:{week}) ?,? )?"
    yield _calendar_day(
        rf"{lead}(?:the )?(?P<day>\d\d?)th (?:day )?(?:of )?(?P<month>{month})\b{year}", months
    )
    yield _calendar_day(rf"{lead}\b(?P<month>{month}) (?:the )?(?P<day>\d\d?)th\b{year}", months)
    yield _calendar_day(
        rf"{lead}\b(?P<month>{month}) (?P<day>[0-3]?\d)\b(?! (?:percent|%|people)){year}", months
    )
    yield _calendar_day(rf"{lead}\b(?P<day>[0-3]?\d) (?P<month>{month})\b{year}", months)
    yield (
        re.compile(
            rf"\b(?:{week}) ?,? the (\d\d?)th\b(?! floor)"
            rf"|\b(?:on|by|before|until|till|from|since|of) the (\d\d?)th\b{_BEFORE_END}"
            rf"|\b(?:for|after|than|make|to) the ([4-9]|[12]\d|3[01])th\b{_BEFORE_END}"
        ),
        _nth,
    )
    yield _english_nth_weekday(months, days)
    yield from _english_edges(months)
    yield _english_weeks_on(days)
    yield from _english_spans(days)
    yield from _english_soon()
    yield _english_weekdays(days)
    yield _english_stretches()
    yield _english_months(months)


def _english_nth_weekday(months: dict[str, int], days: dict[str, int]) -> _Rule:
    """``the last Sunday in June``."""

    def resolve(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        if not held:
            return None, None, False
        year, month = calendar.nearest_month(held, months[found[3]])
        return _day(calendar.nth_weekday(year, month, days[found[2]], found[1]))

    return (
        re.compile(rf"\b(last|[1-4]th) ({'|'.join(days)}) (?:in|of) ({'|'.join(months)})\b"),
        resolve,
    )


def _english_weeks_on(days: dict[str, int]) -> _Rule:
    """``a week on Friday``, ``Friday week``, ``a fortnight tomorrow``."""

    def resolve(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        if not held:
            return None, None, False
        more = 14 if "fortnight" in found[0] or found["count"] == "2" else 7
        name = found["day"] or found["alone"]
        if name in days:
            held = calendar.weekday(held, days[name], "coming") or held
        return _day(calendar.plus(held, more + (name == "tomorrow")))

    name = f"{'|'.join(days)}|tomorrow|today"
    return (
        re.compile(
            rf"\b(?P<count>a|2) (?:weeks?|fortnight) (?:on )?(?P<day>{name})\b"
            rf"|\b(?P<alone>{name}) (?:week|fortnight)\b"
        ),
        resolve,
    )


def _english_soon() -> Iterator[_Rule]:
    """``I'll ring them in the morning``, ``at the weekend``: what is meant depends on the tense."""

    def morning(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        before = found.string[: found.start()]
        if not _WILL.search(before) or re.search(r"(?:\d|o'clock|every day|early) $", before):
            return _NONE
        return _day(calendar.plus(held, 1) if held else None)

    yield re.compile(r"\bin the morning\b"), morning

    def weekend(_: re.Match[str], held: date | None, past: bool) -> _Resolved:
        if not held:
            return None, None, True
        sunday = calendar.plus(held, (-7 if past else 0) + 6 - held.weekday())
        return _day(sunday)[0], sunday, past

    yield re.compile(r"\b(?:at|over|on|by|before|after) the weekend\b"), weekend


def _nth(found: re.Match[str], held: date | None, past: bool) -> _Resolved:
    number = int(found[1] or found[2] or found[3])
    if not 1 <= number <= 31:
        return _NONE
    return _day(calendar.of_this_month(held, number, "past" if past else "") if held else None)


def _english_edges(months: dict[str, int]) -> Iterator[_Rule]:
    month = "|".join(months)

    def of_month(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        if found[3]:
            year, number = int(found[3]), months[found[2]]
        elif held:
            year, number = calendar.nearest_month(held, months[found[2]])
        else:
            return None, None, False
        return _edge(found[1], date(year, number, 1))

    yield (
        re.compile(
            rf"\b(end|beginning|start|middle|[1-4]th week) of (?:the )?({month})\b(?: (20\d\d))?"
        ),
        of_month,
    )

    def of_span(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        if not held:
            return None, None, False
        edge, step = found[1], {"next": 1, "last": -1}.get(found[2], 0)
        if found[3] == "week":
            monday = calendar.plus(held, 7 * step - held.weekday())
            day = calendar.plus(monday, 6 if edge == "end" else 0) if monday else None
            return _day(day)
        if found[3] == "month":
            first = calendar.months_on(held.replace(day=1), step)
            return _edge(edge, first) if first else _NONE
        if found[3] == "quarter":
            first = calendar.months_on(date(held.year, (held.month - 1) // 3 * 3 + 1, 1), 3 * step)
            last = calendar.months_on(first, 2) if first else None
            return _edge(edge, last if edge == "end" and last else first) if first else _NONE
        ends = calendar.made(held.year + step, 12 if edge == "end" else 1, 1)
        return _edge(edge, ends) if ends else _NONE

    yield (
        re.compile(
            r"\b(end|beginning|start) of (the|this|next|last)(?: (week|month|quarter|year))\b"
        ),
        of_span,
    )


def _edge(edge: str, first: date) -> _Resolved:
    """The end or the beginning of a month."""
    last = calendar.last_of_month(first.year, first.month)
    if edge.endswith("week"):
        number = min(7 * int(edge[0]), last)
    else:
        number = {"end": last, "middle": 15}.get(edge, 1)
    until = first.replace(day=number)
    if edge.endswith("week"):
        return f"{first.year:04}-{first.month:02}", until, False
    return _day(until)


def _english_weekdays(days: dict[str, int]) -> _Rule:
    week = "|".join(days)

    def resolve(found: re.Match[str], held: date | None, past: bool) -> _Resolved:
        word = found[1]
        if word in {"every", "each", "most", "only", "already", "a", "any", "another"}:
            return _NONE
        if not held:
            return None, None, False
        way = {"next": "next", "last": "past", "past": "past", "this": "this"}.get(word or "")
        if found[3]:
            way = "next"
        elif way == "this" and days[found[2]] <= held.weekday():
            way = "coming" if not past else "this"
        return _day(calendar.weekday(held, days[found[2]], way or ("past" if past else "coming")))

    return (
        re.compile(
            r"\b(?:(next|last|this|past|coming|every|each|most|only|already|a|any|another) )?"
            rf"({week})\b(?:( next week| of next week| week))?"
        ),
        resolve,
    )


_COUNTS = {"a": 1, "an": 1, "a couple of": 2, "couple of": 2}


def _english_spans(days: dict[str, int]) -> Iterator[_Rule]:
    week = "|".join(days)

    def later(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        begin = found.groupdict().get("from")
        if held and begin in days:
            held = calendar.weekday(held, days[begin or ""], "coming")
        return _on(held, found["count"], found["unit"], 1)

    def ago(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        value, until, _vague = _on(held, found["count"], found["unit"], -1)
        return value, until, found["unit"] != "day"

    count = r"(?P<count>\d{1,3}|an?|a couple of)"
    yield (
        re.compile(
            rf"\b(?<!time )(?<!times )(?<!once )(?<!twice )(?:in|within) {count} "
            r"(?P<unit>day|week|fortnight|month|year)s?\b(?!'| of| or)"
        ),
        later,
    )
    yield (
        re.compile(rf"\b{count} (?P<unit>day|week|month|year)s? from (?P<from>today|now|{week})\b"),
        later,
    )
    yield re.compile(rf"\b{count} (?P<unit>day|week|month|year)s? ago\b"), ago


def _english_stretches() -> _Rule:
    def resolve(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        step = {"next": 1, "last": -1}.get(found[1], 0)
        if not held:
            return None, None, True
        if found[2] == "weekend":
            sunday = calendar.plus(held, 7 * step + 6 - held.weekday())
            return _day(sunday)[0], sunday, True
        if found[2] == "week":
            sunday = calendar.plus(held, 7 * step + 6 - held.weekday())
            return (f"{sunday:%G-W%V}" if sunday else None), sunday, True
        if found[2] == "month":
            first = calendar.months_on(held.replace(day=1), step)
            value, until, _vague = _edge("end", first) if first else _NONE
            return (value[:7] if value else None), until, True
        ends = calendar.made(held.year + step, 12, 31)
        return (f"{ends.year:04}" if ends else None), ends, True

    return re.compile(r"\b(next|this|last) (week|weekend|month|year)\b(?!'s? )"), resolve


def _on(held: date | None, count: str, unit: str, way: int) -> _Resolved:
    """Some days, weeks, months or years on (1) or back (-1)."""
    number = (int(count) if count.isdigit() else _COUNTS[count]) * way
    if not held:
        return None, None, False
    if unit in {"month", "year"}:
        return _day(calendar.months_on(held, number * (12 if unit == "year" else 1)))
    return _day(calendar.plus(held, number * {"day": 1, "week": 7, "fortnight": 14}[unit]))


def _english_months(months: dict[str, int]) -> _Rule:
    def resolve(found: re.Match[str], held: date | None, past: bool) -> _Resolved:
        if found[3]:
            year, month = int(found[3]), months[found[2]]
        elif held:
            way = "past" if past or found[1] in {"since", "last"} else ""
            year, month = calendar.nearest_month(held, months[found[2]], way)
        else:
            return None, None, False
        first = date(year, month, 1)
        edge = "start" if found[1] in {"by", "before", "until", "till"} else "end"
        return f"{year:04}-{month:02}", _edge(edge, first)[1], False

    return (
        re.compile(
            r"\b(in|by|before|until|till|since|during|early|late|mid|next|last|this|for) "
            rf"({'|'.join(months)})\b(?! (?:be|have|not|i|we)\b)(?: ((?:19|20)\d\d))?"
        ),
        resolve,
    )


def _european(
    months: dict[str, int], days: dict[str, int], *, day: str, next_: str, last: str, ends: str
) -> Iterator[_Rule]:
    """The usual forms of German, French and Spanish.

    Args:
        months: name → number.
        days: name → number, from 0.
        day: the pattern between the number of a day and its month.
        next_: words that turn a weekday to the following week.
        last: words that turn it back.
        ends: the pattern of "end of" with the month, or nothing for this one, as its last group.
    """
    month, week = "|".join(months), "|".join(days)
    yield _calendar_day(
        rf"\b(?P<day>\d\d?)(?:th)?{day}(?P<month>{month})\b(?:(?: de| del)? (?P<year>20\d\d))?",
        months,
    )

    def end(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        if not held:
            return None, None, False
        named = found[1]
        if named in months:
            year, number = calendar.nearest_month(held, months[named])
            return _edge("end", date(year, number, 1))
        if "w" in named or "sem" in named:
            return _day(calendar.plus(held, 6 - held.weekday()))
        return _edge("end", held)

    yield re.compile(ends.replace("MONTH", month)), end

    def weekday(found: re.Match[str], held: date | None, past: bool) -> _Resolved:
        if not held:
            return None, None, False
        said = f"{found['before'] or ''}{found['after'] or ''}".strip()
        way = "past" if past else "coming"
        if said:
            way = "next" if re.fullmatch(next_, said) else "past"
        return _day(calendar.weekday(held, days[found["name"]], way))

    yield (
        re.compile(
            rf"\b(?:(?P<before>{next_}|{last}) )?(?P<name>{week})\b(?P<after> (?:{next_}|"
            rf"{last}))?\b"
        ),
        weekday,
    )


def _german(months: dict[str, int], days: dict[str, int]) -> Iterator[_Rule]:
    yield from _european(
        months, days, day=r" ?\.? ", next_="nächsten|nächste|nächster", last="letzten|vorigen",
        ends=r"\bende (?:der |des |dieser |dieses )?(MONTH|woche|monats?)\b",
    )  # fmt: skip
    yield from _spans(
        r"\bin (?P<count>\d{1,3}|einem|einer) (?P<unit>tag|woche|monat|jahr)(?:e?n|e)?\b",
        {"tag": "day", "woche": "week", "monat": "month", "jahr": "year"},
    )


def _french(months: dict[str, int], days: dict[str, int]) -> Iterator[_Rule]:
    yield from _european(
        months, days, day=" ", next_="prochain", last="dernier",
        ends=r"\bfin (?:de la |du |de |d')?(MONTH|semaine|mois)\b",
    )  # fmt: skip
    yield from _spans(
        r"\bdans (?P<count>\d{1,3}|un|une) (?P<unit>jour|semaine|mois|an)s?\b",
        {"jour": "day", "semaine": "week", "mois": "month", "an": "year"},
    )


def _spanish(months: dict[str, int], days: dict[str, int]) -> Iterator[_Rule]:
    yield from _european(
        months, days, day=" de ", next_="próximo|que viene", last="pasado",
        ends=r"\b(?:fin|finales|final) de (?:la |este )?(MONTH|semana|mes)\b",
    )  # fmt: skip
    yield from _spans(
        r"\b(?:en|dentro de) (?P<count>\d{1,3}|un|una) (?P<unit>día|semana|mes|año)(?:es|s)?\b",
        {"día": "day", "semana": "week", "mes": "month", "año": "year"},
    )


def _spans(pattern: str, units: dict[str, str]) -> Iterator[_Rule]:
    def resolve(found: re.Match[str], held: date | None, _: bool) -> _Resolved:
        count = found["count"] if found["count"].isdigit() else "a"
        return _on(held, count, units[found["unit"]], 1)

    yield re.compile(pattern), resolve
