from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.cli.conftest import Command, refused
from tests.quick import QuickEngine

from hansard.model import WindowResult
from hansard.speech.engine import Samples, SpeechOptions


def test_a_stage_slowed_on_purpose_is_named(
    hansard: Command, quick: QuickEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("transcribe", clip, "--model", "sphinx", "--again", "--format", "txt")
    first = hansard("profile", *words)
    assert first.code == 0, first.err
    assert first.out
    at_once = quick.transcribe

    def slow(batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        time.sleep(0.5)
        return at_once(batch, options)

    monkeypatch.setattr(quick, "transcribe", slow)
    second = hansard("profile", "run", "--output", "pages", *words)
    assert second.code == 0, second.err
    after, before = (line.split()[0] for line in hansard("profile", "list").out.splitlines())
    found = json.loads(hansard("profile", "diff", before, after, "--json").out)
    grown = [(one["what"], one["name"]) for one in found["changes"] if one["verdict"] == "grew"]
    assert ("stage", "engine") in grown
    assert ("component", "stt") in grown
    assert any(what == "function" and name.startswith("test_a_stage") for what, name in grown)
    assert "stage engine" in hansard("profile", "diff", before, after).out
    assert "engine" in hansard("profile", "show", after).out
    suffixes = {path.name.partition(".")[2] for path in Path("pages").iterdir()}
    assert suffixes == {"html", "speedscope.json", "samples.json"}
    assert hansard("profile", "delete", before).code == 0
    refused(hansard("profile", "show", before), "unknown_profile", 2)


def test_the_command_keeps_its_exit_code(hansard: Command) -> None:
    ended = hansard("profile", "run", "--memory", "transcribe", "no-such-file.wav")
    assert ended.code == 3
    assert "[not_found]" in ended.err
    assert "Profile " in ended.err


def test_nothing_runs_that_could_be_looked_into(hansard: Command) -> None:
    ended = hansard("profile", "--attach", "--seconds", "0.1")
    refused(ended, "nothing_to_profile", 2)


def test_what_is_missing_is_named(hansard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "memray", None)
    refused(hansard("profile", "run", "--memory", "doctor"), "missing_part", 2)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: "nowhere")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    refused(hansard("profile", "--attach", "1"), "missing_part", 2)
