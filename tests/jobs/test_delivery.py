"""Permits over real brokers: what wakes workers, what does not, and what heals."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.certificates import Authority
from tests.flow.wire import Wire
from tests.jobs import brokers
from tests.jobs.conftest import answers, ready, submit
from tests.waiting import until

from hansard.config import Settings, load
from hansard.errors import BadSettings, BrokerGone
from hansard.jobs import attendance, worker
from hansard.jobs.attendance import Attendance
from hansard.jobs.delivery import Post, made
from hansard.jobs.permits import MOST, Permits
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.unit import StepHandler
from hansard.jobs.worker import Crew, Listener
from hansard.model import Step
from hansard.store.postgres import Postgres

FOR_EVER = 3600.0


@pytest.fixture(params=brokers.BOTH)
def broker(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings that name a broker, with rounds so rare that none is made."""
    with brokers.own_names(request.param) as (address, prefix):
        yield load(broker=address, delivery={"prefix": prefix, "round_seconds": FOR_EVER})


@pytest.fixture
def rabbitmq() -> Iterator[Settings]:
    with brokers.own_names("rabbitmq") as (address, prefix):
        yield load(broker=address, delivery={"prefix": prefix, "round_seconds": FOR_EVER})


def with_rounds(settings: Settings, seconds: float = 0.2) -> Settings:
    delivery = settings.delivery.model_copy(update={"round_seconds": seconds})
    return settings.model_copy(update={"delivery": delivery})


class Front:
    """Takes work in, and does none."""

    def __init__(self, postgres: str, settings: Settings) -> None:
        self.database = Postgres(postgres)
        found = attendance.opened(settings, self.database, rounds=False)
        assert found is not None
        self.permits = found
        self.queue = found.queue(self.database, "front")

    def close(self) -> None:
        self.permits.close()
        self.database.close()


class Host:
    """A worker that hears of nothing but by the broker, and counts what it does."""

    def __init__(self, postgres: str, settings: Settings) -> None:
        self.settings = settings
        self.database = Postgres(postgres)
        self.database.watch = lambda: None  # type: ignore[method-assign] # deaf on purpose
        self.permits = Permits(
            self.database, partial(Post, settings), settings.delivery.round_seconds
        )
        self.queue = Queue(self.database, secrets.token_hex(4))
        self.prepared: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.ended = threading.Event()
        self.go = threading.Event()
        self.go.set()
        steps: dict[Step, StepHandler] = {"prepare": self.prepare, "finish": self.finish}
        self.crew = Crew(self.queue, {"transcribe": steps}, self.listeners)
        self.attendance: Attendance | None = None
        self.idle: set[str] = set()
        self._wait = self.database.wait
        self.database.wait = self.wait  # type: ignore[method-assign] # says that it came to this

    def wait(self, seen: int, seconds: float) -> None:
        self.idle.add(threading.current_thread().name.rpartition("-")[0])
        self._wait(seen, seconds)

    def prepare(self, unit: Unit) -> None:
        self.go.wait(60)
        self.prepared[unit.job.id] += 1
        ready(self.queue, unit)

    def finish(self, unit: Unit) -> None:
        self.finished[unit.job.id] += 1
        self.queue.complete(unit, lambda _: None)

    @contextmanager
    def listeners(self, engine: str, model: str) -> Iterator[Listener]:
        del engine, model
        yield Listener(2, 2, lambda unit: self.queue.record(unit, answers(unit)))

    def start(self) -> None:
        self.crew.start()
        # It looks once by itself: what is submitted from now on is brought by permits.
        until(lambda: "hansard-speech-steps" in self.idle, "it has looked, and found nothing")
        name = self.queue.owner
        self.attendance = Attendance(self.settings, name, self.crew, self.permits, self.ended.set)
        with inspected(self.settings, timeout=0.3) as (_, see):
            until(see.ping, "the worker answers")

    def stop(self) -> bool:
        self.go.set()
        if self.attendance is not None:
            self.attendance.end()
        ended = self.crew.stop(60)
        if self.attendance is not None:
            self.attendance.close()
        return ended

    def close(self) -> None:
        self.stop()
        self.permits.close()
        self.database.close()


@contextmanager
def inspected(settings: Settings, timeout: float) -> Iterator[tuple[Any, Any]]:
    """What Celery's tools control and inspect workers with."""
    app = made(settings)
    with app.connection_for_write() as connection:
        yield (
            partial(app.control.broadcast, connection=connection),
            app.control.inspect(timeout=timeout, limit=1, connection=connection),
        )


@pytest.fixture
def front(postgres: str, broker: Settings) -> Iterator[Front]:
    opened = Front(postgres, broker)
    yield opened
    opened.close()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks into the store unless something tells him to."""
    monkeypatch.setattr(worker, "_NAP", FOR_EVER)


@contextmanager
def at_work(postgres: str, settings: Settings) -> Iterator[Host]:
    host = Host(postgres, settings)
    try:
        host.start()
        yield host
    finally:
        host.close()


def are_done(queue: Queue, *names: str) -> Callable[[], bool]:
    return lambda: all(queue.get(name).state == "completed" for name in names)


@pytest.mark.usefixtures("_patient")
def test_a_permit_alone_brings_work_to_another_host(
    postgres: str, broker: Settings, front: Front
) -> None:
    with at_work(postgres, broker) as host:
        first = submit(front.queue, "a", seconds=40)
        until(are_done(front.queue, first.id), "it is done")
        host.go.clear()
        again = submit(front.queue, "b", seconds=40)
        until(lambda: host.crew.hands_of("speech")[0], "it is in hand")
        front.queue.cancel(again.id)
        host.go.set()
        until(lambda: not host.crew.hands_of("speech")[0], "it is let go of")
        front.queue.retry(again.id)
        until(are_done(front.queue, again.id), "it is done after all")
        assert host.finished == {first.id: 1, again.id: 1}


@pytest.mark.usefixtures("_patient")
def test_five_copies_of_each_permit_are_one_run_of_each_job(
    postgres: str, broker: Settings, front: Front
) -> None:
    post = Post(broker)
    with at_work(postgres, broker) as host:
        names = []
        for number in range(6):
            names.append(submit(front.queue, str(number), seconds=20).id)
            for _ in range(5):
                post.permit("speech")
        until(are_done(front.queue, *names), "all are done")
        until(lambda: post.waiting("speech") == 0, "no permit is left")
        assert host.prepared == host.finished == dict.fromkeys(names, 1)
    post.close()


@pytest.mark.usefixtures("_patient")
def test_work_whose_permits_were_purged_is_found_by_a_round(
    postgres: str, broker: Settings, front: Front
) -> None:
    often = with_rounds(broker)
    with at_work(postgres, often) as host:
        silent = Queue(front.database, "silent")
        until(lambda: host.permits._broker is not None, "a round was made")
        names = [submit(silent, str(number), seconds=20).id for number in range(4)]
        brokers.purge(broker)
        until(are_done(silent, *names), "all are done")
        assert host.finished == dict.fromkeys(names, 1)


@pytest.mark.usefixtures("_patient")
def test_connections_that_are_cut_cost_nothing(postgres: str, broker: Settings) -> None:
    parts = urlsplit(str(broker.broker))
    assert parts.port is not None
    wire = Wire(parts.port)
    there = str(broker.broker).replace(f":{parts.port}", f":{wire.port}")
    settings = with_rounds(broker.model_copy(update={"broker": there}))
    front = Front(postgres, settings)
    try:
        with at_work(postgres, settings) as host:
            names = []
            for number in range(12):
                names.append(submit(front.queue, str(number), seconds=20).id)
                if number % 4 == 2:
                    wire.cut()
            until(are_done(front.queue, *names), "all are done")
            assert host.prepared == host.finished == dict.fromkeys(names, 1)
    finally:
        front.close()
        wire.close()


@pytest.mark.usefixtures("_patient")
def test_work_is_brought_over_tls_and_after_a_cut(
    postgres: str, broker: Settings, tmp_path: Path
) -> None:
    authority = Authority.made(tmp_path)
    parts = urlsplit(str(broker.broker))
    wire = Wire(parts.port or 0, tls=authority.server("127.0.0.1"))
    netloc = parts.netloc.replace(f":{parts.port}", f":{wire.port}")
    there = f"{parts.scheme}s://{netloc}{parts.path}?ssl_ca_certs={authority.path}"
    settings = with_rounds(broker.model_copy(update={"broker": there}))
    front = Front(postgres, settings)
    try:
        with at_work(postgres, settings) as host:
            first = submit(front.queue, "a", seconds=20)
            until(are_done(front.queue, first.id), "it is done")
            wire.cut()
            again = submit(front.queue, "b", seconds=20)
            until(are_done(front.queue, again.id), "it is done after the cut")
            assert host.finished == {first.id: 1, again.id: 1}
    finally:
        front.close()
        wire.close()


def test_a_connection_that_is_made_anew_leaves_no_socket_behind(rabbitmq: Settings) -> None:
    parts = urlsplit(str(rabbitmq.broker))
    assert parts.port is not None
    wire = Wire(parts.port)
    there = str(rabbitmq.broker).replace(f":{parts.port}", f":{wire.port}")
    app = made(rabbitmq.model_copy(update={"broker": there}))
    with app.connection_for_write() as connection:
        before = connection.connection.sock
        wire.cut()
        with pytest.raises(OSError, match=r"closed|reset"):
            connection.drain_events(timeout=60)
        assert not connection.connected
        assert connection.connection.sock is not before
        assert before.fileno() == -1
    wire.close()


def test_a_broker_that_is_down_fails_nothing_and_is_named_once(
    postgres: str, broker: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    parts = urlsplit(str(broker.broker))
    assert parts.port is not None
    wire = Wire(parts.port)
    wire.refuse()
    there = str(broker.broker).replace(f":{parts.port}", f":{wire.port}")
    front = Front(postgres, broker.model_copy(update={"broker": there}))
    try:
        with caplog.at_level(logging.INFO, "hansard.delivery"):
            submit(front.queue, "a")
            until(lambda: "cannot be reached" in caplog.text, "it is said")
            for number in range(3):
                submit(front.queue, str(number))
            wire.refuse(on=False)

            def is_back() -> bool:
                front.permits.say("speech")
                return "is back" in caplog.text

            until(is_back, "it is back")
        assert caplog.text.count("cannot be reached") == 1
        assert caplog.text.count("is back") == 1
    finally:
        front.close()
        wire.close()


def test_a_queue_holds_no_more_than_anybody_needs(broker: Settings) -> None:
    post = Post(broker)
    for _ in range(MOST + 20):
        post.permit("speech")
    until(lambda: post.waiting("speech") == MOST, "the oldest have gone")
    post.close()


def test_a_round_is_made_by_one_at_a_time_and_by_whoever_is_left(
    postgres: str, rabbitmq: Settings
) -> None:
    often = with_rounds(rabbitmq)
    silent = Queue(Postgres(postgres), "silent")
    submit(silent, "a")
    post = Post(rabbitmq)
    makers = [Permits(Postgres(postgres), partial(Post, often), 0.2) for _ in range(3)]
    for maker in makers:
        maker.keep_round()
    until(lambda: post.waiting("speech") == 1, "there is a permit for it")
    submit(silent, "b")
    until(lambda: post.waiting("speech") == 2, "there is one for each")
    for maker in makers[:2]:
        maker.close()
    submit(silent, "c")
    until(lambda: post.waiting("speech") == 3, "the last one made a round")
    makers[2].close()
    for database in (silent.database, *(maker.database for maker in makers)):
        database.close()
    post.close()


@pytest.mark.usefixtures("_patient")
def test_celerys_own_tools_see_a_worker_and_do_no_harm(postgres: str, rabbitmq: Settings) -> None:
    front = Front(postgres, rabbitmq)
    with at_work(postgres, rabbitmq) as host, inspected(rabbitmq, 2.0) as (tell, see):
        host.go.clear()
        job = submit(front.queue, "a", seconds=20)
        until(lambda: host.crew.hands_of("speech")[0], "it is in hand")

        def active() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = next(iter((see.active() or {}).values()), [])
            if not found:  # on a slow machine nothing was in hand yet when it was let go
                front.permits.say("speech")
            return found

        (held,) = until(active, "it is seen")
        assert (held["name"], held["args"]) == ("hansard.permit", ["speech"])
        (registered,) = see.registered().values()
        assert registered == ["hansard.permit", "hansard.round"]
        (stats,) = see.stats().values()
        assert stats["pool"]["implementation"] == "celery.concurrency.thread:TaskPool"
        assert stats["prefetch_count"] == stats["pool"]["max-concurrency"]
        tell("revoke", arguments={"task_id": held["id"]})
        until(lambda: held["id"] in next(iter(see.revoked().values())), "it is revoked")
        host.go.set()
        until(are_done(front.queue, job.id), "it is done all the same")
        tell("shutdown")
        assert host.ended.wait(60)
    front.close()


@pytest.mark.usefixtures("_patient")
def test_what_a_worker_leaves_at_its_end_is_told_to_others(
    postgres: str, rabbitmq: Settings
) -> None:
    front = Front(postgres, rabbitmq)
    post = Post(rabbitmq)
    with at_work(postgres, rabbitmq) as host:
        host.go.clear()
        names = [submit(front.queue, str(number), seconds=700).id for number in range(3)]
        until(lambda: host.crew.hands_of("speech")[0], "one is in hand")
        ending = threading.Thread(target=host.crew.stop, args=(60,))
        assert host.attendance is not None
        host.attendance.end()
        ending.start()
        host.go.set()
        ending.join()
        host.attendance.close()
        host.attendance = None
        (done,) = host.prepared
        assert host.prepared[done] == 1
        assert {front.queue.get(name).step for name in names if name != done} == {"prepare"}
        until(lambda: post.waiting("speech"), "there is a permit for the rest")
    post.close()
    front.close()


def test_brokers_that_there_are_not() -> None:
    with pytest.raises(BadSettings, match="kafka"):
        made(load(broker="kafka://somewhere"))
    with pytest.raises(BadSettings, match="No broker"):
        made(load())
    nobody = Post(load(broker="amqp://127.0.0.1:1//"))
    with pytest.raises(BrokerGone):
        nobody.permit("speech")
