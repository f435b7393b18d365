"""Twenty uploads of 200 MB at once: how much more memory the service takes, and whether all arrive.

    python bench/uploads.py [--uploads 20] [--megabytes 200]

Each file is other noise in a WAV, made on the fly, so that nothing is recognised as the same. There
is no worker: what is looked at is the taking in. The hash that the service answers with is
compared with the hash of what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import struct
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import psutil
from rig import report
from served import memory, serving

PORT = 8613
MEGABYTE = 2**20
BOUNDARY = "a-boundary-that-noise-does-not-hold"


def wav(megabytes: int) -> bytes:
    """The header of a WAV of so many megabytes: 16 kHz, 16 bits, one channel."""
    size = megabytes * MEGABYTE
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + form + b"data" + struct.pack("<I", size)
    )


class Sent:
    """One upload: its bytes as they are asked for, and their hash."""

    def __init__(self, number: int, megabytes: int) -> None:
        self.number = number
        self.megabytes = megabytes
        self.digest = hashlib.sha256()

    async def body(self) -> AsyncIterator[bytes]:
        """A multipart form with one file."""
        yield (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nsphinx\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="noise {self.number}.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        ).encode()
        noise = np.random.default_rng(self.number)
        head = wav(self.megabytes)
        self.digest.update(head)
        yield head
        for _ in range(self.megabytes):
            chunk = noise.integers(-3000, 3000, MEGABYTE // 2, dtype=np.int16).tobytes()
            self.digest.update(chunk)
            yield chunk
        yield f"\r\n--{BOUNDARY}--\r\n".encode()


async def send(http: httpx.AsyncClient, upload: Sent) -> bool:
    """Whether it was accepted and arrived as it was sent."""
    answer = await http.post(
        "/api/v1/transcriptions",
        content=upload.body(),
        headers={"content-type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    if answer.status_code != 202:
        print(f"  upload {upload.number}: {answer.status_code} {answer.text[:200]}")
        return False
    return bool(answer.json()["recording"] == upload.digest.hexdigest())


async def all_at_once(count: int, megabytes: int) -> list[bool]:
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{PORT}", timeout=600, limits=limits, trust_env=False
    ) as http:
        return await asyncio.gather(
            *(send(http, Sent(number, megabytes)) for number in range(count))
        )


class Watch(threading.Thread):
    """The most memory that a server and its children held while this ran."""

    def __init__(self, server: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._over = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, memory(self._server))

    def stop(self) -> int:
        """Bytes."""
        self._over.set()
        self.join()
        return self.peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        limits = {"HANSARD_SERVE__UPLOADS": str(options.uploads)}
        with serving(data, PORT, "--no-worker", **limits) as server:
            # The first upload loads what every upload needs; that is not the price of twenty.
            assert asyncio.run(all_at_once(1, 3)) == [True]
            before = memory(server)
            watch = Watch(server)
            watch.start()
            begun = time.perf_counter()
            arrived = asyncio.run(all_at_once(options.uploads, options.megabytes))
            taken = time.perf_counter() - begun
            more = watch.stop() - before
    report(
        "uploads",
        {
            "uploads": options.uploads,
            "megabytes_each": options.megabytes,
            "arrived_whole": sum(arrived),
            "seconds": round(taken, 1),
            "megabytes_a_second": round(options.uploads * options.megabytes / taken, 1),
            "memory_before_mb": round(before / 1e6, 1),
            "memory_more_mb": round(more / 1e6, 1),
        },
    )


if __name__ == "__main__":
    main()
