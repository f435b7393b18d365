"""The API as a server: uvicorn, set up for this application."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from hansard.api.app import create
from hansard.api.pauses import Pauses

if TYPE_CHECKING:
    import socket

    import uvicorn

    from hansard.wiring import House


_ORPHANED = 2
"""Seconds that requests have to end where the parent died: a new service may want the address."""


def server(house: House) -> uvicorn.Server:
    """A server over an open house, which its caller closes; run it with a listening socket."""
    import uvicorn

    from hansard.api.connection import Connection

    app = create(house)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.desk.watch.leave()  # who follows a job would hold the service up
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            app,
            loop="asyncio",  # under a crowd, uvloop leaves some connections unread for seconds
            http=Connection,
            ws="websockets-sansio" if importlib.util.find_spec("websockets") else "none",
            ws_max_size=2 * 1024 * 1024,  # api.live takes half of that, and says so
            lifespan="on",
            forwarded_allow_ips=list(house.settings.serve.proxies),
            access_log=False,  # api.envelope writes its own, as JSON
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )


def run(
    house: House, listening: socket.socket, *, ready: Callable[[], None], parent: Iterable[str]
) -> None:
    """Serve until SIGTERM, or until the parent is gone; requests under way are answered.

    Args:
        house: open; its caller closes it.
        listening: the socket, which the parent holds as well.
        ready: called when requests are answered.
        parent: what the parent says; it ends with the parent.
    """
    # Threads that read the store let go of the interpreter at each row, and the event loop then
    # keeps it for as long as it may: five milliseconds at a time make a crowd wait for a look.
    sys.setswitchinterval(0.001)
    Pauses().watch()
    front = server(house)
    # Whoever watches over this process says when it ends, however often; a terminal tells all.
    whole: Any = front
    whole.capture_signals = nullcontext
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: setattr(front, "should_exit", True))

    def watch() -> None:
        for _ in parent:
            pass  # a sibling has died: a worker's matter
        front.config.timeout_graceful_shutdown = _ORPHANED
        front.should_exit = True

    threading.Thread(target=watch, name="hansard-line", daemon=True).start()
    threading.Thread(target=_wait, args=(front, ready), name="hansard-ready", daemon=True).start()
    front.run(sockets=[listening])


def _wait(front: uvicorn.Server, ready: Callable[[], None]) -> None:
    while not front.started:
        time.sleep(0.01)
    ready()
