from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from hansard.api import pauses
from hansard.api.pauses import Pauses


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pauses]:
    monkeypatch.setattr(pauses, "LONG", 0.0)
    found = Pauses()
    found.watch()
    yield found
    found.leave()


class Loop:
    def __init__(self) -> None:
        self.itself = self


def test_what_survives_a_long_round_is_looked_at_no_more(watching: Pauses) -> None:
    kept = [Loop() for _ in range(1000)]
    gc.collect()
    assert watching.frozen == 1
    assert gc.get_freeze_count() > 1000
    assert not any(one is kept[0] for one in gc.get_objects())


def test_what_is_garbage_later_is_collected_all_the_same(watching: Pauses) -> None:
    gc.collect()
    there = weakref.ref(Loop())
    assert watching.frozen == 1
    gc.collect()
    assert there() is None


def test_a_short_round_freezes_nothing(watching: Pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "LONG", 1e9)
    gc.collect()
    gc.collect(0)
    assert watching.frozen == 0
    assert gc.get_freeze_count() == 0


def test_it_comes_to_an_end(watching: Pauses) -> None:
    for _ in range(pauses._MOST + 3):
        gc.collect()
    assert watching.frozen == pauses._MOST
