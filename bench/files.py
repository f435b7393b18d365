"""A large recording into object storage and out again: `Files` against boto3's own transfers.

    python bench/files.py [--megabytes 200] [--rounds 5]

The storage is moto's server in a process of its own: what is compared is the work on our side, and
the server is most of the time. Ours compares what it fetched with its hash; the peer does not. Peak
memory is that of a process that does one of the four things and nothing else.
"""

from __future__ import annotations

import argparse
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rig import report, side_by_side, speedup

from hansard.shared import S3Settings
from hansard.store.bucket import hashed
from hansard.store.files import Draft
from hansard.store.objects import Objects

MEGABYTE = 2**20
BUCKET = "hansard-bench"
DONE: Future[None] = Future()
DONE.set_result(None)


@contextmanager
def storage() -> Iterator[str]:
    """The address of a server that is up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def files(endpoint: str, root: Path) -> Objects:
    settings = S3Settings(endpoint=endpoint, access_key="any", secret_key="any")
    return Objects(root, "bench", f"s3://{BUCKET}/ours", settings)


class Work:
    """The four things, over one file."""

    def __init__(self, endpoint: str, root: Path, source: Path) -> None:
        from boto3.s3.transfer import TransferConfig

        self.endpoint = endpoint
        self.root = root
        self.source = source
        self.sha256 = hashed(source)
        self.files = files(endpoint, root)
        settings = self.files.bucket.settings
        self.config = TransferConfig(
            multipart_threshold=settings.part,
            multipart_chunksize=settings.part,
            max_concurrency=settings.at_once,
        )
        with self.files.bucket.client() as client:
            self.client: Any = client
        self.files.bucket.put("warm", b"warm")

    def peer_up(self) -> None:
        self.client.upload_file(str(self.source), BUCKET, "peer", Config=self.config)

    def peer_down(self) -> None:
        self.client.download_file(BUCKET, "peer", str(self.root / "peer"), Config=self.config)

    def ours_up(self) -> None:
        self.files.forget_recording(self.sha256)
        size = self.source.stat().st_size
        Draft(self.source, self.sha256, size, self.files, DONE, stays=True).keep()

    def ours_down(self) -> None:
        with self.files.open_recording(self.sha256):
            pass


def memory(name: str, endpoint: str, source: Path) -> float:
    """Megabytes that a process needs more for one of the four than for saying hello."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", name, "--endpoint", endpoint, "--source", str(source)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def one(name: str, endpoint: str, source: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        work = Work(endpoint, Path(place), source)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        act: Callable[[], None] = getattr(work, name)
        act()
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one, options.endpoint, options.source)
        return
    with tempfile.TemporaryDirectory() as place, storage() as endpoint:
        root = Path(place)
        source = root / "noise"
        noise = random.Random(1)
        with source.open("wb") as out:
            for _ in range(options.megabytes):
                out.write(noise.randbytes(MEGABYTE))
        with files(endpoint, root).bucket.client() as client:
            client.create_bucket(Bucket=BUCKET)
        work = Work(endpoint, root, source)
        names = ("peer_up", "ours_up", "peer_down", "ours_down")
        work.peer_up()
        work.ours_up()
        more = {name: memory(name, endpoint, source) for name in names}
        seconds = side_by_side({name: getattr(work, name) for name in names}, rounds=options.rounds)
        work.files.close()
    report(
        "files",
        {
            "megabytes": options.megabytes,
            "up_times_as_fast": round(speedup(seconds, peer="peer_up", ours="ours_up"), 2),
            "down_times_as_fast": round(speedup(seconds, peer="peer_down", ours="ours_down"), 2),
            "memory_more_mb": {name: round(value, 1) for name, value in more.items()},
        },
    )


if __name__ == "__main__":
    main()
