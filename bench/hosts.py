"""A long recording on two hosts against one: does the second worker halve the time?

    python bench/hosts.py [--seconds 1200] [--rounds 2] [--whole] [--apart]

Each host is `hansard worker` on a data directory of its own, pinned to one core, with one process
of the embedded engine; all share one PostgreSQL of the bench's own and one directory of recordings
and prepared audio, as a network file system would. The same recording is done by one host and by
two, in turn, from the moment it is submitted until its transcript is there; what listening alone
took is said besides, since decoding and joining are one host's work. ``--whole`` is two hours.

Two hosts share what two cores of one machine share: memory bandwidth, caches, the database, and
whatever else runs on it. ``busy`` is the processor time that a host's processes had each
second, ``idle`` what is missing to one whole core. Where others use the machine the ratio by
the clock says little; ``by_processor_time`` is the one that whole cores would give. With
``--apart`` two hosts that know nothing of each other do the recording at once as well, each all of
it, with a database of its own: ``two_against_apart`` tells how much working together costs, without
what two busy cores cost each other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cluster
import psutil
import psycopg
import rig
import speech

SHARED = ("recordings", "pcm")


class Host:
    """A worker that has one core and one process of the engine."""

    def __init__(self, folder: Path, shared: Path, address: str, core: int) -> None:
        self.core = core
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        for name in SHARED:
            (shared / name).mkdir(parents=True, exist_ok=True)
            (self.data / name).symlink_to(shared / name)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HANSARD_")} | {
            "HANSARD_DATABASE": address,
            "HANSARD_SPHINX__PROCESSES": "1",
            "HANSARD_LIMITS__DISK_RESERVE": "0",
            "PYTHONPATH": str(rig.ROOT / "src"),
            "OMP_NUM_THREADS": "1",
        }
        with (folder / "log").open("ab") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "hansard", "worker", "--data", str(self.data), "--offline"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def spent(self) -> float:
        """Seconds of processor time of the host so far, those of ended children included."""
        total = 0.0
        for one in [self.process, *self.process.children(recursive=True)]:
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            if one.pid == self.process.pid:
                total += times.children_user + times.children_system
        return total

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except psutil.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


class Place:
    """One database and shared files, with as many hosts as are asked for."""

    def __init__(self, server: cluster.Server, folder: Path) -> None:
        self.server = server
        self.folder = folder

    @contextmanager
    def hosts(self, count: int, cores: list[int]) -> Iterator[tuple[str, list[Host], Path]]:
        name = self.server.database()
        address = self.server.address(name)
        place = Path(tempfile.mkdtemp(dir=self.folder))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            stack.callback(self.server.drop, name)
            there = []
            for number in range(count):
                folder = place / f"host{number}"
                there.append(Host(folder, place / "shared", address, cores[number % len(cores)]))
                stack.callback(there[-1].stop)
            yield address, there, place


def ready(address: str, hosts: int) -> None:
    """Until every host is on the roll."""
    from hansard.store.postgres import Postgres

    Postgres(address).close()
    end = time.monotonic() + 60
    with psycopg.connect(address, autocommit=True) as raw:
        while time.monotonic() < end:
            row = raw.execute("SELECT count(*) FROM workers").fetchone()
            if row is not None and row[0] >= hosts:
                return
            time.sleep(0.1)
    raise SystemExit("the hosts did not come up")


def submit(address: str, place: Path, recording: Path) -> str:
    """Take a recording in, as an API process would; the id of its job."""
    from hansard.config import Settings
    from hansard.transcription import Request
    from hansard.wiring import House

    data = place / "front"
    if not data.exists():
        data.mkdir()
        for name in SHARED:
            (place / "shared" / name).mkdir(parents=True, exist_ok=True)
            (data / name).symlink_to(place / "shared" / name)
    settings = Settings(data=data, database=address, offline=True)
    with House(settings) as house, recording.open("rb") as media:
        chunks = iter(lambda: media.read(1 << 20), b"")
        submitted = house.submit(recording.name, chunks, Request(model="sphinx"))
    return submitted.job.id


def wait(raw: psycopg.Connection[Any], job: str) -> None:
    while True:
        row = raw.execute("SELECT state FROM jobs WHERE id = %s", (job,)).fetchone()
        if row is not None and row[0] == "completed":
            return
        if row is not None and row[0] in ("failed", "cancelled"):
            raise SystemExit(f"the job {row[0]}")
        time.sleep(0.05)


class Watch:
    """Who had which windows in hand, looked at while it goes."""

    def __init__(self, raw: psycopg.Connection[Any], job: str) -> None:
        self._raw = raw
        self._job = job
        self.owner: dict[int, str] = {}

    def look(self) -> bool:
        for window, owner in self._raw.execute(
            "SELECT id, owner FROM windows WHERE job = %s AND owner IS NOT NULL", (self._job,)
        ).fetchall():
            self.owner[window] = owner
        row = self._raw.execute("SELECT state FROM jobs WHERE id = %s", (self._job,)).fetchone()
        assert row is not None
        if row[0] in ("failed", "cancelled"):
            raise SystemExit(f"the job {row[0]}")
        return bool(row[0] == "completed")


_TEXT = "SELECT md5(string_agg(body, '' ORDER BY position)) FROM segments WHERE job = %s"


class Work:
    """One recording in the hands of some hosts, models loaded before."""

    def __init__(self, address: str, hosts: list[Host], folder: Path, short: Path) -> None:
        self._address = address
        self._hosts = hosts
        self._folder = folder
        ready(address, len(hosts))
        self._raw = psycopg.connect(address, autocommit=True)
        wait(self._raw, submit(address, folder, short))  # loads the model where it comes first
        time.sleep(1.0)

    def begin(self, recording: Path) -> None:
        self._before = [host.spent() for host in self._hosts]
        self._begun = time.perf_counter()
        self._job = submit(self._address, self._folder, recording)
        self._submitted = time.perf_counter() - self._begun
        self._watch = Watch(self._raw, self._job)
        self._seconds = 0.0

    def look(self) -> bool:
        """Whether it is done."""
        if not self._seconds and self._watch.look():
            self._seconds = time.perf_counter() - self._begun
            self._spent = [
                host.spent() - b for host, b in zip(self._hosts, self._before, strict=True)
            ]
            # At once: in a few seconds speakers are found, and written into it.
            row = self._raw.execute(_TEXT, (self._job,)).fetchone()
            assert row is not None
            (self._text,) = row
        return self._seconds > 0

    def figures(self) -> dict[str, Any]:
        with self._raw as raw:
            row = raw.execute(
                "SELECT max(done), count(*), sum(samples) / 16000.0, "
                "(SELECT started FROM jobs WHERE id = %(job)s), "
                "(SELECT finished FROM jobs WHERE id = %(job)s), "
                "min(done) FROM windows WHERE job = %(job)s",
                {"job": self._job},
            ).fetchone()
        assert row is not None
        owners: dict[str, int] = {}
        for owner in self._watch.owner.values():
            owners[owner] = owners.get(owner, 0) + 1
        seconds, spent = self._seconds, self._spent
        return {
            "seconds": round(seconds, 2),
            "submitting": round(self._submitted, 2),
            "until_first_window": round(row[5] - row[3], 2),
            "after_last_window": round(row[4] - row[0], 2),
            "windows": row[1],
            "speech_seconds": round(float(row[2]), 1),
            "windows_by_host": sorted(owners.values(), reverse=True),
            "processor_seconds": [round(s, 2) for s in spent],
            "busy": [round(s / seconds, 2) for s in spent],
            "idle_seconds": [round(max(0.0, seconds - s), 1) for s in spent],
            "text": self._text,
        }


def run(place: Place, recording: Path, short: Path, cores: list[list[int]]) -> list[dict[str, Any]]:
    """The recording by each group of hosts, all groups at once: a host for each core."""
    with ExitStack() as stack:
        works = []
        for group in cores:
            address, hosts, folder = stack.enter_context(place.hosts(len(group), group))
            works.append(Work(address, hosts, folder, short))
        for work in works:
            work.begin(recording)
        left = works
        while left := [work for work in left if not work.look()]:
            time.sleep(0.05)
        return [work.figures() for work in works]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="two hours of audio")
    parser.add_argument("--apart", action="store_true", help="two beside each other as well")
    given = parser.parse_args()
    length = 7200.0 if given.whole else given.seconds
    first, second = sorted(os.sched_getaffinity(0))[:2]
    turns = {"one": [[first]], "two": [[first, second]]}
    if given.apart:
        turns["apart"] = [[first], [second]]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in turns}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = Place(stack.enter_context(cluster.server()), folder)
        recording = speech.encode(folder / "long.flac", speech.minutes(length / 60), "flac")
        short = speech.encode(folder / "short.flac", speech.minutes(0.5), "flac")
        for turn in range(given.rounds):
            for name, cores in turns.items():
                done = run(place, recording, short, cores)
                runs[name] += done
                print(f"  round {turn + 1}  {name}: {done}", flush=True)
    report(length, runs)


def report(length: float, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Say it; nonzero where not all heard the same."""
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs["one"], runs["two"], strict=True)]
    texts = {one["text"] for each in runs.values() for one in each}
    figures = {
        "audio_seconds": length,
        **runs,
        "two_against_one": round(statistics.median(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
        "by_processor_time": round(
            statistics.median(
                max(a["processor_seconds"]) / max(b["processor_seconds"])
                for a, b in zip(runs["one"], runs["two"], strict=True)
            ),
            3,
        ),
        "same_text": len(texts) == 1,
    }
    if apart := runs.get("apart"):
        # What a second host adds where the core beside is as busy in both.
        halves = [a["seconds"] + b["seconds"] for a, b in zip(apart[::2], apart[1::2], strict=True)]
        against = [a / 2 / b["seconds"] for a, b in zip(halves, runs["two"], strict=True)]
        figures["two_against_apart"] = round(statistics.median(against), 3)
    rig.report("hosts", figures)
    if len(texts) != 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
