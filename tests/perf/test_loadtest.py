"""`hansard loadtest` at a real service, and at one that does what a test needs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command, Ended, hansard, refused  # noqa: F401 a fixture
from tests.flow.running import Service

from hansard.errors import BadRequest, HansardError, NobodyServes, NotYourHost
from hansard.perf import loadtest, loadtest_soak
from hansard.perf.loadtest_figures import SCENARIOS, Level, Order, Scenario

PATIENT = tuple(
    Level(name, 1e6)
    for name in ("health", "search", "status", "meeting", "upload", "transcription")
)
"""What any machine keeps, however busy …"""

HASTY = tuple(Level(one.operation, 1e-9) for one in PATIENT)
"""… and what none does."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service with a quick engine for all that are let loose on it."""
    it = Service(
        tmp_path_factory.mktemp("loaded"), HANSARD_SERVE__RATE="1e9", HANSARD_SERVE__BURST="1000000"
    )
    it.start()
    yield it
    assert it.stop() == 0


class Stub(BaseHTTPRequestHandler):
    """A service without jobs that is well, until it is told otherwise."""

    protocol_version = "HTTP/1.1"
    refuses = False
    stall = 0.0
    asked = 0

    def do_GET(self) -> None:
        kind = type(self)
        status, body = 200, b'{"items": []}'
        if "health" in self.path:
            kind.asked += 1
            if kind.refuses:
                status, body = 503, b'{"error": {"code": "<b>gone</b>"}}'
            elif kind.asked == 3:
                time.sleep(kind.stall)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def stub(**given: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Stub,), given))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ── at a real service ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scenario", "users", "count"), [("upload", 3, 6), ("mixed", 3, 20), ("live", 2, 2)]
)
def test_users_are_served_and_judged(
    service: Service, scenario: Scenario, users: int, count: int
) -> None:
    seed = len(scenario)  # each with recordings of its own: what was heard is not heard again
    order = Order(
        scenario, service.url, users=users, requests=count, think=0.01, clip=2.0, seed=seed
    )
    result = loadtest.run(order, local=True, levels=PATIENT)
    seen = {one.name: one for one in result.operations}
    assert result.passed, result.verdicts
    assert sum(one.failed for one in result.operations) == 0
    if scenario == "live":
        assert seen["live start"].requests == seen["live done"].requests == count
        assert seen["live final"].requests >= count
        return
    visits = sum(one.requests for name, one in seen.items() if name in SCENARIOS[scenario])
    assert visits == count
    uploads, heard = (
        seen[name].requests if name in seen else 0 for name in ("upload", "transcription")
    )
    assert heard == uploads, "a mixed crowd may happen to upload nothing"
    judged = {one.operation: one for one in result.verdicts}
    if scenario == "upload":
        assert judged["upload"].requests == uploads == count
        assert judged["upload"].holds
    else:
        assert judged["status"].requests == seen["status"].requests


def test_the_command_says_what_it_saw(service: Service, hansard: Command, tmp_path: Path) -> None:  # noqa: F811
    html, kept = tmp_path / "report.html", tmp_path / "report.json"
    words = ("--scenario", "read", "--users", 2, "--requests", 20, "--think", 0.01)
    ended = hansard(
        *("loadtest", *words, "--data", service.data, "--json", "--report", html, "--report", kept)
    )
    result = json.loads(ended.out)
    assert ended.code == (0 if all(one["holds"] for one in result["verdicts"]) else 1), ended.err
    assert json.loads(kept.read_text("utf-8")) == result
    assert result["order"]["url"] == service.url
    assert sum(one["requests"] for one in result["operations"]) == 20
    assert "waits for an answer" in result["measured"]
    page = html.read_text("utf-8")
    assert page.count("<svg") >= 3
    assert "http://www" not in page
    assert "<script" not in page


def test_a_missed_level_is_named(service: Service) -> None:
    order = Order("poll", service.url, users=2, requests=20, think=0.0)
    result = loadtest.run(order, local=True, levels=HASTY)
    assert not result.passed
    (missed,) = (one for one in result.verdicts if one.operation == "status")
    assert (missed.holds, missed.over) == (False, 1.0)


def test_a_soak_watches_every_process(service: Service, hansard: Command) -> None:  # noqa: F811
    ended = hansard(
        *("loadtest", "--scenario", "poll", "--users", 1, "--duration", "2s", "--soak"),
        *("--data", service.data, "--json"),
    )
    grown = {one["what"]: one for one in json.loads(ended.out)["growth"]}
    assert set(grown) == {"memory", "descriptors", "threads"}
    assert grown["memory"]["start"] > 50e6, "three processes"
    assert {one["verdict"] for one in grown.values()} == {"not told"}, "two seconds tell nothing"


# ── at one that misbehaves ───────────────────────────────────────────────────────────────────


def test_failures_are_counted_by_their_code_and_escaped(
    hansard: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    html = tmp_path / "report.html"
    with stub(refuses=True) as url:
        ended = hansard(
            *("loadtest", "--scenario", "poll", "--url", url, "--users", 2, "--requests", 30),
            *("--think", 0, "--report", html),
            # By this seed some of them ask how the service is; by one in 24 seeds nobody does.
            *("--seed", 1),
        )
    assert ended.code == 1
    assert "MISSED  failed requests" in ended.out
    page = html.read_text("utf-8")
    assert "&lt;b&gt;gone&lt;/b&gt;" in page
    assert "<b>gone" not in page


def test_a_stall_counts_for_all_who_came_meanwhile() -> None:
    """One answer takes a second. Who waits for it sees one slow answer, a crowd sees many."""
    with stub(stall=1.0) as url:
        order = Order("poll", url, users=1, duration=2.5, rate=30.0)
        result = loadtest.run(order, local=True, levels=())
    moments = [timing for moment in result.moments for timing in moment.timings.items()]

    def slow(once_sent: bool) -> int:
        return sum(
            timing.count - timing.within([0.3])[0]
            for name, timing in moments
            if name.endswith("once sent") == once_sent
        )

    assert slow(once_sent=False) >= 8
    assert slow(once_sent=False) > slow(once_sent=True)
    assert "coordinated omission" in result.measured
    once = sum(one.requests for one in result.operations if not one.name.endswith("once sent"))
    assert result.verdicts[-1].requests == once, "what is told twice counts once"
    assert any("after they were due" in note for note in result.notes)


def test_a_fault_of_ours_is_no_failure_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = loadtest._BOOT.replace("main()", "import hansard.perf.loadtest_users as u; {}; main()")
    fault = "u.DO['health'] = u.DO['status'] = lambda user: 1 // 0"
    monkeypatch.setattr(loadtest, "_BOOT", f"{boot}".format("exec(" + repr(fault) + ")"))
    with (
        stub() as url,
        pytest.raises(HansardError, match=r"broke down: ZeroDivisionError"),
    ):
        loadtest.run(Order("poll", url, users=1, requests=3), local=True, levels=PATIENT)


# ── whom it may load ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("url", ["http://127.0.0.1:8420", "http://localhost:1", "https://[::1]:2"])
def test_loopback_may_be_loaded(url: str) -> None:
    assert loadtest.aim(url)


@pytest.mark.parametrize(
    "url", ["http://203.0.113.7", "http://0.0.0.0:8420", "https://[2001:db8::1]"]
)
def test_nobody_else_is_loaded_by_a_slip(url: str, hansard: Command) -> None:  # noqa: F811
    refused(hansard("loadtest", "--url", url, "--requests", 1), NotYourHost.code, 2)
    assert not loadtest.aim(url, anywhere=True)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8420", "ftp://127.0.0.1", "http://", "http://127.0.0.1/api", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadRequest):
        loadtest.aim(url)


def test_who_is_not_there_is_not_tested(hansard: Command) -> None:  # noqa: F811
    with stub() as url:
        pass
    refused(hansard("loadtest", "--url", url, "--requests", 1), NobodyServes.code, 5)
    refused(hansard("loadtest", "--requests", 1), NobodyServes.code, 5)


def test_without_locust_it_says_how_to_get_it(
    hansard: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "locust", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ended = hansard("loadtest", "--url", "http://127.0.0.1:1")
    refused(ended, "missing_part", 2)
    assert "pip install 'hansard[load]'" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("--requests", 1, "--duration", "1s"),
        ("--capacity", "--rate", 1),
        ("--soak", "--requests", 1),
        ("--duration", "soon"),
        ("--duration", "0"),
        ("--report", "report.pdf"),
    ],
)
def test_nonsense_is_refused_before_anything_is_asked(
    hansard: Command,  # noqa: F811
    words: tuple[object, ...],
) -> None:
    assert hansard("loadtest", "--url", "http://127.0.0.1:1", *words).code == 2


# ── growth ───────────────────────────────────────────────────────────────────────────────────


def test_a_leak_is_seen() -> None:
    leak = (
        "import os, time; kept = []\n"
        "while True: kept.append(bytearray(b'x' * 300_000)); "
        "kept.append(os.open('/dev/null', 0)); time.sleep(0.02)"
    )
    child = subprocess.Popen([sys.executable, "-c", leak])
    try:
        with loadtest_soak.watching(child.pid, 0.05) as watch:
            while len(watch.samples) < 24:
                time.sleep(0.05)
        told = {one.what: one.verdict for one in loadtest_soak.growths(watch.samples)}
        assert told == {"memory": "grows", "descriptors": "grows", "threads": "not told"}
    finally:
        child.kill()
        child.wait()
    with pytest.raises(NobodyServes):
        loadtest_soak.look(child.pid, 0.0)
