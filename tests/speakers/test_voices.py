"""Remembered voices: proposed when it is clear, left open when it is not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.speakers.diarizer import Voice
from hansard.speakers.voices import (
    CONFIDENT,
    KnownVoice,
    likenesses,
    proposals,
    remembered,
)


def voice(label: str, *vector: float, seconds: float = 60, kind: str = "embedded-1") -> Voice:
    return Voice(label, vector, seconds, kind)


def known(name: str, *vector: float, seconds: float = 60, kind: str = "embedded-1") -> KnownVoice:
    return KnownVoice(name, vector, seconds, kind)


ANNA, BERT = known("Anna", 0, 0), known("Bert", 50, 0)

vectors = st.tuples(*[st.floats(-100, 100, allow_nan=False)] * 2)
voices = st.lists(st.builds(lambda v, s: voice("S0", *v, seconds=s), vectors, st.floats(0, 900)))
names = st.lists(st.builds(lambda v, n: known(n, *v), vectors, st.sampled_from("ABC")))


def test_a_known_voice_is_proposed_and_a_stranger_is_not() -> None:
    found = proposals([voice("S1", 50, 1), voice("S2", 20, 20)], [ANNA, BERT])
    assert [(one.label, one.name) for one in found] == [("S1", "Bert")]
    assert found[0].confidence > 0.9


def test_two_names_for_one_voice_leave_it_open() -> None:
    twin = known("Twin", 1, 0)
    likes = likenesses(voice("S1", 0, 0), [ANNA, twin])
    assert [like.name for like in likes] == ["Anna", "Twin"]
    assert all(like.confidence >= CONFIDENT for like in likes)
    assert proposals([voice("S1", 0, 0)], [ANNA, twin]) == ()


def test_a_name_goes_to_the_voice_most_like_it() -> None:
    found = proposals([voice("S1", 2, 0), voice("S2", 0, 0)], [ANNA])
    assert [(one.label, one.name) for one in found] == [("S2", "Anna")]


def test_two_recordings_of_one_name_do_not_disagree() -> None:
    found = proposals([voice("S1", 0, 0)], [ANNA, known("Anna", 1, 0)])
    assert [one.name for one in found] == ["Anna"]


def test_a_few_words_are_not_recognised_nor_remembered() -> None:
    short = voice("S1", 0, 0, seconds=2)
    assert proposals([short], [ANNA]) == ()
    assert remembered("Anna", short) is None
    assert remembered("Anna", short, ANNA) == ANNA


def test_vectors_of_another_kind_are_not_compared() -> None:
    other = voice("S1", 0, 0, kind="pyannote-1")
    assert likenesses(other, [ANNA]) == ()
    assert likenesses(voice("S1", 0, 0, 0), [ANNA]) == ()
    assert likenesses(voice("S1", kind="unheard of"), [known("A", kind="unheard of")]) == ()
    replaced = remembered("Anna", other, ANNA)
    assert replaced is not None
    assert replaced.kind == "pyannote-1"


def test_directions_are_compared_for_pyannote() -> None:
    far = voice("S1", 9, 0, kind="pyannote-1")
    there = known("Anna", 0.1, 0.01, kind="pyannote-1")
    aside = known("Bert", 0, 1, kind="pyannote-1")
    nothing = known("Nobody", 0, 0, kind="pyannote-1")
    by_name = {like.name: like.confidence for like in likenesses(far, [there, aside, nothing])}
    assert by_name["Anna"] > 0.9
    assert by_name["Bert"] < 0.1
    assert by_name["Nobody"] < 0.1


@settings(max_examples=40)
@given(voices, names)
def test_proposals_name_each_at_most_once(heard: list[Voice], ours: list[KnownVoice]) -> None:
    labelled = [Voice(f"S{i}", v.vector, v.seconds) for i, v in enumerate(heard)]
    found = proposals(labelled, ours)
    assert len({one.name for one in found}) == len(found) == len({one.label for one in found})
    assert {one.name for one in found} <= {one.name for one in ours}
    assert all(CONFIDENT <= one.confidence <= 1 for one in found)


@settings(max_examples=40)
@given(vectors, st.lists(st.tuples(vectors, st.floats(5, 900)), max_size=6))
def test_memory_stays_between_what_was_heard(
    first: tuple[float, float], more: list[tuple[tuple[float, float], float]]
) -> None:
    memory = remembered("Anna", voice("S1", *first))
    everything = [first]
    for vector, seconds in more:
        memory = remembered("Anna", voice("S1", *vector, seconds=seconds), memory)
        everything.append(vector)
    assert memory is not None
    for number, heard in zip(memory.vector, zip(*everything, strict=True), strict=True):
        assert min(heard) - 0.001 <= number <= max(heard) + 0.001


def test_memory_follows_a_voice_that_changes() -> None:
    memory = remembered("Anna", voice("S1", 0, 0, seconds=50_000))
    for _ in range(20):
        memory = remembered("Anna", voice("S1", 10, 10, seconds=300), memory)
    assert memory is not None
    assert min(memory.vector) > 9
