"""Bare words become sentences, and stay the same words."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.model import Word
from hansard.speech.readable import PAUSE, is_question, sentences


def spoken(text: str, *, pauses: float = 1.0) -> list[Word]:
    """Words of 0.2 s, 0.05 s apart; a bar is a pause."""
    words: list[Word] = []
    at = 0.0
    for token in text.split():
        if token == "|":
            at += pauses
            continue
        words.append(Word(at, at + 0.2, token, 0.9))
        at += 0.25
    return words


def read(text: str, *, pauses: float = 1.0) -> list[str]:
    return [
        " ".join(word.text for word in sentence)
        for sentence in sentences(spoken(text, pauses=pauses))
    ]


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("good morning | thank you", ["Good morning.", "Thank you."]),
        ("i think i'm late and i'll go", ["I think I'm late and I'll go."]),
        ("we met mr smith on monday in october", ["We met Mr Smith on Monday in October."]),
        ("it may march on", ["It may march on."]),
        ("it's o'clock don't", ["It's o'clock don't."]),
        ("'til then", ["'Til then."]),
        ("the u. s. budget", ["The U. S. budget."]),
        ("made in the u. s.", ["Made in the U. S."]),
        ("does everyone agree", ["Does everyone agree?"]),
        ("x", ["X."]),
        ("", []),
    ],
)
def test_written_form(heard: str, written: list[str]) -> None:
    assert read(heard) == written


def test_only_a_pause_ends_a_sentence() -> None:
    assert len(read("one two | three four", pauses=PAUSE)) == 2
    assert len(read("one two | three four", pauses=PAUSE / 4)) == 1


@pytest.mark.parametrize(
    "question",
    [
        "does everyone agree",
        "can we move in before the end of the year",
        "what is the situation there",
        "how much time do you need",
        "how many people will work there",
        "how much do you need",
        "where are they now",
        "why don't you ask",
        "will the board approve it",
        "is there another way",
    ],
)
def test_questions(question: str) -> None:
    assert is_question(question.split())


@pytest.mark.parametrize(
    "statement",
    [
        "had he married a more amiable woman he might have been respectable",
        "what we need is money",
        "what is more it rains",
        "how much there might be",
        "do not forget",
        "when we met he was young",
        "who dares wins",
        "is the best of all",
        "do it",
        "and does everyone agree",
        "have mercy on us",
        "were it so it would be grievous",
    ],
)
def test_statements_that_look_like_questions(statement: str) -> None:
    assert not is_question(statement.split())


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)


@given(st.lists(st.tuples(TEXT, st.floats(0, 2), st.floats(0.01, 1)), max_size=40))
def test_words_times_and_order_are_kept(parts: list[tuple[str, float, float]]) -> None:
    words: list[Word] = []
    at = 0.0
    for text, pause, length in parts:
        at += pause
        words.append(Word(at, at + length, text, 0.5))
        at += length
    written = [word for sentence in sentences(words) for word in sentence]
    assert len(written) == len(words)
    for before, after in zip(words, written, strict=True):
        assert (after.start, after.end, after.confidence) == (before.start, before.end, 0.5)
        # Through capitals: the small dotless i has the same as the dotted one.
        assert after.text.upper().startswith(before.text.upper())
        assert after.text[len(before.text) :] in {"", ".", "?"}
    for sentence in sentences(words):
        assert all(b.start - a.end < PAUSE for a, b in itertools.pairwise(sentence))
        assert sentence[-1].text[-1] in ".?!"
