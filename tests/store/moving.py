"""Moves a library in pieces of three rows, and kills itself (SIGKILL) at a named point.

python moving.py LIBRARY ADDRESS POINT NTH
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.flow.killable import kill_at

from hansard.store import move
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite

if __name__ == "__main__":
    library, address, point, nth = sys.argv[1:]
    kill_at(point, int(nth))
    move.PIECE = 3
    move.move(Sqlite(Path(library)), Postgres(address))
