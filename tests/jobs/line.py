"""A line to a PostgreSQL that breaks when it is told to: at a commit, or altogether."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

import sqlalchemy as sa

Point = Literal["before", "after"]
"""A commit that never arrived; or one that did, and its answer was lost."""


class Line:
    """A TCP proxy in threads. Connections are whole or reset, never half open."""

    def __init__(self, address: str) -> None:
        url = sa.make_url(address)
        self._target = (url.host or "127.0.0.1", url.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.address = url.set(
            host="127.0.0.1", port=port, query={"sslmode": "disable"}
        ).render_as_string(hide_password=False)
        self.cuts = 0
        self._guard = threading.Lock()
        self._armed: tuple[Point, bytes] | None = None
        self._down = False
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def arm(self, point: Point, marker: str) -> None:
        """Break at the next commit of a transaction that has sent this."""
        with self._guard:
            self._armed = (point, marker.encode())

    def break_(self) -> None:
        """Reset everything, and take nothing any more."""
        with self._guard:
            self._down = True
        self.cut()

    def mend(self) -> None:
        """Take connections again."""
        with self._guard:
            self._down = False

    def cut(self) -> None:
        """Reset every connection there is."""
        with self._guard:
            self.cuts += 1
            for one in self._open:
                _reset(one)

    def close(self) -> None:
        """For good."""
        self.break_()
        _reset(self._listener)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with self._guard:
                    if self._down:
                        near.close()
                        continue
                    far = socket.create_connection(self._target)
                    self._open |= {near, far}
                serving = threading.Thread(target=self._serve, args=(near, far))
                self._threads.append(serving)
                serving.start()

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            answering = threading.Thread(target=self._answer, args=(near, far))
            answering.start()
            self._send(near, far)
            _reset(near)
            with suppress(OSError):
                # The server is let finish what it was sent before it sees that nobody is there.
                far.shutdown(socket.SHUT_WR)
            answering.join()
            with self._guard:
                self._open -= {near, far}

    def _send(self, near: socket.socket, far: socket.socket) -> None:
        said = b""
        with suppress(OSError):
            while piece := near.recv(65_536):
                said += piece
                if b"COMMIT" not in piece:
                    far.sendall(piece)
                    continue
                point = self._due(said)
                said = b""
                if point == "before":
                    break
                if point == "after":
                    _reset(near)  # what is answered now is heard by nobody
                far.sendall(piece)

    def _due(self, said: bytes) -> Point | None:
        with self._guard:
            if self._armed is None or self._armed[1] not in said:
                return None
            point, _ = self._armed
            self._armed = None
            self.cuts += 1
            return point

    @staticmethod
    def _answer(near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while piece := far.recv(65_536):
                near.sendall(piece)
        _reset(near)


def _reset(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
