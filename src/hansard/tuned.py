"""The tuned profile: settings that were measured to be the best on one machine, as a file.

``hansard optimise`` writes ``tuned.toml`` into the data directory. Settings read it below the
environment and ``hansard.toml`` and above what is built in, so whoever sets a thing by hand has
the last word. It is a file to be read and edited; what was there before lies beside it, and
:func:`undo` puts that back.

What was measured on one machine may be slow, or take too much memory, on another. So a profile
carries a :class:`Stamp`, and one that does not fit this machine and these versions is not applied,
which is said once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import platform
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from hansard import __version__, headroom
from hansard.errors import BadSettings, CannotWrite, InvalidState
from hansard.model import Value

_log = logging.getLogger("hansard")

FILE, BEFORE = "tuned.toml", "tuned.before.toml"

MODELS = "whisper.models."
"""What begins the name of a value that holds for one Whisper model."""

TUNABLE = frozenset(
    {
        *("sphinx.processes", "sphinx.window_seconds"),
        "prepare.vad_frames",
        *("caches.transcripts", "caches.pages", "caches.rendered", "caches.vectors"),
        *("caches.upload", "sqlite.cache", "sqlite.mmap", "sqlite.checkpoint", "model_idle"),
    }
)
"""All that a profile may say, beside :data:`MODELS`. Nothing of it decides what is kept."""

_MEMORY_SLACK = 0.1
"""Share by which memory may differ: kernels and containers take a little of their own."""

Values = Mapping[str, Any]
"""Dotted name of a setting → its value."""

_said: set[str] = set()


class Stamp(Value, frozen=True):
    """Where a measurement holds."""

    processor: str
    cores: float
    memory: float
    """GiB that this process may have."""
    gpus: tuple[str, ...]
    hansard: str
    """Major and minor version: between them, settings and code change."""
    engine: str
    """CTranslate2's, likewise."""


class Profile(Value, frozen=True):
    """What was measured, and where it holds."""

    stamp: Stamp
    model: str
    """The engine and model it was measured with; values of a model hold for that one alone."""
    measured: str
    """When, in UTC."""
    evidence: tuple[str, ...]
    """What was gained, a sentence for each part."""
    values: dict[str, Any]


def processor() -> str:
    """The processor's name, as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def here() -> Stamp:
    """The stamp of this machine, as this process sees it."""
    gpus = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            first = path.read_text().splitlines()[:1]
            gpus += [line.partition(":")[2].strip() for line in first]
    return Stamp(
        processor(),
        round(headroom.cores(), 2),
        round(headroom.read().limit / 2**30, 1),
        tuple(gpus),
        _minor(__version__),
        _minor(metadata.version("ctranslate2")),
    )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def misfit(stamp: Stamp, now: Stamp) -> str | None:
    """Why a profile does not hold here, as a phrase; ``None``: it does."""
    if not math.isclose(stamp.memory, now.memory, rel_tol=_MEMORY_SLACK):
        return f"it was measured with {stamp.memory:g} GiB of memory, and here are {now.memory:g}"
    for name, what in (
        ("processor", "the processor"),
        ("cores", "the number of processors"),
        ("gpus", "the graphics cards"),
        ("hansard", "the version of Hansard"),
        ("engine", "the version of CTranslate2"),
    ):
        then, today = getattr(stamp, name), getattr(now, name)
        if then != today:
            return f"{what} was {_plain(then)}, and is {_plain(today)} here"
    return None


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


# ── reading ──────────────────────────────────────────────────────────────────────────────────


def read(data: Path) -> Profile | None:
    """The profile of a data directory; ``None`` where there is none.

    Raises:
        BadSettings: it cannot be read, or says what a profile may not say.
    """
    path = data / FILE
    try:
        said = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _bad(path, str(error)) from error
    try:
        head = msgspec.convert(said.get("profile"), _Head)
    except msgspec.ValidationError as error:
        raise _bad(path, str(error)) from error
    values = dict(_flat(said.get("settings", {}), ""))
    strange = [name for name in values if name not in TUNABLE and not name.startswith(MODELS)]
    if strange:
        raise _bad(path, f"{strange[0]} is not for a profile to say: set it in hansard.toml")
    return Profile(head.stamp, head.model, head.measured, head.evidence, values)


class _Head(Value, frozen=True):
    """The table ``[profile]``."""

    model: str
    measured: str
    stamp: Stamp
    evidence: tuple[str, ...] = ()


def _bad(path: Path, said: str) -> BadSettings:
    return BadSettings(
        f"The tuned profile {path} cannot be used: {said}.",
        hint="Mend it, remove it, or start with HANSARD_TUNED=false.",
    )


def _flat(table: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def nested(values: Values) -> dict[str, Any]:
    """Dotted names as tables in tables, as settings and TOML have them.

    A model's name may have dots of its own: all between ``whisper.models.`` and the last is it.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith(MODELS):
            model, _, last = name.removeprefix(MODELS).rpartition(".")
            steps = ["whisper", "models", model, last]
        else:
            steps = name.split(".")
        table = found
        for step in steps[:-1]:
            table = table.setdefault(step, {})
        table[steps[-1]] = value
    return found


def settings(data: Path) -> dict[str, Any]:
    """What the profile of a data directory says, where it holds here; else nothing.

    Raises:
        BadSettings: see :func:`read`.
    """
    profile = read(data)
    if profile is None:
        return {}
    why = misfit(profile.stamp, here())
    if why is not None:
        say_once(f"The tuned profile {data / FILE} is NOT applied: {why}.")
        return {}
    return nested(profile.values)


def holds(data: Path) -> bool:
    """Whether the profile of a data directory, if there is one, is for this machine.

    Raises:
        BadSettings: see :func:`read`.
    """
    profile = read(data)
    return profile is None or misfit(profile.stamp, here()) is None


def say_once(said: str) -> None:
    """To the log, and so to standard error, once in the life of a process."""
    if said not in _said:
        _said.add(said)
        _log.warning("%s Run `hansard optimise` to measure again, or --undo to remove it.", said)


# ── writing ──────────────────────────────────────────────────────────────────────────────────


def write(data: Path, profile: Profile) -> Path:
    """Put a profile in its place, whole, and keep the one that was there.

    Raises:
        CannotWrite: the data directory cannot be written.
    """
    path = data / FILE
    with _writing(path):
        data.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(data / BEFORE)
        else:
            (data / BEFORE).unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=data, suffix=".tmp", delete=False) as file:
            file.write(text(profile))
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    return path


def remove(data: Path) -> None:
    """Be without a profile; the one that was there is kept for :func:`undo`.

    Raises:
        CannotWrite: the data directory cannot be written.
    """
    with _writing(data / FILE):
        (data / FILE).replace(data / BEFORE)


def undo(data: Path) -> bool:
    """Put back the profile before; whether there was one. Without one, none is left.

    Raises:
        InvalidState: there is no profile.
        CannotWrite: the data directory cannot be written.
    """
    path, before = data / FILE, data / BEFORE
    if not path.exists() and not before.exists():
        raise InvalidState(
            "There is no tuned profile: the settings are as they are built in.",
            hint="`hansard optimise` makes one.",
        )
    with _writing(path):
        if before.exists():
            before.replace(path)
            return True
        path.unlink()
    return False


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"The tuned profile {path} cannot be written: {error.strerror}.",
            hint="Is the data directory yours?",
        ) from error


def text(profile: Profile) -> str:
    """The profile as the file has it."""
    head = {
        "model": profile.model,
        "measured": profile.measured,
        "evidence": list(profile.evidence),
        "stamp": msgspec.to_builtins(profile.stamp) | {"gpus": list(profile.stamp.gpus)},
    }
    lines = [
        "# Written by `hansard optimise`; `hansard optimise --undo` takes it back.",
        "# Values below [settings] may be edited. The environment and hansard.toml come first.",
        *_tables({"profile": head}, ()),
        *_tables({"settings": nested(profile.values)}, ()),
    ]
    return "\n".join(lines) + "\n"


def _tables(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[str]:
    plain = {name: value for name, value in table.items() if not isinstance(value, dict)}
    if above and plain:
        yield ""
        yield f"[{'.'.join(above)}]"
    for name, value in plain.items():
        # A string, a number and a list of them are the same in JSON and in TOML.
        yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
    for name, value in table.items():
        if isinstance(value, dict):
            bare = name.replace("_", "").replace("-", "").isalnum() and name.isascii()
            yield from _tables(value, (*above, name if bare else json.dumps(name)))


def now() -> str:
    """This moment, as a profile has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
