"""`hansard doctor`: what it says, and what it ends with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def _well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine under the tests lacks is not what is tested."""
    monkeypatch.setattr("hansard.cli.doctor._LITTLE_MEMORY", 0)
    monkeypatch.setattr("hansard.store.sqlite.SAFE_SQLITE", (3, 0, 0))
    monkeypatch.setenv("HANSARD_LIMITS__DISK_RESERVE", "0")


def findings(text: str) -> dict[str, tuple[str, str]]:
    return {line.split()[1]: (line.split()[0], line[19:]) for line in text.splitlines()}


def test_a_machine_that_is_well(data: Path, hansard: Command) -> None:
    ended = hansard("doctor", "--offline")
    assert ended.code == 0, ended.out
    found = findings(ended.out)
    assert {state for state, _ in found.values()} == {"ok"}
    wanted = "hansard libraries store service sqlite disk memory processor cuda models tuned"
    assert list(found) == wanted.split()
    assert str(data) in found["store"][1]
    assert found["service"][1] == "not running"
    assert found["models"][1] == "sphinx"


def test_an_old_sqlite(hansard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hansard.store.sqlite.SAFE_SQLITE", (99, 0, 0))
    ended = hansard("doctor", "--offline")
    assert ended.code == 5
    state, said = findings(ended.out)["sqlite"]
    assert state == "WARN"
    assert "pysqlite3" in said


def test_little_room(hansard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSARD_LIMITS__DISK_RESERVE", str(2**60))
    monkeypatch.setattr("hansard.cli.doctor._LITTLE_MEMORY", 2**60)
    ended = hansard("doctor", "--offline")
    assert ended.code == 5
    found = findings(ended.out)
    assert {name for name, (state, _) in found.items() if state == "WARN"} == {"disk", "memory"}


def test_a_data_directory_that_cannot_be_used(tmp_path: Path, hansard: Command) -> None:
    (tmp_path / "file").write_text("mine")
    ended = hansard("doctor", "--offline", "--data", tmp_path / "file" / "data")
    assert ended.code == 5
    state, said = findings(ended.out)["store"]
    assert state == "WARN"
    assert "cannot be written" in said


def test_a_model_whose_files_are_broken(data: Path, hansard: Command) -> None:
    broken = data / "models" / "whisper" / "mine"
    broken.mkdir(parents=True)
    (broken / "model.bin").write_bytes(b"")
    ended = hansard("doctor", "--offline")
    assert ended.code == 5
    state, said = findings(ended.out)["model"]
    assert state == "WARN"
    assert said.startswith("mine: ")


def test_the_tuned_profile_is_named_and_one_of_another_machine_is_a_warning(
    data: Path, hansard: Command
) -> None:
    from hansard import tuned

    here = tuned.here()
    for stamp, code, said in (
        (here, 0, "1 settings for sphinx/en-us"),
        (msgspec.structs.replace(here, processor="Another"), 5, "not applied"),
    ):
        tuned.write(data, tuned.Profile(stamp, "sphinx/en-us", "", (), {"model_idle": 60.0}))
        ended = hansard("doctor", "--offline")
        assert ended.code == code
        assert said in findings(ended.out)["tuned"][1]
