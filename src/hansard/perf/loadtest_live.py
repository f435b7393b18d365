"""A live session of a load test: somebody speaks in real time, and waits for the words."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from hansard import telemetry
from hansard.model import SAMPLE_RATE
from hansard.perf.loadtest_figures import Order

_PIECE = SAMPLE_RATE // 10
"""Samples in a message: 0.1 s."""

_PAD = 0.2
"""Seconds of silence that belong to a stretch of speech; see ``config.VadSettings``."""


def session(order: Order, samples: NDArray[np.int16]) -> None:
    """Speak ``samples``; records ``live start``, ``live final`` and ``live done``.

    A final is late by the time from the end of its speech, by the recording's own clock, to its
    message; ``live done`` is the time from the end of the recording to the whole transcript.
    """
    address = "ws" + order.url.removeprefix("http").rstrip("/") + "/api/v1/live?format=pcm_s16le"
    if order.model:
        address += f"&model={order.model}"
    headers = {"Authorization": f"Bearer {order.key}"} if order.key else {}
    begun = time.perf_counter()
    try:
        with connect(address, additional_headers=headers, proxy=None) as line:
            _heard(line, samples, begun)
    except InvalidStatus as error:
        telemetry.count(f"live!http_{error.response.status_code}")
    except (OSError, ConnectionClosed, TimeoutError):
        telemetry.count("live!no_answer")


def _heard(line: ClientConnection, samples: NDArray[np.int16], begun: float) -> None:
    began = [time.perf_counter()]
    for said in _messages(line):
        now = time.perf_counter()
        if said["type"] == "started":
            telemetry.record("live start", now - begun)
            began[0] = now
            threading.Thread(target=_speak, args=(line, samples, now), daemon=True).start()
        elif said["type"] == "final":
            telemetry.record("live final", max(0.0, now - began[0] - (said["end"] - _PAD)))
        elif said["type"] == "done":
            telemetry.record("live done", max(0.0, now - began[0] - len(samples) / SAMPLE_RATE))
            return
        elif said["type"] == "error":
            telemetry.count(f"live!{said['error']['code']}")
            return


def _messages(line: ClientConnection) -> Iterator[Any]:
    for text in line:
        yield msgspec.json.decode(text)


def _speak(line: ClientConnection, samples: NDArray[np.int16], began: float) -> None:
    try:
        for start in range(0, len(samples), _PIECE):
            time.sleep(max(0.0, began + start / SAMPLE_RATE - time.perf_counter()))
            line.send(samples[start : start + _PIECE].tobytes())
        line.send('{"type": "end"}')
    except ConnectionClosed:
        return  # who listens says why
