"""Where transcripts go: standard output, one file, or a directory of them."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hansard.errors import CannotWrite, DiskFull, UsageError

if TYPE_CHECKING:
    from hansard.formats import Format
    from hansard.model import Segment, Transcript


class Output:
    """What ``--format`` and ``--output`` mean together; refused before any work is done."""

    def __init__(
        self,
        formats: Sequence[str],
        target: Path | None,
        *,
        recordings: Sequence[str] = (),
        silent: bool = False,
    ) -> None:
        """``recordings`` by their names, where known; ``silent``: standard output is taken.

        Raises:
            UnknownFormat: no such format.
            UsageError: what was asked for does not fit in the place named.
            CannotWrite: the place cannot be written to.
        """
        from hansard import formats as known

        self._target = target
        self._several = len(recordings) > 1
        self._silent = silent
        self._places = _places(recordings)
        guessed = known.of_path(target) if target is not None and not formats else None
        self._formats: list[Format] = (
            [guessed] if guessed else [known.get(name) for name in formats or ["txt"]]
        )
        self._directory = target is not None and (
            target.is_dir() or self._several or len(self._formats) > 1 or not target.suffix
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
            return
        if self._directory and self._target.exists() and not self._target.is_dir():
            raise UsageError(
                f"{self._target} is a file, and this needs a directory.",
                hint="Several recordings or formats are written into a directory.",
            )
        _see_that_it_can_be_written(self._target if self._directory else self._target.parent)

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
                with _to_standard_output():
                    self._formats[0].write(head, segments, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
            return []
        written = []
        for chosen in self._formats:
            path = self._path(self._target, name, chosen)
            _make(path.parent)
            formats.save(path, chosen.name, head, segments)
            written.append(str(path))
        return written

    def _path(self, target: Path, name: str, chosen: Format) -> Path:
        if not self._directory:
            return target
        place = self._places.get(name) or _places([name])[name]
        return target / place.with_name(place.name + chosen.extension)


def _places(names: Sequence[str]) -> dict[str, PurePosixPath]:
    """Where in the directory each recording's transcripts go, all different, without extension.

    The recording's own ending is left out, but where two recordings differ in nothing else.
    """
    whole = {name: _safe(name) for name in names}
    stems = Counter(_stem(path) for path in whole.values())
    places: dict[str, PurePosixPath] = {}
    for name, path in whole.items():
        place = _stem(path) if stems[_stem(path)] == 1 else path
        while place in places.values():  # letters that were replaced made two names one
            place = place.with_name(f"{place.name}_")
        places[name] = place
    return places


def _safe(name: str) -> PurePosixPath:
    """A recording's name, folders and all, as any file system takes it."""
    parts = [re.sub(r"[^\w.()+ -]+", "_", part).strip(". ") for part in name.split("/")]
    return PurePosixPath(*([part for part in parts if part] or ["recording"]))


def _stem(path: PurePosixPath) -> PurePosixPath:
    return path.with_name(path.name.rsplit(".", 1)[0] or path.name)


# ── trouble ──────────────────────────────────────────────────────────────────────────────────


def _see_that_it_can_be_written(directory: Path) -> None:
    """Hours of work must not end at a directory that was never there to be written to."""
    there = directory.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise _cannot_make(directory, f"{there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _cannot_make(directory, f"{there} may not be written")


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"There is no room to make the directory {directory}.",
                hint="Free some space, or write elsewhere with -o.",
            ) from error
        raise _cannot_make(directory, error.strerror or str(error)) from error


def _cannot_make(directory: Path, reason: str) -> CannotWrite:
    return CannotWrite(
        f"Nothing can be written to {directory}: {reason}.", hint="Write elsewhere with -o."
    )


@contextmanager
def _to_standard_output() -> Iterator[None]:
    """A full disk behind ``>``; a reader that went away is no error and passes through."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # What could not be written must not be tried again when Python closes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        kind = DiskFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else CannotWrite
        raise kind(
            f"Standard output cannot be written: {error.strerror}.",
            hint="The transcript is kept: `hansard export` writes it again.",
        ) from error
