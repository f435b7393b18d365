"""Another build of Hansard in an environment of its own: a revision of the checkout, or a version.

The environment is a venv that sees the libraries of this one behind its own: what both builds need
alike is shared, so that only what differs is installed, and what is compared is Hansard. Made once
and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from hansard.errors import MachineError, UnknownBenchmark
from hansard.perf.machine import checkout, git

_HERE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""What would lead another build's interpreter back to this one."""


def python_of(build: str, cache: Path | None = None) -> str:
    """The interpreter of a build, which is installed where it is not yet.

    Args:
        build: a revision of the checkout that this is run from, or a version that pip can find.
        cache: where environments are kept; the user's cache directory where it is not said.

    Raises:
        UnknownBenchmark: there is no such build.
        MachineError: it cannot be installed.
    """
    root = checkout()
    commit = git(root, "rev-parse", "--verify", f"{build}^{{commit}}") if root else ""
    if not commit and not build[:1].isdigit():
        raise UnknownBenchmark(
            f"{build} is neither a revision of this checkout nor a version.",
            hint="Name a commit, a branch or a tag where Hansard is run from a checkout; "
            "else a version, like 0.1.0.",
        )
    where = (cache or _cache()) / f"{commit[:12] or build}-{_libraries()}"
    python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (where / "made").exists():
        shutil.rmtree(where, ignore_errors=True)
        _make(where)
        with _source(root, commit, build) as source:
            _install(python, source)
        (where / "made").touch()
    return str(python)


def environment() -> dict[str, str]:
    """That of another build's processes: as here, but for what leads back to this one."""
    return {name: value for name, value in os.environ.items() if name not in _HERE}


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("hansard", appauthor=False)) / "builds"


def _libraries() -> str:
    """Another name wherever the libraries beneath may be others."""
    parts = (sys.version, sysconfig.get_path("purelib"))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _make(where: Path) -> None:
    import venv

    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(where)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(where)}))
    shared = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    shared |= dict.fromkeys(path for path in sys.path if path.endswith("-packages"))
    own.mkdir(parents=True, exist_ok=True)
    (own / "shared.pth").write_text("\n".join(shared) + "\n")


@contextmanager
def _source(root: Path | None, commit: str, build: str) -> Iterator[str]:
    """What pip is given: the files of a commit, or a name and a version."""
    if root is None or not commit:
        yield f"hansard=={build}"
        return
    with tempfile.TemporaryDirectory(prefix="hansard-build-") as folder:
        packed = Path(folder) / "source.tar"
        if (
            git(root, "archive", "--format=tar", f"--output={packed}", commit)
            or not packed.exists()
        ):
            raise MachineError(f"git gives no files of {commit}.", hint="Is the checkout whole?")
        with tarfile.open(packed) as files:
            files.extractall(f"{folder}/source", filter="data")
        yield f"{folder}/source"


def _install(python: Path, source: str) -> None:
    # Beneath it there is a Hansard already, this one: it must not be taken for the other.
    alone = ["--no-deps", "--ignore-installed"]
    if Path(source).is_dir() and find_spec("hatchling") is not None:
        alone.append("--no-build-isolation")  # what builds it is here, and nothing is fetched
    _pip(python, *alone, source)
    _pip(python, "hansard")  # what it needs beyond what is here


def _pip(python: Path, *words: str) -> None:
    done = subprocess.run(  # noqa: S603 our own words
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "--quiet"),
            *("--disable-pip-version-check", "--no-input", "install", *words),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MachineError(
            f"The other build cannot be installed: {said[-1] if said else 'pip said nothing'}",
            hint="`pip install` it by hand to see why.",
        )
