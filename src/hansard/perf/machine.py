"""What a figure was measured on: enough to know whether two may be compared."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from hansard import __version__, headroom
from hansard.model import Value
from hansard.tuned import processor

_LIBRARIES = ("numpy", "av", "onnxruntime", "ctranslate2", "pocketsphinx", "sqlalchemy")
"""Those that do the work; others' versions change no figure here."""


class Machine(Value, frozen=True):
    """A machine and what runs on it."""

    cpu: str
    cores: int
    """That this process may use."""
    memory: int
    """Bytes; a container's own limit where that is less."""
    system: str
    python: str
    libraries: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Short, and the same only where figures may be compared: the hardware and the system.

        Versions of Python and of libraries are not in it: they are what is compared, too.
        """
        parts = (self.cpu, self.cores, round(self.memory / 2**30), self.system)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@cache
def machine() -> Machine:
    """This one."""
    here = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    return Machine(
        cpu=processor(),
        cores=len(here),
        memory=headroom.read().limit,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        libraries={name: found for name in _LIBRARIES if (found := _version(name))},
    )


@cache
def build() -> str:
    """The version of this Hansard, and the commit where it is a checkout: ``0.1.0+1a2b3c4d``.

    With ``+`` at its end where something is not committed.
    """
    root = checkout()
    if root is None:
        return __version__
    commit = git(root, "describe", "--always", "--dirty=+", "--abbrev=8", "--exclude=*")
    return f"{__version__}+{commit}" if commit else __version__


@cache
def checkout() -> Path | None:
    """The checkout that this code is run from, if it is."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / ".git").exists() and (root / "src" / "hansard").is_dir() else None


def git(root: Path, *words: str) -> str:
    """What git says; nothing where it cannot tell, or is not there."""
    try:
        done = subprocess.run(  # noqa: S603 our own words
            ["git", *words],  # noqa: S607 wherever it is
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
