"""Stacks of other threads are walked while nothing is collected."""

from __future__ import annotations

import gc
import time
from types import FrameType

import pytest

from hansard.perf import profile_cpu
from hansard.perf.profile_cpu import Sampler


def test_nothing_is_collected_while_stacks_are_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CPython 3.11 a collection in the middle may give a frame's memory to something else."""
    seen: list[bool] = []
    walk = profile_cpu._Names.stack

    def stack(self: profile_cpu._Names, frame: FrameType | None) -> tuple[str, ...]:
        seen.append(gc.isenabled())
        return walk(self, frame)

    monkeypatch.setattr(profile_cpu._Names, "stack", stack)
    with Sampler("tests", interval=0.001):
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            sum(range(1000))
    assert seen
    assert not any(seen)
    assert gc.isenabled()
