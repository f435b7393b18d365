"""``hansard doctor``: whether this machine is well, and what it has."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, settings
from hansard.errors import HansardError, MachineError

if TYPE_CHECKING:
    from hansard.config import Settings

Line = tuple[bool, str, str]
"""Whether it is well, what it is, what was found."""

_LITTLE_MEMORY = 2 * 2**30


def doctor(
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the model hub.")] = False,
    data: DataOption = None,
) -> None:
    """Say what this machine has, and warn about what will be trouble."""
    configured = settings(data, offline=offline)
    well = True
    parts = (_python, _store, _machine, _models, _tuned)
    for part in (looked(configured) for looked in parts):
        for fine, name, found in part:
            well = well and fine
            print(f"{'ok  ' if fine else 'WARN'}  {name:<12} {found}")
    if not well:
        raise typer.Exit(MachineError.exit_code)


def _python(_: Settings) -> Iterator[Line]:
    import av
    import ctranslate2
    import onnxruntime

    from hansard import __version__

    yield True, "hansard", f"{__version__}, Python {platform.python_version()}"
    yield (
        True,
        "libraries",
        (
            f"PyAV {av.__version__}, CTranslate2 {ctranslate2.__version__}, "
            f"onnxruntime {onnxruntime.__version__}"
        ),
    )


def _store(configured: Settings) -> Iterator[Line]:
    from hansard.jobs.presence import serving
    from hansard.store.sqlite import SAFE_SQLITE
    from hansard.wiring import House

    try:
        with House(configured) as house:
            version, dialect = house.database.version(), house.database.dialect
            free = house.files.free_bytes()
    except HansardError as error:
        yield False, "store", f"{configured.data}: {error.message} {error.hint or ''}"
        return
    yield True, "store", str(configured.data)
    running = serving(configured.data)
    yield True, "service", f"running at {running.url}" if running else "not running"
    number = version.partition(" ")[2]
    wanted = ".".join(str(part) for part in SAFE_SQLITE)
    safe = dialect != "sqlite" or tuple(int(part) for part in number.split(".")) >= SAFE_SQLITE
    advice = "" if safe else f": older than {wanted}, can corrupt the log; install pysqlite3"
    yield safe, dialect, number + advice
    reserve = configured.limits.disk_reserve
    roomy = free > reserve
    yield roomy, "disk", f"{free / 1e9:.1f} GB free" + ("" if roomy else ": below the reserve")


def _machine(configured: Settings) -> Iterator[Line]:
    import ctranslate2
    import psutil

    from hansard import headroom

    memory = headroom.read()
    enough = memory.available > _LITTLE_MEMORY
    yield (
        enough,
        "memory",
        (
            f"{memory.available / 1e9:.1f} of {memory.limit / 1e9:.1f} GB available"
            + ("" if enough else ": too little for most models")
        ),
    )
    yield True, "processor", f"{psutil.cpu_count()} cores, {platform.machine()}"
    found = ctranslate2.get_cuda_device_count()
    wanted = configured.whisper.device == "cuda"
    yield bool(found) or not wanted, "cuda", f"{found} device{'' if found == 1 else 's'}"


def _models(configured: Settings) -> Iterator[Line]:
    from hansard.speech import catalog

    found = catalog.installed(configured)
    yield True, "models", ", ".join(info.name for info in found if not info.problem) or "none"
    for info in found:
        if info.problem:
            yield False, "model", f"{info.name}: {info.problem}"


def _tuned(configured: Settings) -> Iterator[Line]:
    from hansard import tuned

    profile = tuned.read(configured.data)
    if profile is None:
        yield True, "tuned", "no profile: `hansard optimise` measures one"
        return
    path = configured.data / tuned.FILE
    if not configured.tuned:
        yield True, "tuned", f"{path}: not applied, as set"
        return
    why = tuned.misfit(profile.stamp, tuned.here())
    said = f"{len(profile.values)} settings for {profile.model}" if why is None else why
    yield why is None, "tuned", f"{path}: {said}" + ("" if why is None else "; not applied")
