"""Every `hansard …` that the files of deploy/ run, and that its page shows, is one there is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.standing import DEPLOY, ROOT

from hansard.cli.app import whole


def _plain(text: str) -> list[str]:
    """The words of a command, as far as its end on the line."""
    return shlex.split(re.split(r"[`#|]", text)[0].replace("${POOLS}", "speech"))


def _found(path: Path, pattern: str) -> list[tuple[str, str]]:
    """What a pattern finds in a file of text; templates are taken for a word."""
    text = re.sub(r"\{\{[^}]*\}\}", "speech", path.read_text("utf-8"))
    return [(path.name, found) for found in re.findall(pattern, text, re.MULTILINE)]


def commands() -> Iterator[tuple[str, list[str]]]:
    for path in sorted(DEPLOY.glob("Dockerfile*")):
        yield from ((name, json.loads(found)) for name, found in _found(path, r"^CMD (\[.*\])$"))
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    yield from (
        (name, one["command"])
        for name, one in services.items()
        if one["image"].startswith("hansard:")
    )
    for path in sorted((DEPLOY / "helm" / "hansard" / "templates").iterdir()):
        found = _found(path, r"^ +args: (\[.*\])$")
        yield from ((name, yaml.safe_load(words)) for name, words in found)
    shown = r"(?:^hansard |-- hansard |exec \S+ hansard |^ExecStart=\S+ |`hansard )([^`\n]+)"
    texts = (DEPLOY / "helm" / "hansard" / "templates" / "NOTES.txt", DEPLOY / "compose.yaml")
    for path in (*sorted((DEPLOY / "systemd").iterdir()), *texts, ROOT / "docs" / "deploy.md"):
        yield from ((name, _plain(words)) for name, words in _found(path, shown))


def test_all_of_them_were_found() -> None:
    places = [place for place, _ in commands()]
    assert set(places) == {
        *("Dockerfile", "Dockerfile.cuda", "api-1", "api-2", "worker", "upgrade"),
        *("hansard.service", "hansard-worker@.service"),
        *("api.yaml", "workers.yaml", "upgrade.yaml", "deploy.md", "NOTES.txt", "compose.yaml"),
    }


@pytest.mark.parametrize(("place", "words"), list(commands()))
def test_it_is_a_command(place: str, words: list[str]) -> None:
    del place
    command: Any = whole()
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest, "a group is no command"
        command = command.commands[rest.pop(0)]
    known = {option for one in command.params for option in one.opts}
    assert {word for word in rest if word.startswith("-")} <= known


def test_what_ci_installs_is_what_the_tests_look_for() -> None:
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    assert ".venv-helm/bin/python" in text
    assert (Path(__file__).parent / "requirements-helm.lock").is_file()
    assert "tests/deploy/requirements-helm.lock" in text
