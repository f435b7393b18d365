from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import ROOT, Command, refused

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
    code = "import hansard; print(hansard.__file__)"
    said = subprocess.run(
        [found, "-c", code],
        env=benchmark_other.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(said.stdout.strip()).is_relative_to(place)
