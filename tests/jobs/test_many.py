"""Many who write at the same time: nothing twice, nothing lost, nothing stuck."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from tests.jobs.conftest import LEVELS, OPTIONS, answers, planned, recording
from tests.waiting import until

from hansard.config import QueueSettings
from hansard.errors import HansardError, InvalidState, LeaseLost, QueueFull, QuotaUsedUp, UnknownJob
from hansard.jobs import retention
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.model import Client, Job, Options, Prepared
from hansard.store import idempotency
from hansard.store.database import Database
from hansard.store.disk import Disk
from hansard.store.postgres import Postgres
from hansard.store.tables import attempts, jobs, keys, usage, windows
from hansard.store.tables import recordings as recordings_table

T = TypeVar("T")

MANY = 8


@pytest.fixture(autouse=True)
def _nobody_waits_for_who_waits_for_him(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A deadlock is ended by the database and tried again: nothing shows it but the log."""
    with caplog.at_level("WARNING", "hansard.queue"):
        yield
    assert "is tried again" not in caplog.text


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """What so many threads give that begin together; an error of one is an error of all."""
    ready = threading.Barrier(count)

    def begin(number: int) -> T:
        ready.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def queues(database: Database, count: int = MANY, **more: Any) -> list[Queue]:
    return [Queue(database, f"worker {number}", **more) for number in range(count)]


def submit(
    queue: Queue, name: str = "a", *, client: Client | None = None, seconds: float = 60.0
) -> Job:
    whose = client or Client()
    return queue.submit(recording(name), OPTIONS, LEVELS, client=whose, seconds=seconds)[0]


def made_ready(queue: Queue, count: int, name: str = "a") -> Job:
    """A job whose windows wait to be heard."""
    submit(queue, name)
    unit = queue.claim_step()
    assert unit is not None
    queue.add_windows(unit, planned(count), position=count * 1000)
    queue.end_prepare(unit, Prepared(count * 1000, 1, LEVELS))
    return unit.job


def claim(queue: Queue, batch: int = 1) -> Unit | None:
    return queue.claim_windows("sphinx", "en-us", batch=batch, lanes=1)


def see_that_sums_agree(database: Database) -> None:
    """What each job says of its windows is so, and what has ended is in nobody's hands."""
    with database.read() as connection:
        for job in connection.execute(sa.select(jobs)):
            rows = connection.execute(sa.select(windows).where(windows.c.job == job.id)).all()
            done = [row for row in rows if row.state == "done"]
            assert (job.planned, job.heard) == (len(rows), len(done))
            assert job.planned_samples == sum(row.samples for row in rows)
            assert job.heard_samples == sum(row.samples for row in done)
            assert sorted(row.heard for row in done) == list(range(1, len(done) + 1))
            tried = sa.select(attempts.c.number).where(attempts.c.job == job.id)
            numbers = sorted(connection.scalars(tried))
            assert numbers == list(range(1, len(numbers) + 1))
            if job.finished is not None:
                assert job.token is None
                assert not [row for row in rows if row.state == "taken"]


# ── recording ────────────────────────────────────────────────────────────────────────────────


def test_the_last_windows_are_recorded_at_once(database: Database) -> None:
    crowd = queues(database)
    for round_ in range(5):
        job = made_ready(crowd[0], MANY, f"job {round_}")
        units = [claim(queue) for queue in crowd]
        held = [unit for unit in units if unit is not None]
        assert len(held) == MANY

        def record(number: int, held: list[Unit] = held) -> None:
            crowd[number].record(held[number], answers(held[number]))

        at_once(MANY, record)
        assert crowd[0].get(job.id).step == "finish"
        see_that_sums_agree(database)
        last = crowd[0].claim_step()
        assert last is not None
        crowd[0].complete(last, lambda _: None)


def test_recording_twice_is_recording_once(database: Database) -> None:
    queue = queues(database, 1)[0]
    job = made_ready(queue, 2)
    unit = claim(queue, batch=2)
    assert unit is not None
    at_once(4, lambda _: queue.record(unit, answers(unit)))
    assert queue.get(job.id).heard == 2
    see_that_sums_agree(database)


# ── claiming ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("batch", [1, 3])
def test_windows_are_claimed_once_and_nobody_goes_away_before_the_last(
    database: Database, batch: int
) -> None:
    crowd = queues(database)
    total = 120
    for name in ("a", "b"):
        made_ready(crowd[0], total // 2, name)

    def take(number: int) -> list[int]:
        mine: list[int] = []
        while (unit := claim(crowd[number], batch)) is not None:
            mine += [part.id for part in unit.parts]
        return mine

    taken = [window for mine in at_once(MANY, take) for window in mine]
    assert len(taken) == len(set(taken)) == total
    with database.read() as connection:
        tries = connection.scalars(sa.select(windows.c.attempt)).all()
    assert set(tries) == {1}


def test_steps_are_claimed_once_and_nobody_goes_away_before_the_last(database: Database) -> None:
    crowd = queues(database)
    for number in range(40):
        submit(crowd[0], f"{number}", client=Client(f"tenant {number % 3}"))

    def take(number: int) -> list[str]:
        mine: list[str] = []
        while (unit := crowd[number].claim_step()) is not None:
            mine.append(unit.job.id)
        return mine

    taken = [job for mine in at_once(MANY, take) for job in mine]
    assert len(taken) == len(set(taken)) == 40
    with database.read() as connection:
        assert set(connection.scalars(sa.select(jobs.c.attempt))) == {1}


def test_what_was_taken_is_counted_for_each_tenant(database: Database) -> None:
    from hansard.jobs import shares

    crowd = queues(database)
    heard = 0.0
    for tenant in ("a", "b"):
        submit(crowd[0], tenant, client=Client(tenant))
        unit = crowd[0].claim_step()
        assert unit is not None
        crowd[0].add_windows(unit, planned(40), position=40_000)
        crowd[0].end_prepare(unit, Prepared(40_000, 1, LEVELS))
        heard += sum(window.seconds for window in planned(40))
    with database.read() as connection:
        before = shares.clocks(connection)

    def take(number: int) -> None:
        while claim(crowd[number], 2) is not None:
            pass

    at_once(MANY, take)
    with database.read() as connection:
        after = shares.clocks(connection)
    for lane in (shares.BOTH, "short"):
        counted = sum(after[t, lane] - before.get((t, lane), 0.0) for t in ("a", "b"))
        assert counted == pytest.approx(heard)


# ── submitting ───────────────────────────────────────────────────────────────────────────────


def test_the_same_work_submitted_at_once_is_one_job(database: Database) -> None:
    crowd = queues(database)
    found = at_once(MANY, lambda number: submit(crowd[number]).id)
    assert len(set(found)) == 1
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.sum(usage.c.calls))) == MANY


def test_the_same_recording_for_several_tenants_is_kept_once(database: Database) -> None:
    crowd = queues(database)
    found = at_once(MANY, lambda n: submit(crowd[n], client=Client(f"tenant {n}")).id)
    assert len(set(found)) == MANY
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(recordings_table)) == 1


def test_as_many_get_in_as_there_is_room_for(database: Database) -> None:
    crowd = queues(database, 20, settings=QueueSettings(capacity=15))
    for number in range(10):
        submit(crowd[0], f"before {number}")

    def push(number: int) -> bool:
        try:
            submit(crowd[number], f"{number}", client=Client(f"tenant {number % 4}"))
        except QueueFull:
            return False
        return True

    assert sum(at_once(20, push)) == 5


def test_as_much_gets_in_as_a_quota_has_left(database: Database) -> None:
    crowd = queues(database, 12)
    key = {"id": "k", "name": "", "tenant": "t", "hash": "h", "scopes": "write", "created": 0.0}
    with database.write() as connection:
        connection.execute(keys.insert().values(**key, quota=300.0))

    def push(number: int) -> bool:
        try:
            submit(crowd[number], f"{number}", client=Client("t", "k"), seconds=60.0)
        except QuotaUsedUp:
            return False
        return True

    assert sum(at_once(12, push)) == 5


def test_a_key_of_a_request_is_remembered_once(database: Database) -> None:
    queue = queues(database, 1)[0]
    job = submit(queue)
    at_once(MANY, lambda n: idempotency.remember(database, "t", "key", f"{n}", job.id))
    found = [n for n in range(MANY) if _remembers(database, f"{n}")]
    assert len(found) == 1


def _remembers(database: Database, fingerprint: str) -> bool:
    try:
        return idempotency.find(database, "t", "key", fingerprint) is not None
    except HansardError:
        return False


# ── what people ask for, meanwhile ───────────────────────────────────────────────────────────


def work(queue: Queue, chance: random.Random) -> None:
    """Whatever there is to be done next, a step and some windows."""
    unit = queue.claim_step()
    if unit is not None and unit.step == "prepare":
        queue.add_windows(unit, planned(6), position=6000)
        queue.end_prepare(unit, Prepared(6000, 1, LEVELS))
    elif unit is not None:
        queue.complete(unit, lambda _: None)
    heard = claim(queue, chance.randint(1, 3))
    if heard is not None:
        queue.record(heard, answers(heard))


def order(queue: Queue, chance: random.Random, ids: list[str]) -> None:
    """Something that people or other workers may want at any time."""
    job = chance.choice(ids)
    worker = f"worker {chance.randrange(MANY)}"
    orders: list[Callable[[], object]] = [
        lambda: queue.cancel(job),
        lambda: queue.retry(job),
        lambda: submit(queue, f"job {chance.randrange(6)}"),
        lambda: queue.free([worker], worn=bool(chance.randrange(2))),
        queue.expire,
        lambda: queue.delete(None, job),
    ]
    chance.choice(orders)()


def test_a_storm_of_orders_ends_in_order(database: Database) -> None:
    """Cancelled, retried, submitted, freed and timed out while workers claim and record."""
    crowd = queues(database, attempts=50)
    ids = [submit(crowd[0], f"job {number}").id for number in range(6)]

    def act(number: int) -> None:
        chance = random.Random(number)
        for _ in range(25):
            with suppress(InvalidState, UnknownJob, LeaseLost):  # somebody else was quicker
                if number % 3 == 0:
                    order(crowd[number], chance, ids)
                else:
                    work(crowd[number], chance)

    at_once(MANY, act)
    crowd[0].free([queue.owner for queue in crowd])
    see_that_sums_agree(database)
    left = sa.select(jobs.c.id).where(jobs.c.finished.is_(None))
    chance = random.Random(0)
    for _ in range(100):  # and it goes on: all that is left can be done
        work(crowd[0], chance)
    with database.read() as connection:
        assert connection.scalars(left).all() == []
    see_that_sums_agree(database)


def test_failing_and_recording_at_once(database: Database) -> None:
    from hansard.errors import EngineBusy

    crowd = queues(database, attempts=50)
    for name in ("a", "b", "c"):
        made_ready(crowd[0], 24, name)

    def act(number: int) -> None:
        while (unit := claim(crowd[number], 2)) is not None:
            with suppress(LeaseLost):
                if number % 2:
                    crowd[number].record(unit, answers(unit))
                else:
                    crowd[number].fail(unit, EngineBusy("Slowly."))

    at_once(MANY, act)
    see_that_sums_agree(database)


def test_a_recording_is_not_removed_under_who_sends_it_again(
    database: Database, tmp_path: Any
) -> None:
    """Some remove the last job of a recording, others send the same bytes: what is named stays."""
    files = Disk(tmp_path, "me")
    crowd = queues(database)
    place = files.local_recording("a")
    place.parent.mkdir(parents=True)

    def act(number: int) -> None:
        for turn in range(10):
            options = Options("sphinx", f"{number} {turn}", language="en")
            if number % 2:
                place.touch()
                crowd[number].submit(recording(), options, LEVELS)
                place.touch()  # as `transcription.accept` sees to it
            else:
                with database.read() as connection:
                    ended = connection.scalars(sa.select(jobs.c.id)).all()
                for job in ended:
                    with suppress(InvalidState, UnknownJob):
                        crowd[number].cancel(job)
                    retention.remove(database, files, job)

    at_once(MANY, act)
    with database.read() as connection:
        named = set(connection.scalars(sa.select(jobs.c.recording)))
        kept = set(connection.scalars(sa.select(recordings_table.c.id)))
    assert named <= kept
    assert not named or place.exists()


# ── several processes ────────────────────────────────────────────────────────────────────────

_WORKER = """
import sys, threading
from hansard.jobs.queue import Queue
from hansard.model import Utterance, WindowResult
from hansard.store.opening import opened
from pathlib import Path

data, address, name = sys.argv[1:]
database = opened(Path(data), address or None)
print("ready", flush=True)
sys.stdin.readline()
heard = []

def work(number):
    queue = Queue(database, f"{name}.{number}")
    while (unit := queue.claim_windows("sphinx", "en-us", batch=2, lanes=1)) is not None:
        queue.record(unit, [WindowResult((Utterance(0.0, 1.0, name),)) for _ in unit.parts])
        heard.extend(part.id for part in unit.parts)

threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
database.close()
print(*heard, flush=True)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_hear_every_window_once(
    kind: str, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    from hansard.store.opening import opened

    address = "" if kind == "sqlite" else request.getfixturevalue("postgres")
    database = opened(tmp_path, address or None)
    queue = Queue(database, "me")
    job = made_ready(queue, 60)
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(tmp_path), address, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("p", "q")
    ]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    heard: Counter[str] = Counter()
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in crowd:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        heard.update(out.split())
    assert len(heard) == 60
    assert set(heard.values()) == {1}
    assert queue.get(job.id).step == "finish"
    see_that_sums_agree(database)
    database.close()


def test_a_submission_rings_here_and_elsewhere(postgres: str) -> None:
    """However few statements it takes: nobody should sleep until he looks by himself."""
    mine, other = Postgres(postgres), Postgres(postgres)
    other.watch()
    until(lambda: other.hears, "it listens")
    here, there = mine.rings(), other.rings()
    Queue(mine, "front").submit(recording(), OPTIONS, LEVELS, seconds=40.0)
    assert mine.rings() > here
    until(lambda: other.rings() > there, "the other is told")
    mine.close()
    other.close()
