"""The word error rate, against jiwer and against cases counted by hand."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.speech.accuracy import Errors, normalise, word_errors

WORDS = st.lists(
    st.sampled_from(["the", "a", "budget", "was", "approved", "by", "committee", "in", "may"])
)


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.lists(st.sampled_from("abcd")))
def test_counts_agree_with_jiwer(truth: list[str], heard: list[str]) -> None:
    ours = word_errors(truth, heard)
    theirs = jiwer.process_words(" ".join(truth), " ".join(heard))
    # Shortest paths may differ in kind (a substitution and … are not unique); the sums may not.
    assert ours.rate == pytest.approx(theirs.wer)
    assert ours.insertions - ours.deletions == theirs.insertions - theirs.deletions
    assert ours.reference == len(truth)


@given(WORDS, WORDS)
def test_length_is_accounted_for(truth: list[str], heard: list[str]) -> None:
    errors = word_errors(truth, heard)
    assert len(truth) - errors.deletions + errors.insertions == len(heard)
    assert errors.deletions + errors.substitutions <= len(truth)


@given(WORDS)
def test_a_text_equals_itself_however_it_is_dressed(words: list[str]) -> None:
    dressed = ", ".join(word.upper() for word in words) + "."
    assert word_errors(" ".join(words), dressed).rate == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop", ["don't", "stop"]),
        ("don\u2019t", ["don't"]),
        ("'quoted' words'", ["quoted", "words"]),
        ("cold-hearted \u2014 and far\u2013off", ["cold", "hearted", "and", "far", "off"]),
        ("3.5 % at 10:30, not 3. 5", ["3.5", "at", "10:30", "not", "3", "5"]),
        ("U.S.A.", ["u", "s", "a"]),
        ("Cafe\u0301 na\u00efve", ["caf\u00e9", "na\u00efve"]),
        ("STRASSE stra\u00dfe", ["strasse", "strasse"]),
        ("  \n\t ", []),
        ("\u092e\u0941\u091d\u0947", ["\u092e\u0941\u091d\u0947"]),
    ],
)
def test_normalised_form(text: str, words: list[str]) -> None:
    assert normalise(text) == words


def test_kinds_of_errors_are_told_apart() -> None:
    errors = word_errors("the budget was approved today", "the budget is approved very today")
    assert errors == Errors(reference=5, substitutions=1, deletions=0, insertions=1)
    assert errors.rate == pytest.approx(0.4)


def test_nothing_said() -> None:
    assert word_errors("", "").rate == 0.0
    assert word_errors("...", "thank you").rate == float("inf")


def test_errors_add_up_over_recordings() -> None:
    total = word_errors("one two three", "one three") + word_errors("four", "four five")
    assert total == Errors(reference=4, substitutions=0, deletions=1, insertions=1)
    assert total.rate == pytest.approx(0.5)
