"""One API process with a quick engine, for a proxy to stand before.

    python backend.py PORT_FILE RELEASE_FILE ROOT

Writes its port, and serves until it is killed. No window is heard while there is no RELEASE_FILE.
"""

from __future__ import annotations

import logging
import socket
import sys
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
    port_file, release, root = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    sys.path.insert(0, root)
    from tests.quick import QuickEngine
    from tests.waiting import until

    class Held(QuickEngine):
        def transcribe(self, batch: Any, options: Any) -> Any:
            until(release.exists, "the test lets windows be heard")
            return super().transcribe(batch, options)

    engine: Any = Held()

    @contextmanager
    def listener(house: House, name: str, model: str) -> Iterator[Listener]:
        del name, model
        yield Listener(2, 2, partial(transcription.listen, house.parts, engine))

    House._listener = listener  # type: ignore[method-assign,assignment] # a quick engine for all
    logging.basicConfig(level=logging.INFO)
    house = House(load())
    house.start()
    listening = socket.create_server(("127.0.0.1", 0))
    port_file.with_suffix(".new").write_text(str(listening.getsockname()[1]))
    port_file.with_suffix(".new").rename(port_file)
    server(house).run(sockets=[listening])
    house.close()


if __name__ == "__main__":
    main()
