"""A service with a quick engine in a process of its own, for tests that kill it.

    python live_server.py PORT_FILE [api|worker]

Writes its port, and serves until it is killed. ``worker`` only does the work that is there.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hansard import transcription
from hansard.api.process import server
from hansard.config import load
from hansard.jobs.worker import Listener
from hansard.wiring import House


def main() -> None:
    port_file, what, root = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    sys.path.insert(0, root)
    from tests.quick import QuickEngine

    engine: Any = QuickEngine()

    @contextmanager
    def listener(house: House, name: str, model: str) -> Iterator[Listener]:
        del name, model
        yield Listener(2, 2, partial(transcription.listen, house.parts, engine))

    House._listener = listener  # type: ignore[method-assign,assignment] # a quick engine for all
    logging.basicConfig(level=logging.INFO)
    house = House(load())
    house.start()
    if what == "worker":
        port_file.write_text("0")
        while True:
            time.sleep(1)
    listening = socket.create_server(("127.0.0.1", 0))
    port_file.write_text(str(listening.getsockname()[1]))
    server(house).run(sockets=[listening])
    house.close()


if __name__ == "__main__":
    main()
