"""Whom a request is meant for, and which page it comes from.

A service on loopback can be reached by every page that its owner looks at. Two things keep them
out. A page whose own name was made to lead here (DNS rebinding) still says that name as the host.
And a page of another site can make a browser send a request, but not hide that it is its origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from starlette.types import Scope

from hansard.config import ServeSettings
from hansard.errors import CrossSite, WrongHost

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})
_REMEMBERED = 256


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(authority: str) -> str:
    """``example.org:8420`` without its port, in small letters; ``[::1]:8420`` is ``::1``."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.rpartition(":")[0].lower() if ":" in authority else authority.lower()


class Gate:
    """What may be asked from where. ``strangers``: requests may come without a key."""

    def __init__(self, serve: ServeSettings, *, strangers: bool) -> None:
        self._names = {host_of(name) for name in serve.hosts}
        self._strangers = strangers
        self._local = is_loopback(serve.host)
        self._pages = frozenset(origin.rstrip("/") for origin in serve.cors)
        if self._names or strangers:
            self._names |= {*_HERE, host_of(serve.host)}
        self._known: set[bytes] = set()

    def see_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a request that was meant for another host.

        Raises:
            WrongHost: the name is not one of this service.
        """
        given = headers.get(b"host", b"")
        if given in self._known or not self._names:
            return
        name = host_of(given.decode("latin-1"))
        if name not in self._names and not (self._reached_by_number and _is_address(name)):
            raise WrongHost(
                f"This service is not called {name or 'nothing'}.",
                hint="The setting serve.hosts says which names it goes by.",
            )
        if len(self._known) < _REMEMBERED:
            self._known.add(given)

    @property
    def _reached_by_number(self) -> bool:
        # No name, no rebinding: an address in the request is the one that was connected to.
        return self._strangers and not self._local

    def see_origin(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Refuse what a page of another site makes a browser ask, unless it only looks.

        What it looks at, the browser does not show it. A WebSocket it could read, so there every
        one counts.

        Raises:
            CrossSite: it comes from such a page.
        """
        if scope.get("method") in _LOOKING:
            return
        origin = headers.get(b"origin")
        if origin is not None and (origin.decode("latin-1") in self._pages or "*" in self._pages):
            return
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            foreign = site not in _OWN
        else:
            own = headers.get(b"host", b"").lower()
            foreign = origin is not None and origin.lower().partition(b"://")[2] != own
        if foreign:
            raise CrossSite(
                "A page of another site may not do this.",
                hint="The setting serve.cors names the origins whose pages may.",
            )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
