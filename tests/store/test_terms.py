"""Words as they are searched for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import snowballstemmer
from hypothesis import given
from hypothesis import strategies as st

from hansard.store import terms

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Don't the meetings of Anna\u2019s cost 1,000?", "en", "dont the meet of anna cost 1 000"),
        ("Meetings of a Café, running", None, "meet of a cafe run"),
        ("Meetings running", "de", "meetings running"),
        ("l'homme est ALLÉ à l\u2019école", "fr", "l homme est alle a l ecole"),
        ("Straße über_große", "de", "strasse uber grosse"),
        ("e\u0301cole ÉCOLE", "fr", "ecole ecole"),
        ("会議を hello", "ja", "会 議 を hello"),
        ("한국어를 हिन्दी שָׁלוֹם", None, "한국어를 हिन्दी שלום"),
        ("ﬁne \uff21\uff22\uff23 ½", "x", "fine abc 12"),
        ("\ue000x ' - _ \0 \u200b", None, "x"),
        ("a" * 70, None, "a" * 64),
    ],
)
def test_how_a_text_is_cut(text: str, language: str | None, expected: str) -> None:
    assert " ".join(terms.terms(text, language)) == expected


@given(st.text())
def test_terms_are_letters_and_digits_at_their_places(text: str) -> None:
    for language in (None, "x"):
        found = terms.terms(text, language)
        spans = terms.spans(text, language)
        assert [term for *_, term in spans] == found
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)
        joined = " ".join(found)
        assert joined.split(" ") == found or not found
        assert not set(joined) & set("\"'*%_\\&|!():<>^-+{},\0\ue000\ue001\ue002\ue010")
        assert terms.placed(text, joined) == spans or language is None


def test_half_of_the_work_of_stemming_changes_nothing() -> None:
    whole = snowballstemmer.stemmer("english").stemWord
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("src/hansard/*/*.py")]
    words = {
        word for path in pages for word in re.findall(r"[a-z]+", path.read_text("utf-8").lower())
    }
    assert len(words) > 3000
    for word in words:
        assert terms.terms(word) == [whole(word)[:64]], word


@given(st.text("abcdefghiklmnorstuyz", min_size=1, max_size=14))
def test_nor_does_it_for_words_that_there_are_not(word: str) -> None:
    assert terms.terms(word) == [snowballstemmer.stemmer("english").stemWord(word)]


def test_how_often_is_in_the_words() -> None:
    words = terms.composed(
        {"often": 9, "once": 1, "endless": 1000}, title=["once"], tenant="t", speakers=["anna"]
    ).split(" ")
    assert len(words) == len(set(words))
    levels = {
        term: [level for level in range(9) if terms.levelled(term, level) in words]
        for term in ("often", "once", "endless")
    }
    assert levels == {"often": [0, 1, 2, 3], "once": [0], "endless": [0, 1, 2, 3, 4, 5, 6]}
    assert terms.OF_TITLE + "once" in words
    assert terms.OF_TENANT + "t" in words
    assert terms.OF_SPEAKER + "anna" in words
    assert "anna" not in words
