"""The proxies as they are shipped, each before two real API processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.cli.conftest import SAMPLE, decoded, encoded
from tests.deploy.standing import (
    DEPLOY,
    KINDS,
    Pair,
    haproxy_environment,
    needs,
    nginx_rendered,
    pair,
    proxy,
)
from tests.waiting import until
from websockets.sync.client import connect

MANY = 50 * 2**20
"""Bytes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxies")


@pytest.fixture(scope="module")
def both(folder: Path) -> Iterator[Pair]:
    for kind in KINDS:
        needs(kind)
    with pair(folder) as it:
        yield it


@pytest.fixture(scope="module")
def urls(both: Pair, folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(proxy(kind, both.ports, folder / kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def http(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=urls[request.param], timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def clip(request: pytest.FixtureRequest, http: httpx.Client, tmp_path: Path) -> Path:
    """Forty seconds, more than one window; another recording for each test and proxy."""
    del http
    shift = sum(request.node.name.encode()) % 100 * 160
    return encoded(tmp_path / "clip.flac", decoded(SAMPLE)[shift : shift + 40 * 16_000])


def transcription(http: httpx.Client, clip: Path) -> str:
    with clip.open("rb") as media:
        answer = http.post(
            "/api/v1/transcriptions", files={"file": (clip.name, media)}, data={"model": "sphinx"}
        )
    assert answer.status_code < 300, answer.text
    return str(answer.json()["id"])


def test_haproxy_accepts_its_file() -> None:
    done = subprocess.run(
        [needs("haproxy"), "-c", "-f", str(DEPLOY / "haproxy.cfg")],
        env=os.environ | haproxy_environment([8420, 8421], 8080, 1000),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_haproxy_ends_tls_where_it_is_given_a_certificate(tmp_path: Path) -> None:
    place = tmp_path / "all.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key -out crt"
    subprocess.run(
        [needs("openssl"), *words.split()], cwd=tmp_path, check=True, capture_output=True
    )
    place.write_text((tmp_path / "crt").read_text() + (tmp_path / "key").read_text())
    more = {"HANSARD_PROXY_CERT": str(place), "HANSARD_PROXY_TLS_BIND": "127.0.0.1:8443"}
    done = subprocess.run(
        [needs("haproxy"), "-c", "-V", "-f", str(DEPLOY / "haproxy.cfg")],
        env=os.environ | haproxy_environment([8420, 8421], 8080, 1000) | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    place.write_text("nothing")
    again = subprocess.run(
        done.args,
        env=os.environ | haproxy_environment([1, 2], 3, 4) | more,
        check=False,
        capture_output=True,
    )
    assert again.returncode != 0, "the certificate was not looked at"


def test_nginx_accepts_its_file(tmp_path: Path) -> None:
    place = nginx_rendered(tmp_path, [8420, 8421], 8080, 1000)
    done = subprocess.run(
        [needs("nginx"), "-t", "-c", str(place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_events_come_one_by_one(http: httpx.Client, both: Pair, clip: Path) -> None:
    """The first is here while no window can be heard: nobody on the way waits for more."""
    both.hold()
    job = transcription(http, clip)
    with http.stream("GET", f"/api/v1/transcriptions/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = (line for line in stream.iter_lines() if line.startswith("event: "))
        assert next(events) == "event: state"
        assert http.get(f"/api/v1/transcriptions/{job}").json()["state"] != "completed"
        both.release()
        heard = list(events)
    assert "event: words" in heard
    assert heard[-1] == "event: end"


def test_an_upload_passes_through_as_it_comes(http: httpx.Client, both: Pair) -> None:
    """Half of it is on the service's disk before the rest is sent: it waits in no file between."""
    tus = {"Tus-Resumable": "1.0.0"}
    before = [len(log) for log in both.logged()]
    made = http.post("/api/v1/uploads", headers={**tus, "Upload-Length": str(MANY)})
    assert made.status_code == 201, made.text
    where = made.headers["location"]
    upload = both.data / "uploads" / where.rsplit("/", 1)[1]
    piece = os.urandom(2**20)

    def there() -> int:
        return sum(one.stat().st_size for one in upload.iterdir())

    def body() -> Iterator[bytes]:
        for number in range(MANY // len(piece)):
            if number == 25:
                until(lambda: there() >= 20 * len(piece), "half of it has come through")
            yield piece

    sent = http.patch(
        where,
        headers={
            **tus,
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(MANY),
        },
        content=body(),
    )
    assert sent.status_code == 204, sent.text
    assert sent.headers["upload-offset"] == str(MANY)
    assert there() == MANY
    assert http.head(where, headers=tus).headers["upload-offset"] == str(MANY)
    assert http.delete(where, headers=tus).status_code == 204

    def same_host() -> list[set[str]] | None:
        new = [log[start:] for log, start in zip(both.logged(), before, strict=True)]
        methods = [{one["method"] for one in log if "/uploads" in one["route"]} for log in new]
        return methods if sum(map(len, methods)) >= 4 else None

    assert sorted(map(len, until(same_host, "all four requests are logged"))) == [0, 4]


def test_audio_comes_in_ranges(http: httpx.Client, both: Pair, clip: Path) -> None:
    both.release()
    job = transcription(http, clip)
    whole = clip.read_bytes()
    answer = http.get(f"/api/v1/transcriptions/{job}/audio", headers={"Range": "bytes=1000-1999"})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(whole)}"
    assert answer.content == whole[1000:2000]


def test_a_live_session_goes_both_ways(http: httpx.Client, both: Pair) -> None:
    both.release()
    samples = decoded(SAMPLE)[: 6 * 16_000].tobytes()
    address = f"ws{str(http.base_url).rstrip('/').removeprefix('http')}/api/v1/live"
    with connect(f"{address}?format=pcm_s16le&model=sphinx", proxy=None) as socket:
        assert json.loads(socket.recv(60))["type"] == "started"
        socket.send(json.dumps({"type": "ping"}))
        assert json.loads(socket.recv(60))["type"] == "pong"
        for at in range(0, len(samples), 32_000):
            socket.send(samples[at : at + 32_000])
        socket.send(json.dumps({"type": "end"}))
        kinds = []
        while "done" not in kinds:
            kinds.append(json.loads(socket.recv(60))["type"])
            assert kinds[-1] != "error"
    assert "final" in kinds


def test_the_service_sees_the_client_and_not_what_it_claims(http: httpx.Client, both: Pair) -> None:
    name = f"/api/v1/languages?{id(http)}"
    claimed = {"X-Forwarded-For": "203.0.113.7", "X-Request-Id": f"claim-{id(http)}"}
    assert http.get(name, headers=claimed).status_code == 200

    def mine() -> list[str]:
        lines = [one for log in both.logged() for one in log]
        return [one["client"] for one in lines if one["request"] == claimed["X-Request-Id"]]

    assert until(mine, "the request is logged") == ["127.0.0.1"]


def test_headers_of_safety_are_the_services_own(http: httpx.Client) -> None:
    answer = http.get("/api/v1/languages")
    for name in ("x-content-type-options", "content-security-policy", "x-request-id"):
        assert len(answer.headers.get_list(name)) == 1
    assert "server" not in answer.headers or answer.headers["server"] == "nginx"


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "/metrics/"])
def test_figures_are_not_shown_outside(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "There is nothing here."


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(http: httpx.Client) -> None:
    answer = http.post("/api/v1/webhooks/deliveries", content=b"x" * (3 * 2**20))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert answer.json()["error"]["message"].endswith("than the proxy lets through.")


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_requests_of_one_address_are_refused(
    both: Pair, kind: str, tmp_path: Path
) -> None:
    with (
        proxy(kind, both.ports, tmp_path / kind, rate=20) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as http,
    ):
        answers = [http.get("/api/v1/languages") for _ in range(40)]
        health = http.get("/api/v1/health/live").status_code
    codes = [one.status_code for one in answers]
    assert codes[:10] == [200] * 10
    assert codes[-1] == 429
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    assert answers[-1].headers["retry-after"] == "10"
    assert health == 200


def test_one_of_two_services_may_die(both: Pair, urls: dict[str, str]) -> None:
    """The last test of this file: one of the two stays dead."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(base_url=urls[kind], timeout=60, trust_env=False))
            for kind in KINDS
        ]
        for http in clients:  # connections to both are open by now
            assert [http.get("/api/v1/languages").status_code for _ in range(8)] == [200] * 8
        both.processes[0].kill()
        both.processes[0].wait()
        for http in clients:
            codes = [http.get("/api/v1/languages").status_code for _ in range(30)]
            assert codes == [200] * 30
            # What may not be sent twice is refused until the proxy knows.
            taken = partial(_taken, http)
            until(taken, "uploads go to the one that is left")


def _taken(http: httpx.Client) -> bool:
    head = {"Tus-Resumable": "1.0.0", "Upload-Length": "9"}
    return http.post("/api/v1/uploads", headers=head).status_code == 201
