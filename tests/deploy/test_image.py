"""The images: what they copy is there, what they install is pinned, who they run as."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tests.deploy.standing import DEPLOY, ROOT

FILES = sorted(DEPLOY.glob("Dockerfile*"))
LOCK = DEPLOY / "requirements-scale.lock"
PIN = re.compile(r"^([\w.-]+)==(\S+)((?: ; [^\\\n]+)?) \\$", re.MULTILINE)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Each as its name and the rest; lines that go on are joined."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.partition(" ") for line in whole.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in found]


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def dockerfile(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    return instructions(request.param)


def test_instructions_are_known_ones(dockerfile: list[tuple[str, str]]) -> None:
    known = "ARG FROM ENV WORKDIR COPY RUN LABEL USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK"
    assert {name for name, _ in dockerfile} <= {*known.split(), "ENTRYPOINT", "CMD"}


def test_what_it_copies_is_there_and_not_left_out(dockerfile: list[tuple[str, str]]) -> None:
    kept = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    stages = re.findall(
        r" AS (\w+)", "\n".join(rest for name, rest in dockerfile if name == "FROM")
    )
    copied = []
    for name, rest in dockerfile:
        if name != "COPY":
            continue
        words = shlex.split(rest)
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
            continue
        copied += words[:-1]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, one) for one in kept), (
            f".dockerignore leaves out {source}"
        )
    assert set(copied) == set(kept)
    # And all that the build reads is among it.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {project["readme"], *project["license-files"], "src", "pyproject.toml"} <= set(copied)


def test_only_what_is_pinned_with_its_hash_is_installed(dockerfile: list[tuple[str, str]]) -> None:
    installs = re.findall(r"pip install ([^&]+)", "\n".join(rest for _, rest in dockerfile))
    assert len(installs) == 3
    for words in installs:
        assert "--require-hashes -r" in words or "--no-deps --no-index" in words


def test_the_last_stage_runs_as_nobody_and_compiles_nothing(
    dockerfile: list[tuple[str, str]],
) -> None:
    start = max(number for number, (name, _) in enumerate(dockerfile) if name == "FROM")
    last = dockerfile[start:]
    users = [rest for name, rest in last if name == "USER"]
    assert users == ["10001:10001"]
    assert ("STOPSIGNAL", "SIGTERM") in last
    assert ("ENTRYPOINT", '["hansard"]') in last
    said = "\n".join(rest for name, rest in last if name == "RUN")
    assert not re.search(r"gcc|g\+\+|build-essential|python3-dev|pip install", said)
    last_user = [name for name, _ in last].index("USER")
    assert "RUN" not in [name for name, _ in last[last_user:]]


def test_the_lock_has_all_that_runs_and_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["scale"]]
    pinned = {canonicalize_name(m[1]): m[2] for m in PIN.finditer(LOCK.read_text("utf-8"))}
    for need in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(need.name))
        assert version is not None, f"{need}: make lock"
        assert need.specifier.contains(Version(version)), f"{need}: make lock"


def test_the_lock_agrees_with_the_others() -> None:
    def pins(path: Path) -> set[tuple[str, str, str]]:
        return {(m[1], m[2], m[3]) for m in PIN.finditer(path.read_text("utf-8"))}

    ours = pins(LOCK)
    for other in ("requirements.lock", "requirements-dev.lock"):
        theirs = pins(ROOT / other)
        names = {name for name, _, _ in theirs} & {name for name, _, _ in ours}
        versions = {(name, version) for name, version, _ in ours if name in names}
        assert versions <= {(name, version) for name, version, _ in theirs}, f"{other}: make lock"
