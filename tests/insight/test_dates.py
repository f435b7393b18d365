"""Dates and numbers as people say them."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.insight import calendar, dates, figures
from hansard.insight.languages import vocabulary
from hansard.insight.numbers import spoken

TUESDAY = date(2026, 3, 10)


@pytest.mark.parametrize(
    ("text", "language", "written"),
    [
        ("four hundred thousand dollars", "en", "400000 dollars"),
        ("one hundred and twelve thousand", "en", "112000"),
        ("$4,200 a month", "en", "$ 4200 a month"),
        ("four point five million", "en", "4500000"),
        ("half a million", "en", "500000"),
        ("twenty-first of May", "en", "21th of may"),
        ("forty two and a half", "en", "42.5"),
        ("two and a half grand", "en", "2500"),
        ("five k", "en", "5000"),
        ("a couple of hundred", "en", "200"),
        ("two dozen eggs", "en", "24 eggs"),
        ("a grand piano", "en", "a grand piano"),
        ("two and three", "en", "2 and 3"),
        ("a week", "en", "a week"),
        ("zweihundertfünfzig Euro", "de", "250 euro"),
        ("fünfundzwanzig", "de", "25"),
        ("4.500,50 Euro", "de", "4500.5 euro"),
        ("und zwei", "de", "und 2"),
        ("deux cent mille", "fr", "200000"),
        ("quatre-vingt-dix", "fr", "90"),
        ("quinze pour cent", "fr", "15 pour cent"),
        ("treinta y cinco", "es", "35"),
        ("el veinte por ciento", "es", "el 20 por ciento"),
    ],
)
def test_numbers_become_digits(text, language, written) -> None:
    assert spoken(text, language) == written


@given(st.integers(0, 999_999_999), st.sampled_from(("en", "de", "fr", "es")))
def test_digits_stay_what_they_are(number, language) -> None:
    assert spoken(f"about {number} things", language) == f"about {number} things"
    mark = "," if language == "en" else "."
    assert spoken(f"{number:,}".replace(",", mark), language) == str(number)


@given(st.integers(1, 999_999))
def test_english_number_words_are_read_back(number) -> None:
    import minutes

    assert spoken(minutes._spelled(number), "en") == str(number)


@given(st.text(max_size=200), st.sampled_from(("en", "de", "fr", "es", None)))
def test_any_text_can_be_spoken(text, language) -> None:
    again = spoken(text, language)
    assert again == " ".join(again.split())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("by Friday", "2026-03-13"),
        ("on Tuesday", "2026-03-17"),
        ("next Wednesday", "2026-03-18"),
        ("this Thursday", "2026-03-12"),
        ("last Monday", "2026-03-09"),
        ("Friday next week", "2026-03-20"),
        ("I met them on Friday", "2026-03-06"),
        ("I will meet them on Friday", "2026-03-13"),
        ("tomorrow", "2026-03-11"),
        ("the day after tomorrow", "2026-03-12"),
        ("yesterday", "2026-03-09"),
        ("in two weeks", "2026-03-24"),
        ("within a fortnight", "2026-03-24"),
        ("two weeks from today", "2026-03-24"),
        ("a week from Friday", "2026-03-20"),
        ("three days ago", "2026-03-07"),
        ("in a month", "2026-04-10"),
        ("by the end of the week", "2026-03-15"),
        ("at the end of next month", "2026-04-30"),
        ("before the end of the year", "2026-12-31"),
        ("at the end of the quarter", "2026-03-31"),
        ("the end of February", "2026-02-28"),
        ("March 3rd", "2026-03-03"),
        ("the third of March", "2026-03-03"),
        ("the twenty ninth of February 2028", "2028-02-29"),
        ("December 24", "2025-12-24"),
        ("Thursday the second of April", "2026-04-02"),
        ("on the fifteenth.", "2026-03-15"),
        ("by the first", "2026-04-01"),
        ("on 2026-05-01", "2026-05-01"),
        ("in September 2027", "2027-09"),
        ("in the first week of July", "2026-07"),
        ("since August", "2025-08"),
        ("I'll ring them in the morning", "2026-03-11"),
        ("we'll paint it at the weekend", "2026-03-15"),
        ("a week on Friday", "2026-03-20"),
        ("Friday week", "2026-03-20"),
        ("a week tomorrow", "2026-03-18"),
        ("the last Sunday in June", "2026-06-28"),
        ("the second Monday of May", "2026-05-11"),
        ("it is planned for the fourteenth", "2026-03-14"),
    ],
)
def test_dates_are_counted_from_the_day_of_the_meeting(text, value) -> None:
    (mention,) = dates.find(spoken(text, "en"), TUESDAY, "en")
    assert mention.value == value


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("bis Freitag", "de", "2026-03-13"),
        ("am 20. Juni", "de", "2026-06-20"),
        ("übermorgen", "de", "2026-03-12"),
        ("Ende des Monats", "de", "2026-03-31"),
        ("in zwei Wochen", "de", "2026-03-24"),
        ("vendredi prochain", "fr", "2026-03-20"),
        ("le 1er avril", "fr", "2026-04-01"),
        ("dans trois jours", "fr", "2026-03-13"),
        ("el 15 de junio", "es", "2026-06-15"),
        ("pasado mañana", "es", "2026-03-12"),
    ],
)
def test_dates_of_other_languages(text, language, value) -> None:
    (mention,) = dates.find(spoken(text, language), TUESDAY, language)
    assert mention.value == value


@pytest.mark.parametrize(
    "text",
    [
        "every Monday",
        "we lose less on a Sunday",
        "it opens at nine in the morning",
        "he is tired in the morning",
        "back for the third time",
        "on the second floor",
        "we may march on",
        "on the first day of the trial",
        "the 31st of February",
        "third time in two weeks",
        "a second thought",
    ],
)
def test_what_only_looks_like_a_date_is_none(text) -> None:
    assert dates.find(spoken(text, "en"), TUESDAY, "en") == []


def test_a_stretch_limits_but_is_no_date() -> None:
    (mention,) = dates.find("this week", TUESDAY, "en")
    assert mention.vague
    assert mention.until == date(2026, 3, 15)


def test_without_a_day_only_whole_dates_have_a_value() -> None:
    found = dates.find("on friday , the 3th of may , or on may 4th , 2027", None, "en")
    assert [mention.value for mention in found] == [None, "2027-05-04"]


_PIECES = sorted(
    vocabulary(
        "by on the 3th 31th 40th of may february next last friday in 2 999 weeks years ago end "
        "week tomorrow , . from now am 30 juni bis ende le 1 mayo de"
    )
)


@given(
    st.lists(
        st.sampled_from(_PIECES),
        max_size=12,
    ).map(" ".join),
    st.dates(date(1000, 1, 1), date(9000, 12, 31)) | st.none(),
    st.sampled_from(("en", "de", "fr", "es", None)),
)
def test_mentions_are_in_order_and_apart(text, held, language) -> None:
    found = dates.find(text, held, language)
    for before, after in pairwise(found):
        assert before.last <= after.first
    for mention in found:
        assert mention.first < mention.last
        assert mention.value != ""


@pytest.mark.parametrize("held", [None, float("inf"), -1e18, 1e18, float("nan")])
def test_a_meeting_may_have_been_held_at_no_time(held) -> None:
    assert calendar.day_of(held) is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("we spent about eighty thousand dollars", ["80000 dollars"]),
        ("£3,000.50 and 12 euros", ["3000.5 pounds", "12 euros"]),
        ("twelve per cent, or 12%", ["12 %", "12 %"]),
        ("three hundred and forty swimmers a day", ["340 swimmers"]),
        ("forty terabytes and nine kilos", ["40 terabytes", "9 kilos"]),
        ("it only carries eight hundred", ["800"]),
        ("three things, four people and no one", []),
        ("every forty minutes for six weeks", []),
        ("room 120 on line forty one", []),
        ("it was printed in 2019", []),
        ("in two thousand and nineteen", []),
    ],
)
def test_figures(text, values) -> None:
    assert [one.value for one in figures.find(spoken(text, "en"), (), "en")] == values


def test_a_date_is_no_figure() -> None:
    text = spoken("on May 30 we sold thirty tickets", "en")
    taken = tuple((one.first, one.last) for one in dates.find(text, TUESDAY, "en"))
    assert [one.value for one in figures.find(text, taken, "en")] == ["30 tickets"]
