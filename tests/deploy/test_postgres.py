"""The settings for PostgreSQL, each taken by a server of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.certificates import Authority
from tests.deploy.standing import DEPLOY, free_port
from tests.waiting import until

from hansard.errors import StoreBroken
from hansard.store.postgres import Postgres

SIZES = sorted((DEPLOY / "postgres").iterdir())


def binary(name: str) -> str:
    """A program of the server, which Debian keeps off the PATH."""
    found = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), shutil.which(name)]
    newest = max((str(one) for one in found if one), default=None)
    if newest is None:
        pytest.skip("no PostgreSQL server is installed")
    return newest


def user() -> dict[str, Any]:
    """PostgreSQL refuses to be root."""
    if os.getuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A data directory outside of pytest's own, which only its owner may enter."""
    program, as_whom = binary("initdb"), user()
    with tempfile.TemporaryDirectory() as folder:
        if as_whom:
            os.chown(folder, as_whom["user"], as_whom["group"])
        place = Path(folder) / "cluster"
        subprocess.run(
            [program, "-D", str(place), "-U", "postgres", "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **as_whom,
        )
        yield place


@contextmanager
def running(cluster: Path, text: str, **more: str) -> Iterator[tuple[str, Path]]:
    """The address of a server with these settings, made smaller where they are large; its log."""
    place = cluster.parent / "postgresql.conf"
    place.write_text(text, "utf-8")
    place.chmod(0o644)
    port = free_port()
    options = OURS | more | {
        "config_file": str(place),
        "hba_file": str(cluster / "pg_hba.conf"),
        "ident_file": str(cluster / "pg_ident.conf"),
        "unix_socket_directories": str(cluster.parent),
    }  # fmt: skip
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    log = cluster.parent / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [binary("postgres"), "-D", str(cluster), "-p", str(port), *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cluster.parent,
            **user(),
        )
    try:
        address = f"postgresql://postgres@127.0.0.1:{port}/postgres"

        def up() -> bool:
            assert server.poll() is None, log.read_text()
            try:
                psycopg.connect(address).close()
            except psycopg.OperationalError:
                return False
            return True

        until(up, "the server takes connections")
        yield address, log
    finally:
        server.terminate()
        server.wait()


OURS = {"listen_addresses": "127.0.0.1", "shared_buffers": "32MB", "fsync": "off"}
"""What does not fit this machine."""


@pytest.mark.parametrize("size", SIZES, ids=lambda path: path.stem)
def test_a_server_starts_with_it(size: Path, cluster: Path) -> None:
    """What does not fit this machine is made smaller; all else is taken as it is."""
    text = size.read_text("utf-8")
    with running(cluster, text) as (address, log):
        with psycopg.connect(address) as connection:
            odd = connection.execute(
                "SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL"
            ).fetchall()
            named = connection.execute("SELECT name FROM pg_file_settings").fetchall()
        ours = {*OURS, "unix_socket_directories"}
        assert [row for row in odd if row[0] not in ours] == []
        written = [line.partition(" =")[0] for line in text.splitlines() if " = " in line]
        assert {row[0] for row in named} >= {name for name in written if not name.startswith("#")}
        Postgres(address).close()  # makes the tables: everything that Hansard asks for is there
    assert "WARNING" not in log.read_text()


def test_a_server_is_believed_by_its_certificate(cluster: Path, tmp_path: Path) -> None:
    ours, theirs = (Authority.made(tmp_path / name) for name in ("ours", "theirs"))
    files = {}
    for what, path in zip(("cert", "key"), ours.issue("127.0.0.1"), strict=True):
        there = cluster.parent / path.name
        there.write_bytes(path.read_bytes())
        there.chmod(0o600)
        if whom := user():
            os.chown(there, whom["user"], whom["group"])
        files[f"ssl_{what}_file"] = str(there)
    with running(cluster, "", ssl="on", **files) as (address, _):
        strict = f"{address}?sslmode=verify-full&sslrootcert="
        database = Postgres(f"{strict}{ours.path}")
        with database.read() as connection:
            own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.exec_driver_sql(own).scalar() is True
        database.close()
        elsewhere = strict.replace("127.0.0.1", "localhost")
        for wrong in (
            f"{strict}{theirs.path}",
            f"{elsewhere}{ours.path}",
            f"{strict}{tmp_path / 'none.pem'}",
        ):
            with pytest.raises(StoreBroken, match="certificate") as refused:
                Postgres(wrong)
            assert "sslrootcert" in (refused.value.hint or "")


@pytest.mark.parametrize("size", SIZES, ids=lambda path: path.stem)
def test_every_line_has_its_reason(size: Path) -> None:
    paragraphs = size.read_text("utf-8").split("\n\n")
    assert len(paragraphs) >= 10
    assert [one for one in paragraphs if not one.startswith("#")] == []
