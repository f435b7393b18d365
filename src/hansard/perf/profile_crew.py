"""Profiling what runs: every process of a data directory takes part when it is asked to.

Whoever asks holds ``profiling/lock`` for as long as it takes, so there is one at a time, and the
kernel lets go of it should it die. It puts down what it wants, ``profiling/<id>.ask``. Each process
looks for that twice a second (one ``stat``), profiles itself for the time asked for, and leaves
what it found beside: ``<id>.<process>.begun``, then ``.done``. No signal is sent and no port is
open: a process that does not take part is never disturbed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

import msgspec
from filelock import FileLock, Timeout

from hansard.errors import NothingToProfile, ProfileBusy
from hansard.model import Value
from hansard.perf.profile import Capture
from hansard.perf.profile_cpu import Sampler
from hansard.perf.profile_memory import Tracer, see_that_it_is_here
from hansard.store.files import room
from hansard.store.profiles import Kind

_log = logging.getLogger("hansard.perf")

LONGEST = 300.0
"""Seconds of one profile, at most."""
GRACE = 20.0
"""Seconds after that in which what was found is put together."""
_LOOK = 0.5
"""Seconds between two looks whether somebody asks."""


class Asked(Value, frozen=True):
    """What somebody wants to know."""

    id: str
    kind: Kind
    seconds: float
    until: float
    """Whoever sees it later than that (epoch seconds) is too late."""
    pid: int | None = None
    """Only this process."""


class Asking:
    """The right to profile a data directory, until :meth:`close`.

    Raises:
        ProfileBusy: somebody else has it.
        MissingPart: memory is asked for, and memray is not installed.
    """

    def __init__(self, data: Path, kind: Kind, seconds: float, pid: int | None = None) -> None:
        if kind == "memory":
            see_that_it_is_here()
        self._folder = data / "profiling"
        with room(data):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._folder / "lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ProfileBusy(
                f"Something is being profiled in {data} already.",
                hint="Ask again when that has ended: `hansard profile list` shows it.",
            ) from None
        self._sweep()
        until = time.time() + max(seconds, 2 * _LOOK)
        self._asked = Asked(secrets.token_hex(8), kind, seconds, until, pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def gather(self, given_up: Callable[[], bool] = lambda: False) -> list[Capture]:
        """Ask, wait, and bring together what was found.

        Raises:
            NothingToProfile: no process took part, or ``given_up`` said so first.
        """
        asked = self._asked
        _put(self._folder / f"{asked.id}.ask", msgspec.json.encode(asked))
        soonest = time.monotonic() + asked.seconds + 2 * _LOOK
        latest = soonest + GRACE
        while time.monotonic() < latest:
            if given_up():
                break
            begun, done = self._named("begun"), self._named("done")
            if begun <= done | self._dead(begun) and (
                time.monotonic() >= soonest or (asked.pid is not None and done)
            ):
                break
            time.sleep(0.05)
        return self._found()

    def _found(self) -> list[Capture]:
        found = []
        for name in sorted(self._named("begun")):
            path = self._folder / f"{self._asked.id}.{name}.done"
            process = name.replace("-", " ")
            if path.exists():
                found.append(msgspec.json.decode(path.read_bytes(), type=Capture))
            else:
                said = "It ended, or did not answer in time."
                found.append(Capture(self._asked.kind, process, 0.0, failure=said))
        if not any(one.failure is None for one in found):
            why = next((one.failure for one in found), None)
            raise NothingToProfile(
                why or "No process of this data directory took part.",
                hint="Is `hansard serve` or `hansard worker` running on it, on this machine?",
            )
        return found

    def _named(self, ending: str) -> set[str]:
        start = f"{self._asked.id}."
        return {
            path.name.removeprefix(start).removesuffix(f".{ending}")
            for path in self._folder.glob(f"{start}*.{ending}")
        }

    @staticmethod
    def _dead(names: set[str]) -> set[str]:
        import psutil

        return {name for name in names if not psutil.pid_exists(int(name.rpartition("-")[2]))}

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            if path.name != "lock":
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others ask. Calling it twice is harmless."""
        if self._lock.is_locked:
            self._sweep()
            self._lock.release()


@contextmanager
def taking_part(
    data: Path, role: str, loop: asyncio.AbstractEventLoop | None = None
) -> Iterator[None]:
    """Let this process be profiled while the block lasts; ``loop`` is watched for stalls."""
    over = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(data / "profiling", role, loop, over), name="hansard-asked"
    )
    thread.daemon = True
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LOOK)  # in the middle of a profile it ends by itself


def _watch(
    folder: Path, role: str, loop: asyncio.AbstractEventLoop | None, over: threading.Event
) -> None:
    while not over.wait(_LOOK):
        try:
            changed = folder.stat().st_mtime
        except OSError:
            continue  # nobody has ever asked
        if time.time() - changed > LONGEST:
            continue  # and a clock that is set back only makes it look once more
        for path in folder.glob("*.ask"):
            try:
                _answer(folder, path, role, loop, over)
            except OSError as error:  # whoever asked has gone away
                _log.info("this process could not be profiled: %s", error)


def _answer(
    folder: Path,
    path: Path,
    role: str,
    loop: asyncio.AbstractEventLoop | None,
    over: threading.Event,
) -> None:
    asked = msgspec.json.decode(path.read_bytes(), type=Asked)
    mine = folder / f"{asked.id}.{role}-{os.getpid()}.begun"
    if time.time() > asked.until or mine.exists() or asked.pid not in (None, os.getpid()):
        return
    mine.touch()
    name = f"{role} {os.getpid()}"
    try:
        with looking(asked.kind, name, loop) as found:
            over.wait(asked.seconds)
        (capture,) = found
    except Exception as error:  # noqa: BLE001 whatever it is: work goes on, and who asked is told
        _log.warning("this process could not be profiled: %s", error)
        capture = Capture(asked.kind, name, 0.0, failure=str(error) or type(error).__name__)
    _put(mine.with_suffix(".done"), msgspec.json.encode(capture))


def looking(
    kind: Kind, name: str, loop: asyncio.AbstractEventLoop | None = None
) -> AbstractContextManager[list[Capture]]:
    """Profile this process while the block lasts; the capture is in the list afterwards."""
    return _looking(kind, name, loop)


@contextmanager
def _looking(
    kind: Kind, name: str, loop: asyncio.AbstractEventLoop | None
) -> Iterator[list[Capture]]:
    found: list[Capture] = []
    one = Tracer(name) if kind == "memory" else Sampler(name, loop=loop)
    try:
        with one:
            yield found
    finally:
        if one.capture is not None:
            found.append(one.capture)


def _put(path: Path, body: bytes) -> None:
    """Readers see all of it or nothing."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(body)
    part.replace(path)
