"""Seconds of audio that wait, as jobs come, are prepared, are heard, and end."""

from __future__ import annotations

import pytest
from tests.jobs.conftest import answers, listen, ready, submit

from hansard.jobs.queue import Queue
from hansard.jobs.waiting import waiting
from hansard.model import POOLS


def test_what_waits_is_the_length_and_then_the_windows(queue: Queue) -> None:
    assert waiting(queue.database) == {"speech": 0.0, "insight": 0.0}
    first = submit(queue, "a", seconds=90, priority=9)
    submit(queue, "b", seconds=40)
    submit(queue, "unknown")
    assert waiting(queue.database)["speech"] == pytest.approx(130.0)
    unit = queue.claim_step()
    assert unit is not None
    assert unit.job.id == first.id
    ready(queue, unit)
    assert waiting(queue.database)["speech"] == pytest.approx(130.0)
    batch = listen(queue, batch=2)
    assert batch is not None
    assert waiting(queue.database)["speech"] == pytest.approx(130.0)  # in hand, not heard
    queue.record(batch, answers(batch))
    assert waiting(queue.database)["speech"] == pytest.approx(70.0)
    queue.cancel(first.id)
    assert waiting(queue.database)["speech"] == pytest.approx(40.0)


def test_each_pool_has_its_own(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POOLS, "summary", "insight")
    submit(queue, "a", seconds=90)
    submit(queue, "b", seconds=40, kind="summary")
    assert waiting(queue.database) == {
        "speech": pytest.approx(90.0),
        "insight": pytest.approx(40.0),
    }
