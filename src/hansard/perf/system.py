"""The machine and its processes, as they are at a moment: what figures of stages are held against.

Reading all of it takes some milliseconds, most of them for the tree of processes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hansard.model import Value

if TYPE_CHECKING:
    import psutil
    from prometheus_client.metrics_core import Metric


class Tree(Value, frozen=True, omit_defaults=False):
    """A process with all that it started."""

    processes: int
    threads: int
    files: int
    """Open file descriptors."""
    memory: int
    """Bytes resident; what processes share counts in each."""
    cpu: float
    """Seconds of processor time, since they began."""


class Gpu(Value, frozen=True, omit_defaults=False):
    """A graphics processor, as NVML sees it."""

    name: str
    memory: int
    """Bytes."""
    used: int
    load: float
    """Share of the last moment in which it worked, 0 to 1."""


class Machine(Value, frozen=True, omit_defaults=False):
    """Bytes, and seconds; those of processor, disk and network since the machine began."""

    cores: int
    busy: float
    """Seconds that its cores have worked, added up."""
    load: float
    """Processes that want to run, mean of the last minute."""
    memory: int
    available: int
    swapped: int
    disk: int
    """Size of the disk of the data directory."""
    free: int
    disk_read: int
    disk_written: int
    received: int
    sent: int
    tree: Tree
    gpus: tuple[Gpu, ...] = ()


def machine(data: Path, root: int | None = None) -> Machine:
    """What there is now; ``root``: the process whose tree is looked at, this one if not given."""
    import psutil

    memory = psutil.virtual_memory()
    times = psutil.cpu_times()
    disk = psutil.disk_usage(str(data))
    # None where there is no disk or network of its own, whatever its types say.
    moved: Any = psutil.disk_io_counters()
    network: Any = psutil.net_io_counters()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # A guest's time is in that of its user already.
    counted = [value for name, value in times._asdict().items() if not name.startswith("guest")]
    return Machine(
        cores=os.cpu_count() or 1,
        busy=max(0.0, sum(counted) - idle),
        load=os.getloadavg()[0],
        memory=memory.total,
        available=memory.available,
        swapped=psutil.swap_memory().used,
        disk=disk.total,
        free=disk.free,
        disk_read=0 if moved is None else moved.read_bytes,
        disk_written=0 if moved is None else moved.write_bytes,
        received=0 if network is None else network.bytes_recv,
        sent=0 if network is None else network.bytes_sent,
        tree=_tree(psutil.Process(root)),
        gpus=gpus(),
    )


def _tree(root: psutil.Process) -> Tree:
    import psutil

    found = []
    for process in (root, *root.children(recursive=True)):
        # Whoever ended meanwhile, or belongs to somebody else, is left out.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
            times = process.cpu_times()
            files = process.num_fds()
            found.append(
                (process.num_threads(), files, process.memory_info().rss, times.user + times.system)
            )
    threads, files, memory, cpu = (sum(column) for column in zip(*found, strict=True))
    return Tree(len(found), int(threads), int(files), int(memory), float(cpu))


@cache
def _nvml() -> Any | None:
    """NVIDIA's library where it is installed (``hansard[gpu]``) and there is a driver."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, no card
        return None
    return nvml


def gpus() -> tuple[Gpu, ...]:
    """Every graphics processor that NVML knows; none without it."""
    nvml = _nvml()
    if nvml is None:
        return ()
    found = []
    for number in range(nvml.nvmlDeviceGetCount()):
        card = nvml.nvmlDeviceGetHandleByIndex(number)
        memory = nvml.nvmlDeviceGetMemoryInfo(card)
        try:
            load = nvml.nvmlDeviceGetUtilizationRates(card).gpu / 100
        except nvml.NVMLError:  # a part of a card (MIG) has none of its own
            load = 0.0
        name = nvml.nvmlDeviceGetName(card)
        found.append(Gpu(str(name), int(memory.total), int(memory.used), load))
    return tuple(found)


# ── for Prometheus ───────────────────────────────────────────────────────────────────────────


def families(data: Path, root: int | None = None) -> Iterator[Metric]:
    """The machine as metrics."""
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    now = machine(data, root)
    for name, what, value in (
        ("hansard_system_cores", "Processors of this machine.", now.cores),
        ("hansard_system_load", "Processes that want to run, mean of a minute.", now.load),
        ("hansard_system_memory_bytes", "Memory of this machine.", now.memory),
        ("hansard_system_memory_available_bytes", "Memory that can be had.", now.available),
        ("hansard_system_swap_used_bytes", "Memory that was swapped out.", now.swapped),
        ("hansard_disk_bytes", "Size of the disk of the data directory.", now.disk),
        ("hansard_disk_free_bytes", "Room on it.", now.free),
        ("hansard_tree_processes", "This service's processes here.", now.tree.processes),
        ("hansard_tree_threads", "Their threads.", now.tree.threads),
        ("hansard_tree_open_files", "Their open file descriptors.", now.tree.files),
        ("hansard_tree_memory_bytes", "Their resident memory.", now.tree.memory),
    ):
        yield GaugeMetricFamily(name, what, value)
    for name, what, value in (
        ("hansard_system_cpu_seconds", "Time that the processors worked.", now.busy),
        ("hansard_system_disk_read_bytes", "Read from disks.", now.disk_read),
        ("hansard_system_disk_written_bytes", "Written to disks.", now.disk_written),
        ("hansard_system_network_received_bytes", "Received.", now.received),
        ("hansard_system_network_sent_bytes", "Sent.", now.sent),
        ("hansard_tree_cpu_seconds", "Processor time of processes that live.", now.tree.cpu),
    ):
        yield CounterMetricFamily(name, what, value)
    yield from _of_gpus(now.gpus)
    yield _models()


def _of_gpus(found: tuple[Gpu, ...]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    memory = GaugeMetricFamily(
        "hansard_gpu_memory_bytes", "Memory of a graphics processor.", labels=("gpu", "name")
    )
    used = GaugeMetricFamily(
        "hansard_gpu_memory_used_bytes", "Of it, in use.", labels=("gpu", "name")
    )
    load = GaugeMetricFamily(
        "hansard_gpu_load_ratio", "How much of the time it works.", labels=("gpu", "name")
    )
    for number, one in enumerate(found):
        labels = (str(number), one.name)
        memory.add_metric(labels, one.memory)
        used.add_metric(labels, one.used)
        load.add_metric(labels, one.load)
    yield from (memory, used, load)


def _models() -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    from hansard.speech import memory

    resident = GaugeMetricFamily(
        "hansard_model_resident", "Models in the memory of this process.", labels=("model",)
    )
    for engine, model in memory.held():
        resident.add_metric((f"{engine}/{model}",), 1)
    return resident
