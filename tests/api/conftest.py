"""A real server on a free port of loopback, in a thread; its worker has a quick engine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from tests.cli.conftest import SAMPLE, Audio, decoded, encoded
from tests.quick import QuickEngine, use

from hansard.api.process import server as make_server
from hansard.audio.cage import Cage
from hansard.config import CageSettings, load
from hansard.store.postgres import Postgres
from hansard.wiring import House


@dataclass
class Served:
    """A service that is up."""

    url: str
    house: House
    http: httpx.Client
    """Its base address is ``url``."""


class Serve(Protocol):
    def __call__(self, *, work: bool = True, **settings: Any) -> Served: ...


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickEngine:
    return use(QuickEngine(), monkeypatch)


@pytest.fixture(scope="session")
def cage() -> Iterator[Cage]:
    """Opens media as a service does; one for all tests, since it takes a second to start."""
    with Cage(CageSettings()) as cage:
        yield cage


@pytest.fixture
def serve(quick: QuickEngine, cage: Cage) -> Iterator[Serve]:
    """Starts services; ``work=False`` is one without a worker. All are stopped at the end."""
    del quick
    running = []

    def start(*, work: bool = True, **settings: Any) -> Served:
        house = House(load(**settings), cage=cage)
        if work:
            house.start()
        listening = socket.create_server(("127.0.0.1", 0))
        server = make_server(house)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        running.append((server, thread, http, house, listening))
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        return Served(url, house, http)

    yield start
    for server, thread, http, house, listening in running:
        http.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"
        house.close()
        listening.close()


@pytest.fixture
def serve_on_postgres(serve: Serve, postgres: str) -> Serve:
    """Services that share one PostgreSQL."""

    def start(*, work: bool = True, **settings: Any) -> Served:
        served = serve(work=work, database=postgres, **settings)
        assert isinstance(served.house.database, Postgres)
        return served

    return start


@pytest.fixture
def served(serve: Serve) -> Served:
    """A service with the settings as they come, on the test's own data directory."""
    return serve()


@pytest.fixture(scope="session")
def speech() -> Audio:
    """Twelve seconds of the sample meeting, 16 kHz mono."""
    return decoded(SAMPLE)[: 12 * 16_000]


@pytest.fixture(scope="session")
def clip(speech: Audio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    return encoded(tmp_path_factory.mktemp("clip") / "clip.flac", speech)
