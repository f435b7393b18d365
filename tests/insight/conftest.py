"""Transcripts for the tests of what meetings mean, and a language model on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from tests.insight import fake_model
from tests.insight.fake_model import FakeModel

from hansard.config import LanguageModelSettings
from hansard.insight.findings import Occasion, Person
from hansard.insight.languages import vocabulary
from hansard.insight.openai_model import OpenAIModel
from hansard.model import Segment

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples"))

TUESDAY = 1_773_133_200.0
"""Seconds since the epoch of 10 March 2026, 9:00 UTC."""


def said(*lines: str, gap: float = 0.4) -> list[Segment]:
    """Segments of lines like ``S1: Good morning.``; two seconds each."""
    segments = []
    for number, line in enumerate(lines):
        speaker, _, text = line.partition(": ")
        at = number * (2.0 + gap)
        segments.append(Segment(at, at + 2.0, text, speaker=speaker))
    return segments


@pytest.fixture
def occasion() -> Occasion:
    people = (Person("Ana", "S1"), Person("Tom", "S2"), Person("Dr Vera Lind"))
    return Occasion(held=TUESDAY, language="en", people=people)


_WORDS = sorted(
    vocabulary(
        "i'll send the report by friday we decided to buy a new bus can you call tom maria will "
        "write what is the price $4,200 twelve percent of thirty five thousand dollars on march "
        "3rd next week is it good? let's go with it. no! ich hole bis freitag euro äh 我们今天 ... "
        "mr. "
        "99999999999 february 31st 40th in 999 years"
    )
)
TEXT = st.one_of(
    st.lists(st.sampled_from(_WORDS), max_size=30).map(" ".join),
    st.text(max_size=60),
    st.just("word " * 300),
    st.just("x" * 5000),
)


@st.composite
def transcripts(draw: st.DrawFn) -> list[Segment]:
    """Any segments, in order of their start."""
    start = 0.0
    segments = []
    for text in draw(st.lists(TEXT, max_size=12)):
        start += draw(st.sampled_from((0.0, 0.3, 5.0)))
        end = start + draw(st.sampled_from((0.0, 1.5, 20.0)))
        speaker = draw(st.sampled_from((None, "S1", "S2", "Tom")))
        segments.append(Segment(start, end, text, speaker=speaker))
    return segments


OCCASIONS = st.builds(
    Occasion,
    held=st.sampled_from((None, TUESDAY, 0.0, -1e15, 1e18, 2.4e11)),
    language=st.sampled_from((None, "en", "de", "fr", "es", "ja", "en-US", "Klingon", "")),
    people=st.lists(
        st.builds(Person, st.sampled_from(("Tom", "Maria Lopez", "", "Will", "..."))), max_size=3
    ).map(tuple),
)


class Naps(list[float]):
    """Stands in for ``sleep``: remembers and does not wait."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


Build = Callable[..., OpenAIModel]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    # Whatever the machine says about proxies must not matter for an endpoint on this machine.
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with fake_model.serve() as running:
        yield running


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def build(server: FakeModel, naps: Naps) -> Iterator[Build]:
    """Makes models of the server that are closed at the end."""
    made: list[OpenAIModel] = []

    def make(**settings: Any) -> OpenAIModel:
        values = {
            "base_url": server.url,
            "api_key": fake_model.KEY,
            "model": "fake",
            "timeout": 20.0,
            "attempts": 3,
            "price_in": 2.0,
            "price_out": 8.0,
        }
        settings = values | settings
        made.append(OpenAIModel(LanguageModelSettings.model_validate(settings), sleep=naps))
        return made[-1]

    yield make
    for model in made:
        model.close()
