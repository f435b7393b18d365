"""Load tests: so many users at a running service, and whether it keeps its service levels.

    order ─▶ users, in a process of their own ─▶ moments ─▶ operations, verdicts ─▶ result

The users are Locust's (``loadtest_users``), which replaces sockets, threads and locks of the
process that it runs in: hence the process of its own, and hence nothing here may import it.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec

from hansard.errors import (
    BadRequest,
    HansardError,
    MissingPart,
    NobodyServes,
    NotYourHost,
    from_failure,
)
from hansard.model import Failure
from hansard.perf.loadtest_figures import (
    Course,
    Level,
    Moment,
    Order,
    Result,
    Step,
    operations,
    verdicts,
)
from hansard.perf.loadtest_knee import attempted, knee
from hansard.perf.machine import machine

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hansard.perf.loadtest_users import main; main()"
)
"""The users have the modules of this process, however it found them."""

_REACH_SECONDS = 10.0

_CLOSED = (
    "From sending a request to having read its answer. Every user waits for an answer before the "
    "next request: a slow service was asked less often, and looks better than with a given rate."
)
_OPEN = (
    "From the moment at which a visit was due to having read its answer. Visits were due at random "
    "(a Poisson process of {rate:g} a second), whether the ones before had been answered or not; "
    "one that had to wait for a free user counts its waiting: free of coordinated omission. "
    '"once sent" is the time without that waiting.'
)


class _Line(msgspec.Struct):
    """What the process of the users says."""

    moment: Moment | None = None
    note: str | None = None


def aim(url: str, *, anywhere: bool = False) -> bool:
    """Whether an address is this machine's loopback.

    Args:
        url: of the service, without a path.
        anywhere: the caller has said that other machines may be loaded, too.

    Raises:
        BadRequest: this is no address of a service.
        NobodyServes: there is no host of that name.
        NotYourHost: it is another machine, and nobody said that it may be loaded.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.path.strip("/") or parts.query:
        raise BadRequest(
            f"{url!r} is no address of a service.", hint="Like this: http://127.0.0.1:8420"
        )
    if parts.username or parts.password:
        raise BadRequest("A key does not belong into the address.", hint="Give it with --key.")
    try:
        found = socket.getaddrinfo(host, port or 80, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NobodyServes(
            f"There is no host {host}: {error.strerror or error}.", hint="Look at --url."
        ) from error
    # A scoped address (fe80::1%eth0) is no loopback, whatever its scope.
    here = all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)
    if not here and not anywhere:
        raise NotYourHost(
            f"{host} is not this machine, and a load test can put a service out of order.",
            hint="If it is yours, or its owner agrees, add --i-may-load-this-host.",
        )
    return here


def reach(order: Order) -> None:
    """Make sure that a service answers, and lets these users in.

    Raises:
        NobodyServes: nothing answers, or something that is no Hansard.
        HansardError: the service's own refusal.
    """
    import httpx

    headers = {"Authorization": f"Bearer {order.key}"} if order.key else {}
    try:
        answer = httpx.get(
            f"{order.url}/api/v1/jobs?limit=1",
            headers=headers,
            timeout=_REACH_SECONDS,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise NobodyServes(
            f"No service answers at {order.url}: {error}.",
            hint="Start one with `hansard serve`, or look at --url.",
        ) from error
    if answer.status_code == 200:
        return
    try:
        said = msgspec.json.decode(answer.content)["error"]
        failure = Failure(said["code"], said["message"], said.get("hint"))
    except (msgspec.DecodeError, KeyError, TypeError):
        raise NobodyServes(
            f"What answers at {order.url} is no Hansard: HTTP {answer.status_code}.",
            hint="Look at --url.",
        ) from None
    raise from_failure(failure)


def need_locust() -> None:
    """Make sure that Locust is there.

    Raises:
        MissingPart: it is not.
    """
    if importlib.util.find_spec("locust") is None:
        raise MissingPart(
            "Load tests need Locust, which the plain installation leaves out.",
            hint="pip install 'hansard[load]'",
        )


def run(
    order: Order,
    *,
    local: bool,
    levels: tuple[Level, ...],
    on_moment: Callable[[Moment], None] = lambda _: None,
) -> Result:
    """Carry out a load test; see :func:`aim` and :func:`reach`, which come first.

    Args:
        order: who asks what.
        local: whether users and service share this machine.
        levels: what is promised.
        on_moment: called about once a second with what the users saw meanwhile.

    Raises:
        HansardError: the process of the users broke down.
    """
    need_locust()
    started, course, notes = time.time(), Course(), []
    with _users(order) as lines:
        for line in lines:
            if line.moment is not None:
                course.add(line.moment)
                on_moment(line.moment)
            elif line.note:
                notes.append(line.note)
    moments = course.moments()
    found = operations(moments)
    if any("rate_limited" in one.failures for one in found):
        notes.append(
            "The service refused requests as too many from one address (rate_limited): raise "
            "serve.rate and serve.burst for a load test, or ask less often."
        )
    return Result(
        order=msgspec.structs.replace(order, key=None),
        started=started,
        seconds=sum(one.seconds for one in moments if not one.warm),
        machine=_machine(),
        local=local,
        measured=_OPEN.format(rate=order.rate) if order.rate else _CLOSED,
        operations=found,
        verdicts=verdicts(moments, found, levels),
        moments=moments,
        notes=tuple(notes),
    )


def capacity(
    order: Order,
    *,
    local: bool,
    levels: tuple[Level, ...],
    on_step: Callable[[Step], None] = lambda _: None,
) -> Result:
    """Find the most users, up to ``order.users``, at which the levels hold.

    Returns:
        the figures of the knee itself, or of a single user where not even one is served.

    Raises:
        HansardError: the process of the users broke down.
    """
    seen: dict[int, Result] = {}

    def attempt(users: int) -> Step:
        step, seen[users] = attempted(
            users, order, lambda wanted: run(wanted, local=local, levels=levels), levels
        )
        return step

    found = knee(attempt, order.users, on_step)
    return msgspec.structs.replace(seen[max(1, found.users)], knee=found)


def _machine() -> str:
    here = machine()
    return f"{here.cpu}, {here.cores} cores, {here.system}, Python {here.python}"


@contextmanager
def _users(order: Order) -> Iterator[Iterator[_Line]]:
    """The process of the users, and what it says."""
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(msgspec.json.encode(order))
            child.stdin.close()
            yield (msgspec.json.decode(line, type=_Line) for line in child.stdout)
            if child.wait():
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                raise HansardError(
                    f"The users of the load test broke down: {said[-1] if said else 'no word'}.",
                    hint="This is a fault of Hansard's; the lines before: "
                    + " / ".join(said[-6:-1]),
                )
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
            child.stdout.close()
