"""The list of commands, which is shown without loading any of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hansard.cli.app import COMMANDS, Deferred


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_is_listed_by_its_own_words(command: Deferred) -> None:
    loaded = command.load()
    assert command.help == loaded.help.partition("\n\n")[0].replace("\n", " ").strip()
    assert command.hidden == loaded.hidden
    assert command.name == loaded.name


def test_the_list_loads_no_command() -> None:
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import sys; from hansard.cli.app import run; run(['--help']);"
                "print(*(m for m in sys.modules if m.startswith('hansard.')), file=sys.stderr)"
            ),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(seen.stderr.split()) == {
        *("hansard.cli", "hansard.cli.app", "hansard.cli.complaint"),
        *("hansard.errors", "hansard.model"),
    }
    assert all(f"  {one.name} " in seen.stdout for one in COMMANDS if not one.hidden)
