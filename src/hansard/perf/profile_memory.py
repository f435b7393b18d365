"""Where the memory of this process goes: what was allocated by which line, by memray.

memray sees every allocation, of native code too, from the moment it begins; what is there already
it does not know. It has no wheels for Windows and is an extra: ``hansard[profile]``.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hansard.errors import MissingPart, ProfileBusy
from hansard.perf.profile import Capture, Stack, compacted
from hansard.perf.profile_cpu import short_names

if TYPE_CHECKING:
    from collections.abc import Callable


def see_that_it_is_here() -> None:
    """Whether memory can be profiled.

    Raises:
        MissingPart: memray is not installed.
    """
    try:
        import memray  # noqa: F401  only whether it is there
    except ImportError as error:
        raise MissingPart(
            "Memory is profiled by memray, which is not installed.",
            hint="pip install 'hansard[profile]' (Linux and macOS).",
        ) from error


class Tracer:
    """Follows allocations from ``with`` to its end; then :attr:`capture` is there."""

    def __init__(self, process: str) -> None:
        """``process``: what to call it.

        Raises:
            MissingPart: memray is not installed.
        """
        see_that_it_is_here()
        self._process = process
        self._folder = tempfile.TemporaryDirectory(prefix="hansard-memory-")
        self._file = Path(self._folder.name) / "allocations"
        self.capture: Capture | None = None

    def __enter__(self) -> Self:
        import memray

        self._begun = time.perf_counter()
        # Aggregated: the file grows with the stacks that differ, not with the allocations.
        self._tracker = memray.Tracker(
            self._file, file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS
        )
        try:
            self._tracker.__enter__()
        except RuntimeError as error:
            self._folder.cleanup()
            raise ProfileBusy(
                f"The memory of process {os.getpid()} is being profiled already.",
                hint="Wait until that has ended.",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._tracker.__exit__(None, None, None)
        seconds = time.perf_counter() - self._begun
        try:
            self.capture = _read(self._file, self._process, seconds)
        finally:
            self._folder.cleanup()


def _read(file: Path, process: str, seconds: float) -> Capture:
    import memray

    reader = memray.FileReader(file)
    names = short_names()
    threads = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def add(records: Iterable[Any], place: int) -> None:
        for record in records:
            key = (_thread(record, threads), _frames(record, names.file))
            one = found.setdefault(key, [0, 0.0, 0.0])
            if place == 1:
                one[0] += record.n_allocations
            one[place] += record.size

    add(reader.get_high_watermark_allocation_records(merge_threads=True), 1)
    add(reader.get_leaked_allocation_records(merge_threads=True), 2)
    stacks = (
        Stack(thread, "", frames, int(count), peak, left)
        for (thread, frames), (count, peak, left) in found.items()
    )
    return Capture(
        "memory",
        process,
        seconds,
        compacted(stacks),
        peak=float(reader.metadata.peak_memory),
    )


def _thread(record: Any, threads: dict[int | None, str]) -> str:
    return threads.get(record.tid, "")


def _frames(record: Any, name: Callable[[str], str]) -> tuple[str, ...]:
    stack = reversed(record.stack_trace())
    found = tuple(f"{function} ({name(file)}:{line})" for function, file, line in stack)
    return found or ("(no Python)",)
