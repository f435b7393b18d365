"""A real `hansard serve` for the load benchmarks, a store filled by hand, and wrk to ask it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import psutil
import sqlalchemy as sa
from rig import ROOT

from hansard.jobs import rows
from hansard.model import (
    Coverage,
    Levels,
    Media,
    Options,
    Prepared,
    Segment,
    Track,
    Transcript,
    Word,
)
from hansard.perf.loadtest_figures import Result
from hansard.store.database import Database
from hansard.store.sqlite import Sqlite
from hansard.store.tables import jobs, recordings, segments, transcripts

LEVELS = Levels(60.0, -20.0, -3.0, -60.0, 40.0, 0.0, 0.0)
OPTIONS = Options("sphinx", "en-us", language="en")
SENTENCE = [
    "the",
    "committee",
    "will",
    "now",
    "hear",
    "from",
    "the",
    "second",
    "witness",
    "about",
    "the",
    "budget",
]

HELLO = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def hello():
    return {"hello": "world"}
"""

# wrk's own table has no 95th percentile; --latency figures are in microseconds.
PERCENTILES = """
done = function(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write
            + summary.errors.status + summary.errors.timeout
  io.write(string.format("RESULT %d %d %.1f %.1f %.1f\\n", summary.requests, bad,
    latency:percentile(50), latency:percentile(95), summary.requests / summary.duration * 1e6))
end
"""


class Load(msgspec.Struct, frozen=True):
    """What wrk saw of one address. Milliseconds."""

    requests: int
    failed: int
    p50: float
    p95: float
    per_second: float


def wrk(url: str, *, folder: Path, connections: int = 100, seconds: int = 5) -> Load:
    """Ask an address as fast as it answers, over ``connections`` connections."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("This benchmark needs wrk: apt-get install wrk")
    script = folder / "percentiles.lua"
    script.write_text(PERCENTILES)
    done = subprocess.run(
        [found, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    )
    said = re.search(r"RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+)", done.stdout)
    assert said, done.stdout
    count, failed, p50, p95, rate = map(float, said.groups())
    return Load(int(count), int(failed), p50 / 1000, p95 / 1000, rate)


@contextmanager
def process(command: list[str], ready: str, **variables: str) -> Iterator[psutil.Process]:
    """A server in a process group of its own, stopped in order at the end."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HANSARD_")},
        "PYTHONPATH": f"{ROOT / 'src'}",
        **variables,
    }
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=None)
    try:
        for _ in range(600):
            try:
                if httpx.get(ready, trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert child.poll() is None, "the server ended"
            time.sleep(0.1)
        else:
            raise SystemExit(f"{ready} did not answer within a minute")
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


@contextmanager
def serving(data: Path, port: int, *arguments: str, **variables: str) -> Iterator[psutil.Process]:
    """`hansard serve` over a data directory; its base address is http://127.0.0.1:<port>."""
    command = [sys.executable, "-m", "hansard", "serve", "--data", str(data), "--port", str(port)]
    quiet = {
        "HANSARD_SERVE__RATE": "1e9",
        "HANSARD_SERVE__BURST": "1000000000",
        "HANSARD_SERVE__ACCESS_LOG": "false",
        **variables,
    }
    ready = f"http://127.0.0.1:{port}/api/v1/health/live"
    with process([*command, *arguments], ready, **quiet) as server:
        yield server


def hansard(*words: str) -> str:
    """The command that users have; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "hansard", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])},
    )
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    return done.stdout


def loadtest(port: int, scenario: str, *words: str) -> Result:
    """One load test of a service of this machine."""
    url = f"http://127.0.0.1:{port}"
    said = hansard("loadtest", "--scenario", scenario, "--json", "--url", url, *words)
    return msgspec.json.decode(said, type=Result)


@contextmanager
def hello(folder: Path, port: int) -> Iterator[psutil.Process]:
    """A bare FastAPI route on uvicorn with uvloop and httptools: the peer."""
    (folder / "bare.py").write_text(HELLO)
    command = [sys.executable, "-m", "uvicorn", "bare:app", "--app-dir", str(folder)]
    command += ["--port", str(port), "--no-access-log", "--log-level", "error", "--loop", "uvloop"]
    with process(command, f"http://127.0.0.1:{port}/") as server:
        yield server


def memory(server: psutil.Process) -> int:
    """Bytes that a server and all below it hold for themselves (unique set size)."""
    total = 0
    for one in [server, *server.children(recursive=True)]:
        try:
            total += one.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
    return total


# ── a store that has seen much ───────────────────────────────────────────────────────────────


def _segments(seconds: float) -> Iterator[Segment]:
    """Speech without a pause, two and a half words a second."""
    start = 0.0
    number = 0
    while start + 5 < seconds:
        words = tuple(
            Word(round(start + i * 0.4, 2), round(start + i * 0.4 + 0.35, 2), word, 0.91)
            for i, word in enumerate(SENTENCE)
        )
        text = " ".join(SENTENCE).capitalize() + "."
        yield Segment(start, words[-1].end, text, words, paragraph=number // 6)
        start = round(start + 5.0, 2)
        number += 1


def fill(
    place: Path | Database, count: int, *, seconds: float = 60.0, longest: float = 3600.0
) -> str:
    """Add ``count`` completed transcriptions, the newest of ``longest`` seconds; its id.

    ``place`` is a data directory, whose store is SQLite, or an open store.
    """
    database = Sqlite(place / "hansard.db") if isinstance(place, Path) else place
    now = time.time() - count
    job = ""
    for first in range(0, count, 500):
        with database.write() as connection:
            for number in range(first, min(first + 500, count)):
                length = longest if number == count - 1 else seconds
                job = rows.new_id(now + number)
                _insert(connection, job, number, length, now + number)
    if isinstance(place, Path):
        database.close()
    return job


def _insert(connection: sa.Connection, job: str, number: int, length: float, when: float) -> None:
    sha256 = f"{number:064x}"
    media = Media("flac", length, 1000, (Track(0, "flac", 16_000, 1, length),))
    connection.execute(
        recordings.insert().values(
            id=sha256,
            name=f"meeting {number}.flac",
            size=1000,
            media=rows.json(media),
            created=when,
        )
    )
    prepared = Prepared(int(length * 16_000), 1, LEVELS, speech=int(length * 16_000))
    connection.execute(
        jobs.insert().values(
            id=job,
            kind="transcribe",
            state="completed",
            step="finish",
            priority=5,
            recording=sha256,
            options=rows.json(OPTIONS),
            identity=f"{number:064x}",
            answers=f"{number:064x}",
            batch_key="x",
            engine="sphinx",
            model="en-us",
            language="en",
            levels=rows.json(LEVELS),
            position=int(length * 16_000),
            prepared=rows.json(prepared),
            created=when,
            started=when,
            finished=when,
            name=f"meeting {number}.flac",
            lane="short",
            seconds=length,
            planned=2,
            heard=2,
            planned_samples=int(length * 16_000),
            heard_samples=int(length * 16_000),
        )
    )
    spoken = list(_segments(length))
    head = Transcript(
        id=f"{number:016x}",
        recording=sha256,
        name=f"meeting {number}.flac",
        seconds=length,
        engine="sphinx",
        model="en-us",
        language="en",
        coverage=Coverage(length, length),
        levels=LEVELS,
    )
    connection.execute(
        transcripts.insert().values(job=job, head=rows.json(head), segments=len(spoken))
    )
    connection.execute(
        segments.insert(),
        [
            {
                "job": job,
                "position": position,
                "start": one.start,
                "end": one.end,
                "channel": 0,
                "speaker": None,
                "text": one.text,
                "body": rows.json(one),
            }
            for position, one in enumerate(spoken)
        ],
    )
