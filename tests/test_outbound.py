from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard import outbound
from hansard.config import load
from hansard.errors import AddressRefused, BadRequest

PUBLIC = "93.184.215.14"
DEAD = "1.1.1.1"
"""Public too; nobody answers there in these tests."""


# ── which addresses are public ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        str(IPv4Address(0x0A010203)),
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        str(IPv4Address(0xC0A80101)),
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:172.16.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_private_addresses(address: str) -> None:
    assert not outbound.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC,
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "223.255.255.255",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2606:4700::1111",
        "2a00:1450:4001::1",
    ],
)
def test_public_addresses(address: str) -> None:
    assert outbound.is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_however_it_is_wrapped(plain: IPv4Address) -> None:
    mapped, translated = f"::ffff:{plain}", f"64:ff9b::{plain}"
    assert outbound.is_public(mapped) == outbound.is_public(translated)
    assert outbound.is_public(mapped) == outbound.is_public(str(plain))
    if plain.is_private or plain.is_multicast or plain.is_reserved:
        assert not outbound.is_public(str(plain))


@given(st.ip_addresses(v=6))
def test_nothing_that_python_calls_private_is_public(plain: IPv6Address) -> None:
    if plain.is_private or plain.is_multicast or plain.is_reserved or plain.is_site_local:
        wrapped = plain.ipv4_mapped is not None or str(plain).startswith("64:ff9b::")
        assert wrapped or not outbound.is_public(str(plain))


def test_the_addresses_of_this_machine_are_not_public(monkeypatch) -> None:
    assert "127.0.0.1" in outbound._own()
    assert outbound.is_public(PUBLIC)
    monkeypatch.setattr(outbound, "_own", lambda: {PUBLIC, "2606:4700::1111"})
    assert not outbound.is_public(PUBLIC)
    assert not outbound.is_public(f"::ffff:{PUBLIC}")
    assert not outbound.is_public("2606:4700::1111")


# ── what is refused at once ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://example.org/x", BadRequest),
        ("file:///etc/passwd", BadRequest),
        ("/etc/passwd", BadRequest),
        ("https:///path", BadRequest),
        ("https://[::1/x", BadRequest),
        ("https://example.org:99999/", BadRequest),
        ("https://example.org:0/", BadRequest),
        ("https://exa mple.org/", BadRequest),
        ("https://example.org\\@127.0.0.1/", BadRequest),
        ("https://example.org/\r\nHost: x", BadRequest),
        ("https://example.org/" + "x" * 2048, BadRequest),
        ("https://me:secret@example.org/", AddressRefused),
        ("https://127.0.0.1@example.org/", AddressRefused),
        ("http://localhost:8420/", AddressRefused),
        ("http://LocalHost./", AddressRefused),
        ("http://a.localhost/", AddressRefused),
        ("http://127.0.0.1/", AddressRefused),
        ("http://127.1/", AddressRefused),
        ("http://2130706433/", AddressRefused),
        ("http://0x7f000001/", AddressRefused),
        ("http://0177.0.0.1/", BadRequest),
        ("http://017700000001/", AddressRefused),
        ("http://0/", AddressRefused),
        ("http://169.254.169.254/latest/meta-data/", AddressRefused),
        ("http://[::1]:8420/", AddressRefused),
        ("http://[::ffff:127.0.0.1]/", AddressRefused),
        ("http://[64:ff9b::7f00:1]/", AddressRefused),
    ],
)
def test_what_can_be_seen_is_refused_at_once(url: str, error: type[Exception]) -> None:
    with pytest.raises(error) as refusal:
        outbound.see_that_it_may_be_called(url, load())
    assert type(refusal.value) is error


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "HTTP://EXAMPLE.org:8443/a?b=c#d",
        "https://bücher.example/x",
        "http://1.1.1.1:9999/",
        "https://[2606:4700::1111]/",
    ],
)
def test_the_rest_is_left_to_the_connection(url: str) -> None:
    outbound.see_that_it_may_be_called(url, load())


def test_private_addresses_may_be_allowed_but_nothing_else() -> None:
    free = load(webhooks={"private": True})
    outbound.see_that_it_may_be_called("http://127.0.0.1:1/x", free)
    with pytest.raises(BadRequest):
        outbound.see_that_it_may_be_called("ftp://127.0.0.1/", free)
    with pytest.raises(AddressRefused):
        outbound.see_that_it_may_be_called("http://a:b@127.0.0.1/", free)


# ── connecting, against a real server ────────────────────────────────────────────────────────


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args) -> None:
        """Tests print nothing."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append((self.headers["Host"], self.path))
        try:
            getattr(self, self.path.strip("/").partition("?")[0])()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def plain(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"words")

    def away(self) -> None:
        """A redirect to wherever the query says, with a body that never ends."""
        self.send_response(302)
        self.send_header("Location", self.path.partition("?")[2])
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(bytes(65536))

    def drip(self) -> None:
        self.close_connection = True
        self.send_response(200)
        for number in range(1000):
            self.wfile.write(f"X-{number}: y\r\n".encode())
            time.sleep(0.02)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    server = Server()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Net:
    """A resolver that says what it is told, in turn; and all connections lead to one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.dead = int(taken.getsockname()[1])
        self.answers: dict[str, list[list[str]]] = {}
        self.lookups: list[str] = []
        self.connected: list[str] = []

    def resolve(self, host: str, port: int) -> list[str]:
        del port
        self.lookups.append(host)
        told = self.answers[host]
        return told.pop(0) if len(told) > 1 else told[0]


@pytest.fixture
def net(monkeypatch) -> Iterator[Net]:
    real = httpcore.SyncBackend.connect_tcp
    with serving() as server:
        net = Net(server)

        def connect(
            self: httpcore.SyncBackend, host: str, _port: int, *rest: Any
        ) -> httpcore.NetworkStream:
            net.connected.append(host)
            where = net.dead if host == DEAD else server.server_port
            return real(self, "127.0.0.1", where, *rest)

        monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
        yield net


def get(net: Net, url: str, *, private: bool = False, redirects: int = 5) -> httpx.Response:
    with outbound.client(
        private=private, seconds=5, silence=5, redirects=redirects, resolve=net.resolve
    ) as http:
        return http.get(url)


def test_it_connects_to_the_address_that_was_judged(net: Net) -> None:
    net.answers["hooks.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert get(net, "http://hooks.example:8080/plain").text == "words"
    assert (net.lookups, net.connected) == (["hooks.example"], [PUBLIC])
    assert net.server.asked == [("hooks.example:8080", "/plain")]
    # The second answer is another: whoever looked twice would have gone there.
    with pytest.raises(AddressRefused, match=r"hooks\.example leads into a private network"):
        get(net, "http://hooks.example:8080/plain")
    assert net.connected == [PUBLIC]


def test_one_private_address_among_several_is_enough_to_be_refused(net: Net) -> None:
    net.answers["mixed.example"] = [[PUBLIC, "::ffff:172.16.0.1"]]
    with pytest.raises(AddressRefused) as refusal:
        get(net, "http://mixed.example/plain")
    assert "172.16.0.1" not in refusal.value.message  # names inside are nobody's business
    assert net.connected == []


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("http://127.0.0.1/plain", {}),
        ("http://2130706433/plain", {}),
        ("http://[::1]/plain", {}),
        ("//inner.example/plain", {"inner.example": [["172.31.7.7"]]}),
        ("http://outer.example/plain", {"outer.example": [[PUBLIC], ["169.254.169.254"]]}),
    ],
)
def test_each_redirect_is_judged_anew(net: Net, target: str, answers) -> None:
    net.answers = {"outer.example": [[PUBLIC]], **answers}
    told = net.resolve
    numeric = {"127.0.0.1", "2130706433", "::1"}

    def resolve(host: str, port: int) -> list[str]:
        return outbound.look_up(host, port) if host in numeric else told(host, port)

    net.resolve = resolve  # type: ignore[method-assign]
    with pytest.raises(AddressRefused):
        get(net, f"http://outer.example/away?{target}")
    assert net.connected == [PUBLIC]


def test_a_redirect_to_the_public_is_followed_and_its_endless_body_is_not_read(net: Net) -> None:
    net.answers = {"a.example": [[PUBLIC]], "b.example": [["8.8.8.8"]]}
    assert get(net, "http://a.example/away?http://b.example/plain").text == "words"
    assert net.connected == [PUBLIC, "8.8.8.8"]
    with pytest.raises(httpx.TooManyRedirects):
        get(net, "http://a.example/away?/away?/away?/plain", redirects=2)
    assert get(net, "http://a.example/away?/plain", redirects=0).status_code == 302
    with pytest.raises(httpx.UnsupportedProtocol):
        get(net, "http://a.example/away?file:///etc/passwd")


def test_the_next_address_is_tried_where_one_does_not_answer(net: Net) -> None:
    net.answers["two.example"] = [[DEAD, PUBLIC]]
    assert get(net, "http://two.example/plain").text == "words"
    assert net.connected == [DEAD, PUBLIC]
    net.answers["none.example"] = [[DEAD]]
    with pytest.raises(httpx.ConnectError):
        get(net, "http://none.example/plain")


def test_private_addresses_where_they_are_allowed() -> None:
    with serving() as server:
        url = f"http://127.0.0.1:{server.server_port}/plain"
        with outbound.client(private=True, seconds=5, silence=5) as http:
            assert http.get(url).text == "words"
        with (
            outbound.client(private=False, seconds=5, silence=5) as http,
            pytest.raises(AddressRefused),
        ):
            http.get(url)


def test_no_proxy_is_used(monkeypatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving() as server, outbound.client(private=True, seconds=5, silence=5) as http:
        assert http.get(f"http://127.0.0.1:{server.server_port}/plain").text == "words"


def test_a_byte_now_and_then_does_not_keep_a_connection_open() -> None:
    with (
        serving() as server,
        outbound.client(private=True, seconds=0.3, silence=5) as http,
        pytest.raises(httpx.ReadTimeout),
    ):
        http.get(f"http://127.0.0.1:{server.server_port}/drip")


def test_a_resolver_that_does_not_answer_is_not_waited_for() -> None:
    done = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        del host, port
        done.wait(60)
        return []

    with (
        outbound.client(private=True, seconds=0.1, silence=5, resolve=resolve) as http,
        pytest.raises(httpx.ConnectTimeout),
    ):
        http.get("http://slow.example/")
    done.set()


def test_a_name_without_addresses() -> None:
    def resolve(host: str, port: int) -> list[str]:
        del host, port
        raise socket.gaierror(-2, "Name or service not known")

    with (
        outbound.client(private=False, seconds=5, silence=5, resolve=resolve) as http,
        pytest.raises(httpx.ConnectError, match="no address"),
    ):
        http.get("http://none.example/")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_verifies_the_name_though_an_address_is_connected_to(
    tmp_path: Path, monkeypatch
) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    named = ("-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example")
    made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    subprocess.run(
        ["openssl", "req", "-x509", *made, *named, "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with serving(both) as server:
        for name, fits in (("hooks.example", True), ("other.example", False)):
            with outbound.client(
                private=True, seconds=5, silence=5, resolve=lambda *_: ["127.0.0.1"]
            ) as http:
                url = f"https://{name}:{server.server_port}/plain"
                if fits:
                    assert http.get(url).text == "words"
                else:
                    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                        http.get(url)
