"""The machine as it is, with and without a graphics processor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from hansard.perf import system


@pytest.fixture(autouse=True)
def _nvml_afresh() -> Iterator[None]:
    system._nvml.cache_clear()
    yield
    system._nvml.cache_clear()


def test_the_machine_and_the_tree_of_processes_are_seen(tmp_path: Path) -> None:
    found = system.machine(tmp_path)
    assert 0 < found.available <= found.memory == psutil.virtual_memory().total
    assert 0 < found.free <= found.disk
    assert found.cores == os.cpu_count()
    assert found.busy > 0
    assert found.tree.processes >= 1
    assert found.tree.memory > 10 * 2**20
    assert found.tree.files > 2
    above = system.machine(tmp_path, os.getppid())
    assert above.tree.processes > found.tree.processes


class Refused(Exception):
    pass


def card(number: int) -> SimpleNamespace:
    return SimpleNamespace(number=number, total=80 * 2**30, used=2**30)


def utilization(card: SimpleNamespace) -> SimpleNamespace:
    if card.number == 1:
        raise Refused
    return SimpleNamespace(gpu=25)


def test_graphics_processors_are_seen_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        NVMLError=Refused,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=card,
        nvmlDeviceGetMemoryInfo=lambda card: card,
        nvmlDeviceGetUtilizationRates=utilization,
        nvmlDeviceGetName=lambda card: f"card {card.number}",
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert system.gpus() == (
        system.Gpu("card 0", 80 * 2**30, 2**30, 0.25),
        system.Gpu("card 1", 80 * 2**30, 2**30, 0.0),
    )


def test_no_driver_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise Refused

    fake = SimpleNamespace(NVMLError=Refused, nvmlInit=refuse)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert system.gpus() == ()
    system._nvml.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert system.gpus() == ()
