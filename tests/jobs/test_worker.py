"""The crew: pools beside each other, a hand free for short notes, and work that hangs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.jobs.conftest import answers, ready, submit

from hansard.cli.worker import BROKEN
from hansard.config import QueueSettings
from hansard.jobs import progress
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.worker import Crew, Kinds, Listener
from hansard.model import POOLS, Job, Pool
from hansard.store.database import Database
from hansard.store.sqlite import Sqlite

PATIENCE = 60.0

SPEECH: tuple[Pool, ...] = ("speech",)
INSIGHT: tuple[Pool, ...] = ("insight",)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Database]:
    database = Sqlite(tmp_path / "hansard.db")
    yield database
    database.close()


class Works:
    """A crew whose long recordings are prepared only once ``go`` is set."""

    def __init__(self, queue: Queue, **more: object) -> None:
        self.queue = queue
        self.go = threading.Event()
        self.busy = threading.Event()
        self.hung: list[str] = []
        self.is_hung = threading.Event()
        kinds: Kinds = {
            "transcribe": {"prepare": self.prepare, "finish": self.finish},
            "summary": {"run": self.finish},
        }
        if "summary" not in POOLS:
            kinds = {"transcribe": kinds["transcribe"]}
        self.crew = Crew(queue, kinds, self.listeners, hung=self.say, **more)  # type: ignore[arg-type]

    def prepare(self, unit: Unit) -> None:
        if unit.job.lane == "long":
            self.busy.set()
            assert self.go.wait(PATIENCE)
        ready(self.queue, unit)

    def finish(self, unit: Unit) -> None:
        self.queue.complete(unit, lambda _: None)

    def hear(self, unit: Unit) -> None:
        self.queue.record(unit, answers(unit))

    def say(self, unit: Unit) -> None:
        self.hung.append(unit.job.id)
        self.is_hung.set()

    @contextmanager
    def listeners(self, engine: str, model: str) -> Iterator[Listener]:
        del engine, model
        yield Listener(2, 2, self.hear)


def until(queue: Queue, fits: Callable[[], bool]) -> bool:
    """Wait for the store to change until something is so."""
    for _ in range(int(PATIENCE * 10)):
        seen = queue.database.rings()
        if fits():
            return True
        queue.database.wait(seen, 0.1)
    return False


def is_done(queue: Queue, job: Job) -> Callable[[], bool]:
    return lambda: queue.get(job.id).state == "completed"


@contextmanager
def working(works: Works) -> Iterator[Works]:
    works.crew.start()
    try:
        yield works
    finally:
        works.go.set()
        works.crew.stop()


def test_a_short_note_passes_a_hearing_that_is_being_prepared(opened: Database) -> None:
    queue = Queue(opened, "me")
    with working(Works(queue)) as works:
        hearing = submit(queue, "hearing", seconds=36_000)
        assert works.busy.wait(PATIENCE)
        note = submit(queue, "note", seconds=20)
        assert until(queue, is_done(queue, note))
        assert queue.get(hearing.id).step == "prepare"


@pytest.fixture
def summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of work that comes later, with workers of its own."""
    monkeypatch.setitem(POOLS, "summary", "insight")


@pytest.mark.usefixtures("summaries")
def test_busy_speech_does_not_hold_up_insight(opened: Database) -> None:
    queue = Queue(opened, "me", pools=("speech", "insight"))
    with working(Works(queue)) as works:
        for number in range(3):
            submit(queue, f"hearing {number}", seconds=36_000)
        assert works.busy.wait(PATIENCE)
        summary = submit(queue, "summary", seconds=36_000, kind="summary")
        assert (summary.pool, summary.step) == ("insight", "run")
        assert until(queue, is_done(queue, summary))


@pytest.mark.usefixtures("summaries")
def test_a_crew_takes_only_its_pools(opened: Database) -> None:
    speech = Queue(opened, "speech", pools=SPEECH)
    insight = Queue(opened, "insight", pools=INSIGHT)
    summary = submit(speech, "a", seconds=20, kind="summary")
    with working(Works(speech)):
        note = submit(speech, "note", seconds=20)
        assert until(speech, is_done(speech, note))
        assert speech.claim_step() is None
        assert speech.get(summary.id).state == "queued"
    other = submit(speech, "b", seconds=20)
    assert insight.waiting_models() == []
    assert insight.claim_windows("sphinx", "en-us", batch=1, lanes=1) is None
    unit = insight.claim_step()
    assert unit is not None
    assert unit.job.id == summary.id
    insight.complete(unit, lambda _: None)
    assert insight.claim_step() is None
    assert speech.get(other.id).state == "queued"


@pytest.mark.usefixtures("summaries")
def test_work_of_one_step_is_retried_at_that_step(opened: Database) -> None:
    queue = Queue(opened, "me", pools=INSIGHT)
    job = submit(queue, "a", kind="summary")
    queue.cancel(job.id)
    assert queue.retry(job.id).step == "run"


def test_a_unit_that_takes_too_long_is_given_up_and_then_said_to_hang(
    opened: Database, caplog: pytest.LogCaptureFixture
) -> None:
    brief = QueueSettings(unit_seconds=0.2, unit_factor=1e-6)
    queue = Queue(opened, "me", lease_seconds=0.3, settings=brief)
    other = Queue(opened, "other", lease_seconds=60.0, settings=brief)
    with caplog.at_level(logging.WARNING, "hansard.worker"), working(Works(queue)) as works:
        job = submit(queue, "hearing", seconds=1000)
        assert works.busy.wait(PATIENCE)
        assert works.is_hung.wait(PATIENCE)
        # Its lease is renewed no more: whoever asks next has it, and the try is counted.
        taken: list[Unit] = []

        def take() -> bool:
            unit = other.claim_step()
            if unit is not None:
                taken.append(unit)
            return unit is not None

        assert until(other, take)
        assert taken[0].job.id == job.id
        assert taken[0].job.attempt > 1
    assert works.hung[0] == job.id
    assert "others may take over" in caplog.text
    assert progress.history(opened, job.id)[0].owner == "me"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_a_fault_is_no_secret(
    opened: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(opened, "me")
    broken = threading.Event()
    works = Works(queue, broken=broken.set)
    monkeypatch.setattr(queue, "waiting_models", lambda: os.environ["HANSARD_NOTHING"])
    with caplog.at_level(logging.CRITICAL, "hansard.worker"), working(works):
        assert broken.wait(PATIENCE)
    assert works.crew.trouble is not None
    assert "watch" in works.crew.trouble.message
    assert "KeyError" in caplog.text


def test_a_worker_whose_thread_has_ended_ends() -> None:
    told = "from hansard.cli import worker; worker._broken()"
    ended = subprocess.run(
        [sys.executable, "-c", told], check=False, capture_output=True, text=True
    )
    assert ended.returncode == BROKEN
    assert "another goes on" in ended.stderr


def test_a_unit_within_its_time_is_renewed(opened: Database) -> None:
    queue = Queue(opened, "me", lease_seconds=0.3)
    with working(Works(queue)) as works:
        job = submit(queue, "hearing", seconds=700)
        assert works.busy.wait(PATIENCE)
        (first,) = works.crew._in_hand
        until_then = _lease(queue, job)
        assert until(queue, lambda: _lease(queue, job) > until_then + 0.3)
        assert list(works.crew._in_hand) == [first]
        works.go.set()
        assert until(queue, is_done(queue, job))
    assert progress.history(opened, job.id) == []


def _lease(queue: Queue, job: Job) -> float:
    from hansard.store.tables import jobs

    with queue.database.read() as connection:
        row = connection.execute(jobs.select().where(jobs.c.id == job.id)).one()
    return float(row.lease_until or 0.0)
