"""Where transcripts go: standard output, one file, or a directory of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hansard.errors import UsageError

if TYPE_CHECKING:
    from hansard.formats import Format
    from hansard.model import Segment, Transcript


class Output:
    """What ``--format`` and ``--output`` mean together; refused before any work is done."""

    def __init__(
        self, names: Sequence[str], target: Path | None, *, several: bool, silent: bool = False
    ) -> None:
        """``several`` recordings; ``silent``: standard output is taken by something else.

        Raises:
            UnknownFormat: no such format.
            UsageError: what was asked for does not fit in the place named.
        """
        from hansard import formats

        self._target = target
        self._several = several
        self._silent = silent
        self._taken: dict[Path, str] = {}
        guessed = formats.of_path(target) if target is not None and not names else None
        self._formats: list[Format] = (
            [guessed] if guessed else [formats.get(name) for name in names or ["txt"]]
        )
        self._directory = target is not None and (
            target.is_dir() or several or len(self._formats) > 1 or not target.suffix
        )
        self._refuse_nonsense()

    def _refuse_nonsense(self) -> None:
        if self._target is None:
            if len(self._formats) > 1:
                raise UsageError(
                    "Several formats do not fit on standard output.",
                    hint="Name a directory with --output.",
                )
            if self._formats[0].binary and not self._silent and sys.stdout.isatty():
                raise UsageError(
                    f"{self._formats[0].name} is nothing for a terminal.",
                    hint="Name a file with --output.",
                )
        elif self._directory and self._target.exists() and not self._target.is_dir():
            raise UsageError(
                f"{self._target} is a file, and this needs a directory.",
                hint="Several recordings or formats are written into a directory.",
            )

    def write(
        self, name: str, head: Transcript, segments: Callable[[], Iterator[Segment]]
    ) -> list[str]:
        """Write one transcript in every format asked for; each file whole or not at all.

        Returns:
            The files written; none for standard output.

        Raises:
            CannotWrite, DiskFull: see ``formats.save``.
        """
        from hansard import formats

        if self._target is None:
            if not self._silent:
                if self._several:
                    print(f"── {name} ──", file=sys.stderr, flush=True)
                self._formats[0].write(head, segments, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            return []
        written = []
        for chosen in self._formats:
            path = self._path(self._target, name, chosen)
            path.parent.mkdir(parents=True, exist_ok=True)
            formats.save(path, chosen.name, head, segments)
            written.append(str(path))
        return written

    def _path(self, target: Path, name: str, chosen: Format) -> Path:
        if not self._directory:
            return target
        base = re.sub(r"[^\w.()+ -]+", "_", name.rsplit("/", 1)[-1]).strip(". ") or "recording"
        stem = base.rsplit(".", 1)[0] or base
        # Two recordings may differ only in their ending: the second keeps its own.
        for candidate in (stem, base):
            path = target / f"{candidate}{chosen.extension}"
            if self._taken.setdefault(path, name) == name:
                return path
        raise UsageError(
            f"Two recordings named {name} would be written to the same file in {target}.",
            hint="Transcribe them one at a time, each with its own --output.",
        )
