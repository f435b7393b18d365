from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url
from tests.cli.conftest import ROOT, Command, refused

from hansard import __version__ as hansard_version
from hansard.errors import MachineError
from hansard.perf import benchmark_other

SHORT = ("--component", "vad", "--iterations", "4", "--seconds", "4")


def test_results_are_kept_compared_and_drawn(hansard: Command, clip: Path) -> None:
    first = hansard("benchmark", *SHORT, "--output", "first.json")
    assert first.code == 0, first.err
    assert "RTF" in first.out
    assert hansard("benchmark", "run", *SHORT).code == 0
    own = hansard("benchmark", *SHORT, "--audio", clip, "--output", "own.md", "--format", "md")
    assert own.code == 0, own.err
    assert "| vad |" in Path("own.md").read_text()
    listed = [json.loads(one) for one in hansard("benchmark", "list", "--json").out.splitlines()]
    assert [one["name"] for one in listed] == ["clip.flac, 4 s", *["meeting.ogg, 4 s"] * 2]
    # The sample's newest with the one before; the clip has nothing to be compared with.
    (found,) = hansard("benchmark", "compare", "--json").out.splitlines()
    assert json.loads(found)["before"]["id"] == listed[2]["id"]
    told = hansard("benchmark", "compare", "first.json")
    assert told.out.startswith("vad: ")
    assert hansard("benchmark", "trend", "--output", "trend.svg").code == 0
    assert Path("trend.svg").read_text().count("<circle") == 3


def test_what_became_slower_ends_with_one(hansard: Command) -> None:
    hansard("benchmark", *SHORT, "--output", "now.json")
    book = json.loads(Path("now.json").read_text())
    (result,) = book["results"]
    result["id"] = "before"
    for run in result["trials"]:
        run["seconds"] /= 1000
        run["stages"] = {name: spent / 1000 for name, spent in run["stages"].items()}
    result["trials"] *= 3
    Path("before.json").write_text(json.dumps(book))
    ended = hansard("benchmark", "compare", "before.json")
    assert ended.code == 1, ended.err
    assert "vad: slower" in ended.out
    assert "stage prepare.vad: slower" in ended.out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--component", "video"), "not_in_this_build"),
        (("--component", "llm"), "not_supported"),
        (("compare",), "unknown_benchmark"),
        (("compare", "0123"), "unknown_benchmark"),
        (("compare", "--against", "no-such-branch"), "unknown_benchmark"),
        (("trend",), "unknown_benchmark"),
    ],
)
def test_what_cannot_be_is_refused(hansard: Command, words: tuple[str, ...], code: str) -> None:
    ended = hansard("benchmark", *words)
    ended = type(ended)(ended.code, ended.out, ended.err.replace("Making", "\nMaking"))
    refused(ended, code, 2)


def test_another_build_is_installed_and_takes_turns(
    hansard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = subprocess.run(
        ["git", "cat-file", "-e", "HEAD:src/hansard/perf/benchmark.py"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if known.returncode:
        pytest.skip("not a git checkout: there is no other build to install")
    monkeypatch.setattr(benchmark_other, "_cache", lambda: tmp_path / "builds")
    ended = hansard("benchmark", "compare", "--against", "HEAD", *SHORT)
    assert ended.code == 0, ended.err
    assert "run beside run" in ended.out
    assert "too few runs to tell" in ended.out  # four pairs
    (place,) = (tmp_path / "builds").iterdir()
    found = benchmark_other.python_of("HEAD")  # the second time it is there
    assert Path(found).is_relative_to(place)
    assert build_of(found)[1].is_relative_to(place)


def build_of(python: str) -> tuple[str, Path]:
    """The version of an interpreter's Hansard, which can be run, and where it lies."""
    code = "import hansard, hansard.cli.app; print(hansard.__version__, hansard.__file__)"
    said = subprocess.run(
        [python, "-c", code],
        env=benchmark_other.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    version, _, place = said.stdout.strip().partition(" ")
    return version, Path(place)


def test_a_version_is_installed_beside_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where pip finds it: here a directory with a wheel of another version."""
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    left_out = shutil.ignore_patterns(".*", "tests", "bench", "deploy", "docs", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)
    for path in (source / "pyproject.toml", source / "src/hansard/__init__.py"):
        path.write_text(path.read_text().replace(f'"{hansard_version}"', '"0.0.1"'))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", wheels, source),
        ],
        check=True,
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with pytest.raises(MachineError, match="cannot be installed"):
        benchmark_other.python_of("0.0.2", tmp_path / "builds")
    found = benchmark_other.python_of("0.0.1", tmp_path / "builds")
    version, place = build_of(found)
    assert version == "0.0.1"
    assert place.is_relative_to(tmp_path / "builds")


def test_on_postgres_it_leaves_nothing_and_sweeps_what_was_left(
    hansard: Command, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that somebody was killed over; one that somebody has just made, or works on."""
    mark = secrets.token_hex(4)
    dead, fresh, busy = (
        f"hansard_benchmark_{made:.0f}_{mark}" for made in (1000, time.time(), 2000)
    )
    with psycopg.connect(postgres, autocommit=True) as server:

        def there() -> set[str]:
            found = server.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'hansard_benchmark_%'"
            )
            return {name for (name,) in found}

        for name in (dead, fresh, busy):
            server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        before = there()
        try:
            monkeypatch.setenv("HANSARD_DATABASE", postgres)
            with psycopg.connect(make_url(postgres).set(database=busy).render_as_string(False)):
                ended = hansard(
                    *("benchmark", "--component", "queue", "--component", "store"),
                    *("--iterations", "2", "--seconds", "4", "--output", "on.json"),
                )
            assert ended.code == 0, ended.err
            found = json.loads(Path("on.json").read_text())["results"]
            assert {(one["component"], one["store"]) for one in found} == {
                ("queue", "postgresql"),
                ("store", "postgresql"),
            }
            assert there() & {dead, fresh, busy} == {fresh, busy}
            assert there() <= before, "its own is gone"
        finally:
            for name in (dead, fresh, busy):
                server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
