"""Where the time of this process goes: every thread is looked at a hundred times a second.

``sys._current_frames`` gives the stacks of all threads at one moment. Profilers that are at hand
look at one thread only, and a worker has ten. Each thread's own clock says how much of the time
since the last look it was on a processor (Linux; elsewhere a thread that stands in a known wait is
taken to be idle). A thread that is on no processor and in no stage of ``telemetry`` is idle, and
is left out.

A second question at each look: does the event loop answer? What is given to it by
``call_soon_threadsafe`` runs within microseconds unless a callback holds it up. From 50 ms on that
is a stall, and its stack is what the loop's thread was seen in.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FrameType
from typing import Self

from hansard import telemetry
from hansard.perf.profile import STALLS, Capture, Stack, Stall, compacted

INTERVAL = 0.01
"""Seconds between two looks."""
STALLED = 0.05
"""Seconds from which on an event loop that does not answer is stalled."""
_DEEPEST = 200
"""Frames of a stack; of deeper ones the innermost."""
_BUSY = 0.05
"""Share of an interval on a processor from which on a thread is not idle."""
_WAITS = ("threading.py", "selectors.py", "queue.py", "socket.py", "concurrent/futures/thread.py")
"""Where threads stand that wait, on systems without a clock for each thread."""

_Key = tuple[str, str, tuple[str, ...]]


class Sampler:
    """Looks from a thread of its own, from ``with`` to its end; then :attr:`capture` is there."""

    def __init__(
        self,
        process: str,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        interval: float = INTERVAL,
    ) -> None:
        """``process``: what to call it. ``loop``: watched for stalls."""
        self._process = process
        self._interval = interval
        self._beat = None if loop is None else _Beat(process, loop)
        self._names = _Names()
        self._found: dict[_Key, list[float]] = {}
        self._clocks: dict[int, float] = {}
        self._python = 0.0
        self._looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hansard-profile", daemon=True)
        self.capture: Capture | None = None

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        self._cpu = time.process_time()
        self._children = children_cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        seconds = time.perf_counter() - self._begun
        cpu = time.process_time() - self._cpu
        stacks = (Stack(*key, int(n), wall, part) for key, (n, wall, part) in self._found.items())
        self.capture = Capture(
            "cpu",
            self._process,
            seconds,
            compacted(stacks),
            self._beat.stalls() if self._beat is not None else (),
            looks=self._looks,
            cpu=cpu,
            native=max(0.0, cpu - self._python) if _HAS_CLOCKS else 0.0,
            children=max(0.0, children_cpu() - self._children),
        )

    def _run(self) -> None:
        last = time.perf_counter()
        due = last
        while not self._over.wait(max(0.0, due - time.perf_counter())):
            now = time.perf_counter()
            with _no_collection():
                self._look(now - last)
            last = now
            due = max(due + self._interval, now)

    def _look(self, since: float) -> None:
        self._looks += 1
        threads = {thread.ident: thread for thread in threading.enumerate()}
        frames = sys._current_frames()  # noqa: SLF001  documented, in spite of its name
        mine = threading.get_ident()
        for ident, frame in frames.items():
            busy = self._busy(threads.get(ident))
            if ident == mine:
                continue
            stage = telemetry.stage_of(ident)
            if busy is None:
                idle, part = _waits(frame), 0.0
            else:
                idle, part = busy < _BUSY * since, busy
            if stage is None and idle:
                continue
            thread = threads.get(ident)
            key = (thread.name if thread else "", stage or "", self._names.stack(frame))
            one = self._found.setdefault(key, [0, 0.0, 0.0])
            one[0] += 1
            one[1] += since
            one[2] += part
        if self._beat is not None:
            self._beat.look(frames, self._names, time.perf_counter() - self._begun)

    def _busy(self, thread: threading.Thread | None) -> float | None:
        """Seconds on a processor since the last look; ``None`` where nobody can tell."""
        if not _HAS_CLOCKS or thread is None or thread.native_id is None:
            return None
        try:
            now = time.clock_gettime(_clock(thread.native_id))
        except OSError:
            return 0.0  # it has ended meanwhile
        before = self._clocks.get(thread.native_id)
        self._clocks[thread.native_id] = now
        if before is None:
            return 0.0
        self._python += now - before
        return now - before


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected while stacks of other threads are walked.

    ``f_back`` makes an object of each frame. In CPython 3.11 that may collect garbage (gh-97002),
    whose finalizers let other threads go on: then the frame it was about has ended, and its memory
    is another's. (Tried: a finalizer that sleeps meanwhile ends the interpreter by a segmentation
    fault.) CPython's own ``_current_frames`` does the same.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Names:
    """Frames in words, each code object once."""

    def __init__(self) -> None:
        self._known: dict[CodeType, str] = {}
        self._roots = sorted({f"{os.path.realpath(path)}/" for path in sys.path if path}, key=len)

    def stack(self, frame: FrameType | None) -> tuple[str, ...]:
        found: list[str] = []
        while frame is not None and len(found) < _DEEPEST:
            code = frame.f_code
            name = self._known.get(code)
            if name is None:
                name = f"{code.co_qualname} ({self.file(code.co_filename)}:{code.co_firstlineno})"
                self._known[code] = name
            found.append(name)
            frame = frame.f_back
        return tuple(reversed(found))

    def file(self, path: str) -> str:
        """A file as it is imported, so that two machines call it the same."""
        whole = os.path.realpath(path)
        for root in reversed(self._roots):
            if whole.startswith(root):
                return whole[len(root) :]
        return path


def short_names() -> _Names:
    """What names frames, for other profilers: the same file has one name in all of them."""
    return _Names()


class _Beat:
    """Asks the event loop again and again whether it answers."""

    def __init__(self, process: str, loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self._loop = loop
        self._asked = 0.0
        self._answered = 0.0
        self._ident: int | None = None
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._found: list[Stall] = []

    def _answer(self) -> None:
        self._ident = threading.get_ident()
        self._answered = time.perf_counter()

    def look(self, frames: dict[int, FrameType], names: _Names, at: float) -> None:
        now = time.perf_counter()
        if self._answered < self._asked:  # it has not come back yet
            if now - self._asked >= STALLED and self._ident in frames:
                self._seen[names.stack(frames[self._ident])] += 1
            return
        held = self._answered - self._asked
        if self._seen and held >= STALLED:
            frames_of_it = self._seen.most_common(1)[0][0]
            self._found.append(Stall(self._process, at - (now - self._asked), held, frames_of_it))
            self._found = sorted(self._found, key=lambda one: -one.seconds)[: 2 * STALLS]
        self._seen.clear()
        self._asked = time.perf_counter()
        with suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            self._loop.call_soon_threadsafe(self._answer)

    def stalls(self) -> tuple[Stall, ...]:
        return tuple(self._found[:STALLS])


def _waits(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(_WAITS)


def children_cpu() -> float:
    """Seconds on a processor of all processes this one started, those that ended included."""
    import psutil

    times = os.times()
    spent = times.children_user + times.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            used = child.cpu_times()
            spent += used.user + used.system
    return spent


def _clock(native_id: int) -> int:
    """The clock of one thread of this process, as Linux numbers them.

    ``MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED)`` of include/linux/posix-timers.h. Of a thread that
    has ended the kernel says EINVAL, where ``pthread_getcpuclockid`` would follow a pointer into
    freed memory.
    """
    return (~native_id << 3) | 4 | 2


def _can_tell() -> bool:
    if sys.platform != "linux":
        return False
    try:
        time.clock_gettime(_clock(threading.get_native_id()))
    except OSError:
        return False
    return True


_HAS_CLOCKS = _can_tell()
