"""A real HTTP server that speaks the OpenAI audio API, with faults on request.

It decodes every upload with PyAV, so what it was sent is known to be audio and how long it lasts.
``script`` lists faults that are used up one a call, before answers become normal again.
"""

from __future__ import annotations

import io
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789abcdef"


@dataclass(frozen=True)
class Fault:
    """One bad answer. ``kind``: ``status``, ``hang``, ``cut`` or ``body``."""

    kind: str
    status: int = 500
    message: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: dict[str, Any] = field(default_factory=dict)


def status(http: int, message: str = "scripted", **error: Any) -> Fault:
    return Fault("status", http, message, error=error)


def busy(retry_after: str) -> Fault:
    return Fault("status", 429, "slow down", headers={"Retry-After": retry_after})


def body(content: bytes) -> Fault:
    return Fault("body", body=content)


HANG = Fault("hang")
CUT = Fault("cut")


@dataclass
class Call:
    path: str
    fields: dict[str, list[str]]
    filename: str
    seconds: float
    codec: str
    authorization: str
    at: float


def words_of(seconds: float) -> dict[str, Any]:
    """What the server hears: two words a second, one segment for each two seconds begun."""
    count = max(1, int(seconds * 2))
    words = [{"word": f"w{n}", "start": n * 0.5, "end": n * 0.5 + 0.4} for n in range(count)]
    segments = [
        {
            "id": n // 4,
            "seek": 0,
            "start": words[n]["start"],
            "end": words[min(n + 3, count - 1)]["end"],
            "text": " " + " ".join(str(w["word"]) for w in words[n : n + 4]) + ".",
            "tokens": [n],
            "temperature": 0.0,
            "avg_logprob": -0.2,
            "compression_ratio": 1.1,
            "no_speech_prob": 0.01,
        }
        for n in range(0, count, 4)
    ]
    return {
        "task": "transcribe",
        "language": "english",
        "duration": seconds,
        "text": " ".join(str(w["word"]) for w in words),
        "segments": segments,
        "words": words,
    }


class FakeOpenAI(ThreadingHTTPServer):
    """Start with :func:`serve`; change the public attributes to change what it does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.script: list[Fault] = []
        self.calls: list[Call] = []
        self.under_way = 0
        self.most_under_way = 0
        self.hold: threading.Event | None = None
        """Where set, answers wait for it: to look at calls in flight."""
        self.key: str | None = KEY
        self.models_status = 200
        self.refuses_verbose = False
        self.refuses_granularities = False
        self.refuses_flac = False
        self.ended = threading.Event()
        self.answer: Callable[[float], dict[str, Any]] = words_of

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeOpenAI
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            self._error(404, "no such page")
        elif self.server.models_status != 200:
            self._error(self.server.models_status, "scripted")
        elif self._allowed():
            self._send(200, {"object": "list", "data": [{"id": "whisper-1", "object": "model"}]})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.lock:
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            fault = server.script.pop(0) if server.script else None
        try:
            fields, filename, upload = _form(self.headers["Content-Type"], raw)
            seconds, codec = _listen(upload)
            with server.lock:
                server.calls.append(
                    Call(
                        self.path,
                        fields,
                        filename,
                        seconds,
                        codec,
                        self.headers.get("Authorization", ""),
                        time.monotonic(),
                    )
                )
            if server.hold:
                server.hold.wait(30)
        finally:
            with server.lock:
                server.under_way -= 1
        if fault:
            self._play(fault)
        elif self._allowed():
            self._transcribe(fields, codec, seconds)

    def _transcribe(self, fields: dict[str, list[str]], codec: str, seconds: float) -> None:
        server = self.server
        wanted = fields.get("response_format", ["json"])[0]
        if server.refuses_flac and codec == "flac":
            self._error(413, "request entity too large")
        elif server.refuses_verbose and wanted == "verbose_json":
            self._error(
                400,
                "response_format 'verbose_json' is not compatible with this model.",
                param="response_format",
                code="unsupported_value",
            )
        elif server.refuses_granularities and "timestamp_granularities[]" in fields:
            self._error(400, "unknown field timestamp_granularities[]")
        else:
            answer = dict(server.answer(seconds))
            if wanted == "json":
                answer = {"text": answer["text"]}
            elif "word" not in fields.get("timestamp_granularities[]", []):
                answer.pop("words", None)
            self._send(200, answer)

    def _allowed(self) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.server.key is None or sent == f"Bearer {self.server.key}":
            return True
        self._error(401, f"Incorrect API key provided: {sent.removeprefix('Bearer ')}.")
        return False

    def _play(self, fault: Fault) -> None:
        if fault.kind == "hang":
            self.server.ended.wait(30)
            self.close_connection = True
        elif fault.kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"text": "half of')
            self.wfile.flush()
            # SO_LINGER with zero seconds: the connection is reset, not closed in good order.
            self.connection.setsockopt(1, 13, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault.kind == "body":
            self._send_bytes(200, fault.body, {})
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


def _form(content_type: str, raw: bytes) -> tuple[dict[str, list[str]], str, bytes]:
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + raw
    )
    fields: dict[str, list[str]] = {}
    filename, upload = "", b""
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_filename():
            filename, upload = str(part.get_filename()), content
        else:
            fields.setdefault(str(name), []).append(content.decode())
    return fields, filename, upload


def _listen(upload: bytes) -> tuple[float, str]:
    import av

    with av.open(io.BytesIO(upload), "r") as container:
        codec = container.streams.audio[0].codec_context.name
        samples = rate = 0
        for frame in container.decode(audio=0):
            samples += frame.samples
            rate = frame.sample_rate
    return samples / rate, codec


@contextmanager
def serve() -> Iterator[FakeOpenAI]:
    """A server on 127.0.0.1 that ends with the block."""
    server = FakeOpenAI()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        if server.hold:
            server.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
