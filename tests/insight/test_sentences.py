"""Sentences, languages and names: what every extractor builds on."""

from __future__ import annotations

from hypothesis import given
from tests.insight.conftest import said, transcripts

from hansard.insight import languages
from hansard.insight.findings import Occasion, Person
from hansard.insight.names import Names
from hansard.insight.sentences import MOST_WORDS, is_marked, is_punctuated, split
from hansard.model import Segment


def test_a_sentence_runs_over_segments_and_a_segment_holds_several() -> None:
    segments = said(
        "S1: We should ask the council", "S1: for more money. Dr. Lind agrees.", "S2: Yes. Good."
    )
    assert [(one.text, one.segments) for one in split(segments)] == [
        ("We should ask the council for more money.", (0, 1)),
        ("Dr. Lind agrees.", (1,)),
        ("Yes.", (2,)),
        ("Good.", (2,)),
    ]


def test_another_speaker_or_a_pause_ends_a_sentence() -> None:
    assert len(split(said("S1: we should ask", "S2: the council.", "S2: Good."))) == 3
    assert len(split(said("S1: we should ask", "S1: the council.", "S1: Good.", gap=3.0))) == 3


def test_without_marks_a_segment_is_a_sentence_and_a_name_is_with_what_follows() -> None:
    segments = said("S1: we should ask", "S1: the council for more", "S1: tom", "S1: can you write")
    assert not is_marked(segments)
    assert [one.segments for one in split(segments)] == [(0,), (1,), (2, 3)]


def test_stops_at_every_pause_are_no_punctuation() -> None:
    heard = said(*(f"S1: Line {at} of what was heard has a stop and no comma." for at in range(20)))
    assert is_marked(heard)
    assert not is_punctuated(heard)
    assert is_punctuated(heard[:3])
    assert is_punctuated([*heard, Segment(99.0, 99.5, "Well, yes.")])


@given(transcripts())
def test_no_word_is_lost_and_citations_ascend(segments: list[Segment]) -> None:
    sentences = split(segments)
    heard = [word for segment in segments for word in languages.words(segment.text)]
    kept = [word for sentence in sentences for word in sentence.words]
    assert "".join(kept) == "".join(heard)
    for sentence in sentences:
        assert sentence.segments == tuple(sorted(set(sentence.segments)))
        assert sentence.start <= sentence.end
        assert len(sentence.text.split(" ")) <= MOST_WORDS


def test_languages_are_told_by_their_function_words() -> None:
    texts = {
        "en": "we should ask the council for more money and then we will see what they say",
        "de": "wir sollten den rat um mehr geld bitten und dann sehen wir was er sagt",
        "fr": "nous devons demander plus de moyens au conseil et puis on verra ce qu'il dit",
        "es": "tenemos que pedir más dinero al consejo y luego veremos lo que dicen",
        None: "xibal ordun keti vorun manaster lohin",
    }
    assert {languages.guess(text.split()): name for name, text in texts.items()} == {
        name: name for name in texts
    }
    assert languages.plain("en-US") == languages.plain("English") == "en"


def test_stems_leave_out_what_says_nothing() -> None:
    stems = languages.Stems("en")
    assert stems.of(("the", "meetings", "of", "42", "meeting", "tom's")) == ["meet", "meet", "tom"]
    assert languages.Stems("ja").of(languages.words("私たちは会議")) != []


def test_people_are_known_by_capitals_titles_and_the_meeting() -> None:
    segments = said(
        "S1: Yesterday Zelda asked Mrs Pemberton and Ann Lee.", "S1: Zelda will come on Friday."
    )
    sentences = split(segments)
    names = Names(sentences, Occasion(people=(Person("Ann Lee"),)), capitals=True)
    first, second = (names.tagged(sentence) for sentence in sentences)
    assert first.text == "yesterday @zelda asked @mrs_pemberton and @ann_lee"
    assert first.people["@mrs_pemberton"] == "Mrs Pemberton"
    assert second.text.startswith("@zelda will come on friday")


def test_a_word_that_is_also_written_small_is_no_name() -> None:
    segments = said("S1: I like the Sea.", "S1: The sea is cold.")
    names = Names(split(segments), Occasion(), capitals=True)
    assert names.tagged(split(segments)[0]).people == {}
