"""Runs `hansard` with a quick engine, in every process of a service.

    HANSARD_TEST_LOG=FILE python launched.py serve …

``HANSARD_TEST_POINTS`` is a directory of files named ``ROLE NTH POINT``: the process with that
role (``worker``, ``api``) dies by SIGKILL at the NTH call of POINT, as in ``killable.py``, and the
file goes with it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hansard.cli.app import run
from hansard.jobs import supervisor

sys.path.insert(0, str(Path(__file__).parents[2]))  # children run this file by its path

from tests.flow.killable import kill_at, use_quick_engine


def main() -> int:
    arguments = sys.argv[1:]
    use_quick_engine(os.environ["HANSARD_TEST_LOG"])
    supervisor.COMMAND = (sys.executable, __file__)
    points = os.environ.get("HANSARD_TEST_POINTS")
    if points:
        for marker in sorted(Path(points).iterdir()):
            role, nth, point = marker.name.split(" ")
            if role == arguments[0]:
                kill_at(point, int(nth), marker)
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
