"""What many machines share, for the benches: a PostgreSQL of one's own.

The server is made with ``initdb`` in a scratch directory on a free port, so that it may be stopped
and crashed; nobody else's is touched. It is looked for where Debian puts it, and in the path.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psycopg

PLACES = ("/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin")


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program(name: str) -> str:
    for place in PLACES:
        if (Path(place) / name).is_file():
            return f"{place}/{name}"
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"This benchmark needs PostgreSQL's {name}: apt-get install postgresql")
    return found


class Server:
    """A PostgreSQL server in a directory of its own."""

    def __init__(self, folder: Path, port: int, config: Path | None = None) -> None:
        self.port = port
        self._folder = folder
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N")
        if config is not None:
            with (folder / "data" / "postgresql.conf").open("a") as own:
                own.write(f"\n{config.read_text()}")

    def _run(self, program: str, *words: str) -> None:
        command = [_program(program), *words]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )

    def start(self, **settings: str | int) -> None:
        """Start it, and wait until it answers."""
        given = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._folder),
            "max_connections": 400,
            "shared_preload_libraries": "pg_stat_statements",
        } | settings
        words = " ".join(f"-c {name}={value}" for name, value in given.items())
        log = str(self._folder / "log")
        data = str(self._folder / "data")
        self._run("pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "-o", words, "start")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it; ``immediate`` is as if it had crashed."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-m", mode, "stop")

    def restart(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        self.stop(mode)
        self.start()

    def address(self, name: str = "postgres", port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{name}"

    def database(self) -> str:
        """The name of a new, empty database."""
        name = f"bench_{secrets.token_hex(4)}"
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def server(config: Path | None = None, **settings: str | int) -> Iterator[Server]:
    """A server for as long as the context lasts; ``config`` is added to its configuration."""
    folder = Path(tempfile.mkdtemp(prefix="hansard-postgres-"))
    made: Server | None = None
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        made = Server(folder, free_port(), config)
        made.start(**settings)
        yield made
    finally:
        if made is not None:
            with suppress(subprocess.CalledProcessError):
                made.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
