"""Real brokers for tests, each test under names of its own that are removed afterwards."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kombu.connection
import pytest
import redis
from kombu.exceptions import OperationalError

from hansard.config import Settings, load
from hansard.jobs.delivery import made

ADDRESSES = {
    "rabbitmq": ("HANSARD_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//"),
    "redis": ("HANSARD_TEST_REDIS", "redis://127.0.0.1:6379/15"),
}

BOTH = tuple(ADDRESSES)


def address(kind: str) -> str:
    """Where a broker is; skips where there is none."""
    variable, usual = ADDRESSES[kind]
    found = os.environ.get(variable, usual)
    try:
        module: Any = kombu.connection  # kombu has types for half of it
        with module.Connection(found, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, OSError) as error:
        pytest.skip(f"no {kind}: set {variable} ({str(error).splitlines()[0]})")
    return found


@contextmanager
def own_names(kind: str) -> Iterator[tuple[str, str]]:
    """A broker's address, and a first word of names that nobody else uses."""
    found, prefix = address(kind), f"hansard_test_{secrets.token_hex(6)}"
    try:
        yield found, prefix
    finally:
        _remove(kind, found, prefix)


def _remove(kind: str, found: str, prefix: str) -> None:
    if kind == "redis":
        with redis.Redis.from_url(found) as client:
            keys = list(client.scan_iter(f"{prefix}*"))
            if keys:
                client.delete(*keys)
        return
    app = made(_settings(found, prefix))
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        for name in app.amqp.queues:
            channel.queue_delete(name)
        for name in ("", ".control.pidbox", ".events", ".control"):
            channel.exchange_delete(prefix + name)


def _settings(broker: str, prefix: str) -> Settings:
    return load(broker=broker, delivery={"prefix": prefix})


def purge(settings: Settings) -> None:
    """Empty every queue, as an operator might."""
    app = made(settings)
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            bound: Any = queue(connection.default_channel)
            bound.declare()
            bound.purge()
