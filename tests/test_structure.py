"""The shape of the house: what the habits in CONTRIBUTING.md say, as far as a machine can tell."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "hansard"
MODULES = sorted(SOURCE.rglob("*.py"))

LONGEST_FILE = 500
LONGEST_FUNCTION = 60
EXCUSED = {
    "src/hansard/cli/transcribe.py::transcribe": "its options are its signature: Typer reads them",
    "src/hansard/store/migrations/versions/0001_jobs_windows_and_transcripts.py::upgrade": (
        "a list of tables; a migration is read once and never changed"
    ),
    "src/hansard/store/migrations/versions/0002_tenants_and_uploads.py::upgrade": "likewise",
    "src/hansard/cli/keys.py::create": "its options are its signature: Typer reads them",
    "src/hansard/cli/loadtest.py::loadtest": "likewise",
    "src/hansard/cli/plan.py::plan": "likewise",
    "src/hansard/store/tables.py": "the one schema, read as a table",
    "src/hansard/errors.py": "a list of small classes, one tree, read as a table",
}
"""``path`` or ``path::function`` → why it may be longer. A stale excuse fails."""

BANNED = {"utils", "util", "helpers", "helper", "manager", "service", "base", "common", "misc"}
"""Names that say nothing about what is in the box."""

AT_HELP = {"annotated_doc", "msgspec", "shellingham", "typer", "typing_extensions"}
"""All that ``hansard --help`` may import from outside: each costs a person time at each call."""

AT_COMMAND = AT_HELP | {"annotated_types", "pydantic", "pydantic_core", "typing_inspection"}
"""What Typer itself adds as soon as a command is named: it checks values with pydantic."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Qualified name and length in lines of every function, methods and inner ones included."""
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}{getattr(node, 'name', '')}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield name, node.end_lineno - node.lineno + 1
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from functions(node, f"{name}." if named else prefix)


def tracked() -> list[Path]:
    """What belongs to the project, as git sees it, new files included."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout: what belongs to the project is not known")
    return [
        ROOT / name for name in sorted(set(done.stdout.splitlines())) if (ROOT / name).is_file()
    ]


# ── rooms ────────────────────────────────────────────────────────────────────────────────────


def test_rooms_are_entered_only_from_above() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def outside_modules(statement: str, *arguments: str) -> set[str]:
    """Top-level modules beyond the standard library that a fresh interpreter has afterwards."""
    report = "\nfinally:\n import sys; print('\\n', *{m.partition('.')[0] for m in sys.modules})"
    wanted, before = (
        subprocess.run(
            [sys.executable, "-c", f"try:\n {code}{report}", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for code in (statement, "pass")
    )
    # What a bare interpreter has already, an environment's own hooks put there.
    found = set(wanted.split()) - set(before.split()) - sys.stdlib_module_names - {"hansard"}
    return {name for name in found if not name.startswith("_sysconfigdata_")}  # Python's own


def test_importing_the_package_imports_nothing_else() -> None:
    assert outside_modules("import hansard") == set()


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("--help",), AT_HELP),
        (("--version",), AT_HELP),
        (("transcribe", "--help"), AT_COMMAND),
        (("jobs", "list", "--help"), AT_COMMAND),
    ],
)
def test_help_imports_only_what_it_shows(arguments: tuple[str, ...], allowed: set[str]) -> None:
    found = outside_modules("import hansard.__main__ as m; m.main()", *arguments)
    assert "typer" in found, "the probe did not run the command line"
    assert found <= allowed, f"heavy imports belong inside functions: {sorted(found - allowed)}"


# ── sizes and names ──────────────────────────────────────────────────────────────────────────


def test_files_and_functions_stay_short() -> None:
    too_long = {}
    for path in MODULES:
        text = path.read_text("utf-8")
        lines = text.count("\n")
        if lines > LONGEST_FILE:
            too_long[relative(path)] = lines
        for name, length in functions(ast.parse(text)):
            if length > LONGEST_FUNCTION:
                too_long[f"{relative(path)}::{name}"] = length
    assert set(too_long) == set(EXCUSED), too_long


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert said, "a module's first line says what is in it"
    assert said.splitlines()[0].endswith((".", ":", "?")), "the first line is a whole sentence"


def test_names_say_something() -> None:
    empty = []
    for path in MODULES:
        parts = path.relative_to(SOURCE).with_suffix("").parts
        words = set(itertools.chain.from_iterable(part.split("_") for part in parts))
        if words & BANNED:
            empty.append(relative(path))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", node.name)}
                if words & BANNED:
                    empty.append(f"{relative(path)}::{node.name}")
    assert not empty


# Each pattern is written so that it does not find itself.
NOT_OURS = {
    "a home directory": r"/(?:[h]ome|[U]sers)/\w+|(?<![\w.$}])/[r]oot/",
    "a directory of one machine": r"(?<![\w.$}])/[o]pt/\w|(?<![\w.$})])/[w]ork/\w",
    "a package index": r"--(?:extra-)?[i]ndex-url[ =]|--[f]ind-links[ =]|/[s]imple/?[\s\"']",
    "an address in a private network": r"(?<![\d.])(?:10\.\d+|192\.[1]68)\.\d+\.\d+(?![\d./])",
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_nothing_names_the_machine_it_was_written_on(what: str) -> None:
    pattern = re.compile(NOT_OURS[what])
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # sound, not text
        found += [f"{relative(path)}: {hit.group()}" for hit in pattern.finditer(text)]
    assert not found


# ── dependencies ─────────────────────────────────────────────────────────────────────────────


def imported(folder: Path) -> set[str]:
    """Top-level names of other people's modules that are imported by name below a folder."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    own = {
        path.stem for top in ("bench", "samples", "tests") for path in (ROOT / top).rglob("*.py")
    }
    return found - own - sys.stdlib_module_names - {"hansard", "tests", "_typeshed"}


@pytest.mark.parametrize(
    ("folder", "groups"),
    [
        ("src", ()),
        ("samples", ()),
        ("bench", ("dev", "load")),
        ("docs", ("dev",)),
        ("tests", ("dev",)),
    ],
)
def test_what_is_imported_is_asked_for(folder: str, groups: tuple[str, ...]) -> None:
    needs = asked(groups, runtime=True, optional=True)
    wanted = {canonicalize_name(need.name) for need in needs}
    homes = packages_distributions()
    missing = {
        name
        for name in imported(ROOT / folder)
        if not {canonicalize_name(home) for home in homes.get(name, [])} & wanted
    }
    assert not missing, "add it to pyproject.toml, then: make lock"


AT_ONE_REMOVE = {"httptools": "uvicorn.protocols.http.httptools_impl"}
"""What is asked for because a part of somebody else's that we name needs it."""


def test_what_is_asked_for_is_used() -> None:
    text = "\n".join(path.read_text("utf-8") for path in MODULES)
    homes = packages_distributions()
    for need in asked((), runtime=True):
        if need.marker is not None and not need.marker.evaluate():
            continue
        modules = [
            name
            for name, owners in homes.items()
            if canonicalize_name(need.name) in map(canonicalize_name, owners)
        ]
        # A name in quotes counts: what may be missing is imported by its name in a string.
        used = any(
            re.search(rf"import {m}\b|from {m}\b|\"{m}\"", text)
            or AT_ONE_REMOVE.get(m, "nothing at all") in text
            for m in modules
        )
        assert used, f"{need.name} is installed for nothing"


# ── what is shipped ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = place.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    from hansard import __version__

    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(ROOT / "src").as_posix() for path in tracked() if SOURCE in path.parents
    }
    assert "hansard/py.typed" in ours
    assert any("/migrations/versions/" in name for name in ours)
    info = f"hansard-{__version__}.dist-info"
    beside = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    sample = {f"hansard/perf/sample/meeting.{kind}" for kind in ("ogg", "json")}  # of benchmarks
    assert names == ours | beside | sample | {f"{info}/licenses/LICENSE"}


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    probe = "import hansard, hansard.__main__ as m; print(hansard.__file__); m.main()"
    done = subprocess.run(
        [sys.executable, "-c", probe, "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


# ── lock files ───────────────────────────────────────────────────────────────────────────────

PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<marker> ; [^\\\n]+)? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
    r"(?P<via>(?:    #.*\n)+)",
    re.MULTILINE,
)


def pins(lock: str) -> list[re.Match[str]]:
    text = (ROOT / lock).read_text("utf-8")
    found = list(PIN.finditer(text))
    rest = PIN.sub("", text)
    assert all(line.startswith("#") for line in rest.splitlines()), "a line that pins nothing"
    return found


def asked(groups: tuple[str, ...], *, runtime: bool, optional: bool = False) -> list[Requirement]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lines = [line for group in groups for line in project["dependency-groups"][group]]
    extras = project["project"]["optional-dependencies"].values()
    lines += [line for extra in extras for line in extra] * optional
    return [Requirement(line) for line in (project["project"]["dependencies"] * runtime) + lines]


@pytest.mark.parametrize(
    ("lock", "groups", "runtime"),
    [
        ("requirements.lock", ("build",), True),
        ("requirements-dev.lock", ("dev",), False),
        ("requirements-load.lock", ("load",), False),
    ],
)
def test_lock_pins_what_is_asked_for(lock: str, groups: tuple[str, ...], *, runtime: bool) -> None:
    found = pins(lock)
    wanted = {canonicalize_name(need.name): need for need in asked(groups, runtime=runtime)}
    named = {canonicalize_name(m["name"]) for m in found if "hansard (pyproject.toml" in m["via"]}
    assert named == set(wanted), "pyproject.toml and the lock differ: make lock"
    for pin in found:
        need = wanted.get(canonicalize_name(pin["name"]))
        if need:
            assert need.specifier.contains(Version(pin["version"])), f"{need}: make lock"


def test_locks_agree_with_each_other() -> None:
    versions: dict[str, set[str]] = {}
    for pin in pins("requirements.lock"):
        versions.setdefault(pin["name"], set()).add(pin["version"])
    for lock in ("requirements-dev.lock", "requirements-load.lock"):
        found = pins(lock)
        for pin in found:
            assert pin["version"] in versions.get(pin["name"], {pin["version"]})
        for pin in found:
            versions.setdefault(pin["name"], set()).add(pin["version"])
