"""What a process of a service is observed by, while it serves or works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hansard.perf.alerts import Watch
from hansard.wiring import House


@contextmanager
def observed(house: House, role: str) -> Iterator[None]:
    """Within this, service levels are watched, and OpenTelemetry is told if the settings say so.

    Raises:
        MissingPart: an endpoint is named, and what sends to it is not installed.
    """
    sender = None
    if house.settings.performance.otlp is not None:
        from hansard.perf.otlp import Sender

        sender = Sender(house.settings.performance, role)
    watch = Watch(house.database, house.settings)
    watch.begin()
    try:
        yield
    finally:
        watch.end()
        if sender is not None:
            sender.end()
