"""How much memory and processor this process may have, as the kernel counts them.

Three things bound a process: the machine, and each control group it is in, from its own up to the
root (Linux ``Documentation/admin-guide/cgroup-v2.rst`` and ``cgroup-v1/memory.rst``). A group that
goes above its limit has a process killed although the machine has gigabytes free, so what is left
is the least of all of them. Pages of files that nobody has used lately count as free, since the
kernel takes them before it kills: what is left of a group is its limit less its use, plus its
inactive file pages (what Kubernetes calls the working set).

Reading takes a few small files and well under a millisecond.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hansard.model import Value

_NO_LIMIT = 2**60
"""Bytes; version 1 writes a number near 2**63 where there is no limit."""


class Bound(Value, frozen=True):
    """One thing that bounds memory. Bytes."""

    what: str
    """``system``, or the directory of a control group."""
    limit: int
    available: int


class Headroom(Value, frozen=True):
    """What is left at one moment."""

    bounds: tuple[Bound, ...]
    """The system first, then groups from the process's own upwards; those with a limit."""
    stall: float = 0.0
    """Percent of the last ten seconds in which nothing could be done for want of memory (PSI,
    ``full avg10``), of the group or the system, whichever is more; 0 where it is not counted."""

    @property
    def limit(self) -> int:
        """Bytes that this process and its neighbours in the tightest group may have."""
        return min(bound.limit for bound in self.bounds)

    @property
    def available(self) -> int:
        """Bytes that may still be taken."""
        return max(0, min(bound.available for bound in self.bounds))


def read(root: Path = Path("/")) -> Headroom:
    """Look now. ``root`` is where ``proc`` and ``sys`` are found: for tests.

    Where there is no ``/proc/meminfo`` (macOS), psutil says what the system has.
    """
    bounds = [_system(root)]
    stalls = [_stall(root / "proc" / "pressure" / "memory")]
    for directory in groups("memory", root):
        bound = _group(directory)
        if bound is not None:
            bounds.append(bound)
            stalls.append(_stall(directory / "memory.pressure"))
    return Headroom(tuple(bounds), max(stalls))


def groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """The directories of this process's control groups for a controller, its own first.

    Inside a container the path that ``/proc/self/cgroup`` names may not exist, since only the
    container's own group is mounted: then that is the one.
    """
    mounted = root / "sys" / "fs" / "cgroup"
    with contextlib.suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text().splitlines():
            number, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if number == "0" and not names:
                top = mounted
            elif controller in names.split(","):
                top = mounted / controller
            else:
                continue
            own = top / path.lstrip("/")
            if not own.is_dir():
                own = top
            yield own
            while own != top:
                own = own.parent
                yield own


def cores(root: Path = Path("/")) -> float:
    """Processors this process may use: those it may run on, and less where a group has a quota."""
    count = float(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        count = float(len(os.sched_getaffinity(0)))
    for directory in groups("cpu", root):
        said = _text(directory / "cpu.max").split()
        if not said:
            quota, period = (
                _text(directory / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
            )
            said = [quota, period] if quota.isdigit() else []  # -1: no quota
        if len(said) == 2 and said[0].isdigit() and int(said[1]) > 0:
            count = min(count, int(said[0]) / int(said[1]))
    return count


def _system(root: Path) -> Bound:
    found = _fields(root / "proc" / "meminfo", ":")
    if "MemAvailable" in found and "MemTotal" in found:
        return Bound("system", found["MemTotal"] * 1024, found["MemAvailable"] * 1024)
    import psutil

    memory = psutil.virtual_memory()
    return Bound("system", int(memory.total), int(memory.available))


def _group(directory: Path) -> Bound | None:
    """A control group of either version; ``None`` where it has no limit."""
    # Above memory.high the group is slowed to a crawl, which is as bad as its end.
    limits = [_number(directory / f"memory.{name}") for name in ("max", "high")]
    limits.append(_number(directory / "memory.limit_in_bytes"))
    limit = min((number for number in limits if number is not None), default=None)
    if limit is None or limit >= _NO_LIMIT:
        return None
    used = _number(directory / "memory.current")
    if used is None:
        used = _number(directory / "memory.usage_in_bytes")
    if used is None:
        return None
    stat = _fields(directory / "memory.stat", " ")
    idle = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return Bound(str(directory), limit, limit - max(0, used - idle))


def _stall(path: Path) -> float:
    for line in _text(path).splitlines():
        kind, *pairs = line.split()
        if kind == "full":
            return float(dict(pair.split("=") for pair in pairs).get("avg10", 0.0))
    return 0.0


def _number(path: Path) -> int | None:
    said = _text(path).strip()
    return int(said) if said.isdigit() else None


def _fields(path: Path, after: str) -> dict[str, int]:
    found = {}
    for line in _text(path).splitlines():
        name, _, rest = line.partition(after)
        number = rest.split()
        if number and number[0].isdigit():
            found[name.strip()] = int(number[0])
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
