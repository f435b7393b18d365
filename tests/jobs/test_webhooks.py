from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.jobs.conftest import LEVELS, Clock
from tests.receiver import Answer, Receiver, receiving, verified

from hansard.config import Settings, load
from hansard.errors import BadInput, BadSettings, TooMuch, UnknownDelivery
from hansard.jobs import deliveries, webhooks
from hansard.jobs.deliveries import Deliveries
from hansard.jobs.queue import Queue
from hansard.jobs.signatures import Secrets, sign
from hansard.jobs.webhooks import Delivery
from hansard.model import (
    Client,
    Job,
    Media,
    Options,
    Prepared,
    Recording,
    Span,
    Utterance,
    Window,
    WindowResult,
)
from hansard.store import tables
from hansard.store.sqlite import Sqlite

DAY = 86_400.0


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as it is made, to be copied: making one takes most of a second."""
    path = tmp_path_factory.mktemp("store") / "hansard.db"
    Sqlite(path).close()
    return path


@pytest.fixture
def database(empty: Path) -> Iterator[Sqlite]:
    place = load().data
    place.mkdir(parents=True)
    opened = Sqlite(Path(shutil.copy(empty, place / "hansard.db")))
    yield opened
    opened.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def sender(database: Sqlite, clock: Clock) -> Callable[..., Deliveries]:
    def make(resolve: Any = None, **settings: Any) -> Deliveries:
        return Deliveries(database, free(**settings), clock=clock, resolve=resolve)

    return make


def free(**settings: Any) -> Settings:
    return load(webhooks={"private": True, **settings})


NAMES = (f"{number:064x}" for number in itertools.count())


def submit(
    queue: Queue, webhook: str | None, name: str | None = None, client: Client | None = None
) -> Job:
    recording = Recording(name or next(NAMES), "board.wav", Media("wav", 10.0, 100, ()), 1.0)
    options = Options("sphinx", "en-us", language="en")
    job, _ = queue.submit(
        recording, options, LEVELS, client=client or Client(), seconds=10.0, webhook=webhook
    )
    return job


def cancelled(queue: Queue, webhook: str | None, client: Client | None = None) -> Job:
    return queue.cancel(submit(queue, webhook, client=client).id)


def finish(queue: Queue, write: Callable[[sa.Connection], None] = lambda _: None) -> None:
    """Take the only job there is to its end."""
    unit = queue.claim_step()
    assert unit is not None
    queue.add_windows(unit, [Window(0, 0, (Span(0, 16_000),))], position=16_000)
    queue.end_prepare(unit, Prepared(32_000, 1, LEVELS))
    heard = queue.claim_windows("sphinx", "en-us", batch=1, lanes=1)
    assert heard is not None
    queue.record(heard, [WindowResult((Utterance(0.0, 1.0, "yes"),))])
    last = queue.claim_step()
    assert last is not None
    queue.complete(last, write)


def log(database: Sqlite, tenant: str | None = None, **chosen: Any) -> list[Delivery]:
    with database.read() as connection:
        found = webhooks.listing(connection, tenant, **chosen)
        return [webhooks.find(connection, tenant, one.id) for one in found]


def only(database: Sqlite) -> Delivery:
    (one,) = log(database)
    return one


# ── what is noted ────────────────────────────────────────────────────────────────────────────


def test_each_way_to_end_is_an_event(queue: Queue, sender, receiver: Receiver, clock) -> None:
    done = submit(queue, receiver.url)
    finish(queue)
    failed = submit(queue, receiver.url)
    unit = queue.claim_step()
    assert unit is not None
    queue.fail(unit, BadInput("It is noise.", hint="Record again."))
    stopped = cancelled(queue, receiver.url)
    cancelled(queue, None)
    assert sender().step() == 2  # PER_HOST
    assert sender().step() == 1
    said = {call.said["data"]["job"]["id"]: call for call in receiver.calls}
    assert {job: call.said["type"] for job, call in said.items()} == {
        done.id: "job.completed",
        failed.id: "job.failed",
        stopped.id: "job.cancelled",
    }
    call = said[failed.id]
    assert call.said == {
        "id": call.id,
        "type": "job.failed",
        "created": clock.now,
        "data": {
            "job": {
                "id": failed.id,
                "kind": "transcribe",
                "name": "board.wav",
                "state": "failed",
                "seconds": 10.0,
                "error": {
                    "code": "bad_input",
                    "message": "It is noise.",
                    "hint": "Record again.",
                },
            },
            "link": f"/api/v1/transcriptions/{failed.id}",
        },
    }
    assert said[done.id].said["data"]["job"]["seconds"] == 2.0  # as it was heard to the end
    assert said[done.id].said["data"]["job"]["error"] is None
    assert (call.path, call.headers["content-type"]) == ("/hook", "application/json")


def test_an_end_that_is_undone_tells_nobody(queue: Queue, database: Sqlite) -> None:
    job = submit(queue, "https://hooks.example/")

    def broken(_connection: sa.Connection) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        finish(queue, broken)
    assert log(database) == []
    with database.read() as connection:
        row = connection.execute(sa.select(tables.jobs).where(tables.jobs.c.id == job.id)).one()
    assert row.state == "running"


def test_a_job_that_is_taken_up_again_tells_of_each_end(queue, database, clock) -> None:
    job = cancelled(queue, "https://hooks.example/")
    queue.retry(job.id)
    clock.now += 1
    finish(queue)
    assert [one.event for one in log(database)] == ["job.completed", "job.cancelled"]


def test_whoever_asks_for_the_same_work_is_told_as_well(queue, database, clock) -> None:
    first, second, third = (f"https://{n}.example/" for n in ("one", "two", "three"))
    job = submit(queue, first, "a" * 64)
    for url in (second, second, first, None):
        assert submit(queue, url, "a" * 64).id == job.id
    finish(queue)
    assert sorted(one.url for one in log(database)) == [first, second]
    clock.now += 1
    assert submit(queue, third, "a" * 64).id == job.id  # it is done already: at once
    assert (log(database)[0].url, log(database)[0].event) == (third, "job.completed")
    assert len(log(database)) == 3


def test_one_job_is_not_told_to_the_whole_world(queue: Queue, database: Sqlite) -> None:
    for number in range(1 + webhooks.MOST):
        submit(queue, f"https://host{number}.example/", "a" * 64)
    with pytest.raises(TooMuch):
        submit(queue, "https://more.example/", "a" * 64)
    job = submit(queue, "https://host1.example/", "a" * 64)
    queue.cancel(job.id)
    assert len(log(database)) == 1 + webhooks.MOST


def test_an_address_that_is_told_of_every_job(queue: Queue, database: Sqlite, sender) -> None:
    everybody = "https://ops.example/all"
    sender(url=everybody).subscribe()
    client = Client("b" * 32, "key")
    job = cancelled(queue, "https://mine.example/", client)
    cancelled(queue, None, Client("c" * 32, "other"))
    assert sorted(one.url for one in log(database)) == [
        "https://mine.example/",
        everybody,
        everybody,
    ]
    # A client sees what was sent for him, not what the owner of the machine is told.
    assert [one.url for one in log(database, client.tenant)] == ["https://mine.example/"]
    assert log(database, "c" * 32) == []
    (own,) = log(database, client.tenant, job=job.id)
    with database.read() as connection, pytest.raises(UnknownDelivery):
        webhooks.find(connection, "c" * 32, own.id)
    sender().subscribe()  # the setting is gone
    cancelled(queue, None)
    assert len(log(database)) == 3


def test_a_removed_job_takes_its_log_along(queue: Queue, database: Sqlite, clock) -> None:
    with receiving() as receiver:
        sent = cancelled(queue, receiver.url)
        Deliveries(database, free(), clock=clock).step()
        waits = cancelled(queue, receiver.url)
        with database.write() as connection:
            webhooks.forget(connection, sent.id)
            webhooks.forget(connection, waits.id)
        assert [one.job for one in log(database)] == [waits.id]


# ── signatures ───────────────────────────────────────────────────────────────────────────────


def test_signatures_are_those_of_the_specification() -> None:
    # The example that the libraries of the specification test themselves with.
    assert sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    ) == ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")


def test_what_arrives_can_be_verified(queue: Queue, database, sender, receiver, clock) -> None:
    other = Client("d" * 32, "key")
    cancelled(queue, receiver.url)
    cancelled(queue, receiver.url, other)
    sender().step()
    secrets = Secrets(load().data, None)
    mine, theirs = secrets.of("local"), secrets.of(other.tenant)
    with database.read() as connection:
        tenants = dict(
            connection.execute(sa.select(tables.deliveries.c.id, tables.deliveries.c.tenant)).all()
        )
    assert mine != theirs
    assert len(receiver.calls) == 2
    for call in receiver.calls:
        own, foreign = (mine, theirs) if tenants[call.id] == "local" else (theirs, mine)
        assert verified(call, own)
        assert not verified(call, foreign)
        assert call.headers["webhook-timestamp"] == str(int(clock.now))
        call.body += b" "
        assert not verified(call, own)


def test_the_key_is_made_once_and_for_its_owner_alone() -> None:
    data = load().data
    data.mkdir()
    secret = Secrets(data, None).of("local")
    kept = data / "webhook.key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert Secrets(data, None).of("local") == Secrets(data, None).of("") == secret
    given = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
    assert Secrets(data, given).of("local") == Secrets(data, given).of("") == given
    assert Secrets(data, given).of("e" * 32) == Secrets(data, None).of("e" * 32)
    kept.unlink()
    assert Secrets(data, None).of("local") != secret


def test_two_secrets_sign_twice(queue: Queue, sender, receiver) -> None:
    old = "whsec_" + "b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xk"
    new = "whsec_" + "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3"
    cancelled(queue, receiver.url)
    sender(secret=f"{new} {old}").step()
    (call,) = receiver.calls
    assert verified(call, old)
    assert verified(call, new)


@pytest.mark.parametrize("secret", ["hunter2", "whsec_", "whsec_QUJD", "whsec_" + "QUJD" * 30])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(BadSettings, match=r"webhooks\.secret"):
        load(webhooks={"secret": secret})


# ── again and again ──────────────────────────────────────────────────────────────────────────


def test_it_is_sent_until_it_arrives(queue, database, sender, receiver, clock) -> None:
    receiver.answers = [
        Answer(500),
        Answer(hang_up=True),
        Answer(404),
        Answer(204),
    ]
    cancelled(queue, receiver.url)
    to_send = sender()
    waits = []
    for _ in range(4):
        assert to_send.step() == 1
        assert to_send.step() == 0  # not before its time
        if (after := only(database).next_try) is not None:
            waits.append(after - clock.now)
            clock.now = after
    assert len({call.id for call in receiver.calls}) == 1
    assert len({call.body for call in receiver.calls}) == 1
    assert len({call.headers["webhook-timestamp"] for call in receiver.calls}) == 4
    one = only(database)
    assert (one.state, one.next_try, one.attempts) == ("delivered", None, 4)
    assert [trying.status for trying in one.tries] == [500, None, 404, 204]
    assert [trying.error is None for trying in one.tries] == [False, False, False, True]
    assert waits == sorted(waits)
    clock.now += DAY
    assert to_send.step() == 0
    assert len(receiver.calls) == 4


@given(st.integers(1, 10_000))
def test_the_wait_grows_and_is_bounded(tried: int) -> None:
    plain = min(3600.0, 5.0 * 3.0 ** min(tried - 1, 20))
    assert 0.8 * plain <= deliveries.backoff(tried) <= 1.2 * plain


def test_it_is_given_up_after_a_day(queue, database, sender, clock, caplog) -> None:
    job = cancelled(queue, "http://nobody.example/")

    def nobody(host: str, port: int) -> list[str]:
        raise OSError(host, port)

    to_send = sender(resolve=nobody)
    begun = clock.now
    while only(database).state == "waiting":
        assert to_send.step() == 1
        clock.now = only(database).next_try or clock.now
    one = only(database)
    assert one.state == "abandoned"
    assert clock.now == one.finished == begun + DAY  # the last try is at the end of the day
    assert 24 <= len(one.tries) <= 45
    assert "cannot be reached" in (one.tries[-1].error or "")
    assert job.id in caplog.text


def test_a_receiver_that_wants_no_more(queue, database, sender, receiver) -> None:
    receiver.answers = [Answer(410)]
    cancelled(queue, receiver.url)
    sender().step()
    one = only(database)
    assert (one.state, one.tries[0].status) == ("abandoned", 410)


def test_retry_after_is_honoured(queue, database, sender, receiver, clock) -> None:
    status = 429
    receiver.answers = [
        Answer(status, {"Retry-After": "7200"}),
        Answer(status, {"Retry-After": formatdate(clock.now + 7200 + 9000, usegmt=True)}),
        Answer(status, {"Retry-After": "soon"}),
        Answer(status, {"Retry-After": str(int(2 * DAY))}),
    ]
    cancelled(queue, receiver.url)
    to_send = sender()
    to_send.step()
    begun = clock.now
    assert only(database).next_try == begun + 7200
    clock.now += 7200
    to_send.step()
    assert only(database).next_try == begun + 7200 + 9000
    clock.now += 9000
    to_send.step()
    after = only(database).next_try
    assert after is not None
    assert clock.now < after < clock.now + 3600
    clock.now = after
    to_send.step()
    assert only(database).state == "abandoned"  # it would be later than we try


def test_it_is_sent_again_on_request(queue, database, sender, receiver, clock) -> None:
    receiver.answers = [Answer(410), Answer(500), Answer(200)]
    cancelled(queue, receiver.url)
    to_send = sender()
    to_send.step()
    clock.now += 10 * DAY

    def replay() -> None:
        with database.write() as connection:
            webhooks.replay(connection, "local", only(database).id, now=clock.now)

    replay()
    assert only(database).next_try == clock.now
    to_send.step()
    assert only(database).state == "waiting"  # it has a day again
    clock.now = only(database).next_try or 0.0
    to_send.step()
    replay()  # what arrived, too
    to_send.step()
    assert only(database).state == "delivered"
    assert [trying.number for trying in only(database).tries] == [1, 2, 3, 4]
    assert len({call.id for call in receiver.calls}) == 1
    with database.write() as connection, pytest.raises(UnknownDelivery):
        webhooks.replay(connection, "f" * 32, only(database).id, now=clock.now)


def test_old_logs_are_removed(queue, database, sender, receiver, clock) -> None:
    receiver.answers = [Answer(200), Answer(500)]
    cancelled(queue, receiver.url)
    to_send = sender(seconds=1000 * DAY)
    to_send.step()
    cancelled(queue, receiver.url)
    to_send.step()
    clock.now += 29 * DAY
    to_send._sweep()
    assert len(log(database)) == 2
    clock.now += 2 * DAY
    to_send._sweep()
    assert only(database).state == "waiting"
    with database.read() as connection:
        left = connection.scalars(sa.select(tables.delivery_tries.c.delivery)).all()
    assert list(left) == [only(database).id]


def test_killed_between_sending_and_recording(queue, database, receiver, clock) -> None:
    clock.now = time.time() - 1
    cancelled(queue, receiver.url)
    script = """
        import os, signal, sys
        from hansard.config import load
        from hansard.jobs.deliveries import Deliveries
        from hansard.store.sqlite import Sqlite

        Deliveries._record = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        settings = load(webhooks={"private": True})
        Deliveries(Sqlite(settings.data / "hansard.db"), settings).step()
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(receiver.calls) == 1
    assert only(database).tries == ()
    later = Deliveries(database, free(), clock=lambda: time.time() + DAY / 2)
    assert later.step() == 1
    assert [call.id for call in receiver.calls] == [only(database).id] * 2
    assert only(database).state == "delivered"


def test_what_was_taken_over_is_not_decided_by_who_comes_late(
    queue, database, sender, receiver, clock
) -> None:
    receiver.hold.clear()
    cancelled(queue, receiver.url)
    slow = sender(timeout=60)
    ((row, token),) = slow._claim()
    slow._spawn(row, token)
    with receiver.changed:
        receiver.changed.wait_for(lambda: receiver.waiting, 60)
    clock.now += 600  # the lease is over
    receiver.answers = [Answer(410), Answer(200)]
    ((again, other),) = sender()._claim()
    assert again.id == row.id
    receiver.hold.set()
    slow.settle(60)
    assert only(database).state == "waiting"
    assert len(only(database).tries) == 1
    last = sender()
    last._hosts["127.0.0.1"] += 1
    last._tenants["local"] += 1
    last._deliver(again, other)
    assert only(database).state == "delivered"


# ── whom it must not reach, and whom it must not wait for ────────────────────────────────────


def test_private_addresses_are_refused(queue, database, receiver, clock) -> None:
    cancelled(queue, receiver.url)
    cancelled(queue, f"http://hooks.example:{receiver.server_port}/hook")

    def inside(host: str, port: int) -> list[str]:
        del port
        return ["::ffff:127.0.0.1"] if host == "hooks.example" else [host]

    to_send = Deliveries(database, load(), clock=clock, resolve=inside)
    to_send.step()
    assert receiver.calls == []
    for one in log(database):
        assert one.state == "abandoned"
        assert one.tries[0].status is None
        assert "leads into a private network" in (one.tries[0].error or "")
        assert "webhooks.private" in (one.tries[0].error or "")


def test_redirects_are_not_followed(queue, database, sender, receiver) -> None:
    inner = f"http://127.0.0.1:{receiver.server_port}/inner"
    receiver.answers = [Answer(302, {"Location": inner}), Answer(307, {"Location": inner})]
    cancelled(queue, receiver.url)
    cancelled(queue, receiver.url)
    sender().step()
    assert [call.path for call in receiver.calls] == ["/hook", "/hook"]
    assert {one.state for one in log(database)} == {"waiting"}
    assert all("redirects" in (one.tries[0].error or "") for one in log(database))


@pytest.mark.parametrize("url", ["https://[bad/", "nonsense", "http://", "https://ex ample/"])
def test_an_address_that_is_none_ends_the_job_all_the_same(queue, database, sender, url) -> None:
    job = cancelled(queue, url)
    assert job.state == "cancelled"
    sender().step()
    assert only(database).state == "abandoned"


def test_an_answer_without_end_is_not_read(queue, database, sender, receiver) -> None:
    receiver.answers = [Answer(200, body=bytes(65_536), endless=True)]
    cancelled(queue, receiver.url)
    sender(timeout=60).step()
    assert only(database).state == "delivered"


def test_an_answer_that_does_not_come_is_not_waited_for(queue, database, sender, receiver) -> None:
    receiver.hold.clear()
    cancelled(queue, receiver.url)
    sender(timeout=0.2).step()
    assert only(database).tries[0].error == "No answer within 0.2 s."
    assert only(database).state == "waiting"


def test_a_receiver_that_lets_us_wait_holds_up_nobody(queue, database, sender, receiver) -> None:
    with receiving() as fast:
        receiver.hold.clear()
        slow = f"http://slow.example:{receiver.server_port}/"
        for _ in range(30):
            cancelled(queue, slow)
        cancelled(queue, f"http://fast.example:{fast.server_port}/")
        to_send = sender(resolve=lambda *_: ["127.0.0.1"], timeout=60)
        to_send.start()
        try:
            fast.wait_for(1)
            assert receiver.calls == []
            receiver.hold.set()
            receiver.wait_for(30)
        finally:
            to_send.stop(60)
        assert receiver.most_waiting <= deliveries.PER_HOST
        assert {one.state for one in log(database)} == {"delivered"}


def test_tenants_take_turns(queue, sender, clock) -> None:
    greedy, modest = Client("1" * 32), Client("2" * 32)
    for number in range(60):
        cancelled(queue, f"https://host{number}.example/", greedy)
    clock.now += 1
    for number in range(3):
        cancelled(queue, f"https://mine{number}.example/", modest)
    taken = [row.tenant for row, _ in sender()._claim()]
    assert len(taken) == 3 + deliveries.PER_TENANT
    assert taken.count(modest.tenant) == 3


def test_it_stops_and_goes_on_where_it_was(queue, database, sender, receiver) -> None:
    receiver.hold.clear()
    cancelled(queue, receiver.url)
    to_send = sender(timeout=60)
    to_send.start()
    with receiver.changed:
        receiver.changed.wait_for(lambda: receiver.waiting, 60)
    to_send.stop(0.0)  # no patience: it is cut off
    assert only(database).state == "waiting"
    receiver.hold.set()
    to_send.settle(60)
    assert only(database).state == "delivered"


def test_a_store_in_trouble_does_not_end_it(queue, database, sender, receiver, monkeypatch) -> None:
    real, failures = Sqlite.write, iter([True, True])

    def write(self: Sqlite) -> Any:
        if self is database and next(failures, False):
            raise BadInput("The disk is full.", hint="Free some space.")
        return real(self)

    cancelled(queue, receiver.url)
    monkeypatch.setattr(Sqlite, "write", write)
    to_send = sender()
    to_send.start()
    try:
        receiver.wait_for(1)
    finally:
        to_send.stop(60)
    assert only(database).state == "delivered"


def test_several_may_send_at_once(queue, database, sender, receiver, clock) -> None:
    for _ in range(12):
        cancelled(queue, receiver.url)
    other = Sqlite(database.path)  # a connection of its own, as another process has
    senders = [sender(), Deliveries(other, free(), clock=clock)]
    try:
        for one in senders:
            one.start()
        receiver.wait_for(12)
    finally:
        for one in senders:
            one.stop(60)
        other.close()
    assert {one.state for one in log(database)} == {"delivered"}
    assert len({call.id for call in receiver.calls}) == len(receiver.calls) == 12


# ── what the page says ───────────────────────────────────────────────────────────────────────

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"


def block(language: str) -> str:
    return PAGE.read_text("utf-8").partition(f"```{language}\n")[2].partition("```")[0]


def test_the_example_in_python_verifies(queue, sender, receiver, clock, monkeypatch) -> None:
    cancelled(queue, receiver.url)
    sender().step()
    (call,) = receiver.calls
    secret = Secrets(load().data, None).of("local")
    names: dict[str, Any] = {}
    exec(block("python"), names)
    monkeypatch.setattr(time, "time", clock)
    assert names["opened"](secret, call.headers, call.body) == call.said
    with pytest.raises(ValueError, match="not from Hansard"):
        names["opened"](secret, call.headers, call.body + b" ")
    with pytest.raises(ValueError, match="not from Hansard"):
        names["opened"]("whsec_" + "QUJD" * 8, call.headers, call.body)
    clock.now += 301
    with pytest.raises(ValueError, match="old"):
        names["opened"](secret, call.headers, call.body)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the example in a shell needs openssl")
def test_the_example_in_a_shell_verifies(queue, sender, receiver, tmp_path: Path) -> None:
    cancelled(queue, receiver.url)
    sender().step()
    (call,) = receiver.calls
    given = {
        "secret": Secrets(load().data, None).of("local"),
        "id": call.id,
        "timestamp": call.headers["webhook-timestamp"],
        "signature": call.headers["webhook-signature"],
    }
    for body, verdict in ((call.body, "genuine"), (call.body + b" ", "forged")):
        (tmp_path / "body.json").write_bytes(body)
        said = subprocess.run(
            ["sh", "-c", block("bash")],
            env={**os.environ, **given},
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        assert said.stdout == f"{verdict}\n"


def test_the_page_shows_what_is_sent(queue, receiver, sender) -> None:
    submit(queue, receiver.url)
    finish(queue)
    sender().step()
    shown = msgspec.json.decode(block("json"))
    said = receiver.calls[0].said

    def shape(value: Any) -> Any:
        return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else None

    assert shape(shown) == shape(said)
    assert all(f"`{event}`" in PAGE.read_text("utf-8") for event in webhooks.EVENTS.values())
