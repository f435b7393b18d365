"""Performance: measured all the time, explained, and open to other people's code.

``hansard.perf.timed`` times a block or a function like any stage of Hansard's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hansard.perf.stopwatch import timed as timed

__all__ = ["timed"]


def __getattr__(name: str) -> Any:
    if name == "timed":
        from hansard.perf.stopwatch import timed

        return timed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
