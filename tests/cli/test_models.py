"""`hansard models`, and a Whisper model of one's own from its import to a transcript."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.cli.conftest import ROOT, Command, refused, rows, scraps


@pytest.fixture(scope="session")
def random_whisper() -> ModuleType:
    path = ROOT / "bench" / "random_whisper.py"
    spec = importlib.util.spec_from_file_location("random_whisper_for_cli", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def whisper(random_whisper: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a miniature Whisper that says nothing true."""
    folder: Path = random_whisper.write(
        tmp_path_factory.mktemp("models") / "mine",
        size=random_whisper.MINIATURE,
        manner=random_whisper.TALKATIVE,
    )
    return folder


def test_a_model_of_ones_own(whisper: Path, clip: Path, data: Path, hansard: Command) -> None:
    assert [line.split()[0] for line in hansard("models", "list").out.splitlines()] == ["sphinx"]
    imported = hansard("models", "import", whisper)
    assert imported.code == 0, imported.err
    assert "use it with --model mine" in imported.out
    assert "mine" in hansard("models", "list").out
    found = json.loads(hansard("models", "info", "mine", "--json").out)
    assert found["engine"] == "whisper"
    assert found["installed"]
    ended = hansard("transcribe", clip, "--model", "mine", "-f", "json", "--timings")
    assert ended.code == 0, ended.err
    transcript = json.loads(ended.out)
    assert (transcript["engine"], transcript["model"]) == ("whisper", "mine")
    assert transcript["language"]
    for stage in ("engine.features", "engine.encode", "engine.decode"):
        assert stage in ended.err
    where_it_lies = hansard("transcribe", clip, "--model", f"whisper:{whisper}", "-l", "en")
    assert where_it_lies.code == 0, where_it_lies.err
    assert rows(data, "jobs") == 2
    assert scraps(data) == []
    assert hansard("models", "remove", "mine").out == "mine is removed\n"
    assert "mine" not in hansard("models", "list").out
    refused(hansard("transcribe", clip, "--model", "mine", "--again"), "unknown_model", 2)


def test_a_language_that_is_none(whisper: Path, clip: Path, data: Path, hansard: Command) -> None:
    ended = hansard("transcribe", clip, "-m", f"whisper:{whisper}", "-l", "klingon")
    refused(ended, "not_supported", 2)
    assert rows(data, "jobs") == 0
    english = hansard("transcribe", clip, "-m", f"whisper:{whisper}", "-l", "en_GB", "-f", "json")
    assert json.loads(english.out)["language"] == "en"


def test_words_about_models(hansard: Command) -> None:
    ended = hansard("models", "info", "sphinx")
    assert ended.code == 0
    assert "languages  en" in ended.out
    assert "here       yes" in ended.out
    assert "here       no" in hansard("models", "info", "large-v3").out
    available = hansard("models", "list", "--available").out
    assert "large-v3-turbo" in available
    assert "not here" in available


def test_models_that_cannot_be(tmp_path: Path, hansard: Command) -> None:
    (tmp_path / "empty").mkdir()
    refused(hansard("models", "info", "enormous"), "unknown_model", 2)
    refused(hansard("models", "info", "auto"), "usage", 2)
    refused(hansard("models", "info", "whisper:/nowhere/at/all"), "not_found", 3)
    refused(hansard("models", "import", tmp_path / "gone"), "not_found", 3)
    refused(hansard("models", "import", tmp_path / "empty"), "model_broken", 4)
    refused(hansard("models", "remove", "small"), "model_missing", 4)


def test_a_pull_without_a_network(hansard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused(hansard("models", "pull", "tiny"), "model_missing", 4)
    refused(hansard("models", "pull", "enormous"), "unknown_model", 2)
