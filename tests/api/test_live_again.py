"""Live sessions that are cut off: by the network, by a kill, by somebody, or for good."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from tests.api.conftest import Serve, Served
from tests.api.live_client import Line, cut, decoded, ended, finished, line, opus
from tests.cli.conftest import ROOT, Audio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hansard.api import live_lobby
from hansard.audio.growing import Sound
from hansard.jobs import sessions
from hansard.jobs.rows import Unit
from hansard.live import session as live
from hansard.live.tape import Tape
from hansard.model import Client
from hansard.store import keys
from hansard.store.tables import lives
from hansard.transcription import Request

PCM = {"format": "pcm_s16le", "rate": 16_000}
HALF = 6 * 32_000


def cut_off(said: Line) -> None:
    """As if the network were gone: no goodbye."""
    said.socket.socket.close()


def came_in(served: Served, job: str) -> None:
    """Wait until the end has come in: a connection that is cut takes along what nobody has read."""
    asked = sa.select(lives.c.job).where(lives.c.job == job, lives.c.closed.is_(None))
    while True:
        with served.house.database.read() as connection:
            if connection.execute(asked).first() is None:
                return
        time.sleep(0.01)


def whole(served: Any, pieces: list[bytes], start: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said of a session that nobody disturbs."""
    with line(served) as said:
        said.say("start", **start)
        said.hear("started")
        said.send(pieces)
        said.say("end")
        said.hear("done")
        return said.of("final")


@pytest.mark.parametrize("name", ["pcm_s16le", "opus", "webm"])
def test_who_is_cut_off_goes_on_where_he_was(served: Served, speech: Audio, name: str) -> None:
    pieces = {
        "pcm_s16le": lambda: cut(speech.tobytes(), 3200),
        "opus": lambda: opus(speech)[1],
        "webm": lambda: cut(b"".join(opus(speech)[0]), 2001),
    }[name]()
    expected = whole(served, pieces, {"format": name})

    with line(served) as said:
        said.say("start", format=name)
        job = said.hear("started")["id"]
        said.send(pieces[: len(pieces) // 2])
        known = said.hear("final")["number"]
        cut_off(said)
    with line(served) as said:
        said.say("start", resume=job, after=known)
        back = said.hear("started")
        assert (back["id"], back["resumed"]) == (job, True)
        at = 0
        while sum(map(len, pieces[:at])) < back["received"]:
            at += 1
        assert sum(map(len, pieces[:at])) == back["received"], "between two pieces"
        said.send(pieces[at:])
        said.say("end")
        done = said.hear("done")
        assert said.of("final")[0]["number"] == known + 1
        assert said.of("final") == expected[known:], "nobody can tell that it was cut off"
    sent = decoded(served.http.get(f"{done['transcription']}/audio").content)
    assert len(sent) == pytest.approx(len(speech), abs=800)


def test_who_comes_back_late_hears_all_that_was_said(served: Served, speech: Audio) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send(cut(speech.tobytes(), 3200))
        said.say("end")
        came_in(served, job)
        cut_off(said)
    finished(served, job)
    with line(served, f"?resume={job}") as said:
        back = said.hear("started")
        assert (back["received"], back["ended"]) == (speech.nbytes, True)
        said.hear("done")
        assert [one["number"] for one in said.of("final")] == [*range(1, len(said.of("final")) + 1)]
        assert len(said.of("final")) > 1


def test_the_latest_connection_counts(served: Served, speech: Audio) -> None:
    with line(served) as first:
        first.say("start", **PCM)
        job = first.hear("started")["id"]
        first.send(cut(speech[: HALF // 2].tobytes(), 3200))
        with line(served, f"?resume={job}") as second:
            received = second.hear("started")["received"]
            assert ended(first) == ("superseded", 1008)
            second.send(cut(speech.tobytes()[received:], 3200))
            second.say("end")
            done = second.hear("done")
    kept = decoded(served.http.get(f"{done['transcription']}/audio").content)
    assert np.array_equal(kept, speech)


def test_what_nobody_comes_back_to_is_kept(serve: Serve, speech: Audio) -> None:
    served = serve(serve={"live_seconds": 0.3})
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send(cut(speech[: HALF // 2].tobytes(), 3200))
        said.say("ping")
        said.hear("pong")  # all before it has arrived
        cut_off(said)
    found = finished(served, job)
    assert found["state"] == "completed"
    kept = served.http.get(f"/api/v1/transcriptions/{job}/audio").content
    assert np.array_equal(decoded(kept), speech[: HALF // 2])
    assert not list((served.house.settings.data / "live").iterdir())


def test_a_pause_is_a_pause_only_if_something_is_said(serve: Serve, speech: Audio) -> None:
    served = serve(serve={"live_seconds": 0.3})
    with line(served) as said:
        said.say("start", **PCM)
        said.hear("started")
        said.send(cut(speech[:HALF].tobytes(), 3200))
        assert ended(said)[0] == "timed_out"


# ── by somebody ──────────────────────────────────────────────────────────────────────────────


def test_a_cancelled_session_ends_and_can_be_transcribed_after_all(
    served: Served, speech: Audio
) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send(cut(speech.tobytes(), 3200))
        said.hear("final")
        assert served.http.post(f"/api/v1/transcriptions/{job}/cancel").is_success
        with suppress(ConnectionClosed):
            said.send(cut(speech.tobytes(), 3200))
        assert ended(said)[0] == "cancelled"
    where = f"/api/v1/transcriptions/{job}"
    while (kept := served.http.get(f"{where}/audio")).status_code != 200:
        time.sleep(0.05)  # it is being put away
    heard = decoded(kept.content)
    assert np.array_equal(heard[: len(speech)], speech), "what was received is kept"
    assert served.http.post(f"{where}/retry").is_success
    again = finished(served, job)
    assert again["state"] == "completed"
    words = served.http.get(f"{where}/download", params={"format": "json"}).json()
    assert words["seconds"] == len(heard) / 16_000
    assert words["segments"][-1]["end"] > 10


def test_of_a_removed_session_nothing_is_left(served: Served, speech: Audio) -> None:
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send(cut(speech.tobytes(), 3200))
        said.hear("final")
        assert served.http.delete(f"/api/v1/transcriptions/{job}").is_success
        with suppress(ConnectionClosed):
            said.send(cut(speech.tobytes(), 3200))
        assert ended(said)[0] in ("unknown_job", "cancelled")
    assert served.http.get(f"/api/v1/transcriptions/{job}").status_code == 404
    data = served.house.settings.data
    while [*(data / "live").iterdir(), *(data / "pcm").iterdir()]:
        time.sleep(0.05)
    assert not [path for path in (data / "recordings").rglob("*") if path.is_file()]


def _key(served: Served, tenant: str, *scopes: keys.Scope) -> dict[str, str]:
    with served.house.database.write() as connection:
        _, token = keys.create(connection, tenant, tenant=tenant, scopes=scopes)
    return {"Authorization": f"Bearer {token}"}


def test_sessions_of_others_do_not_exist(serve: Serve, speech: Audio) -> None:
    served = serve(serve={"keys": "required"})
    mine, other = _key(served, "mine", "write"), _key(served, "other", "write", "read")
    with line(served, additional_headers=mine) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send(cut(speech.tobytes(), 3200))
        with line(served, f"?resume={job}", additional_headers=other) as stranger:
            answer = ended(stranger), stranger.said[-1]["error"]["message"]
        with line(served, "?resume=nothere", additional_headers=other) as stranger:
            nothing = ended(stranger), stranger.said[-1]["error"]["message"]
        assert answer[0] == nothing[0] == ("unknown_job", 1008)
        assert answer[1].replace(job, "nothere") == nothing[1]
        said.say("end")
        done = said.hear("done")
    assert served.http.get(done["transcription"], headers=other).status_code == 404


def test_who_has_no_key_is_not_let_in(serve: Serve) -> None:
    served = serve(serve={"keys": "required"})
    with pytest.raises(InvalidStatus) as refused, line(served):
        pass
    assert refused.value.response.status_code == 401
    with (
        pytest.raises(InvalidStatus) as refused,
        line(served, additional_headers=_key(served, "reads", "read")),
    ):
        pass
    assert refused.value.response.status_code == 403
    token = _key(served, "page", "write")["Authorization"].removeprefix("Bearer ")
    offered: Any = ["hansard-live", f"hansard-key.{token}"]
    with line(served, subprotocols=offered) as said:
        assert said.socket.subprotocol == "hansard-live"
        said.say("start", **PCM)
        said.hear("started")


# ── by another process, which had it ─────────────────────────────────────────────────────────


def left(served: Served, received: bytes) -> Unit:
    """A session with something on its tape, in the hands of another process."""
    parts, sound = served.house.parts, Sound("pcm_s16le", 16_000, 1)
    unit = live.begin(parts, Request(model="sphinx"), sound, name="Live.wav", client=Client())
    tape = live.open_tape(parts, unit.job.id, sound)
    tape.append(received)
    tape.close()
    return unit


def test_who_comes_back_while_it_is_taken_up_gets_that_session(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on, open_tape = threading.Event(), threading.Event(), live.open_tape

    def slowly(*given: Any) -> Tape:
        opening.set()
        go_on.wait()
        return open_tape(*given)

    unit = left(served, bytes(3200))
    monkeypatch.setattr(live, "open_tape", slowly)
    sessions.let_go(served.house.queue, unit)
    opening.wait()  # by the service itself, which looks for such sessions
    with line(served, f"?resume={unit.job.id}") as said:
        threading.Timer(0.2, go_on.set).start()
        back = said.hear("started")
    assert (back["received"], back["ended"]) == (3200, False)


def test_who_comes_back_waits_until_the_other_process_lets_go(served: Served) -> None:
    unit = left(served, bytes(3200))
    with line(served, f"?resume={unit.job.id}") as said:
        threading.Timer(0.3, sessions.let_go, (served.house.queue, unit)).start()
        back = said.hear("started")
    assert (back["received"], back["ended"]) == (3200, False)


def test_a_session_that_another_process_keeps_is_not_said_to_be_over(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_lobby, "_PATIENCE", 0.1)
    unit = left(served, bytes(3200))
    with line(served, f"?resume={unit.job.id}") as said:
        assert ended(said) == ("lease_lost", 1008)
    sessions.let_go(served.house.queue, unit)


# ── by a kill ────────────────────────────────────────────────────────────────────────────────


class Process:
    """A service, or a worker, in a process of its own."""

    def __init__(self, where: Path, what: str, settings: dict[str, str]) -> None:
        port_file = where / "port"
        port_file.unlink(missing_ok=True)
        script = Path(__file__).with_name("live_server.py")
        with (where / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), port_file, what, ROOT],
                env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | settings,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        while not port_file.exists() or not port_file.read_text():
            assert self.process.poll() is None, (where / "log").read_text()
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port_file.read_text()}"
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def kill(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


Launch = Callable[..., Any]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[Process] = []

    def go(what: str = "api", **settings: str) -> Process:
        started.append(Process(tmp_path, what, settings))
        return started[-1]

    yield go
    for one in started:
        one.kill()


@pytest.mark.slow
def test_a_killed_service_has_lost_nothing_that_was_received(launch: Launch, speech: Audio) -> None:
    pieces = cut(speech.tobytes(), 3200)
    served = launch()
    expected = whole(served, pieces, PCM)
    with line(served) as said:
        said.say("start", **PCM)
        job = said.hear("started")["id"]
        said.send_all(pieces[:60])
        known = len(said.of("final"))
        served.kill()
    served = launch()
    with line(served) as said:
        said.say("start", resume=job, after=known)
        assert said.hear("started")["received"] == 60 * 3200
        said.send(pieces[60:])
        said.say("end")
        done = said.hear("done")
        assert said.of("final") == expected[known:]
    kept = decoded(served.http.get(f"{done['transcription']}/audio").content)
    assert np.array_equal(kept, speech)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["api", "worker"])
def test_what_a_killed_service_received_is_kept_though_nobody_comes_back(
    launch: Launch, speech: Audio, tmp_path: Path, what: str
) -> None:
    served = launch()
    packets = opus(speech)[1]
    with line(served, "?format=opus") as said:
        job = said.hear("started")["id"]
        said.send_all(packets)
        served.kill()
    launch(what, HANSARD_SERVE__LIVE_SECONDS="0.5")
    store = tmp_path / "hansard-data" / "hansard.db"
    with sqlite3.connect(store, timeout=60) as connection:
        state = recording = ""
        while state != "completed":
            assert state not in ("failed", "cancelled")
            time.sleep(0.1)
            state, recording = connection.execute(
                "SELECT state, recording FROM jobs WHERE id = ?", [job]
            ).fetchone()
        words = connection.execute("SELECT count(*) FROM segments WHERE job = ?", [job]).fetchone()[
            0
        ]
    connection.close()
    assert words
    kept = tmp_path / "hansard-data" / "recordings" / recording[:2] / recording
    assert len(decoded(kept.read_bytes())) == pytest.approx(len(speech), abs=800)
