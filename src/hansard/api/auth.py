"""Who asks, and whether they may: found out before any route is reached."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from hansard.api.answers import refusal, refusal_at
from hansard.api.desk import Desk
from hansard.api.limits import Allowance
from hansard.api.origin import Gate, is_loopback
from hansard.api.portions import Limiter
from hansard.config import ServeSettings
from hansard.errors import HansardError, KeyInvalid, KeyMissing, NotAllowed, RateLimited
from hansard.model import Client
from hansard.store import keys
from hansard.store.keys import Key

FRESH = 0.5
"""Seconds that a key is believed to be as it was read: a revoked one opens nothing after that."""

_KNOWN = 4096
"""Keys, and ids that are none, that are remembered."""

_OPEN = frozenset(
    {
        "/api/v1/health",
        "/api/v1/health/live",
        "/api/v1/health/ready",
        "/api/v1/openapi.json",
    }
)
"""What everybody may see: how the API is spoken to, and whether the service is well (how exactly,
only with a key)."""

_PROTOCOL = "hansard-key."
"""A browser cannot send headers with a WebSocket, but names of protocols, so one holds the key."""

_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL = Client()


def keys_are_required(serve: ServeSettings) -> bool:
    """Whether nobody is let in without a key: by default, everywhere but on loopback."""
    return serve.keys == "required" or (serve.keys == "auto" and not is_loopback(serve.host))


def demand(connection: HTTPConnection, scope: keys.Scope) -> None:
    """Refuse a key that has not this scope. Without keys, everybody has every one.

    Raises:
        NotAllowed: it has not.
    """
    key: Key | None = connection.scope["state"].get("key")
    if key is not None and not key.may(scope):
        raise NotAllowed(
            f"The key {key.name} has not the scope {scope}.",
            hint=f"It needs one made with `hansard keys create --scope {scope}`.",
        )


def whose(connection: HTTPConnection) -> str | None:
    """The tenant whose accounts may be seen; ``None``, everybody's, for the scope admin.

    For what is the business of the machine's owner too (usage, deliveries); not for recordings.
    """
    key: Key | None = connection.scope["state"].get("key")
    return None if key is None or key.may("admin") else key.tenant


class Keyring:
    """Keys as the store has them, remembered for a moment; asked for once by however many."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, tuple[Key, str] | None]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[tuple[Key, str] | None]] = {}

    async def find(self, desk: Desk, token: str) -> Key | None:
        """The living key that a token is of."""
        parts = keys.split(token)
        if parts is None:
            return None
        key_id, secret = parts
        found = await self._row(desk, key_id)
        if not keys.fits(secret, None if found is None else found[1]):
            return None
        assert found is not None
        return found[0] if found[0].lives(time.time()) else None

    async def _row(self, desk: Desk, key_id: str) -> tuple[Key, str] | None:
        known = self._known.get(key_id)
        if known is not None and time.monotonic() - known[0] < FRESH:
            return known[1]
        task = self._asking.get(key_id)
        if task is None:
            task = self._asking[key_id] = asyncio.create_task(self._ask(desk, key_id))
        return await asyncio.shield(task)  # who waits may go away; the others still want it

    async def _ask(self, desk: Desk, key_id: str) -> tuple[Key, str] | None:
        def look() -> tuple[Key, str] | None:
            with desk.reader.read() as connection:
                return keys.find(connection, key_id)

        begun = time.monotonic()
        try:
            found = await desk.read(look)
        finally:
            del self._asking[key_id]
        self._known[key_id] = (begun, found)
        self._known.move_to_end(key_id)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return found


class Doorkeeper:
    """Puts the :class:`Client` into ``scope["state"]["client"]``, and its key into ``["key"]``."""

    def __init__(self, app: ASGIApp, serve: ServeSettings) -> None:
        self._app = app
        self._required = keys_are_required(serve)
        self._gate = Gate(serve, strangers=not self._required)
        self._keyring = Keyring()
        self._serve = serve
        # On loopback the only one to be kept from anything is the owner of the machine.
        self._spare_local = is_loopback(serve.host) and not (
            {"rate", "burst"} & serve.model_fields_set
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or say why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope)
        except HansardError as error:
            await _turn_away(scope, receive, send, error)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        state, headers = scope["state"], scope["state"]["headers"]
        state["key"], state["client"] = None, _LOCAL
        self._gate.see_host(headers)
        path = scope["path"]
        token = _token(scope, headers)
        if token is None and path in _OPEN:
            return
        key = None if token is None else await self._key(scope, token)
        if key is not None:
            state["key"], state["client"] = key, Client(key.tenant, key.id)
        elif self._required:
            raise KeyMissing(
                "A key is needed here.",
                hint="Send `Authorization: Bearer hsd_…`; `hansard keys create` makes one.",
            )
        else:
            self._gate.see_origin(scope, headers)
        if path not in _OPEN:
            await self._count(scope, key)
        wanted: keys.Scope = "read" if scope.get("method") in _LOOKING else "write"
        if key is not None and not key.may(wanted):
            raise NotAllowed(
                f"The key {key.name} has not the scope {wanted}.",
                hint=f"It needs one made with `hansard keys create --scope {wanted}`.",
            )

    async def _key(self, scope: Scope, token: str) -> Key | None:
        found = await self._keyring.find(scope["app"].state.desk, token)
        if found is None and (self._required or keys.split(token) is not None):
            await self._count(scope, None)  # guessing is no way round the limit
            raise KeyInvalid(
                "This key opens nothing: it is unknown, has expired or was revoked.",
                hint="`hansard keys list` shows the keys there are.",
            )
        # Where no key is asked for, one that is not ours is none: OpenAI's clients must send some.
        return found

    async def _count(self, scope: Scope, key: Key | None) -> None:
        limiter: Limiter = scope["app"].state.limiter
        if key is not None:
            rate, burst = key.rate or self._serve.rate, key.burst or self._serve.burst
            said = await limiter.take(key.id, rate / 60, burst)
        elif self._spare_local:
            return
        else:
            name = _address(scope)
            said = await limiter.take(name, self._serve.rate / 60, self._serve.burst)
        scope["state"]["allowance"] = said
        if said.wait:
            raise _rate_limited(said)


def _rate_limited(said: Allowance) -> RateLimited:
    return RateLimited(
        "Too many requests in a short time.",
        hint=f"There is room for one more in {said.wait:.1f} seconds.",
        retry_after=said.wait,
    )


def _token(scope: Scope, headers: dict[bytes, bytes]) -> str | None:
    given = headers.get(b"authorization")
    if given is not None:
        kind, _, token = given.partition(b" ")
        if kind.lower() == b"bearer":
            return token.strip().decode("latin-1")
    given = headers.get(b"x-api-key")
    if given is not None:
        return given.strip().decode("latin-1")
    offered: list[str] = scope.get("subprotocols", [])
    for name in offered:
        if name.startswith(_PROTOCOL):
            # Not to be answered with, nor to be seen by anybody further in.
            scope["subprotocols"] = [one for one in offered if one != name]
            return name.removeprefix(_PROTOCOL)
    return None


def _address(scope: Scope) -> str:
    """Whom a request without a key is counted for: an address, or a network of IPv6."""
    client = scope.get("client")
    if not client:
        return "?"
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return str(client[0])
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


async def _turn_away(scope: Scope, receive: Receive, send: Send, error: HansardError) -> None:
    if scope["type"] == "http":
        await refusal_at(scope["path"], error)(scope, receive, send)
        return
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    said = refusal(error)
    await send(
        {
            "type": "websocket.http.response.start",
            "status": said.status_code,
            "headers": said.raw_headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": said.body})
