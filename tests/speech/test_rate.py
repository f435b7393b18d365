"""The rate of a remote engine over all processes that share a store."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from tests import stores

from hansard import errors
from hansard.config import OpenAISettings
from hansard.model import SAMPLE_RATE
from hansard.speech import rate
from hansard.speech.engine import SpeechOptions
from hansard.speech.remote import RemoteEngine
from hansard.store.database import Database
from hansard.store.tables import buckets


def _beside(name: str) -> ModuleType:
    """Tests are not a package: load a neighbour by its path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fake: Any = _beside("fake_openai")
TONE = [(8000 * np.sin(2 * np.pi * 220 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.int16)]


@pytest.fixture
def server() -> Iterator[Any]:
    with fake.serve() as running:
        yield running


class Sleeper:
    """Sleeps no time at all: the clocks are moved instead, the engine's and the bucket's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.now = 0.0
        self.naps: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.now += seconds
        self.naps.append(seconds)
        with self._database.write() as connection:
            connection.execute(
                buckets.update().values(
                    touched=buckets.c.touched - seconds,
                    closed_until=buckets.c.closed_until - seconds,
                )
            )


def engine(server: Any, sleeper: Sleeper, database: Database, **more: Any) -> RemoteEngine:
    values = {"base_url": server.url, "api_key": fake.KEY, "calls_per_minute": 0.6, "burst": 2}
    return RemoteEngine(
        "whisper-1",
        OpenAISettings.model_validate(values | more),
        database=database,
        clock=lambda: sleeper.now,
        sleep=sleeper,
    )


def test_two_engines_share_what_their_account_may_do(server: Any, database: Database) -> None:
    sleeper = Sleeper(database)
    one, two = (engine(server, sleeper, database) for _ in range(2))
    one.transcribe(TONE, SpeechOptions())
    two.transcribe(TONE, SpeechOptions())
    assert sum(sleeper.naps) == 0
    two.transcribe(TONE, SpeechOptions())
    assert sum(sleeper.naps) == pytest.approx(100, abs=5), "0.6 calls a minute, 2 at once"
    waited = len(server.calls)
    other = engine(server, sleeper, database, base_url=f"{server.url}/../v1")
    other.transcribe(TONE, SpeechOptions())
    assert sum(sleeper.naps) == pytest.approx(100, abs=5), "another endpoint counts for itself"
    assert len(server.calls) == waited + 1
    with database.read() as connection:
        names = list(connection.scalars(sa.select(buckets.c.name)))
    assert len(names) == 2
    assert not any(fake.KEY in name for name in names)
    for each in (one, two, other):
        each.close()


def test_what_one_is_told_all_heed(server: Any, database: Database) -> None:
    sleeper = Sleeper(database)
    one, two = (engine(server, sleeper, database, burst=10, attempts=1) for _ in range(2))
    server.script = [fake.busy("60")]
    with pytest.raises(errors.EngineBusy):
        one.transcribe(TONE, SpeechOptions())
    assert len(server.calls) == 1
    two.transcribe(TONE, SpeechOptions())
    assert sum(sleeper.naps) == pytest.approx(60, abs=5)
    one.close()
    two.close()


def test_who_waits_does_not_hold_up_the_end(server: Any, database: Database) -> None:
    settings = OpenAISettings(
        base_url=server.url, api_key=fake.KEY, calls_per_minute=0.001, burst=1
    )
    remote = RemoteEngine("whisper-1", settings, database=database)
    remote.transcribe(TONE, SpeechOptions())
    died = threading.Event()

    def wait() -> None:
        with suppress(errors.EngineDied):
            remote.transcribe(TONE, SpeechOptions())
            return
        died.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    remote.close()
    waiting.join()
    assert died.is_set()
    assert len(server.calls) == 1


def test_a_pause_holds_here_where_the_store_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = stores.opened("sqlite", tmp_path, str)
    now = [0.0]
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    settings = OpenAISettings()
    bucket = rate.pace(settings, "account", database, lambda: now[0])

    def gone(*_: Any, **__: Any) -> None:
        raise errors.StoreGone("The store cannot be reached.")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(database, "write", gone)
        bucket.pause(30)
        with pytest.raises(errors.StoreGone):
            bucket.admit(lambda _: None)
    assert "the others were not told" in caplog.text
    bucket.admit(nap)
    assert naps == [30]
    database.close()


_CHILD = """
import sys
import numpy as np
from hansard.config import OpenAISettings
from hansard.speech.engine import SpeechOptions
from hansard.speech.remote import RemoteEngine
from hansard.store.postgres import Postgres

database = Postgres(sys.argv[1])
settings = OpenAISettings(
    base_url=sys.argv[2], api_key=sys.argv[3], calls_per_minute=600, burst=4
)
remote = RemoteEngine("whisper-1", settings, database=database)
print("ready", flush=True)
sys.stdin.readline()
remote.transcribe([np.full(16_000, 5000, np.int16)] * 4, SpeechOptions())
remote.close()
database.close()
"""


def test_processes_keep_one_rate_together(server: Any, postgres: str) -> None:
    stores.opened("postgresql", Path(), lambda: postgres).close()
    words = [sys.executable, "-c", _CHILD, postgres, server.url, fake.KEY]
    crowd = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for one in crowd:
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
    begun = time.monotonic()
    for one in crowd:
        one.communicate("\n")
        assert one.returncode == 0
    arrived = sorted(call.at - begun for call in server.calls)
    assert len(arrived) == 16
    # Four each would come at once if each kept the rate for itself.
    for count, at in enumerate(arrived, 1):
        assert count <= 4 + 10 * at + 1e-3
