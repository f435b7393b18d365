"""Archives or restores a meeting, and kills itself (SIGKILL) at a named point.

python archiving.py DATA JOB put|restore POINT NTH
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.flow.killable import kill_at

from hansard.config import Settings
from hansard.store.archive import Archive
from hansard.store.disk import Disk
from hansard.store.sqlite import Sqlite

if __name__ == "__main__":
    data, job, what, point, nth = sys.argv[1:]
    kill_at(point, int(nth))
    settings = Settings(data=Path(data))
    archive = Archive(settings, Sqlite(Path(data) / "hansard.db"), Disk(Path(data), "killed"))
    if what == "put":
        archive.put(job, audio=True)
    else:
        archive.restore(job)
