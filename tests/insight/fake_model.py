"""A real HTTP server that speaks OpenAI's chat and embeddings APIs, with faults on request.

``script`` lists faults that are used up one a call, before answers become normal again. Normal
answers are made by ``reply`` from the request; embeddings are hashed words.
"""

from __future__ import annotations

import json
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789abcdef"
LINE = re.compile(r"^\[(\d+)\] (?:(\S+): )?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Fault:
    """One bad answer. ``kind``: ``status``, ``hang``, ``cut``, ``body`` or ``text``."""

    kind: str
    status: int = 500
    message: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: dict[str, Any] = field(default_factory=dict)
    finish: str = "stop"


def status(http: int, message: str = "scripted", **error: Any) -> Fault:
    return Fault("status", http, message, error=error)


def busy(retry_after: str) -> Fault:
    return Fault("status", 429, "slow down", headers={"Retry-After": retry_after})


def says(text: str, finish: str = "stop") -> Fault:
    return Fault("text", message=text, finish=finish)


def body(content: bytes) -> Fault:
    return Fault("body", body=content)


HANG = Fault("hang")
CUT = Fault("cut")


@dataclass
class Call:
    path: str
    asked: dict[str, Any]
    authorization: str

    @property
    def system(self) -> str:
        return str(self.asked["messages"][0]["content"])

    @property
    def material(self) -> str:
        return str(self.asked["messages"][1]["content"])

    @property
    def lines(self) -> list[tuple[int, str, str]]:
        return [(int(n), who, text) for n, who, text in LINE.findall(self.material)]

    @property
    def shape(self) -> str:
        return str(self.asked["response_format"]["json_schema"]["name"])


class FakeModel(ThreadingHTTPServer):
    """Start with :func:`serve`; change the public attributes to change what it does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.script: list[Fault] = []
        self.calls: list[Call] = []
        self.key: str | None = KEY
        self.reply: Callable[[Call], Any] = lambda _: {}
        self.takes: set[str] = {"json_schema", "json_object"}
        """Kinds of ``response_format`` that are not refused."""
        self.refuses: set[str] = set()
        """Fields of a request that are refused by name."""
        self.context: int | None = None
        """Characters of all messages beyond which there is a context-length error."""
        self.counts = True
        self.dimensions = 24
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeModel
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = Call(self.path, asked, self.headers.get("Authorization", ""))
        server = self.server
        with server.lock:
            server.calls.append(call)
            fault = server.script.pop(0) if server.script else None
        if fault:
            self._play(fault)
        elif server.key is not None and call.authorization != f"Bearer {server.key}":
            sent = call.authorization.removeprefix("Bearer ")
            self._error(401, f"Incorrect API key provided: {sent}.")
        elif self.path == "/v1/embeddings":
            self._embed(asked)
        elif self.path == "/v1/chat/completions":
            self._chat(call)
        else:
            self._error(404, "no such page")

    def _chat(self, call: Call) -> None:
        server = self.server
        asked = call.asked
        for name in server.refuses & set(asked):
            more = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            self._error(400, f"Unsupported parameter: '{name}'.{more}", param=name)
            return
        wanted = asked.get("response_format", {"type": "text"})["type"]
        if wanted != "text" and wanted not in server.takes:
            self._error(400, f"response_format {wanted} is not supported")
            return
        length = sum(len(message["content"]) for message in asked["messages"])
        if server.context is not None and length > server.context:
            self._error(
                400,
                f"This model's maximum context length is {server.context} tokens.",
                code="context_length_exceeded",
            )
            return
        self._say(server.reply(call), length)

    def _say(self, value: Any, length: int, finish: str = "stop") -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": "fake",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": finish,
                }
            ],
        }
        if self.server.counts:
            answer["usage"] = {
                "prompt_tokens": length // 4,
                "completion_tokens": len(text) // 4,
                "total_tokens": (length + len(text)) // 4,
            }
        self._send(200, answer)

    def _embed(self, asked: dict[str, Any]) -> None:
        size = asked.get("dimensions", self.server.dimensions)
        texts = asked["input"]
        data = []
        for index, text in enumerate(texts):
            vector = [0.0] * size
            for word in re.findall(r"\w+", text.lower()):
                vector[zlib.crc32(word.encode()) % size] += 3.0
            data.append({"object": "embedding", "index": index, "embedding": vector})
        self._send(
            200,
            {
                "object": "list",
                "data": data[::-1],  # the order is in `index`
                "model": asked["model"],
                "usage": {"prompt_tokens": sum(map(len, texts)) // 4, "total_tokens": 1},
            },
        )

    def _play(self, fault: Fault) -> None:
        if fault.kind == "hang":
            self.server.ended.wait(30)
            self.close_connection = True
        elif fault.kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"half of')
            self.wfile.flush()
            # SO_LINGER with zero seconds: the connection is reset, not closed in good order.
            self.connection.setsockopt(1, 13, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault.kind == "body":
            self._send_bytes(200, fault.body, {})
        elif fault.kind == "text":
            self._say(fault.message, 400, fault.finish)
        else:
            self._error(fault.status, fault.message, headers=fault.headers, **fault.error)

    def _error(
        self, http: int, message: str, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        content = json.dumps({"error": error | more}).encode()
        self._send_bytes(http, content, headers or {})

    def _send(self, code: int, value: Any) -> None:
        self._send_bytes(code, json.dumps(value).encode(), {})

    def _send_bytes(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        with suppress(ConnectionError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)


@contextmanager
def serve() -> Iterator[FakeModel]:
    """A server on 127.0.0.1 that ends with the block."""
    server = FakeModel()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
