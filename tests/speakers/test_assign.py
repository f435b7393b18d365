"""Words get speakers: none lost, none moved, no flicker, and twice is as good as once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.model import Segment, Word
from hansard.speakers.assign import assigned, by_channel
from hansard.speakers.diarizer import Turn


def spoken(text: str, start: float = 0.0, pace: float = 0.5) -> tuple[Word, ...]:
    return tuple(
        Word(start + index * pace, start + (index + 0.9) * pace, word)
        for index, word in enumerate(text.split())
    )


def segment(text: str, start: float = 0.0, pace: float = 0.5, paragraph: int = 0) -> Segment:
    words = spoken(text, start, pace)
    return Segment(words[0].start, words[-1].end, text, words, paragraph=paragraph, tokens=(1, 2))


moments = st.integers(0, 400).map(lambda tenths: tenths / 10)
lengths = st.integers(0, 30).map(lambda tenths: tenths / 10)
turns = st.lists(
    st.builds(
        lambda start, length, speaker: Turn(start, start + length, speaker),
        moments,
        lengths,
        st.sampled_from("ABC"),
    ),
    max_size=12,
)


@st.composite
def transcripts(draw: st.DrawFn) -> list[Segment]:
    segments, at, paragraph = [], 0.0, 0
    for _ in range(draw(st.integers(0, 6))):
        at += draw(lengths)
        paragraph += draw(st.integers(0, 1))
        count = draw(st.integers(0, 7))
        words = []
        begin = at
        for _ in range(count):
            length = draw(st.integers(0, 8)) / 10
            words.append(Word(at, at + length, draw(st.sampled_from(("a", "yes.", "no", "ß")))))
            at += length + draw(st.integers(0, 3)) / 10
        text = " ".join(word.text for word in words) or "words without times"
        at = max(at, begin + 0.1)
        segments.append(Segment(begin, at, text, tuple(words), paragraph=paragraph))
    return segments


@settings(max_examples=40)
@given(transcripts(), turns)
def test_no_word_is_lost_changed_or_moved(segments: list[Segment], who: list[Turn]) -> None:
    out = list(assigned(segments, who))
    assert [w for s in out for w in s.words] == [w for s in segments for w in s.words]
    assert " ".join(s.text for s in out).split() == " ".join(s.text for s in segments).split()
    assert [s.text for s in out if not s.words] == [s.text for s in segments if not s.words]
    assert {s.start for s in segments} <= {s.start for s in out}
    assert {s.end for s in segments} <= {s.end for s in out}


@settings(max_examples=40)
@given(transcripts(), turns)
def test_twice_is_once(segments: list[Segment], who: list[Turn]) -> None:
    once = list(assigned(segments, who))
    assert list(assigned(once, who)) == once


@settings(max_examples=40)
@given(transcripts(), turns)
def test_everybody_gets_a_speaker_who_speaks(segments: list[Segment], who: list[Turn]) -> None:
    known = {turn.speaker for turn in who}
    speakers = {s.speaker for s in assigned(segments, who)}
    assert speakers <= known if known else speakers <= {None}


@settings(max_examples=40)
@given(transcripts(), turns)
def test_a_paragraph_has_one_speaker(segments: list[Segment], who: list[Turn]) -> None:
    out = list(assigned(segments, who))
    if not who:
        return
    for before, after in pairwise(out):
        assert before.paragraph <= after.paragraph
        if before.speaker != after.speaker:
            assert before.paragraph < after.paragraph


def test_a_segment_is_split_where_the_speaker_changes() -> None:
    said = segment("Shall we begin? Yes, of course.")
    first, second = assigned([said], [Turn(0, 1.5, "S1"), Turn(1.5, 9, "S2")])
    assert (first.speaker, first.text) == ("S1", "Shall we begin?")
    assert (second.speaker, second.text) == ("S2", "Yes, of course.")
    assert (first.start, second.end) == (said.start, said.end)
    assert first.end == said.words[2].end
    assert second.start == said.words[3].start
    assert first.tokens == second.tokens == ()
    assert first.paragraph < second.paragraph


def test_a_segment_of_one_speaker_keeps_all_it_has() -> None:
    said = segment("Shall we begin?")
    (only,) = assigned([said], [Turn(0, 9, "S1")])
    assert (only.speaker, only.tokens, only.words) == ("S1", said.tokens, said.words)


def test_text_is_cut_as_it_was_written() -> None:
    words = (Word(0, 1, "今日"), Word(1, 2, "は"), Word(2, 3, "はい"))
    said = Segment(0, 3, "今日は「はい」", words)
    first, second = assigned([said], [Turn(0, 2, "S1"), Turn(2, 3, "S2")])
    assert first.text + second.text == "今日は「はい」"


def test_words_go_to_the_larger_share_and_to_the_nearest_turn() -> None:
    said = segment("one two three four", pace=1.0)
    who = [Turn(0, 1.2, "S1"), Turn(1.3, 2.0, "S2")]
    assert [s.speaker for s in assigned([said], who)] == ["S1", "S2"]
    late = segment("late", start=30.0)
    early = segment("early", start=10.0)
    turns = [Turn(0, 5, "S1"), Turn(31, 40, "S2")]
    assert [s.speaker for s in assigned([early, late], turns)] == ["S1", "S2"]


def test_one_weak_word_in_the_middle_stays() -> None:
    said = segment("we spent four hundred thousand dollars")
    weak = [Turn(0, 1.1, "S1"), Turn(1.05, 1.4, "S2"), Turn(1.2, 3, "S1")]
    assert [s.speaker for s in assigned([said], weak)] == ["S1"]
    short = segment("we spent four hundred", pace=0.2)
    assert [s.speaker for s in assigned([short], [
        Turn(0, 0.2, "S1"), Turn(0.2, 0.4, "S2"), Turn(0.4, 3, "S1"),
    ])] == ["S1"]  # fmt: skip


def test_a_word_that_clearly_interrupts_is_an_interruption() -> None:
    said = segment("we spent NEVER four hundred", pace=0.8)
    who = [Turn(0, 1.6, "S1"), Turn(1.6, 2.4, "S2"), Turn(2.4, 9, "S1")]
    assert [s.speaker for s in assigned([said], who)] == ["S1", "S2", "S1"]


def test_channels_are_speakers() -> None:
    said = [Segment(0, 1, "a", channel=0), Segment(0, 1, "b", channel=1)]
    assert [s.speaker for s in by_channel(said)] == ["S1", "S2"]
