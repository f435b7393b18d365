"""`hansard serve` as it is run: processes, signals, what it says, and who does the work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from tests.flow.running import LAUNCHED, Service
from tests.waiting import until

import hansard
from hansard.config import load
from hansard.jobs.presence import serving
from hansard.jobs.queue import Queue
from hansard.store.sqlite import Sqlite


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that takes its time over each window; whatever is left of it is killed."""
    it = Service(tmp_path / "service", HANSARD_TEST_SLOW="0.3")
    yield it
    for one in it.left():
        one.kill()
    if it.process is not None:
        it.process.wait()


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all who leave it as it is."""
    it = Service(tmp_path_factory.mktemp("steady"), HANSARD_TEST_SLOW="0.1")
    it.start()
    yield it
    assert it.stop() == 0


def owners(service: Service) -> list[str]:
    database = Sqlite(service.data / "hansard.db")
    try:
        return Queue(database, "nobody").owners()
    finally:
        database.close()


def transcribe(
    service: Service, recording: Path, *words: str, slow: str = "0"
) -> subprocess.Popen[str]:
    """`hansard transcribe` on the service's data directory."""
    return subprocess.Popen(
        [
            *(sys.executable, str(LAUNCHED), "transcribe", str(recording), "--model", "sphinx"),
            *("--data", str(service.data), *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"HANSARD_TEST_LOG": str(service.folder / "own"), "HANSARD_TEST_SLOW": slow},
    )


def test_one_command_one_group_and_an_orderly_end(service: Service, meeting: Path) -> None:
    service.start()
    assert service.process is not None
    line = (service.folder / "out").read_text().splitlines()[0]
    assert line == (
        f"Hansard serves at {service.url}; data in {service.data}; 1 worker; no key is asked for."
    )
    assert httpx.get(f"{service.url}/api/v1/health/live", trust_env=False).status_code == 200
    assert {os.getpgid(one.pid) for one in service.left()} == {service.process.pid}
    assert len(psutil.Process(service.process.pid).children()) == 2
    service.submit(meeting)
    until(service.heard, "windows are in hand")
    assert service.stop() == 0  # nobody is left, it sees to that
    assert serving(service.data) is None
    assert not (service.data / "service.json").exists()
    assert owners(service) == [], "a lease is still held"
    heard, done = service.heard(), _windows(service)
    assert done == len(heard), "a window in hand was not finished"


def _windows(service: Service) -> int:
    database = Sqlite(service.data / "hansard.db")
    with database.read() as connection:
        found = connection.exec_driver_sql("SELECT count(*) FROM windows WHERE state = 'done'")
        count = int(found.scalar_one())
    database.close()
    return count


def test_a_second_signal_does_not_wait(tmp_path: Path, meeting: Path) -> None:
    service = Service(tmp_path / "service", HANSARD_TEST_SLOW="60", HANSARD_SERVE__PATIENCE="60")
    service.start()
    service.submit(meeting)
    until(service.heard, "windows are in hand")
    assert service.process is not None
    service.process.terminate()
    time.sleep(0.2)
    assert service.process.poll() is None
    service.process.terminate()
    assert service.process.wait(30) == 0
    until(lambda: not service.left(), "nobody is left")


def test_what_dies_comes_again_and_the_backlog_is_kept(service: Service) -> None:
    service.start()
    api, worker = service.child("api"), service.child("worker")
    assert api is not None
    assert worker is not None
    worker.kill()
    api.kill()
    psutil.wait_procs([api])
    # It connects to a socket that nobody accepts from, and is answered by the next one.
    answer = httpx.get(f"{service.url}/api/v1/health/live", timeout=60, trust_env=False)
    assert answer.status_code == 200
    until(lambda: service.child("worker") not in (None, worker), "there is a worker again")
    assert service.stop() == 0


@pytest.mark.parametrize("role", ["supervisor", "all"])
def test_nobody_outlives_the_supervisor(role: str, service: Service, meeting: Path) -> None:
    service.start()
    service.submit(meeting)
    until(service.heard, "windows are in hand")
    service.kill(role)
    until(lambda: not service.left(), "nobody is left")
    assert serving(service.data) is None
    service.start()  # also where the one before left its notice
    until(lambda: set(service.states().values()) == {"completed"}, "all is done")
    assert service.stop() == 0


def test_a_second_service_is_told_of_the_first(steady: Service) -> None:
    second = subprocess.run(
        [*(sys.executable, "-m", "hansard", "serve", "--port", "0"), "--data", str(steady.data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert second.returncode == 5
    assert "[already_serving]" in second.stderr
    assert steady.url in second.stderr


def test_every_process_of_a_service_is_profiled(steady: Service) -> None:
    done = subprocess.run(
        [
            *(sys.executable, str(LAUNCHED), "profile", "--attach", "--data", str(steady.data)),
            *("--seconds", "0.3"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HANSARD_TEST_LOG": str(steady.folder / "own")},
    )
    assert done.returncode == 0, done.stderr
    for role in ("api", "worker"):
        child = steady.child(role)
        assert child is not None
        assert f"{role} {child.pid}:" in done.stdout


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "hansard.db").write_bytes(b"this is no database" * 100)
    done = subprocess.run(
        [*(sys.executable, "-m", "hansard", "serve", "--port", "0"), "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 5
    assert done.stderr.count("error: ") == 1
    assert "[store_broken]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (data / "service.json").exists()


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "hansard", "serve", "--data", str(tmp_path / "data")),
                *("--port", str(taken.getsockname()[1])),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert done.returncode == 5
    assert "[cannot_listen]" in done.stderr


def test_a_command_hands_its_job_over_and_follows(steady: Service, batch: list[Path]) -> None:
    command = transcribe(steady, batch[0])
    out, err = command.communicate(timeout=100)
    assert command.returncode == 0, err
    assert err.count(f"The service at {steady.url} does the work.") == 1
    assert out.strip()
    assert steady.heard()
    assert not (steady.folder / "own").exists(), "the command worked itself"


def test_a_command_goes_on_where_the_service_went_away(service: Service, meeting: Path) -> None:
    service.start()
    command = transcribe(service, meeting, "--timings")
    until(service.heard, "the service is at work")
    url = service.url
    service.kill("all")
    out, err = command.communicate(timeout=100)
    assert command.returncode == 0, err
    assert f"The service at {url} does the work." in err
    assert f"The service at {url} is gone: going on here." in err
    assert out.strip()
    assert (service.folder / "own").exists()
    assert "submit.take_in" in err  # its own times


def test_an_interrupted_follower_leaves_the_work_where_it_is(
    steady: Service, long_meeting: Path
) -> None:
    before = steady.heard().total()
    command = transcribe(steady, long_meeting)
    until(lambda: steady.heard().total() > before, "the service is at work")
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=100)
    assert command.returncode == 130
    assert "The service goes on with the work." in err
    until(lambda: set(steady.states().values()) == {"completed"}, "all is done")


def test_python_hands_over_as_well(
    steady: Service, batch: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    before = steady.heard().total()
    transcript = hansard.transcribe(batch[1], settings=load(data=steady.data), model="sphinx")
    assert transcript.segments
    assert f"The service at {steady.url} does the work." in caplog.messages
    assert steady.heard().total() > before


def test_a_service_without_workers_is_no_one_to_hand_over_to(tmp_path: Path, meeting: Path) -> None:
    service = Service(tmp_path / "service", "--no-worker")
    service.start()
    command = transcribe(service, meeting)
    _, err = command.communicate(timeout=100)
    assert command.returncode == 0, err
    assert "does the work" not in err
    assert not service.heard()
    assert service.stop() == 0


def test_a_unit_that_hangs_costs_its_worker_only(tmp_path: Path, batch: list[Path]) -> None:
    service = Service(
        tmp_path / "service",
        HANSARD_TEST_SLOW="30",
        HANSARD_QUEUE__UNIT_SECONDS="0.5",
        HANSARD_QUEUE__UNIT_FACTOR="0.01",
    )
    service.start()
    service.submit(batch[0])
    until(lambda: "worker has ended (exit code 70)" in service.said(), "the worker gave up")
    assert "hangs: ending this process" in service.said()
    until(lambda: service.child("worker"), "there is a worker again")
    assert httpx.get(f"{service.url}/api/v1/health/live", trust_env=False).status_code == 200
    assert service.stop() == 0
