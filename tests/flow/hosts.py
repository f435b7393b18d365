"""Several machines for a test: an API on one data directory, workers on others, one PostgreSQL.

They are processes on this machine, each host with a data directory of its own. What machines share
as files is an object store, where one is named, and otherwise as a network file system would: the
directories of recordings and prepared audio are links to the same ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
from tests.flow.running import LAUNCHED, Service
from tests.flow.wire import Wire
from tests.waiting import until

from hansard.errors import MachineError
from hansard.jobs.presence import serving

SHARED = ("recordings", "pcm")


class Worker:
    """`hansard worker` on a data directory of its own."""

    def __init__(self, folder: Path, data: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = data
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        """How often it was found killed, by whomever."""
        self.gave_up = 0
        """How often it ended by itself because the store could not be reached: error 5."""

    def start(self) -> None:
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(LAUNCHED), "worker", "--data", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=os.environ | self._environment,
            )

    def is_up(self) -> bool:
        """Whether it has come so far that it ends in order when it is told to."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
        return False

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def see(self) -> None:
        """Start it again where it has ended, as an init system does; see that it had a reason."""
        if self.process is None or self.process.poll() is None:
            return
        code = self.process.returncode
        if code == MachineError.exit_code:
            self.gave_up += 1
        else:
            assert code == -signal.SIGKILL, f"a worker ended with {code}:\n{self.said()[-4000:]}"
            self.deaths += 1
        self.start()

    def kill(self) -> bool:
        if not self.alive():
            return False
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return True

    def stop(self) -> int:
        """End it in order."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)

    def said(self) -> str:
        return (self.folder / "out").read_text()


class Front(Service):
    """The host with the API, which does no work, over a PostgreSQL."""

    def __init__(self, folder: Path, address: str, **environment: str) -> None:
        super().__init__(folder, "--no-worker", data=None, **environment)
        self.address = address
        self.answers = Counter[int]()
        """How often the API gave which status to a recording."""
        self.refusals = Counter[str]()
        self.gave_up = 0
        self._asking: psycopg.Connection[Any] | None = None

    def see(self) -> None:
        """Start it again where it gave up, as an init system does."""
        if self.process is None or self.process.poll() is None:
            return
        code = self.process.returncode
        assert code == MachineError.exit_code, (
            f"the front ended with {code}:\n{self.said()[-4000:]}"
        )
        self.gave_up += 1
        self.start(wait=False)

    def send(self, recording: Path) -> str | None:
        """Send a recording; ``None`` where it must be sent again."""
        found = serving(self.data)
        if found is None:
            return None
        try:
            with recording.open("rb") as media:
                answer = httpx.post(
                    f"{found.url}/api/v1/transcriptions",
                    files={"file": (recording.name, media)},
                    data={"model": "sphinx"},
                    timeout=60,
                    trust_env=False,
                )
        except httpx.TransportError:
            return None
        self.answers[answer.status_code] += 1
        if answer.status_code >= 500:
            self.refusals[answer.text[:300]] += 1
            return None
        assert answer.status_code < 300, answer.text
        return str(answer.json()["id"])

    def submit(self, recording: Path) -> str:
        """Send a recording until it is accepted, whatever dies or cannot be reached meanwhile."""

        def sent() -> str | None:
            self.see()
            return self.send(recording)

        return until(sent, f"{recording.name} is accepted")

    def states(self) -> dict[str, str]:
        return dict(self.ask("SELECT id, state FROM jobs"))

    def ask(self, sql: LiteralString) -> list[Any]:
        """What the database says, by a connection that is kept: it is asked often."""
        try:
            if self._asking is not None:
                return self._asking.execute(sql).fetchall()
        except psycopg.OperationalError:  # the database was restarted meanwhile
            self.hush()
        self._asking = psycopg.connect(self.address, autocommit=True)
        return self._asking.execute(sql).fetchall()

    def hush(self) -> None:
        if self._asking is not None:
            self._asking.close()

    def transcripts(self) -> dict[str, bytes]:
        """Every transcript by the name of its recording, as it is stored."""
        heads = self.ask(
            "SELECT j.name, j.id, t.head FROM jobs j JOIN transcripts t ON t.job = j.id"
        )
        bodies = self.ask(
            "SELECT job, string_agg(body, E'\\n' ORDER BY position) FROM segments GROUP BY job"
        )
        spoken: dict[str, str] = dict(bodies)
        assert len({name for name, *_ in heads}) == len(heads), "a job was there twice"
        return {name: f"{head}\n{spoken.get(job, '')}".encode() for name, job, head in heads}


class Cluster:
    """A front and some workers, each with a wire of its own to the database."""

    def __init__(
        self, folder: Path, address: str, *, workers: int = 2, files: str | None = None, **more: str
    ) -> None:
        """``address`` is the database, directly; ``files`` an object store that all share."""
        self.folder = folder
        self.address = address
        parts = psycopg.conninfo.conninfo_to_dict(address)
        self.port = int(parts.get("port") or 5432)
        self._database = str(parts["dbname"])
        self._user = str(parts.get("user") or "postgres")
        self.wires: list[Wire] = []
        shared = {
            "HANSARD_TEST_LOG": str(folder / "heard"),
            "HANSARD_LIMITS__DISK_RESERVE": "0",
            "HANSARD_CACHE": "",
            **({"HANSARD_FILES": files} if files else {}),
            **more,
        }
        self._links = files is None
        self.front = Front(
            folder / "front", address, **shared, HANSARD_DATABASE=self._through(Wire(self.port))
        )
        self._share(self.front.data)
        self.workers = []
        for number in range(workers):
            place = folder / f"host{number}"
            there = {**shared, "HANSARD_DATABASE": self._through(Wire(self.port))}
            self._share(place / "data")
            self.workers.append(Worker(place, place / "data", there))

    def _through(self, wire: Wire) -> str:
        self.wires.append(wire)
        return f"postgresql://{self._user}@127.0.0.1:{wire.port}/{self._database}"

    def _share(self, data: Path) -> None:
        data.mkdir(parents=True)
        for name in SHARED if self._links else ():
            (self.folder / "shared" / name).mkdir(parents=True, exist_ok=True)
            (data / name).symlink_to(self.folder / "shared" / name)

    def start(self) -> None:
        self.front.start()
        for worker in self.workers:
            worker.start()

    def is_up(self) -> bool:
        return self.front.is_up() and all(worker.is_up() for worker in self.workers)

    def see(self) -> None:
        """Start again what has ended, as an init system does."""
        self.front.see()
        for worker in self.workers:
            worker.see()

    def stop(self) -> int:
        """End all in order; 0 where each of them did, and nobody is left."""
        codes = [worker.stop() for worker in self.workers]
        codes.append(self.front.stop())
        return max(map(abs, codes))

    def close(self) -> None:
        """Whatever is still there."""
        for worker in self.workers:
            worker.kill()
        if self.front.process is not None:
            for one in self.front.left():
                one.kill()
            self.front.process.wait()
            until(lambda: not self.front.left(), "nobody is left")
        self.front.hush()
        for wire in self.wires:
            wire.close()

    def heard(self) -> Counter[str]:
        log = self.folder / "heard"
        return Counter(log.read_text().splitlines()) if log.exists() else Counter()

    def left_over(self) -> list[str]:
        """What must not be left: scratch, prepared audio, tokens, connections."""
        datas = [self.front.data, *(worker.data for worker in self.workers)]
        found = [
            str(path.relative_to(self.folder))
            for data in datas
            for name in ("tmp", "pcm", "workers")
            for path in (data / name).glob("*")
        ]
        asked: dict[str, LiteralString] = {
            "jobs held": "SELECT count(*) FROM jobs WHERE token IS NOT NULL",
            "windows held": "SELECT count(*) FROM windows WHERE state = 'taken'",
            "workers": "SELECT count(*) FROM workers",
            "connections": "SELECT count(*) FROM pg_stat_activity WHERE "
            "datname = current_database() AND pid <> pg_backend_pid()",
        }
        for what, sql in asked.items():
            ((count,),) = self.front.ask(sql)
            if count:
                found.append(f"{count} {what}")
        return found
