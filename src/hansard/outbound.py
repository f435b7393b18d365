"""Going out to addresses that strangers name: never into a private network, unless allowed.

A name is looked up once, every address it has is judged, and the connection is made to the very
address that was judged: an answer that is different a moment later changes nothing. That happens
for each connection, so after each redirect too. TLS still verifies the name.

What is public is told by the IANA registries of special-purpose IPv4 and IPv6 addresses (RFC 6890).
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore
import httpx
import psutil

from hansard.errors import AddressRefused, BadRequest

if TYPE_CHECKING:
    from hansard.config import Settings

Resolve = Callable[[str, int], list[str]]
"""A host and a port → all of its addresses. Raises ``OSError`` where it has none."""

LONGEST_URL = 2048
"""Characters."""

_TRIED = 4
"""Addresses of one host that are tried."""

_CLOSED_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 reaches this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a carrier's NAT; a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by its number, yet a cloud's metadata
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata
        "192.0.2.0/24",  # documentation, like 198.51.100.0/24 and 203.0.113.0/24
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_OPEN_6 = IPv6Network("2000::/3")
"""All that is given out to the public; the rest is private, local, multicast or not in use."""
_CLOSED_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: leads to an IPv4 address
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""An IPv4 address is in the last 32 bits (RFC 6052)."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, and not this machine's own."""
    plain = ip_address(address.partition("%")[0])
    if isinstance(plain, IPv6Address):
        inner = plain.ipv4_mapped
        if inner is None and plain in _NAT64:
            inner = IPv4Address(int(plain) & 0xFFFF_FFFF)
        if inner is None:
            closed = plain not in _OPEN_6 or any(plain in network for network in _CLOSED_6)
            return not closed and str(plain) not in _own()
        plain = inner
    return not any(plain in network for network in _CLOSED_4) and str(plain) not in _own()


def _own() -> set[str]:
    """This machine's addresses: what listens there may be closed to the world by a firewall."""
    return {
        held.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for held in interface
    }


def see_that_it_may_be_called(url: str, settings: Settings) -> None:
    """Refuse at once what can be refused without asking anybody; connecting refuses the rest.

    Raises:
        BadRequest: not an address of the web.
        AddressRefused: it carries a password, or names a private address outright.
    """
    hint = "Give an address like https://example.org/path."
    if len(url) > LONGEST_URL or not url.isprintable() or " " in url or "\\" in url:
        raise BadRequest(
            f"An address has at most {LONGEST_URL} characters, no blanks and no backslashes.",
            hint=hint,
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise BadRequest(f"{url} is not an address: {error}.", hint=hint) from None
    if parts.scheme.lower() not in {"http", "https"} or not host or port == 0:
        raise BadRequest(f"{url} is not an http or https address.", hint=hint)
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(
            f"The address at {host} carries a user name or a password.",
            hint="Leave it out; a secret may be in the path or in the query.",
        )
    if settings.webhooks.private:
        return
    name = host.rstrip(".").lower()
    literal = _literal(host)
    if name == "localhost" or name.endswith(".localhost") or (literal and not is_public(literal)):
        raise _refused(host)


def _literal(host: str) -> str | None:
    """The IP address that a host is the spelling of: dotted, decimal, octal, hexadecimal."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return str(found[0][4][0])


def _refused(host: str) -> AddressRefused:
    return AddressRefused(
        f"{host} leads into a private network.",
        hint="Name an address on the public internet; the setting webhooks.private allows others.",
    )


def look_up(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system's resolver gives them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def client(
    *,
    private: bool,
    seconds: float,
    silence: float,
    redirects: int = 0,
    resolve: Resolve = look_up,
) -> httpx.Client:
    """A client for one errand: a call, or a download with its redirects.

    Nothing of the environment but the authorities that TLS trusts: no proxies, no passwords.

    Args:
        private: whether private networks may be reached.
        seconds: the longest that all of it may take from now on, however slowly bytes drip.
        silence: the longest wait for the next byte.
        redirects: how many are followed.
        resolve: who is asked for addresses.
    """
    line = _Line(resolve, private=private, deadline=time.monotonic() + seconds)
    return httpx.Client(
        transport=_Transport(line),
        timeout=httpx.Timeout(silence),
        follow_redirects=redirects > 0,
        max_redirects=redirects,
        trust_env=False,
    )


class _Line(httpcore.NetworkBackend):
    """Connects to addresses that were judged, and hangs up at the deadline."""

    def __init__(self, resolve: Resolve, *, private: bool, deadline: float) -> None:
        self._resolve = resolve
        self._private = private
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Look a host up, judge its addresses, connect to the first that answers."""
        patience = _left(self._deadline, timeout, httpcore.ConnectTimeout)
        until = time.monotonic() + patience
        addresses = self._addresses(host, port, patience)
        if not self._private and not all(is_public(address) for address in addresses):
            raise _refused(host)  # all of them: who mixes them means to be let in by chance
        chosen = addresses[:_TRIED]
        for number, address in enumerate(chosen):
            share = _left(until, None, httpcore.ConnectTimeout) / (len(chosen) - number)
            try:
                stream = self._plain.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(chosen) - 1:
                    raise
            else:
                return _Stream(stream, self._deadline)
        raise httpcore.ConnectError(f"{host} has no address")

    def _addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """The system's resolver cannot be interrupted: a thread waits for it, we do not."""
        answers: queue.Queue[list[str] | OSError | UnicodeError] = queue.Queue(1)

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answers.put(error)

        threading.Thread(target=ask, name="hansard-resolve", daemon=True).start()
        try:
            answer = answers.get(timeout=seconds)
        except queue.Empty:
            raise httpcore.ConnectTimeout(f"looking {host} up took too long") from None
        if isinstance(answer, Exception):
            raise httpcore.ConnectError(f"{host} has no address") from answer
        return answer


class _Stream(httpcore.NetworkStream):
    """A connection that ends at a deadline: a byte now and then does not keep it open."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is."""
        left = _left(self._deadline, timeout, httpcore.ReadTimeout)
        return self._stream.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        left = _left(self._deadline, timeout, httpcore.WriteTimeout)
        self._stream.write(buffer, left)

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Go on encrypted, with whom the name says."""
        left = _left(self._deadline, timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Facts about the connection."""
        return self._stream.get_extra_info(info)


def _left(deadline: float, most: float | None, late: type[httpcore.TimeoutException]) -> float:
    """Seconds until the deadline, at most ``most``."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("it took too long")
    return left if most is None else min(left, most)


class _Transport(httpx.BaseTransport):
    """httpx over our own connections: its own transport has no place to put them in."""

    def __init__(self, line: _Line) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=1,
            keepalive_expiry=0.0,  # a redirect is a new connection, judged anew
            network_backend=line,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body of the answer is read when it is asked for."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = self._pool.handle_request(asked)
        if 300 <= answer.status < 400:  # httpx would read the body of a redirect, however long
            answer.close()
            kept = [pair for pair in answer.headers if pair[0].lower() == b"location"]
            return httpx.Response(answer.status, headers=kept, stream=httpx.ByteStream(b""))
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Hang up."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The bytes of an answer."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Errors of httpcore as those of httpx, which go by the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
    ) as error:
        kind: type[httpx.TransportError] = getattr(
            httpx, type(error).__name__, httpx.TransportError
        )
        raise kind(str(error)) from error
