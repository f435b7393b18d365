"""Object storage: moto's server over real HTTP, and a proxy that misbehaves.

Or another: ``HANSARD_TEST_S3=http://KEY:SECRET@127.0.0.1:9000`` names one in which buckets may be
made, and are removed afterwards.
"""

from __future__ import annotations

import http.client
import logging
import os
import secrets
import socket
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import numpy as np
from tests.cli.conftest import Audio

from hansard.shared import S3Settings
from hansard.store.bucket import Bucket

_GIVEN = urlsplit(os.environ.get("HANSARD_TEST_S3", ""))
_KEY, _SECRET = unquote(_GIVEN.username or "any"), unquote(_GIVEN.password or "any")


@dataclass(frozen=True)
class Storage:
    """A bucket of one's own, empty at first."""

    endpoint: str
    name: str

    @property
    def address(self) -> str:
        """For the setting ``files``."""
        return f"s3://{self.name}/a/prefix"

    def s3(self, **more: Any) -> S3Settings:
        """For the setting ``s3``."""
        return S3Settings.model_validate(
            {
                "endpoint": self.endpoint,
                "access_key": _KEY,
                "secret_key": _SECRET,
                "part": 5 * 2**20,
                "timeout": 20.0,
                **more,
            }
        )

    def settings(self, **more: Any) -> dict[str, Any]:
        """Both, for ``config.load``."""
        return {"files": self.address, "s3": self.s3(**more)}

    def environment(self, **more: Any) -> dict[str, str]:
        """The same for another process."""
        said = self.s3(**more).model_dump(exclude_unset=True)
        return {
            "HANSARD_FILES": self.address,
            **{f"HANSARD_S3__{name.upper()}": str(value) for name, value in said.items()},
        }

    def bucket(self) -> Bucket:
        """For looking at what is there, past any proxy."""
        return Bucket(self.address, self.s3())

    def keys(self) -> list[str]:
        """What is there, by key."""
        bucket = self.bucket()
        try:
            return [entry.key for entry in bucket.entries("")]
        finally:
            bucket.close()

    def through(self, proxy: Proxy) -> Storage:
        """The same bucket, reached by the proxy."""
        return replace(self, endpoint=f"http://127.0.0.1:{proxy.port}")


def waved(path: Path, speech: Audio, times: int) -> Path:
    """Speech over and over as WAV: large, and quickly made."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.tile(speech, times).astype("<i2").tobytes())
    return path


@contextmanager
def server() -> Iterator[str]:
    """The address of the storage that is named, or of one that keeps everything in memory."""
    if _GIVEN.netloc:
        yield f"{_GIVEN.scheme}://{_GIVEN.netloc.rpartition('@')[2]}"
        for one in _made:
            _remove(one)
        return
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        moto.stop()


def fresh(endpoint: str) -> Storage:
    """A new bucket."""
    made = Storage(endpoint, f"hansard-test-{secrets.token_hex(6)}")
    with closing(made.bucket()) as bucket, bucket.client() as client:
        client.create_bucket(Bucket=made.name)
    _made.append(made)
    return made


_made: list[Storage] = []


def _remove(made: Storage) -> None:
    with closing(made.bucket()) as bucket, bucket.client() as client:
        for one in client.list_multipart_uploads(Bucket=made.name).get("Uploads", []):
            client.abort_multipart_upload(
                Bucket=made.name, Key=one["Key"], UploadId=one["UploadId"]
            )
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=made.name):
            for one in page.get("Contents", []):
                client.delete_object(Bucket=made.name, Key=one["Key"])
        client.delete_bucket(Bucket=made.name)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────

Fault = str
"""A status: refused with it. ``cut``: half of the answer. ``lost``: done, but not answered.
``torn``: hung up in the middle of what was sent. ``stall``: no answer until the proxy is closed."""

Plan = Callable[[str, str], Fault | None]
"""Method and path with query → what goes wrong with this request."""


def each(count: int, faults: tuple[Fault, ...]) -> Plan:
    """One after the other, with every ``count``-th request."""
    lock = threading.Lock()
    asked = 0

    def plan(method: str, path: str) -> Fault | None:
        nonlocal asked
        del method, path
        with lock:
            asked += 1
            if asked % count:
                return None
            return faults[asked // count % len(faults)]

    return plan


def once(fault: Fault, method: str, contains: str = "") -> Plan:
    """With the first request of a kind."""
    lock = threading.Lock()
    left = [fault]

    def plan(asked: str, path: str) -> Fault | None:
        with lock:
            return left.pop() if left and asked == method and contains in path else None

    return plan


class Proxy:
    """HTTP to the storage and back, a thread for each connection."""

    def __init__(self, endpoint: str, plan: Plan = lambda _method, _path: None) -> None:
        self.plan = plan
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and range of every request."""
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy, self._server.target = self, endpoint.removeprefix("http://")
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy
    target: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass
        raise AttributeError(name)

    def _pass(self) -> None:
        assert isinstance(self.server, _Server)
        proxy = self.server.proxy
        proxy.asked.append((self.command, self.path, self.headers.get("range", "")))
        fault = proxy.plan(self.command, self.path)
        if fault is not None:
            proxy.faults.append(fault)
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length // 2 if fault == "torn" else length)
        if fault is not None and fault.isdigit():
            self._answer(int(fault), {"Content-Type": "application/xml"}, _REFUSALS[fault])
            return
        if fault in {"torn", "stall"}:
            if fault == "stall":
                proxy.closing.wait(60)
            self._hang_up()
            return
        if len(body) < length:  # whoever sent it went away: the storage would wait for the rest
            self._hang_up()
            return
        status, headers, content = self._forward(self.server.target, body)
        size = int(headers.pop("Content-Length", len(content)))
        if fault != "lost":
            sent = content[: len(content) // 2] if fault == "cut" else content
            self._answer(status, headers, sent, size)
        if fault is not None:
            self._hang_up()

    def _forward(self, target: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked = {name: said for name, said in self.headers.items() if name.lower() != "expect"}
        with closing(http.client.HTTPConnection(target, timeout=60)) as connection:
            connection.request(self.command, self.path, body, asked)
            said = connection.getresponse()
            content = said.read()
            headers = {name: text for name, text in said.getheaders() if name.lower() not in _OWN}
            return said.status, headers, content

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, size: int | None = None
    ) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) if size is None else size))
            self.end_headers()
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name it has
        """Nobody reads it."""


_OWN = {"transfer-encoding", "connection", "server", "date"}
_REFUSALS = {
    status: f"<Error><Code>{code}</Code><Message>{said}</Message></Error>".encode()
    for status, code, said in (
        ("503", "SlowDown", "Please reduce your request rate."),
        ("403", "AccessDenied", "Access Denied."),
        ("404", "404", "Not Found"),
        ("501", "NotImplemented", "Server-side encryption is not supported."),
        (
            "507",
            "XMinioStorageFull",
            "Storage backend has reached its minimum free drive threshold.",
        ),
    )
}
