"""Addresses of brokers: what is said of TLS, what may not be, and brokers that speak it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.certificates import Authority
from tests.flow.wire import Wire
from tests.jobs import brokers

from hansard.config import Settings, load
from hansard.errors import BadSettings, BrokerGone
from hansard.jobs.address import parsed
from hansard.jobs.delivery import Post, made

Behind = Callable[..., Settings]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path / "ours")


@pytest.fixture(params=brokers.BOTH)
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    """A real broker behind TLS: as whom it shows itself, by whose word, and what is asked for."""
    wires = []
    with brokers.own_names(request.param) as (plain, prefix):

        def shown(name: str, by: Authority, query: str, *, strict: bool = False) -> Settings:
            parts = urlsplit(plain)
            tls = by.server(name)
            if strict:
                tls.load_verify_locations(by.path)
                tls.verify_mode = ssl.CERT_REQUIRED
            wires.append(Wire(parts.port or 0, tls=tls))
            login = parts.netloc.rpartition("@")[0]
            place = f"127.0.0.1:{wires[-1].port}"
            netloc = f"{login}@{place}" if login else place
            address = f"{parts.scheme}s://{netloc}{parts.path}{query}"
            return load(broker=address, delivery={"prefix": prefix})

        yield shown
        for wire in wires:
            wire.close()


def test_a_permit_goes_over_tls(behind: Behind, authority: Authority) -> None:
    settings = behind("127.0.0.1", authority, f"?ssl_ca_certs={authority.path}")
    post = Post(settings)
    post.permit("speech")
    assert post.waiting("speech") == 1
    post.close()


def test_authorities_of_the_system_are_believed(
    behind: Behind, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = behind("127.0.0.1", authority, "")
    stranger = Post(settings)
    with pytest.raises(BrokerGone, match="CERTIFICATE_VERIFY_FAILED") as refused:
        stranger.permit("speech")
    assert "ssl_ca_certs" in (refused.value.hint or "")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    post = Post(settings)
    post.permit("speech")
    post.close()


def test_a_broker_may_ask_who_we_are(behind: Behind, authority: Authority) -> None:
    trust = f"?ssl_ca_certs={authority.path}"
    nobody = Post(behind("127.0.0.1", authority, trust, strict=True))
    with pytest.raises(BrokerGone):
        nobody.permit("speech")
    certificate, key = authority.issue("hansard")
    ours = f"{trust}&ssl_certfile={certificate}&ssl_keyfile={key}"
    post = Post(behind("127.0.0.1", authority, ours, strict=True))
    post.permit("speech")
    assert post.waiting("speech") == 1
    post.close()


def test_who_is_another_is_told_nothing(
    behind: Behind, authority: Authority, tmp_path: Path
) -> None:
    """A certificate of another host by the same authority, and one by another authority."""
    others = Authority.made(tmp_path / "theirs")
    for name, by in (("192.0.2.1", authority), ("127.0.0.1", others)):
        post = Post(behind(name, by, f"?ssl_ca_certs={authority.path}"))
        with pytest.raises(BrokerGone, match="CERTIFICATE_VERIFY_FAILED"):
            post.permit("speech")


def test_each_host_of_several_is_asked_for_its_own_name(authority: Authority) -> None:
    """The first is down; the second is known by another name than the first."""
    with brokers.own_names("rabbitmq") as (plain, prefix):
        port = urlsplit(plain).port or 0
        first, second = (Wire(port, tls=authority.server(n)) for n in ("127.0.0.1", "localhost"))
        login = urlsplit(plain).netloc.rpartition("@")[0]
        ours = f"?ssl_ca_certs={authority.path}"
        hosts = (("127.0.0.1", first), ("localhost", second))
        address = ";".join(f"amqps://{login}@{name}:{one.port}//{ours}" for name, one in hosts)
        app = made(load(broker=address, delivery={"prefix": prefix}))
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1)
            assert connection.port == first.port
            first.refuse()
            for _ in range(2):
                connection.collect()
                connection.ensure_connection(max_retries=5, interval_start=0)
                assert (connection.port, connection.connected) == (second.port, True)
        for wire in (first, second):
            wire.close()


def test_what_is_said_of_tls_is_not_celerys() -> None:
    read = parsed("amqp://a:b%3F@one//;amqp://a:b%3F@two//?heartbeat=3")
    assert (read.kind, read.is_rabbit, read.tls()) == ("amqp", True, None)
    assert read.url == "amqp://a:b%3F@one//;amqp://a:b%3F@two//?heartbeat=3"
    assert "b%3F" not in repr(read)
    assert parsed("redis://host:6379/0").tls() is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (None, "No broker"),
        ("", "No broker"),
        ("://", "No broker"),
        ("kafka://somewhere", "kafka"),
        ("amqp://[::1", "cannot be read"),
        ("amqp://guest:secret\u2100@host//", "cannot be read"),
        ("amqp://one//;redis://two/0", "one kind"),
        ("amqp://one//?ssl_ca_certs=/etc/passwd", "without TLS"),
        ("rediss://one/0?ssl_cert_reqs=none", "always verified"),
        ("amqps://one//?ssl_check_hostname=false", "always verified"),
        ("amqps://one//?ssl_ca_certs=/nowhere/at/all.pem", "no file /nowhere/at/all.pem"),
    ],
)
def test_addresses_that_are_not_to_be_had(address: str | None, said: str) -> None:
    with pytest.raises(BadSettings, match=re.escape(said)) as refused:
        parsed(address)
    assert refused.value.hint
    assert "secret" not in str(refused.value)


def test_certificates_that_are_none_are_refused_before_anybody_connects(
    authority: Authority, tmp_path: Path
) -> None:
    words = tmp_path / "words.pem"
    words.write_text("no certificate")
    (own, key), (_, other) = authority.issue("we"), authority.issue("others")
    for asked in (
        f"ssl_ca_certs={words}",
        f"ssl_certfile={words}&ssl_keyfile={key}",
        f"ssl_certfile={own}&ssl_keyfile={other}",
        f"ssl_certfile={own}",
        f"ssl_keyfile={key}",
    ):
        with pytest.raises(BadSettings, match="cannot be used") as refused:
            parsed(f"amqps://host//?{asked}")
        assert "PEM" in (refused.value.hint or "")
