"""How inference is set up on this machine's processor: the split of cores, and its memory.

CTranslate2 runs ``lanes`` calls at once with ``threads`` OpenMP threads each. Which split is
quickest depends on the processor, the caches and the model, so it is measured once, in about a
second, and remembered in a small file.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from hansard.model import Value
from hansard.tuned import processor as processor  # noqa: PLC0414 asked for here

_log = logging.getLogger(__name__)

_GLIBC_TRIM_THRESHOLD, _GLIBC_TOP_PAD, _GLIBC_MMAP_MAX, _GLIBC_ARENA_MAX = -1, -2, -4, -8
"""Parameters of ``mallopt``, from glibc's ``malloc.h``."""


class Split(Value, frozen=True):
    """How the cores are shared out: calls at once, and OpenMP threads of each."""

    lanes: int
    threads: int


class Setting(Value, frozen=True):
    """What a measurement holds for; anything else must be measured again."""

    processor: str
    cores: int
    model: str
    compute_type: str
    version: str
    """Of CTranslate2."""


class _Memory(Value, frozen=True):
    """The file: what was measured, and where it holds."""

    setting: Setting
    split: Split


def cores() -> int:
    """Processors this process may run on (containers and ``taskset`` allow fewer than exist)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def candidates(count: int) -> list[Split]:
    """Ways to share out ``count`` cores, from the most lanes to the fewest.

    More than eight lanes are not tried: each holds its own activations, and memory bandwidth is
    spent long before.
    """
    lanes = [n for n in (8, 6, 4, 3, 2, 1) if n <= count]
    if count < 8 and count not in lanes:
        lanes.insert(0, count)
    return [Split(n, count // n) for n in lanes]


def choose(
    setting: Setting, directory: Path, measure: Callable[[Split], float], *, seconds: float = 1.0
) -> Split:
    """The quickest split: remembered, or measured now and remembered.

    Args:
        setting: what the answer depends on.
        directory: where answers are kept; made where it is missing.
        measure: windows a second of a split; called once for each candidate.
        seconds: no further candidate is begun when this time is over. The first has the most
            lanes, which wins wherever memory bandwidth allows.
    """
    name = hashlib.sha256(msgspec.json.encode(setting)).hexdigest()[:16]
    path = directory / f"split-{name}.json"
    known = _recall(path, setting)
    if known is not None:
        return known
    begun = time.monotonic()
    rates: dict[Split, float] = {}
    for split in candidates(setting.cores):
        rates[split] = measure(split)
        if time.monotonic() - begun > seconds:
            break
    best = max(rates, key=rates.__getitem__)
    _log.info("measured %s: %s", setting, rates)
    _remember(path, _Memory(setting, best))
    return best


def _recall(path: Path, setting: Setting) -> Split | None:
    """The split in a file; ``None`` where there is none, or none to be trusted."""
    try:
        memory = msgspec.json.decode(path.read_bytes(), type=_Memory)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as problem:
        _log.warning("%s cannot be read (%s); measuring again.", path, problem)
        return None
    split = memory.split
    usable = split.lanes >= 1 and split.threads >= 1 and split.lanes * split.threads <= 1024
    return split if memory.setting == setting and usable else None


def _remember(path: Path, memory: _Memory) -> None:
    """Write the file whole or not at all; the last of several writers wins.

    A directory that cannot be written costs a measurement at each start, not the work.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(msgspec.json.encode(memory))
        os.replace(file.name, path)  # noqa: PTH105  (file.name is a string already)
    except OSError as problem:
        _log.warning("The measured split cannot be kept in %s (%s).", path.parent, problem)


RELEASE_SECONDS = 2.0
"""Measured (10 and 30 minutes, peak above the loaded whisper-tiny): never 248 and 323 MB, every
4 s 259 and 293, every second 268 and 278."""

_release_lock = threading.Lock()
_released = 0.0


@functools.cache
def keep_pages() -> bool:
    """Have the C library keep freed memory for its next use; once for the whole process.

    CTranslate2 asks for its buffers anew in each operation, and the encoder's attention scores
    are 54 MB a window (1500 by 1500 floats for each head). glibc gives each such piece back to
    the system at once and faults it in again page by page: 42 % of the time of whisper-tiny's
    encoder was spent in the kernel. Kept pages make the same arithmetic 1.8 times as fast. The
    figures are in ``bench/LOG.md``.

    Returns:
        Whether the C library took it: glibc does; others have no such switch or no such cost.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    wanted = (
        # One arena: others end at 64 MB, and larger pieces would be mapped after all.
        (_GLIBC_ARENA_MAX, 1),
        (_GLIBC_MMAP_MAX, 0),
        (_GLIBC_TRIM_THRESHOLD, 2**31 - 1),
        (_GLIBC_TOP_PAD, 2**26),
    )
    taken = [mallopt(parameter, value) for parameter, value in wanted]
    return taken == [1] * len(wanted)


def release_now_and_then() -> None:
    """Give unused memory back at most every :data:`RELEASE_SECONDS`, after a batch.

    Kept pages are never in the same place twice when lanes take and free them in turn: the heap
    of a ten-hour recording grew half as large again as that of ten minutes. Faulting them in once
    every so often bounds that. It does not make memory flat: the peak above whisper-tiny was still
    241 MB for ten minutes and 311 MB for an hour (``bench/LOG.md``).
    """
    global _released  # noqa: PLW0603 the heap is one for the process, and so is this
    now = time.monotonic()
    with _release_lock:
        due = now - _released >= RELEASE_SECONDS
        if due:
            _released = now
    if due:
        release_pages()


def release_pages() -> None:
    """Give memory that nobody uses back to the system."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
