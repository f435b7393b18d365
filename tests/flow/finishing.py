"""Does all that follows the transcripts of a data directory; kills itself (SIGKILL) at a point.

    python finishing.py DATA POINT NTH

POINT and NTH are as for ``killable.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from killable import kill_at  # type: ignore[import-not-found]  # its neighbour

from hansard.config import load
from hansard.jobs import progress
from hansard.wiring import AFTER, House


def main() -> int:
    data, point, nth = sys.argv[1:]
    if point != "-":
        kill_at(point, int(nth))
    with House(load(data=Path(data))) as house:
        house.start(pools=AFTER)
        while open_ := progress.open_jobs(house.database):
            for job in open_:
                house.wait(job)
    return 0


if __name__ == "__main__":
    sys.exit(main())
