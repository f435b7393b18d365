"""Whose word is taken for where a request comes from: limits are by address."""

from __future__ import annotations

import pytest
from tests.api.conftest import Serve

from hansard.config import load
from hansard.errors import BadSettings

FEW = {"rate": 0.001, "burst": 2}
"""Two requests, and then no more for a long while."""


def asked(serve: Serve, *addresses: str, **settings: object) -> list[int]:
    """The status of a request from each address, as a proxy on loopback tells it."""
    served = serve(work=False, serve={**FEW, **settings})
    return [
        served.http.get("/api/v1/languages", headers={"X-Forwarded-For": address}).status_code
        for address in addresses
    ]


def test_limits_are_by_the_address_that_a_proxy_tells(serve: Serve) -> None:
    clients = ["198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.2"]
    assert asked(serve, *clients) == [200, 200, 429, 200]


def test_what_the_client_wrote_before_the_proxy_does_not_count(serve: Serve) -> None:
    """A client may send the header too; the proxy puts its address behind it."""
    clients = [f"203.0.113.{number}, 198.51.100.1" for number in range(3)]
    assert asked(serve, *clients) == [200, 200, 429]


def test_nobody_else_is_believed(serve: Serve) -> None:
    clients = [f"198.51.100.{number}" for number in range(3)]
    assert asked(serve, *clients, proxies=["203.0.113.0/24"]) == [200, 200, 429]


def test_a_name_is_no_proxy() -> None:
    with pytest.raises(BadSettings, match="proxies"):
        load(serve={"proxies": ["proxy.example.org"]})
