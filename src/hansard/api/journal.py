"""The access log: one line of JSON for each request, written by a thread of its own.

The event loop only leaves the entry; a reader of the log that does not read holds up nobody.
Addresses are logged as their templates and never with their query: what people look for is theirs.
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import TextIO

import msgspec

_MOST = 10_000
"""Entries that may wait. What comes on top is counted, and the count is logged."""

_PATIENCE = 2.0
"""Seconds that the last lines have to be written at the end."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One request. ``status`` 499: the client went away before it was answered."""

    time: float
    """Seconds since the epoch."""
    method: str
    route: str
    status: int
    ms: float
    bytes: int
    """Of the body that was sent, as it was sent."""
    request: str
    trace: str
    key: str | None
    tenant: str | None
    client: str


class Journal:
    """Writes entries in the order they came."""

    def __init__(self, out: TextIO | None = None) -> None:
        """``out`` is standard output where it is not given: notices go to standard error."""
        self._out = out
        self._waiting: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="hansard-access-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, entry: Entry) -> None:
        """Leave an entry to be written. Never waits."""
        if self._waiting.qsize() < _MOST:
            self._waiting.put(entry)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what is left, unless nobody takes it."""
        self._waiting.put(None)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        encoder = msgspec.json.Encoder()
        while (entry := self._waiting.get()) is not None:
            lines = [encoder.encode(entry)]
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                lines.append(encoder.encode({"time": entry.time, "dropped": dropped}))
            out = self._out or sys.stdout
            out.write("".join(f"{line.decode()}\n" for line in lines))
            if self._waiting.empty():
                out.flush()
