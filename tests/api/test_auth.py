from __future__ import annotations

import hmac
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from tests.api.conftest import Serve, Served
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hansard.api import app, auth, limits
from hansard.api.answers import answer
from hansard.api.desk import client
from hansard.api.limits import Buckets
from hansard.api.origin import host_of, is_loopback
from hansard.config import ServeSettings
from hansard.model import Client
from hansard.store import keys, tables, usage

WHO = "/api/v1/who"


@pytest.fixture(autouse=True)
def _route_that_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more resource: who asks, by every method, and over a WebSocket."""
    router = APIRouter(prefix="/api/v1", include_in_schema=False)

    @router.api_route("/who", methods=["GET", "POST", "PATCH", "DELETE"])
    async def who(request: Request) -> Response:
        return answer(client(request))

    @router.get("/who/admin")
    async def admin(request: Request) -> Response:
        auth.demand(request, "admin")
        return answer(client(request))

    @router.post("/who/hears")
    async def hears(request: Request) -> Response:
        await limits.see_that_quota_is_left(request, float(request.headers["seconds"]))
        return answer(client(request))

    @router.websocket("/who/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept(next(iter(socket.scope["subprotocols"]), None))
        await socket.send_text(client(socket).tenant)
        await socket.close()

    more: Any = SimpleNamespace(router=router, __name__="who")
    monkeypatch.setattr(app, "_RESOURCES", (*app._RESOURCES, more))


def make(served: Served, name: str = "k", *scopes: keys.Scope, **more: Any) -> tuple[str, keys.Key]:
    with served.house.database.write() as connection:
        key, token = keys.create(connection, name, scopes or ("read", "write"), **more)
    return token, key


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["message"]
    return str(error["code"])


# ── where keys are asked for ─────────────────────────────────────────────────────────────────


def test_on_loopback_nobody_needs_a_key(served: Served) -> None:
    assert served.http.get(WHO).json() == {}  # the local tenant, and no key
    assert served.http.post(WHO).status_code == 200


@pytest.mark.parametrize(
    ("host", "asked", "required"),
    [
        ("127.0.0.1", "auto", False),
        ("127.0.0.2", "auto", False),
        ("::1", "auto", False),
        ("localhost", "auto", False),
        ("0.0.0.0", "auto", True),
        ("::", "auto", True),
        ("hansard.example", "auto", True),
        ("127.0.0.1", "required", True),
        ("0.0.0.0", "off", False),
    ],
)
def test_keys_are_required_everywhere_but_on_loopback(
    host: str, asked: Any, *, required: bool
) -> None:
    assert auth.keys_are_required(ServeSettings(host=host, keys=asked)) is required


def test_bound_elsewhere_nothing_is_had_without_a_key(serve: Serve) -> None:
    served = serve(serve={"host": "0.0.0.0"})
    for method in ("GET", "POST", "PATCH", "DELETE"):
        response = served.http.request(method, WHO)
        assert code(response, 401) == "key_missing"
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert code(served.http.get("/api/v1/nothing/here"), 401) == "key_missing"
    openai = served.http.get("/v1/nothing/here")
    assert openai.status_code == 401
    assert openai.json()["error"]["code"] == "invalid_api_key"
    assert openai.json()["error"]["type"] == "invalid_request_error"


def test_a_key_comes_as_bearer_or_in_a_header_of_its_own(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, key = make(served)
    mine = {"tenant": key.id, "key": key.id}
    assert served.http.get(WHO, headers=bearer(token)).json() == mine
    assert served.http.get(WHO, headers={"Authorization": f"bearer   {token}"}).json() == mine
    assert served.http.get(WHO, headers={"X-API-Key": token}).json() == mine


def test_a_key_acts_for_its_tenant(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    one, first = make(served, tenant="council")
    two, second = make(served, tenant="council")
    three, third = make(served)
    said = [served.http.get(WHO, headers=bearer(token)).json() for token in (one, two, three)]
    assert said == [
        {"tenant": "council", "key": first.id},
        {"tenant": "council", "key": second.id},
        {"tenant": third.id, "key": third.id},
    ]


def test_a_key_counts_also_where_none_is_asked_for(served: Served) -> None:
    token, key = make(served)
    assert served.http.get(WHO, headers=bearer(token)).json()["tenant"] == key.id
    wrong = f"{token[:-1]}{'a' if token[-1] != 'a' else 'b'}"
    assert code(served.http.get(WHO, headers=bearer(wrong)), 401) == "key_invalid"


def test_where_none_is_asked_for_somebody_elses_key_is_none(served: Served) -> None:
    # OpenAI's clients must send some key.
    assert served.http.get(WHO, headers=bearer("sk-whatever")).json() == {}


# ── keys that open nothing ───────────────────────────────────────────────────────────────────


def test_unknown_wrong_expired_and_revoked_keys_are_refused_alike(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, key = make(served)
    expired, _ = make(served, expires=time.time() - 1)
    revoked, gone = make(served)
    with served.house.database.write() as connection:
        keys.revoke(connection, gone.id)
    bodies = set()
    for wrong in (
        f"hsd_{key.id}_{'x' * 43}",
        f"hsd_{'0' * 16}_{token.rpartition('_')[2]}",
        expired,
        revoked,
        "hsd_",
        "sk-whatever",
        "ü" * 20,
        token + "x",
    ):
        response = served.http.get(WHO, headers={b"authorization": b"Bearer " + wrong.encode()})
        assert code(response, 401) == "key_invalid"
        bodies.add(response.content)
    assert len(bodies) == 1, "a stranger learns nothing about which keys there are"


def test_unknown_ids_are_compared_like_known_ones(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(serve={"keys": "required"})
    _, key = make(served)
    seen = []
    careful = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        seen.append(len(one) == len(other) == 64)
        return careful(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for key_id in (key.id, "0" * 16):
        served.http.get(WHO, headers=bearer(f"hsd_{key_id}_{'x' * 43}"))
    assert seen == [True, True]


def test_a_key_opens_nothing_within_a_second_of_being_revoked(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, key = make(served)
    assert served.http.get(WHO, headers=bearer(token)).status_code == 200
    with served.house.database.write() as connection:
        keys.revoke(connection, key.id)
    assert auth.FRESH < 1
    time.sleep(auth.FRESH)
    assert code(served.http.get(WHO, headers=bearer(token)), 401) == "key_invalid"


def test_a_key_made_while_the_service_runs_is_known_although_it_was_asked_for(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, key = make(served)
    with served.house.database.write() as connection:
        connection.execute(tables.keys.delete())
    assert code(served.http.get(WHO, headers=bearer(token)), 401) == "key_invalid"
    again, _ = make(served)
    assert served.http.get(WHO, headers=bearer(again)).status_code == 200
    assert key.id not in again


# ── scopes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scopes", "looks", "changes", "admin"),
    [
        (("read",), 200, 403, 403),
        (("write",), 403, 200, 403),
        (("read", "write"), 200, 200, 403),
        (("admin",), 200, 200, 200),
    ],
)
def test_scopes(
    serve: Serve, scopes: tuple[keys.Scope, ...], looks: int, changes: int, admin: int
) -> None:
    served = serve(serve={"keys": "required"})
    token, _ = make(served, "k", *scopes)
    http = served.http
    http.headers.update(bearer(token))
    assert http.get(WHO).status_code == looks
    assert [http.request(m, WHO).status_code for m in ("POST", "PATCH", "DELETE")] == [changes] * 3
    refusal = http.get(f"{WHO}/admin")
    assert refusal.status_code == admin
    if admin != 200:
        assert code(refusal, 403) == "not_allowed"


def test_health_is_open_and_its_parts_are_not(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, _ = make(served)
    assert served.http.get("/api/v1/health/live").json() == {"status": "live"}
    assert served.http.get("/api/v1/health/ready").status_code == 200
    assert served.http.get("/api/v1/openapi.json").status_code == 200
    assert "components" not in served.http.get("/api/v1/health").json()
    assert "components" in served.http.get("/api/v1/health", headers=bearer(token)).json()
    wrong = served.http.get("/api/v1/health", headers=bearer("hsd_no_key"))
    assert code(wrong, 401) == "key_invalid"


# ── WebSockets ───────────────────────────────────────────────────────────────────────────────


def socket_of(served: Served, **more: Any) -> str:
    url = served.url.replace("http", "ws", 1)
    with connect(f"{url}{WHO}/live", proxy=None, **more) as socket:
        return str(socket.recv())


def test_a_websocket_needs_a_key_like_everything_else(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, key = make(served)
    assert socket_of(served, additional_headers=bearer(token)) == key.id
    assert socket_of(served, additional_headers={"X-API-Key": token}) == key.id
    for headers, status in (({}, 401), (bearer("hsd_a_b"), 401)):
        with pytest.raises(InvalidStatus) as refused:
            socket_of(served, additional_headers=headers)
        assert refused.value.response.status_code == status
        assert refused.value.response.body is not None
        assert b"key_" in refused.value.response.body
        assert refused.value.response.headers["x-request-id"]


def test_a_browsers_websocket_brings_its_key_as_a_protocol_that_is_not_answered(
    serve: Serve,
) -> None:
    served = serve(serve={"keys": "required"})
    token, key = make(served)
    url = f"{served.url.replace('http', 'ws', 1)}{WHO}/live"
    offered: Any = ["hansard", f"hansard-key.{token}"]
    with connect(url, proxy=None, subprotocols=offered) as socket:
        assert socket.recv() == key.id
        assert socket.subprotocol == "hansard"
        assert socket.response is not None
        assert token not in str(socket.response.headers)


def test_a_websocket_changes_things(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, _ = make(served, "k", "read")
    with pytest.raises(InvalidStatus) as refused:
        socket_of(served, additional_headers=bearer(token))
    assert refused.value.response.status_code == 403


# ── hosts and pages ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8420", "127.0.0.1", "[::1]:8420", "[::1]"]
)
def test_on_loopback_the_service_is_called_what_loopback_is_called(
    served: Served, host: str
) -> None:
    assert served.http.get(WHO, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8420", "198.51.100.7", ""],
)
def test_a_name_that_was_made_to_lead_here_does_not(served: Served, host: str) -> None:
    assert code(served.http.get(WHO, headers={"Host": host}), 421) == "wrong_host"
    assert code(served.http.get("/api/v1/health", headers={"Host": host}), 421) == "wrong_host"


def test_names_can_be_given(serve: Serve) -> None:
    served = serve(serve={"host": "0.0.0.0", "keys": "required", "hosts": ("Hansard.example",)})
    token, _ = make(served)
    headers = bearer(token)
    for name, status in (
        ("hansard.example", 200),
        ("hansard.example:443", 200),
        ("localhost", 200),
        ("www.hansard.example", 421),
        ("evil.example", 421),
    ):
        assert served.http.get(WHO, headers={**headers, "Host": name}).status_code == status, name


def test_without_names_and_with_keys_any_name_will_do(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    token, _ = make(served)
    headers = {**bearer(token), "Host": "whatever.example"}
    assert served.http.get(WHO, headers=headers).status_code == 200


def test_open_to_a_network_without_keys_only_numbers_are_names(serve: Serve) -> None:
    served = serve(serve={"host": "0.0.0.0", "keys": "off"})
    assert served.http.get(WHO, headers={"Host": "203.0.113.9:8420"}).status_code == 200
    assert served.http.get(WHO, headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("example.org", "example.org"),
        ("Example.org:80", "example.org"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("", ""),
    ],
)
def test_the_host_of_an_authority(authority: str, host: str) -> None:
    assert host_of(authority) == host
    assert is_loopback(host) is (host == "::1")


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_site_changes_nothing(served: Served, headers: dict[str, str]) -> None:
    for method in ("POST", "PATCH", "DELETE"):
        assert code(served.http.request(method, WHO, headers=headers), 403) == "cross_site"
    looked = served.http.get(WHO, headers=headers)
    assert looked.status_code == 200
    assert "access-control-allow-origin" not in looked.headers, "the browser will not show it"
    with pytest.raises(InvalidStatus) as refused:
        socket_of(served, additional_headers=headers)
    assert refused.value.response.status_code == 403


def test_its_own_page_and_whoever_is_no_page_may(served: Served) -> None:
    own = {"Origin": served.url}
    for headers in (own, {"Sec-Fetch-Site": "same-origin", **own}, {"Sec-Fetch-Site": "none"}):
        assert served.http.post(WHO, headers=headers).status_code == 200
    assert socket_of(served, additional_headers=own) == "local"


def test_with_a_key_it_does_not_matter_from_where(served: Served) -> None:
    token, _ = make(served)
    headers = {**bearer(token), "Sec-Fetch-Site": "cross-site", "Origin": "https://a.example"}
    assert served.http.post(WHO, headers=headers).status_code == 200


def test_cors_is_off_and_can_be_had_for_named_origins(serve: Serve) -> None:
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, tus-resumable",
    }
    off = serve().http.options(WHO, headers=asks)
    assert off.status_code == 405
    assert not [name for name in off.headers if name.startswith("access-control")]
    served = serve(serve={"cors": ("https://app.example",), "keys": "required"}, work=False)
    allowed = served.http.options(WHO, headers=asks)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    token, _ = make(served)
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    answered = served.http.post(WHO, headers={**page, **bearer(token)})
    assert answered.headers["access-control-allow-origin"] == "https://app.example"
    assert "ETag" in answered.headers["access-control-expose-headers"]
    refused = served.http.post(WHO, headers=page)
    assert code(refused, 401) == "key_missing"
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    other = {"Origin": "https://evil.example", **bearer(token)}
    assert "access-control-allow-origin" not in served.http.post(WHO, headers=other).headers


def test_a_named_origin_may_change_things_without_a_key(serve: Serve) -> None:
    served = serve(serve={"cors": ("https://app.example",)})
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    assert served.http.post(WHO, headers=page).status_code == 200
    page["Origin"] = "https://evil.example"
    assert served.http.post(WHO, headers=page).status_code == 403


# ── how much ─────────────────────────────────────────────────────────────────────────────────


def test_a_bucket_empties_and_fills() -> None:
    now = [100.0]
    buckets = Buckets(clock=lambda: now[0])
    said = [buckets.take("a", rate=2.0, burst=3) for _ in range(4)]
    assert [one.left for one in said] == [2, 1, 0, 0]
    assert [one.wait for one in said] == [0, 0, 0, 0.5]
    assert buckets.take("b", rate=2.0, burst=3).left == 2, "everybody has a bucket of their own"
    now[0] += 0.5
    assert buckets.take("a", rate=2.0, burst=3).wait == 0
    now[0] += 1000
    full = buckets.take("a", rate=2.0, burst=3)
    assert (full.left, full.refill) == (2, 0.5)


def test_buckets_are_only_so_many() -> None:
    buckets = Buckets(most=100, clock=lambda: 0.0)
    for n in range(1000):
        buckets.take(f"stranger {n}", rate=1, burst=1)
        assert buckets.take("regular", rate=1e-9, burst=10_000).left == 9999 - n
    assert len(buckets) == 100


def test_a_key_has_a_rate_and_recovers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(Buckets.__init__, "__defaults__", (10_000, lambda: now[0]))
    served = serve(serve={"keys": "required", "rate": 60, "burst": 2})
    token, _ = make(served)
    own, _ = make(served, rate=6, burst=1)
    http = served.http
    for left in (1, 0):
        response = http.get(WHO, headers=bearer(token))
        assert response.status_code == 200
        assert response.headers["ratelimit-limit"] == "2"
        assert response.headers["ratelimit-remaining"] == str(left)
        assert response.headers["ratelimit-reset"] == str(2 - left)
    refused = http.get(WHO, headers=bearer(token))
    assert code(refused, 429) == "rate_limited"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-remaining"] == "0"
    assert http.get(WHO, headers=bearer(own)).headers["ratelimit-limit"] == "1"
    slow = http.get(WHO, headers=bearer(own))
    assert slow.status_code == 429
    assert slow.headers["retry-after"] == "10"
    assert http.get("/api/v1/health").status_code == 200, "probes are never in the way"
    now[0] += 1
    assert http.get(WHO, headers=bearer(token)).status_code == 200
    assert http.get(WHO, headers=bearer(own)).status_code == 429


def test_guessing_keys_uses_up_the_guessers_bucket(serve: Serve) -> None:
    served = serve(serve={"host": "0.0.0.0", "rate": 0.001, "burst": 3})
    token, _ = make(served)
    said = [served.http.get(WHO, headers=bearer("hsd_a_b")).status_code for _ in range(4)]
    assert said == [401, 401, 401, 429]
    assert served.http.get(WHO, headers=bearer(token)).status_code == 200


def test_on_loopback_there_is_no_rate_unless_one_is_set(serve: Serve) -> None:
    free = serve()
    assert "ratelimit-limit" not in free.http.get(WHO).headers
    set_ = serve(serve={"rate": 60, "burst": 1}, work=False)
    assert [set_.http.get(WHO).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (("203.0.113.9", 1), "203.0.113.9"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("a name", 1), "a name"),
        (None, "?"),
    ],
)
def test_a_network_of_ipv6_is_one_stranger(client: Any, name: str) -> None:
    assert auth._address({"client": client}) == name


def test_a_key_has_so_much_audio_a_day(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(serve={"keys": "required"})
    token, key = make(served, quota=3600.0)
    free, _ = make(served)
    spent = {key.id: 3000.0}
    monkeypatch.setattr(usage, "spent_today", lambda _, key_id, now: spent[key_id] + 0 * now)

    def hear(token: str, seconds: float) -> httpx.Response:
        return served.http.post(f"{WHO}/hears", headers={**bearer(token), "seconds": str(seconds)})

    assert hear(token, 600).status_code == 200
    refused = hear(token, 601)
    assert code(refused, 429) == "quota_used_up"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert hear(free, 1e9).status_code == 200, "a key without a quota has none"
    spent[key.id] = 3600
    assert code(hear(token, 0), 429) == "quota_used_up"


def test_who_asks_is_a_value(served: Served) -> None:
    token, key = make(served)
    assert served.http.get(WHO, headers=bearer(token)).json() == {"tenant": key.id, "key": key.id}
    assert Client(key.id, key.id).tenant == key.id
