"""A disk that is full: a clear refusal, a service that stays up, and work that goes on later."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.flow.running import LAUNCHED, Service
from tests.waiting import until

ROOM = 24 * 2**20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root only")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int) -> Path:
    """Take all room but so many bytes."""
    ballast = place / "ballast"
    free = os.statvfs(place)
    ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return ballast


@pytest.fixture
def service(small: Path, tmp_path: Path) -> Iterator[Service]:
    """A service on the small disk, which only takes work in."""
    it = Service(tmp_path / "run", "--no-worker", data=small / "data")
    it.start()
    yield it
    assert it.stop() == 0


def test_an_upload_into_a_full_disk(service: Service, small: Path, batch: list[Path]) -> None:
    ballast = fill(small, 300_000)
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as http:
        answer = http.post(
            "/api/v1/transcriptions",
            files={"file": ("big.wav", bytes(2_000_000))},
            data={"model": "sphinx"},
        )
        assert answer.status_code == 507, answer.text
        assert answer.json()["error"]["code"] == "disk_full"
        assert http.get("/api/v1/health/live").status_code == 200
    ballast.unlink()
    assert service.submit(batch[0])


def test_work_on_a_full_disk_goes_on_when_there_is_room(
    service: Service, small: Path, batch: list[Path], tmp_path: Path
) -> None:
    job = service.submit(batch[0])
    ballast = fill(small, 200_000)  # prepared audio takes a million
    said = tmp_path / "said"
    with said.open("wb") as err:
        worker = subprocess.Popen(
            [sys.executable, str(LAUNCHED), "worker", "--data", str(service.data)],
            stderr=err,
            env=os.environ
            | {
                "HANSARD_TEST_LOG": str(tmp_path / "heard"),
                "HANSARD_LIMITS__DISK_RESERVE": "0",
                "HANSARD_LEASE_SECONDS": "2",
                "HANSARD_ATTEMPTS": "50",
            },
        )
    try:

        def noticed() -> bool:
            """In the log where the store has no room either, else with the job."""
            with sqlite3.connect(f"file:{service.data / 'hansard.db'}?mode=ro", uri=True) as store:
                failure = store.execute("SELECT failure FROM jobs").fetchone()[0]
            store.close()
            return "disk_full" in (failure or "") or "no room left" in said.read_text()

        until(noticed, "the full disk is noticed")
        assert worker.poll() is None
        assert service.child("api") is not None
        ballast.unlink()
        until(lambda: service.states().get(job) == "completed", "the work is done")
    finally:
        worker.terminate()
        assert worker.wait(60) == 0
