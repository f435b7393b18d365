"""Hosts that share a PostgreSQL and a broker: taken over, drained, cancelled, and inspected."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import psycopg
import pytest
from tests import stores
from tests.flow.hosts import Cluster
from tests.jobs import brokers
from tests.waiting import until

from hansard.jobs import spot

IN_HAND = 4
"""Windows in the hands of one worker at the most: two lanes, two windows each."""

SLOW = 0.25
"""Seconds that the quick engine takes for each window here."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A host that takes work in, and two that do it."""
    with brokers.own_names("rabbitmq") as (address, prefix), stores.fresh_postgres() as store:
        one = Cluster(
            tmp_path,
            store,
            HANSARD_TEST_SLOW=str(SLOW),
            HANSARD_LEASE_SECONDS="3",
            HANSARD_BROKER=address,
            HANSARD_DELIVERY__PREFIX=prefix,
            HANSARD_DELIVERY__ROUND_SECONDS="0.5",
        )
        try:
            one.start()
            yield one
        finally:
            one.close()


def celery(one: Cluster, *words: str) -> str:
    """What Celery's own command line says of the cluster."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "hansard.jobs.delivery", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=os.environ | dict(one.workers[0]._environment),
    )
    return done.stdout + done.stderr


def held(one: Cluster, job: str) -> int:
    with psycopg.connect(one.address) as connection:
        asked = "SELECT count(*) FROM windows WHERE job = %s AND state = 'taken'"
        row = connection.execute(asked, (job,)).fetchone()
    assert row is not None
    return int(row[0])


def ended(one: Cluster, job: str) -> str | None:
    state = one.front.states()[job]
    return state if state in ("completed", "failed", "cancelled") else None


def heard_after(one: Cluster, before: int) -> None:
    until(lambda: one.heard().total() >= before + 2, "it is being heard")


def heard_again(one: Cluster) -> int:
    """How often something was heard that had been heard, or was in hand, before."""
    with psycopg.connect(one.address) as connection:
        row = connection.execute("SELECT count(*) FROM windows").fetchone()
    assert row is not None
    return one.heard().total() - int(row[0])


def test_hosts_come_and_go(
    cluster: Cluster, meeting: Path, long_meeting: Path, batch: list[Path]
) -> None:
    first, second = cluster.workers
    until(lambda: "2 nodes online" in celery(cluster, "status"), "Celery sees both")

    job = cluster.front.submit(long_meeting)
    heard_after(cluster, 0)
    assert first.kill()
    assert until(lambda: ended(cluster, job), "it has ended") == "completed"
    again = heard_again(cluster)
    assert 0 <= again <= IN_HAND, "only what was in the hands of the dead is heard again"
    first.see()

    before = cluster.heard().total()
    jobs = [cluster.front.submit(recording) for recording in batch[:3]]
    heard_after(cluster, before)
    assert second.stop() == 0, second.said()
    assert until(lambda: all(ended(cluster, job) for job in jobs), "all have ended")
    assert set(cluster.front.states().values()) == {"completed"}
    assert heard_again(cluster) == again, "what was in hand at an orderly end was heard again"

    before = cluster.heard().total()
    job = cluster.front.submit(meeting)
    heard_after(cluster, before)
    answer = httpx.post(f"{cluster.front.url}/api/v1/transcriptions/{job}/cancel")
    assert answer.status_code == 200, answer.text
    so_far = cluster.heard().total()
    assert (ended(cluster, job), held(cluster, job)) == ("cancelled", 0)
    assert cluster.stop() == 0, first.said()
    assert cluster.heard().total() <= so_far + IN_HAND


class _Notice(BaseHTTPRequestHandler):
    """Answers 404 twice, and then 200."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(404 if self.asked < 3 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be silent."""


def test_a_machine_that_is_taken_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot, "_EVERY", 0.01)
    with HTTPServer(("127.0.0.1", 0), _Notice) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        taken = threading.Event()
        spot.watch(f"http://127.0.0.1:{server.server_port}/notice", taken.set)
        assert taken.wait(60)
        server.shutdown()
    assert _Notice.asked == 3
