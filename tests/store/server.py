"""A PostgreSQL of a test's own, which may be stopped: the shared one is others', too."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

BIN = os.environ.get("HANSARD_TEST_POSTGRES_BIN")
PASSWORD = "pass:w/o@rd%7"
_QUOTED = "pass%3Aw%2Fo%40rd%257"


class Server:
    """A cluster in a directory, on a free port of loopback."""

    def __init__(self, binaries: Path, home: Path) -> None:
        self._binaries = binaries
        self._home = home
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = int(found.getsockname()[1])
        words = home / "password"
        words.write_text(PASSWORD)
        if os.geteuid() == 0:  # it refuses to be root's
            shutil.chown(home, "postgres")
            shutil.chown(words, "postgres")
        self._run(
            *("initdb", "--no-sync", "--username=postgres", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C", f"--pwfile={words}", str(home / "data")),
        )
        self.start()

    def _run(self, name: str, *arguments: str) -> None:
        become = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*become, str(self._binaries / name), *arguments],
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._home / "data"), "-w", *arguments)

    def start(self) -> None:
        log, where = str(self._home / "log"), f"-p {self.port} -k {self._home} -F -h 127.0.0.1"
        self._control("-l", log, "-o", where, "start")

    def stop(self) -> None:
        """As if the machine lost its power: nobody is told."""
        self._control("-m", "immediate", "stop")

    def address(self, database: str, password: str = _QUOTED) -> str:
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The address of a new database."""
        name = f"d{secrets.token_hex(4)}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.address(name)


@contextmanager
def running() -> Iterator[Server]:
    """A server until the end of the block. Skips where there cannot be one."""
    places = [Path(BIN)] if BIN else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places or not (places[-1] / "initdb").is_file():
        pytest.skip("no initdb: set HANSARD_TEST_POSTGRES_BIN to the directory it is in")
    if os.geteuid() == 0 and not shutil.which("runuser"):
        pytest.skip("a PostgreSQL cannot be root's, and there is no runuser to be somebody else")
    with tempfile.TemporaryDirectory(prefix="hansard-pg-", ignore_cleanup_errors=True) as home:
        try:
            server = Server(places[-1], Path(home))
        except (subprocess.CalledProcessError, LookupError, PermissionError) as error:
            pytest.skip(f"a PostgreSQL of our own cannot be started: {error}")
        try:
            yield server
        finally:
            server.stop()
