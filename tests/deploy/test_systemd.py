"""The units as systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.standing import DEPLOY

from hansard.config import Settings

UNITS = sorted((DEPLOY / "systemd").iterdir())


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_systemd_accepts_it(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    text = unit.read_text("utf-8")
    # It looks whether the command is there; the one that is meant is not on this machine.
    place = tmp_path / unit.name
    there = re.sub(r"(?<=^ExecStart=)\S+", sys.executable, text, flags=re.MULTILINE)
    place.write_text(there, "utf-8")
    named = str(place).replace("@.", "@1.")
    done = subprocess.run(
        [program, "verify", "--man=no", named], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name[:7] in line]
    assert done.returncode == 0, done.stderr
    assert not complaints


def test_it_has_time_to_end_in_order(unit: Path) -> None:
    text = unit.read_text("utf-8")
    found = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert found is not None
    assert float(found[1]) > Settings().serve.patience + 10
    assert "KillMode=mixed" in text
    assert "NoNewPrivileges=yes" in text
