"""The parent of a service: it holds the address, keeps the children alive, and does no work.

    hansard serve ─┬─ hansard api       takes connections from the socket that the parent holds
                   ├─ hansard worker    pulls from the queue
                   └─ …

The parent imports little and touches no data, so there is little in it that could die. Each child
has one end of a socket pair as its standard input. It says there, in lines of JSON, that it is
ready or why it cannot be; it is told there that a sibling has died; and it reads its end there
when the parent is gone, however that went. So no child outlives its parent by more than moments.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from hansard.errors import CannotListen, HansardError, MachineError, from_failure
from hansard.model import Failure, Value

COMMAND: tuple[str, ...] = (sys.executable, "-m", "hansard")
"""How a child is started. Tests put a launcher of their own here."""

_log = logging.getLogger("hansard.serve")

_BACKLOG = 2048
"""Connections that may wait while the API starts again."""

_FALSE_STARTS = 5
"""Ends before being ready, within a minute, after which the service gives up."""

_MINUTE = 60.0

_LONGEST_WAIT = 2.0
"""Seconds between the end of a child and the next one at the most."""

_GRACE = 10.0
"""Seconds that children have to go on top of what work in hand has."""

_TAKEOVER = 15.0
"""Seconds that the children of a service that was killed have to let go of its address."""

_LOUDEST = 64 * 1024
"""Bytes of one line of a child at the most."""


class Word(Value, frozen=True):
    """What a child says: that it is ready, or why it cannot be."""

    ready: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """What a child is there for: its name, the command's words, and what it inherits."""

    name: str
    arguments: tuple[str, ...]
    fds: tuple[int, ...] = ()


@dataclass(slots=True)
class _Child:
    role: Role
    process: subprocess.Popen[bytes] | None = None
    line: socket.socket | None = None
    heard: bytearray = field(default_factory=bytearray)
    ready: bool = False
    ever_ready: bool = False
    due: float = 0.0
    """When to start it, by the monotonic clock."""
    ends: deque[float] = field(default_factory=deque)
    """When it ended before it was ready, or soon after, within the last minute."""
    false_starts: deque[float] = field(default_factory=deque)
    failure: Failure | None = None


def listen(host: str, port: int, *, patient: bool = False) -> socket.socket:
    """Bind and listen. ``patient``: whoever has the address is about to leave it.

    Raises:
        CannotListen: there is no such address here, or another program has it.
    """
    deadline = time.monotonic() + (_TAKEOVER if patient else 0.0)
    while True:
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return socket.create_server(address, family=family, backlog=_BACKLOG)
        except (OSError, UnicodeError) as error:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            said = getattr(error, "strerror", None) or error
            raise CannotListen(
                f"{host}:{port} cannot be listened on: {said}.",
                hint="Choose another --host or --port; --port 0 takes any that is free.",
            ) from error


def address(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Supervisor:
    """Runs children until it is told to stop, and starts again those that end."""

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        environment: Mapping[str, str],
        patience: float,
        ready: Callable[[], None],
    ) -> None:
        """Get ready; :meth:`run` begins.

        Args:
            roles: the children; each is kept alive.
            environment: theirs.
            patience: seconds that work in hand has to end when the service stops.
            ready: called once, when every child has said that it is ready.
        """
        self._children = [_Child(role) for role in roles]
        self._environment = dict(environment)
        self._patience = patience
        self._tell_ready: Callable[[], None] | None = ready
        self._signals: deque[int] = deque()
        self._stopping = 0.0
        """When to end what is left, by the monotonic clock; 0 while the service runs."""
        self._selector = selectors.DefaultSelector()

    def run(self, stop_taking: Callable[[], None]) -> None:
        """Keep the children alive until SIGTERM or SIGINT; then end in order, at a second at once.

        Args:
            stop_taking: called when the end begins: no connection may come in any more.

        Raises:
            HansardError: a child fails to start again and again, and why.
        """
        with self._waking() as bell:
            try:
                while not self._is_over():
                    self._start_what_is_due()
                    self._listen(bell)
                    self._reap()
                    self._heed(stop_taking)
            finally:
                self._end_all()

    @contextmanager
    def _waking(self) -> Iterator[socket.socket]:
        """Signals end a sleep: each writes a byte into a socket."""
        bell, clapper = socket.socketpair()
        bell.setblocking(False)
        clapper.setblocking(False)
        kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = {kind: signal.signal(kind, self._note) for kind in kinds}
        woken = signal.set_wakeup_fd(clapper.fileno(), warn_on_full_buffer=False)
        self._selector.register(bell, selectors.EVENT_READ)
        try:
            yield bell
        finally:
            signal.set_wakeup_fd(woken)
            for kind, handler in before.items():
                signal.signal(kind, handler)
            self._selector.close()
            bell.close()
            clapper.close()

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _is_over(self) -> bool:
        return bool(self._stopping) and not any(child.process for child in self._children)

    # ── children ─────────────────────────────────────────────────────────────────────────────

    def _start_what_is_due(self) -> None:
        for child in self._children:
            if not self._stopping and child.process is None and child.due <= time.monotonic():
                self._start(child)

    def _start(self, child: _Child) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child.process = subprocess.Popen(  # noqa: S603 our own command
            [*COMMAND, *child.role.arguments],
            stdin=theirs.fileno(),
            pass_fds=child.role.fds,
            env=self._environment,
        )
        theirs.close()
        child.line, child.ready, child.failure = ours, False, None
        child.heard.clear()
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _listen(self, bell: socket.socket) -> None:
        for key, _ in self._selector.select(self._sleep()):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    bell.recv(4096)
            else:
                self._hear(key.data)

    def _sleep(self) -> float:
        moments = [child.due for child in self._children if child.process is None]
        if self._stopping:
            moments = [self._stopping]
        return max(0.0, min([1.0, *(moment - time.monotonic() for moment in moments)]))

    def _hear(self, child: _Child) -> None:
        assert child.line is not None
        try:
            said = child.line.recv(4096)
        except BlockingIOError:
            return
        except ConnectionError:
            said = b""
        child.heard += said
        if not said or len(child.heard) > _LOUDEST:
            self._selector.unregister(child.line)
            return
        while (end := child.heard.find(b"\n")) >= 0:
            line = bytes(child.heard[:end])
            del child.heard[: end + 1]
            with contextlib.suppress(msgspec.MsgspecError):
                word = msgspec.json.decode(line, type=Word)
                child.failure = word.failure or child.failure
                child.ready = child.ever_ready = child.ready or word.ready
        if self._tell_ready is not None and all(one.ready for one in self._children):
            tell, self._tell_ready = self._tell_ready, None
            tell()

    def _reap(self) -> None:
        """Take note of everybody who ended; as process 1 of a container, also of strangers."""
        while True:
            try:
                number, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if number == 0:
                return
            for child in self._children:
                if child.process is not None and child.process.pid == number:
                    child.process.returncode = os.waitstatus_to_exitcode(status)
                    self._bury(child, child.process.returncode)

    def _bury(self, child: _Child, code: int) -> None:
        assert child.line is not None
        self._drain(child)
        child.line.close()
        child.process = child.line = None
        if self._stopping:
            return
        level = logging.INFO if code == 0 else logging.ERROR
        _log.log(level, "%s has ended (%s): starting it again", child.role.name, _how(code))
        for other in self._children:
            if other.line is not None:
                with contextlib.suppress(OSError):  # it is just ending too
                    other.line.send(b"tidy\n")
        now = time.monotonic()
        if code != 0:
            _remember(child.ends, now)
        if not child.ready:
            _remember(child.false_starts, now)
            self._give_up_where_hopeless(child, code)
        wait = 0.1 * 2.0 ** (len(child.ends) - 2) if len(child.ends) > 1 else 0.0
        child.due = now + min(_LONGEST_WAIT, wait)

    def _drain(self, child: _Child) -> None:
        """The last words of a child that has ended."""
        assert child.line is not None
        while child.line in self._selector.get_map():
            before = len(child.heard)
            self._hear(child)
            if len(child.heard) == before:
                break
        if child.line in self._selector.get_map():
            self._selector.unregister(child.line)

    def _give_up_where_hopeless(self, child: _Child, code: int) -> None:
        problem = None if child.failure is None else from_failure(child.failure)
        first = problem is not None and problem.trouble == "permanent" and not child.ever_ready
        if not first and len(child.false_starts) < _FALSE_STARTS:
            return
        raise problem or MachineError(
            f"The {child.role.name} ended {len(child.false_starts)} times before it was ready "
            f"({_how(code)}).",
            hint="What it said is above, on standard error.",
        )

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _heed(self, stop_taking: Callable[[], None]) -> None:
        while self._signals:
            number = self._signals.popleft()
            name = signal.Signals(number).name
            if not self._stopping:
                _log.info("%s: stopping; work in hand has %g seconds", name, self._patience)
                self._stopping = time.monotonic() + self._patience + _GRACE
                stop_taking()
                self._signal(signal.SIGTERM)
            else:
                _log.warning("%s again: stopping at once", name)
                self._stopping = time.monotonic()
        if self._stopping and time.monotonic() >= self._stopping:
            self._signal(signal.SIGKILL)

    def _signal(self, kind: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.process.pid, kind)

    def _end_all(self) -> None:
        """Nobody is left behind, however this ends."""
        self._stopping = self._stopping or time.monotonic()
        left = [child for child in self._children if child.process is not None]
        self._signal(signal.SIGKILL)
        for child in left:
            assert child.process is not None
            child.process.wait()
            assert child.line is not None
            child.line.close()


def _remember(moments: deque[float], now: float) -> None:
    moments.append(now)
    while moments[0] < now - _MINUTE:
        moments.popleft()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


# ── the child's side ─────────────────────────────────────────────────────────────────────────


class Line:
    """A child's end of its line to the parent: its standard input."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=os.dup(0))
        # What a child starts itself must not hold on to the line, or read from it.
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0, inheritable=True)
        os.close(nothing)

    def say_ready(self) -> None:
        """Everything is open, and work or requests are taken."""
        self._say(Word(ready=True))

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Around the way to being ready: the parent is told why it came to nothing."""
        try:
            yield
        except HansardError as error:
            _log.error("%s %s", error.message, error.hint or "")
            self._say(Word(failure=error.failure()))
            raise SystemExit(error.exit_code) from error

    def _say(self, word: Word) -> None:
        with contextlib.suppress(OSError):  # the parent is gone: `messages` ends as well
            self._socket.sendall(msgspec.json.encode(word) + b"\n")

    def messages(self) -> Iterator[str]:
        """What the parent says; ends when the parent does."""
        with contextlib.suppress(OSError), self._socket.makefile("r") as lines:
            for line in lines:
                yield line.strip()
