"""Two API processes on one store, and the proxies of ``deploy/`` before them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KINDS = ("haproxy", "nginx")


@dataclass
class Pair:
    """Two API processes that share a data directory, on one machine as on two."""

    folder: Path
    ports: list[int] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def hold(self) -> None:
        """From now on no window is heard …"""
        (self.folder / "release").unlink(missing_ok=True)

    def release(self) -> None:
        """… and from now on they are."""
        (self.folder / "release").touch()

    def logged(self) -> list[list[dict[str, Any]]]:
        """The access log of each of the two."""
        logs = [(self.folder / f"{number}.out").read_text().splitlines() for number in range(2)]
        return [[json.loads(line) for line in log] for log in logs]


@contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """Both are up, and end with this."""
    it = Pair(folder)
    environment = os.environ | {
        "HANSARD_DATA": str(it.data),
        "HANSARD_LIMITS__DISK_RESERVE": "0",
        "HANSARD_SERVE__RATE": "60000",
        "HANSARD_SERVE__BURST": "60000",
        "PYTHONUNBUFFERED": "1",
    }
    with ExitStack() as stack:
        for number in range(2):
            out = stack.enter_context((folder / f"{number}.out").open("wb"))
            err = stack.enter_context((folder / f"{number}.err").open("wb"))
            words = [str(folder / f"{number}.port"), str(folder / "release"), str(ROOT)]
            script = str(Path(__file__).with_name("backend.py"))
            it.processes.append(
                subprocess.Popen(
                    [sys.executable, script, *words], env=environment, stdout=out, stderr=err
                )
            )
        try:
            for number in range(2):
                it.ports.append(_port(it, number))
            yield it
        finally:
            for process in it.processes:
                process.kill()
                process.wait()


def _port(it: Pair, number: int) -> int:
    place = it.folder / f"{number}.port"

    def there() -> bool:
        died = it.processes[number].poll() is not None
        assert not died, (it.folder / f"{number}.err").read_text()
        return place.exists()

    until(there, "an API process says its port")
    return int(place.read_text())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def needs(program: str) -> str:
    """Where a program is; skips where it is not."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def haproxy_environment(ports: list[int], port: int, rate: int) -> dict[str, str]:
    return {
        "HANSARD_API_1": f"127.0.0.1:{ports[0]}",
        "HANSARD_API_2": f"127.0.0.1:{ports[1]}",
        "HANSARD_PROXY_BIND": f"127.0.0.1:{port}",
        "HANSARD_PROXY_RATE": str(rate),
    }


def nginx_rendered(folder: Path, ports: list[int], port: int, rate: int) -> Path:
    """The file with addresses, port and directories put in; each must be there to be replaced."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for old, new in (
        (r"api-1:8420", f"127.0.0.1:{ports[0]}"),
        (r"api-2:8420", f"127.0.0.1:{ports[1]}"),
        (r"listen 8080;", f"listen 127.0.0.1:{port};"),
        (r"/tmp/nginx", f"{folder}/nginx"),
        (r"worker_processes auto;", "worker_processes 1;\ndaemon off;"),
        (r"/dev/std(?:out|err)", f"{folder}/nginx.log"),
        (r"burst=500 nodelay", f"burst={rate} nodelay"),
        (r"rate=100r/s", f"rate={max(1, rate // 10)}r/s"),
    ):
        text, count = re.subn(old, new, text)
        assert count, old
    place = folder / "nginx.conf"
    place.write_text(text, "utf-8")
    return place


@contextmanager
def proxy(kind: str, ports: list[int], folder: Path, *, rate: int = 5000) -> Iterator[str]:
    """A proxy of this kind before the two; gives its address."""
    program = needs(kind)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    if kind == "haproxy":
        command = [program, "-db", "-f", str(DEPLOY / "haproxy.cfg")]
    else:
        command = [program, "-e", "stderr", "-c", str(nginx_rendered(folder, ports, port, rate))]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | haproxy_environment(ports, port, rate),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}"

        def up() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                answer = httpx.get(f"{url}/api/v1/health/live", trust_env=False)
            except httpx.TransportError:
                return False
            return answer.status_code == 200

        try:
            until(up, "the proxy finds a service")
            yield url
        finally:
            process.terminate()
            process.wait()
