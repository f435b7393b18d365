from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.model import Utterance, WindowResult
from hansard.speech import guards

SENTENCE = "The committee heard evidence from the harbour authority on the cost of the new pier."
CHINESE = "今天委员会听取了港务局关于新码头费用的证词，并决定下周再次讨论。"  # noqa: RUF001  full-width punctuation is what is tested


def answer(text: str, **measures: float) -> WindowResult:
    utterance = Utterance(
        0.0,
        10.0,
        text,
        avg_logprob=measures.get("avg_logprob"),
        no_speech_prob=measures.get("no_speech_prob"),
        compression_ratio=measures.get("compression_ratio"),
    )
    return WindowResult((utterance,))


@pytest.mark.parametrize(
    ("result", "seconds", "doubt"),
    [
        (answer(SENTENCE), 8.0, None),
        (answer(SENTENCE, avg_logprob=-0.3, no_speech_prob=0.05), 8.0, None),
        (answer(CHINESE), 9.0, None),
        (WindowResult(), 8.0, "no_speech"),
        (answer("  "), 8.0, "no_speech"),
        (answer("…"), 8.0, "no_speech"),
        (WindowResult(), 1.0, None),
        (answer(SENTENCE, avg_logprob=-1.4, no_speech_prob=0.8), 8.0, "no_speech"),
        (answer(SENTENCE, avg_logprob=-0.3, no_speech_prob=0.8), 8.0, None),
        (answer(SENTENCE, avg_logprob=-1.4, no_speech_prob=0.1), 8.0, "logprob"),
        (answer(SENTENCE, avg_logprob=-0.99), 8.0, None),
        (answer(SENTENCE, compression_ratio=2.41), 8.0, "compression"),
        (answer(SENTENCE, compression_ratio=2.4), 8.0, None),
        (answer("And then he went on. " * 12), 30.0, "repetition"),
        (answer("no no no no"), 3.0, None),
        (answer("ha " * 8), 5.0, "repetition"),
        (answer("我们我们我们我们我们"), 5.0, "repetition"),
        (answer("Thanks for watching!"), 2.0, "invented"),
        (answer("Thank you for watching. Please subscribe."), 2.0, "invented"),
        (answer("Thanks for watching!"), 20.0, None),
        (answer("Thanks for watching!", no_speech_prob=0.9), 20.0, "invented"),
        (answer("Thanks for watching the harbour for us."), 2.0, None),
        (answer("Subtitles by the Amara.org community"), 3.0, "invented"),
        (answer("ご視聴ありがとうございました。"), 2.5, "invented"),
        (answer("Sous-titres réalisés par la communauté d'Amara.org"), 2.5, "invented"),
        (answer(SENTENCE), 1.0, "density"),
        (answer(CHINESE), 1.0, "density"),
        (answer("ขอบคุณทุกท่านที่มาประชุมในวันนี้ครับ"), 2.2, None),
        (answer("ขอบคุณทุกท่านที่มาประชุมในวันนี้ครับ"), 0.3, "density"),
    ],
)
def test_doubts(result: WindowResult, seconds: float, doubt: str | None) -> None:
    assert guards.judge(result, seconds) == doubt


def test_compression_finds_what_is_no_exact_loop() -> None:
    lines = [f"Item {n % 7} of the list is agreed and item {n % 5} is agreed." for n in range(40)]
    assert guards.judge(answer(" ".join(lines)), 3000.0) == "compression"


def test_measures_are_weighted_by_text() -> None:
    sure, unsure = (
        Utterance(0.0, 9.0, SENTENCE, avg_logprob=-0.2),
        Utterance(9.0, 9.5, "Mm.", avg_logprob=-2.0),
    )
    assert guards.judge(WindowResult((sure, unsure)), 10.0) is None


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 6))
def test_a_phrase_repeated_often_enough_is_always_found(around: list[str], size: int) -> None:
    phrase = [f"w{n}" for n in range(size)]
    assert guards.loops(around + phrase * 8 + around)


@given(st.permutations([f"w{n}" for n in range(40)]))
def test_words_that_differ_are_no_loop(words: list[str]) -> None:
    assert not guards.loops(words)


@given(st.text(max_size=200), st.floats(0, 60))
def test_any_text_is_judged(text: str, seconds: float) -> None:
    assert guards.judge(answer(text), seconds) in {
        None,
        "no_speech",
        "invented",
        "repetition",
        "compression",
        "logprob",
        "density",
    }
