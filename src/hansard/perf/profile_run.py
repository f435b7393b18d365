"""Making a profile, from the question to what is kept: of a command, or of what runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import msgspec

from hansard.errors import HansardError
from hansard.perf import profile_pages
from hansard.perf.profile import Capture, summary
from hansard.perf.profile_crew import GRACE, Asking, looking
from hansard.store import profiles
from hansard.store.database import Database
from hansard.store.files import Files
from hansard.store.profiles import Kind, Profile

SAMPLES = "samples"
"""The file that profiles are compared by."""
FILES = {
    "flamegraph": ("html", "text/html; charset=utf-8"),
    "speedscope": ("speedscope.json", "application/json"),
    SAMPLES: ("samples.json", "application/json"),
}
"""Name of a file → how a file of the kind ends, and its media type."""


def of_command(kind: Kind, work: Callable[[], int]) -> tuple[int, list[Capture]]:
    """Run something in this process and profile it; its exit code, and what was found."""
    with looking(kind, f"command {os.getpid()}") as found:
        code = work()
    return code, found


def kept(
    database: Database, files: Files, kind: Kind, subject: str, captures: Sequence[Capture]
) -> Profile:
    """Keep what was found of a command."""
    seconds = max((one.seconds for one in captures), default=0.0)
    row = profiles.begin(database, kind, subject, seconds, time.time() + GRACE)
    return finish(database, files, row, captures)


def of_service(
    database: Database,
    files: Files,
    asking: Asking,
    row: Profile,
    given_up: Callable[[], bool] = lambda: False,
) -> Profile:
    """Gather what the processes find, and keep it; a profile that comes to nothing says why.

    Raises:
        NothingToProfile: no process took part.
        DiskFull, FilesGone, StoreGone: it cannot be kept.
    """
    try:
        captures = asking.gather(given_up)
        return finish(database, files, row, captures)
    except HansardError as error:
        profiles.fail(database, row.id, error.failure())
        raise
    finally:
        asking.close()


def begun(database: Database, kind: Kind, subject: str, seconds: float) -> Profile:
    """The row of a profile that is being made."""
    return profiles.begin(database, kind, subject, seconds, time.time() + seconds + 3 * GRACE)


def finish(database: Database, files: Files, row: Profile, captures: Sequence[Capture]) -> Profile:
    """Make the pages and keep them."""
    title = f"{row.kind} profile of {row.subject}"
    bodies = {
        "flamegraph": profile_pages.flame_graph(captures, title),
        "speedscope": profile_pages.speedscope(captures, title),
        SAMPLES: msgspec.json.encode(captures),
    }
    return profiles.complete(database, files, row.id, summary(captures), bodies)


def samples(files: Files, profile: Profile) -> list[Capture]:
    """What a profile was made of.

    Raises:
        UnknownProfile: it is not done, or came to nothing.
        MediaGone: its files are not kept any more.
    """
    body = profiles.read(files, profiles.file_of(profile, SAMPLES))
    return msgspec.json.decode(body, type=list[Capture])
