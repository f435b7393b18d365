"""A receiver of webhooks on loopback: keeps what came, and answers as it is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec


@dataclass
class Call:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    endless: bool = False
    """Send the body again and again."""
    hang_up: bool = False


class Receiver(ThreadingHTTPServer):
    """Answers with ``answers`` in turn, the last one for ever; waits for ``hold`` first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[Call] = []
        self.answers = [Answer()]
        self.hold = threading.Event()
        self.hold.set()
        self.waiting = 0
        self.most_waiting = 0
        self.changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def wait_for(self, count: int) -> list[Call]:
        with self.changed:
            came = self.changed.wait_for(lambda: len(self.calls) >= count, 60)
            assert came, f"{len(self.calls)} of {count} calls came"
            return list(self.calls)

    def handle_error(self, *_: object) -> None:
        """A sender that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests print nothing."""

    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        with receiver.changed:
            receiver.waiting += 1
            receiver.most_waiting = max(receiver.most_waiting, receiver.waiting)
            receiver.changed.notify_all()
        receiver.hold.wait(60)
        with receiver.changed:
            receiver.waiting -= 1
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.calls.append(Call(self.path, headers, body))
            answers = receiver.answers
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            receiver.changed.notify_all()
        if answer.hang_up:
            self.connection.close()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        while answer.endless:
            self.wfile.write(answer.body)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.set()
        receiver.shutdown()
        thread.join()
        receiver.server_close()


def verified(call: Call, secret: str) -> bool:
    """As a receiver does it, written from the Standard Webhooks specification alone."""
    scheme, _, encoded = secret.partition("_")
    assert scheme == "whsec"
    content = b".".join(
        [call.id.encode(), call.headers["webhook-timestamp"].encode("ascii"), call.body]
    )
    wanted = hmac.digest(base64.standard_b64decode(encoded), content, hashlib.sha256)
    for one in call.headers["webhook-signature"].split(" "):
        version, _, mark = one.partition(",")
        if version == "v1" and hmac.compare_digest(base64.standard_b64decode(mark), wanted):
            return True
    return False
