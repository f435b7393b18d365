"""What speaks to the live route in tests: audio as browsers send it, and what was said to it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import av
import numpy as np
import pytest
from tests.api.conftest import Served
from tests.cli.conftest import Audio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


class Line:
    """One connection; keeps everything that was said to it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.said: list[dict[str, Any]] = []

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def hear(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds."""
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            self.said.append(message)
            if message["type"] in kinds:
                return dict(message)
            assert message["type"] != "error", message

    def send(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.socket.send(piece)

    def send_until_guessed(self, pieces: Iterable[bytes]) -> dict[str, Any]:
        """As somebody speaks, who is guessed at when there are words; the first such message."""
        for piece in pieces:
            self.socket.send(piece)
            with suppress(TimeoutError):
                self.said.append(json.loads(self.socket.recv(timeout=0.05)))
            if guessed := self.of("partial"):
                return guessed[0]
        return self.hear("partial")

    def send_all(self, pieces: list[bytes]) -> None:
        """Until all of it lies on the other side's disk."""
        self.send(pieces)
        size = sum(map(len, pieces))
        while not any(one["bytes"] >= size for one in self.of("received")):
            self.hear("received")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.said if message["type"] == kind]


@contextmanager
def line(served: Served, query: str = "", **options: Any) -> Iterator[Line]:
    url = f"ws{served.url.removeprefix('http')}/api/v1/live{query}"
    with connect(url, proxy=None, open_timeout=30, max_size=None, **options) as socket:
        yield Line(socket)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


class _Sink:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def opus(samples: Audio, container: str = "webm") -> tuple[list[bytes], list[bytes]]:
    """16 kHz audio as a browser records it: the pieces of a file, and its bare packets."""
    sink: Any = _Sink()
    packets = []
    options = {"live": "1", "cluster_time_limit": "250"} if container == "webm" else {}
    with av.open(sink, "w", format=container, options=options) as media:
        stream = media.add_stream("libopus", rate=48_000, layout="mono")
        resampler = av.AudioResampler("flt", "mono", 48_000, frame_size=960)
        for start in range(0, len(samples), 16_000):
            piece = np.ascontiguousarray(samples[start : start + 16_000])
            frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), "s16", "mono")
            frame.sample_rate = 16_000
            frame.pts = start
            for ready in resampler.resample(frame):
                for packet in stream.encode(ready):
                    packets.append(bytes(packet))
                    media.mux(packet)
        for packet in stream.encode(None):
            packets.append(bytes(packet))
            media.mux(packet)
    return sink.pieces, packets


def decoded(data: bytes) -> Audio:
    """A file as 16 kHz mono, by PyAV alone."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    pieces = []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in [*container.decode(audio=0), None]:
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    return np.concatenate(pieces)


def ended(said: Line) -> tuple[str, int]:
    """The code of the error that ended a connection, and what it was closed with."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            said.said.append(json.loads(said.socket.recv(timeout=60)))
    last = said.said[-1]
    assert last["type"] == "error", said.said
    assert last["error"]["message"].endswith(".")
    assert last["error"]["hint"]
    assert closed.value.rcvd is not None
    return last["error"]["code"], closed.value.rcvd.code


def finished(served: Served, job: str) -> dict[str, Any]:
    """A transcription, once it is at its end."""
    while True:
        found: dict[str, Any] = served.http.get(f"/api/v1/transcriptions/{job}").json()
        if found.get("finished") is not None:
            return found
        time.sleep(0.05)
