"""The store's pulse: a number that any commit changes, cheap enough to ask before each answer."""

from __future__ import annotations

import itertools
from pathlib import Path

from hansard.store.database import sqlite_module


class Pulse:
    """A connection of its own that reads nothing but SQLite's ``data_version``.

    That is a look into memory shared with all who have the store open: no lock is waited for, no
    row is read, no disk is touched. Hence an event loop may ask it, and need not hop to the thread
    that reads the store where nothing has changed. For one thread.
    """

    def __init__(self, path: Path) -> None:
        """``path`` is a store that exists."""
        self._connection = sqlite_module().connect(path, isolation_level=None, timeout=0)
        self._unknown = itertools.count(-1, -1)

    def beat(self) -> int:
        """The same number as before only if nobody has committed anything meanwhile."""
        try:
            found = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite_module().Error:
            # Never the same: nothing that is kept is used, and whoever reads the store itself
            # meets the trouble and says it.
            return next(self._unknown)
        return int(found[0])

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
