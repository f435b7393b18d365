"""A language model on this machine, and what asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.insight import fake_model
from tests.insight.fake_model import FakeModel

from hansard.config import LanguageModelSettings
from hansard.insight.openai_model import OpenAIModel


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
