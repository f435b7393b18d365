"""PgBouncer as deploy/ has it, before a real PostgreSQL: what must come through, and its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from tests import stores
from tests.deploy.standing import DEPLOY, free_port, needs
from tests.flow.conftest import batch  # noqa: F401 a fixture
from tests.flow.running import Service
from tests.store.test_postgres import SHOWN, add
from tests.waiting import until

from hansard.errors import StoreBroken, StoreBusy, StoreGone
from hansard.store.postgres import Postgres


class Bouncer:
    """One that may be killed. It lets everybody in: who knows the password is not tested here."""

    def __init__(self, folder: Path, server: sa.URL, **other: str) -> None:
        self._program = needs("pgbouncer")
        self._folder = folder
        self._port = free_port()
        file = ConfigParser(interpolation=None, inline_comment_prefixes=None)
        file.read(DEPLOY / "pgbouncer.ini", "utf-8")
        words = {"host": server.host, "port": server.port or 5432, "dbname": server.database}
        words |= {"user": server.username, "password": server.password}
        place = " ".join(f"{name}={value}" for name, value in words.items() if value is not None)
        file["databases"] = {"hansard": place}
        file["pgbouncer"].update({"listen_port": str(self._port), "auth_type": "any", **other})
        del file["pgbouncer"]["auth_file"]
        self._file = folder / "pgbouncer.ini"
        with self._file.open("w", encoding="utf-8") as out:
            file.write(out)
        self.address = f"postgresql://anybody@127.0.0.1:{self._port}/hansard"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # It refuses to be root.
        whom = ["-u", "nobody"] if os.getuid() == 0 else []
        with (self._folder / "said").open("ab") as said:
            self.process = subprocess.Popen(
                [self._program, *whom, str(self._file)], stdout=said, stderr=said
            )
        until(self._answers, "it answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "said").read_text("utf-8")
        try:
            Postgres(self.address).close()
        except (StoreBusy, StoreGone):
            return False
        return True

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def server() -> Iterator[sa.URL]:
    with stores.fresh_postgres() as address:
        yield sa.make_url(address)


@pytest.fixture
def bouncer(tmp_path: Path, server: sa.URL) -> Iterator[Bouncer]:
    one = Bouncer(tmp_path, server)
    one.start()
    yield one
    one.kill()


def test_every_connection_has_its_settings(bouncer: Bouncer) -> None:
    ours = Postgres(bouncer.address)
    theirs = Postgres(f"{bouncer.address}?options=-c%20statement_timeout%3D1234")
    for _ in range(2):  # what one has set is another's no more
        for database, more in ((ours, {}), (theirs, {"statement_timeout": "1234ms"})):
            with database.read() as connection:
                asked = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in SHOWN}
            assert asked == SHOWN | more
            with database.write() as connection:
                assert connection.scalar(sa.text("SHOW synchronous_commit")) == "on"
    ours.close()
    theirs.close()


def test_a_commit_wakes_another_process(bouncer: Bouncer) -> None:
    ours, theirs = Postgres(bouncer.address), Postgres(bouncer.address)
    for one in (ours, theirs):
        one.watch()
    until(lambda: ours.hears and theirs.hears, "both listen")
    heard = theirs.rings()
    add(ours, "a")
    theirs.wait(heard, 60)
    assert theirs.rings() > heard
    ours.close()
    theirs.close()


def test_a_service_works_and_outlives_its_pooler(
    bouncer: Bouncer,
    tmp_path: Path,
    batch: list[Path],  # noqa: F811
) -> None:
    service = Service(tmp_path / "service", HANSARD_DATABASE=bouncer.address)

    def ask(method: str, path: str, **more: Any) -> httpx.Response | None:
        """An answer, once the store is there: clients of a service ask again."""
        try:
            url = f"{service.url}/api/v1/{path}"
            answer = httpx.request(method, url, timeout=30, trust_env=False, **more)
        except httpx.TransportError:
            return None
        return None if answer.status_code == 503 else answer

    def is_done(recording: Path) -> bool:
        files = {"file": (recording.name, recording.read_bytes())}
        sent = until(lambda: ask("POST", "transcriptions", files=files), "it is accepted")
        assert sent.status_code < 300, sent.text

        def seen() -> bool:
            answer = ask("GET", f"jobs/{sent.json()['id']}")
            return answer is not None and answer.json()["state"] == "completed"

        return bool(until(seen, "it is done"))

    service.start()
    try:
        assert is_done(batch[0])
        bouncer.kill()
        bouncer.start()
        assert is_done(batch[1])
    finally:
        assert service.stop() == 0


@pytest.mark.parametrize("full", ["default_pool_size", "max_client_conn"])
def test_a_pooler_that_is_full_is_tried_again(tmp_path: Path, server: sa.URL, full: str) -> None:
    one = Bouncer(tmp_path, server, **{full: "1", "query_wait_timeout": "1"})
    one.start()
    try:
        with psycopg.connect(one.address) as taken:
            taken.execute("SELECT 1")
            with pytest.raises(StoreBusy, match=r"max_client_conn|query_wait_timeout"):
                Postgres(one.address)
        until(one._answers, "there is room again")
    finally:
        one.kill()


def test_a_pooler_that_refuses_is_told_how(tmp_path: Path, server: sa.URL) -> None:
    one = Bouncer(tmp_path, server, ignore_startup_parameters="extra_float_digits")
    try:
        with pytest.raises(StoreBroken, match="unsupported startup parameter") as refused:
            one.start()
        assert "ignore_startup_parameters = options" in (refused.value.hint or "")
    finally:
        one.kill()
