"""The process behind ``audio.cage``: it forks once for each file, and the fork opens the file.

It imports FFmpeg and numpy once and never touches a file itself, so a fork costs milliseconds and
starts clean. A fork gets one file that is open already, one pipe to answer through, and then gives
up everything else (``audio.walls``); whatever the file does to it, it does to a process that can
read that file, write to that pipe and end.

A request comes over a socket: four bytes of length, an :class:`Ask` in MessagePack, and three
descriptors: the file, the pipe for the answer, the pipe for how it ended. The second closes with
the fork. The third gets an :class:`End`, and when its reader lets go of it the fork is killed. An
answer is a sequence of messages: a letter, four bytes of length, and so many bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import logging
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, cast

import msgspec

from hansard import telemetry
from hansard.audio import walls
from hansard.errors import HansardError
from hansard.model import Channels, Value

if TYPE_CHECKING:
    from hansard.config import LimitSettings

LENGTH: Final = struct.Struct("<I")
HEAD: Final = struct.Struct("<cI")
"""Letter and length of a message of an answer."""
SHAPE: Final = struct.Struct("<II")
"""Rows and samples, before those of a block."""

BLOCK: Final = b"B"
FIT: Final = b"F"
DONE: Final = b"D"
REFUSED: Final = b"R"
MEMORY: Final = b"M"
BROKEN: Final = b"X"
LOG: Final = b"L"
TIMES: Final = b"T"
"""A block; the answer of preflight; no more blocks; a HansardError; out of memory; an error that
should not have been, as a traceback; a line for the log; what telemetry counted."""

_MOST_LINES: Final = 20
"""Lines for the log from one file."""
_NOT_BUILT: Final = 70
"""Exit code of a fork that failed outside of what is answered."""


class Bounds(Value, frozen=True):
    """Of ``config.LimitSettings`` what preflight looks at: the settings need pydantic."""

    seconds: float
    bytes: int
    tracks: int


class Ask(Value, frozen=True):
    """What to do with a file, and within what."""

    kind: Literal["preflight", "blocks"]
    name: str
    limits: Bounds
    memory: int
    """Bytes it may allocate."""
    cpu: float
    """Seconds of processor time."""
    wall: float
    """Seconds to the next message."""
    track: int = 0
    full: bool = False
    allow_silence: bool = False
    channels: Channels = "mix"
    enhance: dict[str, float] | None = None
    """``levels.Enhancement``."""


class End(Value, frozen=True):
    """How a fork ended: what ``os.waitpid`` says, and its seconds of processor time."""

    status: int
    cpu: float


class Hello(Value, frozen=True):
    """The first thing this process says: what of the walls cannot be built here."""

    missing: tuple[str, ...]
    works: bool
    """Whether a file can be read at all."""


class Line(Value, frozen=True):
    """A line for the log."""

    logger: str
    level: int
    text: str


# ── in the fork ──────────────────────────────────────────────────────────────────────────────


class Lent(PosixPath):
    """A file that somebody else opened, where a path is expected. It opens nothing."""

    file: int

    def open(self, mode: str = "rb", buffering: int = -1, *_: Any, **__: Any) -> Any:
        """Read the file, from its start and with a position of its own."""
        assert mode == "rb"
        raw = _Window(self.file)
        return io.BufferedReader(raw) if buffering else raw

    def stat(self, **kwargs: Any) -> os.stat_result:
        """What is known of the file."""
        del kwargs
        return os.fstat(self.file)


class _Window(io.RawIOBase):
    """Reads an open file without moving the position that others read it from."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self._file).st_size - self._at)
        data = os.pread(self._file, size, self._at)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._at,
            os.SEEK_END: os.fstat(self._file).st_size,
        }[whence]
        if start + offset < 0:
            raise OSError(22, "before the start of the file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at


class _Answer:
    """The pipe for the answer. The clock stops while its reader is slow."""

    def __init__(self, pipe: int, wall: float) -> None:
        self._pipe = pipe
        self._wall = wall
        self._lines = 0
        signal.setitimer(signal.ITIMER_REAL, wall)

    def send(self, letter: bytes, *parts: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        length = sum(len(part) for part in parts)
        for part in (HEAD.pack(letter, length), *parts):
            left = memoryview(part)
            while left:
                left = left[os.write(self._pipe, left) :]
        signal.setitimer(signal.ITIMER_REAL, self._wall)

    def log(self, record: logging.LogRecord) -> None:
        self._lines += 1
        if self._lines <= _MOST_LINES:
            line = Line(record.name, record.levelno, record.getMessage()[:500])
            self.send(LOG, msgspec.msgpack.encode(line))


class _Forward(logging.Handler):
    """What is logged in the fork is logged by who asked."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(logging.INFO)
        self._answer = answer

    def emit(self, record: logging.LogRecord) -> None:
        self._answer.log(record)


def _serve(ask: Ask, file: int, pipe: int) -> None:
    """Do what is asked, behind walls; whatever goes wrong is the answer."""
    answer = _Answer(pipe, ask.wall)
    root = logging.getLogger()
    root.handlers = [_Forward(answer)]
    root.setLevel(logging.INFO)
    telemetry.reset()
    try:
        letter, payload = _done(ask, file, answer)
    except HansardError as error:
        letter, payload = REFUSED, msgspec.msgpack.encode(error.failure())
    except MemoryError:
        letter, payload = MEMORY, b""
    except Exception:  # noqa: BLE001  # who asked logs it; there is nobody else to tell
        letter, payload = BROKEN, traceback.format_exc()[-4000:].encode()
    try:
        answer.send(TIMES, msgspec.msgpack.encode(telemetry.snapshot()))
        answer.send(letter, payload)
    except MemoryError:
        os.write(pipe, HEAD.pack(MEMORY, 0))


def _done(ask: Ask, file: int, answer: _Answer) -> tuple[bytes, bytes]:
    from hansard.audio import decode, probe
    from hansard.audio.levels import Enhancement

    path = _lent(ask.name, file)
    if ask.kind == "preflight":
        fit = probe.preflight(
            path,
            track=ask.track,
            limits=cast("LimitSettings", ask.limits),
            full=ask.full,
            allow_silence=ask.allow_silence,
        )
        return FIT, msgspec.msgpack.encode(fit)
    enhance = None if ask.enhance is None else Enhancement(**ask.enhance)
    for block in decode.blocks(path, track=ask.track, channels=ask.channels, enhance=enhance):
        answer.send(BLOCK, SHAPE.pack(*block.shape), block.data.cast("B"))
    return DONE, b""


def _lent(name: str, file: int) -> Path:
    path = Lent(name)
    path.file = file
    return path


# ── before and around the forks ──────────────────────────────────────────────────────────────


class _Keeper:
    """Forks for whoever asks, and tells how the forks ended."""

    def __init__(self, talk: socket.socket) -> None:
        self._talk = talk
        self._ends: dict[int, int] = {}
        """Of each living fork the pipe for how it ended."""
        self._nothing = os.open(os.devnull, os.O_RDWR)
        self._filtered = True
        wakes, wake = os.pipe()
        os.set_blocking(wakes, False)
        os.set_blocking(wake, False)
        self._wakes = wakes
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def prepare(self) -> None:
        """Import all that forks need, try the walls, and say which do not stand."""
        missing = walls.missing()
        _import_all_of_pyav()
        with _sample() as file:
            for ask in _TRIALS:
                _done(ask, file, cast("_Answer", _Deaf()))
            gc.collect()
            gc.freeze()
            works = all(self._stands(ask, file) for ask in _TRIALS)
            if not works:
                self._filtered = False
                works = all(self._stands(ask, file) for ask in _TRIALS)
                missing = (*missing, "the filter of system calls: decoding fails behind it")
        self._say(msgspec.msgpack.encode(Hello(missing, works)))

    def run(self) -> None:
        """Serve until the other side is gone."""
        while True:
            poll = select.poll()
            poll.register(self._talk, select.POLLIN)
            poll.register(self._wakes, select.POLLIN)
            for end in self._ends.values():
                poll.register(end, 0)  # an error says that its reader let go of it
            ready = {name for name, _ in poll.poll()}
            if self._wakes in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakes, 4096)
                self._reap()
            for pid, end in self._ends.items():
                if end in ready:
                    os.kill(pid, signal.SIGKILL)
            if self._talk.fileno() in ready and not self._hear():
                break
        for pid in self._ends:
            os.kill(pid, signal.SIGKILL)

    def _hear(self) -> bool:
        """Take a request and fork for it; False when the other side is gone."""
        try:
            data, files, _, _ = socket.recv_fds(self._talk, LENGTH.size, 3)
            if len(data) < LENGTH.size:
                return False
            body = b""
            (length,) = LENGTH.unpack(data)
            while len(body) < length:
                piece = self._talk.recv(length - len(body))
                if not piece:
                    return False
                body += piece
        except ConnectionError:
            return False
        file, pipe, end = files
        ask = msgspec.msgpack.decode(body, type=Ask)
        pid = self._fork(ask, file, pipe)
        os.close(file)
        os.close(pipe)
        self._ends[pid] = end
        self._say(b"ok")
        return True

    def _say(self, payload: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next thing heard is that it is gone
            self._talk.sendall(LENGTH.pack(len(payload)) + payload)

    def _fork(self, ask: Ask, file: int, pipe: int) -> int:
        keeper = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:  # no way leads back from here
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            for standard in (0, 1, 2):
                os.dup2(self._nothing, standard)
            file, pipe = _alone_with(file, pipe)
            walls.build(keeper, memory=ask.memory, cpu=ask.cpu, filtered=self._filtered)
            _serve(ask, file, pipe)
            os._exit(0)
        finally:
            os._exit(_NOT_BUILT)

    def _stands(self, ask: Ask, file: int) -> bool:
        """Whether a fork behind walls can do what is asked."""
        answers, pipe = os.pipe()
        pid = self._fork(ask, file, pipe)
        os.close(pipe)
        with os.fdopen(answers, "rb") as answer:
            letters = [letter for letter, _ in _messages(answer)]
        os.waitpid(pid, 0)
        return letters[-1:] in ([FIT], [DONE])

    def _reap(self) -> None:
        while self._ends:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if not pid:
                return
            end = self._ends.pop(pid, None)
            if end is None:
                continue
            said = End(status, used.ru_utime + used.ru_stime)
            with contextlib.suppress(BrokenPipeError):  # nobody wants to know
                os.write(end, msgspec.msgpack.encode(said))
            os.close(end)


def _import_all_of_pyav() -> None:
    """What it imports when a file asks for it could not be opened any more behind the walls."""
    import av

    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.rpartition(".")[2].startswith("__"):
            importlib.import_module(module.name)


class _Deaf:
    """An answer to nobody."""

    def send(self, letter: bytes, *parts: Any) -> None:
        """Forget it."""


_TRIALS: Final = (
    Ask("preflight", "trial.wav", Bounds(60.0, 2**20, 8), 2**30, 60.0, 60.0),
    Ask(
        "blocks",
        "trial.wav",
        Bounds(60.0, 2**20, 8),
        2**30,
        60.0,
        60.0,
        channels="separate",
        enhance={"gain": 6.0, "makeup": 6.0},
    ),
)


@contextlib.contextmanager
def _sample() -> Iterator[int]:
    """A second of a square wave, stereo: enough to have everything imported and tried."""
    period = struct.pack("<4h", 3000, 3000, 3000, 3000) * 20
    period += struct.pack("<4h", -3000, -3000, -3000, -3000) * 20
    samples = period * 200
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 2,
                       16000, 64000, 4, 16)  # fmt: skip
    file = os.memfd_create("trial") if hasattr(os, "memfd_create") else _temporary()
    try:
        os.write(file, head + struct.pack("<4sI", b"data", len(samples)) + samples)
        yield file
    finally:
        os.close(file)


def _temporary() -> int:
    import tempfile

    file, name = tempfile.mkstemp()
    os.unlink(name)  # noqa: PTH108  # open, and without a name
    return file


def _alone_with(*kept: int) -> tuple[int, ...]:
    """Close every descriptor but these and the standard ones; these are the next from 3 then."""
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 3 + len(kept)) for each in kept]
    places = tuple(os.dup2(each, 3 + index) for index, each in enumerate(high))
    os.closerange(3 + len(kept), 65_536)
    return places


def _messages(answer: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while len(head := answer.read(HEAD.size)) == HEAD.size:
        letter, length = HEAD.unpack(head)
        yield letter, answer.read(length)


def main(talk: int) -> None:
    """Serve who started this process, through its end of a pair of sockets."""
    # Ctrl-C in a terminal reaches every process of the group; who started us decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keeper = _Keeper(socket.socket(fileno=talk))
    keeper.prepare()
    keeper.run()
    sys.exit(0)
