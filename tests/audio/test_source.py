from __future__ import annotations

import gzip
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from hansard.audio.source import CHUNK, Source, expand, from_stranger, stream
from hansard.config import LimitSettings, load
from hansard.errors import (
    AddressRefused,
    BadRequest,
    EmptyFile,
    FetchFailed,
    NoMediaInDirectory,
    NotFound,
    TooLarge,
    TooManyRedirects,
    Unreadable,
    UsageError,
)

LIMITS = LimitSettings()
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "


def read(source: Source, limits: LimitSettings = LIMITS) -> bytes:
    with stream(source, limits) as incoming:
        return b"".join(incoming.chunks)


# ── naming ───────────────────────────────────────────────────────────────────────────────────


def test_a_file_named_outright_is_taken_as_it_is(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "talk").write_bytes(b"anything")
    monkeypatch.chdir(tmp_path)
    assert expand(["talk"]) == [Source("file", "talk", str(tmp_path / "talk"))]


def test_directories_give_their_media_sorted_without_what_is_hidden(tmp_path: Path, caplog) -> None:
    for name, content in {
        "b/two.WAV": WAV,
        "a/one.mp3": b"ID3\x04" + bytes(100),
        "a/raw.mp3": b"\xff\xfb\x90\x00" + bytes(100),
        "a/film.mp4": b"\x00\x00\x00\x18ftypisom",
        "a/text.mp3": b"these are words",
        "a/empty.wav": b"",
        "a/notes.txt": WAV,
        "a/.hidden.wav": WAV,
        ".trash/gone.wav": WAV,
        "c/cast.ts": (b"G" + bytes(187)) * 3,
        "c/code.ts": b"export const answer = 42;\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    found = [str(Path(s.location).relative_to(tmp_path)) for s in expand([str(tmp_path)])]
    assert found == ["a/film.mp4", "a/one.mp3", "a/raw.mp3", "b/two.WAV", "c/cast.ts"]
    assert "text.mp3" in caplog.text


def test_every_kind_of_media_made_here_is_recognised(make_media, make_voice, tmp_path) -> None:
    voice = make_voice(1)
    for name, codec in {
        "a.wav": "pcm_s16le",
        "a.aiff": "pcm_s16be",
        "a.flac": "flac",
        "a.mp3": "libmp3lame",
        "a.aac": "aac",
        "a.m4a": "aac",
        "a.mov": "aac",
        "a.3gp": "aac",
        "a.ogg": "libopus",
        "a.webm": "libopus",
        "a.mkv": "aac",
        "a.avi": "aac",
        "a.wma": "wmav2",
        "a.ts": "aac",
        "a.flv": "aac",
        "a.caf": "pcm_s16be",
        "a.au": "pcm_s16be",
        "a.w64": "pcm_s16le",
        "a.ac3": "ac3",
        "a.wv": "wavpack",
        "a.tta": "tta",
    }.items():
        rate = 44_100 if name == "a.flv" else 48_000
        container = {"a.aac": "adts", "a.ts": "mpegts", "a.mkv": "matroska"}.get(name)
        make_media(name, codec, voice, rate=rate, container=container)
    assert len(expand([str(tmp_path)])) == len(list(tmp_path.glob("a.*")))


def test_the_same_thing_named_twice_comes_once(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WAV)
    assert len(expand([str(path), str(tmp_path), str(path)])) == 1
    assert len(expand(["-", "-", "http://h/x.mp3", "http://h/x.mp3"])) == 2


def test_addresses_and_standard_input(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = expand(["HTTPS://Host.example/a%20b/c%20d.mp3?x=1", "http://host.example", "-"])
    assert [(s.kind, s.name) for s in sources] == [
        ("url", "c d.mp3"),
        ("url", "host.example"),
        ("stdin", "standard input"),
    ]
    with pytest.raises(UsageError) as refusal:
        expand(["ftp://host.example/x.mp3"])
    assert type(refusal.value) is UsageError


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        expand([str(tmp_path / "none.wav")])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(NoMediaInDirectory):
        expand([str(tmp_path)])
    with pytest.raises(Unreadable):
        expand(["bad\0name"])


# ── files and standard input ─────────────────────────────────────────────────────────────────


def test_a_file_comes_in_chunks(tmp_path: Path) -> None:
    data = os.urandom(2 * CHUNK + 17)
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    with stream(expand([str(path)])[0], LIMITS) as incoming:
        assert (incoming.name, incoming.size) == ("a.bin", len(data))
        chunks = list(incoming.chunks)
    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, 17]
    assert b"".join(chunks) == data


def test_files_that_cannot_be_taken(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.bin"
    path.touch()
    source = expand([str(path)])[0]
    with pytest.raises(EmptyFile):
        read(source)
    path.write_bytes(bytes(100))
    with pytest.raises(TooLarge):
        read(source, LimitSettings(bytes=99))
    assert len(read(source, LimitSettings(bytes=100))) == 100
    path.unlink()
    with pytest.raises(NotFound):
        read(source)

    def forbidden(*_args, **_options) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(Unreadable, match="Permission denied"):
        read(source)


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(WAV * 1000,))
    writer.start()
    with stream(expand([str(path)])[0], LIMITS) as incoming:
        assert incoming.size is None
        assert b"".join(incoming.chunks) == WAV * 1000
    writer.join()


def test_standard_input(monkeypatch) -> None:
    source = expand(["-"])[0]

    def given(data: bytes, *, terminal: bool = False) -> None:
        fake = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal)
        monkeypatch.setattr("sys.stdin", fake)

    given(WAV)
    assert read(source) == WAV
    given(WAV)
    with pytest.raises(TooLarge):
        read(source, LimitSettings(bytes=3))
    given(b"")
    with pytest.raises(EmptyFile):
        read(source)
    given(b"", terminal=True)
    with pytest.raises(UsageError):
        read(source)


# ── addresses, against a real server ─────────────────────────────────────────────────────────

BODY = WAV + bytes(range(256)) * 8192  # two megabytes and a bit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args) -> None:
        """Tests print nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Transfer_Encoding" not in headers and "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        try:
            getattr(self, f"give_{path.strip('/').partition('.')[0].replace('-', '_')}")()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client had enough

    def give_talk(self) -> None:
        self.answer(200, BODY)

    def give_named(self) -> None:
        self.answer(200, BODY, Content_Disposition='attachment; filename="../../board.mp3"')

    def give_umlaut(self) -> None:
        name = "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.mp3"
        self.answer(200, BODY, Content_Disposition=name)

    def give_once(self) -> None:
        self.answer(302, Location="/talk.wav")

    def give_inside(self) -> None:
        host = self.headers["Host"].replace("127.0.0.1", "[::1]")
        self.answer(302, Location=f"http://{host}/talk.wav")

    def give_packed(self) -> None:
        self.answer(200, gzip.compress(BODY), Content_Encoding="gzip")

    def give_loop(self) -> None:
        self.answer(302, Location="/loop")

    def give_elsewhere(self) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def give_gone(self) -> None:
        self.answer(404, b"no")

    def give_locked(self) -> None:
        self.answer(401, b"no")

    def give_broken(self) -> None:
        self.answer(503, b"no")

    def give_page(self) -> None:
        self.answer(200, b"<html>", Content_Type="text/html; charset=utf-8")

    def give_nothing(self) -> None:
        self.answer(200, b"")

    def give_short(self) -> None:
        self.close_connection = True
        self.answer(200, BODY[:1000], Content_Length="100000")

    def give_chunked(self) -> None:
        self.answer(200, Transfer_Encoding="chunked")
        for start in range(0, len(BODY), 65_536):
            part = BODY[start : start + 65_536]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def give_slow(self) -> None:
        self.close_connection = True
        self.answer(200, Content_Length="1000000")
        for _ in range(600):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def give_mute(self) -> None:
        self.close_connection = True
        time.sleep(5)


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()


@pytest.fixture
def address(monkeypatch) -> Iterator[Callable[[str], Source]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as root:
        yield lambda path: expand([f"{root}/{path}"])[0]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("talk.wav?token=1", "talk.wav"),
        ("chunked.mp3", "chunked.mp3"),
        ("once.mp3", "talk.wav"),
        ("named.bin", "board.mp3"),
        ("umlaut.bin", "grüße.mp3"),
    ],
)
def test_an_address_gives_its_bytes_and_its_name(address, path, name) -> None:
    with stream(address(path), LIMITS) as incoming:
        assert incoming.name == name
        assert incoming.size == (None if "chunked" in path else len(BODY))
        chunks = list(incoming.chunks)
    assert b"".join(chunks) == BODY
    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK}


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("loop", TooManyRedirects, "redirects more than 5 times"),
        ("elsewhere", FetchFailed, "does not lead to an http"),
        ("gone.mp3", FetchFailed, "answers 404"),
        ("locked.mp3", FetchFailed, "answers 401"),
        ("broken.mp3", FetchFailed, "answers 503"),
        ("page", FetchFailed, "web page"),
        ("nothing.mp3", EmptyFile, "empty"),
        ("short.mp3", FetchFailed, "stopped in the middle"),
    ],
)
def test_an_address_that_gives_no_recording(address, path, error, words) -> None:
    with pytest.raises(error, match=words) as refusal:
        read(address(path))
    assert type(refusal.value) is error
    assert refusal.value.hint


@pytest.mark.parametrize("path", ["talk.wav", "chunked.wav"])
def test_too_large_as_announced_or_as_counted(address, path) -> None:
    with pytest.raises(TooLarge):
        read(address(path), LimitSettings(bytes=len(BODY) - 1))
    assert read(address(path), LimitSettings(bytes=len(BODY))) == BODY


@pytest.mark.parametrize("path", ["slow.mp3", "mute.mp3"])
def test_a_server_that_dawdles_is_given_up(address, path) -> None:
    with pytest.raises(FetchFailed, match=r"took longer|does not answer"):
        read(address(path), LimitSettings(fetch_seconds=0.3))


def test_nobody_there(monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(FetchFailed, match="cannot be reached"):
        read(expand(["http://127.0.0.1:9/x.mp3"])[0])
    with pytest.raises(UsageError):
        expand(["http://[bad/x.mp3"])
    with pytest.raises(FetchFailed):
        read(expand(["http://bad host/x.mp3"])[0])


# ── addresses that strangers name ────────────────────────────────────────────────────────────


def test_a_stranger_names_addresses_of_the_web_only(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WAV)
    settings = load()
    for name in (str(path), "-", f"file://{path}", "ftp://host.example/x.mp3"):
        with pytest.raises(BadRequest):
            from_stranger(name, settings)
    with pytest.raises(AddressRefused):
        from_stranger("http://127.0.0.1:8420/x.mp3", settings)
    assert from_stranger("https://host.example/a%20b.mp3", settings).name == "a b.mp3"
    for source in expand([str(path)]):
        with pytest.raises(AddressRefused), stream(source, LIMITS, guarded=settings):
            pass


def test_a_strangers_address_is_guarded_when_it_is_fetched(address) -> None:
    with pytest.raises(AddressRefused), stream(address("talk.wav"), LIMITS, guarded=load()):
        pass


def test_a_strangers_address_where_private_ones_are_allowed(address) -> None:
    free = load(webhooks={"private": True})

    def fetch(path: str, limits: LimitSettings = LIMITS) -> bytes:
        source = from_stranger(address(path).location, free)
        with stream(source, limits, guarded=free) as incoming:
            return b"".join(incoming.chunks)

    assert fetch("once.mp3") == BODY
    assert fetch("chunked.mp3") == BODY
    for path, error in {
        "loop": TooManyRedirects,
        "elsewhere": FetchFailed,
        "gone.mp3": FetchFailed,
        "short.mp3": FetchFailed,
        "packed.mp3": FetchFailed,
        "nothing.mp3": EmptyFile,
    }.items():
        with pytest.raises(error):
            fetch(path)
    with pytest.raises(TooLarge):
        fetch("talk.wav", LimitSettings(bytes=len(BODY) - 1))
    for path in ("slow.mp3", "mute.mp3"):
        with pytest.raises(FetchFailed, match=r"took longer|does not answer"):
            fetch(path, LimitSettings(fetch_seconds=0.3))


def test_a_redirect_of_a_strangers_address_is_guarded_too(address, monkeypatch) -> None:
    monkeypatch.setattr("hansard.outbound.is_public", lambda found: found == "127.0.0.1")
    settings = load()
    with stream(address("talk.wav"), LIMITS, guarded=settings) as incoming:
        assert b"".join(incoming.chunks) == BODY
    with (
        pytest.raises(AddressRefused),
        stream(address("inside.wav"), LIMITS, guarded=settings),
    ):
        pass
