"""A model hub on 127.0.0.1, as much of it as huggingface_hub asks for, with faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Serves one directory as whatever repository is asked for."""

    daemon_threads = True

    def __init__(self, directory: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.directory = directory
        self.ended = threading.Event()
        self.hangs = False
        self.status = 200
        self.cut: str | None = None
        """Name of a file whose download stops in the middle, each time."""
        self.slow: threading.Event | None = None
        """Where set, files stop in the middle until it is set."""
        self.reached_middle = threading.Event()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = self.server
        path = urlsplit(self.path).path
        server.asked.append(f"{self.command} {path}")
        if server.hangs:
            server.ended.wait(30)
            self.close_connection = True
        elif server.status != 200 or server.directory is None:
            self._send(server.status, b"{}")
        elif path.startswith("/api/models/"):
            self._api(path, server.directory)
        else:
            self._file(server.directory / path.rpartition("/")[2])

    def _api(self, path: str, directory: Path) -> None:
        if "/tree/" in path:
            listing = [
                {
                    "type": "file",
                    "path": file.name,
                    "size": file.stat().st_size,
                    "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                }
                for file in sorted(directory.iterdir())
            ]
            self._send(200, json.dumps(listing).encode())
        else:
            names = [{"rfilename": file.name} for file in sorted(directory.iterdir())]
            answer = {"id": "a/b", "modelId": "a/b", "sha": COMMIT, "siblings": names}
            self._send(200, json.dumps(answer).encode())

    def _file(self, file: Path) -> None:
        content = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self.server.asked[-1] += " file"
        if self.command == "GET" and file.name == self.server.cut:
            self._head(200, len(content), headers)
            with suppress(ConnectionError):
                self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif self.command == "GET" and self.server.slow and file.name == "model.bin":
            self._head(200, len(content), headers)
            with suppress(ConnectionError):
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.server.reached_middle.set()
                self.server.slow.wait(30)
                self.wfile.write(content[len(content) // 2 :])
        else:
            self._send(200, content, headers)

    def _head(self, status: int, size: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        with suppress(ConnectionError):
            self._head(status, len(content), {"Content-Type": "application/json"} | (headers or {}))
            if self.command != "HEAD":
                self.wfile.write(content)


@contextmanager
def serve(directory: Path | None) -> Iterator[FakeHub]:
    """A hub on 127.0.0.1 that ends with the block."""
    server = FakeHub(directory)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        if server.slow:
            server.slow.set()
        server.shutdown()
        server.server_close()
        thread.join()
