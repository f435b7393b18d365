"""`hansard serve` and `worker`: what is refused before anything runs, and the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from tests.cli.conftest import Command, refused

from hansard.errors import AlreadyServing, CannotListen, MachineError, StoreBroken
from hansard.jobs import presence, supervisor
from hansard.jobs.supervisor import Role, Supervisor

CHILD = """
import os, signal, socket, sys, time
line = socket.socket(fileno=os.dup(0))
what = sys.argv[1]
if what == "dies":
    sys.exit(3)
if what == "broken":
    line.sendall(b'{"failure": {"code": "store_broken", "message": "No.", "hint": "Hm."}}\\n')
    sys.exit(5)
if what == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if what == "once" and not os.path.exists(sys.argv[2]):
    open(sys.argv[2], "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
line.sendall(b'no json\\n{"ready": true}\\n')
while line.recv(100):
    pass
"""


@pytest.fixture(autouse=True)
def _children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-c", CHILD))


def run(*roles: Role, signals: tuple[int, ...] = (signal.SIGTERM,), patience: float = 30.0) -> bool:
    """Run until all are ready, then send signals; whether taking in was stopped."""
    stopped = []

    def ready() -> None:
        for number in signals:
            os.kill(os.getpid(), number)

    Supervisor(list(roles), environment=dict(os.environ), patience=patience, ready=ready).run(
        lambda: stopped.append(True)
    )
    return stopped == [True]


def children() -> set[int]:
    """The processes right below this one, dead ones that nobody has waited for included."""
    return {child.pid for child in psutil.Process().children()}


def test_children_are_started_and_ended() -> None:
    others = children()
    before = signal.getsignal(signal.SIGTERM)
    assert run(Role("one", ("well",)), Role("two", ("well",)))
    assert signal.getsignal(signal.SIGTERM) is before
    assert children() == others, "nobody is left, not even a zombie"


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    assert run(Role("one", ("well",)), Role("two", ("once", str(tmp_path / "died"))))
    assert (tmp_path / "died").exists()


def test_a_second_signal_ends_those_that_do_not_listen() -> None:
    assert run(Role("deaf", ("deaf",)), signals=(signal.SIGTERM, signal.SIGINT))


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_GRACE", 0.1)
    assert run(Role("deaf", ("deaf",)), patience=0.1)


def test_a_child_that_never_comes_up_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    others = children()
    monkeypatch.setattr(supervisor, "_LONGEST_WAIT", 0.01)
    with pytest.raises(MachineError, match=r"The two ended 5 times .* \(exit code 3\)"):
        run(Role("one", ("well",)), Role("two", ("dies",)))
    assert children() == others


def test_an_error_that_will_not_pass_is_said_at_once() -> None:
    with pytest.raises(StoreBroken, match="No") as caught:
        run(Role("one", ("broken",)))
    assert (caught.value.hint, caught.value.exit_code) == ("Hm.", 5)


def test_the_address() -> None:
    with supervisor.listen("127.0.0.1", 0) as taken:
        url = supervisor.address(taken)
        port = int(url.removeprefix("http://127.0.0.1:"))
        with pytest.raises(CannotListen, match=str(port)):
            supervisor.listen("127.0.0.1", port)
        threading.Timer(0.2, taken.close).start()
        with supervisor.listen("127.0.0.1", port, patient=True) as next_one:
            assert supervisor.address(next_one) == url
    with pytest.raises(CannotListen):
        supervisor.listen("no.such.host.invalid", 0)


def test_one_service_owns_a_directory(tmp_path: Path) -> None:
    assert presence.serving(tmp_path) is None
    service = presence.Notice("id", "http://127.0.0.1:1", os.getpid(), 0.0, 2)
    with presence.owning(tmp_path) as after_a_kill:
        assert not after_a_kill
        assert presence.serving(tmp_path) is None, "it is only starting"
        presence.announce(tmp_path, service)
        assert presence.serving(tmp_path) == service
        with pytest.raises(AlreadyServing, match=r"at http://127\.0\.0\.1:1 "):
            presence.owning(tmp_path).__enter__()
    assert presence.serving(tmp_path) is None
    presence.announce(tmp_path, service)  # left by one that was killed
    assert presence.serving(tmp_path) is None
    with presence.owning(tmp_path) as after_a_kill:
        assert after_a_kill
        assert presence.serving(tmp_path) is None


def test_a_door_that_is_open_to_all(hansard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSARD_SERVE__KEYS", "off")
    refused(hansard("serve", "--host", "0.0.0.0", "--port", "0"), "would_be_open", 2)


def test_a_door_that_is_meant_to_be_open(tmp_path: Path) -> None:
    done = subprocess.Popen(
        [
            *(sys.executable, "-m", "hansard", "serve", "--host", "0.0.0.0", "--port", "0"),
            *("--data", str(tmp_path / "data"), "--no-worker", "--without-keys"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stdout is not None
    line = done.stdout.readline()
    done.terminate()
    _, said = done.communicate(timeout=60)
    assert done.returncode == 0, said
    assert "no worker; no key is asked for." in line
    assert said.startswith("WARNING: everybody who can reach 0.0.0.0 can read")


def test_keys_are_required_beyond_loopback(tmp_path: Path) -> None:
    from hansard.cli.serve import _check_the_door
    from hansard.config import load

    with supervisor.listen("0.0.0.0", 0) as wide, supervisor.listen("127.0.0.1", 0) as near:
        configured = load(data=tmp_path)
        assert not _check_the_door(configured, wide, meant=False)
        assert _check_the_door(configured, near, meant=False)


def test_pools_that_do_not_exist(hansard: Command) -> None:
    refused(hansard("worker", "--pools", "speech,dancing"), "usage", 2)
    refused(hansard("worker", "--pools", ""), "usage", 2)
