"""PostgreSQL as a store: who hears whom, what breaks and comes back, and who is let in."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests import stores
from tests.store import server as servers
from tests.waiting import until

from hansard.errors import HansardError, StoreBroken, StoreBusy, StoreGone, StoreOutdated
from hansard.store import notices
from hansard.store import postgres as module
from hansard.store.address import parsed
from hansard.store.database import TENDED
from hansard.store.postgres import Postgres
from hansard.store.schema import SCHEMA
from hansard.store.tables import keys

ADD = sa.text("INSERT INTO shares VALUES (:name, '', 1)")
COUNT = sa.text("SELECT count(*) FROM shares")


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.running() as found:
        yield found


@pytest.fixture
def two(postgres: str) -> Iterator[tuple[Postgres, Postgres]]:
    """Two that share a database, as two processes do."""
    made = Postgres(postgres), Postgres(postgres)
    yield made
    for one in made:
        one.close()


def add(database: Postgres, name: str, **how: Any) -> None:
    with database.write(**how) as connection:
        connection.execute(ADD, {"name": name})


def count(database: Postgres) -> int:
    with database.read() as connection:
        return int(connection.scalar(COUNT) or 0)


def snapshot(database: Postgres) -> str:
    """What can be seen: the same where nobody committed anything."""
    with database.read() as connection:
        return str(connection.scalar(sa.text("SELECT CAST(pg_current_snapshot() AS text)")))


# ── the bell ─────────────────────────────────────────────────────────────────────────────────


def test_others_hear_of_a_change_and_oneself_once(two: tuple[Postgres, Postgres]) -> None:
    writer, hearer = two
    for one in two:
        one.watch()
        until(lambda one=one: one.hears)  # type: ignore[misc]
    heard, own = hearer.rings(), writer.rings()
    add(writer, "a")
    hearer.wait(heard, 60)
    assert hearer.rings() > heard
    assert writer.rings() == own + 1
    add(hearer, "b")  # when this is heard, the writer's own message has come past long ago
    writer.wait(own + 1, 60)
    assert writer.rings() == own + 2


def test_what_one_process_tends_is_left_to_it_for_a_moment(two: tuple[Postgres, Postgres]) -> None:
    one, other = two
    for database in two:
        database.watch()
    until(lambda: one.hears and other.hears, "both listen")

    def is_left() -> bool:
        one.tend("insight")
        return other.tended("insight") > 0.0

    until(is_left, "the other leaves it")
    assert one.tended("insight") == 0.0, "to oneself nothing is left"
    assert other.tended("insight") <= TENDED
    assert other.tended("speech") == 0.0
    until(lambda: other.tended("insight") == 0.0, "it is not left for ever")


def test_of_two_that_tend_the_same_one_goes_on(
    two: tuple[Postgres, Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TENDED", 600.0)
    for database in two:
        database.tend("insight")  # now both have a name
    one, other = sorted(two, key=lambda database: str(database.told_by()))
    for first, second in ((one, other), (other, one)):
        one.tend("insight")
        other.tend("insight")
        first.left_to(str(second.told_by()), "insight")
    assert one.tended("insight") == 0.0
    assert other.tended("insight") > 0.0


def test_what_nobody_needs_to_know_is_not_told(two: tuple[Postgres, Postgres]) -> None:
    writer, hearer = two
    until(lambda: all(one.beat() and one.hears for one in two))
    own, beats, heard = writer.rings(), writer.beat(), hearer.rings()
    with writer.write() as connection:
        connection.execute(sa.text("UPDATE shares SET served = 2"))
    add(writer, "unseen", unseen=True)
    assert (writer.rings(), hearer.rings()) == (own, heard)
    add(writer, "silent", silent=True)
    assert writer.rings() == own
    assert writer.beat() != beats, "who keeps answers must know"
    add(writer, "loud")
    hearer.wait(heard, 60)
    assert hearer.rings() == heard + 1


def test_a_change_is_found_though_its_message_was_lost(
    two: tuple[Postgres, Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, hearer = two
    until(lambda: hearer.beat() and hearer.hears)
    monkeypatch.setattr(notices.Mouth, "say", lambda *_: None)
    before = hearer.beat()
    add(writer, "a")
    until(lambda: hearer.beat() != before)


def test_what_is_kept_ready_stays_while_nobody_commits(
    server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    look = notices.Ears._look

    def watched(*given: Any) -> None:
        look(*given)
        looks.append(None)

    monkeypatch.setattr(notices.Ears, "_look", watched)
    database = Postgres(server.fresh())
    until(lambda: database.beat() and database.hears)
    before, beat = "", 0
    for _ in range(5):  # a vacuum of the server's own is a commit, too
        before, beat, seen = snapshot(database), database.beat(), len(looks)
        until(lambda seen=seen: len(looks) >= seen + 3)  # type: ignore[misc] # bound at once
        if snapshot(database) == before:
            break
    assert snapshot(database) == before
    assert database.beat() == beat
    database.close()


def test_a_mark_is_older_than_what_is_read_with_it(two: tuple[Postgres, Postgres]) -> None:
    writer, reader = two
    until(lambda: reader.beat() and reader.hears)
    with reader.read() as connection:
        mark = reader.mark(connection)
        add(writer, "a")
        until(lambda: reader.beat() != mark)
        assert connection.scalar(COUNT) == 0, "one view"
    assert count(reader) == 1


# ── transactions ─────────────────────────────────────────────────────────────────────────────


def test_a_read_inside_a_write_is_a_part_of_it(two: tuple[Postgres, Postgres]) -> None:
    database, other = two
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(ADD, {"name": "a"})
        assert count(database) == 1
        assert count(other) == 0
        _ = 1 / 0
    assert count(database) == 0
    with database.read(), pytest.raises(AssertionError, match="inside another"):
        add(database, "b")
    add(database, "c")


def test_a_transaction_that_is_left_idle_is_ended_and_says_so(
    two: tuple[Postgres, Postgres],
) -> None:
    database, other = two
    with pytest.raises(StoreGone, match="idle"), database.write() as connection:
        connection.execute(ADD, {"name": "a"})
        own = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '20ms'"))
        alive = sa.text("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = :pid")

        def ended() -> bool:
            with other.read() as looking:
                return bool(looking.scalar(alive, {"pid": own}))

        until(ended)
        connection.execute(COUNT)
    add(database, "b")
    assert count(other) == 1


def test_two_that_wait_for_each_other_are_told_apart(two: tuple[Postgres, Postgres]) -> None:
    for name in ("a", "b"):
        add(two[0], name)
    both = threading.Barrier(2)
    trouble: list[HansardError] = []

    def act(database: Postgres, *names: str) -> None:
        change = sa.text("UPDATE shares SET served = served + 1 WHERE tenant = :name")
        try:
            with database.write() as connection:
                connection.execute(change, {"name": names[0]})
                both.wait()
                connection.execute(change, {"name": names[1]})
        except HansardError as error:
            trouble.append(error)

    threads = [
        threading.Thread(target=act, args=(two[0], "a", "b")),
        threading.Thread(target=act, args=(two[1], "b", "a")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(error) for error in trouble] == [StoreBusy]


def test_zero_bytes_in_texts_do_no_harm(two: tuple[Postgres, Postgres]) -> None:
    add(two[0], "a\0b")
    with two[0].read() as connection:
        assert connection.scalar(sa.text("SELECT tenant FROM shares")) == "a\ufffdb"
        found = connection.execute(sa.select(keys).where(keys.c.id.in_(["\0", "x"]))).all()
    assert found == []


def test_all_connections_in_use_is_busy(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Postgres(postgres, connections=1)
    monkeypatch.setattr(database._hasty.pool, "_timeout", 0.01)
    with database.read():
        trouble: list[HansardError] = []

        def look() -> None:
            try:
                count(database)
            except StoreBusy as error:
                trouble.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert [error.message for error in trouble]
    assert count(database) == 0
    database.close()


def test_closing_ends_what_it_began(postgres: str) -> None:
    database = Postgres(postgres)
    database.watch()
    add(database, "a")
    inside, closed = threading.Event(), threading.Event()

    def late() -> None:
        with database.read() as connection:
            connection.execute(COUNT)
            inside.set()
            closed.wait(60)
            connection.execute(COUNT)

    thread = threading.Thread(target=late)
    thread.start()
    inside.wait(60)
    database.close()
    closed.set()
    thread.join()
    database.close()
    assert database.beat() != database.beat(), "nobody listens any more"
    names = {one.name for one in threading.enumerate()}
    assert not {"hansard-bell", "hansard-notify"} & names
    with psycopg.connect(postgres) as connection:
        others = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"  # no autovacuum
        )
        assert others.fetchone() == (0,)


FORKING = """
import os, sys, sqlalchemy as sa
from hansard.store.postgres import Postgres
database = Postgres(sys.argv[1])
database.watch()
def add(name):
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO shares VALUES (:name, '', 1)"), {"name": name})
def names():
    with database.read() as connection:
        own = connection.connection.driver_connection.info.backend_pid
        return own, set(connection.scalars(sa.text("SELECT tenant FROM shares")))
add("parent")
before = names()
child = os.fork()
if not child:
    add("child")
    database.watch()
    own, found = names()
    good = found == {"parent", "child"} and own != before[0] and database.rings() > 0
    database.close()
    os._exit(0 if good else 1)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
own, found = names()
add("again")
database.close()
sys.exit(ended or own != before[0] or found != {"parent", "child"})
"""


def test_a_forked_child_has_connections_of_its_own(postgres: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKING, postgres], check=True)


# ── a server that goes and comes ─────────────────────────────────────────────────────────────


def test_a_server_that_was_restarted_is_found_again(
    server: servers.Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = server.fresh()
    database, other = Postgres(address), Postgres(address)
    database.watch()
    until(lambda: database.hears)
    for one in (database, other):
        add(one, f"before {id(one)}")
        count(one)
    monkeypatch.setattr(module, "_IDLE", 1e9)  # no connection is looked at before it is used
    kept = database.beat()
    server.stop()
    until(lambda: not database.hears)
    assert database.beat() != database.beat(), "anything may have happened"
    with pytest.raises(StoreGone):
        count(database)
    with pytest.raises(StoreGone):
        add(database, "lost")
    assert "cannot be listened to" in caplog.text
    server.start()
    assert count(database) == 2
    add(database, "after")
    with pytest.raises(StoreGone):
        count(other)  # once: what it had is broken
    assert count(other) == 3
    with pytest.raises(StoreGone):
        add(other, "lost")
    until(lambda: database.hears)
    rung = database.rings()
    add(other, "again")
    database.wait(rung, 60)
    assert database.rings() > rung
    assert database.beat() != kept
    for one in (database, other):
        one.close()


def test_idle_connections_are_looked_at_before_they_are_used(
    server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Postgres(server.fresh())
    add(database, "before")
    assert count(database) == 1
    server.stop()
    server.start()
    monkeypatch.setattr(module, "_IDLE", 0.0)
    assert count(database) == 1
    add(database, "after")
    database.close()


# ── who is let in ────────────────────────────────────────────────────────────────────────────


def refused(address: str, kind: type[HansardError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        Postgres(address)
    assert type(caught.value) is kind
    said = "".join(traceback.format_exception(caught.value)) + str(caught.value.hint)
    for secret in (servers.PASSWORD, "pass%3A", "wrong-one"):
        assert secret not in said


def test_who_cannot_be_let_in_is_told_why(server: servers.Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        nobody = found.getsockname()[1]
    good = server.address("postgres")
    refused(server.address("postgres", "wrong-one"), StoreBroken, "does not let us in")
    refused(server.address("nowhere"), StoreBroken, "does not let us in.*nowhere")
    refused(good.replace(f":{server.port}", f":{nobody}"), StoreGone, "cannot be reached")
    refused(f"{good}?sslmode=require", StoreGone, "SSL")
    refused(f"{good}?password=wrong-one", StoreBroken, "does not let us in")
    refused(f"{good}?colour=red", StoreBroken, "colour")
    refused(good.replace(f":{server.port}", ":pass%3A"), StoreBroken, "cannot be read")
    refused(good.replace("postgresql", "mysql"), StoreBroken, "no database of the kind mysql")
    refused("wrong-one", StoreBroken, "cannot be read")
    refused(f"{good}?prepare_threshold=often", StoreBroken, "prepare_threshold")


def test_a_schema_of_another_hansard_is_refused(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        refused(postgres, StoreBroken, "newer Hansard")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
        refused(postgres, StoreOutdated, "older Hansard")
        Postgres(postgres, outdated=True).close()
        connection.execute("UPDATE alembic_version SET version_num = %s", (SCHEMA,))
    Postgres(postgres.replace("postgresql://", "postgres://")).close()


def test_a_database_for_one_language_only_is_refused(server: servers.Server) -> None:
    with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0")
        refused(server.address("old"), StoreBroken, "LATIN1")
        try:
            connection.execute(
                "CREATE DATABASE danish LOCALE_PROVIDER icu ICU_LOCALE 'da' TEMPLATE template0"
            )
        except psycopg.Error as error:
            pytest.skip(f"this PostgreSQL was built without ICU: {error}")
    refused(server.address("danish"), StoreBroken, "sorts letters")


def test_two_that_open_an_empty_database_at_once_make_it_once() -> None:
    script = (
        "import sys; from hansard.store.postgres import Postgres; Postgres(sys.argv[1]).close()"
    )
    with stores.fresh_postgres() as address:
        children = [subprocess.Popen([sys.executable, "-c", script, address]) for _ in range(2)]
        assert [child.wait() for child in children] == [0, 0]
        Postgres(address).close()


def test_an_address_may_say_more(postgres: str) -> None:
    more = "sslmode=disable&application_name=mine&connect_timeout=7&prepare_threshold=none"
    address = f"{postgres}?{more}&options=-c%20statement_timeout%3D1234"
    assert parsed(address).arguments("")["connect_timeout"] == "7"
    database = Postgres(address)
    assert "?" not in database.place
    with database.read() as connection:
        asked = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in SHOWN}
        for _ in range(7):
            connection.scalar(COUNT)
        prepared = connection.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements"))
    assert asked == SHOWN | {"application_name": "mine", "statement_timeout": "1234ms"}
    assert prepared == 0
    database.close()
    plain = Postgres(postgres)
    with plain.read() as connection:
        assert {name: connection.scalar(sa.text(f"SHOW {name}")) for name in SHOWN} == SHOWN
    plain.close()


@pytest.mark.parametrize("autocommit", [True, False])
def test_settings_that_did_not_arrive_are_set(postgres: str, autocommit: bool) -> None:
    """As behind a pooler: see tests/deploy/test_pgbouncer.py."""
    more = "-c%20statement_timeout%3D1234%20--lock-timeout%3D7s%20-cDateStyle%3DISO,\\%20DMY"
    address = parsed(f"{postgres}?options={more}")
    with psycopg.connect(postgres, autocommit=autocommit) as connection:
        address.settle(connection, "-c synchronous_commit=off")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        connection.rollback()
        wanted = {"TimeZone": "UTC", "synchronous_commit": "off", "statement_timeout": "1234ms"}
        wanted |= {"lock_timeout": "7s", "DateStyle": "ISO, DMY"}
        for name, value in wanted.items():
            assert connection.execute(f"SHOW {name}").fetchone() == (value,)
        connection.execute("SET lock_timeout = '3s'")
        connection.commit()
        address.settle(connection, "")
        assert connection.execute("SHOW lock_timeout").fetchone() == ("3s",), "once is enough"


SHOWN = {
    "application_name": "hansard",
    "statement_timeout": "2min",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "TimeZone": "UTC",
    "synchronous_commit": "off",
    "client_encoding": "UTF8",
}


def test_only_what_must_last_waits_for_the_disk(two: tuple[Postgres, Postgres]) -> None:
    shown = sa.text("SHOW synchronous_commit")
    with two[0].write() as connection:
        assert connection.scalar(shown) == "on"
    with two[0].write(lasting=False) as connection:
        assert connection.scalar(shown) == "off"
