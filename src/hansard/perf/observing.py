"""What a process of a service is observed by, while it serves or works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hansard.config import Settings
from hansard.perf.alerts import Watch
from hansard.wiring import House

if TYPE_CHECKING:
    from hansard.perf.otlp import Sender


def sender(settings: Settings, role: str) -> Sender | None:
    """What sends to OpenTelemetry, if the settings name an endpoint; ``role`` is of the process.

    Raises:
        MissingPart: it is not installed.
    """
    if settings.performance.otlp is None:
        return None
    from hansard.perf.otlp import Sender

    return Sender(settings.performance, role)


@contextmanager
def observed(house: House, sender: Sender | None) -> Iterator[None]:
    """Within this, service levels are watched; at its end what is left is sent."""
    watch = Watch(house.database, house.settings)
    watch.begin()
    try:
        yield
    finally:
        watch.end()
        if sender is not None:
            sender.end()
