"""A whole service for a test: real processes, a quick engine, and signals at will."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
from tests.waiting import until

from hansard.config import load
from hansard.jobs.presence import serving
from hansard.wiring import House

LAUNCHED = Path(__file__).with_name("launched.py")


class Service:
    """`hansard serve` on a data directory of its own."""

    def __init__(
        self, folder: Path, *words: str, data: Path | None = None, **environment: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = data or folder / "data"
        self.log = folder / "heard"
        self._words = words
        self._environment: Mapping[str, str] = {
            "HANSARD_TEST_LOG": str(self.log),
            "HANSARD_LIMITS__DISK_RESERVE": "0",
        } | environment
        self._sessions: set[int] = set()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, str(LAUNCHED), "serve", "--data", str(self.data)),
                    *("--port", "0", *self._words),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env=os.environ | self._environment,
            )
        self._sessions.add(self.process.pid)
        if wait:
            until(self.is_up, "the service is up")

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        found = serving(self.data)
        return found is not None and found.pid == self.process.pid

    def said(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def url(self) -> str:
        found = until(lambda: serving(self.data), "the service says where it is")
        return str(found.url)

    def child(self, role: str) -> psutil.Process | None:
        """The process of a role, if it is there just now."""
        assert self.process is not None
        for one in self.left():
            words = _words(one)
            if role in words[2:3] and one.ppid() == self.process.pid:
                return one
        return None

    def left(self) -> list[psutil.Process]:
        """Every process that this service has started and that still exists."""
        found = []
        for one in psutil.process_iter():
            try:
                if os.getsid(one.pid) in self._sessions:
                    found.append(one)
            except ProcessLookupError:
                continue
        return found

    def kill(self, role: str) -> bool:
        """SIGKILL: a ``worker``, the ``api``, the ``supervisor`` alone, or ``all`` at once."""
        assert self.process is not None
        if role == "all":
            os.killpg(self.process.pid, signal.SIGKILL)
        elif role == "supervisor":
            self.process.kill()
        else:
            one = self.child(role)
            if one is None:
                return False
            one.kill()
            return True
        self.process.wait()
        return True

    def stop(self) -> int:
        """End it in order, and see that nobody is left."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(60)
        until(lambda: not self.left(), f"nobody is left: {self.left()}")
        return code

    def submit(self, recording: Path) -> str:
        """Send a recording until it is accepted, however often the service dies."""

        def send() -> str | None:
            found = serving(self.data)
            if found is None:
                return None
            with recording.open("rb") as media:
                try:
                    answer = httpx.post(
                        f"{found.url}/api/v1/transcriptions",
                        files={"file": (recording.name, media)},
                        data={"model": "sphinx"},
                        timeout=30,
                        trust_env=False,
                    )
                except httpx.TransportError:
                    return None
            assert answer.status_code < 300, answer.text
            return str(answer.json()["id"])

        return str(until(send, f"{recording.name} is accepted"))

    def states(self) -> dict[str, str]:
        """State by job. Looks and touches nothing: whoever opens the store also tidies it."""
        with sqlite3.connect(f"file:{self.data / 'hansard.db'}?mode=ro", uri=True) as store:
            found = dict(store.execute("SELECT id, state FROM jobs").fetchall())
        store.close()
        return found

    def transcripts(self) -> dict[str, bytes]:
        """Every transcript by the name of its recording, as it is stored."""
        with House(load(data=self.data)) as house, house.database.read() as connection:
            driver: Any = connection.connection.driver_connection
            rows = driver.execute(
                "SELECT j.name, j.id FROM jobs j JOIN transcripts t ON t.job = j.id"
            )
            names = [(str(name), str(job)) for name, job in rows.fetchall()]
            assert len({name for name, _ in names}) == len(names), "a job was there twice"
            return {name: _whole(house, job) for name, job in names}

    def heard(self) -> Counter[str]:
        return Counter(self.log.read_text().splitlines()) if self.log.exists() else Counter()


def _whole(house: House, job: str) -> bytes:
    found = house.transcript(job)
    assert found is not None
    head, segments = found
    return msgspec.json.encode((head, list(segments())))


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
