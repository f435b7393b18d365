"""Strangers' files are opened in processes of their own, so that a hostile one kills only itself.

:class:`Cage` does what ``probe.preflight`` and ``decode.blocks`` do, with the same answers, the
same samples and the same errors; but FFmpeg reads the file in a process with limits of memory and
time, without the right to open anything, to write, to reach the network or to start a program
(``audio.walls``). A process that breaks its limits or ends too early is :class:`HostileMedia`.

One process (``audio.caged``) stays and forks for each file: what a file costs more is a fork, not
an interpreter. It ends when this process does, and its forks with it; a fork also ends as soon as
nobody reads from it. :class:`Uncaged` has the same methods without a cage, for one's own files.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from hansard import telemetry
from hansard.audio import caged, verdict
from hansard.audio.caged import Ask, Bounds, End, Hello, Line
from hansard.errors import CageBroken, HansardError, HostileMedia, from_failure
from hansard.model import SAMPLE_RATE, Channels, Failure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hansard.audio.levels import Enhancement
    from hansard.audio.probe import Preflight
    from hansard.config import CageSettings, LimitSettings

T = TypeVar("T")

_log = logging.getLogger(__name__)

_LEAN: Final = 250
"""Bytes of a second of audio at the least: a smaller file cannot buy time by claiming length."""
_SLOWER: Final = 5.0
"""How much longer than its processor time a file may take on a busy machine."""
_GRACE: Final = 10.0
"""Seconds that we wait longer for a message than the cage gives itself for it."""
_BEYOND: Final = 3600.0
"""Seconds of audio above ``limits.seconds`` that decoding may give: gaps that became silence."""
_LONGEST: Final = 64 * 2**20
"""Bytes of a message; one of a block of sixty channels has 38 million."""
_PIPE: Final = 2**20
"""Bytes of the pipe that blocks come through, where the kernel lets us choose."""
_SET_PIPE_SIZE: Final = 1031
"""F_SETPIPE_SZ of Linux."""

_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hansard.audio.caged import main; main(int(sys.argv[2]))"
)


class Uncaged:
    """Opens files in this process."""

    def preflight(
        self,
        path: Path,
        *,
        track: int = 0,
        limits: LimitSettings,
        full: bool = False,
        allow_silence: bool = False,
    ) -> Preflight:
        """See ``probe.preflight``."""
        from hansard.audio import probe

        return probe.preflight(
            path, track=track, limits=limits, full=full, allow_silence=allow_silence
        )

    def blocks(
        self,
        path: Path,
        *,
        track: int = 0,
        channels: Channels = "mix",
        enhance: Enhancement | None = None,
        limits: LimitSettings,
        seconds: float | None = None,
    ) -> Iterator[NDArray[np.int16]]:
        """See ``decode.blocks``; the limits were kept by preflight."""
        from hansard.audio import decode

        del limits, seconds
        return decode.blocks(path, track=track, channels=channels, enhance=enhance)


class Cage:
    """Opens files in processes with limits. Safe for any number of threads.

    A context manager. Cheap to make: its process starts with the first file.
    """

    def __init__(self, settings: CageSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._keeper: _Keeper | None = None
        self._closed = False
        self._places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
        """Preflights at a time: each may take as much memory as the settings allow."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def missing(self) -> tuple[str, ...]:
        """The walls that this machine cannot have, in words; starts the cage.

        Raises:
            CageBroken: it does not start.
        """
        with self._lock:
            return self._started().missing

    def warm(self) -> None:
        """Start it while there is time, so that the first file does not wait for it."""
        threading.Thread(target=self._warm, name="hansard-cage", daemon=True).start()

    def _warm(self) -> None:
        try:
            self.missing()
        except CageBroken as error:
            if not self._closed:
                _log.warning("%s", error.message)  # and again by the first file

    def preflight(
        self,
        path: Path,
        *,
        track: int = 0,
        limits: LimitSettings,
        full: bool = False,
        allow_silence: bool = False,
    ) -> Preflight:
        """What ``probe.preflight`` says of a file.

        Raises:
            HostileMedia: the file broke the cage's limits.
            BadInput: see there.
            CageBroken: the cage cannot be started, or was ended.
        """
        from hansard.audio.container import bare
        from hansard.audio.probe import Preflight

        with bare(path) as file, self._places:
            size = os.fstat(file.fileno()).st_size
            cpu = self._seconds(min(limits.seconds, size / _LEAN))
            ask = Ask(
                "preflight",
                _name(path),
                _bounds(limits),
                self._settings.memory,
                cpu,
                cpu * _SLOWER,
                track=track,
                full=full,
                allow_silence=allow_silence,
            )
            for letter, payload in self._answers(ask, file.fileno()):
                if letter == caged.FIT:
                    return _decoded(ask, payload, Preflight)
        raise AssertionError("an answer ends with what was asked for or with an error")

    def blocks(
        self,
        path: Path,
        *,
        track: int = 0,
        channels: Channels = "mix",
        enhance: Enhancement | None = None,
        limits: LimitSettings,
        seconds: float | None = None,
    ) -> Generator[NDArray[np.int16], None, None]:
        """The same samples as ``decode.blocks``; ``seconds`` is the length that preflight found.

        Decoding goes on while the caller is busy, by a block or two. Close the iterator (or drop
        it) to end it before its end.

        Raises:
            HostileMedia: the file broke the cage's limits, or gives more audio than is allowed.
            BadInput: see there.
            CageBroken: the cage cannot be started, or was ended.
        """
        from hansard.audio.container import bare

        longest = limits.seconds if seconds is None else min(seconds, limits.seconds)
        with bare(path) as file:
            ask = Ask(
                "blocks",
                _name(path),
                _bounds(limits),
                self._settings.memory,
                self._seconds(longest),
                self._settings.seconds * _SLOWER,
                track=track,
                channels=channels,
                enhance=None if enhance is None else msgspec.structs.asdict(enhance),
            )
            samples = 0
            for letter, payload in self._answers(ask, file.fileno()):
                if letter != caged.BLOCK:
                    return
                block = _block(ask, payload)
                samples += block.shape[1]
                if samples > (limits.seconds + _BEYOND) * SAMPLE_RATE:
                    raise HostileMedia(
                        f"{ask.name} gives more audio than the {limits.seconds:.0f} s allowed.",
                        hint="It says that it is shorter than it is: convert it to a new file.",
                    )
                yield block

    def close(self) -> None:
        """End the process and whatever it has under way. Calling it twice is harmless."""
        with self._lock:
            self._closed = True
            if self._keeper is not None:
                self._keeper.close()
                self._keeper = None

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _seconds(self, audio: float) -> float:
        """Processor time for so much audio."""
        return self._settings.seconds + self._settings.factor * audio

    def _answers(self, ask: Ask, file: int) -> Iterator[tuple[bytes, bytearray]]:
        """The blocks and the last word of a fork; everything else is dealt with here."""
        with self._begun(ask, file) as fork:
            while True:
                letter, payload = fork.message()
                if letter == caged.LOG:
                    line = _decoded(ask, payload, Line)
                    logging.getLogger(line.logger).log(line.level, "%s", line.text)
                elif letter == caged.TIMES:
                    telemetry.merge(_decoded(ask, payload, telemetry.Snapshot))
                elif letter == caged.REFUSED:
                    raise from_failure(_decoded(ask, payload, Failure))
                elif letter == caged.MEMORY:
                    raise verdict.too_much_memory(ask)
                elif letter == caged.BROKEN:
                    _log.error("reading %s failed:\n%s", ask.name, payload.decode(errors="replace"))
                    raise verdict.hostile(ask, "is damaged in a way its reader does not expect")
                elif letter in (caged.BLOCK, caged.FIT, caged.DONE):
                    yield letter, payload
                    if letter != caged.BLOCK:
                        return
                else:
                    raise verdict.hostile(ask, "made its reader say what it does not say")

    @contextlib.contextmanager
    def _begun(self, ask: Ask, file: int) -> Iterator[_Fork]:
        """A fork that does what is asked; it is killed if it has not ended by then."""
        fork = None
        with self._lock:
            for again in (False, True):
                try:
                    fork = self._started().fork(ask, file)
                    break
                except OSError as error:
                    # Somebody ended the process that forks; that is no file's fault.
                    _log.warning("the process that opens media has ended (%s)", error)
                    if self._keeper is not None:
                        self._keeper.close()
                        self._keeper = None
                    if again:
                        raise verdict.no_cage(str(error)) from error
        assert fork is not None
        try:
            yield fork
        finally:
            fork.close()

    def _started(self) -> _Keeper:
        if self._closed:
            raise verdict.no_cage("the service is stopping")
        if self._keeper is None:
            self._keeper = _Keeper.start()
            for wall in self._keeper.missing:
                _log.warning("media are opened without %s", wall)
        return self._keeper


@dataclass(frozen=True, slots=True)
class _Keeper:
    """The process that forks."""

    process: subprocess.Popen[bytes]
    talk: socket.socket
    missing: tuple[str, ...]

    @staticmethod
    def start() -> _Keeper:
        """Start it, and wait until it has tried its walls.

        Raises:
            CageBroken: it does not start.
        """
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
                # -P: the working directory must not shadow modules; then exactly our own path.
                [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Threads of BLAS are of no use here, and a fork would lose them.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            ours.close()
            raise verdict.no_cage(str(error)) from error
        finally:
            theirs.close()
        keeper = _Keeper(process, ours, ())
        try:
            hello = msgspec.msgpack.decode(keeper.heard(), type=Hello)
        except (OSError, msgspec.DecodeError) as error:
            keeper.close()
            raise verdict.no_cage("it ended before it was ready") from error
        if not hello.works:
            keeper.close()
            raise verdict.no_cage("it cannot read a file on this machine")
        return _Keeper(process, ours, hello.missing)

    def heard(self) -> bytes:
        """A message from it.

        Raises:
            ConnectionError: it has ended.
        """
        (length,) = caged.LENGTH.unpack(self._exactly(caged.LENGTH.size))
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.talk.recv(count - len(data))
            if not piece:
                raise ConnectionResetError("it hung up")
            data += piece
        return data

    def fork(self, ask: Ask, file: int) -> _Fork:
        """Have it fork.

        Raises:
            OSError: it has ended.
        """
        body = msgspec.msgpack.encode(ask)
        answer, answers = os.pipe()
        end, ends = os.pipe()
        try:
            with contextlib.suppress(OSError):  # not Linux, or the user has no room for it
                fcntl.fcntl(answer, _SET_PIPE_SIZE, _PIPE)
            # The descriptors travel with the first byte; the rest may take its time.
            head = caged.LENGTH.pack(len(body))
            socket.send_fds(self.talk, [head], [file, answers, ends])
            self.talk.sendall(body)
            self.heard()
        except BaseException:
            os.close(answer)
            os.close(end)
            raise
        finally:
            os.close(answers)
            os.close(ends)
        return _Fork(ask, answer, end)

    def close(self) -> None:
        """End it; its forks end with it."""
        self.talk.close()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            _log.warning("the process that opens media does not end; killing it")
            self.process.kill()
            self.process.wait()


class _Fork:
    """One file being read in the cage."""

    def __init__(self, ask: Ask, answer: int, end: int) -> None:
        self._ask = ask
        self._answer = answer
        self._end = end
        self._poll = select.poll()
        self._poll.register(answer, select.POLLIN)

    def message(self) -> tuple[bytes, bytearray]:
        """The next message.

        Raises:
            HostileMedia: there is none any more; or it makes no sense.
        """
        letter, length = caged.HEAD.unpack(self._exactly(caged.HEAD.size))
        if length > _LONGEST:
            raise verdict.hostile(self._ask, "made its reader say what it does not say")
        return letter, self._exactly(length)

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        left = memoryview(data)
        while left:
            if not self._poll.poll((self._ask.wall + _GRACE) * 1000):
                raise verdict.too_much_time(self._ask)
            got = os.readv(self._answer, [left])
            if not got:
                raise self._ended()
            left = left[got:]
        return data

    def _ended(self) -> HansardError:
        """Why there is nothing more to read."""
        ending = select.poll()
        ending.register(self._end, select.POLLIN)
        if not ending.poll(_GRACE * 1000):
            return verdict.hostile(self._ask, "made its reader fall silent")
        said = os.read(self._end, 4096)
        if not said:
            return verdict.no_cage("it ended while it read a file")
        end = msgspec.msgpack.decode(said, type=End)
        return verdict.why(self._ask, end)

    def close(self) -> None:
        """Let go of it; if it still runs, that kills it."""
        os.close(self._answer)
        os.close(self._end)


# ── what goes in and out ─────────────────────────────────────────────────────────────────────


def _bounds(limits: LimitSettings) -> Bounds:
    return Bounds(limits.seconds, limits.bytes, limits.tracks)


def _name(path: Path) -> str:
    return path.name.encode(errors="replace").decode()


def _decoded(ask: Ask, payload: bytearray, kind: type[T]) -> T:
    """What a fork said, if it is what it may say: whoever reads the file may have taken it over."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except msgspec.DecodeError as error:
        raise verdict.hostile(ask, "made its reader say what it does not say") from error


def _block(ask: Ask, payload: bytearray) -> NDArray[np.int16]:
    import numpy as np

    if len(payload) >= caged.SHAPE.size:
        rows, samples = caged.SHAPE.unpack_from(payload)
        if rows and len(payload) == caged.SHAPE.size + rows * samples * 2:
            flat = np.frombuffer(payload, np.int16, offset=caged.SHAPE.size)
            return flat.reshape(rows, samples)
    raise verdict.hostile(ask, "made its reader say what it does not say")
