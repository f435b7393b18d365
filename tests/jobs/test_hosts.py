"""Several hosts on one PostgreSQL, each with a data directory of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from tests.jobs.conftest import LEVELS, answers, planned, recording
from tests.jobs.test_many import claim, see_that_sums_agree
from tests.quick import QuickEngine
from tests.waiting import until

from hansard import transcription
from hansard.config import load
from hansard.errors import LeaseLost, ModelMissing
from hansard.jobs import absence, progress, retention
from hansard.jobs.presence import Presence
from hansard.jobs.queue import Queue
from hansard.jobs.reach import Reach
from hansard.jobs.roll import Roll
from hansard.jobs.rows import Unit
from hansard.jobs.worker import Listener
from hansard.model import Job, Options, Prepared, Window, WindowResult
from hansard.speech.engine import Samples, SpeechOptions
from hansard.store.disk import Disk
from hansard.store.postgres import Postgres
from hansard.store.tables import windows, workers
from hansard.wiring import House

OPTIONS = Options("sphinx", "en-us", language="en", guards=False)
LEASE = 60.0


class Host:
    """What a host has of its own, and the queue that all share."""

    def __init__(self, folder: Path, database: Postgres, *, service: str | None = None) -> None:
        self.database = database
        self.presence = Presence(folder / "workers", service)
        self.roll = Roll(database, self.presence.worker, LEASE)
        self.presence.roll = self.roll
        self.files = Disk(folder, self.presence.worker)
        self.queue = Queue(database, self.presence.worker, reach=Reach(self.files))
        self.roll.begin(["speech"])

    def bury(self) -> None:
        retention.bury(self.queue, self.files, self.presence)

    def holds(self, name: str, seconds: float = 20.0) -> Job:
        """A job whose recording was taken in here."""
        path = self.files.local_recording(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return self.queue.submit(recording(name), OPTIONS, LEVELS, seconds=seconds)[0]

    def prepares(self, count: int) -> Job:
        unit = self.queue.claim_step()
        assert unit is not None
        length = planned(count)[-1].pieces[-1].end
        with self.files.write_pcm(unit.job.id, 1) as pcm:
            pcm.write(np.zeros((1, length), np.int16))
        self.queue.add_windows(unit, planned(count), position=length)
        self.queue.end_prepare(unit, Prepared(length, 1, LEVELS))
        return unit.job

    def is_silent_for(self, seconds: float) -> None:
        """Its machine vanished, or is cut off, so long ago."""
        with self.database.write() as connection:
            mine = workers.c.id == self.presence.worker
            connection.execute(workers.update().where(mine).values(seen=workers.c.seen - seconds))


@pytest.fixture
def host(postgres: str, tmp_path: Path) -> Iterator[Callable[[str], Host]]:
    """Makes hosts."""
    with ExitStack() as stack:

        def made(name: str) -> Host:
            database = Postgres(postgres)
            stack.callback(database.close)
            new = Host(tmp_path / name, database)
            stack.callback(new.roll.leave)
            stack.callback(new.presence.close)
            return new

        yield made


# ── who lives ────────────────────────────────────────────────────────────────────────────────


def test_a_host_does_not_bury_the_living_of_another(host: Callable[[str], Host]) -> None:
    one, other = host("one"), host("other")
    one.holds("a")
    one.prepares(2)
    unit = claim(one.queue)
    assert unit is not None
    (other.files.root / "tmp" / one.presence.worker).mkdir(parents=True)  # a shared scratch
    other.bury()
    assert other.files.scratch_workers() == [one.presence.worker]
    one.is_silent_for(LEASE / 2)
    other.bury()
    one.queue.record(unit, answers(unit))
    assert progress.history(one.database, unit.job.id) == []


def test_who_is_silent_for_a_lease_is_replaced(host: Callable[[str], Host]) -> None:
    one, other = host("one"), host("other")
    one.holds("a")
    one.prepares(2)
    unit = claim(one.queue, batch=2)
    assert unit is not None
    one.is_silent_for(LEASE + 1)
    other.bury()
    assert other.roll.known() == [other.presence.worker]
    with pytest.raises(LeaseLost):
        one.queue.record(unit, answers(unit))
    # Nobody knows why it was silent, so it counts as a try; it lives, so it may go on.
    (tried,) = progress.history(one.database, unit.job.id)
    assert tried.owner == one.presence.worker
    again = claim(one.queue, batch=2)
    assert again is not None
    one.queue.record(again, answers(again))
    one.roll.sign()
    assert one.presence.worker in other.roll.known()
    see_that_sums_agree(one.database)


def test_a_dead_worker_of_this_host_is_known_at_once(
    host: Callable[[str], Host], tmp_path: Path
) -> None:
    one = host("one")
    dead = Host(tmp_path / "one", one.database)
    dead.holds("a")
    unit = dead.queue.claim_step()
    assert unit is not None
    dead.roll._leaving.set()
    dead.presence._lock.release()  # as the kernel does
    one.bury()
    again = one.queue.claim_step()
    assert again is not None
    assert again.job.id == unit.job.id
    assert one.roll.known() == [one.presence.worker]


def test_who_leaves_in_order_is_off_the_roll(host: Callable[[str], Host]) -> None:
    one, other = host("one"), host("other")
    assert len(other.roll.known()) == 2
    one.roll.leave()
    assert other.roll.known() == [other.presence.worker]
    assert one.presence.worker != other.presence.worker


# ── what is where ────────────────────────────────────────────────────────────────────────────


def test_what_lies_on_one_host_is_left_to_it(host: Callable[[str], Host]) -> None:
    one, other = host("one"), host("other")
    job = one.holds("a")
    assert other.queue.claim_step() is None
    mine = other.holds("b", seconds=30.0)
    unit = other.queue.claim_step()  # what is not to be had does not stand in the way
    assert unit is not None
    assert unit.job.id == mine.id
    other.queue.fail(unit, LeaseLost("Not now."))
    one.prepares(2)
    assert claim(other.queue) is None
    assert other.queue.waiting_models() == []
    heard = claim(one.queue, batch=2)
    assert heard is not None
    one.queue.record(heard, answers(heard))
    last = other.queue.claim_step()  # finishing is anybody's
    assert last is not None
    assert (last.job.id, last.step) == (job.id, "finish")
    other.queue.complete(last, lambda _: None)
    retention.drop_prepared(other.database, other.files)
    assert one.files.pcm_keys() == {job.id}
    retention.drop_prepared(one.database, one.files)
    assert one.files.pcm_keys() == set()


def ended(queue: Queue, job: Job) -> tuple[str, str | None]:
    """State and error code."""
    now = queue.get(job.id)
    return now.state, None if now.failure is None else now.failure.code


def test_a_job_whose_files_never_come_back_fails_in_the_end_and_says_so(
    host: Callable[[str], Host],
) -> None:
    one, other = host("one"), host("other")
    job, mine = one.holds("a"), other.holds("b")
    patience = other.queue.settings.missing_seconds
    begin = job.created + patience + 1
    assert absence.give_up(other.queue, begin) == [], "missed from now on"
    assert absence.give_up(one.queue, begin + patience) == [], "it is here: struck out"
    assert absence.give_up(other.queue, begin + patience + 2) == [], "missed from now on"
    assert absence.give_up(other.queue, begin + 2 * patience) == []
    assert ended(other.queue, job) == ("queued", None)
    assert absence.give_up(other.queue, begin + 2 * patience + 4) == [job.id]
    assert ended(other.queue, job) == ("failed", "files_missing")
    failure = other.queue.get(job.id).failure
    assert failure is not None
    assert job.recording in failure.message
    assert socket.gethostname() in failure.message
    assert ended(other.queue, mine) == ("queued", None)
    other.queue.retry(job.id)
    assert absence.give_up(other.queue, begin + 9 * patience) == [], "it has all its time again"


def test_prepared_audio_that_never_comes_back_fails_too(host: Callable[[str], Host]) -> None:
    one, other = host("one"), host("other")
    job = one.holds("a")
    one.prepares(2)
    later = job.created + 2 * other.queue.settings.missing_seconds
    assert absence.give_up(one.queue, later) == []
    assert absence.give_up(other.queue, later) == []
    assert absence.give_up(other.queue, 2 * later) == [job.id]
    assert ended(other.queue, job) == ("failed", "files_missing")


LACKING = ModelMissing("The weights are not here.")


def test_a_model_that_one_host_lacks_is_left_to_those_that_may_have_it(
    host: Callable[[str], Host],
) -> None:
    one, other = host("one"), host("other")
    for each in (one, other):
        each.files.prepared_here = False  # as in object storage
    job = one.holds("a")
    one.queue.fail_model("sphinx", "en-us", LACKING)
    assert ended(one.queue, job) == ("queued", None)
    assert one.queue.waiting_models() == [], "it is not loaded again at once"
    assert other.queue.waiting_models() == [("sphinx", "en-us")]
    other.queue.fail_model("sphinx", "en-us", LACKING)
    assert ended(one.queue, job) == ("failed", "model_missing"), "nobody is left"


def test_a_model_is_not_left_to_the_dead(host: Callable[[str], Host]) -> None:
    one, other = host("one"), host("other")
    one.files.prepared_here = False
    job = one.holds("a")
    other.is_silent_for(LEASE + 1)
    one.queue.fail_model("sphinx", "en-us", LACKING)
    assert ended(one.queue, job) == ("failed", "model_missing")


def test_with_files_of_its_own_a_host_fails_its_own_jobs_only(host: Callable[[str], Host]) -> None:
    one, other = host("one"), host("other")
    mine, others = one.holds("a"), other.holds("b")
    one.queue.fail_model("sphinx", "en-us", LACKING)
    assert ended(one.queue, mine) == ("failed", "model_missing")
    assert ended(one.queue, others) == ("queued", None)


# ── one recording, two crews ─────────────────────────────────────────────────────────────────


class Engine(QuickEngine):
    """Says how many windows it has in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = threading.Event()

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        self.busy.set()
        return super().transcribe(batch, options)


@contextmanager
def two_crews(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> Iterator[tuple[list[House], list[Engine]]]:
    """Two houses that share a database and the directories of files, with an engine each."""
    engines: dict[Path, Engine] = {}

    @contextmanager
    def listener(house: House, name: str, model: str) -> Iterator[Listener]:
        del name, model
        engine: Any = engines[house.settings.data]
        yield Listener(1, 2, partial(transcription.listen, house.parts, engine))

    monkeypatch.setattr(House, "_listener", listener)
    with ExitStack() as stack:
        houses = []
        for name in ("one", "other"):
            place = folder / name
            place.mkdir()
            for shared in ("recordings", "pcm"):
                (folder / "shared" / shared).mkdir(parents=True, exist_ok=True)
                (place / shared).symlink_to(folder / "shared" / shared)
            engines[place] = Engine()
            houses.append(
                stack.enter_context(House(load(data=place, database=address, **settings)))
            )
        try:
            yield houses, [engines[house.settings.data] for house in houses]
        finally:
            for engine in engines.values():
                engine.hold.set()


def long_recording(house: House, count: int) -> Unit:
    """A job that is prepared; its audio is noise, of which a quick engine makes words."""
    job, _ = house.queue.submit(recording(), OPTIONS, LEVELS, seconds=count * 1.0)
    unit = house.queue.claim_step()
    if unit is None:  # its recording must be there for whoever is to prepare it
        path = house.files.local_recording(job.recording)
        assert path is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        house.queue.reach = Reach(house.files)
        unit = house.queue.claim_step()
    assert unit is not None
    noise = np.random.default_rng(0).integers(-9999, 9999, (1, count * 1000), np.int16)
    with house.files.write_pcm(job.id, 1) as pcm:
        pcm.write(noise)
    spans: list[Window] = planned(count)
    house.queue.add_windows(unit, spans, position=count * 1000)
    house.queue.end_prepare(unit, Prepared(count * 1000, 1, LEVELS, speech=count * 900))
    return unit


def in_hand(house: House) -> set[str]:
    with house.database.read() as connection:
        taken = sa.select(windows.c.owner).where(windows.c.state == "taken")
        return set(connection.scalars(taken))


def is_done(house: House, job: str) -> bool:
    return house.queue.get(job).state == "completed"


def test_idle_workers_of_another_host_join_a_recording(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_crews(postgres, tmp_path, monkeypatch) as (houses, engines):
        for engine in engines:
            engine.hold.clear()
        job = long_recording(houses[0], 12).job.id
        for house in houses:
            house.start()
        until(lambda: len(in_hand(houses[0])) == 2, "both have windows of it")
        for engine in engines:
            engine.hold.set()
        until(lambda: is_done(houses[0], job), "done")
        assert sum(engine.heard for engine in engines) == 12
        assert all(engine.heard >= 2 for engine in engines)
        assert houses[1].transcript(job) is not None
        see_that_sums_agree(houses[0].database)


def test_the_windows_of_a_straggler_are_heard_by_others_and_the_first_answer_counts(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"unit_seconds": 0.3, "unit_factor": 1e-6}
    with two_crews(postgres, tmp_path, monkeypatch, lease_seconds=1.0, queue=slow, attempts=50) as (
        houses,
        (stuck, quick),
    ):
        stuck.hold.clear()
        job = long_recording(houses[0], 6).job.id
        houses[0].start()
        stuck.busy.wait()
        houses[1].start()
        until(lambda: is_done(houses[1], job), "done by the other alone")
        assert quick.heard == 6
        stuck.hold.set()
        until(lambda: stuck.heard == 2, "too late")
        houses[0].stop()
        assert houses[1].queue.get(job).heard == 6
        see_that_sums_agree(houses[1].database)
