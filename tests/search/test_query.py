"""The language of searches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.errors import BadQuery
from hansard.search.query import Filters, Query, Unit, Wish, moment, parse


def test_all_of_it() -> None:
    found = parse(
        'Meetings "new roof" bud* this OR "that one" -draft -"old roof" '
        "kind:hearing -tag:x speaker:\u201cAnna K\u201d after:2026-01 before:2026-02-03 mood:>0.25"
    )
    assert found.clauses == (
        (Unit("Meetings", (("meet",), ("meetings",))),),
        (Unit('"new roof"', (("new", "roof"),)),),
        (Unit("bud*", (("bud*",),)),),
        (Unit("this", (("this",),)), Unit('"that one"', (("that", "one"),))),
    )
    assert found.without == (
        Unit("draft", (("draft",),)),
        Unit('"old roof"', (("old", "roof"),)),
    )
    assert found.filters == Filters(
        (Wish("kind", "hearing"), Wish("tag", "x", without=True), Wish("speaker", "Anna K")),
        after=1767225600.0,
        before=1770076800.0,
        calmest=0.25,
    )
    assert found.said == 'Meetings "new roof" bud* this "that one"'


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ('a "b c', 4, "where the phrase ends"),
        ("OR a", 1, "Quote it"),
        ("a OR", 3, "Quote it"),
        ("a OR OR b", 6, "Quote it"),
        ("a OR -b", 3, "behind"),
        ("a OR kind:b", 3, "narrow"),
        ("speeker:anna", 1, "Did you mean speaker:"),
        ("x qwerty:anna", 3, "There are kind, status"),
        ("a kind: b", 3, "kind:hearing"),
        ("kind:*", 1, "kind:hearing"),
        ('kind:""', 1, "kind:hearing"),
        ("after:soon", 1, "2026-01-31"),
        ("after:2026-13", 1, "2026-01-31"),
        ("-before:2026", 1, "other end"),
        ("mood:sad", 1, "mood:negative"),
        ("speaker:!", 1, "speaker:anna"),
        ("a*", 1, "2 letters"),
        ("x " * 33, 65, "Leave some out"),
        ('"' + "x " * 40 + '"', 1, "Shorten"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, where: int, hint: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse(text)
    assert f"at character {where} of the search" in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_query_has_an_end() -> None:
    with pytest.raises(BadQuery, match="1001 characters long"):
        parse("x" * 1001)


def test_what_only_looks_like_syntax() -> None:
    def shown(text: str) -> list[str]:
        return [unit.shown for unit in parse(text).units]

    assert shown("see http://example.org/a:b at 10:30") == [
        "see",
        "http://example.org/a:b",
        "at",
        "10:30",
    ]
    assert shown("well-known or, * - -- ()") == ["well-known", "or,"]
    assert parse("") == parse(" \n ").__class__("", (), (), Filters())
    assert parse('"OR"').clauses == ((Unit('"OR"', (("or",),)),),)


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_is_explained(text: str) -> None:
    try:
        found = parse(text)
    except BadQuery as error:
        wrong = error
    else:
        assert isinstance(found, Query)
        assert all(way and all(way) for unit in found.units for way in unit.ways)
        return
    assert wrong.hint
    assert wrong.status == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970", 0.0),
        ("1970-02", 31 * 86400.0),
        ("1970-01-02", 86400.0),
        ("1970-01-01T01:00", 3600.0),
        ("1970-01-01T01:00+01:00", 0.0),
        ("tomorrow", None),
        ("2026-02-30", None),
        ("0000", None),
    ],
)
def test_moments(text: str, expected: float | None) -> None:
    assert moment(text) == expected
